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
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NamedTuple

from pydantic import Field, field_validator

from ezcli.errors import ConfigError, EzError
from ezcli.experiments.launchers.local import ending
from ezcli.experiments.launchers.protocol import PROGRAM, Ending, JobState, Task, last_lines
from ezcli.runs.folder import (
    append_line,
    damaged,
    is_plain_name,
    read_lines,
    read_table,
    write_atomically,
)
from ezcli.settings import Settings

QUEUED = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD"}
RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED"}
# Ways to end that are not the run's doing.
LOSSES = {
    "BOOT_FAIL": "its node did not boot",
    "CANCELLED": "cancelled",
    "DEADLINE": "its deadline passed",
    "NODE_FAIL": "its node failed",
    "PREEMPTED": "preempted",
    "REVOKED": "revoked",
    "TIMEOUT": "timed out",
}
OUT_OF_MEMORY = "out of memory; ask for more with --memory"
# How the daemon of a node says so in what the job printed, where the state is FAILED only.
TOO_MUCH_MEMORY = re.compile("exceeded (job |step )?memory limit|oom.kill", re.IGNORECASE)
GONE = "SLURM does not know its job any more"
PATIENCE = 60  # seconds for an answer of SLURM
TIMEOUTS = 10_000  # times that a job may run out of time and go on


class SlurmSettings(Settings):
    """The table `[slurm]`: what every job asks for."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gpus: Annotated[str, Field(pattern=r"^([A-Za-z0-9_.-]+:)?\d+$")] = "1"  # 1, a100:1, 0
    cpus: Annotated[int, Field(ge=1)] = 4
    memory: Annotated[str, Field(pattern=r"^\d+[KMGT]?$")] = "16G"
    time: str = "12:00:00"
    runs_per_gpu: Annotated[int, Field(ge=1)] = 1  # runs that share a job
    save_seconds: Annotated[int, Field(ge=10)] = 120  # before time is up, to save in
    setup: tuple[str, ...] = Field(default=(), strict=False)  # shell lines before the run
    extra: dict[str, str] = Field(default={})  # other options of sbatch: extra.nice = "100"

    @property
    def has_gpus(self) -> bool:
        """Whether a job gets any."""
        return not re.fullmatch(r"(.*:)?0+", self.gpus)

    @field_validator("time")
    @classmethod
    def _is_a_time(cls, time: str) -> str:
        minutes_of(time)
        return time


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


class Job(NamedTuple):
    """A job as SLURM describes it."""

    state: str  # in SLURM's words, such as RUNNING
    exit_code: int | None
    where: str  # names of nodes


class SlurmLauncher:
    """Jobs in a queue, as an array for each call of `submit`.

    Args:
      folder: for the files of the jobs; on a filesystem that every node has.
      settings: what a job asks for.
      slots: jobs of one array that run at the same time, at most; None: as many as SLURM gives.

    Raises:
      ConfigError: submitit or SLURM is missing here.
    """

    outlives = True
    poll_seconds = 10.0
    slots = None  # the queue takes everything

    def __init__(self, folder: Path, settings: SlurmSettings, parallel: int | None = None) -> None:
        self.folder, self.settings, self.parallel = folder, settings, parallel
        self.ledger = folder / "ledger.jsonl"
        require_slurm()

    def submit(self, tasks: Sequence[Task]) -> list[str]:
        """Hands over all tasks as one array, `runs_per_gpu` in each of its jobs."""
        size = self.settings.runs_per_gpu
        packs = [tuple(tasks[start : start + size]) for start in range(0, len(tasks), size)]
        self.folder.mkdir(parents=True, exist_ok=True)
        names = self._submit([Pack(pack, self.folder) for pack in packs])
        now = datetime.now(UTC).isoformat(timespec="seconds")
        places = []
        for name, pack in zip(names, packs, strict=True):
            for task in pack:
                append_line(self.ledger, {"run": task.run, "job": name, "submitted": now})
                places.append(f"as job {name}")
        return places

    def _submit(self, packs: "Sequence[Pack]") -> list[str]:
        """Names of the jobs, one for each pack.

        Raises:
          EzError: sbatch refuses.
        """
        from submitit.core.utils import FailedJobError, FailedSubmissionError
        from submitit.slurm.slurm import SlurmExecutor

        executor = SlurmExecutor(self.folder, max_num_timeout=TIMEOUTS)
        executor.update_parameters(**parameters(self.settings, self.parallel or len(packs)))
        try:
            with executor.batch():
                jobs = [executor.submit(pack) for pack in packs]
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            said = last_lines(str(error))
            raise EzError(
                f"SLURM did not take the jobs: {said[-1] if said else error}",
                "`sinfo` lists the partitions; the options of `ez ablate --help` choose others.",
            ) from error
        return [job.job_id for job in jobs]

    def states(self) -> Mapping[str, JobState]:
        """As the queue has them; what it does not have has ended."""
        known = self._known()
        if not known:
            return {}
        queue = queued()
        found: dict[str, JobState] = {}
        for run, line in known.items():
            state = queue.get(line["job"])
            if state in QUEUED:
                found[run] = "queued"
            elif state in RUNNING:
                found[run] = "running"
            else:
                found[run] = "ended"
        return found

    def jobs(self) -> Mapping[str, str]:
        """The job of each run that was submitted and not collected."""
        return {run: line["job"] for run, line in self._known().items()}

    def cancel(self, runs: Sequence[str], at_once: bool) -> None:
        """`scancel`: SIGTERM to the runs of these jobs, and later SIGKILL."""
        known = self._known()
        names = {known[run]["job"] for run in runs if run in known}
        if names:
            ask(["scancel", *(["--signal=KILL", "--full"] if at_once else []), *sorted(names)])

    def collect(self, run: str) -> Ending:
        """What SLURM says of the job, or else the run's own process."""
        found = self.fate(run)
        append_line(self.ledger, {"run": run, "collected": True})
        return found

    def fate(self, run: str) -> Ending:
        """The same, and it stays known."""
        line = self._known()[run]
        job, own = describe(line["job"]), self._own_ending(run, line["job"])
        started, seconds = line["submitted"], 0.0
        code, lines = job.exit_code if job is not None else None, self._said(line["job"])
        if own is not None:
            started, seconds = own["started"], own["seconds"]
            code, lines = own["exit_code"], tuple(own["last_lines"])
        cause, is_loss = verdict(job, code, lines)
        where = " on ".join(part for part in (line["job"], job.where if job else "") if part)
        return Ending(code, cause, is_loss, lines, started, seconds, where)

    def _said(self, job: str) -> tuple[str, ...]:
        """Last lines of what SLURM and submitit printed in the job."""
        path = self.folder / f"{job}_0_log.err"
        return last_lines(path.read_text(errors="replace")) if path.is_file() else ()

    def close(self) -> None:
        """Nothing: the jobs go on."""

    def _known(self) -> dict[str, dict[str, Any]]:
        """The last line of the ledger on each run that is not collected."""
        known: dict[str, dict[str, Any]] = {}
        for line in read_lines(self.ledger):
            run, job = line.get("run"), line.get("job")
            if line.get("collected"):
                known.pop(str(run), None)
            elif isinstance(run, str) and is_plain_name(run) and is_job(job):
                known[run] = line
            else:
                raise damaged(self.ledger, f"{run!r} and {job!r} are no run and no job")
        return known

    def _own_ending(self, run: str, job: str) -> dict[str, Any] | None:
        path = self.folder / f"{run}.json"
        if not path.is_file():
            return None
        table = read_table(path)
        return table if table.get("job") == job else None


