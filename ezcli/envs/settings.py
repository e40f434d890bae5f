"""Settings that all environments share; those of a suite stand in its own file."""

from typing import Annotated

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
