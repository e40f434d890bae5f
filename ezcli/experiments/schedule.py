"""Executes a study: starts runs, retries failed ones, and continues until none is left.

The state of a run is in its folder: finished, begun, or being trained by another process. So a
study can continue after any interruption, such as a power cut. A run that fails is retried once,
then recorded as failed, and the others continue. A launcher executes the runs.
"""

import signal
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType
from typing import Any, Literal, NamedTuple, Protocol

from ezcli.errors import Busy, EzError
from ezcli.experiments.catalogue import State, state
from ezcli.experiments.handover import Task, prepare
from ezcli.experiments.launchers.protocol import SAVED_EXIT_CODES, Ending, JobState, Launcher
from ezcli.experiments.study import PlannedRun, StudyFolder
from ezcli.files import appending
from ezcli.runs.folder import RunFolder
from ezcli.runs.json_files import append_line
from ezcli.runs.trackers.protocol import Tracking
from ezcli.words import counted

# Ctrl-C, termination, a closed terminal, and signals of schedulers before a time limit.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
MAX_ATTEMPTS = 2  # attempts of a run per start of the study
MAX_LOSSES = 10  # submissions of a run to the cluster per start of the study

Result = Literal["finished", "failed", "stopped"]


class Progress(NamedTuple):
    """The state of a study at a poll."""

    active: list[PlannedRun]
    queued: list[PlannedRun]  # submitted, not begun
    elsewhere: list[PlannedRun]  # being trained by another process
    waiting: int
    finished: int
    failed: int
    seconds_left: float | None


class Outcome(NamedTuple):
    """The state of a study when its command ends."""

    finished: list[PlannedRun]
    failed: list[PlannedRun]
    left: list[PlannedRun]
    cancelled: list[PlannedRun]  # by another process, while this command waited
    stopped_by: signal.Signals | None
    num_waiting: int = 0  # of the unfinished runs: not submitted yet

    @property
    def exit_code(self) -> int:
        """0: all done; 1: a run failed; 130: Ctrl-C; 75: stopped otherwise."""
        if self.stopped_by is not None:
            return 130 if self.stopped_by is signal.SIGINT else 75
        return 1 if self.failed else 75 if self.cancelled else 0


class Reporter(Protocol):
    """Receives messages and progress of a study."""

    def say(self, text: str) -> None:
        """Prints a line."""

    def progress(self, progress: Progress) -> None:
        """Shows the state at every poll."""


