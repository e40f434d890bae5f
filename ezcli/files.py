"""Opening and writing files safely. All modules use these functions.

Folders of runs and studies may come from somebody else. A known name may therefore be a link, a
FIFO without a writer, or an endless device. A file is opened only if it is a plain file within the
size limit of its kind. Opening never blocks. Links are followed only for files that the user named.

A file is written as a draft in the same folder and then renamed. A draft is new and its name cannot
be predicted. A killed writer leaves its draft, and the next writer of the same file removes it.
"""

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedRandom, BufferedReader, BufferedWriter
from pathlib import Path

KIB, MIB, GIB = 2**10, 2**20, 2**30
# Size limit of each kind of file in bytes, generously.
SETTINGS = MIB  # a config, preset, launcher file
TABLE = 64 * MIB  # JSON: run.json, study.json, a manifest, a state
LINES = 2 * GIB  # JSON lines
TENSORS = 256 * GIB  # safetensors and frames, which are checked before they are read whole

# Errors of reading a damaged file. Others, such as missing permission, do not mean damage.
DAMAGED = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.EIO,
    errno.EINVAL,
    errno.EFBIG,
}
ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}  # errors of a path that does not exist
SAFE = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
KINDS = (
    (stat.S_ISLNK, "a link", errno.ELOOP),
    (stat.S_ISDIR, "a folder", errno.EISDIR),
    (stat.S_ISFIFO, "a FIFO", errno.EINVAL),
    (stat.S_ISSOCK, "a socket", errno.EINVAL),
    (stat.S_ISCHR, "a device", errno.EINVAL),
    (stat.S_ISBLK, "a device", errno.EINVAL),
)


class NotPlain(OSError):
    """A path that is not a plain file, or whose file is too large.

    `errno` is in `DAMAGED`; `strerror` describes what is there.
    """


def not_plain(path: Path, mode: int) -> NotPlain | None:
    """The error about a file of this mode; None for a plain file."""
    if stat.S_ISREG(mode):
        return None
    for is_one, name, number in KINDS:
        if is_one(mode):
            return NotPlain(number, f"it is {name}, not a plain file", str(path))
    return NotPlain(errno.EINVAL, "it is not a plain file", str(path))


def require_plain(path: Path, follow: bool = False) -> None:
    """Refuses anything but a plain file, without opening it.

    Args:
      path: of the file.
      follow: whether to follow a link to a plain file.

    Raises:
      FileNotFoundError: it does not exist.
      NotPlain: it is something else.
    """
    wrong = not_plain(path, (path.stat() if follow else path.lstat()).st_mode)
    if wrong:
        raise wrong


def open_plain(path: Path, flags: int, follow: bool = False) -> int:
    """Opens a plain file and returns its descriptor; flags are those of `os.open`.

    Raises:
      FileNotFoundError: it does not exist, and the flags do not create it.
      NotPlain: it is something else.
    """
    flags |= SAFE | (0 if follow else os.O_NOFOLLOW)
    with suppress(FileNotFoundError):  # opening a device can have side effects
        require_plain(path, follow)
    descriptor = os.open(path, flags, 0o666)
    wrong = not_plain(path, os.fstat(descriptor).st_mode)
    if wrong:
        os.close(descriptor)
        raise wrong
    return descriptor


def opened(path: Path, most: int, follow: bool = False) -> BufferedReader:
    """Opens a plain file for reading.

    Args:
      path: of the file.
      most: size limit in bytes.
      follow: whether to follow a link to a plain file.

    Raises:
      OSError: it cannot be opened; `NotPlain` if it is not a plain file or too large.
    """
    handle = open(path, "rb", opener=lambda _, flags: open_plain(path, flags, follow))  # noqa: SIM115
    size = os.fstat(handle.fileno()).st_size
    if size > most:
        handle.close()
        raise too_large(path, most)
    return handle


def too_large(path: Path, most: int) -> NotPlain:
    """The error about a file above the size limit of its kind."""
    unit, name = next((u, n) for u, n in ((GIB, "GiB"), (MIB, "MiB"), (1, "bytes")) if most >= u)
    return NotPlain(errno.EFBIG, f"it is larger than {most // unit} {name}", str(path))


