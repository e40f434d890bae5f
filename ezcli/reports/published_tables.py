"""Tables of published scores, and the signs that tell them from what was measured here."""

from collections.abc import Iterable, Sequence

import numpy as np

from ezcli.experiments.design import FULL
from ezcli.reports.groups import Group, of_games
from ezcli.reports.published import Agent
from ezcli.reports.statistics import AGGREGATES, once
from ezcli.reports.tables import DIGITS, Cell, Number, Table

MARKS = {"published": "†", "re-run by others": "‡"}


def marked(agent: Agent) -> str:
    """A published agent's name with the sign that says that it was not measured here."""
    return f"{agent.about.title} {MARKS[agent.about.kind]}"


def mark_notes(agents: Iterable[Agent]) -> list[str]:
    """What the signs mean."""
    kinds = {agent.about.kind for agent in agents}
    return [f"{mark} {kind}; not measured here." for kind, mark in MARKS.items() if kind in kinds]


def beside_table(group: Group, agents: list[Agent]) -> Table:
    """The full agent's human-normalised score of each game beside published ones."""
    full = next((arm for arm in group.arms if arm.name == FULL), group.arms[0])
    rows = []
    for game in group.games:
        runs = list(full.runs.get(game, {}).values())
        ours: Cell = None
        if runs and game in group.human_games:
            ours = Number(float(np.mean([r.normalised(r.score) for r in runs])), DIGITS)
        theirs = [a.normalised.get(game) for a in agents]
        rows.append((game, ours, *(None if x is None else Number(x, DIGITS) for x in theirs)))
    return Table(
        "beside",
        f"Human-normalised score of {full.name} beside published ones",
        ("game", full.name, *map(marked, agents)),
        tuple(rows),
        tuple(mark_notes(agents)),
    )


def published_tables(agents: list[Agent], games: Sequence[str]) -> list[Table]:
    """Aggregates and scores of each game, where there is no run to report.

    Args:
      agents: of one benchmark, each with a score of one of the games.
      games: of it; none: all.
    """
    benchmark = agents[0].benchmark
    games = games or benchmark.games
    rows: list[tuple[Cell, ...]] = []
    for agent in agents:
        known = [np.array([agent.normalised[g]]) for g in games if g in agent.normalised]
        values = [float(f(known, once(known))[0]) for f in AGGREGATES.values()]
        rows.append((marked(agent), *(Number(value, DIGITS) for value in values)))
    table = Table(
        "published",
        f"Published human-normalised scores over {of_games(games, benchmark)} of {benchmark.title}",
        ("agent", "mean", "median", "IQM of game means", "gap of game means"),
        tuple(rows),
        (
            *mark_notes(agents),
            "IQM and optimality gap here are over game means, the only thing published of most. "
            "An IQM over runs is 0.04 to 0.12 lower.",
        ),
    )
    by_game = Table(
        "published_by_game",
        "Game by game, human-normalised",
        ("game", *map(marked, agents)),
        tuple(
            (
                game,
                *(
                    Number(a.normalised[game], DIGITS) if game in a.normalised else None
                    for a in agents
                ),
            )
            for game in games
        ),
    )
    return [table, *([by_game] if len(agents) <= 6 else []), sources_table(agents)]


def sources_table(agents: Sequence[Agent]) -> Table:
    """Where published scores come from."""
    return Table(
        "sources",
        "Sources of the published scores",
        ("agent", "runs", "source", "protocol"),
        tuple(
            (marked(a), str(a.about.runs or "?"), a.about.source, a.about.protocol) for a in agents
        ),
    )
