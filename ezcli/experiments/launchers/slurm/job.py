"""The body of a SLURM job: trains some runs at the same time, and records how each ended."""

import os
import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from ezcli.experiments.handover import Child, Task, exit_text, start_process
from ezcli.experiments.launchers.protocol import SAVED_EXIT_CODES
from ezcli.files import write_atomically
from ezcli.settings import Settings

TOO_LITTLE_TIME = (
    "its time limit was reached before it saved anything new; request more with --time"
)
# Exit codes of a run that received a signal before its handlers were set.
UNHANDLED_SIGNALS = {-signal.SIGTERM, -signal.SIGUSR1, -signal.SIGUSR2}
STOPPED_EXIT_CODES = SAVED_EXIT_CODES | UNHANDLED_SIGNALS


class ExitNote(Settings):
    """A job's record of a run that ended in it."""

    job: str | None
    exit_code: int
    started: str  # ISO 8601, UTC
    seconds: float
    last_lines: tuple[str, ...] = Field(strict=False)
    advanced: bool = True  # whether it saved anything new before the time limit


class JobBody:
    """Trains some runs at the same time. It is pickled here and called in the job.

    Signals are recorded, and handled between two polls of the processes.

    Args:
      tasks: the runs.
      folder: for the records of how each run ended.
      cwd: folder to which the paths of the tasks are relative.
      seconds: time until the runs are told to save.
    """

    def __init__(self, tasks: Sequence[Task], folder: Path, cwd: Path, seconds: float) -> None:
        self.tasks, self.folder, self.cwd, self.seconds = tuple(tasks), folder, cwd, seconds
        self.children: dict[str, Child] = {}  # by run
        self.saved: dict[str, list[str]] = {}  # names of its checkpoints at the start
        self.signals: list[int] = []
        self.started, self.began = "", 0.0

    def __call__(self) -> None:
        """Trains until every run has ended.

        Raises:
          RuntimeError: a run failed, which is reported to SLURM.
        """
        from submitit.slurm.slurm import SlurmJobEnvironment

        os.chdir(self.cwd)  # whatever folder the lines of `setup` changed to
        time_is_up = signal.Signals[f"SIG{SlurmJobEnvironment.USR_SIG}"]
        requeue = signal.getsignal(time_is_up)  # submitit's, which calls `checkpoint`
        for number in (signal.SIGTERM, signal.SIGUSR1, time_is_up):
            signal.signal(number, lambda number, _frame: self.signals.append(number))
        self.began, self.started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        for task in self.tasks:
            (self.folder / f"{task.run}.json").unlink(missing_ok=True)  # from an earlier session
            self.saved[task.run] = checkpoints(task.folder)
        try:
            for task in self.tasks:
                if not self.signals:
                    self.children[task.run] = start_process(task)
            codes = self._wait(time_is_up, requeue)
        finally:
            self._save()
        failed = {run: code for run, code in codes.items() if code}
        if failed:
            raise RuntimeError(
                ", ".join(f"{run}: {exit_text(code)}" for run, code in failed.items())
            )

    def checkpoint(self) -> Any:
        """Handles the time limit: the runs save, and the same job is queued again.

        Raises:
          RuntimeError: no run made progress, so none would the next time.
        """
        from submitit.helpers import DelayedSubmission

        codes = self._save()
        left = [task for task in self.tasks if codes.get(task.run) in (*STOPPED_EXIT_CODES, None)]
        had_time = time.monotonic() - self.began > self.seconds / 2  # otherwise it was preempted
        advanced = any(checkpoints(task.folder) != self.saved[task.run] for task in left)
        for run, code in codes.items():
            self._note(run, code, advanced or code not in STOPPED_EXIT_CODES or not had_time)
        if had_time and not advanced:
            raise RuntimeError(TOO_LITTLE_TIME)
        return DelayedSubmission(JobBody(left, self.folder, self.cwd, self.seconds))

    def _wait(self, time_is_up: int, requeue: Any) -> dict[str, int]:
        """Waits until all runs have ended, and returns their exit codes."""
        codes: dict[str, int] = {}
        while len(codes) < len(self.children) or self.signals:
            for run, child in self.children.items():
                if run not in codes and (code := child.process.poll()) is not None:
                    codes[run] = code
                    self._note(run, code)
            while self.signals:
                number = self.signals.pop(0)
                if number != signal.SIGTERM:
                    requeue(time_is_up, None)  # which ends this process
                self._tell(signal.SIGTERM)
            time.sleep(0.2)
        return codes

    def _tell(self, number: int) -> None:
        for child in self.children.values():
            child.signal(number)

    def _save(self) -> dict[str, int]:
        """Lets every run save and end, and returns their exit codes."""
        self._tell(signal.SIGTERM)
        return {run: child.process.wait() for run, child in self.children.items()}

    def _note(self, run: str, code: int, advanced: bool = True) -> None:
        note = ExitNote(
            job=job_name(),
            exit_code=code,
            started=self.started,
            seconds=round(time.monotonic() - self.began, 3),
            last_lines=self.children[run].last_lines(),
            advanced=advanced,
        )
        write_atomically(self.folder / f"{run}.json", note.model_dump_json().encode() + b"\n")


def checkpoints(run: Path) -> list[str]:
    """Names of a run's checkpoints."""
    return sorted(path.name for path in run.glob("checkpoints/step-*"))


def job_name() -> str | None:
    """The job of this process, as printed by `squeue`."""
    array, number = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    return f"{array}_{number}" if array else os.environ.get("SLURM_JOB_ID")
