"""Exact save and restore of a `Trainer` between two cycles.

A checkpoint is a folder: `weights.safetensors` (the learner's network, for anyone to use),
`networks.safetensors` (its copies and the optimiser), `replay.safetensors` (all of the replay but
the frames, the memo, and the batches drawn ahead), `state.json` (counters, random streams, logs of
the running games), and `manifest.json` with the SHA-256 of each, of the frame segments, of the
JSON lines as they were then (`folder.Seal`), and of itself.

It is written beside its place, synced, and renamed into it; the last two stay. No pickle anywhere.
"""

import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.numpy import save as arrays_to_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from ezcli.efficientzero.batch import Targets, Window
from ezcli.envs.vector import EnvLog
from ezcli.errors import CheckpointError
from ezcli.files import DAMAGED, TABLE, create, draft_folder_of, is_draft, read, remove
from ezcli.runs.checkpoint_check import (
    Manifest,
    parse,
    read_arrays,
    read_network,
    read_networks,
    require_pieces,
    require_state,
)
from ezcli.runs.folder import RECORDS, RunFolder
from ezcli.runs.frame_log import Segment, read_segments, write_segment
from ezcli.runs.names import is_plain_name
from ezcli.runs.seals import checksum, holds, sha256
from ezcli.runs.trainer import Drawn, Trainer

FORMAT = 2
OLD_ENTRIES = {"format", "identity", "env_steps", "train_steps", "files", "segments"}
ENTRIES = {1: OLD_ENTRIES, 2: OLD_ENTRIES | {"records", "sha256"}}  # of a manifest, by format
KEPT = 2
WEIGHTS, NETWORKS, REPLAY, STATE = (
    "weights.safetensors",
    "networks.safetensors",
    "replay.safetensors",
    "state.json",
)


class Checkpoint(NamedTuple):
    """A complete checkpoint on disk."""

    path: Path
    manifest: dict[str, Any]


def save(trainer: Trainer, folder: RunFolder) -> Path:
    """Writes a checkpoint; returns its folder."""
    folder.require_lock()
    train_steps, env_steps = trainer.learner.train_steps, trainer.replay.env_steps
    segments = save_frames(trainer, folder)
    name = checkpoint_name(trainer)
    final = folder.checkpoints / name
    with draft_folder_of(final) as draft:
        weights = plain(trainer.learner.network.state_dict())
        create(draft / WEIGHTS, tensors_to_bytes(weights))
        create(draft / NETWORKS, tensors_to_bytes(plain(network_tensors(trainer))))
        create(draft / REPLAY, arrays_to_bytes(replay_arrays(trainer)))
        create(draft / STATE, json.dumps(state(trainer)).encode())
        manifest = {
            "format": FORMAT,
            "identity": trainer.config.identity,
            "env_steps": env_steps,
            "train_steps": train_steps,
            "files": {file: sha256(draft / file) for file in (WEIGHTS, NETWORKS, REPLAY, STATE)},
            "segments": [segment._asdict() for segment in segments],
            "records": folder.seals(RECORDS),
        }
        manifest["sha256"] = checksum(manifest)
        create(draft / "manifest.json", json.dumps(manifest, indent=1).encode())
        folder.require_lock()  # the disk may have kept us waiting
    trainer.segments = segments
    prune(folder)
    return final


def checkpoint_name(trainer: Trainer) -> str:
    """Name of the folder that holds the trainer's present state; sorts by age."""
    return name_at(trainer.replay.env_steps, trainer.learner.train_steps)


def name_at(env_steps: int, train_steps: int) -> str:
    """Name of the folder that holds the state after so many steps."""
    return f"step-{env_steps:09d}-{train_steps:09d}"


