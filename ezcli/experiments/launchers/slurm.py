"""Runs as jobs of a SLURM cluster, through submitit.

    runs/studies/<name>/jobs/
    ├── ledger.jsonl     which run was handed over as which job
    ├── <run>.json       how the run's last process ended, where the job lived to write it
    └── ...              submitit's files: sbatch scripts, pickled tasks, what the jobs said

A job goes on when the command that submitted it has ended; whoever asks next reads the ledger and
the queue. Before its time is up SLURM sends SIGUSR2: the runs save and the job goes back to the
queue (submitit's requeue). `scancel` sends SIGTERM: they save and end.
"""

import contextlib
import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from ezcli.errors import ConfigError, EzError
from ezcli.experiments.handover import PYTHON, Child, Task, last_lines, start_process
from ezcli.experiments.launchers.local import ending
from ezcli.experiments.launchers.protocol import SAVED, Ending, Fault, JobState, Place
from ezcli.files import LINES, TABLE, NotPlain, read, write_atomically
from ezcli.runs.folder import refuse_links
from ezcli.runs.json_files import append_lines, damaged, read_lines
from ezcli.runs.names import is_plain_name
from ezcli.settings import DoesNotFit, Settings, why
from ezcli.words import shell_line

RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED"}
ENDED = {"COMPLETED", "FAILED", "OUT_OF_MEMORY"}
# Ways to end that are not the run's doing.
LOSSES = {
    "BOOT_FAIL": "its node did not boot",
    "DEADLINE": "its deadline passed",
    "NODE_FAIL": "its node failed",
    "PREEMPTED": "preempted",
    "REVOKED": "revoked",
    "TIMEOUT": "timed out",
}
OUT_OF_MEMORY = "out of memory; ask for more with --memory"
# How the daemon of a node says so in what the job printed, where the state is FAILED only.
TOO_MUCH_MEMORY = re.compile("exceeded (job |step )?memory limit|oom.kill", re.IGNORECASE)
TOO_LITTLE_TIME = "its time was up before it had saved anything new; ask for more with --time"
GONE = "SLURM does not know its job any more"
LEDGER = "ledger.jsonl"
PATIENCE = 60.0  # seconds for an answer of SLURM
RETRIED = 60.0  # seconds for which a program that fails is asked again
TIMEOUTS = 10_000  # times that a job may run out of time and go on
LARGEST_ARRAY = 1001  # where SLURM does not say; its own default
PROGRAMS = ("sbatch", "scancel", "scontrol", "squeue", "srun")
OURS = ("array", "chdir", "error", "job-name", "open-mode", "output", "requeue", "signal")
# Signals before the time is up, and what a run ends with that had not begun to listen for them.
EARLY_ENDS = {-signal.SIGTERM, -signal.SIGUSR1, -signal.SIGUSR2}
STOPPED = SAVED | EARLY_ENDS
# How SLURM's programs say that there is no such thing, and so no reason to ask again.
NO_SUCH_JOB = re.compile(r"Invalid job id|Job \S+ not found")
NO_ACCOUNTS = re.compile(r"accounting storage is disabled", re.IGNORECASE)
ENDED_ALREADY = re.compile(r"already completing or completed|Invalid job id")


# What goes into a script: no line may end early.
def is_line(text: str) -> str:
    """Refuses text that would not stay on one line of a script."""
    if not (text.isascii() and text.isprintable()):
        raise ValueError("it must be one line of ASCII characters")
    return text


Text = Annotated[str, AfterValidator(is_line)]


