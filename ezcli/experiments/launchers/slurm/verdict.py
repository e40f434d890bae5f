"""Determines how a run ended on SLURM, and the cause."""

import re
from collections.abc import Sequence

from ezcli.experiments.handover import exit_text
from ezcli.experiments.launchers.protocol import SAVED_EXIT_CODES, Fault
from ezcli.experiments.launchers.slurm.job import STOPPED_EXIT_CODES, TOO_LITTLE_TIME, ExitNote
from ezcli.experiments.launchers.slurm.programs import LOST_STATES, JobRecord

OUT_OF_MEMORY = "out of memory; request more with --memory"
# Messages about memory in a job's output, used if its state is only FAILED.
TOO_MUCH_MEMORY = re.compile("exceeded (job |step )?memory limit|oom.kill", re.IGNORECASE)
UNKNOWN_JOB = "SLURM has no record of its job"


def verdict(job: JobRecord | None, note: ExitNote | None, said: Sequence[str]) -> tuple[str, Fault]:
    """The end of a run in words, and its cause.

    Args:
      job: SLURM's description of the job.
      note: the job's record of this run.
      said: last lines of SLURM's output in the job.
    """
    code = note.exit_code if note is not None else job.exit_code if job is not None else None
    state = job.state if job is not None else None
    lacked_memory = state == "OUT_OF_MEMORY" or any(TOO_MUCH_MEMORY.search(line) for line in said)
    if note is not None and note.exit_code == 0:
        return exit_text(0), "run"
    if note is not None and note.exit_code > 0 and note.exit_code not in SAVED_EXIT_CODES:
        return OUT_OF_MEMORY if lacked_memory else exit_text(note.exit_code), "run"
    if state == "CANCELLED":
        return "cancelled", "user"
    if note is not None and not note.advanced:
        return TOO_LITTLE_TIME, "run"
    if state in LOST_STATES:
        return LOST_STATES[state], "cluster"
    if lacked_memory:
        return OUT_OF_MEMORY, "run"
    if note is not None and note.exit_code in STOPPED_EXIT_CODES:
        return (
            "stopped, and saved" if note.exit_code in SAVED_EXIT_CODES else "stopped early",
            "cluster",
        )
    if state is None:
        return (exit_text(code), "run") if code is not None else (UNKNOWN_JOB, "cluster")
    return (exit_text(code) if code is not None else state.lower()), "run"
