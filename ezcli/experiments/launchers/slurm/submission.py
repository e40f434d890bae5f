"""Submitting an array of jobs with sbatch, through submitit."""

import contextlib
import io
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ezcli.errors import EzError
from ezcli.experiments.handover import PYTHON, last_lines
from ezcli.experiments.launchers.slurm.job import JobBody
from ezcli.experiments.launchers.slurm.settings import SlurmSettings, minutes_of
from ezcli.words import shell_line

MAX_TIMEOUTS = 10_000  # times that a job may reach its time limit and continue


def submit(
    bodies: Sequence[JobBody], folder: Path, settings: SlurmSettings, name: str
) -> list[str]:
    """Submits an array of jobs, and returns the names of the jobs.

    Args:
      bodies: the body of each job.
      folder: for submitit's files.
      settings: the resources of each job.
      name: name of all jobs in the queue.

    Raises:
      EzError: sbatch refuses.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError
    from submitit.helpers import clean_env
    from submitit.slurm.slurm import SlurmExecutor

    needed = ("SLURM_CONF", "SUBMITIT_PREEMPT_SIGNAL")
    where_slurm_is = {name: os.environ[name] for name in needed if name in os.environ}
    executor = SlurmExecutor(folder, max_num_timeout=MAX_TIMEOUTS, python=shell_line(PYTHON))
    executor.update_parameters(**parameters(settings, len(bodies), name))
    try:
        # SBATCH_PARTITION and similar variables would take precedence over the script.
        with (
            clean_env(),
            variables_set(where_slurm_is),
            contextlib.redirect_stderr(io.StringIO()),
            executor.batch(),
        ):
            jobs = [executor.submit(body) for body in bodies]
    except (FailedJobError, FailedSubmissionError) as error:
        said = [line for line in last_lines(str(error)) if "sbatch" in line]
        raise EzError(
            "EZ-SLURM-REFUSED",
            f"SLURM refused the jobs: {' '.join(said) or error}",
            "`sinfo` lists the partitions, and `ez ablate --help` the options. "
            "slurm.max_submitted limits the number of jobs.",
        ) from error
    return [job.job_id for job in jobs]


def parameters(settings: SlurmSettings, jobs: int, name: str) -> dict[str, Any]:
    """Parameters of submitit for the sbatch script of an array of `jobs` jobs."""
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
def variables_set(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables. An outer context, such as `clean_env`, restores them."""
    os.environ.update(variables)
    yield


@contextlib.contextmanager
def signals_deferred() -> Iterator[None]:
    """Defers Ctrl-C and other signals until the end.

    A signal mask would affect only this thread.
    """
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
