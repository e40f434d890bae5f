"""`ez report`: makes tables and plots from run folders."""

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ezcli import console
from ezcli.commands.files import cannot_write, require_place, save, save_and_tell
from ezcli.envs.code import OtherCode, locate
from ezcli.envs.suites import own_code
from ezcli.errors import ConfigError, ReportError, UnknownName
from ezcli.reports.choice import Choice, arms_in, listed
from ezcli.reports.collect import collect
from ezcli.reports.formats import FORMATS
from ezcli.reports.groups import Group
from ezcli.reports.published import agents_named
from ezcli.reports.report import Report, build, not_beside, usual_agents
from ezcli.words import counted

ALL_FORMATS = ("terminal", "html", *FORMATS)
PLOT_TYPES = ("png", "svg", "pdf")


class Options(NamedTuple):
    """The options of `ez report` that select what is reported."""

    names: list[str]
    against: str | None
    games: str | None
    arms: list[str]
    resamples: int
    evaluation: str
    runs_dir: Path


def make(options: Options) -> Report:
    """Builds the report described by the options."""
    groups, said = collect(options.names, options.runs_dir, options.evaluation)
    if not groups:
        what = "No run that counts" if said else "No finished run"
        console.note(f"{what} in {options.runs_dir}: these are published scores.")
    if options.against is not None:
        agents = agents_named(listed(options.against))
    else:
        agents = usual_agents(groups)
    known = {arm.name for group in groups for arm in group.arms}
    arms: list[str] = []
    for text in options.arms:
        named = arms_in(text, known)
        arms += named
        if len(listed(text)) > len(named) and known.issuperset(listed(text)):
            which = " and ".join(map(repr, named))
            said.append(f"--arms {text!r} names {which}; repeat --arms to name its parts.")
    said += changed_code(groups)
    choice = Choice(tuple(listed(options.games)), tuple(arms), options.resamples)
    made = build(groups, said, agents, choice)
    unseen = [] if options.against is None else not_beside(made, agents)
    return made._replace(notes=(*made.notes, *unseen))


def report(
    options: Options,
    form: str | None,
    output: Path | None,
    plots_dir: Path | None,
    plot_types: str,
) -> None:
    """`ez report`."""
    if form is None:
        form = by_suffix(output)
    if form not in ALL_FORMATS:
        raise UnknownName("format", form, ALL_FORMATS)
    if form == "terminal" and output is not None:
        raise ConfigError(
            "EZ-REPORT-TERMINAL-OUTPUT",
            "--format terminal cannot be written to a file.",
            "Leave out --output.",
        )
    types = listed(plot_types)
    for file_type in types:
        if file_type not in PLOT_TYPES:
            raise UnknownName("type of plot", file_type, PLOT_TYPES)
    require_place(output)
    made = make(options)
    if form == "terminal":
        console.show_report(made)
    else:
        text = page(made, output) if form == "html" else FORMATS[form](made)
        if output is None:
            console.write(text)
        else:
            save_and_tell(output, text)
    if plots_dir is not None:
        save_plots(made, plots_dir, types)


def page(made: Report, output: Path | None) -> str:
    """The report as an HTML page, with links relative to `output`."""
    from ezcli.reports.page import html  # lazy: loads matplotlib

    today = datetime.now(UTC).date()
    return html(made, output.parent if output else Path(), today)


def save_plots(made: Report, folder: Path, types: list[str]) -> None:
    """Draws every plot to files of these types.

    Raises:
      ReportError: there is nothing to draw.
      RunError: a file cannot be written.
    """
    from ezcli.reports import figures, plots  # lazy: loads matplotlib

    names: dict[str, bytes] = {}
    taken: set[str] = set()
    for section in made.sections:
        start = free_name(plots.file_name(section.title), taken)
        for plot in plots.plots(section, made.agents):
            for file_type in types:
                content = figures.render(plot.figure, file_type)
                names[f"{start}-{plot.name}.{file_type}"] = content
    if not names and any(section.group and section.group.runs for section in made.sections):
        raise ReportError(
            "EZ-REPORT-NO-CURVE",
            "There is nothing to draw: no run was evaluated during training, and there is "
            "nothing to compare.",
            "For a curve, train with --set evaluation.interval=N, in train_steps.",
        )
    if not names:
        raise ReportError(
            "EZ-REPORT-NOTHING-TO-DRAW",
            "There is nothing to draw: no run has a score.",
            "`ez runs` lists runs.",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    for name, content in names.items():
        save(folder / name, content)
    console.note(f"Wrote {counted(len(names), 'plot')} to {folder}.")


def by_suffix(output: Path | None) -> str:
    """The format of a file by its suffix; `terminal` without a file."""
    if output is None:
        return "terminal"
    suffixes = {".md": "markdown", ".csv": "csv", ".json": "json", ".tex": "latex", ".html": "html"}
    if output.suffix not in suffixes:
        raise ConfigError(
            "EZ-REPORT-NO-FORMAT",
            f"The suffix of {str(output)!r} belongs to no format.",
            f"Use {', '.join(suffixes)}, or give --format.",
        )
    return suffixes[output.suffix]


def free_name(name: str, taken: set[str]) -> str:
    """The name, with a number if it is taken. It is added to `taken`."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    found = next(n for n in itertools.chain([name], numbered) if n not in taken)
    taken.add(found)
    return found


def changed_code(groups: Iterable[Group]) -> list[str]:
    """Sentences on environments whose code has changed since the runs were trained."""
    said = []
    for group in groups:
        own = own_code(group.base.env)
        try:
            if own is not None:
                locate(own.target, own.code)
        except OtherCode as error:
            said.append(f"{error.message} The scores were measured with the recorded code.")
        except ConfigError:
            continue  # it is not on this machine
    return list(dict.fromkeys(said))
