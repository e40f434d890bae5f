"""Exact save and restore of a `Trainer` between two cycles.

A checkpoint is a folder with the states of the trainer's parts in files (`storage`) and a
`manifest.json`. `weights.safetensors` is the learner's network, usable on its own. The manifest has
the SHA-256 of each file, of the blobs, of the JSON lines at that time (`folder.Seal`), and of
itself.

A checkpoint is written as a draft, synced, and renamed. The newest `record.keep_checkpoints` (by
default two) are kept, and those after every `record.keep_interval` train_steps. Nothing is pickled.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field

from ezcli import schema
from ezcli.config.run import RecordSettings
from ezcli.errors import CheckpointError, RunError
from ezcli.files import DAMAGED, create, draft_folder_of, is_draft, remove
from ezcli.runs.folder import RECORDS, RunFolder
from ezcli.runs.seals import checksum, holds, sha256
from ezcli.runs.storage import (
    BLOB,
    MANIFEST,
    STATE,
    current,
    damaged_checkpoint,
    read_json,
    read_states,
    write_blobs,
    write_states,
)
from ezcli.runs.trainer import Trainer
from ezcli.state import Count, Part, Table, is_array, read_table, require, restore_parts

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern="^[a-z_]+[.](safetensors|json)$")]
BlobName = Annotated[str, Field(pattern="^[a-z_]+/[0-9A-Za-z_-]+[.]zst$")]


class SealEntry(Table):
    """Length and checksum of a JSON-lines file at a checkpoint."""

    bytes: int = Field(ge=0, lt=2**63)
    sha256: Digest


class Manifest(Table):
    """The content of a manifest without schema and checksum."""

    identity: str
    env_steps: Count
    train_steps: Count
    files: dict[FileName, Digest]
    blobs: dict[BlobName, Digest]
    records: dict[str, SealEntry]


class Checkpoint(NamedTuple):
    """A complete checkpoint on disk."""

    path: Path
    manifest: dict[str, Any]  # `Manifest`


def save(trainer: Trainer, folder: RunFolder) -> Path:
    """Writes a checkpoint; returns its folder."""
    folder.require_lock()
    states = trainer.state()
    blobs = write_blobs(states, folder.path)
    final = folder.checkpoints / checkpoint_name(trainer)
    with draft_folder_of(final) as draft:
        write_states(states, draft)
        entries = {
            "identity": trainer.config.identity,
            "env_steps": trainer.env_steps,
            "train_steps": trainer.train_steps,
        }
        write_manifest(draft, entries, blobs, folder.seals(RECORDS))
        folder.require_lock()  # writing may have taken long
    prune(folder, trainer.config.record)
    return final


def write_manifest(
    draft: Path, entries: dict[str, Any], blobs: dict[str, str], records: dict[str, Any]
) -> None:
    """Writes the manifest of a checkpoint, the last of its files."""
    manifest = {
        "schema": schema.SCHEMA,
        **entries,
        "files": {file.name: sha256(file) for file in sorted(draft.iterdir())},
        "blobs": blobs,
        "records": records,
    }
    manifest["sha256"] = checksum(manifest)
    create(draft / MANIFEST, json.dumps(manifest, indent=1).encode())


def copy_weights(folder: RunFolder, into: Path) -> None:
    """Copies the newest intact checkpoint with only the network.

    Args:
      folder: of the run.
      into: parent of the new checkpoint's folder; it is created.

    Raises:
      RunError: there is no checkpoint, or all are damaged.
    """
    found, _ = newest(folder, to_train=False)
    if found is None:
        raise no_checkpoint(folder)
    weights = read_states(*found, folder.path)["weights"]
    in_memory = {key: np.asarray(x) if is_array(x) else x for key, x in weights.items()}
    path = into / found.path.name
    path.mkdir(parents=True)
    write_states({"weights": in_memory}, path)
    entries = {key: found.manifest[key] for key in ("identity", "env_steps", "train_steps")}
    write_manifest(path, entries, {}, folder.seals(RECORDS))


def no_checkpoint(folder: RunFolder) -> RunError:
    """The error about a run without a checkpoint."""
    return RunError(
        "EZ-RUN-NO-CHECKPOINT", f"{folder.name!r} has no checkpoint yet.", "Train first."
    )


def checkpoint_name(trainer: Trainer) -> str:
    """Name of the checkpoint of the trainer's current state. Names sort by age."""
    return name_at(trainer.env_steps, trainer.train_steps)


