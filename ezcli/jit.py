"""Numba's compiler and its cache.

Numba numbers its cache files and writes the index before the code. If two processes compile at the
same time, one may later load the other's code: for other types, from older source, or for a CPU
model with other instructions. So each CPU model has its own folder, and `one_at_a_time` lets one
process compile while the others wait for its result.

Numba caches pickles, and unpickling executes code. So the folder must belong to the user and be
closed to others, and every file begins with two SHA-256 sums: one of the sources and versions that
it was compiled from, one of its content. Both are checked before unpickling. A file that fails is
rebuilt. The sources include every kernel that a kernel calls, its constants, and the named tuples
that it takes. Numba's own cache checks only one file.
"""

import fcntl
import hashlib
import os
import pickle
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numba
from llvmlite import binding
from numba import config, njit
from numba.core.caching import IndexDataCacheFile

SUM = hashlib.sha256().digest_size  # bytes
_remarks: list[str] = []
COMPILING_SECONDS = 120.0  # wait for another process that compiles, which takes about five seconds


def kernel(function: Any, **options: Any) -> Any:
    """Compiles a function and caches it on disk.

    Without a usable folder, every start compiles again.
    """
    before, folder = config.CACHE_DIR, cache_folder()
    if folder is not None and not is_made_private(folder):
        remark(
            f"Other users can write to the cache folder {str(folder)!r}, so kernels compile at "
            "every start. Set NUMBA_CACHE_DIR to a folder of your own."
        )
        return njit(nogil=True, **options)(function)
    config.CACHE_DIR = str(folder or "")
    try:
        compiled = njit(cache=True, nogil=True, **options)(function)
    except RuntimeError as error:
        if "no locator" in str(error):
            return njit(nogil=True, **options)(function)
        raise
    finally:
        config.CACHE_DIR = before
    cache: Any = getattr(compiled, "_cache", None)  # missing if the compiler is off
    if hasattr(cache, "_cache_file"):
        cache._cache_file = SealedCacheFile(cache._cache_file, function)
    return compiled


