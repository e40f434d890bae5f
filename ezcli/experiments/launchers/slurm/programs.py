"""SLURM's programs: asking them, and reading their answers."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ezcli.errors import ConfigError, EzError
from ezcli.experiments.handover import last_lines
from ezcli.words import shell_line

PROGRAMS = ("sbatch", "scancel", "scontrol", "squeue", "srun")
# States of jobs, in SLURM's words.
RUNNING_STATES = frozenset(
    ("RUNNING", "COMPLETING", "SUSPENDED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED")
)
ENDED_STATES = {"COMPLETED", "FAILED", "OUT_OF_MEMORY"}
# Jobs that ended without the run's doing, and what happened to them.
LOST_STATES = {
    "BOOT_FAIL": "its node did not boot",
    "DEADLINE": "its deadline passed",
    "NODE_FAIL": "its node failed",
    "PREEMPTED": "preempted",
    "REVOKED": "revoked",
    "TIMEOUT": "timed out",
}
ANSWER_TIMEOUT_SECONDS = 60.0
RETRY_SECONDS = 60.0  # for which a program that fails is asked again
DEFAULT_ARRAY_SIZE = 1001  # where SLURM does not say; its own default
# How SLURM's programs say that there is no such thing, and so no reason to ask again.
NO_SUCH_JOB = re.compile(r"Invalid job id|Job \S+ not found")
NO_ACCOUNTS = re.compile(r"accounting storage is disabled", re.IGNORECASE)
ENDED_ALREADY = re.compile(r"already completing or completed|Invalid job id")


class JobRecord(NamedTuple):
    """A job as SLURM describes it."""

    name: str
    state: str  # in SLURM's words, such as RUNNING_STATES
    exit_code: int | None
    where: str  # names of nodes

    @property
    def has_ended(self) -> bool:
        """Whether it is over for good."""
        return self.state in ENDED_STATES or self.state in LOST_STATES or self.state == "CANCELLED"


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
            "Install the extra ezcli[slurm]: see docs/tutorials/cluster.md.",
        ) from error
    for program in PROGRAMS:
        if shutil.which(program) is None:
            raise ConfigError(
                "EZ-SLURM-NO-PROGRAM",
                f"There is no {program!r} here.",
                "Go to a login node of the cluster, or use local.",
            )


class NoAnswer(EzError):
    """A program of SLURM that fails or does not answer."""


def ask(command: Sequence[str], no_result: re.Pattern[str] | None = None) -> str:
    """What a program of SLURM answers. If it fails, it is asked again for some time.

    Args:
      command: the program and its arguments.
      no_result: how it says that there is no such thing; the answer is then empty, at once.

    Raises:
      NoAnswer: it fails or does not answer.
    """
    # Settings of a user's shell would change what is listed.
    rest = {k: v for k, v in os.environ.items() if not k.startswith(("SQUEUE_", "SACCT_"))}
    deadline = time.monotonic() + RETRY_SECONDS
    while True:
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=ANSWER_TIMEOUT_SECONDS,
                check=False,
                env=rest,
                start_new_session=True,  # a Ctrl-C is for us
            )
        except FileNotFoundError as error:
            raise NoAnswer("EZ-SLURM-NO-PROGRAM", f"There is no {command[0]!r} here.") from error
        except subprocess.TimeoutExpired:
            failed = f"did not answer for {ANSWER_TIMEOUT_SECONDS:.0f} s."
        else:
            if done.returncode == 0:
                return done.stdout
            said = last_lines(done.stderr) or last_lines(done.stdout) or ("no word",)
            if no_result is not None and all(no_result.search(line) for line in said):
                return ""
            failed = f"failed: {said[-1]}"
        if time.monotonic() >= deadline:
            raise NoAnswer(
                "EZ-SLURM-NO-ANSWER", f"`{shell_line(command)}` {failed}", "Try again later."
            )
        time.sleep(5.0)


def queued(name: str) -> dict[str, str]:
    """State by job, of this user's jobs of that name that have not ended."""
    command = ["squeue", "--me", f"--name={name}", "--noheader", "--array", "--format=%i|%T"]
    lines = ask(command).splitlines()
    return dict(line.strip().split("|", 1) for line in lines if "|" in line)


def largest_array() -> int:
    """Jobs that one array may have."""
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", ask(["scontrol", "show", "config"]))
    return max(1, int(found[1]) if found else DEFAULT_ARRAY_SIZE)


def describe(jobs: Iterable[str]) -> dict[str, JobRecord]:
    """Jobs that are not in the queue, as far as SLURM still knows them.

    The controller remembers each for some minutes; the accounts, where any are kept, for ever.

    Raises:
      NoAnswer: one of the two does not answer.
    """
    wanted = set(jobs)
    found: dict[str, JobRecord] = {}
    for array in sorted({job.partition("_")[0] for job in wanted}):
        answer = ask(["scontrol", "--oneliner", "show", "job", array], no_result=NO_SUCH_JOB)
        found |= remembered(answer)
    forgotten = sorted(wanted - found.keys())
    if forgotten and shutil.which("sacct") is not None:
        arrays = ",".join(sorted({job.partition("_")[0] for job in forgotten}))
        columns = "JobID,JobName,State,ExitCode,NodeList"
        command = ["sacct", "-n", "-P", "-X", "-D", "-j", arrays, "-o", columns]
        found = accounted(ask(command, no_result=NO_ACCOUNTS)) | found
    return {job: found[job] for job in wanted & found.keys()}


def remembered(answer: str) -> dict[str, JobRecord]:
    """Jobs by name in what `scontrol --oneliner show job` prints."""
    found = {}
    for line in answer.splitlines():
        entries = dict(re.findall(r"(\w+)=(\S*)", line))
        if "JobState" in entries:
            array, task = entries.get("ArrayJobId"), entries.get("ArrayTaskId")
            where = entries.get("NodeList", "").replace("(null)", "")
            found[f"{array}_{task}" if array else entries["JobId"]] = JobRecord(
                entries.get("JobName", ""),
                entries["JobState"],
                exit_code(entries.get("ExitCode", "")),
                where,
            )
    return found


def accounted(answer: str) -> dict[str, JobRecord]:
    """Jobs by name in what sacct prints; of several starts of one the last."""
    rows = [line.split("|") for line in answer.splitlines() if line.count("|") == 4]
    return {
        job: JobRecord(
            name, state.partition(" ")[0], exit_code(code), where.replace("None assigned", "")
        )
        for job, name, state, code, where in rows
    }


def exit_code(text: str) -> int | None:
    """Of SLURM's `1:0`: the code or, negative, the signal; None where it says neither."""
    code, _, number = text.partition(":")
    if not (code.isdecimal() and number.isdecimal()):
        return None
    return -int(number) if int(number) else int(code)
