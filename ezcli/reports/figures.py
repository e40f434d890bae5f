"""Figures of matplotlib, drawn without a display: their style, captions, legends and files.

Colours are Okabe and Ito's, which colour-blind people tell apart; lines differ in markers too. Each
figure says below itself how many runs stand behind it and what its intervals are.
"""

import io
import textwrap
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ezcli.experiments.design import arm_label
from ezcli.reports.formats import one_line
from ezcli.reports.statistics import Estimate

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#999999")


MARKERS = "osD^vPX*"


INK = "#24292f"  # of text and axes; a page replaces it by the colour of its own text


GREY = "#8c959f"


# With what is left out of a file of each type, so that equal figures give equal bytes.
FILE_TYPES: dict[str, dict[str, None]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
CAPTION_LETTERS = 14  # to an inch


STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "grid.alpha": 0.35,
    "grid.color": GREY,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "lines.solid_capstyle": "butt",  # an interval ends where it ends
    "pdf.fonttype": 42,  # text stays text
    "savefig.dpi": 180,
    "svg.fonttype": "none",
    "svg.hashsalt": "ezcli",  # equal reports give equal files
    "text.color": INK,
    "text.parse_math": False,  # names may hold a dollar
    "xtick.color": INK,
    "ytick.color": INK,
}


def look(index: int) -> dict[str, Any]:
    """Colour and marker of the arm at a place."""
    return {"color": PALETTE[index % len(PALETTE)], "marker": MARKERS[index % len(MARKERS)]}


def arm_text(name: str) -> str:
    """The arm's name in a figure: without control characters, whose glyphs no font has."""
    return one_line(arm_label(name))


def draw_interval(panel: Axes, estimate: Estimate, y: float, style: dict[str, Any]) -> None:
    """A number with its interval."""
    if estimate.low is not None and estimate.high is not None:
        panel.plot(
            [estimate.low, estimate.high], [y, y], color=style["color"], linewidth=5, alpha=0.4
        )
    panel.plot(estimate.value, y, **style)


def bound(estimate: Estimate) -> tuple[float, float]:
    """The interval; the number itself where there is none."""
    if estimate.low is None or estimate.high is None:
        return estimate.value, estimate.value
    return estimate.low, estimate.high


def legend_above(figure: Figure, panel: Axes, columns: int) -> None:
    """One legend for all panels, if there is more than one thing to tell apart."""
    handles, labels = panel.get_legend_handles_labels()
    if len(handles) > 1:
        columns = min(columns, len(handles))
        figure.legend(handles, labels, loc="outside upper left", ncols=columns, fontsize=8)


def caption(figure: Figure, text: str) -> None:
    """What stands behind the figure, below it and below the label that all panels share."""
    lines = textwrap.wrap(one_line(text), int(figure.get_figwidth() * CAPTION_LETTERS))
    shared = figure.get_supxlabel()
    figure.supxlabel("\n".join([shared, *lines] if shared else lines), fontsize=8)


def render(figure: Figure, file_type: str) -> bytes:
    """The figure as a PNG, SVG or PDF file; equal figures give equal bytes."""
    stream = io.BytesIO()
    metadata = FILE_TYPES[file_type]
    with rc_context(STYLE):
        figure.savefig(stream, format=file_type, metadata=metadata, transparent=file_type == "svg")
    return stream.getvalue()
