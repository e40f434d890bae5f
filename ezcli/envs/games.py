"""The 26 games of Atari 100k, and the random and human scores that normalise a game's score.

`human57.csv` holds the raw scores of a uniformly random policy and of a human tester in 57 games,
as google-deepmind/dqn_zoo (`atari_data.py`) and DreamerV3 (`baselines.yaml`) list them; the two
agree on every number. One number is disputed elsewhere: the random score of `video_pinball` is
16256.9 here and 0.0 in rliable and Dopamine. The 26 games of the benchmark agree in every source.

Games go by their ALE rom names. The emulator is loaded only by `all_games` and `check_game`.
"""

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ezcli.errors import ConfigError, UnknownName

BENCHMARK_CAP = 27_000  # env_steps of a game: 108,000 frames (EfficientZero appendix A.1)

# Kaiser et al., "Model-Based Reinforcement Learning for Atari", 2019: the benchmark's choice.
ATARI_100K: tuple[str, ...] = (
    "alien",
    "amidar",
    "assault",
    "asterix",
    "bank_heist",
    "battle_zone",
    "boxing",
    "breakout",
    "chopper_command",
    "crazy_climber",
    "demon_attack",
    "freeway",
    "frostbite",
    "gopher",
    "hero",
    "jamesbond",
    "kangaroo",
    "krull",
    "kung_fu_master",
    "ms_pacman",
    "pong",
    "private_eye",
    "qbert",
    "road_runner",
    "seaquest",
    "up_n_down",
)


class ReferenceScores(NamedTuple):
    """Raw scores of one game."""

    random: float  # mean of a uniformly random policy
    human: float  # mean of a human tester


@cache
def reference_scores() -> dict[str, ReferenceScores]:
    """The random and human scores of 57 games, by rom name."""
    with (Path(__file__).parent / "human57.csv").open(newline="", encoding="utf-8") as file:
        return {
            row["game"]: ReferenceScores(float(row["random"]), float(row["human"]))
            for row in csv.DictReader(file)
        }


def human_normalised(game: str, score: float) -> float:
    """A raw score on the scale where the random policy is 0 and the human tester is 1."""
    scores = reference_scores()
    if game not in scores:
        raise UnknownName("game with a human score", game, scores)
    random, human = scores[game]
    return (score - random) / (human - random)


def all_games() -> tuple[str, ...]:
    """The rom names of every game that ALE can play."""
    from ale_py import ALEInterface, roms  # lazy: reports need the scores, not an emulator

    # Of its own list, ALE cannot play four games for two; loading one would end the process.
    return tuple(
        sorted(
            name
            for name in roms.get_all_rom_ids()
            if ALEInterface.isSupportedROM(roms.get_rom_path(name)) is not None
        )
    )


def check_game(name: str) -> None:
    """Raises `UnknownName`, with the nearest name, for a game that ALE does not have."""
    games = all_games()
    if name in ("catch", "keydoor"):
        raise ConfigError(f"{name!r} is no Atari game.", f"Use --env {name}.")
    if name not in games:
        raise UnknownName("game", name, games)
