"""The comparison of the network's two modes in a report."""

import json

import pytest

from ezcli.reports.choice import Choice
from ezcli.reports.collect import collect
from ezcli.reports.formats import cell_text
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


def test_intervals_of_two_runs_end_where_the_numbers_do(runs):
    for seed, rmse, correlation in ((0, 0.1, -0.9), (1, 0.9, 0.9)):
        numbers = {"modes_value_rmse_root": rmse, "modes_value_correlation_root": correlation}
        last = {"modes_value_correlation_last": 0.95 - 0.2 * seed}
        write_metrics(runs / f"run{seed}", (10, RULE | numbers | last))
    table = section_of(runs).table("modes")
    ((_, _, rmse, _, root, _, last),) = table.rows
    assert rmse.estimate.low == 0 < rmse.estimate.high
    assert (root.estimate.low, root.estimate.high) == (-1, 1)
    assert cell_text(root) == "0.00 [–]"
    assert last.estimate.low > -1
    assert last.estimate.high == 1
    assert "[–]: too few runs" in table.notes[0]
    assert table.notes[0].endswith("-1 to 1.")


@pytest.mark.parametrize(
    ("scores", "text"), [((0.5, 1.0), "0.75 [-1.00, 1.00]"), ((0.9, 1.0), "0.95 [0.31, 1.00]")]
)
def test_intervals_of_scores_end_where_the_game_does(tmp_path, scores, text):
    for seed, score in enumerate(scores):
        config = preset("catch").model_copy(update={"seed": seed})
        write_run(tmp_path / f"run{seed}", config, [score], preset_name="catch")
    ((_, _, cell),) = section_of(tmp_path).table("scores").rows
    assert cell_text(cell) == text


def test_damaged_metrics_leave_the_scores(runs):
    (runs / "run0" / METRICS).write_text("{\n{}\n")
    section = section_of(runs)
    assert section.table("modes").rows[0][1] == "1"
    assert section.table("scores").rows[0][1] == "2"
