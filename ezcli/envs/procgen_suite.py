"""Procgen as a suite: 16 games of generated levels (Cobbe et al. 2020, arXiv:1912.01588).

The games are those of `envpool`, an extra that runs on Linux and needs the libraries of Qt 5. Only
functions import it. A level is a number that determines the map and all events in a game.
"""

import sys
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from ezcli.envs.settings import (
    ClipRewards,
    EvaluationMaxEpisodeSteps,
    FrameStack,
    LevelSettings,
    MaxEpisodeSteps,
)
from ezcli.envs.suite import Benchmark, Check, DefaultPreset, Games, Normalisation, Reference, Suite
from ezcli.errors import letters
from ezcli.settings import DoesNotFit

# The constants of the normalised return in Cobbe et al. (2020), appendix C: zero is the return of
# an agent without observations, one is about the largest possible return.
HARD = {
    "bigfish": Reference(zero=0.0, one=40.0),
    "bossfight": Reference(zero=0.5, one=13.0),
    "caveflyer": Reference(zero=2.0, one=13.4),
    "chaser": Reference(zero=0.5, one=14.2),
    "climber": Reference(zero=1.0, one=12.6),
    "coinrun": Reference(zero=5.0, one=10.0),
    "dodgeball": Reference(zero=1.5, one=19.0),
    "fruitbot": Reference(zero=-0.5, one=27.2),
    "heist": Reference(zero=2.0, one=10.0),
    "jumper": Reference(zero=1.0, one=10.0),
    "leaper": Reference(zero=1.5, one=10.0),
    "maze": Reference(zero=4.0, one=10.0),
    "miner": Reference(zero=1.5, one=20.0),
    "ninja": Reference(zero=2.0, one=10.0),
    "plunder": Reference(zero=3.0, one=30.0),
    "starpilot": Reference(zero=1.5, one=35.0),
}
EASY = {
    "bigfish": Reference(zero=1.0, one=40.0),
    "bossfight": Reference(zero=0.5, one=13.0),
    "caveflyer": Reference(zero=3.5, one=12.0),
    "chaser": Reference(zero=0.5, one=13.0),
    "climber": Reference(zero=2.0, one=12.6),
    "coinrun": Reference(zero=5.0, one=10.0),
    "dodgeball": Reference(zero=1.5, one=19.0),
    "fruitbot": Reference(zero=-1.5, one=32.4),
    "heist": Reference(zero=3.5, one=10.0),
    "jumper": Reference(zero=3.0, one=10.0),
    "leaper": Reference(zero=3.0, one=10.0),
    "maze": Reference(zero=5.0, one=10.0),
    "miner": Reference(zero=1.5, one=13.0),
    "ninja": Reference(zero=3.5, one=10.0),
    "plunder": Reference(zero=4.5, one=30.0),
    "starpilot": Reference(zero=2.5, one=64.0),
}
GAMES = tuple(HARD)
LEVELS = 2**31 - 1  # number of levels of each game
LIMITS = {"bigfish": 6000, "bossfight": 4000, "leaper": 500, "maze": 500, "plunder": 4000}
USUAL_LIMIT = 1000  # limit of other games, env_steps
LONGEST_GAME = max(LIMITS.values())
PREFIX = "procgen/"  # prefix of a game in `--game` and `--env`
INSTALL = "pip install 'ezcli[procgen]'"
INSTALL_QT = (
    "On Debian and Ubuntu: apt-get install libqt5gui5; on Fedora: dnf install qt5-qtbase-gui"
)
QT = "libQt5Gui.so.5"


class ProcgenSettings(LevelSettings):
    """A Procgen game as published: RGB frames of 64 x 64 pixels, 15 actions, one frame per action.

    A game ends after 1,000 env_steps; leaper and maze after 500, bossfight and plunder after 4,000,
    bigfish after 6,000. Training levels are `start_level` to `start_level + levels`, exclusive.
    """

    name: Literal["procgen"]
    game: str = Field(description="name in Procgen, such as 'coinrun'")
    difficulty: Literal["easy", "hard"] = Field(default="hard", description="Procgen's difficulty")
    start_level: int = Field(
        default=0, ge=0, lt=LEVELS, description="number of the first of env.levels training levels"
    )
    frame_stack: FrameStack = 1
    clip_rewards: ClipRewards = False
    max_episode_steps: MaxEpisodeSteps = LONGEST_GAME
    evaluation_max_episode_steps: EvaluationMaxEpisodeSteps = LONGEST_GAME

    @model_validator(mode="after")
    def _levels_are_procgens(self) -> Self:
        if self.start_level and not self.levels:
            raise DoesNotFit(
                "env.start_level must be 0 with env.levels = 0, which means all levels",
                "start_level",
                "levels",
                near={"start_level": [0]},
            )
        most = LEVELS - 1 - self.start_level
        if self.levels > most:
            raise DoesNotFit(
                f"env.levels must be at most {most} with env.start_level = {self.start_level}, "
                "so that evaluation has unseen levels",
                "levels",
                "start_level",
                near={"levels": [most], "start_level": [LEVELS - 1 - self.levels]},
            )
        return self


