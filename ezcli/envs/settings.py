"""Settings of the environments: which game, and the rules of its episodes."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

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

    def cap(self, evaluation: bool) -> int:
        """env_steps after which a game is cut off."""
        return self.evaluation_max_episode_steps if evaluation else self.max_episode_steps


class AtariSettings(EnvSettings):
    """An ALE game under the Atari 100k protocol (EfficientZero appendix A.1)."""

    name: Literal["atari"]
    game: str = Field(description="rom name, such as 'ms_pacman'")
    frame_size: int = Field(ge=16, le=210, description="pixels; frames are resized to a square")
    grayscale: bool = Field(description="one luminance channel instead of RGB")
    frame_skip: int = Field(ge=2, description="frames per env_step; the last two are max-pooled")
    noop_max: int = Field(ge=0, description="frames; a game starts with 1 to this many no-ops")
    life_loss_ends_episode: bool = Field(description="while training; never in evaluation")


class CatchSettings(EnvSettings):
    """A ball falls, a paddle catches: +1 or -1 when it lands (bsuite's `catch`)."""

    name: Literal["catch"]
    rows: int = Field(default=10, ge=3, description="pixels; the ball falls one row a step")
    columns: int = Field(default=5, ge=2, description="pixels")
    frame_stack: FrameStack = 1
    clip_rewards: ClipRewards = False
    max_episode_steps: MaxEpisodeSteps = 100
    evaluation_max_episode_steps: EvaluationMaxEpisodeSteps = 100


class KeydoorSettings(EnvSettings):
    """Bring the key to the door, again and again; the door pays after a delay."""

    name: Literal["keydoor"]
    size: int = Field(default=3, ge=3, description="cells along each side of the room")
    delay: int = Field(default=3, ge=0, description="env_steps between the door and its reward")
    frame_stack: FrameStack = 1
    clip_rewards: ClipRewards = False
    max_episode_steps: MaxEpisodeSteps = 50
    evaluation_max_episode_steps: EvaluationMaxEpisodeSteps = 50


class CustomSettings(EnvSettings):
    """A user's own class: `module:Class` or `file.py:Class`."""

    name: Literal["custom"]
    target: str = Field(description="`file.py:Class`")
    code: dict[str, str] = Field(
        default={},
        json_schema_extra={"neutral": {}},
        description="start of the SHA-256 of each file of its code; none: not known",
    )
    frame_stack: FrameStack = 1
    clip_rewards: ClipRewards = False
    max_episode_steps: MaxEpisodeSteps = 1000
    evaluation_max_episode_steps: EvaluationMaxEpisodeSteps = 1000

    @field_validator("target")
    @classmethod
    def _names_a_class(cls, target: str) -> str:
        place, _, name = target.rpartition(":")
        if not place or ":" in place or not name.isidentifier():
            raise ValueError("it must be a file or a module, one colon and a class: file.py:Class")
        return target


AnyEnvSettings = Annotated[
    AtariSettings | CatchSettings | KeydoorSettings | CustomSettings, Field(discriminator="name")
]
