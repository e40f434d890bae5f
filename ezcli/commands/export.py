"""`ez plot` and `ez runs export`: metrics and scores of runs as figures and tables."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ezcli import console
from ezcli.commands.files import require_place, save
from ezcli.commands.find import find_run
from ezcli.commands.report import PLOT_TYPES
from ezcli.commands.runs import as_data, row_of
from ezcli.errors import ConfigError, UnknownName
from ezcli.experiments import catalogue
from ezcli.reports.choice import listed
from ezcli.reports.rows import (
    Rows,
    as_csv,
    as_parquet,
    evaluation_rows,
    even,
    game_rows,
    metric_rows,
    setting_columns,
)
from ezcli.runs.folder import RunFolder
from ezcli.words import counted

FORMATS = {"csv": as_csv, "parquet": as_parquet}
TABLES = {"metrics": metric_rows, "evaluations": evaluation_rows, "games": game_rows}


def plot(names: list[str], metrics: str, axis: str, output: Path, runs_dir: Path) -> None:
    """`ez plot`."""
    from ezcli.reports.figures import render  # lazy: loads matplotlib
    from ezcli.reports.metric_plot import AXES, metric_curves

    if axis not in AXES:
        raise UnknownName("axis", axis, AXES)
    suffix = output.suffix.removeprefix(".")
    if suffix not in PLOT_TYPES:
        raise UnknownName("type of plot", suffix, PLOT_TYPES)
    asked = listed(metrics)
    if not asked:
        raise ConfigError("EZ-PLOT-NO-METRICS", "--metric is empty.", "Try --metric loss,score.")
    require_place(output)
    runs: dict[str, Rows] = {}
    for name in names:
        folder = RunFolder(find_run(name, runs_dir))
        scores = [
            {key: row[key] for key in AXES} | {"evaluation": row["mean"]}
            for row in evaluation_rows(folder)
            if row["kind"] in ("interim", "final")
        ]
        runs[folder.name] = [*metric_rows(folder), *scores]
    save(output, render(metric_curves(runs, asked, axis), suffix))
    console.note(f"Wrote {output}.")


def export(
    names: list[str], table: str, form: str | None, output: Path | None, runs_dir: Path
) -> None:
    """`ez runs export`."""
    if table != "runs" and table not in TABLES:
        raise UnknownName("table", table, ["runs", *TABLES])
    if form is None:
        form = output.suffix.removeprefix(".") if output else "csv"
    if form not in FORMATS:
        raise UnknownName("format", form, FORMATS)
    if form == "parquet":
        require_parquet(output)
    require_place(output)
    paths = [find_run(name, runs_dir) for name in names]
    if not names:
        there = list(catalogue.scan(runs_dir))
        paths = [entry.path for entry in there if entry.state != "damaged"]
        if len(paths) < len(there):
            console.note(f"Left out: {counted(len(there) - len(paths), 'damaged run')}.")
    rows = [row for path in paths for row in rows_of(path, table)]
    content = FORMATS[form](even(rows))
    if output is None:
        console.write(content.decode())
    else:
        save(output, content)
        console.note(f"Wrote {counted(len(rows), 'row')} to {output}.")


def require_parquet(output: Path | None) -> None:
    """Refuses Parquet if it cannot be written.

    Raises:
      ConfigError: there is no output file, or pyarrow is not installed.
    """
    if output is None:
        raise ConfigError(
            "EZ-EXPORT-NO-FILE", "Parquet is binary and cannot be printed.", "Add -o runs.parquet."
        )
    if find_spec("pyarrow") is None:
        raise ConfigError(
            "EZ-OPTION-NO-PACKAGE",
            "--format parquet needs the package 'pyarrow', which is not installed.",
            "Install it: pip install 'ezcli[parquet]'",
        )


def rows_of(path: Path, table: str) -> Rows:
    """The rows of one run, each with columns that identify the run."""
    folder = RunFolder(path)
    memberships = catalogue.studies_of(path.parent).get(path.name, [])
    row = row_of(catalogue.entry(path), folder.config(), memberships)
    own: dict[str, Any] = {
        "run": folder.name,
        "study": ", ".join(row.studies),
        "arm": ", ".join(row.arms),
        "game": row.game,
        "seed": row.config.seed if row.config else None,
    }
    if table != "runs":
        return [own | line for line in TABLES[table](folder)]
    facts = {key: value for key, value in as_data(row).items() if key not in ("name", "studies")}
    return [own | facts | setting_columns(folder)]
