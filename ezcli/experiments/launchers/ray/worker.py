"""Training in a Ray worker: one run, in its folder or in a copy of it."""

import ctypes
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ezcli.errors import Busy
from ezcli.experiments.handover import Task, start_process
from ezcli.experiments.launchers.ray.settings import RaySettings
from ezcli.experiments.launchers.ray.transport import pack, unpack


def train(
    task: Task, cwd: str, probe: str, driver: Any, settings: RaySettings
) -> tuple[int, tuple[str, ...]]:
    """Trains one run in a worker; returns its exit code and the last lines of its output.

    Args:
      task: the run.
      cwd: the driver's current folder.
      probe: a file that exists if this machine shares the driver's files.
      driver: the actor `DriverActor`.
      settings: of the launcher.
    """
    import ray

    driver.begin.remote(task.run, socket.gethostname())
    if Path(probe).is_file():
        os.chdir(cwd)
        return execute(task, lambda: None, None)
    with tempfile.TemporaryDirectory(prefix="ez-") as folder:
        os.chdir(folder)
        try:
            return train_in_copy(task, settings, driver, ray)
        finally:
            os.chdir("/")


def train_in_copy(
    task: Task, settings: RaySettings, driver: Any, ray: Any
) -> tuple[int, tuple[str, ...]]:
    """Trains in a copy of the run's folder, and sends it back periodically."""
    run, here = task.folder, Path("runs") / task.folder.name
    other = ray.get(driver.hold.remote(task.run, str(run)))
    if other is not None:
        return Busy.exit_code, (other,)
    unpack(ray.get(driver.fetch.remote(str(run))), here.parent)

    def bring_back(goes_on: bool = True) -> None:
        other = ray.get(driver.store.remote(pack(here), task.run, goes_on))
        if other is not None:
            raise Busy("EZ-RUN-BUSY", other)

    own = task._replace(folder=here, log=Path("log"))
    try:
        found = execute(own, bring_back, 60 * settings.bring_back_minutes)
    except Busy as error:
        return Busy.exit_code, (error.message,)
    except BaseException:  # such as the exception by which Ray ends a worker; the run has saved
        bring_back(goes_on=False)
        raise
    else:
        bring_back(goes_on=False)
        return found
    finally:
        ray.get(driver.add.remote(Path("log").read_bytes(), str(task.log)))


def execute(
    task: Task, periodically: Callable[[], None], seconds: float | None
) -> tuple[int, tuple[str, ...]]:
    """Runs `ez` and waits for it. An interrupt of the task lets it save.

    Args:
      task: the run.
      periodically: called at intervals; its OSErrors are ignored, because it is called again.
      seconds: interval of the calls; None for no calls.
    """
    child = start_process(task, end_with_parent)
    due = None if seconds is None else time.monotonic() + seconds
    try:
        while child.process.poll() is None:
            time.sleep(0.2)
            if due is not None and seconds is not None and time.monotonic() >= due:
                with suppress(OSError):
                    periodically()
                due = time.monotonic() + seconds
    except BaseException as error:  # nothing may train in a removed folder
        child.signal(signal.SIGTERM)
        child.process.wait()
        if not isinstance(error, KeyboardInterrupt):  # sent by `ray.cancel`
            raise
    return child.process.returncode, child.last_lines()


def end_with_parent() -> None:
    """Makes the kernel signal this process to save when the worker that started it ends."""
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
