"""Atari as a suite: settings, the 26 games of Atari 100k, and reference scores.

`human57.csv` holds the raw scores of a uniformly random policy and of a human tester in 57 games,
as in google-deepmind/dqn_zoo (`atari_data.py`) and DreamerV3 (`baselines.yaml`), which agree on
every number. Other sources differ in one: the random score of `video_pinball` is 16256.9 here but
0.0 in rliable and Dopamine. All sources agree on the 26 games of the benchmark.

Games have their ALE rom names. Only functions import the emulator.
"""

import contextlib
import csv
import io
import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from ezcli.envs.settings import EnvSettings
from ezcli.envs.suite import (
    REINSTALL,
    Benchmark,
    Check,
    DefaultPreset,
    Games,
    Learnt,
    Normalisation,
    Reference,
    Suite,
)
from ezcli.errors import letters
from ezcli.settings import Share

CONSOLE_FPS = 60  # frames a second
# Ids of a game in Gymnasium, such as ALE/Pong-v5 and Pong-ramNoFrameskip-v4, and in Dreamer.
DECORATED = re.compile(
    r"(?:.*/)?(?:(?:ale|atari)[-_ ]?(?=..))?(?P<game>.+?)"
    r"(?:[-_]ram)?(?:-?NoFrameskip|-?Deterministic)?(?:[-_]v\d+)?",
    re.IGNORECASE,
)
BENCHMARK_FRAMES = 108_000  # limit of a game: half an hour at 60 Hz (EfficientZero appendix A.1)

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


class AtariSettings(EnvSettings):
    """An ALE game under the Atari 100k protocol (EfficientZero appendix A.1).

    Machado et al. (2018, arXiv:1709.06009) recommend another protocol: sticky actions with
    probability 0.25 instead of no-ops, the full action set, and episodes that do not end with a
    life.
    """

    name: Literal["atari"]
    game: str = Field(description="rom name, such as 'ms_pacman'")
    frame_size: int = Field(ge=16, le=160, description="width and height of frames, pixels")
    grayscale: bool = Field(description="one luminance channel instead of RGB")
    frame_skip: int = Field(ge=2, description="frames per env_step; the last two are max-pooled")
    noop_max: int = Field(
        ge=0, description="largest number of no-ops at the start, frames; at least 1"
    )
    life_loss_ends_episode: bool = Field(
        description="end episodes with a life in training; never in evaluation"
    )
    sticky: Share = Field(
        default=0.0,
        json_schema_extra={"neutral": 0.0},
        description="probability that a frame repeats the action of the previous frame",
    )
    full_action_set: bool = Field(
        default=False,
        json_schema_extra={"neutral": False},
        description="use all 18 actions instead of the actions of the game",
    )


@cache
def reference_scores() -> dict[str, Reference]:
    """The random and human scores of 57 games by rom name."""
    with (Path(__file__).parent / "human57.csv").open(newline="", encoding="utf-8") as file:
        return {
            row["game"]: Reference(float(row["random"]), float(row["human"]))
            for row in csv.DictReader(file)
        }


HUMAN_NORMALISED = Normalisation("human-normalised", zero="random play", one="human")
ATARI_57 = tuple(reference_scores())
# The best of many subsets of five games for predicting the IQM over all 26.
FIVE = frozenset({"assault", "boxing", "breakout", "hero", "ms_pacman"})
FIVE_TELL = (
    "a linear model of these games predicts the IQM over all 26 games of 42 published agents "
    "with a leave-one-out R2 of 0.95, which is optimistic, because they are the best of many "
    "subsets"
)


