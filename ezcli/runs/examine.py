"""What `ez doctor RUN` looks at: whether a run's files are whole, and why it stopped."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ezcli.config.run import RunConfig
from ezcli.errors import CheckpointError, EzError, RunError
from ezcli.runs import checkpoint, failure
from ezcli.runs.evaluations import is_number, why_wrong
from ezcli.runs.folder import EVALUATIONS, METRICS, RECORDS, STALLED, RunFolder
from ezcli.words import counted, ez_command

ROOT_ERROR = "modes_value_rmse_root"  # in metrics
LARGE_ERROR = 0.5  # of the root's value, in standard deviations


class Finding(NamedTuple):
    """One thing that was looked at."""

    name: str
    ok: bool  # False: something is wrong with it
    detail: str  # what was found
    remedy: str  # what to do about it; empty if nothing


def examine(folder: RunFolder) -> Iterator[Finding]:
    """Looks at everything in a run's folder; changes nothing."""
    name = folder.name
    yield look("Config", lambda: describe_config(folder.config()))
    yield status(folder)
    for file in RECORDS:
        yield look(file, lambda file=file: describe_lines(folder, file))  # type: ignore[misc]
    yield checkpoints(folder)
    if (folder.path / STALLED).is_file():
        doing = "What each thread was doing then is in that file."
        yield Finding("Progress", False, f"{name} stood still: {folder.path / STALLED}", doing)
    yield from numbers(folder)
    yield from modes(folder)


def look(name: str, describe: Callable[[], str]) -> Finding:
    """What `describe` says; what it cannot read is wrong."""
    try:
        return Finding(name, True, describe(), "")
    except EzError as error:
        return Finding(name, False, error.message, error.hint)


def describe_config(config: RunConfig) -> str:
    """What the run is."""
    return f"{config.env_label}, seed {config.seed}, identity {config.identity}"


def describe_lines(folder: RunFolder, file: str) -> str:
    """How many lines a record has.

    Raises:
      EzError: it cannot be read, or an evaluation is none that a report takes.
    """
    lines = folder.read(file)
    for number, line in enumerate(lines, start=1):
        wrong = why_wrong(line) if file == EVALUATIONS else ""
        if wrong:
            raise RunError(
                "EZ-RUN-DAMAGED",
                f"Line {number} is damaged: {wrong}.",
                "Put the file back from a copy; reports leave the run out.",
            )
    return counted(len(lines), "line")


def status(folder: RunFolder) -> Finding:
    """How the run stands."""
    go_on = f"Continue with: {ez_command('resume', folder.path)}"
    try:
        info, said = folder.read_info(), folder.status()
    except EzError as error:
        return Finding("Status", False, error.message, error.hint)
    if folder.is_locked:
        return Finding("Status", True, f"{said}; a process works on it now", "")
    if said == "running":
        killed = "killed: it says that it runs, and no process works on it"
        return Finding("Status", False, killed, go_on)
    if said == "failed":
        return Finding(
            "Status", False, f"failed: {info.get('error') or 'it is not known why'}", go_on
        )
    return Finding("Status", True, said, "" if said == "finished" else go_on)


def checkpoints(folder: RunFolder) -> Finding:
    """All checkpoints, with their checksums, and whether they are of this run."""
    whole, complaints = [], []
    try:
        paths = checkpoint.checkpoint_paths(folder)
        identity = folder.config().identity if paths else ""
        is_saved = bool(folder.read_info().get("has_checkpoint"))
        for path in paths:
            try:
                whole.append(checkpoint.usable(path, folder, identity, to_train=True).manifest)
            except CheckpointError as error:
                complaints.append(error.message)
    except EzError as error:
        return Finding("Checkpoints", False, error.message, error.hint)
    if complaints:
        others = f"`{ez_command('resume', folder.path)}` continues from a whole one."
        if not whole:
            others = "Train again under another --name."
        return Finding("Checkpoints", False, " ".join(complaints), others)
    if not whole and is_saved:
        hint = "Put them back from a copy, or train again under another --name."
        return Finding("Checkpoints", False, "none, although run.json says that some exist", hint)
    if not whole:
        return Finding("Checkpoints", True, "none yet", "")
    at = f"env_step {whole[-1]['env_steps']:,}, train_step {whole[-1]['train_steps']:,}"
    return Finding("Checkpoints", True, f"{len(whole)}, all whole; the newest of {at}", "")


def numbers(folder: RunFolder) -> Iterator[Finding]:
    """What a failed train_step left, in sentences."""
    try:
        record = failure.read(folder)
    except EzError as error:
        yield Finding("Numbers", False, error.message, error.hint)
        return
    if record is None:
        yield Finding("Numbers", True, "nothing was without a finite value", "")
        return
    *first, last = failure.explain(record)
    for line in first:
        yield Finding("Numbers", False, line, "")
    yield Finding("Numbers", False, last, failure.remedy(record, folder))


def modes(folder: RunFolder) -> Iterator[Finding]:
    """How far the network that searches is from the one that learns, where it was measured."""
    try:
        lines = folder.read(METRICS)
    except EzError:  # `look` has shown why
        return
    measured = [line for line in lines if is_number(line.get(ROOT_ERROR))]
    if not measured:
        return
    error, train_steps = measured[-1][ROOT_ERROR], measured[-1].get("train_steps")
    detail = f"the root's value is {error:.2f} standard deviations off at train_step {train_steps}"
    remedy = ""
    if error > LARGE_ERROR:
        remedy = (
            "Searches start from a value whose error is more than half its signal; "
            "network.norm chooses a norm whose modes differ less."
        )
    yield Finding("Evaluation against training mode", True, detail, remedy)
