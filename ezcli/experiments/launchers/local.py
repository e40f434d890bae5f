"""Runs as processes of this machine."""

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, ClassVar, NamedTuple

from pydantic import Field

from ezcli.experiments.launchers import protocol
from ezcli.experiments.launchers.protocol import (
    Ending,
    JobState,
    Place,
    Task,
    environment,
    last_lines,
)
from ezcli.files import LINES, appending, opened


class LocalSettings(Place):
    """The table `[local]`: how this machine's devices are shared."""

    is_here: ClassVar[bool] = True

    runs_per_gpu: Annotated[int, Field(ge=1)] = 1  # runs side by side on each device

    def launcher(
        self, jobs_dir: Path, slots: int | None = None, devices: Sequence[str] = ()
    ) -> "LocalLauncher":
        """Processes of this machine, one at a time if nothing is said."""
        return LocalLauncher(slots or 1, devices)


class Child(NamedTuple):
    """A process that trains a run."""

    device: str | None
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    log_start: int  # bytes that were in the log before
    started: str
    began: float


class LocalLauncher:
    """Processes on this machine, which end with the command that started them.

    Args:
      slots: runs side by side.
      devices: handed out to the runs, the least used first; empty leaves it to the config.
    """

    outlives = False
    poll_seconds = 0.2

    def __init__(self, slots: int, devices: Sequence[str] = ()) -> None:
        self.slots, self.devices = slots, devices
        self.children: dict[str, Child] = {}

    def submit(self, tasks: Sequence[Task]) -> list[str]:
        """Starts a process for each task."""
        return [self._start(task) for task in tasks]

    def _start(self, task: Task) -> str:
        device = self._free_device()
        arguments = [*task.arguments, *(("--device", device) if device is not None else ())]
        log = appending(task.log)
        log_start = log.tell()
        process = subprocess.Popen(
            [*protocol.PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C comes through us, once
            env=environment(),
        )
        started = datetime.now(UTC).isoformat(timespec="seconds")
        child = Child(device, process, log, log_start, started, time.monotonic())
        self.children[task.run] = child
        return f"on {device}" if device else ""

    def states(self) -> Mapping[str, JobState]:
        """Running, or ended."""
        return {
            run: "running" if child.process.poll() is None else "ended"
            for run, child in self.children.items()
        }

    def cancel(self, runs: Sequence[str], at_once: bool) -> list[str]:
        """Sends a signal to each."""
        for run in runs:
            send(self.children[run].process, signal.SIGKILL if at_once else signal.SIGTERM)
        return list(runs)

    def collect(self, run: str) -> Ending:
        """How the process of a run ended."""
        child = self.children.pop(run)
        code, seconds = child.process.wait(), time.monotonic() - child.began
        child.log.close()
        with opened(Path(child.log.name), LINES) as handle:
            handle.seek(child.log_start)
            lines = last_lines(handle.read().decode(errors="replace"))
        return Ending(code, ending(code), "run", lines, child.started, seconds, child.device)

    def close(self) -> None:
        """Lets every process save, and waits for it."""
        for child in self.children.values():
            send(child.process, signal.SIGTERM)
        for child in self.children.values():
            child.process.wait()
            child.log.close()

    def _free_device(self) -> str | None:
        """The device that the fewest of our runs are on."""
        used = Counter(child.device for child in self.children.values())
        return min(self.devices, key=lambda device: used[device], default=None)


def send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signals a process, unless it has been collected already."""
    if process.poll() is None:
        process.send_signal(number)


def ending(code: int) -> str:
    """Such as `exit code 1`, `killed by SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    known = -code in set(signal.Signals)
    return f"killed by {signal.Signals(-code).name if known else f'signal {-code}'}"