def verdict(job: Job | None, code: int | None, lines: Sequence[str]) -> tuple[str, bool]:
    """How a job ended, in words, and whether that was not the run's doing."""
    state = job.state if job else None
    if state in LOSSES:
        return LOSSES[state], True
    if state == "OUT_OF_MEMORY" or any(TOO_MUCH_MEMORY.search(line) for line in lines):
        return OUT_OF_MEMORY, False
    if code is not None:
        return ending(code), False
    return (GONE, True) if state is None else (state.lower(), False)


class Pack:
    """What one job does: some runs, side by side. Made here, called there.

    Args:
      tasks: the runs.
      folder: for how each of them ended.
    """

    def __init__(self, tasks: Sequence[Task], folder: Path) -> None:
        self.tasks, self.folder = tuple(tasks), folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"processes": []}  # they live in one job only

    def __call__(self) -> None:
        """Trains until every run has ended.

        Raises:
          RuntimeError: one of them failed, so that SLURM knows of it.
        """
        signal.signal(signal.SIGTERM, self._pass_on)
        began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        starts = []
        for task in self.tasks:
            task.log.parent.mkdir(parents=True, exist_ok=True)
            with task.log.open("ab") as log:
                starts.append(log.tell())
                self.processes.append(
                    subprocess.Popen(
                        [*PROGRAM, *task.arguments],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,  # signals come through us, once
                        env=os.environ | {"PYTHONUNBUFFERED": "1"},
                    )
                )
        left = dict(enumerate(self.processes))
        codes: dict[str, int] = {}
        while left:
            for number, process in list(left.items()):
                code = process.poll()
                if code is None:
                    continue
                task = self.tasks[number]
                del left[number]
                codes[task.run] = code
                with task.log.open("rb") as log:
                    log.seek(starts[number])
                    lines = last_lines(log.read().decode(errors="replace"))
                self._note(task, code, started, time.monotonic() - began, lines)
            time.sleep(0.2)
        failed = {run: code for run, code in codes.items() if code}
        if failed:
            raise RuntimeError(", ".join(f"{run}: {ending(code)}" for run, code in failed.items()))

    def checkpoint(self) -> Any:
        """Time is up, or the job is preempted: the runs save, and the same job begins anew."""
        from submitit.helpers import DelayedSubmission

        self._pass_on(signal.SIGTERM, None)
        for process in self.processes:
            process.wait()
        return DelayedSubmission(Pack(self.tasks, self.folder))

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)

    def _note(
        self, task: Task, code: int, started: str, seconds: float, lines: tuple[str, ...]
    ) -> None:
        line = {
            "job": job_name(),
            "exit_code": code,
            "started": started,
            "seconds": round(seconds, 3),
            "last_lines": list(lines),
        }
        write_atomically(self.folder / f"{task.run}.json", json.dumps(line).encode() + b"\n")


