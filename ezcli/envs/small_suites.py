"""The two games of a few pixels that are learnt in minutes on a CPU: their settings and suites."""

from typing import Literal

from pydantic import Field

from ezcli.envs.settings import (
    ClipRewards,
    EnvSettings,
    EvaluationMaxEpisodeSteps,
    FrameStack,
    MaxEpisodeSteps,
)
from ezcli.envs.suite import DefaultPreset, Suite


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


def _catch(settings: CatchSettings) -> type:
    from ezcli.envs.catch import Catch

    return Catch


def _keydoor(settings: KeydoorSettings) -> type:
    from ezcli.envs.keydoor import Keydoor

    return Keydoor


CATCH = Suite(
    name="catch",
    settings=CatchSettings,
    builder=_catch,
    title="catch",
    preset=DefaultPreset("catch", "catch", "it is made for that game"),
)
KEYDOOR = Suite(
    name="keydoor",
    settings=KeydoorSettings,
    builder=_keydoor,
    title="keydoor",
    preset=DefaultPreset("keydoor", "keydoor", "it is made for that game"),
)
