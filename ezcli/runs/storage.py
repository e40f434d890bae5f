"""Storage of states: arrays as safetensors, blobs as Zstandard, other values as JSON.

In a checkpoint's folder, `<part>.safetensors` has the arrays of a part and `state.json` the other
values of all parts. A blob is in the run's folder, in `<part>/<name>.zst`. Nothing here depends on
the content of a part (`ezcli.state`).
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as arrays_to_bytes

from ezcli import schema
from ezcli.errors import CheckpointError
from ezcli.files import DAMAGED, MIB, TABLE, TENSORS, create, draft_of, opened, read
from ezcli.runs.machine_errors import is_out_of_memory
from ezcli.runs.seals import sha256
from ezcli.state import LONGEST_NAME, Blob, State, misfit, split

MANIFEST, STATE, ARRAYS, BLOB = "manifest.json", "state.json", ".safetensors", ".zst"
DTYPES = {  # NumPy types by their names in safetensors
    "BOOL": np.dtype(np.bool_),
    "I64": np.dtype(np.int64),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
}


class StoredArray:
    """An array in a safetensors file, read when NumPy needs it."""

    def __init__(self, file: Any, name: str) -> None:
        header = file.get_slice(name)
        self.file, self.name = file, name
        self.dtype = DTYPES.get(header.get_dtype(), np.dtype(np.void))
        self.shape = tuple(header.get_shape())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Reads the array."""
        found: np.ndarray = self.file.get_tensor(self.name)
        return found


def write_states(states: Mapping[str, State], folder: Path) -> None:
    """Writes the arrays and values of all parts, but not blobs, to files in a folder."""
    table = {}
    for part, state in states.items():
        values, arrays = split(state)
        table[part] = {name: x for name, x in values.items() if not isinstance(x, Blob)}
        if arrays:
            create(folder / f"{part}{ARRAYS}", arrays_to_bytes(arrays))
    create(folder / STATE, json.dumps(table).encode())


def write_blobs(states: Mapping[str, State], run: Path) -> dict[str, str]:
    """Writes the blobs that are not stored yet; returns the checksums of all, by file."""
    sums = {}
    for part, state in states.items():
        for name, blob in state.items():
            if not isinstance(blob, Blob):
                continue
            file = f"{part}/{name}{BLOB}"
            path = run / file
            if not (blob.sha256 and path.is_file()):  # it may belong to the extended run
                path.parent.mkdir(exist_ok=True)
                with (
                    draft_of(path) as (_, handle),
                    zstandard.ZstdCompressor(level=1).stream_writer(handle, closefd=False) as out,
                ):
                    for chunk in blob.chunks():
                        out.write(chunk)
                blob.sha256 = sha256(path)
            sums[file] = blob.sha256
    return sums


def read_states(path: Path, manifest: Mapping[str, Any], run: Path) -> dict[str, State]:
    """The state of each part by name. Arrays and blobs are read later.

    Args:
      path: folder of the checkpoint.
      manifest: its manifest, in the newest schema.
      run: folder of the run.

    Raises:
      CheckpointError: a file is damaged.
    """
    written = read_json(path / MANIFEST)
    table = {
        "schema": written.get("schema", 0),
        "manifest": written,
        "state": read_json(path / STATE),
        "arrays": {
            file.removesuffix(ARRAYS): stored_arrays(path / file)
            for file in manifest["files"]
            if file.endswith(ARRAYS)
        },
    }
    table = current("checkpoint", table, path / STATE)
    states: dict[str, State] = table["state"]
    others: dict[str, State] = table["arrays"]
    for file, digest in manifest["blobs"].items():
        part, _, name = file.removesuffix(BLOB).partition("/")
        others.setdefault(part, {})[name] = stored_blob(run / file, digest)
    for part in [*states, *others]:
        if not isinstance(states.get(part), dict):
            raise damaged_checkpoint(path / STATE, f"it contains no table {part[:LONGEST_NAME]!r}")
    return {part: state | others.get(part, {}) for part, state in states.items()}


def stored_arrays(file: Path) -> dict[str, StoredArray]:
    """The arrays in a safetensors file, of which only the header is read.

    Raises:
      CheckpointError: it is in another format.
    """
    try:
        header: Any = safe_open(file, "np")
        return {name: StoredArray(header, name) for name in header.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise damaged_checkpoint(file, f"it is not a valid safetensors file ({error})") from error


def stored_blob(path: Path, digest: str) -> Blob:
    """A blob that is read in chunks when it is needed."""

    def chunks() -> Iterator[bytes]:
        try:
            with (
                opened(path, TENSORS) as handle,
                zstandard.ZstdDecompressor().stream_reader(handle) as reader,
            ):
                while chunk := reader.read(MIB):
                    yield chunk
        except zstandard.ZstdError as error:
            if is_out_of_memory(error):
                raise
            raise misfit(f"{path.name} is damaged ({error})") from error

    return Blob(chunks, digest)


def current(kind: schema.Kind, table: dict[str, Any], file: Path) -> dict[str, Any]:
    """The table in the newest schema.

    Raises:
      CheckpointError: it does not follow the schema that it names.
      ConfigError: a later version of ezcli wrote it.
    """
    try:
        return schema.current(kind, table, repr(str(file)))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged_checkpoint(
            file, f"it does not follow the schema of a {kind} that it names"
        ) from error


def read_json(file: Path) -> dict[str, Any]:
    """Reads the table in a JSON file.

    Raises:
      CheckpointError: it cannot be read, or contains something else.
    """
    try:
        table: dict[str, Any] = json.loads(read(file, TABLE).decode())
    except (OSError, ValueError, RecursionError) as error:  # not JSON, or beyond Python's limits
        if isinstance(error, OSError) and error.errno not in DAMAGED:
            raise
        raise damaged_checkpoint(file, str(error)) from error
    if not isinstance(table, dict):
        raise damaged_checkpoint(file, "it contains no table")
    return table


def damaged_checkpoint(file: Path, why: str) -> CheckpointError:
    """The error about a damaged file of a checkpoint."""
    return CheckpointError("EZ-CHECKPOINT-DAMAGED", f"{str(file)!r} is damaged: {why}.")
