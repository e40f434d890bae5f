"""`ez report`: from run folders to tables."""

from pathlib import Path
from typing import NamedTuple

from ezcli import console
from ezcli.errors import ConfigError, RunError, UnknownName
from ezcli.reports.collect import collect
from ezcli.reports.formats import FORMATS
from ezcli.reports.published import DEFAULT_AGAINST, agents_named, published_agents
from ezcli.reports.report import Choice, Report, build
from ezcli.runs.folder import write_atomically


class Options(NamedTuple):
    """What of `ez report` says what is reported."""

    names: list[str]
    against: str | None
    games: str | None
    arms: str | None
    resamples: int
    runs_dir: Path


def make(options: Options) -> Report:
    """The report that the options ask for."""
    groups, said = collect(options.names, options.runs_dir)
    if options.against is not None:
        agents = agents_named(listed(options.against))
    else:
        agents = agents_named(DEFAULT_AGAINST if groups else published_agents())
    choice = Choice(tuple(listed(options.games)), tuple(listed(options.arms)), options.resamples)
    return build(groups, said, agents, choice)


def report(options: Options, form: str | None, output: Path | None) -> None:
    """`ez report`."""
    if form is None:
        form = by_suffix(output)
    if form not in ("terminal", *FORMATS):
        raise UnknownName("format", form, ("terminal", *FORMATS))
    made = make(options)
    if form == "terminal":
        console.show_report(made)
    elif output is None:
        console.write(FORMATS[form](made))
    else:
        save(output, FORMATS[form](made).encode())


def by_suffix(output: Path | None) -> str:
    """The format of a file by its name; the terminal's without a file."""
    if output is None:
        return "terminal"
    suffixes = {".md": "markdown", ".csv": "csv", ".json": "json", ".tex": "latex", ".html": "html"}
    if output.suffix not in suffixes:
        raise ConfigError(
            f"The format of {str(output)!r} cannot be told from its name.",
            f"End it in {', '.join(suffixes)}, or give --format.",
        )
    return suffixes[output.suffix]


def save(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all.

    Raises:
      RunError: it cannot be written.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise RunError(
            f"{str(path)!r} cannot be written: {error.strerror}.", "Choose another file."
        ) from error
    console.show(f"Wrote {path}.")


def listed(text: str | None) -> list[str]:
    """The names in `a,b,c`."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]
