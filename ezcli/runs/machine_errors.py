"""Turns errors of disk and memory into sentences."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from zstandard import ZstdError

from ezcli.errors import RunError
from ezcli.runs.folder import RunFolder

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
CANNOT_WRITE = FULL | {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
GONE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE}


@contextmanager
def disk_errors(folder: RunFolder, go_on: str) -> Iterator[None]:
    """Turns errors of a run's disk into sentences.

    Args:
      folder: of the run.
      go_on: how to continue once it is repaired, as the end of a sentence.

    Raises:
      RunError: the folder cannot be written, or something in it is gone.
    """
    try:
        yield
    except OSError as error:
        if error.errno in CANNOT_WRITE:
            way_out = "Make room" if error.errno in FULL else "Make it writable"
            raise RunError(
                "EZ-RUN-NOT-WRITABLE",
                f"{str(folder.path)!r} cannot be written: {error.strerror}.",
                f"{way_out}, then {go_on}",
            ) from error
        if error.errno in GONE and Path(error.filename or "").is_relative_to(folder.path):
            what = Path(error.filename) if folder.exists else folder.path
            raise RunError(
                "EZ-RUN-GONE",
                f"{str(what)!r} is missing: it was removed or renamed while the run needed it.",
                f"Restore it, then {go_on}",
            ) from error
        raise


# Messages of PyTorch, C++, oneDNN, Python and Zstandard in errors without a separate class.
OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "std::bad_alloc",
    "could not create a primitive",
    "could not create a memory",
    "can't start new thread",
    "Allocation error : not enough memory",
    "error return without exception set",  # raised by Python when it cannot even report the error
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


@contextmanager
def memory_errors(go_on: str) -> Iterator[None]:
    """Turns exhausted memory into a sentence, in whatever library it occurs.

    Args:
      go_on: how to continue once there is memory, as the end of a sentence.

    Raises:
      RunError: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError, SystemError, OSError, ZstdError) as error:
        if not is_out_of_memory(error):
            raise
        which = "GPU memory" if isinstance(error, torch.OutOfMemoryError) else "Memory"
        raise RunError(
            "EZ-RUN-MEMORY",
            f"{which} ran out.",
            "Free some memory, or train under another --name with a lower replay.capacity, "
            f"loss.batch_size or acting.num_envs. After freeing memory, {go_on}",
        ) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error) for words in OUT_OF_MEMORY
    )
