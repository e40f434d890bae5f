"""Checkpoints of a session: the one that it goes on from, and those that it saves."""

from functools import partial
from typing import Any

from ezcli.errors import RunError
from ezcli.runs import checkpoint
from ezcli.runs.checkpoint import Checkpoint
from ezcli.runs.folder import CONFIG, EVALUATIONS, RECORDS, RunFolder
from ezcli.runs.session import Reporter
from ezcli.runs.trainer import Trainer


def save(trainer: Trainer, folder: RunFolder) -> None:
    """Writes a checkpoint; from the first one on `run.json` knows that there must be one."""
    checkpoint.save(trainer, folder)
    if not folder.read_info().get("has_checkpoint"):
        folder.update_info(has_checkpoint=True)


def is_saved(trainer: Trainer, folder: RunFolder) -> bool:
    """Whether the newest checkpoint holds the trainer's state already."""
    paths = checkpoint.checkpoint_paths(folder)
    expected = checkpoint.checkpoint_name(trainer)
    return bool(paths) and paths[-1].name == expected


def resume(trainer: Trainer, folder: RunFolder, reporter: Reporter) -> None:
    """Restores the newest whole checkpoint and drops the lines that came after it."""
    found, complaints = checkpoint.newest(folder)
    for complaint in complaints:
        reporter.say(f"{complaint} Going back to the checkpoint before.")
    if found is not None:
        checkpoint.restore(trainer, found, folder)
        checkpoint.drop_after(found, folder)
        env_steps, train_steps = found.manifest["env_steps"], found.manifest["train_steps"]
        reporter.say(f"Going on from env_step {env_steps:,}, train_step {train_steps:,}.")
    elif folder.read_info().get("has_checkpoint"):
        raise RunError(
            "EZ-CHECKPOINT-GONE",
            f"{folder.name!r} has saved checkpoints, and none is in {str(folder.checkpoints)!r}.",
            "Put them back, or train again under another --name.",
        )
    elif folder.sessions():
        folder.make_folders()
        reporter.say(f"{folder.name!r} has no checkpoint any more: starting anew.")
    drop_lines(found, folder, reporter)


def drop_lines(found: Checkpoint | None, folder: RunFolder, reporter: Reporter) -> None:
    """Drops the lines that the checkpoint does not know, but scores that were asked for by hand.

    Raises:
      RunError: lines that are to stay are damaged.
    """
    broken = folder.broken_seals()
    is_old = found is not None and not found.manifest["records"]  # knows no lines
    if is_old:
        folder.require_whole(*RECORDS)
    folder.update_info(seals=folder.seals([CONFIG]))  # before the sealed lines change
    for file in RECORDS:
        start = 0
        if found is not None and not is_old:
            start = found.manifest["records"][file]["bytes"]
        if is_old and found is not None:
            folder.keep_lines(file, start, partial(is_before, found))
        elif file in broken:
            reporter.say(f"{str(folder.path / file)!r} is damaged after its first {start:,} bytes.")
            folder.keep_lines(file, start, None)
        else:
            folder.keep_lines(file, start, is_manual if file == EVALUATIONS else None)


def is_manual(line: dict[str, Any]) -> bool:
    """Whether a line of evaluations is of `ez evaluate`."""
    return line.get("kind") == "manual"


def is_before(found: Checkpoint, line: dict[str, Any]) -> bool:
    """Whether a line stays when a run goes on from a checkpoint that knows no lines."""
    steps = [line.get(name) for name in ("env_steps", "train_steps")]
    most = [found.manifest[name] for name in ("env_steps", "train_steps")]
    return is_manual(line) or all(
        isinstance(a, int) and a <= b for a, b in zip(steps, most, strict=True)
    )