def name_at(env_steps: int, train_steps: int) -> str:
    """Name of the checkpoint after these steps."""
    return f"step-{env_steps:09d}-{train_steps:09d}"


def restore(trainer: Trainer, checkpoint: Checkpoint, folder: RunFolder) -> None:
    """Restores a newly built trainer from a checkpoint.

    Raises:
      CheckpointError: the checkpoint belongs to another config, or does not fit the trainer.
      EnvError: the replayed games differ.
    """
    require_own(checkpoint, trainer.config.identity)
    restore_any(trainer, checkpoint, folder)


def restore_any(trainer: Trainer, checkpoint: Checkpoint, folder: RunFolder) -> None:
    """Like `restore`, but also for a checkpoint of another config that builds the same parts."""
    states = read_states(*checkpoint, folder.path)
    with naming(checkpoint.path):
        trainer.restore(states)
        at = checkpoint_name(trainer)
        require(at == checkpoint.path.name, f"{MANIFEST}: its parts belong to {at!r}")


def restore_part(name: str, part: Part, checkpoint: Checkpoint, folder: RunFolder) -> None:
    """Restores one part, such as a network from the part `weights`.

    Raises:
      CheckpointError: the checkpoint does not have the part, or its state does not fit.
    """
    states = read_states(*checkpoint, folder.path)
    with naming(checkpoint.path):
        restore_parts({name: part}, {name: states.get(name, {})})


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the path of a checkpoint, or of its file, to errors about content."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(
            "EZ-CHECKPOINT-CONTENT", f"{str(path)!r} cannot be used: {error.message}."
        ) from error