class Scheduler:
    """Submits the runs of one study to a launcher, and follows them to their end.

    Args:
      folder: of the study, saved and locked by the caller.
      runs: runs in the order of execution.
      launcher: executes the runs.
      threads: searches at the same time in each run.
      reporter: receives messages and progress.
      waits: whether to wait until no run is left, or only to submit all runs.
      tracking: trackers that receive the metrics of the runs.
    """

    def __init__(
        self,
        folder: StudyFolder,
        runs: Sequence[PlannedRun],
        launcher: Launcher,
        threads: int,
        reporter: Reporter,
        waits: bool = True,
        tracking: Tracking = Tracking(),  # noqa: B008 - a value
    ) -> None:
        self.folder, self.runs, self.launcher = folder, runs, launcher
        self.threads, self.reporter, self.waits = threads, reporter, waits
        self.tracking = tracking
        self.waiting = deque(runs)
        self.active: list[PlannedRun] = []  # submitted
        self.elsewhere: list[PlannedRun] = []
        self.finished: list[PlannedRun] = []
        self.failed: list[PlannedRun] = []
        self.cancelled: list[PlannedRun] = []
        self.adopted: set[str] = set()  # runs submitted by an earlier command
        # Runs whose task has ended. If its node died, the lock seems held for a while, and the next
        # task waits for it.
        self.collected: set[str] = set()
        self.attempts: Counter[str] = Counter()
        self.losses: Counter[str] = Counter()
        self.seconds: list[float] = []  # durations of runs that finished without a stop
        self.stop: signal.Signals | None = None
        self.signals = self.passed_on = 0

    def run(self) -> Outcome:
        """Runs until no run is left or a signal stops it, after which the runs save first."""
        with self._listening():
            try:
                self._adopt()
                while self.waiting or self.active or self.elsewhere:
                    self._look()
                    if not self.waits or (self.stop and self._may_leave()):
                        break
                    self._pause()
            finally:
                self.launcher.close()
        left = [*self.active, *self.elsewhere, *self.waiting]
        waiting = len(self.waiting)
        return Outcome(self.finished, self.failed, left, self.cancelled, self.stop, waiting)

    def _adopt(self) -> None:
        """Adopts the runs submitted by an earlier process of this study."""
        known = self.launcher.states()
        for run in [run for run in self.waiting if run.name in known]:
            self.waiting.remove(run)
            self.active.append(run)
            self.adopted.add(run.name)
            self.attempts[run.name] = 1
            if known[run.name] != "ended":
                self.reporter.say(f"{run.name}: already {known[run.name]}.")

    def _may_leave(self) -> bool:
        return self.launcher.outlives or not self.active

    def _pause(self) -> None:
        """Waits for the next poll or a signal."""
        until = time.monotonic() + self.launcher.poll_seconds
        while self.signals == self.passed_on and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))

    def _look(self) -> None:
        """Passes on a stop, collects ended runs, starts others, and reports progress."""
        self._pass_on_stop()
        states = self.launcher.states()
        for run in [run for run in self.active if states[run.name] == "ended"]:
            self.active.remove(run)
            self._ended(run, self.launcher.collect(run.name))
        for run in list(self.elsewhere):
            if not self._folder(run).is_locked:
                self.elsewhere.remove(run)
                self.waiting.appendleft(run)
        if not self.stop:
            self._submit()
        self.reporter.progress(self._progress(states))

    def _submit(self) -> None:
        """Submits runs that are neither finished nor being trained by another process."""
        batch: list[tuple[PlannedRun, State | None]] = []
        while self.waiting and self._has_room(len(batch)):
            run = self.waiting.popleft()
            found = self._state(run)
            if found == "finished":
                self.finished.append(run)
            elif found in ("running", "stalled") and run.name not in self.collected:
                self._leave_to_another(run)
            elif self._prepare(run):
                batch.append((run, found))
        if not batch:
            return
        tasks = [self._task(run) for run, _ in batch]
        with self.folder.writing():  # otherwise the launcher would fail first
            for task in tasks:
                appending(task.log).close()
        destinations = self.launcher.submit(tasks)
        for (run, found), destination in zip(batch, destinations, strict=True):
            self.attempts[run.name] += 1
            self.active.append(run)
            self.collected.discard(run.name)
            verb = "started" if found in (None, "new") else "continues"
            self.reporter.say(f"{run.name}: {verb}{f' {destination}' if destination else ''}.")

    def _leave_to_another(self, run: PlannedRun) -> None:
        self.elsewhere.append(run)
        then = "waiting for it" if self.waits else "repeat the command when that has ended"
        self.reporter.say(f"{run.name}: another process trains it; {then}.")

    def _prepare(self, run: PlannedRun) -> bool:
        """Writes the run's folder; False if the run cannot be trained."""
        with self.folder.writing():
            try:
                prepare(self._folder(run), run.config, {"preset": str(self.folder.preset_file)})
            except Busy:
                self._leave_to_another(run)
            except EzError as error:
                now = datetime.now(UTC).isoformat(timespec="seconds")
                ending = Ending(
                    error.exit_code, "not started", "run", (str(error),), now, 0.0, None
                )
                self._note(run, ending, "failed", ending.last_lines)
                self.failed.append(run)
                self.reporter.say(f"{run.name}: not started. {error}")
            else:
                return True
        return False

    def _has_room(self, more: int) -> bool:
        slots = self.launcher.slots
        return slots is None or len(self.active) + len(self.elsewhere) + more < slots

    def _task(self, run: PlannedRun) -> Task:
        log = self.folder.logs / f"{run.name}.log"
        arms = ", ".join(dict.fromkeys(cell.arm for cell in run.cells))
        return Task(
            run.name,
            self._folder(run).path,
            log,
            self.threads,
            options=self.tracking.options,
            # Sources: wandb's documentation, "Environment variables"; `trackers/mlflow.py`.
            variables=(
                ("WANDB_RUN_GROUP", self.folder.name),
                ("WANDB_JOB_TYPE", arms),
                ("EZ_STUDY", self.folder.name),
                ("EZ_ARM", arms),
            ),
        )

    def _ended(self, run: PlannedRun, ending: Ending) -> None:
        """Records the end of a task, and decides whether to retry its run."""
        result = self._result(run, ending)
        lines = () if result == "finished" else ending.last_lines
        self._note(run, ending, result, lines)
        if result == "finished":
            self.finished.append(run)
            self.seconds.append(ending.seconds)
            self.reporter.say(f"{run.name}: finished.")
            return
        is_busy = ending.exit_code == Busy.exit_code
        if not is_busy:
            self.collected.add(run.name)
        if self._is_stopping or is_busy or ending.fault != "run":
            self.attempts[run.name] -= 1  # the cause was not the run
        self.losses[run.name] += ending.fault == "cluster"
        if self._is_stopping or is_busy:
            self.waiting.appendleft(run)
        elif ending.fault == "user" and run.name not in self.adopted:
            # the user who cancelled it does not want it restarted at once
            self.cancelled.append(run)
            self.reporter.say(f"{run.name}: {ending.cause}.")
        elif self.attempts[run.name] < MAX_ATTEMPTS and self.losses[run.name] < MAX_LOSSES:
            self.waiting.append(run)
            again = "continuing." if ending.fault != "run" else f"trying again. {' '.join(lines)}"
            self.reporter.say(f"{run.name}: {ending.cause}; {again}")
        else:
            self.failed.append(run)
            self.reporter.say(f"{run.name}: failed ({ending.cause}). {' '.join(lines)}")
        self.adopted.discard(run.name)

    @property
    def _is_stopping(self) -> bool:
        """Whether the runs were told to save and end."""
        return self.stop is not None and not self.launcher.outlives

    def _result(self, run: PlannedRun, ending: Ending) -> Result:
        code = ending.exit_code
        if code in (0, None) and self._state(run) == "finished":
            return "finished"
        if ending.fault != "run" or code in (*SAVED_EXIT_CODES, Busy.exit_code):
            return "stopped"
        return "stopped" if self._is_stopping and code != 0 else "failed"

    def _note(
        self, run: PlannedRun, ending: Ending, result: Result, lines: tuple[str, ...]
    ) -> None:
        line: dict[str, Any] = {
            "run": run.name,
            "started": ending.started,
            "seconds": round(ending.seconds, 3),
            "exit_code": ending.exit_code,
            "cause": ending.cause,
            "result": result,
            "where": ending.where,
            "last_lines": list(lines),
        }
        with self.folder.writing():
            append_line(self.folder.attempts, line)

    def _folder(self, run: PlannedRun) -> RunFolder:
        return RunFolder(self.folder.runs_dir / run.name)

    def _state(self, run: PlannedRun) -> State | None:
        folder = self._folder(run)
        return state(folder) if folder.exists or folder.is_locked else None

    def _progress(self, states: Mapping[str, JobState]) -> Progress:
        left = len(self.waiting) + len(self.active)
        slots = self.launcher.slots
        mean = sum(self.seconds) / len(self.seconds) if self.seconds else None
        queued = [run for run in self.active if states.get(run.name) == "queued"]
        return Progress(
            [run for run in self.active if run not in queued],
            queued,
            list(self.elsewhere),
            len(self.waiting),
            len(self.finished),
            len(self.failed),
            None if mean is None or slots is None else mean * left / slots,
        )

    def _pass_on_stop(self) -> None:
        """Tells the runs to save and end. After a second signal, kills them."""
        if self.signals == self.passed_on or self.launcher.outlives:
            return
        is_first, self.passed_on = self.passed_on == 0, self.signals
        if is_first and self.active:
            runs = counted(len(self.active), "run")
            self.reporter.say(f"Stopping: {runs} to be saved first. Ctrl-C again kills at once.")
        self.launcher.cancel([run.name for run in self.active], at_once=not is_first)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Records signals for the next poll."""

        def request(number: int, _frame: FrameType | None) -> None:
            self.signals += 1
            self.stop = signal.Signals(number)

        before = {
            number: signal.signal(number, request)
            for number in STOP_SIGNALS
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN  # nohup
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