def is_job(name: object) -> bool:
    """Whether this can be the name of a job: it becomes an argument of SLURM's programs."""
    return isinstance(name, str) and re.fullmatch(r"\d+(_\d+)?", name) is not None


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
            "The launcher slurm needs submitit.", "Install it: pip install 'ezcli[slurm]'"
        ) from error
    for program in ("sbatch", "squeue", "srun"):
        if shutil.which(program) is None:
            raise ConfigError(
                f"There is no {program!r} here.", "Go to a login node of the cluster, or use local."
            )


def parameters(settings: SlurmSettings, parallel: int) -> dict[str, Any]:
    """What submitit writes into the sbatch script."""
    extra = {"mem": settings.memory, "requeue": True, **settings.extra}
    if settings.has_gpus:
        extra["gpus-per-node"] = settings.gpus
    optional = ("partition", "account", "qos", "constraint")
    return {
        "job_name": "ez",
        "time": minutes_of(settings.time),
        "cpus_per_task": settings.cpus,
        "array_parallelism": parallel,
        "signal_delay_s": settings.save_seconds,
        "setup": list(settings.setup) or None,
        "additional_parameters": extra,
        **{name: getattr(settings, name) for name in optional if getattr(settings, name)},
    }


def ask(command: Sequence[str]) -> str:
    """What a program of SLURM answers.

    Raises:
      EzError: it fails or does not answer.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise EzError(
            f"`{shlex.join(command)}` did not answer for {PATIENCE} s.", "Try again later."
        ) from error
    if done.returncode:
        said = last_lines(done.stderr) or ("no word",)
        raise EzError(f"`{shlex.join(command)}` failed: {said[-1]}", "Try again later.")
    return done.stdout


def queued() -> dict[str, str]:
    """State by job, of this user's jobs that have not ended."""
    lines = ask(["squeue", "--me", "--noheader", "--array", "--format=%i|%T"]).splitlines()
    return dict(line.strip().split("|", 1) for line in lines if "|" in line)


def describe(job: str) -> Job | None:
    """A job that has ended; None if SLURM does not know it any more.

    From the accounts or, where none are kept, from what the controller still remembers.
    """
    with contextlib.suppress(EzError, FileNotFoundError):
        fields = "State,ExitCode,NodeList"
        answer = ask(["sacct", "-n", "-P", "-X", "-D", "-j", job, "-o", fields])
        lines = answer.splitlines()
        if lines:
            state, code, where = lines[-1].split("|")  # the last of its starts
            return Job(state.split()[0], exit_code(code), where)
    with contextlib.suppress(EzError):
        answer = ask(["scontrol", "--oneliner", "show", "job", job])
        found = dict(re.findall(r"(\w+)=(\S*)", answer))
        return Job(found["JobState"], exit_code(found["ExitCode"]), found.get("NodeList", ""))
    return None


def exit_code(text: str) -> int | None:
    """Of SLURM's `1:0`: the code or, negative, the signal; None where it says neither."""
    code, _, number = text.partition(":")
    if not (code.isdecimal() and number.isdecimal()):
        return None
    return -int(number) if int(number) else int(code)
