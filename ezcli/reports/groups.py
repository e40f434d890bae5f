"""Runs with their scores, and groups of runs that may stand in one table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from ezcli.config import RunConfig
from ezcli.envs.games import ATARI_100K, human_normalised, reference_scores
from ezcli.words import counted


class Point(NamedTuple):
    """A score on the way."""

    env_steps: int
    score: float  # mean over the evaluation's episodes


class Run(NamedTuple):
    """A finished run, as far as tables and plots need it."""

    name: str
    path: Path
    config: RunConfig
    score: float  # raw, mean over the episodes of the final evaluation
    episodes: int
    curve: tuple[Point, ...]  # evaluations on the way and at the end
    preset: str  # name or path, as the user gave it
    contract: dict[str, Any]  # what the environment said it is
    sessions: tuple[dict[str, Any], ...]  # versions and device of each process that trained it
    seconds: float | None  # of training; None if a session did not say
    code: Mapping[str, str] = MappingProxyType({})  # of an environment of one's own, if it is known
    is_whole: bool = True  # whether the final games of Atari ended as the benchmark has them end

    @property
    def game(self) -> str:
        """What was played."""
        return self.config.env_label

    @property
    def has_human_score(self) -> bool:
        """Whether the run's score can be human-normalised."""
        is_known = self.config.env.name == "atari" and self.game in reference_scores()
        return is_known and self.is_whole

    def normalised(self, score: float) -> float:
        """A raw score of this run's game, human-normalised."""
        return human_normalised(self.game, score)


class Missing(NamedTuple):
    """A run that was wanted and has no score."""

    name: str
    arm: str
    game: str
    seed: int
    why: str


class ArmScores(NamedTuple):
    """The runs of one arm."""

    name: str
    drops: tuple[str, ...]
    changes: dict[str, Any]  # settings that differ from the full agent's, by dotted key
    runs: dict[str, dict[int, Run]]  # by game and seed

    @property
    def games(self) -> list[str]:
        """Games with a score, by name."""
        return sorted(self.runs)


class Group(NamedTuple):
    """Runs that may stand in one table."""

    name: str  # of the study, or what the runs have in common
    kind: Literal["study", "agent"]
    base: RunConfig  # the full agent; its seed and game are one run's
    arms: tuple[ArmScores, ...]
    games: tuple[str, ...]  # all that were wanted, by name
    missing: tuple[Missing, ...]
    go_on: str = ""  # the command that trains what is missing
    preset: str = ""  # of a study: its runs were trained from a copy

    @property
    def runs(self) -> list[Run]:
        """Every run, each once."""
        every = [run for arm in self.arms for seeds in arm.runs.values() for run in seeds.values()]
        return list({run.path: run for run in every}.values())

    @property
    def human_games(self) -> set[str]:
        """Games where every score can be human-normalised."""
        runs = self.runs
        return {run.game for run in runs} - {run.game for run in runs if not run.has_human_score}


def of_games(games: Sequence[str], group: Group | None = None) -> str:
    """Such as `7 of 26 games`: of the benchmark, or of what the group wanted."""
    is_atari = group is None or group.base.env.name == "atari"
    if games and is_atari and set(games) <= set(ATARI_100K):
        return f"{len(games)} of {len(ATARI_100K)} games"
    if group is None or len(games) == len(group.games):
        return counted(len(games), "game")
    return f"{len(games)} of {len(group.games)} games"
