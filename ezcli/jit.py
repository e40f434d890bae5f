"""Numba's compiler, and where it keeps what it compiled.

Numba's cache numbers its files by counting and writes the index before the code. Of two processes
that compile at once, one may later load what the other wrote: for other types, from older source,
or for another model of CPU, whose instructions this one need not have. So each model of CPU has a
folder of its own, and `one_at_a_time` lets one process compile while the others wait for its work.
"""

import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from llvmlite import binding
from numba import config, njit

PATIENCE = 120.0  # seconds for another process to compile in, which takes it some five


def kernel(function: Any, **options: Any) -> Any:
    """Compiled, and kept on disk; anew at every start where Numba finds no folder to write to."""
    before = config.CACHE_DIR
    config.CACHE_DIR = str(cache_folder() or "")
    try:
        return njit(cache=True, nogil=True, **options)(function)
    except RuntimeError as error:
        if "no locator" in str(error):
            return njit(nogil=True, **options)(function)
        raise
    finally:
        config.CACHE_DIR = before


def cache_folder() -> Path | None:
    """For this model of CPU: in `NUMBA_CACHE_DIR`, or else in the user's folder for caches."""
    base = config.CACHE_DIR or user_cache()
    if not base:
        return None
    features = hashlib.sha256(binding.get_host_cpu_features().flatten().encode()).hexdigest()
    return Path(base) / f"{binding.get_host_cpu_name()}-{features[:8]}"


def user_cache() -> Path | None:
    """Where programs keep what they can make again; None for a user without a home.

    Source: XDG Base Directory Specification 0.8.
    """
    home = os.path.expanduser("~")
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):
        return Path(given) / "ezcli"
    if not os.path.isabs(home):
        return None
    return Path(home) / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "ezcli"


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Waits while another process of this machine compiles, for PATIENCE seconds at most.

    Where the folder cannot be written or its filesystem knows no locks, nobody waits.
    """
    with ExitStack() as stack:
        folder = cache_folder()
        if folder is not None:
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                wait_for(stack.enter_context((folder / ".lock").open("ab")))
        yield


def wait_for(handle: IO[bytes]) -> None:
    """Takes the lock of a file, or gives up.

    Raises:
      OSError: the filesystem knows no locks.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return
