"""Locks of runs and studies, also if several machines share the folder.

The kernel excludes other processes on one machine (`flock` of `.lock`), and on other machines if
the filesystem supports it. NFS mounted with `nolock` does not; Lustre without `flock` has no locks
at all. So a second file, `.lock-holder`, exists while the lock is held. Only one process can create
it. It names that process, which updates its time every BEAT seconds.

A holder on another machine is considered dead if the time did not change while we watched for
GONE_AFTER seconds. Clocks are never compared. A holder on this machine is dead if flock succeeds.
Machines are distinguished by host name. A holder that was suspended for so long finds another name
in the file, or no file, and must not write any more (`Lock.is_lost`).
"""

import errno
import fcntl
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from ezcli.files import NotPlain, appending, created, opened, require_plain
from ezcli.files import read as read_plain

BEAT = 10.0
GONE_AFTER = 9 * BEAT  # seconds; attributes of files on NFS may be a minute old
SETTLING = 2.0  # seconds within which a new file receives its holder's name
INSTANT = 1.0  # upper bound of the time that `is_held` holds a lock
LONGEST = 1000  # bytes of the file that names the holder
OPEN: set[IO[bytes]] = set()  # lock files of this process
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def close_in_child() -> None:
    """Releases the locks in a forked process, which may outlive ours."""
    for handle in OPEN:
        handle.close()
    OPEN.clear()


os.register_at_fork(after_in_child=close_in_child)


class Holder(NamedTuple):
    """The process that holds a lock."""

    host: str
    pid: int
    token: str  # of this start time

    def __str__(self) -> str:
        return f" (process {self.pid} on {self.host})"


class Lock(NamedTuple):
    """A requested lock."""

    path: Path  # of the file that names the holder
    us: Holder | None  # None: another process has it
    other: str = ""  # its holder in words, ` (process 4711 on node3)`, if known

    @property
    def is_lost(self) -> bool:
        """Whether another process took over the lock, or this process is a fork of the holder."""
        return read(self.path) != self.us or (self.us is not None and self.us.pid != os.getpid())


@contextmanager
def holding(path: Path) -> Iterator[Lock]:
    """Holds a lock while the context is open, if no other process has it.

    Args:
      path: path of the lock file, in an existing folder.

    Raises:
      OSError: the folder cannot be written.
    """
    named = path.with_name(f"{path.name}-holder")
    with locked(path) as taken:
        us = Holder(socket.gethostname(), os.getpid(), uuid.uuid4().hex)
        if taken is False and is_foreign(read(named)) and not moves(named, GONE_AFTER):
            taken = None  # a server keeps the lock of a dead machine
        if taken is False or not claim(named, us, taken):
            yield Lock(named, None, str(read(named) or ""))
            return
        lock, done = Lock(named, us), threading.Event()
        beats = threading.Thread(target=beat, args=(lock, done), daemon=True, name="ez-lock")
        beats.start()
        try:
            yield lock
        finally:
            done.set()
            beats.join()
            with suppress(OSError):  # the disk is gone: others must wait for the beats to stop
                if not lock.is_lost:
                    named.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[bool | None]:
    """Requests the kernel's lock of a file, which is created if needed; yields the result."""
    while True:
        with appending(path) as handle:
            taken = try_lock(handle, fcntl.LOCK_EX, INSTANT)
            if is_at(path, handle):
                OPEN.add(handle)
                try:
                    yield taken
                finally:
                    OPEN.discard(handle)
                return


