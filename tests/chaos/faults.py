"""Faults at a call that changes a file: a kill, a power cut, a full disk, a pause.

`install` counts those calls below one folder (opening for writing, every write, syncing, renaming,
removing, making a folder) and lets the fault happen at the n-th:

    kill    SIGKILL; a write that was under way is half done
    power   the same, and then what was not synced is gone: bytes written since, new names, renames
    full    the call fails with ENOSPC, and so does everything after it that needs room
    hold    the file `gate` is made, and the call waits until somebody has removed it

It serves a process that ends after it: nothing is put back.
"""

import builtins
import errno
import io
import os
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

NEEDS_ROOM = {"open", "write", "mkdir", "fsync"}
NAMES = {
    "os.rename": "rename",
    "os.remove": "remove",
    "os.rmdir": "rmdir",
    "os.mkdir": "mkdir",
}


class Fault(NamedTuple):
    """Which fault, below which folder, at which call (from 0)."""

    folder: str
    at: int = -1
    what: str = "count"
    log: str | None = None  # where the calls are written down
    gate: str | None = None  # not below the folder


def install(fault: Fault) -> None:
    """Waits for the moment."""
    Watch(fault).start()


class Watch:
    """Counts calls; knows what a power cut would take."""

    def __init__(self, fault: Fault) -> None:
        self.fault, self.count, self.busy = fault, 0, False
        self.unsynced: set[int] = set()  # inodes with contents that are not on disk
        self.durable: dict[int, int] = {}  # bytes at their start that are
        self.created: set[str] = set()  # names in folders that were not synced since
        self.renamed: list[tuple[str, str, bytes | None]] = []  # likewise; what stood there before
        self.log = os.open(fault.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if fault.log else None
        self.real_open, self.real_fsync = io.open, os.fsync

    def start(self) -> None:
        """Puts itself before the calls."""
        watch = self

        class TornFile(io.FileIO):
            """Every write is a call that can be cut in half."""

            def write(self, data):
                if watch.strikes("write", self.name):
                    super().write(memoryview(data).cast("B")[: len(data) // 2])
                    watch.note(self.fileno())
                    watch.happen()
                watch.note(self.fileno())
                return super().write(data)

        def counted_open(
            file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, **more
        ):
            if not set(mode) & set("wax+") or not watch.is_below(file):
                return watch.real_open(file, mode, buffering, encoding, errors, newline, **more)
            raw = TornFile(file, mode.replace("b", "").replace("t", ""))
            watch.opened(raw.fileno())
            buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return (
                buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)
            )

        def counted_fsync(descriptor):
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            if watch.is_below(path):
                watch.call("fsync", path)
            watch.synced(descriptor, path)

        io.open = builtins.open = counted_open
        os.fsync = counted_fsync
        sys.addaudithook(self.audit)

    def audit(self, event, arguments) -> None:
        """Sees every call of the interpreter before it is made."""
        if self.busy or (event != "open" and event not in NAMES):
            return
        path = arguments[0]
        if event == "open":
            flags = arguments[2]
            if isinstance(path, int) or not flags & (os.O_WRONLY | os.O_RDWR):
                return
            if self.is_below(path):
                is_new = not os.path.exists(path)
                self.call("open", path)
                if is_new:
                    self.created.add(os.fspath(path))
            return
        within = event in ("os.remove", "os.rmdir") and arguments[1] != -1  # of shutil.rmtree
        if within or self.is_below(path):
            self.call(NAMES[event], path)
            if event == "os.rename":
                self.rename(os.fspath(path), os.fspath(arguments[1]))

    def rename(self, source: str, target: str) -> None:
        self.busy = True
        before = Path(target).read_bytes() if os.path.isfile(target) else None
        self.busy = False
        self.renamed.append((source, target, before))
        self.created.discard(source)

    def is_below(self, path) -> bool:
        return not isinstance(path, int) and os.fspath(path).startswith(self.fault.folder)

    def strikes(self, call: str, path) -> bool:
        """Counts a call; whether the fault is due at it."""
        if self.log is not None:
            os.write(self.log, f"{call} {os.fspath(path)}\n".encode())
        self.count += 1
        if self.fault.what == "hold":
            if self.count == self.fault.at + 1:
                self.hold()
            return False
        if self.fault.what == "full":
            return self.count > self.fault.at >= 0 and call in NEEDS_ROOM
        return self.count == self.fault.at + 1

    def call(self, call: str, path) -> None:
        if self.strikes(call, path):
            self.happen()

    def opened(self, descriptor: int) -> None:
        """What a file holds when it is opened to add to it was there before."""
        found = os.fstat(descriptor)
        size = found.st_size
        if found.st_ino in self.unsynced:
            size = min(size, self.durable.get(found.st_ino, 0))
        self.durable[found.st_ino] = size

    def note(self, descriptor: int) -> None:
        self.unsynced.add(os.fstat(descriptor).st_ino)

    def synced(self, descriptor: int, path: str) -> None:
        self.real_fsync(descriptor)
        found = os.fstat(descriptor)
        self.unsynced.discard(found.st_ino)
        self.durable[found.st_ino] = found.st_size
        self.created = {name for name in self.created if os.path.dirname(name) != path}
        self.renamed = [entry for entry in self.renamed if os.path.dirname(entry[1]) != path]

    def happen(self) -> None:
        """The fault."""
        if self.fault.what == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.fault.what == "power":
            self.lose()
        os.kill(os.getpid(), signal.SIGKILL)

    def hold(self) -> None:
        """Waits at the gate. SIGSTOP would not do: others stop processes too."""
        self.busy = True
        gate = Path(self.fault.gate)
        gate.touch()
        while gate.exists():
            time.sleep(0.005)
        self.busy = False

    def lose(self) -> None:
        """Takes back what no sync has made last."""
        self.busy = True
        for folder, _, names in os.walk(self.fault.folder):
            for name in names:
                inode = os.stat(os.path.join(folder, name)).st_ino
                if inode in self.unsynced:
                    os.truncate(os.path.join(folder, name), self.durable.get(inode, 0))
        for source, target, before in reversed(self.renamed):
            if os.path.exists(target):
                os.rename(target, source)
            if before is not None:
                Path(target).write_bytes(before)
        for name in self.created:
            if os.path.isfile(name):
                os.remove(name)
