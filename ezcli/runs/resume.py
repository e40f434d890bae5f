"""Checkpoints of a session: the one that it goes on from, and those that it saves.

A run that extends another one starts from a checkpoint of that one, and saves it as its own first.
From then on it is a run like any other.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

from ezcli.errors import RunError
from ezcli.files import write_atomically
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
    """Restores the newest whole checkpoint and drops the lines that came after it.

    Raises:
      RunError: there is no checkpoint from which training can go on.
    """
    if folder.read_info().get("exported"):
        raise RunError(
            "EZ-RUN-EXPORTED",
            f"{folder.name!r} was exported without the state of training: it can be played, but "
            "not trained further.",
            "Train it from the start with `ez train` under another --runs-dir.",
        )
    found, complaints = checkpoint.newest(folder)
    for complaint in complaints:
        reporter.say(f"{complaint} Going back to the checkpoint before.")
    if found is not None:
        checkpoint.restore(trainer, found, folder)
        checkpoint.drop_after(found, folder)
        env_steps, train_steps = found.manifest["env_steps"], found.manifest["train_steps"]
        reporter.say(f"Continuing from env_step {env_steps:,}, train_step {train_steps:,}.")
    elif folder.read_info().get("has_checkpoint"):
        raise RunError(
            "EZ-CHECKPOINT-GONE",
            f"{folder.name!r} has saved checkpoints, and none is in {str(folder.checkpoints)!r}.",
            "Put them back, or train again under another --name.",
        )
    elif trainer.config.start.agent:
        start_from(trainer, folder, reporter)
        return
    elif folder.sessions():
        folder.make_folders()
        reporter.say(f"{folder.name!r} has no checkpoint any more: starting anew.")
    drop_lines(found, folder, reporter)


def start_from(trainer: Trainer, folder: RunFolder, reporter: Reporter) -> None:
    """Restores the checkpoint of the run that this one extends, and saves it as this run's first.

    The lines of metrics, clocks and interim scores up to there become lines of this run.

    Raises:
      RunError: the other run is not there, or is another one than `config.toml` says.
      CheckpointError: the checkpoint is gone or damaged, or does not fit this run.
    """
    source, name = started_from(folder)
    there, start = source.config(), trainer.config.start
    expected = checkpoint.name_at(start.env_steps, start.train_steps)
    if (there.agent_identity, name) != (start.agent, expected):
        raise RunError(
            "EZ-RUN-START",
            f"{folder.name!r} does not start from {name!r} of {source.name!r}: its config.toml "
            "names another checkpoint.",
            "Start it again: ez train --from RUN.",
        )
    found = checkpoint.usable(source.checkpoints / name, source, there.identity, to_train=True)
    checkpoint.restore_any(trainer, found, source)
    folder.update_info(seals=folder.seals([CONFIG]))  # before the sealed lines change
    for file in RECORDS:
        kept = [line for line in source.read(file) if is_history(found, line)]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_atomically(folder.path / file, text.encode())
    save(trainer, folder)
    reporter.say(
        f"Starting from env_step {start.env_steps:,}, train_step {start.train_steps:,} of the run "
        f"{source.name!r}."
    )


def started_from(folder: RunFolder) -> tuple[RunFolder, str]:
    """The run that this one extends, where it was or beside this one, and the checkpoint's name.

    Raises:
      RunError: `run.json` does not say it, or the run is not there.
    """
    said = folder.read_info().get("started_from")
    said = said if isinstance(said, dict) else {}
    path, name = said.get("path"), said.get("checkpoint")
    if not (isinstance(path, str) and isinstance(name, str)):
        raise RunError(
            "EZ-RUN-START",
            f"{folder.name!r} starts from a checkpoint, and its run.json does not say which.",
            "Start it again: ez train --from RUN.",
        )
    for place in (Path(path), folder.path.parent / Path(path).name):
        if RunFolder(place).exists:
            return RunFolder(place), name
    raise RunError(
        "EZ-RUN-START",
        f"{folder.name!r} starts from a checkpoint of a run that is not in {path!r}.",
        "Put it back, there or beside this run.",
    )


def is_history(found: Checkpoint, line: dict[str, Any]) -> bool:
    """Whether a line of the run that a checkpoint is of belongs to a run that starts from it."""
    return line.get("kind") in (None, "interim") and is_before(found, line)


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
