"""Detects a stalled run, for example in an emulator, a search or a disk, and records its stacks.

A thread checks the time. It needs Python's global lock: hanging C code that holds the lock is not
detected.
"""

import _thread
import faulthandler
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ezcli.files import created, remove
from ezcli.runs.folder import STALLED, RunFolder
from ezcli.words import duration, ez_command

SECONDS = 600.0  # least time without progress before a message
TIMES_LONGER = 10.0  # also relative to the longest pause so far, because some cycles take minutes


class Watchdog:
    """Reports once, within its context, whenever `beat` is not called for too long.

    Args:
      folder: the stack of each thread is written to its `stalled.txt`. The file is removed once
        there is progress, and kept if an error or a second Ctrl-C ends the stalled run.
      say: receives messages about stalls and their end.
    """

    def __init__(self, folder: RunFolder, say: Callable[[str], None]) -> None:
        self.path, self.say = folder.path / STALLED, say
        self.longest, self.has_told = 0.0, False
        self.beaten = time.monotonic()
        self.is_over, self.has_ended = threading.Event(), threading.Event()
        self.lock = threading.Lock()  # between a report and progress

    def __enter__(self) -> Self:
        remove(self.path)
        # Not `threading.Thread`, whose `start` never returns if memory has run out.
        _thread.start_new_thread(self._watch, ())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.is_over.set()
        self.has_ended.wait(1.0)  # seconds; a thread that could not start does not end
        if self.lock.acquire(timeout=1.0):  # a hanging disk may block it
            was_told, self.has_told = self.has_told, True  # a running check reports nothing
            self.lock.release()
            if was_told and kind is None:  # otherwise it shows where the run was when it ended
                remove(self.path)

    def beat(self) -> None:
        """Records progress."""
        with self.lock:
            now = time.monotonic()
            pause, self.beaten = now - self.beaten, now
            if not self.has_told:
                self.longest = max(self.longest, pause)
                return
            self.has_told = False
            remove(self.path)
        self.say(f"Continuing after {duration(pause)} without progress.")

    @property
    def patience(self) -> float:
        """Seconds without progress that are not reported."""
        return max(SECONDS, TIMES_LONGER * self.longest)

    def _watch(self) -> None:
        try:
            while not self.is_over.wait(min(SECONDS, self.patience) / 10):
                self._look()
        finally:
            self.has_ended.set()

    def _look(self) -> None:
        with self.lock:
            pause = time.monotonic() - self.beaten
            if pause <= self.patience or self.has_told:
                return
            self.has_told = True
            said = self._write(pause)
        resume = ez_command("resume", self.path.parent)
        self.say(f"{said}. To stop the run: kill -9 {os.getpid()}, then {resume}")

    def _write(self, pause: float) -> str:
        said = f"No progress for {duration(pause)}: the stack of each thread is in {self.path}"
        try:
            remove(self.path)
            with created(self.path) as file:  # not synced, because the disk itself may hang
                title = f"No progress for {duration(pause)}. Stack of each thread:\n\n"
                file.write(title.encode())
                file.flush()
                faulthandler.dump_traceback(file, all_threads=True)
        except OSError as error:
            said = f"No progress for {duration(pause)}; {self.path} cannot be written: {error}"
        return said
