"""Checkpoints of a session: the one it continues from, and those it saves.

A run that extends another run starts from its checkpoint, and saves it as its own first checkpoint.
After that it is an ordinary run.
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
    """Writes a checkpoint. `run.json` then records that the run has checkpoints."""
    checkpoint.save(trainer, folder)
    if not folder.read_info().get("has_checkpoint"):
        folder.update_info(has_checkpoint=True)


def is_saved(trainer: Trainer, folder: RunFolder) -> bool:
    """Whether the newest checkpoint already has the trainer's state."""
    paths = checkpoint.checkpoint_paths(folder)
    expected = checkpoint.checkpoint_name(trainer)
    return bool(paths) and paths[-1].name == expected


def resume(trainer: Trainer, folder: RunFolder, reporter: Reporter) -> None:
    """Restores the newest intact checkpoint and drops later lines.

    Raises:
      RunError: there is no checkpoint from which training can continue.
    """
    if folder.read_info().get("exported"):
        raise RunError(
            "EZ-RUN-EXPORTED",
            f"{folder.name!r} was exported without its training state: it can be played, but not "
            "trained further.",
            "Train it from the start with `ez train` under another --runs-dir.",
        )
    found, complaints = checkpoint.newest(folder)
    for complaint in complaints:
        reporter.say(f"{complaint} Using the checkpoint before.")
    if found is not None:
        checkpoint.restore(trainer, found, folder)
        checkpoint.drop_after(found, folder)
        env_steps, train_steps = found.manifest["env_steps"], found.manifest["train_steps"]
        reporter.say(f"Continuing from env_step {env_steps:,}, train_step {train_steps:,}.")
    elif folder.read_info().get("has_checkpoint"):
        raise RunError(
            "EZ-CHECKPOINT-GONE",
            f"{folder.name!r} has saved checkpoints, but {str(folder.checkpoints)!r} contains "
            "none.",
            "Restore them, or train again under another --name.",
        )
    elif trainer.config.start.agent:
        start_from(trainer, folder, reporter)
        return
    elif folder.sessions():
        folder.make_folders()
        reporter.say(
            f"{folder.name!r} has no checkpoint any more, so it starts from the beginning."
        )
    drop_lines(found, folder, reporter)


def start_from(trainer: Trainer, folder: RunFolder, reporter: Reporter) -> None:
    """Restores the checkpoint of the extended run, and saves it as this run's first.

    Earlier lines of metrics, times and interim scores are copied to this run.

    Raises:
      RunError: the other run is missing, or does not match `config.toml`.
      CheckpointError: the checkpoint is missing or damaged, or does not fit this run.
    """
    source, name = started_from(folder)
    there, start = source.config(), trainer.config.start
    expected = checkpoint.name_at(start.env_steps, start.train_steps)
    if (there.agent_identity, name) != (start.agent, expected):
        raise RunError(
            "EZ-RUN-START",
            f"{folder.name!r} does not start from {name!r} of {source.name!r}: its config.toml "
            "refers to another checkpoint.",
            "Start it again: ez train --from RUN.",
        )
    found = checkpoint.usable(source.checkpoints / name, source, there.identity, to_train=True)
    checkpoint.restore_any(trainer, found, source)
    folder.update_info(seals=folder.seals([CONFIG]))  # before sealed lines change
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
    """The extended run, at its recorded path or beside this run, and the checkpoint's name.

    Raises:
      RunError: `run.json` does not name it, or the run is missing.
    """
    said = folder.read_info().get("started_from")
    said = said if isinstance(said, dict) else {}
    path, name = said.get("path"), said.get("checkpoint")
    if not (isinstance(path, str) and isinstance(name, str)):
        raise RunError(
            "EZ-RUN-START",
            f"{folder.name!r} starts from a checkpoint, but its run.json does not name it.",
            "Start it again: ez train --from RUN.",
        )
    for place in (Path(path), folder.path.parent / Path(path).name):
        if RunFolder(place).exists:
            return RunFolder(place), name
    raise RunError(
        "EZ-RUN-START",
        f"{folder.name!r} starts from a checkpoint of a run that is not in {path!r}.",
        "Restore it there, or beside this run.",
    )


def is_history(found: Checkpoint, line: dict[str, Any]) -> bool:
    """Whether a line of the extended run belongs to the history of a run that starts from it."""
    return line.get("kind") in (None, "interim") and is_before(found, line)


def drop_lines(found: Checkpoint | None, folder: RunFolder, reporter: Reporter) -> None:
    """Drops the lines after the checkpoint, except scores from `ez evaluate`.

    Raises:
      RunError: lines to keep are damaged.
    """
    broken = folder.broken_seals()
    is_old = found is not None and not found.manifest["records"]  # from before lines were sealed
    if is_old:
        folder.require_whole(*RECORDS)
    folder.update_info(seals=folder.seals([CONFIG]))  # before sealed lines change
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
    """Whether a line of evaluations comes from `ez evaluate`."""
    return line.get("kind") == "manual"


def is_before(found: Checkpoint, line: dict[str, Any]) -> bool:
    """Whether a line is kept when a run continues from a checkpoint without seals of lines."""
    steps = [line.get(name) for name in ("env_steps", "train_steps")]
    most = [found.manifest[name] for name in ("env_steps", "train_steps")]
    return is_manual(line) or all(
        isinstance(a, int) and a <= b for a, b in zip(steps, most, strict=True)
    )
