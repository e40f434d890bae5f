"""The content of a report: a section for each group of runs, with tables in reading order."""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ezcli.envs.suites import SUITES, labels_of
from ezcli.errors import ReportError
from ezcli.reports.choice import Choice, require_known, restrict
from ezcli.reports.compare import (
    Comparison,
    Curve,
    FactorEffect,
    Scale,
    compare,
    curves,
    factorial,
    scale_of,
)
from ezcli.reports.comparison_tables import (
    by_game_table,
    curve_table,
    differences_table,
    effects_table,
    grid_table,
    more_differences_table,
    ranking_table,
)
from ezcli.reports.grids import Grid, grids, ranking
from ezcli.reports.groups import Group
from ezcli.reports.modes import last_measured, modes_table
from ezcli.reports.provenance import protocol_text, provenance_notes
from ezcli.reports.published import Agent, agents_beside, agents_named, published_agents
from ezcli.reports.published_tables import (
    beside_table,
    budgets_table,
    full_agent,
    published_tables,
    sources_table,
)
from ezcli.reports.score_tables import (
    aggregates_table,
    missing_table,
    one_game_table,
    protocols_table,
    scores_table,
)
from ezcli.reports.tables import Table, with_interval_notes
from ezcli.words import listed


class Section(NamedTuple):
    """The part of a report on one group of runs, or on published scores alone."""

    title: str
    group: Group | None = None
    scale: Scale | None = None
    tables: tuple[Table, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    effects: tuple[FactorEffect, ...] = ()
    curves: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()
    grids: tuple[Grid, ...] = ()

    def table(self, key: str) -> Table | None:
        """The first table with this key, if there is one."""
        return next((table for table in self.tables if table.key == key), None)


class Report(NamedTuple):
    """A report, in reading order."""

    sections: tuple[Section, ...]
    agents: tuple[Agent, ...]  # published agents beside the measured ones
    notes: tuple[str, ...]  # excluded runs and reasons


def build(
    groups: Iterable[Group], said: Iterable[str], agents: list[Agent], choice: Choice
) -> Report:
    """Builds the report on groups of runs and published agents, or on published agents alone.

    Raises:
      ReportError: the selection is empty.
      UnknownName: a game or an arm is in no group.
    """
    groups, said = list(groups), list(said)
    played = {game for group in groups for game in group.games}
    benchmarks = [suite.benchmark for suite in SUITES.values() if suite.benchmark]
    known = played.union(*(benchmark.games for benchmark in benchmarks))
    named = [label for text in choice.games for label in labels_of(text, sorted(known))]
    choice = choice._replace(games=tuple(dict.fromkeys(named)))
    require_known("game", choice.games, known)
    require_known("arm", choice.arms, [arm.name for group in groups for arm in group.arms])
    chosen = [restrict(group, choice) for group in groups]
    chosen = [group for group in chosen if group.arms and group.games]
    unplayed = [f"No run played {game}." for game in choice.games if game not in played]
    if groups:
        said += unplayed
    if not chosen and len(unplayed) == len(choice.games) > 0 and groups:
        raise ReportError(
            "EZ-REPORT-NOT-PLAYED", unplayed[0], f"Available: {', '.join(sorted(played))}."
        )
    if not chosen and (choice.arms or groups):
        raise ReportError(
            "EZ-REPORT-NOT-PLAYED", "No study or agent has these games with these arms."
        )
    sections = [section(group, agents, choice) for group in chosen]
    if chosen:
        agents = [a for a in agents if any(a.benchmark is group.benchmark for group in chosen)]
    else:
        told = [a for a in agents if not choice.games or a.normalised.keys() & set(choice.games)]
        if not told:
            raise ReportError(
                "EZ-REPORT-NOT-PUBLISHED", "No published agent has a score on these games."
            )
        sections = [
            Section("Published scores", tables=tuple(published_tables(list(own), choice.games)))
            for _, own in itertools.groupby(told, lambda agent: agent.benchmark)
        ]
    return Report(tuple(sections), tuple(agents), tuple(said))


def usual_agents(groups: Sequence[Group]) -> list[Agent]:
    """The published agents that a report shows by default; all if there is no run.

    The agents that the runs' presets follow come last.
    """
    if not groups:
        return agents_named(published_agents())
    return agents_beside(preset for group in groups for preset in group.presets)


def not_beside(report: Report, agents: Sequence[Agent]) -> list[str]:
    """Sentences on requested published agents that cannot be shown beside the scores."""
    said = []
    for found in report.sections:
        group = found.group
        if group is None:
            continue
        shown = any(table.key in ("beside", "budgets") for table in found.tables)
        absent: dict[str, list[Agent]] = {}
        for agent in agents:
            if not shown or agent.benchmark is not group.benchmark:
                absent.setdefault(agent.benchmark.title, []).append(agent)
        for title, theirs in absent.items():
            if theirs[0].benchmark is group.benchmark:
                why = f"its scores are raw, not {group.benchmark.normalisation.name}"
            elif len(group.games) > 1:
                why = f"its games are not those of {title}"
            else:
                why = f"{group.games[0]} is not of {title}"
            names = listed([agent.title for agent in theirs])
            said.append(f"{found.title} is not compared with {names}: {why}.")
    return said


def brief(group: Group, choice: Choice) -> Report:
    """Only the scores of a group's arms and their differences.

    Raises:
      ReportError: the selection is empty.
    """
    whole = build([group], (), [], choice)
    (found,) = whole.sections
    scores = "aggregates" if found.table("aggregates") else "scores"
    keys = (scores, "differences", "ranking", "grid", "missing")
    tables = tuple(table for table in found.tables if table.key in keys)
    return whole._replace(sections=(found._replace(tables=tables, notes=()),))


def section(group: Group, agents: list[Agent], choice: Choice) -> Section:
    """The section about one group."""
    scale = scale_of(group)
    agents = [agent for agent in agents if agent.benchmark is group.benchmark]
    comparisons = compare(group, scale, choice.resamples) if scale else []
    effects = factorial(group, scale) if scale else []
    swept = curves(group, scale) if scale else []
    crossed = grids(group, scale) if scale else []
    ranked = ranking(group, scale) if scale else []
    tables: list[Table] = []
    if scale and scale.kind == "normalised" and (len(scale.games) > 1 or agents):
        tables.append(aggregates_table(group, scale, agents, choice.resamples))
    if scale and comparisons:
        tables.append(differences_table(scale, comparisons))
        if more := more_differences_table(scale, comparisons):
            tables.append(more)
    if scale and effects:
        tables.append(effects_table(scale, effects))
    if scale and ranked:
        tables.append(ranking_table(group, ranked, scale))
    tables += [grid_table(grid, scale) for grid in crossed if scale]
    if not crossed:
        tables += [curve_table(curve, scale) for curve in swept if scale]
    if len(group.games) == 1 and len(group.arms) > 1:
        tables.append(one_game_table(group))
    else:
        tables += [scores_table(group, arm) for arm in group.arms if arm.runs]
    if comparisons and len(group.games) > 1:
        tables.append(by_game_table(comparisons))
    if modes := last_measured(group):
        tables.append(modes_table(modes))
    if agents and scale and scale.kind == "normalised":
        tables.append(beside_table(group, agents))
    if agents and group.benchmark and group.benchmark.budgets:
        tables.append(budgets_table(agents, group.games, full_agent(group)))
    if protocols := protocols_table(group):
        tables.append(protocols)
    if group.missing:
        tables.append(missing_table(group))
    if any(table.key in ("beside", "budgets") for table in tables):
        tables.append(sources_table(agents))
    protocol = protocol_text(group)
    return Section(
        title=f"{'Study' if group.kind == 'study' else 'Agent'} {group.name}"
        + (f", {protocol}" if protocol else ""),
        group=group,
        scale=scale,
        tables=tuple(map(with_interval_notes, tables)),
        comparisons=tuple(comparisons),
        effects=tuple(effects),
        curves=tuple(swept),
        grids=tuple(crossed),
        notes=tuple(provenance_notes(group)),
    )