class Missing(NamedTuple):
    """A reason why this machine cannot play Procgen."""

    what: str
    remedy: str


def missing() -> Missing | None:
    """What this machine lacks for Procgen. Loads Qt, but not envpool."""
    import ctypes
    import importlib.util

    if sys.platform != "linux":
        remedy = "Use Linux, or a container or virtual machine with it."
        return Missing("Procgen runs only on Linux, because envpool has no other build", remedy)
    if importlib.util.find_spec("envpool") is None:
        return Missing("envpool is not installed", INSTALL)
    try:
        ctypes.CDLL(QT)
    except OSError as error:
        return Missing(f"Qt 5 cannot be loaded: {error}", INSTALL_QT)
    return None


def installed() -> Check:
    """Checks that everything that Procgen needs is installed."""
    lacks = missing()
    if lacks is None:
        return Check("Procgen", True, f"all {len(GAMES)} games", "")
    return Check("Procgen", True, lacks.what, f"For Procgen: {lacks.remedy}")


def tables(text: str) -> dict[str, Any] | None:
    """The table `env` for `--env procgen` or `--env procgen/coinrun`."""
    if text == "procgen":
        return {"name": "procgen"}
    game = text.removeprefix(PREFIX)
    return {"name": "procgen", "game": game} if text.startswith(PREFIX) else None


def undecorated(name: str, games: tuple[str, ...]) -> str:
    """The name of a game without decoration: `coinrun` for `CoinrunHard-v0`."""
    plain = letters(name.partition("-v")[0])
    inside = [game for game in games if letters(game) in plain]
    return inside[0] if inside else name


def label(env: ProcgenSettings) -> str:
    """The game, with its difficulty unless it is the default."""
    return label_of(env.game, env.difficulty)


def label_of(game: str, difficulty: str) -> str:
    """Like `label`."""
    return f"procgen-{game}" + ("" if difficulty == "hard" else f"-{difficulty}")


def references() -> dict[str, Reference]:
    """The normalisation constants of both difficulties, by label."""
    return {
        label_of(game, difficulty): constants[game]
        for difficulty, constants in (("hard", HARD), ("easy", EASY))
        for game in GAMES
    }


def ends_as_published(env: ProcgenSettings, lengths: Iterable[int], cap: int) -> bool:
    """Whether no game was cut off before Procgen's own limit.

    Args:
      env: settings of the environment.
      lengths: env_steps of each game.
      cap: limit of a game in env_steps.
    """
    return cap >= LIMITS.get(env.game, USUAL_LIMIT) or all(length < cap for length in lengths)


def _builder(settings: ProcgenSettings) -> type:
    from ezcli.envs.procgen import Procgen

    return Procgen


PROCGEN = Suite(
    name="procgen",
    settings=ProcgenSettings,
    builder=_builder,
    title="Procgen",
    preset=DefaultPreset("procgen", "procgen", "it is the preset for Procgen"),
    label=label,
    takes="procgen/coinrun",
    prefix=PREFIX,
    tables=tables,
    played=("game", "difficulty"),
    games=Games(lambda: GAMES, {"procgen16": GAMES}, undecorated),
    benchmark=Benchmark(
        "Procgen",
        tuple(label_of(game, "hard") for game in GAMES),
        Normalisation(
            "Procgen-normalised",
            zero="an agent without observations",
            one="about the largest possible return",
        ),
        references,
        "no game cut off before Procgen's own time limit",
        ends_as_published,
    ),
    installed=("envpool",),
    frame_bytes=lambda env: 3 * 64 * 64,
    fps=lambda env: 15,
    check=installed,
)