def restore(trainer: Trainer, checkpoint: Checkpoint, folder: RunFolder) -> None:
    """Puts a freshly built trainer into the state of a checkpoint.

    Raises:
      CheckpointError: the checkpoint belongs to another config, or does not fit the trainer.
      EnvError: the games, played again, are others.
    """
    path, manifest = checkpoint
    require_own(checkpoint, trainer.config.identity)
    weights = read_network(path / WEIGHTS, trainer.learner.network)
    networks = read_networks(
        path / NETWORKS, network_tensors(trainer), trainer, manifest["train_steps"]
    )
    arrays = read_arrays(path / REPLAY, replay_arrays(trainer), trainer, manifest["env_steps"])
    numbers = read_json(path / STATE)
    require_state(numbers, path / STATE, trainer, manifest, "window.rows" in arrays)
    trainer.learner.network.load_state_dict(weights)
    restore_networks(trainer, networks)
    restore_arrays(trainer, arrays)
    trainer.learner.train_steps = manifest["train_steps"]
    trainer.replay.env_steps = manifest["env_steps"]
    trainer.drawn_steps = numbers["drawn_steps"]
    trainer.is_started = True
    vars(trainer.metrics).update(numbers["metrics"])
    for name, stream in trainer.streams.items():
        stream.bit_generator.state = numbers["streams"][name]
    trainer.segments = [Segment(**segment) for segment in manifest["segments"]]
    require_pieces(path / "manifest.json", trainer.segments, trainer.replay)
    read_segments(folder.frames, trainer.segments, trainer.replay, trainer.frames)
    rows = [trainer.replay.newest_row(env) for env in range(trainer.config.acting.num_envs)]
    trainer.envs.restore(
        [EnvLog(*log) for log in numbers["games"]],
        [trainer.frames.frames[row].cpu().numpy() for row in rows],
    )


def newest(folder: RunFolder, to_train: bool = True) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint whose checksums hold, and what is wrong with any newer one.

    Args:
      folder: of the run.
      to_train: the JSON lines must be those that the checkpoint goes on from, too.

    Raises:
      CheckpointError: there are checkpoints, and none is whole.
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
            f"No checkpoint of {folder.name!r} is whole: {' '.join(complaints)}",
            "Train again under another --name.",
        )
    return None, complaints


def usable(path: Path, folder: RunFolder, identity: str, to_train: bool) -> Checkpoint:
    """The checkpoint at `path`; arguments as of `newest`.

    Raises:
      CheckpointError: it is damaged, of another config, or goes on from other JSON lines.
    """
    found = verified(path, folder)
    require_own(found, identity)
    if to_train:
        require_records(found, folder)
    return found


