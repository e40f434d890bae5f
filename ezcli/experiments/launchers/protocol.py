"""The interface of a launcher."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Protocol, Self

from ezcli.experiments.handover import Task
from ezcli.settings import Settings

JOBS = "jobs"  # folder in a run or study with ledgers and output of jobs

SAVED_EXIT_CODES = {75, 130}  # exit code of a run that was stopped and can continue

JobState = Literal["queued", "running", "ended"]
Fault = Literal["run", "cluster", "user"]


class Ending(NamedTuple):
    """How a task ended."""

    exit_code: int | None  # negative: number of the signal that killed it; None: not known
    cause: str  # in words: `exit code 1`, `killed by SIGKILL`, `timed out`
    fault: Fault  # cause: the run itself, the cluster, or a user who cancelled it
    last_lines: tuple[str, ...]  # last lines of its output
    started: str  # ISO 8601, UTC
    seconds: float
    where: str | None  # device, or job and node


class Launcher(Protocol):
    """Executes runs. A run is never executed twice at the same time."""

    outlives: bool  # whether tasks continue after this process has ended
    poll_seconds: float  # seconds between two queries of states

    @property
    def slots(self) -> int | None:
        """Largest number of tasks at the same time; None if the launcher itself limits it."""

    def submit(self, tasks: Sequence[Task]) -> list[str]:
        """Submits tasks, and returns the destination of each: `on cuda:0`, `as job 17_3`, or ``.

        Raises:
          EzError: the cluster refuses. `states` contains the tasks submitted before.
        """

    def states(self) -> Mapping[str, JobState]:
        """The state of each run that was submitted and not collected, by name.

        With `outlives`, this includes runs submitted by earlier processes.
        """

    def cancel(self, runs: Sequence[str], at_once: bool) -> list[str]:
        """Lets runs save and end, or ends them at once. Does not wait for their end.

        Returns:
          The runs that received the signal.
        """

    def collect(self, run: str) -> Ending:
        """The end of a run in the state `ended`. The launcher then forgets the run."""

    def close(self) -> None:
        """Ends all tasks that cannot outlive this process."""


class JobQueue(Launcher, Protocol):
    """A launcher whose tasks continue after the command that submitted them has ended."""

    def overview(self) -> Mapping[str, tuple[str, JobState, Ending | None]]:
        """Job and state of each uncollected run, and its end if it has ended."""


class LauncherSettings(Settings):
    """The table of one launcher in the file for `--cluster`: the resources of each run."""

    is_here: ClassVar[bool] = False  # whether runs are processes on this machine
    # settings that are code, which a study must not contain
    only_by_file: ClassVar[tuple[str, ...]] = ()

    @property
    def has_gpus(self) -> bool | None:
        """Whether runs get a GPU; None if that depends on the machine."""
        return None

    @property
    def threads(self) -> int | None:
        """Searches at the same time in each run; None if that depends on the machine."""
        return None

    @property
    def runs_at_once(self) -> int | None:
        """Largest number of runs at the same time; None for as many as fit."""
        return None

    def with_jobs(self, jobs: int) -> Self:
        """The settings with the value of `--jobs`, if the cluster needs it."""
        return self

    @property
    def foreign_address(self) -> str | None:
        """The address that it connects to, if the user must trust it; otherwise None."""
        return None

    @abstractmethod
    def launcher(
        self, jobs_dir: Path, slots: int | None = None, devices: Sequence[str] = ()
    ) -> Launcher:
        """Makes the launcher.

        Args:
          jobs_dir: folder for records of tasks that outlive this process.
          slots: runs at the same time; None leaves it to the cluster, if it has a limit.
          devices: devices of this machine for the runs.

        Raises:
          ConfigError: something that it needs is not installed.
        """

    @classmethod
    def queue(cls, jobs_dir: Path) -> JobQueue | None:
        """The launcher with the uncollected tasks; None if there are none.

        Raises:
          ConfigError: something that it needs is not installed.
        """
        return None
