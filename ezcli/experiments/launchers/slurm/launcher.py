"""The SLURM queue as a launcher: submits runs, and reports their states and ends."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from ezcli.errors import EzError
from ezcli.experiments.handover import Task, last_lines
from ezcli.experiments.launchers.protocol import Ending, JobState
from ezcli.experiments.launchers.slurm.job import ExitNote, JobBody
from ezcli.experiments.launchers.slurm.ledger import LEDGER, LedgerEntry, uncollected
from ezcli.experiments.launchers.slurm.programs import (
    ENDED_ALREADY,
    RUNNING_STATES,
    JobRecord,
    ask,
    describe,
    largest_array,
    queued,
    require_slurm,
)
from ezcli.experiments.launchers.slurm.settings import SlurmSettings, minutes_of
from ezcli.experiments.launchers.slurm.submission import signals_deferred, submit
from ezcli.experiments.launchers.slurm.verdict import verdict
from ezcli.files import LINES, TABLE, NotPlain, read
from ezcli.runs.folder import refuse_links
from ezcli.runs.json_files import append_lines


class SlurmLauncher:
    """Jobs in a queue, submitted as arrays.

    Args:
      folder: for the files of the jobs, on a filesystem shared by all nodes.
      settings: the resources of a job.

    Raises:
      ConfigError: submitit or SLURM is missing here.
      RunError: the folder contains links.
    """

    outlives = True
    poll_seconds = 20.0

    def __init__(self, folder: Path, settings: SlurmSettings) -> None:
        self.folder, self.settings = folder.absolute(), settings
        self.ledger = self.folder / LEDGER
        # Name of this folder's jobs, so that a copied ledger does not refer to other jobs.
        self.name = f"ez-{hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:10]}"
        self.ends: dict[str, JobRecord | None] = {}
        require_slurm()
        if self.ledger.is_symlink() or self.folder.is_symlink():
            refuse_links(self.folder)

    @property
    def slots(self) -> int | None:
        """The limit in the settings; otherwise the queue has none."""
        return self.settings.max_submitted and (
            self.settings.max_submitted * self.settings.runs_per_job
        )

    def submit(self, tasks: Sequence[Task]) -> list[str]:
        """Submits all tasks in arrays, with as many per job as fit its GPUs."""
        size = self.settings.runs_per_job
        groups = [
            on_devices(tasks[start : start + size], self.settings.num_gpus)
            for start in range(0, len(tasks), size)
        ]
        self.folder.mkdir(parents=True, exist_ok=True)
        submitted: list[str] = []
        largest = largest_array()
        for start in range(0, len(groups), largest):
            array = groups[start : start + largest]
            with signals_deferred():  # otherwise there would be jobs that are in no ledger
                seconds = 60.0 * minutes_of(self.settings.time) - self.settings.save_seconds
                try:
                    jobs = submit(
                        [JobBody(group, self.folder, Path.cwd(), seconds) for group in array],
                        self.folder,
                        self.settings,
                        self.name,
                    )
                except EzError as error:
                    if not submitted:
                        raise
                    before = f"{len(submitted)} of {len(tasks)} runs were submitted, then: "
                    raise EzError(
                        "EZ-SLURM-PARTLY-SENT", before + error.message, error.hint
                    ) from error
                now = datetime.now(UTC).isoformat(timespec="seconds")
                entries = [
                    LedgerEntry(run=task.run, job=job, submitted=now)
                    for job, group in zip(jobs, array, strict=True)
                    for task in group
                ]
                append_lines(self.ledger, [entry.model_dump() for entry in entries])
            submitted += [f"as job {entry.job}" for entry in entries]
        return submitted

    def states(self) -> Mapping[str, JobState]:
        """States in the queue. Jobs outside the queue have ended if SLURM confirms it."""
        return self._states(uncollected(self.ledger))

    def _states(self, known: Mapping[str, LedgerEntry]) -> dict[str, JobState]:
        if not known:
            return {}
        queue = queued(self.name)
        for job in queue:
            self.ends.pop(job, None)
        unknown = {entry.job for entry in known.values()} - queue.keys() - self.ends.keys()
        found = describe(unknown)
        return {run: self._state(entry.job, queue, found) for run, entry in known.items()}

    def overview(self) -> Mapping[str, tuple[str, JobState, Ending | None]]:
        """Job and state of each uncollected run, and its end if it has ended."""
        known = uncollected(self.ledger)
        return {
            run: (known[run].job, state, self._ending(known[run]) if state == "ended" else None)
            for run, state in self._states(known).items()
        }

    def _state(
        self, job: str, queue: Mapping[str, str], found: Mapping[str, JobRecord]
    ) -> JobState:
        if job in queue:
            return "running" if queue[job] in RUNNING_STATES else "queued"
        if job not in self.ends:
            described = found.get(job)
            if described is not None and described.name != self.name:  # from a copied ledger
                described = None
            if described is not None and not described.has_ended:  # belongs to another user
                return "running" if described.state in RUNNING_STATES else "queued"
            self.ends[job] = described
        return "ended"

    def cancel(self, runs: Sequence[str], at_once: bool) -> list[str]:
        """Calls `scancel`: SIGTERM to the runs of these jobs, and SIGKILL after SLURM's KillWait.

        There is no faster way: SLURM treats SIGKILL for a whole job in the same way.
        """
        queue = queued(self.name)
        known = uncollected(self.ledger)
        told = [run for run in runs if run in known and known[run].job in queue]
        names = sorted({known[run].job for run in told})
        if names:
            ask(["scancel", f"--name={self.name}", *names], no_result=ENDED_ALREADY)
        return told

    def collect(self, run: str) -> Ending:
        """The end as reported by SLURM, or else by the run's process."""
        entry = uncollected(self.ledger)[run]
        found = self._ending(entry)
        append_lines(self.ledger, [entry.model_copy(update={"collected": True}).model_dump()])
        return found

    def _ending(self, entry: LedgerEntry) -> Ending:
        """The end of an entry's job."""
        job = self.ends[entry.job]
        note, said = self._note(entry.run, entry.job), self._said(entry.job)
        cause, fault = verdict(job, note, said)
        where = " on ".join(part for part in (entry.job, job.where if job else "") if part)
        if note is not None:
            lines, started, seconds = note.last_lines, note.started, note.seconds
            return Ending(note.exit_code, cause, fault, lines, started, seconds, where)
        code = job.exit_code if job is not None else None
        return Ending(code, cause, fault, said, entry.submitted, 0.0, where)

    def close(self) -> None:
        """Does nothing: the jobs continue."""

    def _note(self, run: str, job: str) -> ExitNote | None:
        """The job's record of the run's end; None if it is missing or not readable."""
        try:
            note = ExitNote.model_validate_json(read(self.folder / f"{run}.json", TABLE))
        except (FileNotFoundError, NotPlain, ValidationError):
            return None
        return note if note.job == job else None

    def _said(self, job: str) -> tuple[str, ...]:
        """Last lines of the output of SLURM and submitit in the job."""
        path = self.folder / f"{job}_0_log.err"
        try:
            return last_lines(read(path, LINES).decode(errors="replace"))
        except (FileNotFoundError, NotPlain):
            return ()


def on_devices(tasks: Sequence[Task], gpus: int) -> tuple[Task, ...]:
    """Assigns the tasks of one job to its GPUs, if it has several."""
    if gpus < 2:
        return tuple(tasks)
    return tuple(task._replace(device=f"cuda:{number % gpus}") for number, task in enumerate(tasks))