class SealedCacheFile(IndexDataCacheFile):  # type: ignore[misc]
    """Numba's cache files of one function, index and code, each after its two checksums.

    Args:
      plain: Numba's cache files of the function.
      function: the function before compilation.
    """

    def __init__(self, plain: IndexDataCacheFile, function: Any) -> None:
        self.__dict__.update(vars(plain))
        self.function = function
        self.source = Path(function.__code__.co_filename).read_bytes()

    @cached_property
    def made_from(self) -> bytes:
        """The first checksum, computed late because a kernel may call one defined after it."""
        digest = hashlib.sha256(f"{numba.__version__} {sys.version}".encode())
        for source in self.sources({}).values():
            digest.update(source)
        return digest.digest()

    def sources(self, found: dict[Any, bytes]) -> dict[Any, bytes]:
        """Adds to `found` the kernels, constants and named tuples compiled into the function.

        Named tuples come from annotations, because Numba compiles their fields by position.
        """
        found[self.function] = self.source
        for hint in self.function.__annotations__.values():
            for kind in getattr(hint, "__args__", (hint,)):  # members of a union
                if hasattr(kind, "_fields"):
                    found[kind] = repr((kind, kind._fields)).encode()
        for name in self.function.__code__.co_names:
            used = self.function.__globals__.get(name)
            sealed = getattr(getattr(used, "_cache", None), "_cache_file", None)
            if isinstance(sealed, SealedCacheFile) and sealed.function not in found:
                sealed.sources(found)
            elif isinstance(used, int | float):
                found[self.function, name] = repr(used).encode()
        return found

    def save(self, key: Any, data: Any) -> None:
        """Saves the code for a signature, if the folder is writable."""
        try:
            super().save(key, data)
        except OSError as error:
            remark(f"{str(error.filename)!r} cannot be written: {error.strerror}. Delete it.")

    def _load_index(self) -> Any:
        content = self._content(self._index_path)
        return {} if content is None else pickle.loads(content)

    def _load_data(self, name: str) -> Any:
        content = self._content(self._data_path(name))
        if content is None:
            raise FileNotFoundError(name)  # Numba then compiles again
        return pickle.loads(content)

    def _save_index(self, overloads: Any) -> None:
        self._write(self._index_path, self._dump(overloads))

    def _save_data(self, name: str, data: Any) -> None:
        self._write(self._data_path(name), self._dump(data))

    def _content(self, path: str) -> bytes | None:
        """The content of a file after its checksums; None if it is missing or not usable."""
        try:
            found = Path(path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            remark(f"{path!r} cannot be read: {error.strerror}. Kernels compile again.")
            return None
        if not is_whole(found):
            where = str(Path(path).parent)
            remark(f"The cache of compiled kernels in {where!r} is damaged, so they compile again.")
        elif found[:SUM] == self.made_from:
            return found[2 * SUM :]
        return None

    def _write(self, path: str, content: bytes) -> None:
        with self._open_for_write(path) as handle:
            handle.write(self.made_from + hashlib.sha256(content).digest() + content)


def is_made_private(folder: Path) -> bool:
    """Makes the folder private to this user, and empties it if others could write to it.

    Returns False if it belongs to another user, or to root and others may write to it. A folder
    that cannot be created is left to Numba.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (0, os.geteuid()):
            return False
        if found.st_uid != os.geteuid():
            return not found.st_mode & 0o022  # owned by root, writable by root alone
        if found.st_mode & 0o077:
            folder.chmod(0o700)
            if found.st_mode & 0o022:
                for inside in folder.iterdir():
                    is_folder = inside.is_dir() and not inside.is_symlink()
                    shutil.rmtree(inside) if is_folder else inside.unlink()
    except FileExistsError:
        return False
    except OSError:  # a read-only home
        return True
    return True


def damaged_files() -> list[Path]:
    """Cache files whose content was changed after writing."""
    folder = cache_folder()
    found = [] if folder is None else [*folder.rglob("*.nbi"), *folder.rglob("*.nbc")]
    return [path for path in found if not path.is_file() or not is_whole(path.read_bytes())]


def is_whole(content: bytes) -> bool:
    """Whether `SealedCacheFile` wrote a file's content, from any source."""
    return content[SUM : 2 * SUM] == hashlib.sha256(content[2 * SUM :]).digest()


def remark(text: str) -> None:
    """Records a sentence for `remarks`, once."""
    if text not in _remarks:
        _remarks.append(text)


def remarks() -> list[str]:
    """Remarks about the cache so far. Each sentence is returned once."""
    found = _remarks.copy()
    _remarks.clear()
    return found


def cache_folder() -> Path | None:
    """The cache folder of this CPU model, in `NUMBA_CACHE_DIR` or the user's cache folder."""
    base = config.CACHE_DIR or user_cache()
    if not base:
        return None
    features = hashlib.sha256(binding.get_host_cpu_features().flatten().encode()).hexdigest()
    return Path(base) / f"{binding.get_host_cpu_name()}-{features[:8]}-sealed"


def user_cache() -> Path | None:
    """The user's cache folder; None for a user without a home.

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
    """Waits at most COMPILING_SECONDS while another process on this machine compiles.

    Does not wait if the folder is not writable or its filesystem has no locks.
    """
    with ExitStack() as stack:
        folder = cache_folder()
        if folder is not None:
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                wait_for(stack.enter_context((folder / ".lock").open("ab")))
        yield


def wait_for(handle: IO[bytes]) -> None:
    """Waits for the lock of a file until the time limit.

    Raises:
      OSError: the filesystem has no locks.
    """
    deadline = time.monotonic() + COMPILING_SECONDS
    while time.monotonic() < deadline:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return
