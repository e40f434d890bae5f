"""MinAtar as a suite: five Atari games on 10 x 10 cells (Young and Tian 2019, arXiv:1903.03176).

The protocol is that of the published curves: version 1.0.15, all six actions, sticky actions with
probability 0.1, rising difficulty, no frame stack. Games have the package's names. Only functions
import the package, which is an extra.
"""

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field

from ezcli.envs.settings import EnvSettings
from ezcli.envs.suite import (
    Benchmark,
    Check,
    DefaultPreset,
    Games,
    Normalisation,
    Reference,
    Suite,
)
from ezcli.settings import Share

GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
PREFIX = "minatar/"  # prefix of a game in `--game` and `--env`
INSTALL = "pip install 'ezcli[minatar]'"


# Zero: random play of all six actions, measured under this protocol over 1,000 games (Freeway 200).
# One: the best published training return after 5,000,000 frames, of agents that use the package
# (`ezcli/reports/published_minatar.csv`).
REFERENCES = {
    "minatar-asterix": Reference(zero=0.513, one=28.05),  # UCB exploration
    "minatar-breakout": Reference(zero=0.5, one=19.51),  # Bootstrapped DQN
    "minatar-freeway": Reference(zero=0.125, one=60.74),  # Ensemble DQN
    "minatar-seaquest": Reference(zero=0.081, one=21.91),  # Ensemble DQN
    "minatar-space_invaders": Reference(zero=2.815, one=185.77),  # AC(0.8)
}


class MinatarSettings(EnvSettings):
    """A MinAtar game under the protocol of the published curves."""

    name: Literal["minatar"]
    game: str = Field(description="name in MinAtar, such as 'space_invaders'")
    sticky: Share = Field(description="probability that the last action is repeated")
    ramping: bool = Field(description="raise the difficulty during a game")


def tables(text: str) -> dict[str, Any] | None:
    """The table `env` for `--env minatar` or `--env minatar/breakout`."""
    if text == "minatar":
        return {"name": "minatar"}
    game = text.removeprefix(PREFIX)
    return {"name": "minatar", "game": game} if text.startswith(PREFIX) else None


def undecorated(name: str, games: tuple[str, ...]) -> str:
    """The name of a game without decoration: `Breakout` for `MinAtar/Breakout-v1`."""
    return name.rpartition("/")[2].partition("-v")[0]


def follows_rules(env: MinatarSettings, lengths: Iterable[int], cap: int) -> bool:
    """Whether games followed the protocol of the published scores.

    Args:
      env: settings of the environment.
      lengths: env_steps of each game.
      cap: limit of a game in env_steps.
    """
    return env.sticky == 0.1 and env.ramping and all(length < cap for length in lengths)


def installed() -> Check:
    """Checks that the package can be imported."""
    import importlib.util

    is_there = importlib.util.find_spec("minatar") is not None
    if is_there:
        return Check("MinAtar", True, f"all {len(GAMES)} games", "")
    return Check("MinAtar", True, "not installed", f"For MinAtar: {INSTALL}")


def _builder(settings: MinatarSettings) -> type:
    from ezcli.envs.minatar import MinAtar

    return MinAtar


MINATAR = Suite(
    name="minatar",
    settings=MinatarSettings,
    builder=_builder,
    title="MinAtar",
    preset=DefaultPreset("minatar", "minatar", "it is the preset for MinAtar"),
    presets=("minatar",),
    label=lambda env: f"minatar-{env.game}",
    takes="minatar/breakout",
    tables=tables,
    played=("game",),
    games=Games(lambda: GAMES, {"minatar5": GAMES}, undecorated),
    benchmark=Benchmark(
        "MinAtar",
        tuple(REFERENCES),
        Normalisation(
            "best-published-normalised", zero="random play", one="best published at 5M frames"
        ),
        lambda: REFERENCES,
        "sticky actions with probability 0.1, rising difficulty, and no game cut off",
        follows_rules,
        published="published_minatar",
        against=(
            "minatar-dqn",
            "minatar-ac-traces",
            "minatar-bootstrapped-dqn",
            "minatar-ensemble-dqn",
        ),
        budgets=(100_000, 500_000, 1_000_000, 5_000_000),
    ),
    installed=("minatar",),
    frame_bytes=lambda env: 10 * 10 * 10,
    fps=lambda env: 15,
    check=installed,
)
