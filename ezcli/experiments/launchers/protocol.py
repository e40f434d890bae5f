"""What a place that executes runs must be able to do, and what may be asked of it."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Protocol, Self

from ezcli.experiments.handover import Task
from ezcli.settings import Settings

JOBS = "jobs"  # folder within a run or a study: which job it is, and what that said

SAVED = {75, 130}  # exit codes of a run that was stopped and can go on

JobState = Literal["queued", "running", "ended"]
Fault = Literal["run", "place", "user"]


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
          EzError: the place refuses; `states` knows those that it took before.
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
        """How a run ended whose state is `ended`; from then on it is not known any more."""

    def close(self) -> None:
        """Leaves nothing behind that was not meant to outlive this process."""


class Queue(Launcher, Protocol):
    """A place whose tasks go on when the command that submitted them has ended."""

    def overview(self) -> Mapping[str, tuple[str, JobState, Ending | None]]:
        """Job and state of each run that was not collected, and how it ended if it did."""


class Place(Settings):
    """A table of the file for `--cluster`: one kind of place, and what each run asks for there."""

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
        """The same with what `--jobs` says, where the place has to be told."""
        return self

    @abstractmethod
    def launcher(
        self, jobs_dir: Path, slots: int | None = None, devices: Sequence[str] = ()
    ) -> Launcher:
        """The place itself.

        Args:
          jobs_dir: for what must be remembered of tasks that outlive this process.
          slots: runs side by side; None leaves that to the place, if it can see to it.
          devices: of this machine, handed out to the runs.

        Raises:
          ConfigError: what it needs is not here.
        """

    @classmethod
    def queue(cls, jobs_dir: Path) -> Queue | None:
        """The place with what was handed over to it and not collected; None if that is nothing.

        Raises:
          ConfigError: what it needs is not here.
        """
        return None
