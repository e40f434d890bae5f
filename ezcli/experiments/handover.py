"""How a run is handed to a process: its folder holds every setting, `ez resume FOLDER` trains it.

Whoever starts a run writes its folder first (`prepare`), so that no setting passes through a
command line. Device and threads are options of the process: they belong to the machine that trains
the run, and change no result.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ezcli.config.run import RunConfig
from ezcli.files import LINES, appending, opened
from ezcli.runs.folder import CONFIG, RunFolder

# -P: a file of the current folder such as `queue.py` replaces no module of the same name.
PYTHON = (sys.executable, "-P")
PROGRAM = (*PYTHON, "-m", "ezcli")
KEPT_LINES = 5  # of a failed run's output, kept and shown


def prepare(folder: RunFolder, config: RunConfig, origin: dict[str, Any]) -> None:
    """Writes the folder of a run that has none, with its config sealed; nothing trains it yet.

    Args:
      folder: of the run.
      config: of the run.
      origin: entries for `run.json` that say where the config came from.

    Raises:
      Busy: another process holds the folder.
      EzError: the folder holds another run, is damaged, or cannot be written.
    """
    if folder.exists:
        folder.require_same(config)
        return
    with folder.lock():
        folder.create(config)
        folder.update_info(**origin, seals=folder.seals([CONFIG]))


class Task(NamedTuple):
    """One run to execute."""

    run: str  # its name
    folder: Path  # of the run, as `prepare` left it
    log: Path  # the file to which its output is added
    threads: int  # searches side by side
    device: str | None = None  # None: the one in its config
    options: tuple[str, ...] = ()  # more of `ez resume`
    variables: tuple[tuple[str, str], ...] = ()  # of its process, unless the user has set them

    @property
    def command(self) -> tuple[str, ...]:
        """The program and its arguments.

        `--trust`: whoever prepared the folder has asked the user already.
        """
        own = ("--trust", "resume", str(self.folder), "--quiet", "--threads", str(self.threads))
        device = ("--device", self.device) if self.device is not None else ()
        return (*PROGRAM, *own, *device, *self.options)


class Child(NamedTuple):
    """A process that executes a task."""

    task: Task
    process: subprocess.Popen[bytes]
    log_start: int  # bytes that were in the log before
    started: str  # ISO 8601, UTC
    began: float  # of `time.monotonic`

    @property
    def seconds(self) -> float:
        """Time since its start."""
        return time.monotonic() - self.began

    def last_lines(self) -> tuple[str, ...]:
        """The last lines of its output."""
        with opened(self.task.log, LINES) as log:
            log.seek(self.log_start)
            return last_lines(log.read().decode(errors="replace"))

    def signal(self, number: int) -> None:
        """Sends it a signal, unless it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(number)


def start_process(task: Task, preexec_fn: Callable[[], None] | None = None) -> Child:
    """Starts a process for a task, in a session of its own: a Ctrl-C reaches its parent alone.

    Raises:
      OSError: the log cannot be written.
    """
    with appending(task.log) as log:
        log_start = log.tell()
        process = subprocess.Popen(
            task.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment(task),
            preexec_fn=preexec_fn,
        )
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return Child(task, process, log_start, started, time.monotonic())


def environment(task: Task) -> dict[str, str]:
    """The variables for a run's process, whose output is a file.

    NumPy's and PyTorch's libraries would start a thread for each core of the machine in each of its
    runs, and `ez` uses one (decision 6).
    """
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return one_thread | dict(task.variables) | os.environ | {"PYTHONUNBUFFERED": "1"}


def last_lines(text: str) -> tuple[str, ...]:
    """The last lines of what a run printed."""
    return tuple([line for line in text.splitlines() if line.strip()][-KEPT_LINES:])


def exit_text(code: int) -> str:
    """How a process ended, such as `exit code 1`, `killed by SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    known = -code in set(signal.Signals)
    return f"killed by {signal.Signals(-code).name if known else f'signal {-code}'}"
