"""Runs with their scores, and groups of comparable runs."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from ezcli.config.run import RunConfig
from ezcli.envs.suite import Benchmark, Normalisation, Reference
from ezcli.envs.suites import benchmark_of, normalisation_of, reference_of, score_range_of
from ezcli.words import counted

FINAL = "final"  # the reported evaluation, unless another is requested


class Point(NamedTuple):
    """A score during training."""

    env_steps: int
    score: float  # mean over the evaluation's episodes


class Protocol(NamedTuple):
    """The reported evaluation of a run, and its protocol."""

    evaluation: str = FINAL  # its name
    seed: int = 0
    changes: Mapping[str, Any] = MappingProxyType({})  # settings that differ from the run's, by key


class Run(NamedTuple):
    """The data of a finished run for tables and plots."""

    name: str
    path: Path
    config: RunConfig
    score: float  # raw, mean over the episodes of the reported evaluation
    episodes: int
    curve: tuple[Point, ...]  # interim evaluations and the final one
    preset: str  # name or path, as the user gave it
    contract: dict[str, Any]  # contract of the environment
    sessions: tuple[dict[str, Any], ...]  # versions and device of each session
    seconds: float | None  # of training; None if a session did not record it
    # code of a user's environment, if it is recorded
    code: Mapping[str, str] = MappingProxyType({})
    follows_rules: bool = True  # whether its games followed the rules of the benchmark
    protocol: Protocol = Protocol()
    distinct: int = 0  # number of distinct scores among the episodes
    otherwise: Mapping[str, float] = MappingProxyType({})
    """Mean raw scores under protocols other than the run's, by their changes."""

    @property
    def game(self) -> str:
        """The game or environment."""
        return self.config.env_label

    @property
    def final_score(self) -> float:
        """The raw score of the final evaluation, also if another one is reported."""
        return self.curve[-1].score

    @property
    def can_be_normalised(self) -> bool:
        """Whether the run's score can be normalised on the benchmark's scale."""
        return self.reference is not None and self.follows_rules

    @property
    def reference(self) -> Reference | None:
        """The reference scores of the run's game, if known."""
        return reference_of(self.config.env)

    def normalised(self, score: float) -> float:
        """A raw score of this run's game on the benchmark's scale.

        The game must have reference scores.
        """
        assert self.reference is not None, f"{self.game} has no reference scores"
        return self.reference.normalised(score)


class Missing(NamedTuple):
    """A run of the group without a score."""

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
    runs: dict[str, dict[int, Run]]  # in order of game and seed

    @property
    def games(self) -> list[str]:
        """Games with a score, by name."""
        return sorted(self.runs)


def score_range(runs: Iterable[Run]) -> tuple[float, float]:
    """The lowest and the highest raw score that one of these runs can have."""
    lows, highs = zip(*(score_range_of(run.config.env) for run in runs), strict=True)
    return min(lows), max(highs)


class Group(NamedTuple):
    """Comparable runs."""

    name: str  # name of the study, or of the runs' agent
    kind: Literal["study", "agent"]
    base: RunConfig  # config of the full agent; with seed and game of one run
    arms: tuple[ArmScores, ...]
    games: tuple[str, ...]  # all expected games, by name
    missing: tuple[Missing, ...]
    go_on: str = ""  # the command that trains missing runs
    preset: str = ""  # preset of a study, from which its runs were trained

    @property
    def runs(self) -> list[Run]:
        """All runs, each once."""
        every = [run for arm in self.arms for seeds in arm.runs.values() for run in seeds.values()]
        return list({run.path: run for run in every}.values())

    @property
    def presets(self) -> tuple[str, ...]:
        """The presets of its runs, each once."""
        return tuple(dict.fromkeys([self.preset] if self.preset else [r.preset for r in self.runs]))

    @property
    def benchmark(self) -> Benchmark | None:
        """The benchmark of the suite, under the rules that were played."""
        return benchmark_of(self.base.env, self.games)

    @property
    def normalised_games(self) -> set[str]:
        """Games where every score can be normalised."""
        runs = self.runs
        return {run.game for run in runs} - {run.game for run in runs if not run.can_be_normalised}

    @property
    def normalisation(self) -> Normalisation | None:
        """The benchmark's scale."""
        return normalisation_of(self.base.env)


def of_games(games: Sequence[str], benchmark: Benchmark | None, wanted: int = 0) -> str:
    """Such as `7 of 26 games`: out of the benchmark, or out of `wanted` games."""
    if games and benchmark and set(games) <= set(benchmark.games):
        wanted = len(benchmark.games)
    elif wanted in (0, len(games)):
        return counted(len(games), "game")
    return f"{len(games)} of {wanted} games"