def verified(path: Path, folder: RunFolder) -> Checkpoint:
    """Reads a manifest and compares every file with it.

    Raises:
      CheckpointError: naming the first file that is missing or changed.
    """
    try:
        manifest = read_manifest(path)
        require_plain_names(path, manifest)
        sums = {path / file: digest for file, digest in manifest["files"].items()}
        for segment in manifest["segments"]:
            sums[folder.frames / segment["file"]] = segment["sha256"]
        for file, digest in sums.items():
            if sha256(file) != digest:
                raise CheckpointError(
                    "EZ-CHECKPOINT-DAMAGED", f"{str(file)!r} is damaged: its checksum differs."
                )
    except OSError as error:
        if error.errno not in DAMAGED:
            raise  # such as no permission: says nothing of the file, which is not to be given up
        what = f"{type(error).__name__}: {error}"  # its `repr` would not name the file
        raise CheckpointError(
            "EZ-CHECKPOINT-INCOMPLETE", f"{str(path)!r} is not whole: {what}."
        ) from error
    name = name_at(manifest["env_steps"], manifest["train_steps"])
    if name != path.name:
        raise CheckpointError(
            "EZ-CHECKPOINT-RENAMED", f"{str(path)!r} was renamed: its manifest says {name!r}."
        )
    return Checkpoint(path, manifest)


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the checkpoint at `path`.

    Raises:
      CheckpointError: it cannot be read, is of another format, or damaged.
    """
    file = path / "manifest.json"
    manifest = read_json(file)
    known = manifest.get("format")
    if type(known) is not int or known not in ENTRIES:
        raise CheckpointError(
            "EZ-CHECKPOINT-FORMAT", f"{str(file)!r} has format {known!r}, not {FORMAT}."
        )
    if manifest.keys() != ENTRIES[known]:
        raise CheckpointError(
            "EZ-CHECKPOINT-DAMAGED",
            f"{str(file)!r} is damaged: it has other entries than it should.",
        )
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    if "sha256" in manifest and manifest["sha256"] != checksum(rest):
        raise CheckpointError(
            "EZ-CHECKPOINT-DAMAGED", f"{str(file)!r} is damaged: its checksum differs."
        )
    parse(Manifest, manifest, file)
    return manifest


def read_json(file: Path) -> dict[str, Any]:
    """The table in a file of JSON.

    Raises:
      CheckpointError: it cannot be read, or holds something else.
    """
    try:
        table: dict[str, Any] = json.loads(read(file, TABLE).decode())
    except (OSError, ValueError, RecursionError) as error:  # no JSON, or beyond what Python reads
        if isinstance(error, OSError) and error.errno not in DAMAGED:
            raise
        raise CheckpointError(
            "EZ-CHECKPOINT-DAMAGED", f"{str(file)!r} is damaged: {error}."
        ) from error
    if not isinstance(table, dict):
        raise CheckpointError(
            "EZ-CHECKPOINT-DAMAGED", f"{str(file)!r} is damaged: it holds no table."
        )
    return table


def require_plain_names(path: Path, manifest: dict[str, Any]) -> None:
    """Refuses a manifest that names files elsewhere: a checksum is no proof of who wrote it.

    Raises:
      CheckpointError: naming the first of them.
    """
    named = [*manifest["files"], *manifest.get("records", ())]
    strange = [name for name in named if name not in (WEIGHTS, NETWORKS, REPLAY, STATE, *RECORDS)]
    segments = [segment["file"] for segment in manifest["segments"]]
    strange += [name for name in segments if not (is_plain_name(name) and name.endswith(".zst"))]
    if strange:
        file = str(path / "manifest.json")
        raise CheckpointError(
            "EZ-CHECKPOINT-FILES", f"{file!r} names {strange[0]!r}, which is no file of a run."
        )
    needed = {WEIGHTS, NETWORKS, REPLAY, STATE, *(RECORDS if "records" in manifest else ())}
    missing = sorted(needed - set(named))
    if missing:
        file = str(path / "manifest.json")
        raise CheckpointError("EZ-CHECKPOINT-FILES", f"{file!r} does not name {missing[0]!r}.")


def require_own(checkpoint: Checkpoint, identity: str) -> None:
    """Refuses a checkpoint that belongs to another config.

    Raises:
      CheckpointError: with the identities.
    """
    found = checkpoint.manifest["identity"]
    if found != identity:
        raise CheckpointError(
            "EZ-CHECKPOINT-OTHER-CONFIG",
            f"{str(checkpoint.path)!r} belongs to another config: its identity is {found}, that of "
            f"config.toml {identity}.",
        )


def require_records(checkpoint: Checkpoint, folder: RunFolder) -> None:
    """Refuses JSON lines that do not begin with what was there when the checkpoint was written.

    Raises:
      CheckpointError: naming the file.
    """
    for file, sealed in checkpoint.manifest.get("records", {}).items():
        if not holds(folder.path / file, sealed):
            raise CheckpointError(
                "EZ-CHECKPOINT-DAMAGED",
                f"{str(folder.path / file)!r} is damaged: it is not what it was at "
                f"{checkpoint.path.name!r}.",
            )


def drop_after(checkpoint: Checkpoint, folder: RunFolder) -> None:
    """Removes the damaged checkpoints after `checkpoint`: one of the last two must be whole."""
    for path in checkpoint_paths(folder):
        if path.name > checkpoint.path.name:
            remove(path)


def load_weights(trained: torch.nn.Module, checkpoint: Checkpoint) -> None:
    """Loads only the learner's network.

    Raises:
      CheckpointError: the weights do not fit the network, or are not finite.
    """
    trained.load_state_dict(read_network(checkpoint.path / WEIGHTS, trained))


def checkpoint_paths(folder: RunFolder) -> list[Path]:
    """Complete checkpoints, oldest first.

    Raises:
      CheckpointError: there is something else in the place of their folder.
    """
    if not folder.checkpoints.is_dir():
        if os.path.lexists(folder.checkpoints):
            raise CheckpointError(
                "EZ-PATH-NOT-A-FOLDER",
                f"{str(folder.checkpoints)!r} is no folder.",
                "Move it away.",
            )
        return []
    names = re.compile(r"step-\d{9,}-\d{9,}")
    return sorted(path for path in folder.checkpoints.iterdir() if names.fullmatch(path.name))


def prune(folder: RunFolder) -> None:
    """Removes all but the last checkpoints, the frames that none of them needs, and drafts."""
    for path in (*folder.checkpoints.iterdir(), *folder.frames.iterdir()):
        if is_draft(path.name):
            remove(path)
    paths = checkpoint_paths(folder)
    for path in paths[:-KEPT]:
        remove(path)
    needed = set()
    for path in paths[-KEPT:]:
        needed |= {segment["file"] for segment in read_manifest(path)["segments"]}
    for file in folder.frames.glob("*.zst"):
        if file.name not in needed:
            remove(file)


def save_frames(trainer: Trainer, folder: RunFolder) -> list[Segment]:
    """Writes the frames since the last checkpoint; returns all segments still needed."""
    segment = write_segment(folder.frames, trainer.segments, trainer.replay, trainer.frames)
    segments = [*trainer.segments, segment] if segment else trainer.segments
    oldest = trainer.replay.length - trainer.replay.stream_rows
    return [
        segment
        for segment in segments
        if any(start + count > oldest[env] for env, start, count in segment.pieces)
    ]


def network_tensors(trainer: Trainer) -> dict[str, Tensor]:
    """The copies of the network and the optimiser's state, under dotted names."""
    copies = trainer.copies
    tensors = {
        f"{name}.{key}": tensor
        for name, network in copies.networks.items()
        for key, tensor in network.state_dict().items()
    }
    for index, entries in trainer.learner.optimiser.state_dict()["state"].items():
        for key, value in entries.items():
            tensors[f"optimiser.{index}.{key}"] = torch.as_tensor(value)
    return tensors


