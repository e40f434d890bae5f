"""Cells that know their intervals, and tables of them in no format yet."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ezcli.experiments.design import arm_label
from ezcli.reports.statistics import Estimate, student

DIGITS = 3  # of normalised scores and probabilities


EQUAL_RUNS = (
    "A number of several runs without brackets: it does not vary between them, and from a few runs "
    "without a spread follow neither an interval nor a p."
)


class Number(NamedTuple):
    """A number without an interval."""

    value: float
    digits: int
    signed: bool = False


class Interval(NamedTuple):
    """A number with its 95 % interval, or without one where runs tell of no spread."""

    estimate: Estimate
    digits: int
    signed: bool = False


class Probability(NamedTuple):
    """A p-value."""

    value: float


class Shown(str):
    """An arm or a comparison of two as readers see it; programs get its key instead."""

    key: str

    def __new__(cls, text: str, key: str) -> "Shown":
        """The text, with its key."""
        self = super().__new__(cls, text)
        self.key = key
        return self


Cell = str | Number | Interval | Probability | None  # None: missing


class Table(NamedTuple):
    """A table in no format yet."""

    key: str  # for programs
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


def with_note_on_equal_runs(table: Table) -> Table:
    """The table; with a reason where several runs give a number without an interval."""
    cells = [cell for row in table.rows for cell in row]
    if any(isinstance(cell, Interval) and cell.estimate.does_not_vary for cell in cells):
        return table._replace(notes=(*table.notes, EQUAL_RUNS))
    return table


def interval(values: Sequence[float], digits: int | None = None) -> Interval:
    """The mean of runs of one game, with Student's t interval."""
    estimate = student([np.array(values)]).estimate
    return Interval(estimate, raw_digits([estimate]) if digits is None else digits)


def raw_digits(values: Sequence[Estimate]) -> int:
    """Digits after the point that a raw score deserves: 2 below 10, 1 below 1,000."""
    largest = max(
        (abs(x) for e in values for x in (e.value, e.low, e.high) if x is not None), default=0
    )
    return 2 if largest < 10 else 1 if largest < 1000 else 0


def shown_arm(name: str) -> Shown:
    """An arm in a table."""
    return Shown(arm_label(name), name)
