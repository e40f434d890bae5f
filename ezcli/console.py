"""Everything drawn on a terminal. The only module that imports rich."""

import ctypes
import io
import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape as escape_markup
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
)
from rich.progress import Task as RichTask
from rich.table import Table
from rich.text import Text

from ezcli.config.run import RunConfig
from ezcli.errors import EzError, OutputError
from ezcli.experiments import catalogue
from ezcli.words import STEERING, broken, duration

if TYPE_CHECKING:  # reports load SciPy, which other commands do not need
    from ezcli.reports.report import Report
    from ezcli.reports.tables import Table as ReportTable
    from ezcli.runs.evaluate import Told

MOST_SOURCES = 6  # lines that a terminal shows
MOST_COLUMNS = 10_000  # columns of a table that goes into a pipe
# Control characters except line feed and tab, and marks that change the direction of text.
CONTROLS = re.compile(f"(?![\t\n])[{STEERING}]")
NAME_WIDTH = 18  # columns of the first column of a table that is too wide
HEAD_WIDTH = 12  # columns of its header
COMMAND = ": ez "  # start of a command, which is the rest of the line
INDENT = "  "  # indent of continued lines
NO_BREAK = "\N{NO-BREAK SPACE}"


class Output(io.TextIOBase):
    """Standard output. Its failures, such as a full disk, become sentences.

    A process may be started without standard output (`>&-`). Its text is then discarded. Characters
    that the encoding lacks are escaped, as on standard error.
    """

    def __init__(self) -> None:
        self.reserved: list[TextIO | None] = []  # the descriptor kept by `reserve`

    @property
    def behind(self) -> TextIO | None:
        """Standard output itself, even while a live display of rich replaces it."""
        if self.reserved:
            return self.reserved[-1]
        return getattr(sys.stdout, "rich_proxied_file", sys.stdout)

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """Keeps standard output for this class alone.

        All other output, of Python, C or a child process, goes to standard error.
        """
        before = self.behind
        kept, descriptor = before, os.dup(1)
        if before is not None and is_descriptor(before, 1):
            before.flush()
            kept = open(  # noqa: SIM115  (closed below)
                os.dup(1), "w", encoding=before.encoding, errors=before.errors, newline=""
            )
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        self.reserved.append(kept)
        try:
            yield
        finally:
            self.reserved.pop()
            with suppress(OSError, ValueError):  # closed by a user's code
                if before is not None:
                    before.flush()
            ctypes.CDLL(None).fflush(None)  # the buffers of C
            os.dup2(descriptor, 1)
            os.close(descriptor)
            sys.stdout = before
            if kept is not None and kept is not before:
                with suppress(OSError):  # already reported by `write`
                    kept.close()

    def write(self, text: str) -> int:
        """Writes all of the text, at once.

        Raises:
          OutputError: it cannot be written, and its reader has not gone.
        """
        try:
            if self.behind is not None:
                spelt = text.encode(self.letters, "backslashreplace").decode(self.letters)
                self.behind.write(spelt)
                self.behind.flush()
        except BrokenPipeError:  # the reader has gone: end without a message
            raise
        except OSError as error:
            raise OutputError(
                "EZ-OUTPUT-NOT-WRITABLE", f"Standard output cannot be written: {error.strerror}."
            ) from error
        return len(text)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.behind is not None and self.behind.isatty()

    def fileno(self) -> int:
        """Of the file behind it."""
        return super().fileno() if self.behind is None else self.behind.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the file behind it."""
        return "utf-8" if self.behind is None else self.behind.encoding

    @property
    def letters(self) -> str:
        """Name of the encoding; a stream in memory has none of its own."""
        return self.encoding or "utf-8"


def is_descriptor(stream: TextIO, number: int) -> bool:
    """Whether a stream writes to this descriptor. A stream in memory has none."""
    try:
        return stream.fileno() == number
    except io.UnsupportedOperation:
        return False


output = Output()
out = Console(file=output, highlight=False, emoji=False)  # type: ignore[arg-type]
err = Console(stderr=True, highlight=False, emoji=False)


class Elapsed(ProgressColumn):
    """The time since a bar began, also while the last evaluation is played after it is full."""

    def render(self, task: RichTask) -> Text:
        """Such as `1 min 05 s elapsed`."""
        return Text(f"{duration(task.get_time() - (task.start_time or 0.0))} elapsed")


PLAIN_SECONDS = 30.0  # between lines of progress where the output is not a terminal


def evaluation_bar(screen: Console) -> tuple[Progress, "Told"]:
    """A progress bar of finished episodes, and the function that updates it."""
    bar = Progress(
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("episodes over, env_step {task.fields[env_steps]:,}"),
        Elapsed(),
        console=screen,
    )
    task = bar.add_task("", total=None, env_steps=0)

    def tell(over: int, episodes: int, env_steps: int) -> None:
        bar.update(task, completed=over, total=episodes, env_steps=env_steps)

    return bar, tell


def evaluation_lines(what: str, said_at: float, say: Callable[[str], None]) -> "Told":
    """Returns a function that prints the progress of an evaluation now and then."""

    def tell(over: int, episodes: int, env_steps: int) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= PLAIN_SECONDS:
            said_at = time.monotonic()
            say(f"{what}: {over} of {episodes} episodes over, env_step {env_steps:,}")

    return tell


@contextmanager
def evaluating(what: str) -> Iterator["Told"]:
    """Shows the progress of an evaluation on standard error: a bar on a terminal, otherwise lines.

    Yields the function to call with the progress.
    """
    if not err.is_terminal:
        yield evaluation_lines(what, time.monotonic(), note)
        return
    bar, tell = evaluation_bar(err)
    shown = Group(Text(f"{what} ..."), bar)
    with Live(shown, console=err, refresh_per_second=4, transient=True):
        yield tell


class TerminalReporter:
    """Prints lines and, on a terminal, a progress bar of the run."""

    def __init__(self) -> None:
        self.live: Live | None = None
        self.bar = Progress(
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            Elapsed(),
            TextColumn("{task.fields[left]}"),
            console=out,
        )
        self.metrics: dict[str, Any] = {}
        self.said_at = 0.0
        self.lost_output: Exception | None = None  # the error that ended output

    @contextmanager
    def running(self) -> Iterator[None]:
        """Shows the bar while the context is open."""
        if not out.is_terminal:
            yield
            return
        self.bar.add_task("", total=None, left="")
        with Live(self.bar, console=out, refresh_per_second=4, transient=True) as self.live:
            yield
        self.live = None

    def below_bar(self, text: str) -> None:
        """Shows lines below the bar."""
        if self.live is not None:
            self.live.update(Group(self.bar, Text(text)))

    def say(self, text: str) -> None:
        """Prints a line. Does nothing once output is lost."""
        if self.lost_output is not None:
            return
        try:
            if out.is_terminal:
                show(text)
            else:
                out.file.write(f"{harmless(text)}\n")
        except (OutputError, BrokenPipeError) as error:
            self.lost_output = error

    def progress(self, event: Any, config: RunConfig, rates: Any) -> None:
        """Shows the state after a cycle."""
        if event.metrics is not None:
            known = {key: value for key, value in event.metrics.items() if value is not None}
            self.metrics |= known
        left, *lines = progress_lines(event, config, rates, self.metrics)
        if self.live is not None:
            (task,) = self.bar.task_ids
            done, total = event.train_steps, config.schedule.train_steps
            left = left.partition("  ")[2]
            self.bar.update(task, completed=done, total=total, left=left)
            self.below_bar("\n".join(lines))
        elif time.monotonic() - self.said_at >= PLAIN_SECONDS:
            self.said_at = time.monotonic()
            self.say(" | ".join((left, *lines)))

    @contextmanager
    def quiet_while(self, what: str, is_announced: bool = True) -> Iterator["Told"]:
        """Announces a long step, and prints its duration if it was long.

        Yields the function to call with the progress of an evaluation. On a terminal it updates a
        second bar.
        """
        began = time.monotonic()
        if self.live is not None:
            self.below_bar(f"{what} ...")
            bar, move = evaluation_bar(out)

            def tell(over: int, episodes: int, env_steps: int) -> None:
                if self.live is not None and not bar.tasks[0].total:
                    self.live.update(Group(self.bar, Text(f"{what} ..."), bar))
                move(over, episodes, env_steps)

            yield tell
            return
        if is_announced:
            self.say(f"{what} ...")
        yield evaluation_lines(what.partition(":")[0], began, self.say)
        seconds = time.monotonic() - began
        if is_announced and seconds > 1:
            self.say(f"... {duration(seconds)}")


class QuietReporter(TerminalReporter):
    """Prints nothing. The files of the run hold the same information."""

    def say(self, text: str) -> None:
        """Does nothing."""

    def progress(self, event: Any, config: RunConfig, rates: Any) -> None:
        """Does nothing."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Does nothing."""
        yield

    @contextmanager
    def quiet_while(self, what: str, is_announced: bool = True) -> Iterator["Told"]:
        """Does nothing."""
        yield lambda over, episodes, env_steps: None


