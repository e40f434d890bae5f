"""The 26 games of Atari 100k, and the random and human scores that normalise a game's score.

`human57.csv` holds the raw scores of a uniformly random policy and of a human tester in 57 games,
as google-deepmind/dqn_zoo (`atari_data.py`) and DreamerV3 (`baselines.yaml`) list them; the two
agree on every number. One number is disputed elsewhere: the random score of `video_pinball` is
16256.9 here and 0.0 in rliable and Dopamine. The 26 games of the benchmark agree in every source.

Games go by their ALE rom names. The emulator is loaded only by `all_games` and `check_game`.
"""

import csv
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ezcli.errors import ConfigError, UnknownName, closest, letters

OTHERS = ("catch", "keydoor")  # environments of ours that have no game to name
# Gymnasium's ids of a game, such as ALE/Pong-v5 and Pong-ramNoFrameskip-v4, and Dreamer's.
DECORATED = re.compile(
    r"(?:.*/)?(?:(?:ale|atari)[-_ ]?(?=..))?(?P<game>.+?)"
    r"(?:[-_]ram)?(?:-?NoFrameskip|-?Deterministic)?(?:[-_]v\d+)?",
    re.IGNORECASE,
)
BENCHMARK_FRAMES = 108_000  # of a game at most: half an hour at 60 Hz (EfficientZero appendix A.1)

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


def ends_as_in_the_benchmark(lengths: Iterable[int], cap: int, frame_skip: int) -> bool:
    """Whether games ended by themselves or at the benchmark's cap, which counts frames.

    Args:
      lengths: env_steps of each game.
      cap: env_steps at which a game was cut off.
      frame_skip: frames of an env_step. Where it does not divide the cap, a game that was cut off
        within the last env_step counts as whole.
    """
    is_cut_early = (cap + 1) * frame_skip <= BENCHMARK_FRAMES
    return all(
        length * frame_skip <= BENCHMARK_FRAMES and not (is_cut_early and length >= cap)
        for length in lengths
    )


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
    """Refuses a game that ALE does not have.

    Raises:
      ConfigError: with the nearest name, or the option that takes it.
    """
    games = all_games()
    if name in games:
        return
    if ".py:" in name:
        raise ConfigError(
            "EZ-ENV-NOT-ATARI", f"{name!r} is not an Atari game.", f"Use --env {name}."
        )
    for other in OTHERS:
        if letters(name) == letters(other):
            raise ConfigError(
                "EZ-ENV-NOT-ATARI", f"{name!r} is not an Atari game.", f"Use --env {other}."
            )
    raise UnknownName("game", name, games, essence=undecorated(name, games))


def check_env(name: str) -> None:
    """Refuses a name that `--env` does not take; the file or module of a class is not looked for.

    Raises:
      ConfigError: with the nearest name, or the option that takes it.
    """
    known = ("atari", *OTHERS)
    if name in known:
        return
    games = all_games()
    near = closest(undecorated(name, games), (*known, *games), cutoff=0.8)
    if near in games:
        raise ConfigError(
            "EZ-ENV-IS-A-GAME", f"{name!r} is not an environment.", f"For the game: --game {near}"
        )
    if ":" in name:
        return
    if name.endswith(".py"):
        raise ConfigError(
            "EZ-ENV-NO-CLASS-NAMED", f"--env {name} names no class.", f"Add it: --env {name}:MyEnv"
        )
    raise UnknownName("environment", name, (*known, "file.py:Class"))


def undecorated(name: str, games: tuple[str, ...]) -> str:
    """The part of a name that names a game: of `ALE/Pong-v5` it is `Pong`."""
    found = DECORATED.fullmatch(name)
    return name if found is None or letters(name) in map(letters, games) else found["game"]