def newest(folder: RunFolder, to_train: bool = True) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint with valid checksums, and errors about newer ones.

    Args:
      folder: of the run.
      to_train: whether the JSON lines must also match the checkpoint.

    Raises:
      CheckpointError: there are checkpoints, but all are damaged.
    """
    complaints: list[str] = []
    paths = checkpoint_paths(folder)
    identity = folder.config().identity if paths else ""
    for path in reversed(paths):
        try:
            return usable(path, folder, identity, to_train), complaints
        except CheckpointError as error:
            complaints.append(error.message)
    if paths:
        raise CheckpointError(
            "EZ-CHECKPOINT-NONE-WHOLE",
            f"All checkpoints of {folder.name!r} are damaged: {' '.join(complaints)}",
            "Train again under another --name.",
        )
    return None, complaints


def usable(path: Path, folder: RunFolder, identity: str, to_train: bool) -> Checkpoint:
    """The checkpoint at `path`; arguments as in `newest`.

    Raises:
      CheckpointError: it is damaged, of another config, or does not match the JSON lines.
    """
    found = verified(path, folder)
    require_own(found, identity)
    if to_train:
        require_records(found, folder)
    return found


def verified(path: Path, folder: RunFolder) -> Checkpoint:
    """Reads a manifest and verifies every file.

    Raises:
      CheckpointError: names the first missing or changed file.
    """
    try:
        manifest = read_manifest(path)
        sums = {path / file: digest for file, digest in manifest["files"].items()}
        sums |= {folder.path / file: digest for file, digest in manifest["blobs"].items()}
        for file, digest in sums.items():
            if sha256(file) != digest:
                raise damaged_checkpoint(file, "its checksum differs")
    except OSError as error:
        if error.errno not in DAMAGED:
            raise  # such as missing permission, which does not mean damage
        what = f"{type(error).__name__}: {error}"  # its `repr` does not name the file
        raise CheckpointError(
            "EZ-CHECKPOINT-INCOMPLETE", f"{str(path)!r} is incomplete: {what}."
        ) from error
    name = name_at(manifest["env_steps"], manifest["train_steps"])
    if name != path.name:
        raise CheckpointError(
            "EZ-CHECKPOINT-RENAMED",
            f"{str(path)!r} was renamed: the name in its manifest is {name!r}.",
        )
    return Checkpoint(path, manifest)


def read_manifest(path: Path) -> dict[str, Any]:
    """The validated manifest of the checkpoint at `path`.

    Raises:
      CheckpointError: it cannot be read, or is damaged.
      ConfigError: a later version of ezcli wrote it.
    """
    file = path / MANIFEST
    table = read_json(file)
    # The first format had no checksum and no seals.
    is_sealed = str(table.get("format")) != "1"
    if is_sealed and table.pop("sha256", None) != checksum(table):
        raise damaged_checkpoint(file, "its checksum differs")
    newest_table = current("manifest", table, file)
    with naming(file):
        manifest = read_table(Manifest, newest_table).model_dump()
        require(STATE in manifest["files"], f"it does not list {STATE!r}")
        sealed = set(RECORDS) if is_sealed else set()
        other = sorted(manifest["records"].keys() ^ sealed)
        require(not other, f"it seals unexpected files: {', '.join(other)}")
    return manifest


def require_own(checkpoint: Checkpoint, identity: str) -> None:
    """Refuses a checkpoint that belongs to another config.

    Raises:
      CheckpointError: names both identities.
    """
    found = checkpoint.manifest["identity"]
    if found != identity:
        raise CheckpointError(
            "EZ-CHECKPOINT-OTHER-CONFIG",
            f"{str(checkpoint.path)!r} belongs to another config: its identity is {found}, but "
            f"config.toml has {identity}.",
        )


def require_records(checkpoint: Checkpoint, folder: RunFolder) -> None:
    """Refuses JSON lines that do not begin with their content at the time of the checkpoint.

    Raises:
      CheckpointError: names the file.
    """
    for file, sealed in checkpoint.manifest.get("records", {}).items():
        if not holds(folder.path / file, sealed):
            raise damaged_checkpoint(
                folder.path / file, f"it was changed after {checkpoint.path.name!r}"
            )


def drop_after(checkpoint: Checkpoint, folder: RunFolder) -> None:
    """Removes the damaged checkpoints after `checkpoint`, so that one of the last two is intact."""
    for path in checkpoint_paths(folder):
        if path.name > checkpoint.path.name:
            remove(path)


def checkpoint_paths(folder: RunFolder) -> list[Path]:
    """Complete checkpoints, oldest first.

    Raises:
      CheckpointError: their folder is something else.
    """
    if not folder.checkpoints.is_dir():
        if os.path.lexists(folder.checkpoints):
            raise CheckpointError(
                "EZ-PATH-NOT-A-FOLDER",
                f"{str(folder.checkpoints)!r} is not a folder.",
                "Move it away.",
            )
        return []
    names = re.compile(r"step-\d{9,}-\d{9,}")
    return sorted(path for path in folder.checkpoints.iterdir() if names.fullmatch(path.name))


def train_steps_of(path: Path) -> int:
    """The train_steps in the name of a checkpoint."""
    return int(path.name.rpartition("-")[2])


def prune(folder: RunFolder, settings: RecordSettings) -> None:
    """Removes old checkpoints, blobs that none needs, and drafts."""
    paths = checkpoint_paths(folder)
    newest_ones = paths[-settings.keep_checkpoints :]
    kept = [p for p in paths if p in newest_ones or settings.keeps(train_steps_of(p))]
    for path in paths:
        if path not in kept:
            remove(path)
    needed = {folder.path / file for path in kept for file in read_manifest(path)["blobs"]}
    for place in {folder.checkpoints, *(file.parent for file in needed)}:
        for path in place.iterdir():
            if is_draft(path.name) or (path.suffix == BLOB and path not in needed):
                remove(path)
