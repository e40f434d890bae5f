"""Runs as processes on this machine."""

import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from ezcli.experiments.handover import Child, Task, exit_text, start_process
from ezcli.experiments.launchers.protocol import Ending, JobState, LauncherSettings


class LocalSettings(LauncherSettings):
    """The table `[local]`: how runs share the devices of this machine."""

    is_here: ClassVar[bool] = True

    runs_per_gpu: Annotated[int, Field(ge=1)] = 1  # runs at the same time on each device

    def launcher(
        self, jobs_dir: Path, slots: int | None = None, devices: Sequence[str] = ()
    ) -> "LocalLauncher":
        """Processes on this machine, by default one at a time."""
        return LocalLauncher(slots or 1, devices)


class LocalLauncher:
    """Processes on this machine. They end with the command that started them.

    Args:
      slots: runs at the same time.
      devices: assigned to the runs, the least used first; if empty, configs choose.
    """

    outlives = False
    poll_seconds = 0.2

    def __init__(self, slots: int, devices: Sequence[str] = ()) -> None:
        self.slots, self.devices = slots, devices
        self.children: dict[str, Child] = {}

    def submit(self, tasks: Sequence[Task]) -> list[str]:
        """Starts a process for each task."""
        devices = []
        for task in tasks:
            device = self._free_device()
            self.children[task.run] = start_process(task._replace(device=device))
            devices.append(f"on {device}" if device else "")
        return devices

    def states(self) -> Mapping[str, JobState]:
        """State of each run: running or ended."""
        return {
            run: "running" if child.process.poll() is None else "ended"
            for run, child in self.children.items()
        }

    def cancel(self, runs: Sequence[str], at_once: bool) -> list[str]:
        """Sends a signal to each run."""
        for run in runs:
            self.children[run].signal(signal.SIGKILL if at_once else signal.SIGTERM)
        return list(runs)

    def collect(self, run: str) -> Ending:
        """The end of a run's process."""
        child = self.children.pop(run)
        code, seconds = child.process.wait(), child.seconds
        lines, device = child.last_lines(), child.task.device
        return Ending(code, exit_text(code), "run", lines, child.started, seconds, device)

    def close(self) -> None:
        """Lets every process save and end, and waits."""
        for child in self.children.values():
            child.signal(signal.SIGTERM)
        for child in self.children.values():
            child.process.wait()

    def _free_device(self) -> str | None:
        """The device with the fewest of our runs."""
        used = Counter(child.task.device for child in self.children.values())
        return min(self.devices, key=lambda device: used[device], default=None)
