"""What a place that executes runs must be able to do."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

PROGRAM = (sys.executable, "-m", "ezcli")
LAST_LINES = 5  # of a failed run's output, kept and shown

JOBS = "jobs"  # folder within a run or a study: which job it is, and what that said

SAVED = {75, 130}  # exit codes of a run that was stopped and can go on

JobState = Literal["queued", "running", "ended"]
Fault = Literal["run", "place", "user"]


class Task(NamedTuple):
    """One run to execute."""

    run: str  # its name
    folder: Path  # of the run; need not be there yet
    arguments: tuple[str, ...]  # of `ez`; they train the run, or go on with it
    log: Path  # what it prints is added to


class Ending(NamedTuple):
    """How a task ended."""

    exit_code: int | None  # negative: the number of the signal that killed it; None: nobody knows
    cause: str  # in words: `exit code 1`, `killed by SIGKILL`, `timed out`
    fault: Fault  # whose doing it was: the run's own; the place took it away; a user cancelled it
    last_lines: tuple[str, ...]  # of what it printed
    started: str  # ISO 8601, UTC
    seconds: float
    where: str | None  # device, or job and node


class Launcher(Protocol):
    """A place that executes runs, each once at a time."""

    outlives: bool  # whether tasks go on when this process has ended
    poll_seconds: float  # between two questions about states

    @property
    def slots(self) -> int | None:
        """Tasks under way at once, at most; None: the place sees to that."""

    def submit(self, tasks: Sequence[Task]) -> list[str]:
        """Hands over tasks, and says of each where it went: `on cuda:0`, `as job 17_3`; or ``.

        Raises:
          EzError: the place refuses; none of the tasks was taken.
        """

    def states(self) -> Mapping[str, JobState]:
        """How each run stands that was submitted and not collected, by name.

        With `outlives` also those that an earlier process submitted.
        """

    def cancel(self, runs: Sequence[str], at_once: bool) -> None:
        """Lets runs save and end, or ends them as they are; returns before they have ended."""

    def collect(self, run: str) -> Ending:
        """How a run ended whose state is `ended`; from then on it is not known any more."""

    def close(self) -> None:
        """Leaves nothing behind that was not meant to outlive this process."""


def environment() -> dict[str, str]:
    """The variables for a run's process, whose output is a file.

    NumPy's and PyTorch's libraries would start a thread for each core of the machine in each of its
    runs, and `ez` uses one (ARCHITECTURE, decision 6).
    """
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return one_thread | os.environ | {"PYTHONUNBUFFERED": "1"}


def last_lines(text: str) -> tuple[str, ...]:
    """The last lines of what a run printed."""
    return tuple([line for line in text.splitlines() if line.strip()][-LAST_LINES:])
