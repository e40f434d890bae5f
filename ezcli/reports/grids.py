"""Which arm of a sweep is best, and the scores of every combination of two settings."""

import itertools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from ezcli.reports.compare import (
    Scale,
    arm_mean,
    corrected,
    in_order,
    joined,
    label_beside,
    paired,
    point,
    swept_settings,
    verdict,
)
from ezcli.reports.groups import ArmScores, Group
from ezcli.reports.statistics import Difference, Estimate

FEWEST = 3  # arms that are ranked; two are compared in any case


class Ranked(NamedTuple):
    """An arm at its place, the best first."""

    arm: str
    score: Estimate
    behind: Difference | None  # to the best; None of that one itself, or without a common seed
    adjusted_p: float | None  # Holm's, over all pairs of arms

    @property
    def verdict(self) -> str:
        """What may be said of the difference; empty without one."""
        if self.behind is None:
            return ""
        return verdict(self.behind, self.adjusted_p, self.behind.estimate.runs)


class Grid(NamedTuple):
    """Scores of every combination of two settings, all else equal."""

    down: str  # the setting whose values are rows
    across: str
    label: str  # what is dropped and what else differs; empty for the full agent alone
    rows: tuple[Any, ...]  # values
    columns: tuple[Any, ...]
    scores: dict[tuple[str, str], Estimate]  # by both values as JSON; none where no run counts


def ranking(group: Group, scale: Scale) -> list[Ranked]:
    """The arms of a sweep by their scores; empty where there is nothing to choose.

    Any two arms could have been the best and another one, so the correction is over all pairs.
    """
    arms = [arm for arm in group.arms if arm.runs]
    if not swept_settings(group) or len(arms) < FEWEST:
        return []
    scores = {arm.name: arm_mean(arm, scale) for arm in arms}
    arms.sort(key=lambda arm: -scores[arm.name].value)
    pairs = {
        (one.name, other.name): found
        for one, other in itertools.combinations(arms, 2)
        if (found := difference(other, one, scale))
    }
    adjusted = dict(zip(pairs, corrected(list(pairs.values())), strict=True))
    best = arms[0].name
    return [
        Ranked(
            arm.name,
            scores[arm.name],
            pairs.get((best, arm.name)),
            adjusted.get((best, arm.name)),
        )
        for arm in arms
    ]


def difference(arm: ArmScores, against: ArmScores, scale: Scale) -> Difference | None:
    """One arm minus another, paired by seed; None without a seed of both."""
    tables = list(joined(arm, against, scale).values())
    return paired(tables) if tables else None


def grids(group: Group, scale: Scale) -> list[Grid]:
    """The scores over the two settings with most values, for each combination of all else."""
    swept = swept_settings(group)
    if len(swept) < 2:
        return []
    values = {arm.name: point(group, arm, swept) for arm in group.arms}
    counts = {key: len({as_text(found[key]) for found in values.values()}) for key in swept}
    across, down = sorted(swept, key=lambda key: (-counts[key], key))[:2]
    by_label: dict[str, list[ArmScores]] = {}
    for arm in group.arms:
        label = label_beside(arm, values[arm.name], (down, across))
        by_label.setdefault(label, []).append(arm)
    found = []
    for label, arms in by_label.items():
        rows, columns = (ordered([values[arm.name][key] for arm in arms]) for key in (down, across))
        if len(rows) < 2 or len(columns) < 2:
            continue
        scores = {
            (as_text(values[arm.name][down]), as_text(values[arm.name][across])): arm_mean(
                arm, scale
            )
            for arm in arms
            if arm.runs
        }
        found.append(Grid(down, across, label, rows, columns, scores))
    return found


def as_text(value: Any) -> str:
    """A value of a setting, equal for equal ones."""
    return json.dumps(value)


def value_text(value: Any) -> str:
    """A value of a setting as readers see it: a word without quotes, else as in JSON."""
    return value if isinstance(value, str) else as_text(value)


def ordered(values: Sequence[Any]) -> tuple[Any, ...]:
    """Each value once, numbers by size."""
    once = {as_text(value): value for value in values}
    return tuple(sorted(once.values(), key=in_order))
