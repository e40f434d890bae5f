"""MinAtar as a suite: five Atari games on 10 x 10 cells (Young and Tian 2019, arXiv:1903.03176).

The protocol is that of the published curves: version 1.0.15, all six actions, sticky actions with
probability 0.1, difficulty that rises, no frame stack. Games go by the package's names. Only
functions import the package, which is an extra.
"""

from typing import Any, Literal

from pydantic import Field

from ezcli.envs.settings import EnvSettings
from ezcli.envs.suite import Check, DefaultPreset, Games, Suite
from ezcli.settings import Share

GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
PREFIX = "minatar/"  # of a game, for `--game` and `--env`
INSTALL = "pip install 'ezcli[minatar]'"


class MinatarSettings(EnvSettings):
    """A MinAtar game under the protocol of the published curves."""

    name: Literal["minatar"]
    game: str = Field(description="name in MinAtar, such as 'space_invaders'")
    sticky: Share = Field(description="probability that the last action is repeated instead")
    ramping: bool = Field(description="whether the difficulty rises during a game")


def tables(text: str) -> dict[str, Any] | None:
    """The table that `--env minatar` or `--env minatar/breakout` means."""
    if text == "minatar":
        return {"name": "minatar"}
    game = text.removeprefix(PREFIX)
    return {"name": "minatar", "game": game} if text.startswith(PREFIX) else None


def undecorated(name: str, games: tuple[str, ...]) -> str:
    """The part of a name that names a game: of `MinAtar/Breakout-v1` it is `Breakout`."""
    return name.rpartition("/")[2].partition("-v")[0]


def installed() -> Check:
    """The package can be imported."""
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
    preset=DefaultPreset("minatar", "minatar", "it is made for MinAtar"),
    presets=("minatar",),
    label=lambda env: f"minatar-{env.game}",
    takes="minatar/breakout",
    tables=tables,
    played=("game",),
    games=Games(lambda: GAMES, {"minatar5": GAMES}, undecorated),
    installed=("minatar",),
    frame_bytes=lambda env: 10 * 10 * 10,
    fps=lambda env: 15,
    check=installed,
)
