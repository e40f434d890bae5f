"""How a run is handed to a process: its folder has all settings, and `ez resume FOLDER` trains it.

The caller first writes the folder (`prepare`), so that no setting passes through a command line.
Device and threads are options of the process: they depend on the machine, and do not affect
results.
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

# -P: a file in the current folder, such as `queue.py`, must not replace a module.
PYTHON = (sys.executable, "-P")
PROGRAM = (*PYTHON, "-m", "ezcli")
KEPT_LINES = 5  # last lines of a failed run's output to keep and show


def prepare(folder: RunFolder, config: RunConfig, origin: dict[str, Any]) -> None:
    """Writes the folder of a new run, with a sealed config, without training it.

    Args:
      folder: of the run.
      config: of the run.
      origin: entries for `run.json` on the source of the config.

    Raises:
      Busy: another process has locked the folder.
      EzError: the folder contains another run, is damaged, or cannot be written.
    """
    if folder.exists:
        folder.require_same(config)
        return
    with folder.lock():
        folder.create(config)
        folder.update_info(**origin, seals=folder.seals([CONFIG]))


class Task(NamedTuple):
    """One run to execute."""

    run: str  # name of the run
    folder: Path  # folder of the run, made by `prepare`
    log: Path  # its output is appended to this file
    threads: int  # searches at the same time
    device: str | None = None  # None: the device in its config
    options: tuple[str, ...] = ()  # further options of `ez resume`
    # environment variables of its process, unless the user has set them
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def command(self) -> tuple[str, ...]:
        """The program and its arguments.

        It contains `--trust`, because `prepare` has already asked the user.
        """
        own = ("--trust", "resume", str(self.folder), "--quiet", "--threads", str(self.threads))
        device = ("--device", self.device) if self.device is not None else ()
        return (*PROGRAM, *own, *device, *self.options)


class Child(NamedTuple):
    """A process that executes a task."""

    task: Task
    process: subprocess.Popen[bytes]
    log_start: int  # size of the log at its start, bytes
    started: str  # ISO 8601, UTC
    began: float  # time of `time.monotonic`

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
    """Starts a process for a task in a new session, so that Ctrl-C reaches only its parent.

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

    Libraries of NumPy and PyTorch would start one thread per core in each run, but `ez` uses one
    (decision 6).
    """
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return one_thread | dict(task.variables) | os.environ | {"PYTHONUNBUFFERED": "1"}


def last_lines(text: str) -> tuple[str, ...]:
    """The last lines of a run's output."""
    return tuple([line for line in text.splitlines() if line.strip()][-KEPT_LINES:])


def exit_text(code: int) -> str:
    """The end of a process in words, such as `exit code 1`, `killed by SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    known = -code in set(signal.Signals)
    return f"killed by {signal.Signals(-code).name if known else f'signal {-code}'}"
