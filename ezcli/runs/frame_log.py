"""Frames on disk: compressed without loss, each written once.

A segment holds the frames of all streams that came since the segment before it, so a checkpoint
late in a run does not rewrite the past. Zstandard finds what neighbouring frames share: about a
hundred to five hundred bytes are left of each of Atari's 27,648.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import zstandard

from ezcli.efficientzero.frames import FrameStore
from ezcli.efficientzero.replay import Replay
from ezcli.errors import CheckpointError
from ezcli.files import TENSORS, draft_of, opened
from ezcli.runs.machine_errors import is_out_of_memory
from ezcli.runs.seals import sha256

BLOCK = 256  # frames moved at once


class Segment(NamedTuple):
    """A file of frames, and which they are."""

    file: str
    sha256: str
    pieces: list[tuple[int, int, int]]  # (stream, its first state, number of states), in order


def write_segment(
    folder: Path, before: list[Segment], replay: Replay, frames: FrameStore
) -> Segment | None:
    """Writes the frames that `before` does not hold; None if there are none."""
    done = np.zeros_like(replay.length)
    for segment in before:
        for env, start, count in segment.pieces:
            done[env] = max(done[env], start + count)
    first = np.maximum(done, replay.length - replay.stream_rows)
    pieces = [
        (env, int(first[env]), int(replay.length[env] - first[env]))
        for env in range(len(first))
        if replay.length[env] > first[env]
    ]
    if not pieces:
        return None
    path = folder / f"{int(done.sum()):010d}-{int(replay.length.sum()):010d}.zst"
    with (
        draft_of(path) as (_, handle),
        zstandard.ZstdCompressor(level=1).stream_writer(handle, closefd=False) as writer,
    ):
        for rows in blocks(pieces, replay.stream_rows):
            block = frames.frames[torch.from_numpy(rows)]
            writer.write(block.cpu().numpy().tobytes())
    return Segment(path.name, sha256(path), pieces)


def read_segments(
    folder: Path, segments: list[Segment], replay: Replay, frames: FrameStore
) -> None:
    """Fills `frames` with what the segments hold, later ones over earlier ones.

    Raises:
      CheckpointError: a segment holds too little or is not Zstandard.
    """
    shape = frames.frames.shape[1:]
    size = shape.numel()
    for segment in segments:
        try:
            with (
                opened(folder / segment.file, TENSORS) as handle,
                zstandard.ZstdDecompressor().stream_reader(handle) as reader,
            ):
                for rows in blocks(segment.pieces, replay.stream_rows):
                    raw = reader.read(len(rows) * size)
                    block = np.frombuffer(raw, np.uint8).reshape(len(rows), *shape)
                    frames.frames[torch.from_numpy(rows)] = torch.tensor(
                        block, device=frames.frames.device
                    )
        except (zstandard.ZstdError, ValueError) as error:
            if is_out_of_memory(error):
                raise
            raise CheckpointError(
                "EZ-CHECKPOINT-DAMAGED", f"{segment.file!r} is damaged: {error}."
            ) from error


def blocks(pieces: list[tuple[int, int, int]], stream_rows: int) -> Iterator[np.ndarray]:
    """Rows of the pieces' states, a block at a time."""
    for env, start, count in pieces:
        for low in range(start, start + count, BLOCK):
            states = np.arange(low, min(low + BLOCK, start + count))
            yield env * stream_rows + states % stream_rows
