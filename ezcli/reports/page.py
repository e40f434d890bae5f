"""A report as one self-contained HTML page.

Jinja2 escapes all external text. The page's policy allows only its own script, and loads nothing.
"""

import base64
import hashlib
import os
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from ezcli import __version__
from ezcli.experiments.design import arm_label
from ezcli.reports import figures, plots
from ezcli.reports.formats import cell_text, is_numeric, is_prose, number_text, one_line
from ezcli.reports.report import Report, Section
from ezcli.reports.tables import DIGITS, Cell, Interval, Number, Probability, Table, interval
from ezcli.words import counted

POINT = 4 / 3  # CSS pixels
# scale of a figure, which follows the width of the page between these limits
SMALLEST, LARGEST = 0.55, 1.3


class Picture(NamedTuple):
    """A plot inside the page."""

    title: str
    svg: Markup


class RunRow(NamedTuple):
    """A run in the list at the end of a section."""

    arm: str
    game: str
    seed: int
    score: float
    score_text: str
    normalised: float | None
    normalised_text: str
    name: str
    link: str


def html(report: Report, folder: Path, made_on: date) -> str:
    """The page, with links to run folders relative to `folder`, where it will be saved."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"clean": one_line, "attributes": attributes, "content": content}
    environment.filters["counted"] = counted
    environment.tests["numeric"] = is_numeric
    package = files("ezcli.reports")
    script = (package / "page.js").read_text(encoding="utf-8")
    template = environment.from_string((package / "page.html").read_text(encoding="utf-8"))
    return template.render(
        report=report,
        title=title(report),
        made_by=f"Made by ezcli {__version__} on {made_on.isoformat()}.",
        pictures=[pictures(section, report) for section in report.sections],
        runs=[run_rows(section, folder) for section in report.sections],
        scales=[scale_name(section) for section in report.sections],
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def title(report: Report) -> str:
    """The title of the page."""
    if len(report.sections) == 1:
        return one_line(report.sections[0].title)
    return f"{len(report.sections)} groups of runs"


def attributes(cell: Cell, table: Table, column: int) -> Markup:
    """Attributes of a table cell: its alignment and its sort key."""
    found = []
    if is_numeric(table, column):
        found.append('class="number"')
    elif is_prose(table, column):
        found.append('class="prose"')
    if cell is None:
        found.append('data-value=""')
    elif isinstance(cell, Interval):
        found.append(f'data-value="{cell.estimate.value!r}"')
    elif isinstance(cell, Number | Probability):
        found.append(f'data-value="{cell.value!r}"')
    elif is_numeric(table, column):
        found.append(f'data-value="{"".join(c for c in cell if c.isdigit() or c in ".-")}"')
    return Markup("".join(f" {attribute}" for attribute in found))


def content(cell: Cell) -> Markup:
    """The text of a cell, with a paler interval."""
    value, bracket, rest = one_line(cell_text(cell)).partition(" [")
    if isinstance(cell, Interval) and bracket:
        return Markup('{} <span class="interval">[{}</span>').format(value, rest)
    return escape(value + bracket + rest)


def pictures(section: Section, report: Report) -> list[Picture]:
    """The plots of a section as SVG in the text colour of the page."""
    return [Picture(plot.title, inline(plot)) for plot in plots.plots(section, report.agents)]


def inline(plot: plots.Plot) -> Markup:
    """A figure as an SVG element that scales with the page within readable limits."""
    text = figures.render(plot.figure, "svg").decode()
    text = text[text.index("<svg") :].replace(figures.INK, "currentColor")
    width = plot.figure.get_figwidth() * 72 * POINT
    style = f"min-width:{SMALLEST * width:.0f}px;max-width:{LARGEST * width:.0f}px"
    return Markup(text.replace("<svg", f'<svg style="{style}"', 1))


def run_rows(section: Section, folder: Path) -> list[RunRow]:
    """Every run of a section, with a link to its folder."""
    rows = []
    for arm in section.group.arms if section.group else ():
        for game, seeds in sorted(arm.runs.items()):
            for seed, run in sorted(seeds.items()):
                known = section.group is not None and game in section.group.normalised_games
                value = run.normalised(run.score) if known else None
                rows.append(
                    RunRow(
                        arm=arm_label(arm.name),
                        game=game,
                        seed=seed,
                        score=run.score,
                        score_text=cell_text(interval([run.score])),
                        normalised=value,
                        normalised_text="" if value is None else number_text(value, DIGITS, False),
                        name=run.name,
                        link=link(run.path, folder),
                    )
                )
    return rows


def scale_name(section: Section) -> str:
    """Header of the runs' normalised scores; empty if there are none."""
    group = section.group
    return group.normalisation.name if group and group.normalisation else ""


def link(path: Path, folder: Path) -> str:
    """A relative URL of a folder, with escaped characters."""
    return quote(Path(os.path.relpath(path, folder)).as_posix()) + "/"
