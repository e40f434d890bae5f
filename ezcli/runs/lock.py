"""Who works on a run or a study, also where several machines share its folder.

The kernel keeps processes of one machine apart (`flock` of `.lock`), and those of several where the
filesystem passes that on. NFS mounted with `nolock` does not; Lustre without `flock` knows no locks
at all. So a second file, `.lock-holder`, is there while somebody holds the lock. Only one process
can make it, it names that process, and its time moves every BEAT seconds while that process lives.

A holder on another machine counts as gone when the file has not moved for GONE_AFTER seconds before
our eyes: no two clocks are compared. A holder on this machine is gone when flock says so. Machines
are told apart by their host names. A holder that slept for so long that it was taken for gone finds
another name in the file, or none, and may write no more (`Lock.is_lost`).
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
SETTLING = 2.0  # seconds in which a file just made gets its holder's name
INSTANT = 1.0  # that `is_held` holds a lock at most, generously
LONGEST = 1000  # bytes of the file that names the holder
OPEN: set[IO[bytes]] = set()  # lock files of this process
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def close_in_child() -> None:
    """Lets go of the locks in a process forked from ours, which may outlive it."""
    for handle in OPEN:
        handle.close()
    OPEN.clear()


os.register_at_fork(after_in_child=close_in_child)


class Holder(NamedTuple):
    """The process that holds a lock."""

    host: str
    pid: int
    token: str  # of this time that it does

    def __str__(self) -> str:
        return f" (process {self.pid} on {self.host})"


class Lock(NamedTuple):
    """A lock that was asked for."""

    path: Path  # of the file that names the holder
    us: Holder | None  # None: another process has it
    other: str = ""  # who has it then, in words: ` (process 4711 on node3)`, if that is known

    @property
    def is_lost(self) -> bool:
        """Whether another process has taken us for gone, or this one is a fork of the holder."""
        return read(self.path) != self.us or (self.us is not None and self.us.pid != os.getpid())


@contextmanager
def holding(path: Path) -> Iterator[Lock]:
    """Takes a lock for as long as it is held, if nobody else has it.

    Args:
      path: of the lock file, in a folder that is there.

    Raises:
      OSError: the folder cannot be written.
    """
    named = path.with_name(f"{path.name}-holder")
    with locked(path) as taken:
        us = Holder(socket.gethostname(), os.getpid(), uuid.uuid4().hex)
        if taken is False and is_foreign(read(named)) and not moves(named, GONE_AFTER):
            taken = None  # a server keeps the lock of a machine that is gone
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
            with suppress(OSError):  # the disk is gone: others have to watch the beats
                if not lock.is_lost:
                    named.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[bool | None]:
    """Asks the kernel for the lock of a file, made if it is not there; yields what it said."""
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
    """Whether an open file is the one at a path, and nobody removed it just now."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(handle.fileno()))
    return False


def claim(path: Path, us: Holder, taken: bool | None) -> bool:
    """Writes our name into the file that names the holder; False if one who lives is in it.

    Args:
      path: of that file.
      us: this process.
      taken: what `try_lock` said.
    """
    while True:
        try:
            made = created(path)  # atomic on NFS too, since version 3
        except FileExistsError:
            with suppress(FileNotFoundError):  # it ended just now
                require_plain(path)  # else no process of ours has made it
        else:
            write(made, us, path)
            return True
        before = read(path)
        may_live = beats_matter(before, taken)
        is_cut_short = taken is True and before is None  # made, then a crash or a power cut
        if may_live and moves(path, SETTLING if is_cut_short else GONE_AFTER):
            return False
        if not path.is_file() or read(path) != before:  # it ended, or somebody was quicker
            continue
        draft = path.with_name(f"{path.name}-{us.token}")
        write(created(draft), us, draft)
        os.replace(draft, path)
        if may_live and not is_cut_short:
            time.sleep(BEAT / 2)  # of several who saw it die the last to write has it
        if read(path) == us:
            return True


def is_held(path: Path) -> bool:
    """Whether a process holds the lock; asking holds it for an instant.

    Where only the holder's file can tell, its time is compared with this machine's clock.
    """
    named = path.with_name(f"{path.name}-holder")
    try:
        with opened(path, sys.maxsize) as handle:
            taken = try_lock(handle, fcntl.LOCK_SH)
            holder = read(named)
            if taken and holder is not None and not is_foreign(holder):
                with suppress(OSError):  # a folder that cannot be written
                    named.unlink()  # its process was killed; nobody claims it while we look
        if taken is False and not is_foreign(holder):
            return True
        moved = stamp(named) / 1e9
    except (FileNotFoundError, NotADirectoryError, NotPlain):  # no process of ours made that
        return False
    patience = SETTLING if taken and holder is None else GONE_AFTER
    return beats_matter(holder, taken) and abs(time.time() - moved) < patience


def try_lock(handle: IO[bytes], how: int, patience: float = 0.0) -> bool | None:
    """Asks the kernel for a lock; None where the filesystem knows none."""
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
    """Whether a holder that the kernel does not tell of may live all the same."""
    return taken is None or holder is None or is_foreign(holder)


def is_foreign(holder: Holder | None) -> bool:
    """Whether a holder is known to be on another machine."""
    return holder is not None and holder.host != socket.gethostname()


# Told what a lock is waited for; `cli` sets it.
say: Callable[[str], None] | None = None


def moves(path: Path, patience: float) -> bool:
    """Whether a file's time changes before our eyes; not if it goes away."""
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
    """A file's time, from the server: NFS asks it when a file is opened."""
    with opened(path, sys.maxsize) as handle:
        return os.fstat(handle.fileno()).st_mtime_ns


def beat(lock: Lock, done: threading.Event) -> None:
    """Moves the file's time until it is done, or another process has the lock."""
    while not done.wait(BEAT):
        with suppress(OSError):  # a server that does not answer now; the next beat may do
            if lock.is_lost:
                return
            os.utime(lock.path)


def read(path: Path) -> Holder | None:
    """Who the file says holds the lock; None if it is not there or cannot be understood."""
    try:
        found = json.loads(read_plain(path, LONGEST))
        return Holder(str(found["host"]), int(found["pid"]), str(found["token"]))
    except (FileNotFoundError, NotADirectoryError, NotPlain):
        return None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None  # being written, or cut short by a crash


def write(handle: IO[bytes], holder: Holder, path: Path) -> None:
    """Says in a file just made who holds the lock, and closes it; takes it away if that fails."""
    try:
        with handle:
            handle.write(json.dumps(holder._asdict()).encode() + b"\n")
            handle.flush()
            os.fsync(handle.fileno())  # so that other machines see it
    except OSError:
        path.unlink()  # else everybody would watch it
        raise
