"""`ez plot` and `ez runs export`: files contain the numbers of the runs."""

import csv
import io
import shutil

import pytest

from ezcli.reports.metric_plot import metric_curves
from ezcli.reports.rows import as_parquet, game_rows, metric_rows
from ezcli.runs.folder import RunFolder
from tests.experiments.helpers import make_study, save
from tests.failing import check
from tests.runs.helpers import tiny


@pytest.fixture
def runs_dir(tmp_path, finished):
    """A study with one finished run, and a run that has not begun."""
    folder = tmp_path / "runs"
    _, runs = save(folder, make_study(seeds=(0,)))
    shutil.copytree(finished.path, folder / runs[0].name)
    RunFolder(folder / "other").create(tiny("keydoor", "seed=3"))
    return folder


def exported(ez, *options):
    code, out, err = ez("runs", "export", *options)
    assert (code, err) == (0, "")
    return list(csv.DictReader(io.StringIO(out)))


def read_parquet(path):
    from pyarrow import parquet

    return parquet.read_table(path).to_pylist()


def test_a_row_for_each_run_holds_its_settings_and_score(ez, runs_dir):
    first, other = exported(ez)
    assert (first["study"], first["arm"], first["game"]) == ("mine", "full", "catch")
    assert (other["run"], other["seed"], other["state"]) == ("other", "3", "new")
    assert first["search.num_simulations"] == "2"
    assert first["optimiser.decayed_train_steps"] == "4"
    score = RunFolder(runs_dir / first["run"]).read("evaluations.jsonl")[-1]["mean"]
    assert float(first["score"]) == score
    assert other["score"] == ""


def test_the_tables_of_one_run_hold_all_of_its_lines(ez, runs_dir, finished):
    (run,) = [path.name for path in runs_dir.iterdir() if "full" in path.name]
    lines = finished.read("metrics.jsonl")
    rows = exported(ez, run, "--table", "metrics")
    assert [float(row["loss"]) for row in rows] == [line["loss"] for line in lines]
    assert {row["run"] for row in rows} == {run}
    lines = finished.read("evaluations.jsonl")
    rows = exported(ez, run, "--table", "evaluations")
    expected = [(line["kind"], line["mean"], line["protocol"]["seed"]) for line in lines]
    found = [(row["kind"], float(row["mean"]), int(row["evaluation_seed"])) for row in rows]
    assert found == expected
    rows = exported(ez, run, "--table", "games")
    scores = [score for line in lines for score in line["scores"]]
    assert [float(row["score"]) for row in rows] == scores


@pytest.mark.parametrize("table", ["runs", "metrics", "evaluations", "games"])
def test_parquet_holds_what_csv_holds(table, ez, runs_dir, tmp_path):
    rows = exported(ez, "--table", table)
    code, _, _ = ez("runs", "export", "--table", table, "-o", tmp_path / "a.parquet")
    assert code == 0
    found = read_parquet(tmp_path / "a.parquet")
    assert [list(row) for row in found] == [list(row) for row in rows]
    for row, texts in zip(found, rows, strict=True):
        for key, value in row.items():
            if isinstance(value, int | float) and type(value) is not bool:
                assert float(texts[key]) == value
            else:
                assert texts[key] == ("" if value is None else str(value))


def test_a_parquet_column_of_several_types_is_text(tmp_path):
    rows = [{"a": 1, "b": 1}, {"a": 0.5, "b": "x"}, {"a": None, "b": None}]
    (tmp_path / "a.parquet").write_bytes(as_parquet(rows))
    columns = zip(*(row.values() for row in read_parquet(tmp_path / "a.parquet")), strict=True)
    assert list(columns) == [(1.0, 0.5, None), ("1", '"x"', None)]


def test_a_plot_has_a_panel_for_each_metric_and_a_line_for_each_run(finished):
    rows = metric_rows(finished)
    figure = metric_curves({"one": rows, "two": rows[:2]}, ["loss", "games"], "train_steps")
    panels = [panel for panel in figure.axes if panel.get_visible()]
    assert [panel.get_title(loc="left") for panel in panels] == ["loss", "games"]
    for panel, metric in zip(panels, ["loss", "games"], strict=True):
        one, two = panel.get_lines()
        expected = [(row["train_steps"], row[metric]) for row in rows if row[metric] is not None]
        assert list(zip(*one.get_data(), strict=True)) == expected
        assert list(two.get_xdata()) == list(one.get_xdata())[: len(two.get_xdata())]


def test_a_plot_is_written(ez, runs_dir, tmp_path):
    (run,) = [path.name for path in runs_dir.iterdir() if "full" in path.name]
    code, _, err = ez("plot", run, "--metric", "evaluation,loss", "-o", tmp_path / "a.png")
    assert code == 0, err
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        (["plot", "RUN", "--metric", "los"], "EZ-UNKNOWN-METRIC", "'loss'"),
        (["plot", "RUN", "--metric", ","], "EZ-PLOT-NO-METRICS", "--metric"),
        (["plot", "RUN", "--x", "steps"], "EZ-UNKNOWN-AXIS", "train_steps"),
        (["plot", "RUN", "-o", "a.gif"], "EZ-UNKNOWN-TYPE-OF-PLOT", "'gif'"),
        (["plot", "other"], "EZ-PLOT-NO-METRICS", "other"),
        (["runs", "export", "--table", "run"], "EZ-UNKNOWN-TABLE", "'runs'"),
        (["runs", "export", "--format", "xls"], "EZ-UNKNOWN-FORMAT", "csv"),
        (["runs", "export", "--format", "parquet"], "EZ-EXPORT-NO-FILE", "-o"),
    ],
)
def test_what_cannot_be_is_refused(arguments, error, named, ez, runs_dir):
    (run,) = [path.name for path in runs_dir.iterdir() if "full" in path.name]
    code, out, _ = ez(*[run if part == "RUN" else part for part in arguments])
    assert (code, out) != (0, "")
    check(ez.error, error, named)


def test_parquet_without_its_package(ez, runs_dir, monkeypatch):
    monkeypatch.setattr("ezcli.commands.export.find_spec", lambda name: None)
    assert ez("runs", "export", "-o", "a.parquet")[0] != 0
    check(ez.error, "EZ-OPTION-NO-PACKAGE", "pyarrow")


def test_the_games_of_an_evaluation_are_numbered(finished):
    rows = [row for row in game_rows(finished) if row["kind"] == "final"]
    assert [row["game_number"] for row in rows] == list(range(len(rows)))
