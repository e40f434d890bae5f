"""The frames of a replay as the state of a part: compressed without loss, each stored once.

A segment contains the frames of all streams since the previous segment, so that a late checkpoint
does not rewrite earlier frames. Zstandard exploits the similarity of neighbouring frames: 100 to
500 bytes remain of each Atari frame of 27,648 bytes.
"""

from collections.abc import Iterator
from typing import Annotated, NamedTuple

import numpy as np
import torch
from pydantic import Field

from ezcli.efficientzero.frames import FrameStore
from ezcli.efficientzero.replay import Replay
from ezcli.state import Blob, Count, State, Table, misfit, read_table, require

BLOCK = 256  # frames moved at once

Piece = Annotated[list[Count], Field(min_length=3, max_length=3)]


class Segment(NamedTuple):
    """Frames in a blob, and their states."""

    pieces: list[list[int]]  # [stream, its first state, number of states], in the blob's order
    blob: Blob


class Pieces(Table):
    """The state of a `FrameLog` without its blobs: the pieces of each segment."""

    pieces: dict[str, Annotated[list[Piece], Field(min_length=1)]]


class FrameLog:
    """Records which frames of a run are in which segment.

    Args:
      replay: the states of the rows; it is restored before this part.
      frames: frames of the same rows.
    """

    def __init__(self, replay: Replay, frames: FrameStore) -> None:
        self.replay, self.frames = replay, frames
        self.segments: dict[str, Segment] = {}  # by name, oldest first

    def state(self) -> State:
        """The segments with frames of the replay. The last one has all new frames."""
        self._cut()
        oldest = self.replay.length - self.replay.stream_rows
        self.segments = {
            name: segment
            for name, segment in self.segments.items()
            if any(start + count > oldest[env] for env, start, count in segment.pieces)
        }
        pieces = {name: segment.pieces for name, segment in self.segments.items()}
        return {"pieces": pieces, **{name: s.blob for name, s in self.segments.items()}}

    def restore(self, state: State) -> None:
        """Fills the frame store, later segments over earlier ones.

        Raises:
          CheckpointError: the segments do not contain each frame of the replay exactly once.
        """
        blobs = {name: blob for name, blob in state.items() if isinstance(blob, Blob)}
        rest = {name: value for name, value in state.items() if name not in blobs}
        pieces = read_table(Pieces, rest).pieces
        for name in sorted(pieces.keys() ^ blobs.keys()):
            raise misfit(f"segment {name!r} has no " + ("blob" if name in pieces else "pieces"))
        self._require_complete(pieces)
        self.segments = {name: Segment(pieces[name], blobs[name]) for name in pieces}
        for name, segment in self.segments.items():
            self._read(name, segment)

    def _cut(self) -> None:
        """Makes a segment of the frames that are in no segment yet."""
        done = np.zeros_like(self.replay.length)
        for segment in self.segments.values():
            for env, start, count in segment.pieces:
                done[env] = max(done[env], start + count)
        length = self.replay.length
        first = np.maximum(done, length - self.replay.stream_rows)
        pieces = [
            [env, int(first[env]), int(length[env] - first[env])]
            for env in range(len(first))
            if length[env] > first[env]
        ]
        if pieces:
            name = f"{int(done.sum()):010d}-{int(length.sum()):010d}"
            self.segments[name] = Segment(pieces, Blob(lambda: self._chunks(pieces)))

    def _chunks(self, pieces: list[list[int]]) -> Iterator[bytes]:
        """The frames of the pieces, a block at a time."""
        for rows in self._blocks(pieces):
            yield self.frames.frames[torch.from_numpy(rows)].cpu().numpy().tobytes()

    def _read(self, name: str, segment: Segment) -> None:
        """Fills the rows of a segment."""
        stored, shape = self.frames.frames, self.frames.frames.shape[1:]
        dtype = np.dtype(str(stored.dtype).removeprefix("torch."))
        chunks, buffer = segment.blob.chunks(), bytearray()
        for rows in self._blocks(segment.pieces):
            size = len(rows) * shape.numel() * dtype.itemsize
            while len(buffer) < size:
                chunk = next(chunks, b"")
                require(chunk, f"segment {name!r} has too few frames")
                buffer += chunk
            block = np.frombuffer(bytes(buffer[:size]), dtype).reshape(len(rows), *shape)
            del buffer[:size]
            stored[torch.from_numpy(rows)] = torch.tensor(block, device=stored.device)

    def _blocks(self, pieces: list[list[int]]) -> Iterator[np.ndarray]:
        """Rows of the pieces' states, a block at a time."""
        for env, start, count in pieces:
            for low in range(start, start + count, BLOCK):
                states = np.arange(low, min(low + BLOCK, start + count))
                yield env * self.replay.stream_rows + states % self.replay.stream_rows

    def _require_complete(self, pieces: dict[str, list[list[int]]]) -> None:
        """Refuses segments that do not contain each frame of the replay exactly once.

        Raises:
          CheckpointError: names the first segment that does not fit.
        """
        stream_rows = self.replay.stream_rows
        oldest = np.maximum(self.replay.length - stream_rows, 0).tolist()
        length, done = self.replay.length.tolist(), [0] * len(oldest)
        for name, of_segment in pieces.items():
            for env, start, count in of_segment:
                fits = (
                    env < len(length)
                    and 1 <= count <= stream_rows
                    and done[env] <= start <= max(done[env], oldest[env])
                    and start + count <= length[env]
                )
                require(fits, f"the pieces of segment {name!r} do not fit the replay")
                done[env] = start + count
        require(done == length, "the newest frames are in no segment")
