"""Settings that all environments share; those of a suite stand in its own file."""

from typing import Annotated, Literal

from pydantic import Field

from ezcli.settings import Settings

FrameStack = Annotated[
    int, Field(ge=1, description="frames; the last ones together are an observation")
]
ClipRewards = Annotated[
    bool, Field(description="train on the sign of each reward; scores stay raw")
]
MaxEpisodeSteps = Annotated[int, Field(ge=1, description="env_steps of one game while training")]
EvaluationMaxEpisodeSteps = Annotated[
    int, Field(ge=1, description="env_steps of one evaluated game")
]


class EnvSettings(Settings):
    """Rules that every environment shares. One `env_step` is one action of the agent."""

    frame_stack: FrameStack
    clip_rewards: ClipRewards
    max_episode_steps: MaxEpisodeSteps
    evaluation_max_episode_steps: EvaluationMaxEpisodeSteps
    name: str  # of the suite

    def cap(self, evaluation: bool) -> int:
        """env_steps after which a game is cut off."""
        return self.evaluation_max_episode_steps if evaluation else self.max_episode_steps

    @property
    def has_unseen_levels(self) -> bool:
        """Whether evaluation can play levels that training never meets."""
        return False


LevelSet = Literal["all", "training", "unseen"]


class LevelSettings(EnvSettings):
    """Of an environment whose games start from one of many levels, which its seed chooses."""

    levels: int = Field(
        default=0,
        ge=0,
        json_schema_extra={"neutral": 0},
        description="training meets only this many, evaluation only others; 0: all, in both",
    )
    evaluation_levels: Literal["unseen", "training"] = Field(
        default="unseen",
        json_schema_extra={"neutral": "unseen"},
        description="which of them evaluation plays; no matter where env.levels is 0",
    )

    @property
    def has_unseen_levels(self) -> bool:
        """Whether evaluation can play levels that training never meets."""
        return self.levels > 0

    def level_set(self, evaluation: bool) -> LevelSet:
        """Which levels an environment draws from."""
        if not self.levels:
            return "all"
        return self.evaluation_levels if evaluation else "training"
