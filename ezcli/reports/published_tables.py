"""Tables of published scores, and the marks that distinguish them from measured scores."""

from collections.abc import Iterable, Sequence

import numpy as np

from ezcli.experiments.design import FULL
from ezcli.reports.groups import ArmScores, Group, Point, of_games
from ezcli.reports.published import Agent, frames_text, is_near
from ezcli.reports.statistics import AGGREGATES, once
from ezcli.reports.tables import (
    DIGITS,
    Cell,
    Interval,
    Intervals,
    Number,
    Table,
    interval,
    shown_arm,
)

MARKS = {"published": "†", "re-run by others": "‡"}


def marked(agent: Agent) -> str:
    """The title of a published agent with the mark of its kind."""
    return f"{agent.title} {MARKS[agent.about.kind]}"


def marked_name(agent: Agent) -> str:
    """The name of a published agent with the mark of its kind."""
    return f"{agent.about.title} {MARKS[agent.about.kind]}"


def mark_notes(agents: Iterable[Agent]) -> list[str]:
    """Notes that explain the marks."""
    kinds = {agent.about.kind for agent in agents}
    return [f"{mark} {kind}; not measured here." for kind, mark in MARKS.items() if kind in kinds]


def beside_table(group: Group, agents: list[Agent]) -> Table:
    """The normalised score of the full agent and of published agents, per game."""
    full = full_agent(group)
    rows = []
    for game in group.games:
        runs = list(full.runs.get(game, {}).values())
        ours: Cell = None
        if runs and game in group.normalised_games:
            ours = Number(float(np.mean([r.normalised(r.score) for r in runs])), DIGITS)
        theirs = [a.normalised.get(game) for a in agents]
        rows.append((game, ours, *(None if x is None else Number(x, DIGITS) for x in theirs)))
    return Table(
        "beside",
        f"{agents[0].benchmark.normalisation.name.capitalize()} score of {shown_arm(full.name)} "
        "beside published ones",
        ("game", shown_arm(full.name), *map(marked, agents)),
        tuple(rows),
        tuple(mark_notes(agents)),
    )


def full_agent(group: Group) -> ArmScores:
    """The full agent, or the first arm if it was not selected."""
    return next((arm for arm in group.arms if arm.name == FULL), group.arms[0])


def budgets_table(agents: Sequence[Agent], games: Sequence[str], arm: ArmScores | None) -> Table:
    """Raw scores at each budget of the benchmark, per game.

    Args:
      agents: of one benchmark with several budgets.
      games: one row each.
      arm: its evaluations at these budgets come first; None for published scores only.
    """
    budgets = agents[0].benchmark.budgets
    rows: list[tuple[Cell, ...]] = []
    for game in games:
        if arm is not None:
            curves = [run.curve for run in arm.runs.get(game, {}).values()]
            rows.append((game, shown_arm(arm.name), *(measured(curves, b) for b in budgets)))
        for agent in agents:
            scores = [agent.by_budget[budget].get(game) for budget in budgets]
            if any(scores):
                cells = (None if s is None else Number(s.score, 2) for s in scores)
                rows.append((game, marked_name(agent), *cells))
    notes = mark_notes(agents)
    if any(isinstance(cell, Interval) for row in rows for cell in row):
        notes.append("Measured: the evaluation nearest to the budget, within 5 %.")
    return Table(
        "budgets",
        "Score by frames, game by game",
        ("game", "agent", *map(frames_text, budgets)),
        tuple(rows),
        tuple(notes),
        Intervals("Student's t over runs"),
    )


def measured(curves: Sequence[Sequence[Point]], budget: int) -> Cell:
    """The mean of the runs' evaluations at a budget; None if a run has no evaluation near it."""
    near = [[point for point in curve if is_near(point.env_steps, budget)] for curve in curves]
    if not near or not all(near):
        return None
    closest = (min(points, key=lambda point: abs(point.env_steps - budget)) for points in near)
    return interval([point.score for point in closest], 2)


def published_tables(agents: list[Agent], games: Sequence[str]) -> list[Table]:
    """Aggregates and scores per game of published agents, if there is no run to report.

    Args:
      agents: of one benchmark, each with a score of one of the games.
      games: of the benchmark; all if empty.
    """
    benchmark = agents[0].benchmark
    games = [game for game in games if any(game in a.raw for a in agents)] or benchmark.games
    rows: list[tuple[Cell, ...]] = []
    for agent in agents:
        if not set(games) <= set(agent.normalised):
            continue
        known = [np.array([agent.normalised[game]]) for game in games]
        values = [float(f(known, once(known))[0]) for f in AGGREGATES.values()]
        rows.append((marked(agent), *(Number(value, DIGITS) for value in values)))
    table = Table(
        "published",
        f"Published {benchmark.normalisation.name} scores over {of_games(games, benchmark)} of "
        f"{benchmark.title}",
        ("agent", "mean", "median", "IQM of game means", "gap of game means"),
        tuple(rows),
        (
            *mark_notes(agents),
            "IQM and optimality gap here are over game means, because most agents have no "
            "published runs. An IQM over runs is 0.04 to 0.12 lower.",
        ),
    )
    by_game = Table(
        "published_by_game",
        f"Game by game, {benchmark.normalisation.name}",
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
    found = [*([table] if rows else []), *([by_game] if len(agents) <= 6 else [])]
    found += [budgets_table(agents, games, None)] if benchmark.budgets else []
    return [*found, sources_table(agents)]


def sources_table(agents: Sequence[Agent]) -> Table:
    """The sources of published scores."""
    return Table(
        "sources",
        "Sources of the published scores",
        ("agent", "runs", "source", "protocol"),
        tuple(
            (marked_name(a), str(a.about.runs or "?"), a.about.source, a.about.protocol)
            for a in agents
        ),
    )