class SlurmSettings(Place):
    """The table `[slurm]`: what every job asks for."""

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
    runs_per_gpu: Annotated[int, Field(ge=1)] = 1  # in one job; without a GPU, runs of a job
    save_seconds: Annotated[int, Field(ge=10)] = 120  # before time is up, to save in
    setup: tuple[Text, ...] = Field(default=(), strict=False)  # shell lines before the run
    extra: dict[Text, Text] = Field(default={})  # other options of sbatch: extra.nice = "100"

    @property
    def has_gpus(self) -> bool:
        """Whether a job gets any."""
        return self.num_gpus > 0

    @property
    def num_gpus(self) -> int:
        """GPUs of a job."""
        return int(self.gpus.rpartition(":")[2])

    @property
    def runs_per_job(self) -> int:
        """Runs that a job trains side by side."""
        return self.runs_per_gpu * max(1, self.num_gpus)

    @property
    def threads(self) -> int:
        """A run's share of the cores of its job."""
        return max(1, self.cpus // self.runs_per_job)

    @property
    def runs_at_once(self) -> int | None:
        """What the jobs of one array hold."""
        return self.parallel and self.parallel * self.runs_per_job

    def with_jobs(self, jobs: int) -> Self:
        """The same with so many jobs of an array at a time."""
        return self.model_copy(update={"parallel": jobs})

    def launcher(
        self, jobs_dir: Path, slots: int | None = None, devices: Sequence[str] = ()
    ) -> "SlurmLauncher":
        """The queue, whatever the number of slots: arrays keep to `parallel`."""
        return SlurmLauncher(jobs_dir, self)

    @classmethod
    def queue(cls, jobs_dir: Path) -> "SlurmLauncher | None":
        """The queue with the jobs of a ledger; SLURM is asked for only if there are any."""
        return SlurmLauncher(jobs_dir, cls()) if uncollected(jobs_dir / LEDGER) else None

    @field_validator("gpus")
    @classmethod
    def _are_gpus(cls, gpus: str) -> str:
        if not re.fullmatch(r"([A-Za-z0-9_.-]+:)?\d+", gpus):
            raise ValueError(f"{gpus!r} is no number of GPUs, such as 1, a100:1 or 0")
        return gpus

    @field_validator("memory")
    @classmethod
    def _is_a_size(cls, memory: str) -> str:
        if not re.fullmatch(r"\d+[KMGT]?", memory):
            raise ValueError(f"{memory!r} is no memory of sbatch, such as 16G")
        return memory

    @field_validator("time")
    @classmethod
    def _is_a_time(cls, time: str) -> str:
        minutes_of(time)
        return time

    @field_validator("extra")
    @classmethod
    def _is_not_ours(cls, extra: dict[str, str]) -> dict[str, str]:
        taken = [name for name in extra if name.replace("_", "-") in OURS]
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
      ValueError: it is none.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if not found:
        raise ValueError(f"{text!r} is no time of sbatch, such as 12:00:00 or 1-12")
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


class Line(Settings):
    """A line of the ledger: a run was handed over as a job, or how that ended is known."""

    run: Annotated[str, Field(min_length=1)]
    job: str  # an argument of SLURM's programs
    submitted: str  # ISO 8601, UTC
    collected: bool = False

    @field_validator("run")
    @classmethod
    def _is_a_name(cls, run: str) -> str:
        if not is_plain_name(run):
            raise ValueError(f"{run!r} cannot name a run")
        return run

    @field_validator("job")
    @classmethod
    def _is_a_job(cls, job: str) -> str:
        if not re.fullmatch(r"\d+(_\d+)?", job, re.ASCII):
            raise ValueError(f"{job!r} is not the number of a job")
        return job


class Note(Settings):
    """What a job writes about a run that ended in it."""

    job: str | None
    exit_code: int
    started: str  # ISO 8601, UTC
    seconds: float
    last_lines: tuple[str, ...] = Field(strict=False)
    advanced: bool = True  # whether it saved anything new before its time was up


def uncollected(ledger: Path) -> dict[str, Line]:
    """The last line of a ledger on each run that is not collected.

    Raises:
      RunError: the ledger is damaged.
    """
    known: dict[str, Line] = {}
    for entry in read_lines(ledger):
        try:
            line = Line.model_validate(entry)
        except ValidationError as error:
            raise damaged(ledger, why(error.errors()[0])) from error
        known[line.run] = line
    return {run: line for run, line in known.items() if not line.collected}


class Job(NamedTuple):
    """A job as SLURM describes it."""

    name: str
    state: str  # in SLURM's words, such as RUNNING
    exit_code: int | None
    where: str  # names of nodes

    @property
    def has_ended(self) -> bool:
        """Whether it is over for good."""
        return self.state in ENDED or self.state in LOSSES or self.state == "CANCELLED"


class SlurmLauncher:
    """Jobs in a queue, as arrays.

    Args:
      folder: for the files of the jobs; on a filesystem that every node has.
      settings: what a job asks for.

    Raises:
      ConfigError: submitit or SLURM is missing here.
      RunError: the folder holds links.
    """

    outlives = True
    poll_seconds = 20.0

    def __init__(self, folder: Path, settings: SlurmSettings) -> None:
        self.folder, self.settings = folder.absolute(), settings
        self.ledger = self.folder / LEDGER
        # Of this folder's jobs, so that a copied ledger names nobody else's.
        self.name = f"ez-{hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:10]}"
        self.ends: dict[str, Job | None] = {}
        require_slurm()
        if self.ledger.is_symlink() or self.folder.is_symlink():
            refuse_links(self.folder)

    @property
    def slots(self) -> int | None:
        """The queue takes everything, unless told that it does not."""
        return self.settings.max_submitted and (
            self.settings.max_submitted * self.settings.runs_per_job
        )

    def submit(self, tasks: Sequence[Task]) -> list[str]:
        """Hands over all tasks in arrays, as many in each job as its GPUs hold."""
        size = self.settings.runs_per_job
        packs = [
            on_devices(tasks[start : start + size], self.settings.num_gpus)
            for start in range(0, len(tasks), size)
        ]
        self.folder.mkdir(parents=True, exist_ok=True)
        places: list[str] = []
        largest = largest_array()
        for start in range(0, len(packs), largest):
            some = packs[start : start + largest]
            with unsignalled():  # else there would be jobs that no ledger knows
                seconds = 60.0 * minutes_of(self.settings.time) - self.settings.save_seconds
                try:
                    jobs = self._submit(
                        [Pack(pack, self.folder, Path.cwd(), seconds) for pack in some]
                    )
                except EzError as error:
                    before = f"{len(places)} of {len(tasks)} runs were handed over, then: "
                    raise EzError(
                        "EZ-SLURM-PARTLY-SENT", before * bool(places) + error.message, error.hint
                    ) from error
                now = datetime.now(UTC).isoformat(timespec="seconds")
                sent = [
                    (task.run, job) for job, pack in zip(jobs, some, strict=True) for task in pack
                ]
                append_lines(
                    self.ledger,
                    [Line(run=run, job=job, submitted=now).model_dump() for run, job in sent],
                )
            places += [f"as job {job}" for _, job in sent]
        return places

    def _submit(self, packs: "Sequence[Pack]") -> list[str]:
        """Names of the jobs, one for each pack.

        Raises:
          EzError: sbatch refuses.
        """
        from submitit.core.utils import FailedJobError, FailedSubmissionError
        from submitit.helpers import clean_env
        from submitit.slurm.slurm import SlurmExecutor

        needed = ("SLURM_CONF", "SUBMITIT_PREEMPT_SIGNAL")
        where_slurm_is = {name: os.environ[name] for name in needed if name in os.environ}
        executor = SlurmExecutor(self.folder, max_num_timeout=TIMEOUTS, python=shell_line(PYTHON))
        executor.update_parameters(**parameters(self.settings, len(packs), self.name))
        try:
            # sbatch heeds SBATCH_PARTITION and its like before the script, and would say its say.
            with (
                clean_env(),
                kept(where_slurm_is),
                contextlib.redirect_stderr(io.StringIO()),
                executor.batch(),
            ):
                jobs = [executor.submit(pack) for pack in packs]
        except (FailedJobError, FailedSubmissionError) as error:
            said = [line for line in last_lines(str(error)) if "sbatch" in line]
            raise EzError(
                "EZ-SLURM-REFUSED",
                f"SLURM did not take the jobs: {' '.join(said) or error}",
                "`sinfo` lists the partitions; the options of `ez ablate --help` choose others; "
                "slurm.max_submitted keeps to a limit of jobs.",
            ) from error
        return [job.job_id for job in jobs]

    def states(self) -> Mapping[str, JobState]:
        """As the queue has them; what it does not have has ended, if SLURM says so."""
        return self._states(uncollected(self.ledger))

    def _states(self, known: "Mapping[str, Line]") -> dict[str, JobState]:
        if not known:
            return {}
        queue = queued(self.name)
        for job in queue:
            self.ends.pop(job, None)
        unknown = {line.job for line in known.values()} - queue.keys() - self.ends.keys()
        found = describe(unknown)
        return {run: self._state(line.job, queue, found) for run, line in known.items()}

    def overview(self) -> "Mapping[str, tuple[str, JobState, Ending | None]]":
        """Job and state of each run that was not collected, and how it ended if it did."""
        known = uncollected(self.ledger)
        return {
            run: (known[run].job, state, self._fate(known[run]) if state == "ended" else None)
            for run, state in self._states(known).items()
        }

    def _state(self, job: str, queue: Mapping[str, str], found: Mapping[str, Job]) -> JobState:
        if job in queue:
            return "running" if queue[job] in RUNNING else "queued"
        if job not in self.ends:
            described = found.get(job)
            if described is not None and described.name != self.name:  # of a ledger that was copied
                described = None
            if described is not None and not described.has_ended:  # another user's
                return "running" if described.state in RUNNING else "queued"
            self.ends[job] = described
        return "ended"

    def cancel(self, runs: Sequence[str], at_once: bool) -> list[str]:
        """`scancel`: SIGTERM to the runs of these jobs, and SIGKILL after SLURM's KillWait.

        There is no faster way: SLURM makes the same of a SIGKILL for a whole job.
        """
        queue = queued(self.name)
        known = uncollected(self.ledger)
        told = [run for run in runs if run in known and known[run].job in queue]
        names = sorted({known[run].job for run in told})
        if names:
            ask(["scancel", f"--name={self.name}", *names], vain=ENDED_ALREADY)
        return told

    def collect(self, run: str) -> Ending:
        """What SLURM says of the job, or else the run's own process."""
        line = uncollected(self.ledger)[run]
        found = self._fate(line)
        append_lines(self.ledger, [line.model_copy(update={"collected": True}).model_dump()])
        return found

    def _fate(self, line: Line) -> Ending:
        """How the job of a line ended."""
        job = self.ends[line.job]
        note, said = self._note(line.run, line.job), self._said(line.job)
        cause, fault = verdict(job, note, said)
        where = " on ".join(part for part in (line.job, job.where if job else "") if part)
        if note is not None:
            lines, started, seconds = note.last_lines, note.started, note.seconds
            return Ending(note.exit_code, cause, fault, lines, started, seconds, where)
        code = job.exit_code if job is not None else None
        return Ending(code, cause, fault, said, line.submitted, 0.0, where)

    def close(self) -> None:
        """Nothing: the jobs go on."""

    def _note(self, run: str, job: str) -> Note | None:
        """What the job wrote about the run's end; None if it could not, or not readably."""
        try:
            note = Note.model_validate_json(read(self.folder / f"{run}.json", TABLE))
        except (FileNotFoundError, NotPlain, ValidationError):
            return None
        return note if note.job == job else None

    def _said(self, job: str) -> tuple[str, ...]:
        """Last lines of what SLURM and submitit printed in the job."""
        path = self.folder / f"{job}_0_log.err"
        try:
            return last_lines(read(path, LINES).decode(errors="replace"))
        except (FileNotFoundError, NotPlain):
            return ()


def on_devices(tasks: Sequence[Task], gpus: int) -> tuple[Task, ...]:
    """Tasks of one job, dealt out to its GPUs if it has several."""
    if gpus < 2:
        return tuple(tasks)
    return tuple(task._replace(device=f"cuda:{number % gpus}") for number, task in enumerate(tasks))


def verdict(job: Job | None, note: Note | None, said: Sequence[str]) -> tuple[str, Fault]:
    """How a run ended, in words, and whose doing it was.

    Args:
      job: as SLURM describes it.
      note: what the job wrote about this run.
      said: last lines that SLURM printed in the job.
    """
    code = note.exit_code if note is not None else job.exit_code if job is not None else None
    state = job.state if job is not None else None
    lacked_memory = state == "OUT_OF_MEMORY" or any(TOO_MUCH_MEMORY.search(line) for line in said)
    if note is not None and note.exit_code == 0:
        return ending(0), "run"
    if note is not None and note.exit_code > 0 and note.exit_code not in SAVED:
        return OUT_OF_MEMORY if lacked_memory else ending(note.exit_code), "run"
    if state == "CANCELLED":
        return "cancelled", "user"
    if note is not None and not note.advanced:
        return TOO_LITTLE_TIME, "run"
    if state in LOSSES:
        return LOSSES[state], "place"
    if lacked_memory:
        return OUT_OF_MEMORY, "run"
    if note is not None and note.exit_code in STOPPED:
        return "stopped, and saved" if note.exit_code in SAVED else "stopped early", "place"
    if state is None:
        return (ending(code), "run") if code is not None else (GONE, "place")
    return (ending(code) if code is not None else state.lower()), "run"


class Pack:
    """What one job does: some runs, side by side. Made here, called there.

    Signals are noted and acted on between two looks at the processes, never within one.

    Args:
      tasks: the runs.
      folder: for how each of them ended.
      cwd: to which the paths in their arguments are relative.
      seconds: that they have before they are told to save.
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
            raise RuntimeError(", ".join(f"{run}: {ending(code)}" for run, code in failed.items()))

    def checkpoint(self) -> Any:
        """Time is up: the runs save, and the same job begins anew.

        Raises:
          RuntimeError: no run got any further, and none would the next time.
        """
        from submitit.helpers import DelayedSubmission

        codes = self._save()
        left = [task for task in self.tasks if codes.get(task.run) in (*STOPPED, None)]
        had_time = time.monotonic() - self.began > self.seconds / 2  # else it was preempted
        advanced = any(checkpoints(task.folder) != self.saved[task.run] for task in left)
        for run, code in codes.items():
            self._note(run, code, advanced or code not in STOPPED or not had_time)
        if had_time and not advanced:
            raise RuntimeError(TOO_LITTLE_TIME)
        return DelayedSubmission(Pack(left, self.folder, self.cwd, self.seconds))

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
        note = Note(
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


def require_slurm() -> None:
    """Refuses where no job can be submitted.

    Raises:
      ConfigError: it says what is missing.
    """
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "EZ-SLURM-NOT-INSTALLED",
            "The launcher slurm needs submitit.",
            "Install the extra ezcli[slurm]: see CLUSTERS.md.",
        ) from error
    for program in PROGRAMS:
        if shutil.which(program) is None:
            raise ConfigError(
                "EZ-SLURM-NO-PROGRAM",
                f"There is no {program!r} here.",
                "Go to a login node of the cluster, or use local.",
            )


def parameters(settings: SlurmSettings, jobs: int, name: str) -> dict[str, Any]:
    """What submitit writes into the sbatch script of an array of so many jobs."""
    extra = {"mem": settings.memory, "requeue": True, **settings.extra}
    if settings.has_gpus:
        extra["gpus-per-node"] = settings.gpus
    optional = ("partition", "account", "qos", "constraint")
    return {
        "job_name": name,
        "time": minutes_of(settings.time),
        "cpus_per_task": settings.cpus,
        "srun_args": [f"--cpus-per-task={settings.cpus}"],  # not inherited by every version
        "array_parallelism": settings.parallel or jobs,
        "signal_delay_s": settings.save_seconds,
        "setup": list(settings.setup) or None,
        "additional_parameters": extra,
        **{name: getattr(settings, name) for name in optional if getattr(settings, name)},
    }


@contextlib.contextmanager
def kept(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets variables of the environment; whoever cleared them sets all back when it is over."""
    os.environ.update(variables)
    yield


@contextlib.contextmanager
def unsignalled() -> Iterator[None]:
    """Puts Ctrl-C and its like off until it is over. A mask would be this thread's only."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {n: signal.signal(n, lambda number, _frame: came.append(number)) for n in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


def ask(command: Sequence[str], vain: re.Pattern[str] | None = None) -> str:
    """What a program of SLURM answers. If it fails, it is asked again for some time.

    Args:
      command: the program and its arguments.
      vain: how it says that there is no such thing; the answer is then empty, at once.

    Raises:
      NoAnswer: it fails or does not answer.
    """
    # Settings of a user's shell would change what is listed.
    rest = {k: v for k, v in os.environ.items() if not k.startswith(("SQUEUE_", "SACCT_"))}
    deadline = time.monotonic() + RETRIED
    while True:
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
                env=rest,
                start_new_session=True,  # a Ctrl-C is for us
            )
        except FileNotFoundError as error:
            raise NoAnswer("EZ-SLURM-NO-PROGRAM", f"There is no {command[0]!r} here.") from error
        except subprocess.TimeoutExpired:
            failed = f"did not answer for {PATIENCE:.0f} s."
        else:
            if done.returncode == 0:
                return done.stdout
            said = last_lines(done.stderr) or last_lines(done.stdout) or ("no word",)
            if vain is not None and all(vain.search(line) for line in said):
                return ""
            failed = f"failed: {said[-1]}"
        if time.monotonic() >= deadline:
            raise NoAnswer(
                "EZ-SLURM-NO-ANSWER", f"`{shell_line(command)}` {failed}", "Try again later."
            )
        time.sleep(5.0)


class NoAnswer(EzError):
    """A program of SLURM that fails or does not answer."""


def queued(name: str) -> dict[str, str]:
    """State by job, of this user's jobs of that name that have not ended."""
    command = ["squeue", "--me", f"--name={name}", "--noheader", "--array", "--format=%i|%T"]
    lines = ask(command).splitlines()
    return dict(line.strip().split("|", 1) for line in lines if "|" in line)


def largest_array() -> int:
    """Jobs that one array may have."""
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", ask(["scontrol", "show", "config"]))
    return max(1, int(found[1]) if found else LARGEST_ARRAY)


def describe(jobs: Iterable[str]) -> dict[str, Job]:
    """Jobs that are not in the queue, as far as SLURM still knows them.

    The controller remembers each for some minutes; the accounts, where any are kept, for ever.

    Raises:
      NoAnswer: one of the two does not answer.
    """
    wanted = set(jobs)
    found: dict[str, Job] = {}
    for array in sorted({job.partition("_")[0] for job in wanted}):
        answer = ask(["scontrol", "--oneliner", "show", "job", array], vain=NO_SUCH_JOB)
        found |= remembered(answer)
    forgotten = sorted(wanted - found.keys())
    if forgotten and shutil.which("sacct") is not None:
        arrays = ",".join(sorted({job.partition("_")[0] for job in forgotten}))
        columns = "JobID,JobName,State,ExitCode,NodeList"
        command = ["sacct", "-n", "-P", "-X", "-D", "-j", arrays, "-o", columns]
        found = accounted(ask(command, vain=NO_ACCOUNTS)) | found
    return {job: found[job] for job in wanted & found.keys()}


def remembered(answer: str) -> dict[str, Job]:
    """Jobs by name in what `scontrol --oneliner show job` prints."""
    found = {}
    for line in answer.splitlines():
        entries = dict(re.findall(r"(\w+)=(\S*)", line))
        if "JobState" in entries:
            array, task = entries.get("ArrayJobId"), entries.get("ArrayTaskId")
            where = entries.get("NodeList", "").replace("(null)", "")
            found[f"{array}_{task}" if array else entries["JobId"]] = Job(
                entries.get("JobName", ""),
                entries["JobState"],
                exit_code(entries.get("ExitCode", "")),
                where,
            )
    return found


def accounted(answer: str) -> dict[str, Job]:
    """Jobs by name in what sacct prints; of several starts of one the last."""
    rows = [line.split("|") for line in answer.splitlines() if line.count("|") == 4]
    return {
        job: Job(name, state.partition(" ")[0], exit_code(code), where.replace("None assigned", ""))
        for job, name, state, code, where in rows
    }


def exit_code(text: str) -> int | None:
    """Of SLURM's `1:0`: the code or, negative, the signal; None where it says neither."""
    code, _, number = text.partition(":")
    if not (code.isdecimal() and number.isdecimal()):
        return None
    return -int(number) if int(number) else int(code)
