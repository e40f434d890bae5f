"""The comparison of the network's two modes in a report."""

import json

import pytest

from ezcli.reports.choice import Choice
from ezcli.reports.collect import collect
from ezcli.reports.modes import SHOWN
from ezcli.reports.plots import plots
from ezcli.reports.report import build
from ezcli.runs.folder import METRICS
from tests.reports.helpers import preset, write_run

RULE = dict(zip(SHOWN, (0.5, -0.25, 0.9, 0.1, 1.0), strict=True))


def section_of(runs_dir):
    groups, said = collect([], runs_dir)
    (section,) = build(groups, said, [], Choice(resamples=200)).sections
    return section


def write_metrics(folder, *lines):
    columns = [{"train_steps": step, **dict.fromkeys(SHOWN), **more} for step, more in lines]
    (folder / METRICS).write_text("".join(json.dumps(line) + "\n" for line in columns))


@pytest.fixture
def runs(tmp_path):
    for seed, error in ((0, 0.5), (1, 0.7)):
        config = preset("keydoor").model_copy(update={"seed": seed})
        folder = write_run(tmp_path / f"run{seed}", config, [1.0], preset_name="keydoor")
        first = {**RULE, "modes_value_rmse_root": 2.0}
        last = {**RULE, "modes_value_rmse_root": error}
        write_metrics(folder, (10, {}), (20, first), (30, {}), (40, last), (50, {}))
    return tmp_path


def test_the_last_comparison_of_each_run_counts(runs):
    section = section_of(runs)
    table = section.table("modes")
    ((arm, count, *cells),) = table.rows
    assert (arm, count) == ("full", "2")
    assert [cell.estimate.value for cell in cells] == pytest.approx([0.6, -0.25, 0.9, 0.1, 1.0])
    assert len(table.columns) == 2 + len(SHOWN)


def test_every_comparison_is_drawn(runs):
    (figure,) = (plot.figure for plot in plots(section_of(runs), []) if plot.name == "modes")
    line = figure.axes[0].lines[0]
    assert list(line.get_xdata()) == [20, 40]
    assert list(line.get_ydata()) == pytest.approx([2.0, 0.6])


def test_runs_that_measured_nothing_have_no_table(runs):
    for folder in runs.iterdir():
        write_metrics(folder, (10, {}))
    assert section_of(runs).table("modes") is None


def test_what_did_not_vary_is_left_out(runs):
    write_metrics(runs / "run1", (10, RULE | {"modes_value_correlation_root": None}))
    ((_, _, *cells),) = section_of(runs).table("modes").rows
    correlation = cells[list(SHOWN).index("modes_value_correlation_root")]
    assert (correlation.estimate.runs, correlation.estimate.value) == (1, 0.9)


def test_damaged_metrics_leave_the_scores(runs):
    (runs / "run0" / METRICS).write_text("{\n{}\n")
    section = section_of(runs)
    assert section.table("modes").rows[0][1] == "1"
    assert section.table("scores").rows[0][1] == "2"
