"""Published scores of other agents on benchmarks, with sources.

They are shown beside measured scores and never averaged with them. For most agents only means per
game are published, so statistics over runs cannot be computed.
"""

import csv
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple

from pydantic import Field

from ezcli.envs.suite import Benchmark
from ezcli.envs.suites import SUITES
from ezcli.errors import UnknownName
from ezcli.settings import Settings

NEAR = 0.05  # largest relative distance between a score's frames and a budget
DEFAULT_AGAINST = tuple(
    name for suite in SUITES.values() if suite.benchmark for name in suite.benchmark.against
)


class About(Settings):
    """The source of an agent's scores, and how they were measured."""

    title: str
    kind: Literal["published", "re-run by others"]
    source: str
    protocol: str
    runs: int = Field(ge=0)  # runs per score; 0 if the source does not give it
    printed: tuple[float, float] | None = Field(default=None, strict=False)
    """Normalised mean and median as printed in the source."""
    recomputed: tuple[float, float] | None = Field(default=None, strict=False)
    """The same computed from the table, if it differs from the source."""


class Score(NamedTuple):
    """A published mean score, from a table with several budgets."""

    frames: int  # within `NEAR` of the budget
    score: float
    standard_error: float | None
    runs: int
    reading: str  # raw, digitised or read by eye


class Agent(NamedTuple):
    """An agent with published scores."""

    name: str
    about: About
    benchmark: Benchmark
    # mean score of each game after the most frames; some games may be missing
    raw: dict[str, float]
    normalised: dict[str, float]
    by_budget: dict[int, dict[str, Score]]  # empty if the benchmark has a single budget

    @property
    def title(self) -> str:
        """Its name beside the scores in `raw`."""
        budgets = self.benchmark.budgets
        return f"{self.about.title} at {frames_text(budgets[-1])}" if budgets else self.about.title


@cache
def published_agents() -> dict[str, Agent]:
    """All agents in the tables by name, in order."""
    benchmarks = [suite.benchmark for suite in SUITES.values() if suite.benchmark]
    return {agent.name: agent for one in benchmarks if one.published for agent in agents_of(one)}


def agents_of(benchmark: Benchmark) -> list[Agent]:
    """The agents in the tables of one benchmark."""
    folder = files("ezcli.reports")
    abouts = tomllib.loads((folder / f"{benchmark.published}.toml").read_text(encoding="utf-8"))
    table = (folder / f"{benchmark.published}.csv").read_text(encoding="utf-8")
    rows, references = list(csv.DictReader(table.splitlines())), benchmark.references()
    found = []
    for name, told in abouts.items():
        about = About.model_validate(told)
        by_budget = {
            budget: scores_near(budget, (row for row in rows if row["agent"] == name))
            for budget in benchmark.budgets
        }
        if by_budget:
            last = by_budget[benchmark.budgets[-1]]
            raw = {game: score.score for game, score in last.items()}
        else:
            raw = {row["game"]: float(row[name]) for row in rows}
        normalised = {game: references[game].normalised(score) for game, score in raw.items()}
        found.append(Agent(name, about, benchmark, raw, normalised, by_budget))
    return found


def scores_near(budget: int, rows: Iterable[Mapping[str, str]]) -> dict[str, Score]:
    """The scores of an agent at a budget in frames, by game."""
    return {
        row["game"]: Score(
            int(row["frames"]),
            float(row["score"]),
            float(row["standard_error"]) if row["standard_error"] else None,
            int(row["runs"]),
            row["reading"],
        )
        for row in rows
        if is_near(int(row["frames"]), budget)
    }


def is_near(frames: int, budget: int) -> bool:
    """Whether a number of frames is near a budget."""
    return abs(frames - budget) <= NEAR * budget


def frames_text(frames: int) -> str:
    """Such as `500k frames`, `5M frames`."""
    return f"{frames / 1e6:g}M frames" if frames >= 1e6 else f"{frames / 1e3:g}k frames"


def agents_beside(presets: Iterable[str]) -> list[Agent]:
    """The agents that a report shows unless others are named.

    Args:
      presets: presets of its runs; the agents that they follow are listed last.
    """
    followed = [
        suite.benchmark.likenesses[preset]
        for preset in presets
        for suite in SUITES.values()
        if suite.benchmark and preset in suite.benchmark.likenesses
    ]
    return agents_named([*DEFAULT_AGAINST, *followed])


def agents_named(names: Iterable[str]) -> list[Agent]:
    """The agents with these names, each once, in this order.

    Raises:
      UnknownName: there is no agent of a name.
    """
    known = published_agents()
    for name in names:
        if name not in known:
            raise UnknownName("published agent", name, known)
    return [known[name] for name in dict.fromkeys(names)]
