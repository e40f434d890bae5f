"""The ledger: which run was submitted as which job, and which are not collected yet."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator

from ezcli.runs.json_files import damaged, read_lines
from ezcli.runs.names import is_plain_name
from ezcli.settings import Settings, why

LEDGER = "ledger.jsonl"


class LedgerEntry(Settings):
    """A line of the ledger: a run was submitted as a job, or its end was collected."""

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


def uncollected(ledger: Path) -> dict[str, LedgerEntry]:
    """The last line of a ledger for each uncollected run.

    Raises:
      RunError: the ledger is damaged.
    """
    known: dict[str, LedgerEntry] = {}
    for entry in read_lines(ledger):
        try:
            line = LedgerEntry.model_validate(entry)
        except ValidationError as error:
            raise damaged(ledger, why(error.errors()[0])) from error
        known[line.run] = line
    return {run: line for run, line in known.items() if not line.collected}
