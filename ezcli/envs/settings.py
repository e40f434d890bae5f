"""Settings that all environments share. Those of a suite are in its file."""

from typing import Annotated, Literal

from pydantic import Field

from ezcli.settings import Settings

FrameStack = Annotated[int, Field(ge=1, description="number of frames in an observation")]
ClipRewards = Annotated[bool, Field(description="train on the sign of each reward; scores are raw")]
MaxEpisodeSteps = Annotated[int, Field(ge=1, description="limit of a game in training, env_steps")]
EvaluationMaxEpisodeSteps = Annotated[
    int, Field(ge=1, description="limit of a game in evaluation, env_steps")
]


class EnvSettings(Settings):
    """Rules that every environment shares. One `env_step` is one action of the agent."""

    frame_stack: FrameStack
    clip_rewards: ClipRewards
    max_episode_steps: MaxEpisodeSteps
    evaluation_max_episode_steps: EvaluationMaxEpisodeSteps
    name: str  # name of the suite

    def cap(self, evaluation: bool) -> int:
        """env_steps after which a game is cut off."""
        return self.evaluation_max_episode_steps if evaluation else self.max_episode_steps

    @property
    def has_unseen_levels(self) -> bool:
        """Whether evaluation can play levels that are not used in training."""
        return False


LevelSet = Literal["all", "training", "unseen"]


class LevelSettings(EnvSettings):
    """Settings of an environment with many levels, one of which is selected by the seed."""

    levels: int = Field(
        default=0,
        ge=0,
        json_schema_extra={"neutral": 0},
        description="number of levels in training; evaluation uses only others; 0: all levels in "
        "both",
    )
    evaluation_levels: Literal["unseen", "training"] = Field(
        default="unseen",
        json_schema_extra={"neutral": "unseen"},
        description="levels of evaluation; no effect if env.levels is 0",
    )

    @property
    def has_unseen_levels(self) -> bool:
        """Whether evaluation can play levels that are not used in training."""
        return self.levels > 0

    def level_set(self, evaluation: bool) -> LevelSet:
        """The levels of an environment."""
        if not self.levels:
            return "all"
        return self.evaluation_levels if evaluation else "training"
