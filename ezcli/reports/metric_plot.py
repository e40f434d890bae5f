"""Plots of metrics: a panel for each metric, a line for each run."""

import math
from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ezcli.errors import ReportError, UnknownName
from ezcli.reports.figures import STYLE, legend_above, look, thousands
from ezcli.reports.formats import one_line
from ezcli.reports.rows import Rows

AXES = {"train_steps": "train_steps", "env_steps": "environment steps"}
MOST_MARKED = 40  # most points of a line with markers


def metric_curves(runs: Mapping[str, Rows], metrics: Sequence[str], axis: str) -> Figure:
    """Draws the figure.

    Args:
      runs: rows of metrics and evaluations, by name of run. Each has the column `axis`.
      metrics: columns to plot, a panel for each.
      axis: one of `AXES`.

    Raises:
      UnknownName: no row has this column.
      ReportError: a metric has no values.
    """
    known = {
        key
        for rows in runs.values()
        for row in rows
        for key, value in row.items()
        if isinstance(value, int | float) and key not in AXES
    }
    for metric in metrics:
        if metric not in known:
            if not known:
                raise ReportError(
                    "EZ-PLOT-NO-METRICS",
                    f"There is nothing to draw: there are no metrics yet of {', '.join(runs)}.",
                    "Train first.",
                )
            raise UnknownName("metric", metric, known)
    columns = 2 if len(metrics) == 4 else min(3, len(metrics))
    height = math.ceil(len(metrics) / columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(2 + 3 * columns, 2.4 * height + 0.9))
        panels = figure.subplots(height, columns, squeeze=False).ravel()
        for panel in panels[len(metrics) :]:
            panel.set_visible(False)
        for panel, metric in zip(panels, metrics, strict=False):
            for index, (name, rows) in enumerate(runs.items()):
                points = [(row[axis], row[metric]) for row in rows if row.get(metric) is not None]
                style = look(index)
                if len(points) > MOST_MARKED:
                    del style["marker"]
                xs, ys = zip(*points, strict=True) if points else ((), ())
                panel.plot(xs, ys, label=one_line(name), **style)
            panel.set_title(metric)
            panel.xaxis.set_major_locator(MaxNLocator(4))
            panel.xaxis.set_major_formatter(FuncFormatter(thousands))
        figure.supxlabel(AXES[axis], fontsize=8.5)
        legend_above(figure, list(panels))
    return figure