def ends_as_in_the_benchmark(env: AtariSettings, lengths: Iterable[int], cap: int) -> bool:
    """Whether games ended by themselves or at the benchmark's limit in frames.

    If `frame_skip` does not divide the limit, a game that was cut off within the last env_step
    counts as complete.

    Args:
      env: settings of the environment.
      lengths: env_steps of each game.
      cap: limit of a game in env_steps.
    """
    is_cut_early = (cap + 1) * env.frame_skip <= BENCHMARK_FRAMES
    return all(
        length * env.frame_skip <= BENCHMARK_FRAMES and not (is_cut_early and length >= cap)
        for length in lengths
    )


def all_games() -> tuple[str, ...]:
    """The rom names of all games that ALE can play."""
    from ale_py import ALEInterface, roms  # lazy: reports need the scores, not an emulator

    # ALE's list has four games for two players that it cannot play; loading one ends the process.
    return tuple(
        sorted(
            name
            for name in roms.get_all_rom_ids()
            if ALEInterface.isSupportedROM(roms.get_rom_path(name)) is not None
        )
    )


def undecorated(name: str, games: tuple[str, ...]) -> str:
    """The name of a game without decoration: `Pong` for `ALE/Pong-v5`."""
    found = DECORATED.fullmatch(name)
    return name if found is None or letters(name) in map(letters, games) else found["game"]


def roms() -> Check:
    """Checks that the emulator loads and the roms of the benchmark's games are intact."""
    name = "Atari roms"
    try:
        from ale_py.roms import get_rom_path
    except (ImportError, OSError) as error:
        return Check(name, False, f"ale-py cannot be imported: {error}", REINSTALL)
    missing = []
    for game in ATARI_100K:
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints its search path
                get_rom_path(game)
        except OSError:  # missing, or its checksum differs
            missing.append(game)
    if not missing:
        return Check(name, True, f"all {len(ATARI_100K)} games of the benchmark", "")
    remedy = "They come with ale-py: `pip install --force-reinstall ale-py`"
    if "ALE_ROMS_DIR" in os.environ:
        remedy = "Unset ALE_ROMS_DIR to use the roms that come with ale-py"
    return Check(name, False, f"missing or damaged: {', '.join(missing)}", remedy + ".")


def _builder(settings: AtariSettings) -> type:
    from ezcli.envs.atari import AtariEnv

    return AtariEnv


ATARI = Suite(
    name="atari",
    settings=AtariSettings,
    builder=_builder,
    title="Atari",
    preset=DefaultPreset(gpu="atari100k", cpu="atari-cpu"),
    presets=(
        "atari100k",
        "atari-cpu",
        "efficientzero-v2",
        "atari-cpu-v2",
        "spr-control",
        "smoke",
    ),
    label=lambda env: env.game,
    played=("game",),
    games=Games(all_games, {"atari26": ATARI_100K, "atari57": ATARI_57}, undecorated),
    benchmark=Benchmark(
        "Atari 100k",
        ATARI_100K,
        HUMAN_NORMALISED,
        reference_scores,
        f"a game ends by itself or after {BENCHMARK_FRAMES:,} frames",
        ends_as_in_the_benchmark,
        published="published",
        against=("efficientzero", "efficientzero-rerun"),
        likenesses={
            "efficientzero-v2": "efficientzero-v2",
            "atari-cpu-v2": "efficientzero-v2",
            "spr-control": "spr",
        },
        has_rules=lambda env: not env.sticky and not env.full_action_set,
        subsets={FIVE: FIVE_TELL},
        otherwise=Benchmark(
            "57 Atari games",
            ATARI_57,
            HUMAN_NORMALISED,
            reference_scores,
            f"a game ends by itself or after {BENCHMARK_FRAMES:,} frames",
            ends_as_in_the_benchmark,
        ),
    ),
    installed=("ale_py", "rom_md5"),
    seeds=3,
    frame_bytes=lambda env: (1 if env.grayscale else 3) * env.frame_size**2,
    fps=lambda env: max(1, round(CONSOLE_FPS / env.frame_skip)),
    learnt=lambda env: Learnt(100_000, "scores of Atari 100k are published"),
    check=roms,
)
