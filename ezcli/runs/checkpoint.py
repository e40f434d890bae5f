"""Exact save and restore of a `Trainer` between two cycles.

A checkpoint is a folder: `weights.safetensors` (the learner's network, for anyone to use),
`networks.safetensors` (its copies and the optimiser), `replay.safetensors` (all of the replay but
the frames, the memo, and the batches drawn ahead), `state.json` (counters, random streams, logs of
the running games), and `manifest.json` with the SHA-256 of each and of the frame segments.

It is written beside its place, synced, and renamed into it; the last two stay. No pickle anywhere.
"""

import errno
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save as arrays_to_bytes
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from ezcli.efficientzero.batch import Targets, Window
from ezcli.envs.vector import EnvLog
from ezcli.errors import CheckpointError
from ezcli.runs.folder import RunFolder, sha256, sync_folder
from ezcli.runs.frame_log import Segment, read_segments, write_segment
from ezcli.runs.trainer import Drawn, Trainer

FORMAT = 1
DAMAGED = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO}  # what reading a file may say
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
    train_steps, env_steps = trainer.learner.train_steps, trainer.replay.env_steps
    segments = save_frames(trainer, folder)
    name = checkpoint_name(trainer)
    final, draft = folder.checkpoints / name, folder.checkpoints / f".tmp-{name}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()  # without its parents: a run that somebody removed must not come back in part
    weights = plain(trainer.learner.network.state_dict())
    (draft / WEIGHTS).write_bytes(tensors_to_bytes(weights))
    (draft / NETWORKS).write_bytes(tensors_to_bytes(plain(network_tensors(trainer))))
    (draft / REPLAY).write_bytes(arrays_to_bytes(replay_arrays(trainer)))
    (draft / STATE).write_text(json.dumps(state(trainer)), encoding="utf-8")
    manifest = {
        "format": FORMAT,
        "identity": trainer.config.identity,
        "env_steps": env_steps,
        "train_steps": train_steps,
        "files": {file: sha256(draft / file) for file in (WEIGHTS, NETWORKS, REPLAY, STATE)},
        "segments": [segment._asdict() for segment in segments],
    }
    (draft / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for file in draft.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    sync_folder(draft)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(draft, final)
    sync_folder(folder.checkpoints)
    trainer.segments = segments
    prune(folder)
    return final


def checkpoint_name(trainer: Trainer) -> str:
    """Name of the folder that holds the trainer's present state; sorts by age."""
    return f"step-{trainer.replay.env_steps:09d}-{trainer.learner.train_steps:09d}"


def restore(trainer: Trainer, checkpoint: Checkpoint, folder: RunFolder) -> None:
    """Puts a freshly built trainer into the state of a checkpoint.

    Raises:
      CheckpointError: the checkpoint belongs to another config.
    """
    manifest = checkpoint.manifest
    if manifest["identity"] != trainer.config.identity:
        raise CheckpointError(f"{str(checkpoint.path)!r} belongs to another config.")
    trainer.learner.network.load_state_dict(load_tensors(checkpoint.path / WEIGHTS))
    restore_networks(trainer, load_tensors(checkpoint.path / NETWORKS))
    restore_arrays(trainer, load_arrays(checkpoint.path / REPLAY))
    numbers = json.loads((checkpoint.path / STATE).read_text(encoding="utf-8"))
    trainer.learner.train_steps = manifest["train_steps"]
    trainer.replay.env_steps = manifest["env_steps"]
    trainer.drawn_steps = numbers["drawn_steps"]
    trainer.is_started = True
    vars(trainer.metrics).update(numbers["metrics"])
    trainer.envs.restore([EnvLog(*log) for log in numbers["games"]])
    for name, stream in trainer.streams.items():
        stream.bit_generator.state = numbers["streams"][name]
    trainer.segments = [Segment(**segment) for segment in manifest["segments"]]
    read_segments(folder.frames, trainer.segments, trainer.replay, trainer.frames)


def newest(folder: RunFolder) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint whose checksums hold, and what is wrong with any newer one.

    Raises:
      CheckpointError: there are checkpoints, and none is whole.
    """
    complaints: list[str] = []
    paths = checkpoint_paths(folder)
    for path in reversed(paths):
        try:
            return verified(path, folder), complaints
        except CheckpointError as error:
            complaints.append(error.message)
    if paths:
        raise CheckpointError(
            f"No checkpoint of {folder.name!r} is whole: {' '.join(complaints)}",
            "Train again under another --name.",
        )
    return None, complaints


def verified(path: Path, folder: RunFolder) -> Checkpoint:
    """Reads a manifest and compares every file with it.

    Raises:
      CheckpointError: naming the first file that is missing or changed.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise CheckpointError(f"{str(path)!r} has format {manifest['format']}, not {FORMAT}.")
        sums = {path / file: digest for file, digest in manifest["files"].items()}
        for segment in manifest["segments"]:
            sums[folder.frames / segment["file"]] = segment["sha256"]
        for file, digest in sums.items():
            if sha256(file) != digest:
                raise CheckpointError(f"{str(file)!r} is damaged: its checksum differs.")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        if isinstance(error, OSError) and error.errno not in DAMAGED:
            raise  # such as no permission: says nothing of the file, which is not to be given up
        what = f"{type(error).__name__}: {error}"  # its `repr` would not name the file
        raise CheckpointError(f"{str(path)!r} is not whole: {what}.") from error
    return Checkpoint(path, manifest)


def drop_after(checkpoint: Checkpoint, folder: RunFolder) -> None:
    """Removes the damaged checkpoints after `checkpoint`: one of the last two must be whole."""
    for path in checkpoint_paths(folder):
        if path.name > checkpoint.path.name:
            shutil.rmtree(path)


def load_weights(trained: torch.nn.Module, checkpoint: Checkpoint) -> None:
    """Loads only the learner's network.

    Raises:
      CheckpointError: the weights do not fit the network.
    """
    try:
        trained.load_state_dict(load_tensors(checkpoint.path / WEIGHTS))
    except (SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"{str(checkpoint.path)!r} does not fit the run's network."
        ) from error


def checkpoint_paths(folder: RunFolder) -> list[Path]:
    """Complete checkpoints, oldest first."""
    if not folder.checkpoints.is_dir():
        return []
    names = re.compile(r"step-\d{9,}-\d{9,}")
    return sorted(path for path in folder.checkpoints.iterdir() if names.fullmatch(path.name))


def prune(folder: RunFolder) -> None:
    """Removes all but the last checkpoints, the frames that none of them needs, and drafts."""
    for draft in folder.checkpoints.glob(".tmp-*"):
        shutil.rmtree(draft)
    paths = checkpoint_paths(folder)
    for path in paths[:-KEPT]:
        shutil.rmtree(path)
    needed = set()
    for path in paths[-KEPT:]:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        needed |= {segment["file"] for segment in manifest["segments"]}
    for file in folder.frames.iterdir():
        if file.name not in needed:
            file.unlink()


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
    entries: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        owner, _, rest = key.partition(".")
        if owner == "optimiser":
            index, _, name = rest.partition(".")
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
