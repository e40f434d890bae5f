"""The table `[slurm]`: the resources of a job."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from ezcli.experiments.launchers.protocol import JobQueue, Launcher, LauncherSettings
from ezcli.settings import DoesNotFit

OWN_OPTIONS = ("array", "chdir", "error", "job-name", "open-mode", "output", "requeue", "signal")


# Text in a script, which must not contain line breaks.
def is_line(text: str) -> str:
    """Refuses text that would not fit on one line of a script."""
    if not (text.isascii() and text.isprintable()):
        raise ValueError("it must be one line of ASCII characters")
    return text


Text = Annotated[str, AfterValidator(is_line)]


class SlurmSettings(LauncherSettings):
    """The table `[slurm]`: the resources of a job."""

    only_by_file: ClassVar[tuple[str, ...]] = ("setup", "extra")

    partition: Text | None = None
    account: Text | None = None
    qos: Text | None = None
    constraint: Text | None = None
    gpus: str = "1"  # 1, a100:1, 0
    cpus: Annotated[int, Field(ge=1)] = 4
    memory: str = "16G"
    time: str = "12:00:00"
    parallel: Annotated[int, Field(ge=1)] | None = None  # jobs of one array at the same time
    max_submitted: Annotated[int, Field(ge=1)] | None = None  # jobs in the queue at the same time
    runs_per_gpu: Annotated[int, Field(ge=1)] = 1  # per GPU of a job; without a GPU, runs per job
    save_seconds: Annotated[int, Field(ge=10)] = 120  # seconds before the time limit, for saving
    setup: tuple[Text, ...] = Field(default=(), strict=False)  # shell lines before the run
    extra: dict[Text, Text] = Field(default={})  # other options of sbatch: extra.nice = "100"

    @property
    def has_gpus(self) -> bool:
        """Whether a job gets GPUs."""
        return self.num_gpus > 0

    @property
    def num_gpus(self) -> int:
        """GPUs of a job."""
        return int(self.gpus.rpartition(":")[2])

    @property
    def runs_per_job(self) -> int:
        """Runs that a job trains at the same time."""
        return self.runs_per_gpu * max(1, self.num_gpus)

    @property
    def threads(self) -> int:
        """A run's share of the cores of its job."""
        return max(1, self.cpus // self.runs_per_job)

    @property
    def runs_at_once(self) -> int | None:
        """Runs in the jobs of one array at the same time."""
        return self.parallel and self.parallel * self.runs_per_job

    def with_jobs(self, jobs: int) -> Self:
        """The settings with this number of jobs of an array at the same time."""
        return self.model_copy(update={"parallel": jobs})

    def launcher(
        self, jobs_dir: Path, slots: int | None = None, devices: Sequence[str] = ()
    ) -> Launcher:
        """Makes the launcher. `slots` is not used, because arrays are limited by `parallel`."""
        from ezcli.experiments.launchers.slurm.launcher import SlurmLauncher

        return SlurmLauncher(jobs_dir, self)

    @classmethod
    def queue(cls, jobs_dir: Path) -> JobQueue | None:
        """The launcher with the jobs of a ledger. SLURM is needed only if there are any."""
        from ezcli.experiments.launchers.slurm.launcher import SlurmLauncher
        from ezcli.experiments.launchers.slurm.ledger import LEDGER, uncollected

        return SlurmLauncher(jobs_dir, cls()) if uncollected(jobs_dir / LEDGER) else None

    @field_validator("gpus")
    @classmethod
    def _are_gpus(cls, gpus: str) -> str:
        if not re.fullmatch(r"([A-Za-z0-9_.-]+:)?\d+", gpus):
            raise ValueError(f"{gpus!r} is not a number of GPUs, such as 1, a100:1 or 0")
        return gpus

    @field_validator("memory")
    @classmethod
    def _is_a_size(cls, memory: str) -> str:
        if not re.fullmatch(r"\d+[KMGT]?", memory):
            raise ValueError(f"{memory!r} is not an amount of memory for sbatch, such as 16G")
        return memory

    @field_validator("time")
    @classmethod
    def _is_a_time(cls, time: str) -> str:
        minutes_of(time)
        return time

    @field_validator("extra")
    @classmethod
    def _is_not_ours(cls, extra: dict[str, str]) -> dict[str, str]:
        taken = [name for name in extra if name.replace("_", "-") in OWN_OPTIONS]
        if taken:
            raise ValueError(f"{taken[0]!r} is set by ez itself")
        return extra

    @model_validator(mode="after")
    def _has_time_to_train(self) -> Self:
        if 60 * minutes_of(self.time) < 2 * self.save_seconds:
            raise DoesNotFit(
                f"it must be at least twice save_seconds = {self.save_seconds}",
                "time",
                "save_seconds",
            )
        return self


def minutes_of(text: str) -> int:
    """Minutes in one of sbatch's times: 90, 90:00, 12:00:00, 1-12, 1-12:00, 1-12:00:00.

    Raises:
      ValueError: it is not a time.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if not found:
        raise ValueError(f"{text!r} is not a time for sbatch, such as 12:00:00 or 1-12")
    days, *parts = found.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is not None:
        hours, minutes, seconds = (*numbers, 0, 0)[:3]
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:
        hours, (minutes, seconds) = 0, (*numbers, 0)[:2]
    total = (int(days or 0) * 24 + hours) * 3600 + minutes * 60 + seconds
    return max(1, -(-total // 60))
