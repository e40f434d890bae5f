"""Calls SLURM's programs and parses their output."""

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
# States of jobs that ended for external reasons, with descriptions.
LOST_STATES = {
    "BOOT_FAIL": "its node did not boot",
    "DEADLINE": "its deadline passed",
    "NODE_FAIL": "its node failed",
    "PREEMPTED": "preempted",
    "REVOKED": "revoked",
    "TIMEOUT": "timed out",
}
ANSWER_TIMEOUT_SECONDS = 60.0
RETRY_SECONDS = 60.0  # seconds for which a failing program is retried
DEFAULT_ARRAY_SIZE = 1001  # if SLURM does not report it; its default
# Messages of SLURM's programs that mean "not found", after which there is no retry.
NO_SUCH_JOB = re.compile(r"Invalid job id|Job \S+ not found")
NO_ACCOUNTS = re.compile(r"accounting storage is disabled", re.IGNORECASE)
ENDED_ALREADY = re.compile(r"already completing or completed|Invalid job id")


class JobRecord(NamedTuple):
    """SLURM's description of a job."""

    name: str
    state: str  # in SLURM's words, such as RUNNING_STATES
    exit_code: int | None
    where: str  # names of nodes

    @property
    def has_ended(self) -> bool:
        """Whether it has ended and will not be requeued."""
        return self.state in ENDED_STATES or self.state in LOST_STATES or self.state == "CANCELLED"


def require_slurm() -> None:
    """Refuses if jobs cannot be submitted from this machine.

    Raises:
      ConfigError: names what is missing.
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
                f"The program {program!r} is not installed here.",
                "Use a login node of the cluster, or --launcher local.",
            )


class NoAnswer(EzError):
    """A program of SLURM that fails or does not answer."""


def ask(command: Sequence[str], no_result: re.Pattern[str] | None = None) -> str:
    """Returns the output of a program of SLURM. If it fails, it is retried for some time.

    Args:
      command: the program and its arguments.
      no_result: pattern of messages that mean "not found"; the output is then empty, without retry.

    Raises:
      NoAnswer: it fails or does not answer.
    """
    # Settings in a user's shell would change the output.
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
                start_new_session=True,  # Ctrl-C must reach only us
            )
        except FileNotFoundError as error:
            raise NoAnswer(
                "EZ-SLURM-NO-PROGRAM", f"The program {command[0]!r} is not installed here."
            ) from error
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
    """State of this user's unfinished jobs with this name, by job."""
    command = ["squeue", "--me", f"--name={name}", "--noheader", "--array", "--format=%i|%T"]
    lines = ask(command).splitlines()
    return dict(line.strip().split("|", 1) for line in lines if "|" in line)


def largest_array() -> int:
    """Largest number of jobs in an array."""
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", ask(["scontrol", "show", "config"]))
    return max(1, int(found[1]) if found else DEFAULT_ARRAY_SIZE)


def describe(jobs: Iterable[str]) -> dict[str, JobRecord]:
    """Describes jobs outside the queue, as far as SLURM has records of them.

    The controller has records for some minutes, accounting (if enabled) permanently.

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
    """Parses the output of `scontrol --oneliner show job` into jobs by name."""
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
    """Parses the output of sacct into jobs by name. For restarted jobs the last start counts."""
    rows = [line.split("|") for line in answer.splitlines() if line.count("|") == 4]
    return {
        job: JobRecord(
            name, state.partition(" ")[0], exit_code(code), where.replace("None assigned", "")
        )
        for job, name, state, code, where in rows
    }


def exit_code(text: str) -> int | None:
    """Parses SLURM's `1:0`: the code or, negative, the signal; None if it has neither."""
    code, _, number = text.partition(":")
    if not (code.isdecimal() and number.isdecimal()):
        return None
    return -int(number) if int(number) else int(code)
