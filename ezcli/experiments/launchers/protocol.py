"""What a launcher must do, and what may be asked of it."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Protocol, Self

from ezcli.experiments.handover import Task
from ezcli.settings import Settings

JOBS = "jobs"  # folder within a run or a study: which job it is, and what that printed

SAVED_EXIT_CODES = {75, 130}  # of a run that was stopped and can go on

JobState = Literal["queued", "running", "ended"]
Fault = Literal["run", "cluster", "user"]


class Ending(NamedTuple):
    """How a task ended."""

    exit_code: int | None  # negative: the number of the signal that killed it; None: nobody knows
    cause: str  # in words: `exit code 1`, `killed by SIGKILL`, `timed out`
    fault: Fault  # what caused it: the run itself; the cluster took it away; a user cancelled it
    last_lines: tuple[str, ...]  # of its output
    started: str  # ISO 8601, UTC
    seconds: float
    where: str | None  # device, or job and node


class Launcher(Protocol):
    """Executes runs, each once at a time."""

    outlives: bool  # whether tasks go on when this process has ended
    poll_seconds: float  # between two questions about states

    @property
    def slots(self) -> int | None:
        """Tasks under way at once, at most; None: the launcher itself sees to that."""

    def submit(self, tasks: Sequence[Task]) -> list[str]:
        """Takes tasks, and says of each where it went: `on cuda:0`, `as job 17_3`; or ``.

        Raises:
          EzError: the cluster refuses; `states` knows those that it took before.
        """

    def states(self) -> Mapping[str, JobState]:
        """How each run stands that was submitted and not collected, by name.

        With `outlives` also those that an earlier process submitted.
        """

    def cancel(self, runs: Sequence[str], at_once: bool) -> list[str]:
        """Lets runs save and end, or ends them as they are; returns before they have ended.

        Returns:
          Those that were told.
        """

    def collect(self, run: str) -> Ending:
        """How a run ended whose state is `ended`; the launcher forgets it then."""

    def close(self) -> None:
        """Ends everything that does not outlive this process."""


class JobQueue(Launcher, Protocol):
    """A launcher whose tasks go on when the command that submitted them has ended."""

    def overview(self) -> Mapping[str, tuple[str, JobState, Ending | None]]:
        """Job and state of each run that was not collected, and how it ended if it did."""


class LauncherSettings(Settings):
    """The table of one launcher in the file for `--cluster`: what each run asks for there."""

    is_here: ClassVar[bool] = False  # whether runs are processes of this machine
    only_by_file: ClassVar[tuple[str, ...]] = ()  # settings that are code; no study brings them

    @property
    def has_gpus(self) -> bool | None:
        """Whether runs get a GPU; None where the machine tells."""
        return None

    @property
    def threads(self) -> int | None:
        """Searches side by side in each run, by what it asks for; None where the machine tells."""
        return None

    @property
    def runs_at_once(self) -> int | None:
        """Runs side by side, at most; None: as many as there is room for."""
        return None

    def with_jobs(self, jobs: int) -> Self:
        """The same with what `--jobs` says, where the cluster has to be told."""
        return self

    @property
    def foreign_address(self) -> str | None:
        """Where it connects to, if the user must trust that; None: nothing of somebody else's."""
        return None

    @abstractmethod
    def launcher(
        self, jobs_dir: Path, slots: int | None = None, devices: Sequence[str] = ()
    ) -> Launcher:
        """The launcher itself.

        Args:
          jobs_dir: for what must be remembered of tasks that outlive this process.
          slots: runs side by side; None leaves that to the cluster, if it can see to it.
          devices: of this machine, handed out to the runs.

        Raises:
          ConfigError: what it needs is not here.
        """

    @classmethod
    def queue(cls, jobs_dir: Path) -> JobQueue | None:
        """The launcher with the tasks that were not collected yet; None if there are none.

        Raises:
          ConfigError: what it needs is not here.
        """
        return None
