"""The one way in which files are opened and written.

Folders of runs and studies may come from somebody else, so what lies under a known name need not be
what belongs there: a link, a FIFO that nobody writes to, a device that never ends. A file is opened
only if it is a plain one and not larger than its kind can be; opening never blocks. Links are
followed only where the user has named the file.

A file is written as a draft beside its place and then renamed. A draft is new and its name cannot
be foreseen. A killed writer leaves its draft; the next writer of the same file removes it.
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
# The most bytes that a file of each kind can have, generously.
SETTINGS = MIB  # a config, preset, launcher file
TABLE = 64 * MIB  # JSON: run.json, study.json, a manifest, a state
LINES = 2 * GIB  # JSON lines
TENSORS = 256 * GIB  # safetensors and frames, which are not read whole before they are checked

# What reading a damaged file may say. Other errors, such as no permission, say nothing of the file.
DAMAGED = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.EIO,
    errno.EINVAL,
    errno.EFBIG,
}
ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}  # what a path that leads nowhere says
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
    """There is something in a file's place that is not a plain file, or is too large for one.

    `errno` is in `DAMAGED`; `strerror` says what it is.
    """


def not_plain(path: Path, mode: int) -> NotPlain | None:
    """The error about a file of this mode; None if it is a plain one."""
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
      follow: whether it may be a link to a plain file.

    Raises:
      FileNotFoundError: there is nothing.
      NotPlain: there is something else.
    """
    wrong = not_plain(path, (path.stat() if follow else path.lstat()).st_mode)
    if wrong:
        raise wrong


def open_plain(path: Path, flags: int, follow: bool = False) -> int:
    """A descriptor of a plain file; flags are those of `os.open`.

    Raises:
      FileNotFoundError: there is nothing, and the flags do not say to make it.
      NotPlain: there is something else.
    """
    flags |= SAFE | (0 if follow else os.O_NOFOLLOW)
    with suppress(FileNotFoundError):  # opening a device may already do something
        require_plain(path, follow)
    descriptor = os.open(path, flags, 0o666)
    wrong = not_plain(path, os.fstat(descriptor).st_mode)
    if wrong:
        os.close(descriptor)
        raise wrong
    return descriptor


def opened(path: Path, most: int, follow: bool = False) -> BufferedReader:
    """A plain file, open for reading.

    Args:
      path: of the file.
      most: bytes that it may have.
      follow: whether it may be a link to a plain file.

    Raises:
      OSError: it cannot be opened; `NotPlain` if it is something else, or too large.
    """
    handle = open(path, "rb", opener=lambda _, flags: open_plain(path, flags, follow))  # noqa: SIM115
    size = os.fstat(handle.fileno()).st_size
    if size > most:
        handle.close()
        raise too_large(path, most)
    return handle


def too_large(path: Path, most: int) -> NotPlain:
    """The error about a file of more bytes than its kind can have."""
    unit, name = next((u, n) for u, n in ((GIB, "GiB"), (MIB, "MiB"), (1, "bytes")) if most >= u)
    return NotPlain(errno.EFBIG, f"it is larger than {most // unit} {name}", str(path))


def read(path: Path, most: int, follow: bool = False) -> bytes:
    """The content of a plain file; arguments and errors as of `opened`."""
    with opened(path, most, follow) as handle:
        content = handle.read(most + 1)  # it may grow meanwhile
    if len(content) > most:
        raise too_large(path, most)
    return content


def appending(path: Path) -> BufferedRandom:
    """A plain file, open for reading and for adding to its end; made if it is not there.

    Raises:
      OSError: it cannot be opened; `NotPlain` if it is something else.
    """
    return open(path, "ab+", opener=lambda _, flags: open_plain(path, flags))


def created(path: Path) -> BufferedWriter:
    """A new file, open for writing; what is there already is an error, also a link to nowhere.

    Raises:
      OSError: it cannot be made.
    """
    return open(path, "xb")  # O_EXCL, so it follows no link


def create(path: Path, content: bytes) -> None:
    """Writes a new file and makes it last through a power cut; errors as of `created`."""
    with created(path) as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())


@contextmanager
def draft_of(path: Path) -> Iterator[tuple[Path, BufferedWriter]]:
    """For writing a file so that a crash leaves the old one or the new one, never half of either.

    Yields the path of the draft and the draft, open for writing. It takes its place at the end, and
    is removed if anything is raised.

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
    """A draft of a file, locked as long as it is open."""
    while True:
        draft = draft_name(path)
        handle = created(draft)
        with suppress(OSError):  # this filesystem knows no locks, so nobody takes it for stale
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.lexists(draft):  # else another writer took it for stale before it was locked
            return draft, handle
        handle.close()


def draft_name(path: Path) -> Path:
    """A name for a draft of a file or folder that nobody can foresee."""
    return path.with_name(f".tmp-{path.name}-{secrets.token_hex(8)}")


def is_draft(name: str, of: str = "") -> bool:
    """Whether a name is one of a draft: of the file `of`, or of any."""
    if not of:
        return name.startswith(".tmp-")
    return bool(re.fullmatch(rf"\.tmp-{re.escape(of)}(-[0-9a-f]{{16}})?", name))


def remove_stale(path: Path) -> None:
    """Removes drafts of a file that no process is writing."""
    for draft in path.parent.iterdir():
        if not is_draft(draft.name, path.name):
            continue
        with suppress(OSError):  # not ours, at work, or gone; a draft more does no harm
            if draft.is_symlink():
                draft.unlink()
                continue
            with opened(draft, TENSORS) as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                draft.unlink()


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that a crash leaves the old one or the new one, never half of either.

    Raises:
      OSError: it cannot be written.
    """
    with draft_of(path) as (_, handle):
        handle.write(content)


@contextmanager
def draft_folder_of(path: Path) -> Iterator[Path]:
    """Like `draft_of`, for a folder; the caller holds the lock of the run that it belongs to.

    Yields a new, empty folder. What was in its place before is removed.
    """
    for left in path.parent.iterdir():
        if is_draft(left.name, path.name):
            remove(left)
    draft = draft_name(path)
    draft.mkdir()  # without its parents: a run that somebody removed must not come back in part
    try:
        yield draft
        sync_folder(draft)
        remove(path)
        os.replace(draft, path)
    finally:
        with suppress(OSError):  # the first error says more
            remove(draft)
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Deletes whatever is at `path`, if anything is; of a link, the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def folders_with(path: Path, file: str) -> list[Path]:
    """The folders in `path` that have something called `file`, by name; no drafts."""
    inside = sorted(path.iterdir()) if path.is_dir() else []
    return [
        folder for folder in inside if not is_draft(folder.name) and os.path.lexists(folder / file)
    ]


def sync_folder(path: Path) -> None:
    """Makes renames within a folder last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
