"""Published scores of other agents on the benchmarks of suites, each with its source.

They stand beside what was measured and never enter an average with it. Only means of each game are
published of most agents, so nothing that needs single runs can be said of them.
"""

import csv
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple

from pydantic import Field

from ezcli.envs.suite import Benchmark
from ezcli.envs.suites import SUITES
from ezcli.errors import UnknownName
from ezcli.settings import Settings

DEFAULT_AGAINST = ("efficientzero", "efficientzero-rerun")


class About(Settings):
    """Who published an agent's scores, and how they were measured."""

    title: str
    kind: Literal["published", "re-run by others"]
    source: str
    protocol: str
    runs: int = Field(ge=0)  # behind each score; 0 where the source does not say
    printed: tuple[float, float] = Field(strict=False)  # mean and median, human-normalised


class Agent(NamedTuple):
    """An agent whose scores others measured."""

    name: str
    about: About
    benchmark: Benchmark
    raw: dict[str, float]  # mean score of each game of the benchmark, by name
    normalised: dict[str, float]


@cache
def published_agents() -> dict[str, Agent]:
    """Every agent in the tables, by name, in the order of the tables."""
    benchmarks = [suite.benchmark for suite in SUITES.values() if suite.benchmark]
    return {agent.name: agent for one in benchmarks if one.published for agent in agents_of(one)}


def agents_of(benchmark: Benchmark) -> list[Agent]:
    """The agents in the tables of one benchmark."""
    folder = files("ezcli.reports")
    abouts = tomllib.loads((folder / f"{benchmark.published}.toml").read_text(encoding="utf-8"))
    table = (folder / f"{benchmark.published}.csv").read_text(encoding="utf-8")
    rows, references = list(csv.DictReader(table.splitlines())), benchmark.references()
    found = []
    for name, about in abouts.items():
        raw = {row["game"]: float(row[name]) for row in rows}
        normalised = {game: references[game].normalised(score) for game, score in raw.items()}
        found.append(Agent(name, About.model_validate(about), benchmark, raw, normalised))
    return found


def agents_named(names: Iterable[str]) -> list[Agent]:
    """The agents of these names, each once, in this order.

    Raises:
      UnknownName: there is none of a name.
    """
    known = published_agents()
    for name in names:
        if name not in known:
            raise UnknownName("published agent", name, known)
    return [known[name] for name in dict.fromkeys(names)]
