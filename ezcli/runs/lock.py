"""Who works on a run or a study, also where several machines share its folder.

The kernel keeps processes of one machine apart (`flock`), and those of several where the filesystem
passes that on. NFS mounted with `nolock` does not; Lustre without `flock` knows no locks at all. So
the file names who holds it, and as long as that process lives the file's time moves every BEAT
seconds. A holder on another machine counts as gone when its file has not moved for PATIENCE seconds
before our eyes: no two clocks are compared. A holder on this machine is gone when flock says so.
Machines are told apart by their host names.
"""

import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

BEAT = 10.0
PATIENCE = 9 * BEAT  # attributes of files on NFS may be a minute old
INSTANT = 1.0  # that `is_held` holds a lock at most, generously
LONGEST = 1000  # bytes of the file that are read
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class Holder(NamedTuple):
    """The process that holds a lock."""

    host: str
    pid: int


@contextmanager
def holding(path: Path) -> Iterator[str | None]:
    """Takes a lock for as long as it is held; yields None then, or in words who has it.

    Raises:
      OSError: the file cannot be written.
    """
    with path.open("a+b") as handle:
        taken = try_lock(handle, fcntl.LOCK_EX, INSTANT)
        holder = read(handle)
        if taken is False or (holder and beats_matter(holder, taken) and moves(handle)):
            yield words(holder)
            return
        us = Holder(socket.gethostname(), os.getpid())
        write(handle, us)
        done = threading.Event()
        beats = threading.Thread(target=beat, args=(handle, done), daemon=True, name="ez-lock")
        beats.start()
        try:
            yield None
        finally:
            done.set()
            beats.join()
            with suppress(OSError):  # the disk is gone or full: others have to watch the beats
                if read(handle) == us:  # a holder that slept too long has lost it
                    write(handle, None)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock; asking holds it for an instant.

    Where only the file can tell, its time is compared with this machine's clock.
    """
    if not path.is_file():
        return False
    with path.open("rb") as handle:
        taken = try_lock(handle, fcntl.LOCK_SH)
        if taken is False:
            return True
        holder = read(handle)
        if holder is None or not beats_matter(holder, taken):
            return False
        return abs(time.time() - os.fstat(handle.fileno()).st_mtime) < PATIENCE


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


def beats_matter(holder: Holder, taken: bool | None) -> bool:
    """Whether a holder that the kernel does not tell of may live all the same."""
    return taken is None or holder.host != socket.gethostname()


def moves(handle: IO[bytes]) -> bool:
    """Whether the file's time changes before our eyes."""
    first, deadline = os.fstat(handle.fileno()).st_mtime_ns, time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        time.sleep(BEAT / 2)
        with open(handle.name, "rb") as again:  # NFS asks the server when a file is opened
            if os.fstat(again.fileno()).st_mtime_ns != first:
                return True
    return False


def beat(handle: IO[bytes], done: threading.Event) -> None:
    """Moves the file's time until it is done."""
    while not done.wait(BEAT):
        with suppress(OSError):  # a server that does not answer now; the next beat may do
            os.utime(handle.fileno())


def read(handle: IO[bytes]) -> Holder | None:
    """Who the file says holds it; None if it says nothing, or nothing that can be read."""
    handle.seek(0)
    try:
        found = json.loads(handle.read(LONGEST))
        return Holder(str(found["host"]), int(found["pid"]))
    except (ValueError, KeyError, TypeError):  # empty after a proper end; cut short by a crash
        return None


def write(handle: IO[bytes], holder: Holder | None) -> None:
    """Says who holds the file, or that nobody does."""
    os.ftruncate(handle.fileno(), 0)
    if holder is not None:
        os.write(handle.fileno(), json.dumps(holder._asdict()).encode() + b"\n")
    os.fsync(handle.fileno())  # so that other machines see it


def words(holder: Holder | None) -> str:
    """Such as ` (process 4711 on node3)`; nothing if it is not known."""
    return f" (process {holder.pid} on {holder.host})" if holder else ""