def is_at(path: Path, handle: IO[bytes]) -> bool:
    """Whether an open file is still the one at a path."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(handle.fileno()))
    return False


def claim(path: Path, us: Holder, taken: bool | None) -> bool:
    """Writes our name into the holder file; False if it names a live process.

    Args:
      path: path of the holder file.
      us: this process.
      taken: the result of `try_lock`.
    """
    while True:
        try:
            made = created(path)  # atomic on NFS too, since version 3
        except FileExistsError:
            with suppress(FileNotFoundError):  # it ended just now
                require_plain(path)  # otherwise ezcli did not create it
        else:
            write(made, us, path)
            return True
        before = read(path)
        may_live = beats_matter(before, taken)
        is_cut_short = taken is True and before is None  # created before a crash or a power cut
        if may_live and moves(path, SETTLING if is_cut_short else GONE_AFTER):
            return False
        if not path.is_file() or read(path) != before:  # it ended, or another process was faster
            continue
        draft = path.with_name(f"{path.name}-{us.token}")
        write(created(draft), us, draft)
        os.replace(draft, path)
        if may_live and not is_cut_short:
            time.sleep(BEAT / 2)  # if several processes detect its death, the last writer has it
        if read(path) == us:
            return True


def is_held(path: Path) -> bool:
    """Whether a process holds the lock. The check itself holds it for an instant.

    If only the holder file is available, its time is compared with this machine's clock.
    """
    named = path.with_name(f"{path.name}-holder")
    try:
        with opened(path, sys.maxsize) as handle:
            taken = try_lock(handle, fcntl.LOCK_SH)
            holder = read(named)
            if taken and holder is not None and not is_foreign(holder):
                with suppress(OSError):  # a folder that cannot be written
                    named.unlink()  # its process was killed; no one can claim it during the check
        if taken is False and not is_foreign(holder):
            return True
        moved = stamp(named) / 1e9
    except (FileNotFoundError, NotADirectoryError, NotPlain):  # not created by ezcli
        return False
    patience = SETTLING if taken and holder is None else GONE_AFTER
    return beats_matter(holder, taken) and abs(time.time() - moved) < patience


def try_lock(handle: IO[bytes], how: int, patience: float = 0.0) -> bool | None:
    """Requests a lock from the kernel; None if the filesystem has no locks."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        except OSError as error:
            if error.errno in NO_LOCKS:
                return None
            raise
        else:
            return True


def beats_matter(holder: Holder | None, taken: bool | None) -> bool:
    """Whether a holder may be alive although the kernel does not report it."""
    return taken is None or holder is None or is_foreign(holder)


def is_foreign(holder: Holder | None) -> bool:
    """Whether a holder is known to be on another machine."""
    return holder is not None and holder.host != socket.gethostname()


# Receives a message when a lock is waited for; `cli` sets it.
say: Callable[[str], None] | None = None


def moves(path: Path, patience: float) -> bool:
    """Whether a file's time changes while we watch; False if the file disappears."""
    deadline = time.monotonic() + patience
    with suppress(FileNotFoundError, NotPlain):
        first = stamp(path)
        if say is not None and patience > SETTLING:
            say(f"Waiting up to {patience:.0f} seconds for a sign of life{read(path) or ''}.")
        while time.monotonic() < deadline:
            time.sleep(min(BEAT, patience) / 2)
            if stamp(path) != first:
                return True
    return False


def stamp(path: Path) -> int:
    """A file's time from the server, which NFS queries when a file is opened."""
    with opened(path, sys.maxsize) as handle:
        return os.fstat(handle.fileno()).st_mtime_ns


def beat(lock: Lock, done: threading.Event) -> None:
    """Updates the file's time until `done` is set, or another process has the lock."""
    while not done.wait(BEAT):
        with suppress(OSError):  # the server does not answer; the next beat may succeed
            if lock.is_lost:
                return
            os.utime(lock.path)


def read(path: Path) -> Holder | None:
    """The holder named in the file; None if it is missing or invalid."""
    try:
        found = json.loads(read_plain(path, LONGEST))
        return Holder(str(found["host"]), int(found["pid"]), str(found["token"]))
    except (FileNotFoundError, NotADirectoryError, NotPlain):
        return None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None  # being written, or cut short by a crash


def write(handle: IO[bytes], holder: Holder, path: Path) -> None:
    """Writes the holder into a new file and closes it. Removes the file if that fails."""
    try:
        with handle:
            handle.write(json.dumps(holder._asdict()).encode() + b"\n")
            handle.flush()
            os.fsync(handle.fileno())  # so that it is visible on other machines
    except OSError:
        path.unlink()  # otherwise all processes would wait for it
        raise
