"""Style, captions, legends and files of figures, drawn by matplotlib without a display.

Colours are Okabe and Ito's, which colour-blind people can distinguish. Lines also differ in
markers. The caption of each figure gives its number of runs and its intervals.
"""

import io
import itertools
import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

from ezcli.experiments.design import arm_label
from ezcli.reports.formats import one_line
from ezcli.reports.statistics import Estimate
from ezcli.words import broken

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#999999")


MARKERS = "osD^vPX*"


DASHES = ("-", "--", "-.", ":")


INK = "#24292f"  # colour of text and axes; a page replaces it with the colour of its text


GREY = "#8c959f"


# Metadata that is left out of each file type, so that equal figures give equal bytes.
FILE_TYPES: dict[str, dict[str, None]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
CAPTION_LETTERS = 14  # dots per inch
LEGEND_SIZE = 8  # points
KEY_INCHES = 0.55  # width of a legend's line and of the gap to the next entry
EDGE_INCHES = 0.1
LINE_INCHES = 0.17  # font size of a legend


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
    "lines.solid_capstyle": "butt",  # intervals without caps
    "pdf.fonttype": 42,  # keep text as text
    "savefig.dpi": 180,
    "svg.fonttype": "none",
    "svg.hashsalt": "ezcli",  # equal reports give equal files
    "text.color": INK,
    "text.parse_math": False,  # names may contain a dollar
    "xtick.color": INK,
    "ytick.color": INK,
}


def look(index: int) -> dict[str, Any]:
    """Colour, marker and dashes of the arm with this index; the first 256 differ."""
    again = index // len(PALETTE)
    return {
        "color": PALETTE[index % len(PALETTE)],
        "marker": MARKERS[(index + again) % len(MARKERS)],
        "linestyle": DASHES[again // len(MARKERS) % len(DASHES)],
    }


def thousands(value: float, _position: int) -> str:
    """Formats a number of steps at a tick, such as `20k`."""
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"


def arm_text(name: str) -> str:
    """The arm's name in a figure, without control characters, for which fonts have no glyphs."""
    return one_line(arm_label(name))


def draw_interval(panel: Axes, estimate: Estimate, y: float, style: dict[str, Any]) -> None:
    """Draws a number with its interval."""
    if estimate.low is not None and estimate.high is not None:
        panel.plot(
            [estimate.low, estimate.high], [y, y], color=style["color"], linewidth=5, alpha=0.4
        )
    panel.plot(estimate.value, y, **style)


def bound(estimate: Estimate) -> tuple[float, float]:
    """The interval, or the number itself without one."""
    if estimate.low is None or estimate.high is None:
        return estimate.value, estimate.value
    return estimate.low, estimate.high


def legend_above(figure: Figure, panels: Sequence[Axes]) -> None:
    """Draws one legend for all panels, if it has more than one entry.

    It has as many columns as fit the figure, and the figure grows by its rows.
    """
    found: dict[str, Artist] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if len(found) < 2:
        return
    room = figure.get_figwidth() - 2 * EDGE_INCHES
    labels = [folded(label, int(room * CAPTION_LETTERS)) for label in found]
    widths = [KEY_INCHES + inches(label) for label in labels]
    columns = next(n for n in range(len(labels), 0, -1) if n == 1 or legend_width(widths, n) < room)
    lines = math.ceil(sum(label.count("\n") + 1 for label in labels) / columns)
    figure.set_figheight(figure.get_figheight() + LINE_INCHES * (lines - 1))
    figure.legend(
        found.values(), labels, loc="outside upper left", ncols=columns, fontsize=LEGEND_SIZE
    )


def legend_width(widths: Sequence[float], columns: int) -> float:
    """Width of a legend in inches.

    As in matplotlib, its first columns have the remaining entries.
    """
    rest, total, ends = iter(widths), 0.0, len(widths)
    for left in range(columns, 0, -1):
        rows = math.ceil(ends / left)
        total += max(itertools.islice(rest, rows))
        ends -= rows
    return total


def inches(label: str) -> float:
    """Width of a text in the legend, in inches."""
    lines = filter(str.strip, label.split("\n"))
    paths = (TextPath((0, 0), line, size=LEGEND_SIZE, usetex=False) for line in lines)
    return max((float(path.get_extents().x1) for path in paths), default=0.0) / 72


def folded(text: str, letters: int) -> str:
    """A name in lines of at most `letters` characters, broken after separators."""
    return "\n".join(
        piece for line in broken(one_line(text), letters) for piece in textwrap.wrap(line, letters)
    )


def intervals_text(found: Iterable[Estimate], what: str) -> str:
    """The caption's sentence on intervals, if any is drawn."""
    return f" {what}" if any(estimate.low is not None for estimate in found) else ""


def caption(figure: Figure, text: str) -> None:
    """Writes a caption below the figure and its shared axis label."""
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
