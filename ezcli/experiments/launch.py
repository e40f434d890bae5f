"""Running a study: one process for each run, some side by side, until nothing is left.

A run is its folder: what is finished, begun, or being trained by somebody else is read there, so a
study goes on after anything, a machine that lost power included. A run that fails is tried once
more, then noted and left; the others go on.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType
from typing import IO, Any, Literal, NamedTuple, Protocol

from ezcli.experiments.catalogue import State, state
from ezcli.experiments.study import PlannedRun, StudyFolder
from ezcli.runs.folder import RunFolder, append_line

ATTEMPTS = 2  # of a run, each time the study is started
POLL_SECONDS = 0.2
PROGRAM = (sys.executable, "-m", "ezcli")
LAST_LINES = 5  # of a failed run's output, kept and shown
SAVED = {75, 130}  # exit codes of a run that was stopped and can go on

Result = Literal["finished", "failed", "stopped"]


class Child(NamedTuple):
    """A process that trains a run."""

    run: PlannedRun
    device: str | None
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    log_start: int  # bytes that were in the log before
    started: str
    began: float


class Progress(NamedTuple):
    """The state of a study between two looks at it."""

    active: list[PlannedRun]
    elsewhere: list[PlannedRun]  # being trained by another process
    waiting: int
    finished: int
    failed: int
    seconds_left: float | None


class Outcome(NamedTuple):
    """How a study stands when its command ends."""

    finished: list[PlannedRun]
    failed: list[PlannedRun]
    left: list[PlannedRun]
    stopped_by: signal.Signals | None

    @property
    def exit_code(self) -> int:
        """0 all done, 1 some run failed, 130 Ctrl-C, 75 stopped otherwise."""
        if self.stopped_by is not None:
            return 130 if self.stopped_by is signal.SIGINT else 75
        return 1 if self.failed else 0


class Reporter(Protocol):
    """Where a study says how it is doing."""

    def say(self, text: str) -> None:
        """One line that stays."""

    def progress(self, progress: Progress) -> None:
        """The state at every look."""


class Launcher:
    """Starts, watches and stops the processes of one study.

    Args:
      folder: of the study; saved already, and locked by the caller.
      runs: in the order in which to start them.
      jobs: runs side by side.
      devices: handed out to the runs, the least used first; empty leaves it to the config.
      threads: searches side by side in each run.
      reporter: told what happens.
    """

    def __init__(
        self,
        folder: StudyFolder,
        runs: Sequence[PlannedRun],
        jobs: int,
        devices: Sequence[str],
        threads: int,
        reporter: Reporter,
    ) -> None:
        self.folder, self.runs, self.jobs = folder, runs, jobs
        self.devices, self.threads, self.reporter = devices, threads, reporter
        self.waiting = deque(runs)
        self.active: list[Child] = []
        self.elsewhere: list[PlannedRun] = []
        self.finished: list[PlannedRun] = []
        self.failed: list[PlannedRun] = []
        self.attempts: Counter[str] = Counter()
        self.seconds: list[float] = []  # of the runs that finished without a stop
        self.stop: signal.Signals | None = None
        self.signals = self.passed_on = 0

    def run(self) -> Outcome:
        """Runs until nothing is left or a signal stops it; the runs then save first."""
        with self._listening():
            try:
                while self.waiting or self.active or self.elsewhere:
                    self._look()
                    if self.stop and not self.active:
                        break
                    time.sleep(POLL_SECONDS)
            finally:
                self._end()
        left = [*self.elsewhere, *self.waiting]
        return Outcome(self.finished, self.failed, left, self.stop)

    def _look(self) -> None:
        """Passes on a stop, collects what ended, starts what can start, tells how it goes."""
        self._pass_on_stop()
        for child in list(self.active):
            code = child.process.poll()
            if code is not None:
                self.active.remove(child)
                self._ended(child, code)
        for run in list(self.elsewhere):
            if not self._folder(run).is_locked:
                self.elsewhere.remove(run)
                self.waiting.appendleft(run)
        while self.waiting and not self.stop and len(self.active) + len(self.elsewhere) < self.jobs:
            self._next(self.waiting.popleft())
        self.reporter.progress(self._progress())

    def _next(self, run: PlannedRun) -> None:
        """Starts a run, unless it is finished or being trained by another process."""
        found = self._state(run)
        if found == "finished":
            self.finished.append(run)
        elif found in ("running", "stalled"):
            self.elsewhere.append(run)
            self.reporter.say(f"{run.name}: another process trains it; waiting for that.")
        else:
            self._start(run, found)

    def _start(self, run: PlannedRun, found: State | None) -> None:
        self.attempts[run.name] += 1
        device = self._free_device()
        arguments = self.folder.command(run, "--set", f"compute.threads={self.threads}", "--quiet")
        if device is not None:
            arguments += ["--device", device]
        with self.folder.writing():
            log = (self.folder.logs / f"{run.name}.log").open("ab")
        log_start = log.tell()
        process = subprocess.Popen(
            [*PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C comes through us, once
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        started = datetime.now(UTC).isoformat(timespec="seconds")
        self.active.append(Child(run, device, process, log, log_start, started, time.monotonic()))
        verb = "started" if found in (None, "new") else "goes on"
        self.reporter.say(f"{run.name}: {verb}{f' on {device}' if device else ''}.")

    def _ended(self, child: Child, code: int) -> None:
        """Notes how a process ended and what becomes of its run."""
        run, seconds = child.run, time.monotonic() - child.began
        child.log.close()
        result = self._result(run, code)
        lines = [] if result == "finished" else self._last_lines(child)
        self._note(child, code, seconds, result, lines)
        if result == "finished":
            self.finished.append(run)
            self.seconds.append(seconds)
            self.reporter.say(f"{run.name}: finished.")
        elif self.stop or self._folder(run).is_locked:
            self.waiting.appendleft(run)
            self.attempts[run.name] -= 1  # it was not the run that failed
        elif self.attempts[run.name] < ATTEMPTS:
            self.waiting.append(run)
            self.reporter.say(f"{run.name}: {ending(code)}; trying once more. {' '.join(lines)}")
        else:
            self.failed.append(run)
            self.reporter.say(f"{run.name}: failed ({ending(code)}). {' '.join(lines)}")

    def _result(self, run: PlannedRun, code: int) -> Result:
        if code == 0 and self._state(run) == "finished":
            return "finished"
        if code in SAVED or (code != 0 and (self.stop or self._folder(run).is_locked)):
            return "stopped"
        return "failed"

    def _note(
        self, child: Child, code: int, seconds: float, result: Result, lines: list[str]
    ) -> None:
        line: dict[str, Any] = {
            "run": child.run.name,
            "started": child.started,
            "seconds": round(seconds, 3),
            "exit_code": code,
            "result": result,
            "device": child.device,
            "last_lines": lines,
        }
        with self.folder.writing():
            append_line(self.folder.attempts, line)

    def _last_lines(self, child: Child) -> list[str]:
        path = self.folder.logs / f"{child.run.name}.log"
        with path.open("rb") as handle:
            handle.seek(child.log_start)
            text = handle.read().decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()][-LAST_LINES:]

    def _free_device(self) -> str | None:
        """The device that the fewest of our runs are on."""
        used = Counter(child.device for child in self.active)
        return min(self.devices, key=lambda device: used[device], default=None)

    def _folder(self, run: PlannedRun) -> RunFolder:
        return RunFolder(self.folder.runs_dir / run.name)

    def _state(self, run: PlannedRun) -> State | None:
        folder = self._folder(run)
        return state(folder) if folder.exists or folder.is_locked else None

    def _progress(self) -> Progress:
        left = len(self.waiting) + len(self.active)
        mean = sum(self.seconds) / len(self.seconds) if self.seconds else None
        return Progress(
            [child.run for child in self.active],
            list(self.elsewhere),
            len(self.waiting),
            len(self.finished),
            len(self.failed),
            None if mean is None else mean * left / self.jobs,
        )

    def _pass_on_stop(self) -> None:
        """Tells the runs to save and end; after a second signal, ends them as they are."""
        if self.signals > self.passed_on:
            number = signal.SIGTERM if self.passed_on == 0 else signal.SIGKILL
            if self.passed_on == 0 and self.active:
                self.reporter.say(
                    f"Stopping: {len(self.active)} runs save first. Ctrl-C again kills them."
                )
            self.passed_on = self.signals
            for child in self.active:
                send(child.process, number)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Notes Ctrl-C, SIGTERM and a closed terminal, for the next look."""

        def request(number: int, _frame: FrameType | None) -> None:
            self.signals += 1
            self.stop = signal.Signals(number)

        before = {
            number: signal.signal(number, request)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN  # nohup
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end(self) -> None:
        """Leaves no process behind, whatever happened."""
        for child in self.active:
            send(child.process, signal.SIGTERM)
        for child in self.active:
            child.process.wait()
            child.log.close()


def send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signals a process, unless it has been collected already."""
    if process.poll() is None:
        process.send_signal(number)


def ending(code: int) -> str:
    """Such as `exit code 1`, `killed by SIGKILL`."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
