"""The checks of `ez doctor RUN`: whether a run's files are intact, and why it stopped."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ezcli.config.run import RunConfig
from ezcli.errors import CheckpointError, EzError, RunError
from ezcli.runs import checkpoint, failure
from ezcli.runs.evaluations import is_number, why_wrong
from ezcli.runs.folder import EVALUATIONS, METRICS, RECORDS, STALLED, RunFolder
from ezcli.words import counted, ez_command

ROOT_ERROR = "modes_value_rmse_root"  # in metrics
LARGE_ERROR = 0.5  # error of the root's value, in standard deviations


class Finding(NamedTuple):
    """The result of one check."""

    name: str
    ok: bool  # False if something is wrong
    detail: str  # the result in words
    remedy: str  # the remedy; empty if there is nothing to do


def examine(folder: RunFolder) -> Iterator[Finding]:
    """Checks everything in a run's folder without changing it."""
    name = folder.name
    yield look("Config", lambda: describe_config(folder.config()))
    yield status(folder)
    for file in RECORDS:
        yield look(file, lambda file=file: describe_lines(folder, file))  # type: ignore[misc]
    yield checkpoints(folder)
    if (folder.path / STALLED).is_file():
        doing = "The file has the stack of each thread at that time."
        yield Finding("Progress", False, f"{name} stalled: {folder.path / STALLED}", doing)
    yield from numbers(folder)
    yield from modes(folder)


def look(name: str, describe: Callable[[], str]) -> Finding:
    """Returns the result of `describe`, or its error as a failed check."""
    try:
        return Finding(name, True, describe(), "")
    except EzError as error:
        return Finding(name, False, error.message, error.hint)


def describe_config(config: RunConfig) -> str:
    """Describes the config."""
    return f"{config.env_label}, seed {config.seed}, identity {config.identity}"


def describe_lines(folder: RunFolder, file: str) -> str:
    """Describes a JSON-lines file by its number of lines.

    Raises:
      EzError: it cannot be read, or has an invalid evaluation.
    """
    lines = folder.read(file)
    for number, line in enumerate(lines, start=1):
        wrong = why_wrong(line) if file == EVALUATIONS else ""
        if wrong:
            raise RunError(
                "EZ-RUN-DAMAGED",
                f"Line {number} is damaged: {wrong}.",
                "Restore the file from a backup. Reports leave the run out.",
            )
    return counted(len(lines), "line")


def status(folder: RunFolder) -> Finding:
    """Describes the state of the run."""
    go_on = f"Continue with: {ez_command('resume', folder.path)}"
    try:
        info, said = folder.read_info(), folder.status()
    except EzError as error:
        return Finding("Status", False, error.message, error.hint)
    if folder.is_locked:
        return Finding("Status", True, f"{said}; a process is working on it", "")
    if said == "running":
        killed = "killed: its status is running, but no process is working on it"
        return Finding("Status", False, killed, go_on)
    if said == "failed":
        return Finding(
            "Status", False, f"failed: {info.get('error') or 'the reason is not known'}", go_on
        )
    return Finding("Status", True, said, "" if said == "finished" else go_on)


def checkpoints(folder: RunFolder) -> Finding:
    """Checks all checkpoints: checksums, and whether they belong to this run."""
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
        others = f"`{ez_command('resume', folder.path)}` continues from an intact one."
        if not whole:
            others = "Train again under another --name."
        return Finding("Checkpoints", False, " ".join(complaints), others)
    if not whole and is_saved:
        hint = "Restore them from a backup, or train again under another --name."
        return Finding("Checkpoints", False, "none, although the run has saved some", hint)
    if not whole:
        return Finding("Checkpoints", True, "none yet", "")
    at = f"env_step {whole[-1]['env_steps']:,}, train_step {whole[-1]['train_steps']:,}"
    return Finding("Checkpoints", True, f"{len(whole)}, all intact; the newest at {at}", "")


def numbers(folder: RunFolder) -> Iterator[Finding]:
    """Describes the record of a failed train_step."""
    try:
        record = failure.read(folder)
    except EzError as error:
        yield Finding("Numbers", False, error.message, error.hint)
        return
    if record is None:
        yield Finding("Numbers", True, "all values were finite", "")
        return
    *first, last = failure.explain(record)
    for line in first:
        yield Finding("Numbers", False, line, "")
    yield Finding("Numbers", False, last, failure.remedy(record, folder))


def modes(folder: RunFolder) -> Iterator[Finding]:
    """Describes the difference between evaluation and training mode, if it was measured."""
    try:
        lines = folder.read(METRICS)
    except EzError:  # `look` has shown the reason
        return
    measured = [line for line in lines if is_number(line.get(ROOT_ERROR))]
    if not measured:
        return
    error, train_steps = measured[-1][ROOT_ERROR], measured[-1].get("train_steps")
    detail = (
        "the two modes differ in the root's value by "
        f"{error:.2f} standard deviations at train_step {train_steps}"
    )
    remedy = ""
    if error > LARGE_ERROR:
        remedy = (
            "The error of the value at the root of searches is more than half its standard "
            "deviation. Choose a network.norm whose modes differ less."
        )
    yield Finding("Evaluation against training mode", True, detail, remedy)
