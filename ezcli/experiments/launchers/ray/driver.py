"""The actor on the driver's machine, with locks and folders of runs that train elsewhere."""

import os
import shutil
from contextlib import ExitStack
from pathlib import Path

from ezcli.errors import Busy
from ezcli.experiments.launchers.ray import transport
from ezcli.files import appending
from ezcli.runs.folder import RunFolder


class DriverActor:
    """Records which tasks have begun, and stores the runs of nodes without our files.

    Args:
      cwd: the driver's current folder, to which paths are relative.
    """

    def __init__(self, cwd: str) -> None:
        os.chdir(cwd)
        self.hosts: dict[str, str] = {}
        self.locks: dict[str, tuple[str, ExitStack]] = {}  # by run: its folder, its lock

    def begin(self, run: str, where: str) -> None:
        """Records that a task has begun on a host."""
        self.hosts[run] = where

    def begun(self) -> list[str]:
        """Runs whose task has begun."""
        return list(self.hosts)

    def forget(self, run: str) -> str | None:
        """Returns the host of a task that has ended, and unlocks its run."""
        self.let_go(run)
        return self.hosts.pop(run, None)

    def hold(self, run: str, path: str) -> str | None:
        """Locks a run that trains on a node without its folder.

        Returns:
          A sentence on the process that has the lock; None if it is ours now.
        """
        stack = ExitStack()
        try:
            stack.enter_context(RunFolder(Path(path)).lock())
        except Busy as error:
            return error.message
        self.locks[run] = (path, stack)
        return None

    def let_go(self, run: str) -> None:
        """Releases a run's lock."""
        if run in self.locks:
            _, stack = self.locks.pop(run)
            stack.close()

    def fetch(self, path: str) -> bytes:
        """Packs a run's folder."""
        return transport.pack(Path(path))

    def add(self, content: bytes, log: str) -> None:
        """Appends to the log of a run."""
        with appending(Path(log)) as handle:
            handle.write(content)

    def store(self, packed: bytes, run: str, goes_on: bool) -> str | None:
        """Replaces a run's folder with its copy. The lock is lost with the old folder.

        Args:
          packed: the folder.
          run: its name.
          goes_on: whether the run continues, so that it is locked again.

        Returns:
          As in `hold`: another process may have locked the run in between.
        """
        path, stack = self.locks[run]
        folder = Path(path)
        draft = folder.with_name(f".incoming-{folder.name}")
        shutil.rmtree(draft, ignore_errors=True)
        transport.unpack(packed, draft)
        del self.locks[run]
        stack.close()
        try:
            transport.replace(draft, folder)
        finally:
            other = self.hold(run, path) if goes_on else None
        return other