def read(path: Path, most: int, follow: bool = False) -> bytes:
    """Reads a plain file; arguments and errors as in `opened`."""
    with opened(path, most, follow) as handle:
        content = handle.read(most + 1)  # it may have grown
    if len(content) > most:
        raise too_large(path, most)
    return content


def appending(path: Path) -> BufferedRandom:
    """Opens a plain file for reading and appending, and creates it if needed.

    Raises:
      OSError: it cannot be opened; `NotPlain` if it is not a plain file.
    """
    return open(path, "ab+", opener=lambda _, flags: open_plain(path, flags))


def created(path: Path) -> BufferedWriter:
    """Creates a file and opens it for writing. An existing file or link is an error.

    Raises:
      OSError: it cannot be created.
    """
    return open(path, "xb")  # O_EXCL, so it follows no link


def create(path: Path, content: bytes) -> None:
    """Writes a new file durably, so that it survives a power cut; errors as in `created`."""
    with created(path) as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())


@contextmanager
def draft_of(path: Path) -> Iterator[tuple[Path, BufferedWriter]]:
    """Replaces a file atomically: after a crash it has either its old or its new content.

    Yields the path of the draft and the draft, open for writing. At the end the draft is renamed to
    `path`. After an exception it is removed.

    Raises:
      OSError: it cannot be written.
    """
    remove_stale(path)
    draft, handle = new_draft(path)
    try:
        with handle:
            yield draft, handle
            handle.flush()
            os.fsync(handle.fileno())
            os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def new_draft(path: Path) -> tuple[Path, BufferedWriter]:
    """Creates a draft of a file, locked while it is open."""
    while True:
        draft = draft_name(path)
        handle = created(draft)
        with suppress(OSError):  # without locks, no process considers a draft stale
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.lexists(
            draft
        ):  # otherwise another writer removed it as stale before it was locked
            return draft, handle
        handle.close()


def draft_name(path: Path) -> Path:
    """An unpredictable name for a draft of a file or folder."""
    return path.with_name(f".tmp-{path.name}-{secrets.token_hex(8)}")


def is_draft(name: str, of: str = "") -> bool:
    """Whether a name belongs to a draft of the file `of`, or of any file."""
    if not of:
        return name.startswith(".tmp-")
    return bool(re.fullmatch(rf"\.tmp-{re.escape(of)}(-[0-9a-f]{{16}})?", name))


def remove_stale(path: Path) -> None:
    """Removes drafts of a file that no process is writing."""
    for draft in path.parent.iterdir():
        if not is_draft(draft.name, path.name):
            continue
        with suppress(OSError):  # another user's, in use, or gone; a leftover draft is harmless
            if draft.is_symlink():
                draft.unlink()
                continue
            with opened(draft, TENSORS) as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                draft.unlink()


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file atomically: after a crash it has either its old or its new content.

    Raises:
      OSError: it cannot be written.
    """
    with draft_of(path) as (_, handle):
        handle.write(content)


@contextmanager
def draft_folder_of(path: Path) -> Iterator[Path]:
    """Like `draft_of`, for a folder; the caller holds the lock of the run that it belongs to.

    Yields a new, empty folder. An earlier folder at `path` is removed.
    """
    for left in path.parent.iterdir():
        if is_draft(left.name, path.name):
            remove(left)
    draft = draft_name(path)
    draft.mkdir()  # without its parents: a removed run must not reappear in part
    try:
        yield draft
        sync_folder(draft)
        remove(path)
        os.replace(draft, path)
    finally:
        with suppress(OSError):  # the first error is more informative
            remove(draft)
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Deletes a file or folder, if it exists. A link is deleted, not its target."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def folders_with(path: Path, file: str) -> list[Path]:
    """The folders in `path` that contain `file`, sorted by name, without drafts."""
    inside = sorted(path.iterdir()) if path.is_dir() else []
    return [
        folder for folder in inside if not is_draft(folder.name) and os.path.lexists(folder / file)
    ]


def sync_folder(path: Path) -> None:
    """Makes renames within a folder durable, so that they survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
