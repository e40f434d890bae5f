"""Notices that a run stands still, and says where: an emulator, a search, a disk that hangs.

A thread looks at the clock. It can only look while Python runs: C code that hangs and keeps
Python's lock is not noticed.
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

SECONDS = 600.0  # without progress, at least, before anything is said
TIMES_LONGER = 10.0  # than the longest pause so far, too: some cycles take minutes


class Watchdog:
    """Between `with` and its end, waits for `beat`; tells once for each time that it stays out.

    Args:
      folder: what each thread is doing goes to its `stalled.txt`, which is gone when it moves;
        it stays if an error or a second Ctrl-C ends the run where it stands.
      say: told that nothing moves, and that it moves again.
    """

    def __init__(self, folder: RunFolder, say: Callable[[str], None]) -> None:
        self.path, self.say = folder.path / STALLED, say
        self.longest, self.has_told = 0.0, False
        self.beaten = time.monotonic()
        self.is_over, self.has_ended = threading.Event(), threading.Event()
        self.lock = threading.Lock()  # between telling and moving on

    def __enter__(self) -> Self:
        remove(self.path)
        # Not `threading.Thread`: where memory has run out its `start` waits for ever.
        _thread.start_new_thread(self._watch, ())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.is_over.set()
        self.has_ended.wait(1.0)  # seconds; a thread that could not begin does not end
        if self.lock.acquire(timeout=1.0):  # a disk that hangs may keep it
            was_told, self.has_told = self.has_told, True  # whoever looks still says nothing
            self.lock.release()
            if was_told and kind is None:  # else it is where the run stood when it was ended
                remove(self.path)

    def beat(self) -> None:
        """Something has moved."""
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
        """Seconds without progress that are no reason to worry."""
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
        self.say(f"{said}. To give up: kill -9 {os.getpid()}, then {resume}")

    def _write(self, pause: float) -> str:
        said = f"No progress for {duration(pause)}: where it stands is in {self.path}"
        try:
            remove(self.path)
            with created(self.path) as file:  # not synced: it may be the disk that stands still
                title = f"No progress for {duration(pause)}. What each thread is doing:\n\n"
                file.write(title.encode())
                file.flush()
                faulthandler.dump_traceback(file, all_threads=True)
        except OSError as error:
            said = f"No progress for {duration(pause)}; {self.path} cannot be written: {error}"
        return said