@contextmanager
def live_line() -> Iterator[Callable[[str], None]]:
    """Yields a function that replaces one line on a terminal, and otherwise does nothing."""
    if not out.is_terminal:
        yield lambda text: None
        return
    with Live(Text(""), console=out, refresh_per_second=4, transient=True) as live:
        yield lambda text: live.update(Text(text))


class StudyReporter:
    """Prints lines and, on a terminal, a table of the runs in progress."""

    def __init__(self, runs_dir: Path, quiet: bool) -> None:
        self.runs_dir, self.quiet = runs_dir, quiet
        self.live: Live | None = None
        self.drawn_at = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Shows the table while the context is open."""
        if self.quiet or not out.is_terminal:
            yield
            return
        with Live(Text(""), console=out, auto_refresh=False, transient=True) as self.live:
            yield
        self.live = None

    def say(self, text: str) -> None:
        """Prints a line."""
        if not self.quiet:
            show(text)

    def progress(self, progress: Any) -> None:
        """Shows the state of the study, at most once a second."""
        if self.live is None or time.monotonic() - self.drawn_at < 1:
            return
        self.drawn_at = time.monotonic()
        self.live.update(study_table(self.runs_dir, progress), refresh=True)


def study_table(runs_dir: Path, progress: Any) -> Table:
    """A table of the runs in progress, and a line that counts the others."""
    left = (
        "" if progress.seconds_left is None else f", about {duration(progress.seconds_left)} left"
    )
    queued = f"{len(progress.queued)} queued, " if progress.queued else ""
    title = (
        f"{progress.finished} finished, {len(progress.active)} running, {queued}"
        f"{progress.waiting} waiting, {progress.failed} failed{left}"
    )
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in ("arm", "game", "seed"):
        table.add_column(column, overflow="fold")
    for column in ("done", "score", "train_steps/s", "left"):
        table.add_column(column, justify="right")
    table.add_column("state")
    for state, runs in (("running", progress.active), ("elsewhere", progress.elsewhere)):
        for run in runs:
            table.add_row(*study_row(runs_dir, run), state)
    return table


def study_row(runs_dir: Path, run: Any) -> tuple[str, ...]:
    """Arm, game, seed, share done, score, train_steps per second and time left of a run."""
    far = catalogue.progress(catalogue.entry(runs_dir / run.name))
    total = run.config.schedule.train_steps
    done, rate = far.train_steps or 0, far.train_steps_per_second
    return (
        escape(run.arms),
        run.config.env_label,
        str(run.config.seed),
        f"{done / total:.0%}",
        "" if far.score is None else f"{far.score:.2f}",
        f"{rate:.1f}" if rate else "",
        duration((total - done) / rate) if rate else "",
    )


def progress_lines(
    event: Any, config: RunConfig, rates: Any, metrics: dict[str, Any]
) -> tuple[str, str, str]:
    """Lines of at most 80 columns: share of train_steps and time left; steps and rates; metrics."""
    schedule = config.schedule
    left = "" if rates.seconds_left is None else f"  {duration(rates.seconds_left)} left"
    done = f"{event.train_steps / max(1, schedule.train_steps):.0%}{left}"
    steps = (
        f"env_steps {event.env_steps:,}/{schedule.env_steps:,} "
        f"({rates.env_steps_per_second:.1f}/s)"
        f"  train_steps {event.train_steps:,}/{schedule.train_steps:,}"
        f" ({rates.train_steps_per_second:.1f}/s)"
    )
    shown = (
        ("score", "score", ".1f"),
        ("loss", "loss", ".2f"),
        ("value", "value", ".2f"),
        ("policy", "policy", ".2f"),
        ("depth", "search_depth", ".1f"),
        ("entropy", "search_entropy", ".2f"),
    )
    parts = [f"{label} {metrics[key]:{style}}" for label, key, style in shown if key in metrics]
    return done, steps, "  ".join(parts) or "first metrics soon"


def show_error(error: EzError, with_code: bool = False) -> None:
    """Prints message and hint of an error on standard error.

    Args:
      error: the error.
      with_code: whether to print its code first.
    """
    if with_code:
        err.print(error.code, soft_wrap=True)
    message = escape(laid_out(f"error: {error.message}", err)).removeprefix("error:")
    err.print(f"[bold red]error:[/]{message}", soft_wrap=True)
    if error.hint:
        note(error.hint)


def show_table(
    columns: Iterable[str],
    rows: Iterable[Iterable[object]],
    title: str = "",
    whole: Collection[str] = (),
) -> None:
    """Prints a plain table. Numbers are right-aligned.

    Args:
      columns: their names.
      rows: their cells.
      title: above the table.
      whole: columns that are never cut; on a narrow terminal the others end in an ellipsis. If
        empty, long cells are wrapped.
    """
    table = Table(title=escape(title) or None, box=None, pad_edge=False, header_style="bold")
    columns = list(columns)
    cells = [[str(cell) for cell in row] for row in rows]
    widths = (max(map(len, column)) for column in zip(columns, *cells, strict=True))
    if not whole and sum(widths) + len(columns) > out.width:
        cells = [["\n".join(broken(name, out.width // 3)), *others] for name, *others in cells]
    for index, column in enumerate(columns):
        numeric = all(is_number(row[index]) for row in cells if row[index])
        table.add_column(
            escape(column),
            justify="right" if numeric else "left",
            overflow="ellipsis" if whole else "fold",
            no_wrap=bool(whole),
            min_width=max(map(len, (column, *(row[index] for row in cells))))
            if whole and (numeric or column in whole)
            else None,
        )
    for row in cells:
        table.add_row(*map(escape, row))
    out.print(table)


def show_report(report: "Report") -> None:
    """Prints the tables of a report. On a narrow terminal intervals are below their numbers.

    Without a terminal each row is one line of any length.
    """
    from ezcli.reports.formats import one_line

    wide = Console(file=out.file, width=MOST_COLUMNS, highlight=False, emoji=False)
    for section in report.sections:
        tell(one_line(section.title), style="bold underline")
        for table in section.tables:
            if table.key == "sources" and len(table.rows) > MOST_SOURCES:
                out.print("\nSources of the published scores: ez report --format markdown")
                continue
            out.print()
            tell(one_line(table.title), style="bold")
            drawn = report_table(table, narrow=False)
            if out.is_terminal and wide.measure(drawn).maximum > out.width:
                drawn = report_table(table, narrow=True)
            (out if out.is_terminal else wide).print(drawn)
            for note in table.notes:
                tell(one_line(note), style="dim")
        out.print()
        for note in section.notes:
            tell(one_line(note))
        out.print()
    for note in report.notes:
        tell(one_line(note))


def report_table(table: "ReportTable", narrow: bool) -> Table:
    """A table of a report for the terminal."""
    from ezcli.reports.formats import cell_text, is_numeric, one_line

    rows = [[one_line(cell_text(cell)) for cell in row] for row in table.rows]
    heads = [one_line(column) for column in table.columns]
    if narrow:
        rows = [["\n".join(broken(name, NAME_WIDTH)), *map(below, cells)] for name, *cells in rows]
        heads = ["\n".join(broken(head, HEAD_WIDTH)) for head in heads]
    drawn = Table(box=None, pad_edge=False, header_style="dim")
    for index, head in enumerate(heads):
        justify: Literal["left", "right"] = "right" if is_numeric(table, index) else "left"
        lines = [line for row in rows for line in row[index].split("\n")]
        whole = min(NAME_WIDTH, max(map(len, lines), default=0))  # of a name, which is not folded
        least = whole if narrow and index == 0 else None
        drawn.add_column(Text(head), justify=justify, overflow="fold", min_width=least)
    for row in rows:
        drawn.add_row(*map(Text, row))
    return drawn


def below(cell: str) -> str:
    """A cell of a narrow table: an interval below its number, and in one line."""
    return cell.replace(" [", "\n[").replace(", ", f",{NO_BREAK}")


def harmless(text: str) -> str:
    """Escapes control characters, which could change a terminal's state.

    Names of runs and messages of a user's game may contain them.
    """
    return CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)


def escape(text: str) -> str:
    """Escapes markup of rich and control characters."""
    return escape_markup(harmless(text))


def laid_out(text: str, screen: Console, indent: str = "") -> str:
    """Breaks text between words for a terminal; otherwise returns it unchanged.

    Text in brackets stays on one line if it fits. A command is not broken, because a line break
    would end it. It begins on a new line instead.
    """
    if not screen.is_terminal:
        return text
    in_brackets = rf"\([^()]{{,{screen.width - len(indent) - 3}}}\)"  # and punctuation
    lines: list[str] = []
    for line in text.split("\n"):
        if len(line) <= screen.width:
            lines.append(line)
            continue
        prose, colon, command = line.partition(COMMAND)
        pieces = textwrap.wrap(
            re.sub(in_brackets, lambda found: found[0].replace(" ", NO_BREAK), prose) + colon[:1],
            screen.width,
            subsequent_indent=indent,
            replace_whitespace=False,
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines += [piece.replace(NO_BREAK, " ") for piece in pieces]
        lines += [f"{INDENT}{colon[2:]}{command}"] if colon else []
    return "\n".join(lines)


def show(text: str) -> None:
    """Prints a line on standard output, wrapped between words on a terminal."""
    out.print(escape(laid_out(text, out, INDENT)), soft_wrap=True)


def tell(text: str, style: str = "") -> None:
    """Prints prose on standard output, wrapped between words on a terminal."""
    out.print(escape(laid_out(text, out)), style=style, soft_wrap=True)


def note(text: str) -> None:
    """Prints a line on standard error, beside the output of the command."""
    err.print(escape(laid_out(text, err)), soft_wrap=True)


def write(text: str) -> None:
    """Writes raw text to standard output, for files and pipes.

    Raises:
      OutputError: it cannot be written unchanged.
    """
    try:
        text.encode(output.letters)
    except UnicodeEncodeError as error:
        letter = text[error.start].encode("unicode_escape").decode()
        raise OutputError(
            "EZ-OUTPUT-ENCODING",
            f"Standard output is encoded as {output.letters}, which lacks the character "
            f"'{letter}'.",
            "Set PYTHONIOENCODING=utf-8.",
        ) from error
    out.file.write(text)


def ask(question: str) -> bool:
    """Asks the user, and returns whether the answer was yes. No answer means no."""
    out.print(escape(f"{question} [y/N] "), end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def show_check(name: str, ok: bool, detail: str, remedy: str) -> None:
    """Prints a line of `ez doctor`."""
    mark = "[green]ok  [/]" if ok else "[red]not [/]"
    line = escape(laid_out(f"{'.' * 5}{name}: {detail}", out))
    out.print(f"{mark} [bold]{escape(name)}[/]{line[5 + len(escape(name)) :]}", soft_wrap=True)
    if remedy:
        tell(f"     {remedy}")


def is_number(text: str) -> bool:
    """Whether a cell contains a number."""
    return text.replace(",", "").replace(".", "").replace("-", "").replace("%", "").isdigit()
