"""Tables and their cells, independent of output formats."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ezcli.experiments.design import arm_label
from ezcli.reports.statistics import UNBOUNDED, Estimate, student

DIGITS = 3  # of normalised scores and probabilities
MISSING = "–"  # a cell without a value


EQUAL_RUNS = (
    "A number of several runs without brackets is equal in all runs. A few equal values give no "
    "interval and no p."
)


class Intervals(NamedTuple):
    """The notes on a table's intervals, each used if it applies."""

    method: str  # such as `Student's t over runs`
    single: str = "A single run has no interval."
    equal: str = EQUAL_RUNS  # several runs, but no interval


class Number(NamedTuple):
    """A number without an interval."""

    value: float
    digits: int
    signed: bool = False


class Interval(NamedTuple):
    """A number with its 95 % interval, or without one if the spread is not known."""

    estimate: Estimate
    digits: int
    signed: bool = False
    within: tuple[float, float] = UNBOUNDED  # range of possible values

    @property
    def is_everything(self) -> bool:
        """Whether the interval includes all possible values."""
        return (self.estimate.low, self.estimate.high) == self.within


class Probability(NamedTuple):
    """A p-value."""

    value: float


class Shown(str):
    """The displayed text of an arm or comparison. Programs receive its key instead."""

    key: str

    def __new__(cls, text: str, key: str) -> "Shown":
        """The text, with its key."""
        self = super().__new__(cls, text)
        self.key = key
        return self


Cell = str | Number | Interval | Probability | None  # None: missing


class Table(NamedTuple):
    """A table, independent of output formats."""

    key: str  # for programs
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    intervals: Intervals | None = None

    def records(self) -> list[dict[str, Any]]:
        """The rows as dicts by column, with strings, numbers and None. Arms are given by key.

        A number with an interval also has `COLUMN low`, `COLUMN high` and `COLUMN runs`.
        """
        records = []
        for row in self.rows:
            record: dict[str, Any] = {}
            for column, cell in zip(self.columns, row, strict=True):
                if isinstance(cell, Interval):
                    value, *bounds = cell.estimate
                    record[column] = value
                    names = [f"{column} {part}" for part in cell.estimate._fields[1:]]
                    record |= dict(zip(names, bounds, strict=True))
                elif isinstance(cell, Number | Probability):
                    record[column] = cell.value
                else:
                    record[column] = cell.key if isinstance(cell, Shown) else cell
            records.append(record)
        return records


def with_interval_notes(table: Table) -> Table:
    """The table with notes on its intervals, and on numbers without an interval."""
    if table.intervals is None:
        return table
    cells = [cell for row in table.rows for cell in row if isinstance(cell, Interval)]
    found = [cell.estimate for cell in cells]
    notes = []
    if any(cell.estimate.low is not None and not cell.is_everything for cell in cells):
        notes.append(f"Brackets: 95 %, {table.intervals.method}.")
    if any(estimate.runs == 1 for estimate in found):
        notes.append(table.intervals.single)
    if any(estimate.does_not_vary for estimate in found):
        notes.append(table.intervals.equal)
    for low, high in dict.fromkeys(cell.within for cell in cells if cell.is_everything):
        notes.append(
            f"[{MISSING}]: too few runs, the interval covers every possible value from {low:g} to "
            f"{high:g}."
        )
    return table._replace(notes=(*([" ".join(notes)] if notes else []), *table.notes))


def interval(
    values: Sequence[float], digits: int | None = None, within: tuple[float, float] = UNBOUNDED
) -> Interval:
    """The mean over runs of one game, with Student's t interval; `within` as in `student`."""
    estimate = student([np.array(values)], within=within).estimate
    return Interval(estimate, raw_digits([estimate]) if digits is None else digits, within=within)


def raw_digits(values: Sequence[Estimate]) -> int:
    """Digits after the decimal point of a raw score: 2 below 10, 1 below 1,000."""
    largest = max(
        (abs(x) for e in values for x in (e.value, e.low, e.high) if x is not None), default=0
    )
    return 2 if largest < 10 else 1 if largest < 1000 else 0


def shown_arm(name: str) -> Shown:
    """An arm in a table."""
    return Shown(arm_label(name), name)
