"""Settings and suites of two games of a few pixels, which are learnt in minutes on a CPU."""

from typing import Literal, Self

from pydantic import Field, model_validator

from ezcli.envs.settings import (
    ClipRewards,
    EnvSettings,
    EvaluationMaxEpisodeSteps,
    FrameStack,
    LevelSettings,
    MaxEpisodeSteps,
)
from ezcli.envs.suite import DefaultPreset, Learnt, Suite
from ezcli.settings import DoesNotFit


class CatchSettings(EnvSettings):
    """A ball falls, and a paddle catches it: +1 or -1 when it lands (bsuite's `catch`)."""

    name: Literal["catch"]
    rows: int = Field(default=10, ge=3, description="pixels; the ball falls one row a step")
    columns: int = Field(default=5, ge=2, description="pixels")
    frame_stack: FrameStack = 1
    clip_rewards: ClipRewards = False
    max_episode_steps: MaxEpisodeSteps = 100
    evaluation_max_episode_steps: EvaluationMaxEpisodeSteps = 100


class KeydoorSettings(LevelSettings):
    """Carry the key to the door, repeatedly. The reward comes after a delay.

    A level gives the first cells of agent and key, which differ from the door's.
    """

    name: Literal["keydoor"]
    size: int = Field(default=3, ge=3, description="cells along each side of the room")
    delay: int = Field(default=3, ge=0, description="env_steps between the door and its reward")
    frame_stack: FrameStack = 1
    clip_rewards: ClipRewards = False
    max_episode_steps: MaxEpisodeSteps = 50
    evaluation_max_episode_steps: EvaluationMaxEpisodeSteps = 50

    @property
    def num_levels(self) -> int:
        """The number of all levels."""
        cells = self.size**2 - 1
        return cells * (cells - 1)

    @model_validator(mode="after")
    def _some_levels_are_unseen(self) -> Self:
        if self.levels >= self.num_levels:
            most = self.num_levels - 1
            raise DoesNotFit(
                f"env.levels must be at most {most} with env.size = {self.size}, so that "
                "evaluation has unseen levels",
                "levels",
                "size",
                near={"levels": [most]},
            )
        return self


def _catch(settings: CatchSettings) -> type:
    from ezcli.envs.catch import Catch

    return Catch


def _keydoor(settings: KeydoorSettings) -> type:
    from ezcli.envs.keydoor import Keydoor

    return Keydoor


RANDOM, MAXIMUM = "random play", "maximum"


def _catch_landmarks(settings: CatchSettings) -> dict[str, float]:
    """Exact: wherever a random paddle ends, the ball lands there in one of `columns` games."""
    moves = settings.rows - 1
    if settings.cap(evaluation=True) < moves:  # no ball lands
        return {}
    middle = settings.columns // 2
    reached = sum(abs(column - middle) <= moves for column in range(settings.columns))
    return {RANDOM: 2 / settings.columns - 1, MAXIMUM: 2 * reached / settings.columns - 1}


def _keydoor_landmarks(settings: KeydoorSettings) -> dict[str, float]:
    from ezcli.envs.keydoor import expected_returns

    found = expected_returns(settings)
    return dict(zip((RANDOM, MAXIMUM), found, strict=True)) if found else {}


def _catch_range(settings: CatchSettings) -> tuple[float, float]:
    """One ball, caught or missed."""
    return -1.0, 1.0


def _keydoor_range(settings: KeydoorSettings) -> tuple[float, float]:
    """No reward is negative, and a door pays 1 at most once in two env_steps."""
    return 0.0, settings.cap(evaluation=True) / 2


def _catch_learnt(settings: CatchSettings) -> Learnt | None:
    """RESULTS.md: a mean return of 0.91; a study of 2,000 env_steps is too short."""
    if (settings.rows, settings.columns) != (10, 5):
        return None
    return Learnt(2800, "the preset catch had a mean return of 0.91")


def _keydoor_learnt(settings: KeydoorSettings) -> Learnt | None:
    """RESULTS.md: a mean return of 9.9, with the preset's network."""
    if (settings.size, settings.delay, settings.levels) != (3, 3, 0):
        return None
    return Learnt(8000, "the preset keydoor had a mean return of 9.9")


CATCH = Suite(
    name="catch",
    settings=CatchSettings,
    builder=_catch,
    title="catch",
    preset=DefaultPreset("catch", "catch", "it is the preset for this game"),
    landmarks=_catch_landmarks,
    score_range=_catch_range,
    learnt=_catch_learnt,
)
KEYDOOR = Suite(
    name="keydoor",
    settings=KeydoorSettings,
    builder=_keydoor,
    title="keydoor",
    preset=DefaultPreset("keydoor", "keydoor", "it is the preset for this game"),
    landmarks=_keydoor_landmarks,
    score_range=_keydoor_range,
    learnt=_keydoor_learnt,
)
