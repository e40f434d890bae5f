"""Notices that a run stands still, and says where: an emulator, a search, a disk that hangs.

A thread looks at the clock. It can only look while Python runs: C code that hangs and keeps
Python's lock is not noticed.
"""

import faulthandler
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ezcli.runs.folder import STALLED, RunFolder
from ezcli.words import duration

SECONDS = 600.0  # without progress, at least, before anything is said
TIMES_LONGER = 10.0  # than the longest pause so far, too: some cycles take minutes


class Watchdog:
    """Between `with` and its end, waits for `beat`; tells once for each time that it stays out.

    Args:
      folder: what each thread is doing goes to its `stalled.txt`, which is gone when it moves.
      say: told that nothing moves, and that it moves again.
    """

    def __init__(self, folder: RunFolder, say: Callable[[str], None]) -> None:
        self.path, self.say = folder.path / STALLED, say
        self.longest, self.has_told = 0.0, False
        self.beaten = time.monotonic()
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self.path.unlink(missing_ok=True)
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.is_over.set()
        self.thread.join()

    def beat(self) -> None:
        """Something has moved."""
        now = time.monotonic()
        pause, self.beaten = now - self.beaten, now
        self.longest = max(self.longest, pause)
        if self.has_told:
            self.has_told = False
            self.path.unlink(missing_ok=True)
            self.say(f"Going on after {duration(pause)} without progress.")

    @property
    def patience(self) -> float:
        """Seconds without progress that are no reason to worry."""
        return max(SECONDS, TIMES_LONGER * self.longest)

    def _watch(self) -> None:
        while not self.is_over.wait(min(SECONDS, self.patience) / 10):
            pause = time.monotonic() - self.beaten
            if pause > self.patience and not self.has_told:
                self.has_told = True
                self._tell(pause)

    def _tell(self, pause: float) -> None:
        said = f"No progress for {duration(pause)}: where it stands is in {self.path}"
        try:
            with self.path.open("w") as file:
                file.write(f"No progress for {duration(pause)}. What each thread is doing:\n\n")
                file.flush()
                faulthandler.dump_traceback(file, all_threads=True)
        except OSError as error:
            said = f"No progress for {duration(pause)}; {self.path} cannot be written: {error}"
        self.say(f"{said}. To give up, press Ctrl-C twice, then `ez resume`.")
