"""Runs as processes of this machine."""

import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from ezcli.experiments.handover import Child, Task, exit_text, start_process
from ezcli.experiments.launchers.protocol import Ending, JobState, LauncherSettings


class LocalSettings(LauncherSettings):
    """The table `[local]`: how this machine's devices are shared."""

    is_here: ClassVar[bool] = True

    runs_per_gpu: Annotated[int, Field(ge=1)] = 1  # runs side by side on each device

    def launcher(
        self, jobs_dir: Path, slots: int | None = None, devices: Sequence[str] = ()
    ) -> "LocalLauncher":
        """Processes of this machine, one at a time if nothing is said."""
        return LocalLauncher(slots or 1, devices)


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
        devices = []
        for task in tasks:
            device = self._free_device()
            self.children[task.run] = start_process(task._replace(device=device))
            devices.append(f"on {device}" if device else "")
        return devices

    def states(self) -> Mapping[str, JobState]:
        """Running, or ended."""
        return {
            run: "running" if child.process.poll() is None else "ended"
            for run, child in self.children.items()
        }

    def cancel(self, runs: Sequence[str], at_once: bool) -> list[str]:
        """Sends a signal to each."""
        for run in runs:
            self.children[run].signal(signal.SIGKILL if at_once else signal.SIGTERM)
        return list(runs)

    def collect(self, run: str) -> Ending:
        """How the process of a run ended."""
        child = self.children.pop(run)
        code, seconds = child.process.wait(), child.seconds
        lines, device = child.last_lines(), child.task.device
        return Ending(code, exit_text(code), "run", lines, child.started, seconds, device)

    def close(self) -> None:
        """Lets every process save, and waits for it."""
        for child in self.children.values():
            child.signal(signal.SIGTERM)
        for child in self.children.values():
            child.process.wait()

    def _free_device(self) -> str | None:
        """The device that the fewest of our runs are on."""
        used = Counter(child.task.device for child in self.children.values())
        return min(self.devices, key=lambda device: used[device], default=None)
