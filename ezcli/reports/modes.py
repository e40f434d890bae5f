"""The difference between evaluation and training mode of the network, in each arm.

Searches and bootstrapped values use the network in evaluation mode, learning in training mode. A
run compares both at its evaluation interval (`efficientzero/modes.py`). This module reports the
results.
"""

from typing import NamedTuple

from ezcli.errors import RunError
from ezcli.reports.groups import ArmScores, Group, Run
from ezcli.reports.statistics import CORRELATION, SIZE, UNBOUNDED
from ezcli.reports.tables import Cell, Intervals, Table, interval, shown_arm
from ezcli.runs.folder import METRICS
from ezcli.runs.json_files import read_lines

# Columns of metrics.jsonl, with their headers in a table.
SHOWN = {
    "modes_value_rmse_root": "root RMSE / std",
    "modes_value_bias_root": "root bias / std",
    "modes_value_correlation_root": "root correlation",
    "modes_value_rmse_last": "last RMSE / std",
    "modes_value_correlation_last": "last correlation",
}
RANGES = {"rmse": SIZE, "correlation": CORRELATION}  # by what a column measures
ROOT_ERROR = "modes_value_rmse_root"
NOT_MEASURED = f'"{ROOT_ERROR}": null'  # most lines, which need not be parsed


class Measured(NamedTuple):
    """One comparison of the two modes."""

    train_steps: int
    numbers: dict[str, float | None]  # of SHOWN; None if nothing varied


def measured(run: Run) -> list[Measured]:
    """The comparisons of a run in order; empty if its metrics contain none."""
    try:
        lines = read_lines(run.path / METRICS, NOT_MEASURED)
    except RunError:  # unreadable metrics do not affect the scores
        return []
    return [
        Measured(line["train_steps"], {name: line[name] for name in SHOWN})
        for line in lines
        if line.get(ROOT_ERROR) is not None
    ]


def last_measured(group: Group) -> dict[str, list[Measured]]:
    """The last comparison of every run that has one, by arm."""
    found = {
        arm.name: [m[-1] for run in runs_of(arm) if (m := measured(run))] for arm in group.arms
    }
    return {arm: measurements for arm, measurements in found.items() if measurements}


def runs_of(arm: ArmScores) -> list[Run]:
    """Every run of an arm."""
    return [run for game in arm.games for _, run in sorted(arm.runs[game].items())]


def modes_table(measurements: dict[str, list[Measured]]) -> Table:
    """The last comparison of each arm: means over its runs."""
    rows = []
    for arm, found in measurements.items():
        cells: list[Cell] = [shown_arm(arm), str(len(found))]
        for name in SHOWN:
            known = [n for m in found if (n := m.numbers[name]) is not None]
            _, _, what, _ = name.split("_")
            within = RANGES.get(what, UNBOUNDED)
            cells.append(interval(known, 2, within) if known else None)
        rows.append(tuple(cells))
    return Table(
        "modes",
        "Value in evaluation against training mode, at the end of training",
        ("arm", "runs", *SHOWN.values()),
        tuple(rows),
        (
            "Searches use the network in evaluation mode, learning in training mode. Std: "
            "standard deviation of the value over states. Root: the state from which a search "
            "starts. Last: the end of the unroll.",
        ),
        Intervals("Student's t over runs"),
    )
