"""Runs with their scores, and groups of runs that may stand in one table."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from ezcli.config.run import RunConfig
from ezcli.envs.suite import Benchmark, Normalisation, Reference
from ezcli.envs.suites import benchmark_of, normalisation_of, reference_of, score_range_of
from ezcli.words import counted

FINAL = "final"  # the evaluation by which a run counts, unless another is asked for


class Point(NamedTuple):
    """A score on the way."""

    env_steps: int
    score: float  # mean over the evaluation's episodes


class Protocol(NamedTuple):
    """By which of its evaluations a run counts, and how that was played."""

    evaluation: str = FINAL  # its name
    seed: int = 0
    changes: Mapping[str, Any] = MappingProxyType({})  # settings other than the run's, by key


class Run(NamedTuple):
    """A finished run, as far as tables and plots need it."""

    name: str
    path: Path
    config: RunConfig
    score: float  # raw, mean over the episodes of the evaluation by which it counts
    episodes: int
    curve: tuple[Point, ...]  # evaluations on the way and at the end
    preset: str  # name or path, as the user gave it
    contract: dict[str, Any]  # what the environment said it is
    sessions: tuple[dict[str, Any], ...]  # versions and device of each process that trained it
    seconds: float | None  # of training; None if a session did not say
    code: Mapping[str, str] = MappingProxyType({})  # of an environment of one's own, if it is known
    follows_rules: bool = True  # whether its games were played as in the benchmark
    protocol: Protocol = Protocol()
    distinct: int = 0  # different scores among the episodes
    otherwise: Mapping[str, float] = MappingProxyType({})
    """Mean raw scores under other protocols than the run's own, by what they change."""

    @property
    def game(self) -> str:
        """What was played."""
        return self.config.env_label

    @property
    def final_score(self) -> float:
        """The raw score of the final evaluation, by whichever the run counts."""
        return self.curve[-1].score

    @property
    def can_be_normalised(self) -> bool:
        """Whether the run's score has a place on the benchmark's scale."""
        return self.reference is not None and self.follows_rules

    @property
    def reference(self) -> Reference | None:
        """The scores that normalise those of the run's game, where they are known."""
        return reference_of(self.config.env)

    def normalised(self, score: float) -> float:
        """A raw score of this run's game on the benchmark's scale; it must have a reference."""
        assert self.reference is not None, f"{self.game} has no reference scores"
        return self.reference.normalised(score)


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


def score_range(runs: Iterable[Run]) -> tuple[float, float]:
    """The lowest and the highest raw score that one of these runs can have."""
    lows, highs = zip(*(score_range_of(run.config.env) for run in runs), strict=True)
    return min(lows), max(highs)


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
    def presets(self) -> tuple[str, ...]:
        """Those of its runs, each once."""
        return tuple(dict.fromkeys([self.preset] if self.preset else [r.preset for r in self.runs]))

    @property
    def benchmark(self) -> Benchmark | None:
        """The one of the suite that the games belong to, under the rules that were played."""
        return benchmark_of(self.base.env, self.games)

    @property
    def normalised_games(self) -> set[str]:
        """Games where every score can be normalised."""
        runs = self.runs
        return {run.game for run in runs} - {run.game for run in runs if not run.can_be_normalised}

    @property
    def normalisation(self) -> Normalisation | None:
        """The scale on which it averages."""
        return normalisation_of(self.base.env)


def of_games(games: Sequence[str], benchmark: Benchmark | None, wanted: int = 0) -> str:
    """Such as `7 of 26 games`: of the benchmark, or of so many that were wanted."""
    if games and benchmark and set(games) <= set(benchmark.games):
        wanted = len(benchmark.games)
    elif wanted in (0, len(games)):
        return counted(len(games), "game")
    return f"{len(games)} of {wanted} games"
