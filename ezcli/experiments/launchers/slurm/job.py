"""What one SLURM job does: some runs, side by side, and a note of how each ended."""

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

TOO_LITTLE_TIME = "its time was up before it had saved anything new; ask for more with --time"
# Exit codes of a run that got a signal before it had set up its handlers.
UNHANDLED_SIGNALS = {-signal.SIGTERM, -signal.SIGUSR1, -signal.SIGUSR2}
STOPPED_EXIT_CODES = SAVED_EXIT_CODES | UNHANDLED_SIGNALS


class ExitNote(Settings):
    """What a job writes about a run that ended in it."""

    job: str | None
    exit_code: int
    started: str  # ISO 8601, UTC
    seconds: float
    last_lines: tuple[str, ...] = Field(strict=False)
    advanced: bool = True  # whether it saved anything new before its time was up


class JobBody:
    """What one job does: it trains some runs, side by side. Pickled here, called in the job.

    Signals are noted and acted on between two looks at the processes, never within one.

    Args:
      tasks: the runs.
      folder: for the notes of how each of them ended.
      cwd: to which the paths of the tasks are relative.
      seconds: until the runs are told to save.
    """

    def __init__(self, tasks: Sequence[Task], folder: Path, cwd: Path, seconds: float) -> None:
        self.tasks, self.folder, self.cwd, self.seconds = tuple(tasks), folder, cwd, seconds
        self.children: dict[str, Child] = {}  # by run
        self.saved: dict[str, list[str]] = {}  # names of its checkpoints, before
        self.signals: list[int] = []
        self.started, self.began = "", 0.0

    def __call__(self) -> None:
        """Trains until every run has ended.

        Raises:
          RuntimeError: one of them failed, so that SLURM knows of it.
        """
        from submitit.slurm.slurm import SlurmJobEnvironment

        os.chdir(self.cwd)  # wherever the lines of `setup` went
        time_is_up = signal.Signals[f"SIG{SlurmJobEnvironment.USR_SIG}"]
        requeue = signal.getsignal(time_is_up)  # submitit's, which calls `checkpoint`
        for number in (signal.SIGTERM, signal.SIGUSR1, time_is_up):
            signal.signal(number, lambda number, _frame: self.signals.append(number))
        self.began, self.started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        for task in self.tasks:
            (self.folder / f"{task.run}.json").unlink(missing_ok=True)  # of an earlier session
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
        """Time is up: the runs save, and the same job begins anew.

        Raises:
          RuntimeError: no run got any further, and none would the next time.
        """
        from submitit.helpers import DelayedSubmission

        codes = self._save()
        left = [task for task in self.tasks if codes.get(task.run) in (*STOPPED_EXIT_CODES, None)]
        had_time = time.monotonic() - self.began > self.seconds / 2  # else it was preempted
        advanced = any(checkpoints(task.folder) != self.saved[task.run] for task in left)
        for run, code in codes.items():
            self._note(run, code, advanced or code not in STOPPED_EXIT_CODES or not had_time)
        if had_time and not advanced:
            raise RuntimeError(TOO_LITTLE_TIME)
        return DelayedSubmission(JobBody(left, self.folder, self.cwd, self.seconds))

    def _wait(self, time_is_up: int, requeue: Any) -> dict[str, int]:
        """Exit code of each run, once all have ended."""
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
        """Lets every run save and end; their exit codes."""
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
    """The job that this process is part of, as `squeue` writes it."""
    array, number = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    return f"{array}_{number}" if array else os.environ.get("SLURM_JOB_ID")