def restore_networks(trainer: Trainer, tensors: dict[str, Tensor]) -> None:
    """The inverse of `network_tensors`."""
    for name in trainer.copies.networks:
        prefix = f"{name}."
        trainer.copies.load(
            name, {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        )
    optimiser = trainer.learner.optimiser
    weights = list(trainer.learner.network.parameters())
    entries: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        owner, _, rest = key.partition(".")
        if owner == "optimiser":
            index, _, name = rest.partition(".")
            weight = weights[int(index)]
            if tensor.shape == weight.shape:  # a fused optimiser asks for the same layout too
                tensor = torch.empty_like(weight.detach()).copy_(tensor)
            entries.setdefault(int(index), {})[name] = tensor
    optimiser.load_state_dict(optimiser.state_dict() | {"state": entries})


def replay_arrays(trainer: Trainer) -> dict[str, np.ndarray]:
    """Everything in arrays, under dotted names."""
    arrays = {f"replay.{k}": v for k, v in trainer.replay.arrays._asdict().items()}
    arrays |= {f"memo.{k}": v for k, v in trainer.reanalyser.memo._asdict().items()}
    arrays["length"] = trainer.replay.length
    if trainer.drawn is not None:
        arrays |= {f"window.{k}": v for k, v in trainer.drawn.window._asdict().items()}
        arrays |= {f"targets.{k}": v for k, v in trainer.drawn.targets._asdict().items()}
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def restore_arrays(trainer: Trainer, arrays: dict[str, np.ndarray]) -> None:
    """The inverse of `replay_arrays`."""
    for name, array in trainer.replay.arrays._asdict().items():
        array[...] = arrays[f"replay.{name}"]
    for name, array in trainer.reanalyser.memo._asdict().items():
        array[...] = arrays[f"memo.{name}"]
    trainer.replay.length[...] = arrays["length"]
    if "window.rows" in arrays:
        trainer.drawn = Drawn(
            Window(**{name: arrays[f"window.{name}"] for name in Window._fields}),
            Targets(**{name: arrays[f"targets.{name}"] for name in Targets._fields}),
        )


def state(trainer: Trainer) -> dict[str, Any]:
    """What is left: numbers that JSON holds exactly."""
    return {
        "drawn_steps": trainer.drawn_steps,
        "metrics": vars(trainer.metrics),
        "games": trainer.envs.save(),
        "streams": {name: rng.bit_generator.state for name, rng in trainer.streams.items()},
    }


def plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU, as safetensors wants them."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
