"""The ranking of a sweep's arms, and the scores of all combinations of two settings."""

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

FEWEST = 3  # least number of arms to rank; two are always compared


class Ranked(NamedTuple):
    """An arm in a ranking."""

    arm: str
    score: Estimate
    # difference to the best arm; None for the best itself, or without a common seed
    behind: Difference | None
    adjusted_p: float | None  # after Holm's correction over all pairs of arms

    @property
    def verdict(self) -> str:
        """The conclusion about the difference; empty without one."""
        if self.behind is None:
            return ""
        return verdict(self.behind, self.adjusted_p, self.behind.estimate.runs)


class Grid(NamedTuple):
    """Scores of all combinations of two settings, with all others equal."""

    down: str  # the setting whose values are rows
    across: str
    label: str  # dropped ablations and other changes; empty for the full agent alone
    rows: tuple[Any, ...]  # values
    columns: tuple[Any, ...]
    scores: dict[tuple[str, str], Estimate]  # by both values as JSON; missing if no run counts


def ranking(group: Group, scale: Scale) -> list[Ranked]:
    """The arms of a sweep in order of their scores; empty if there is nothing to choose.

    The correction is over all pairs, because any pair could have been the best arm and another one.
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
    """One arm minus another, paired by seed; None without a common seed."""
    tables = list(joined(arm, against, scale).values())
    return paired(tables) if tables else None


def grids(group: Group, scale: Scale) -> list[Grid]:
    """The scores over the two settings with most values, for each combination of the others."""
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
    """A value of a setting as a key: equal for equal values."""
    return json.dumps(value)


def value_text(value: Any) -> str:
    """A value of a setting for readers: a word without quotes, otherwise as in JSON."""
    return value if isinstance(value, str) else as_text(value)


def ordered(values: Sequence[Any]) -> tuple[Any, ...]:
    """Each value once, numbers in order."""
    once = {as_text(value): value for value in values}
    return tuple(sorted(once.values(), key=in_order))
