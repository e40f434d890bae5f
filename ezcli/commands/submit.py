"""`ez train` with a launcher other than local: submits one run."""

import time
from pathlib import Path
from typing import Any

from ezcli import console
from ezcli.config.run import RunConfig
from ezcli.errors import Busy
from ezcli.experiments.handover import Task, prepare
from ezcli.experiments.launchers.cluster import Cluster
from ezcli.experiments.launchers.protocol import JOBS, Launcher
from ezcli.experiments.schedule import MAX_LOSSES
from ezcli.runs.folder import RunFolder
from ezcli.runs.lock import holding
from ezcli.runs.trackers.protocol import Tracking
from ezcli.runs.tracking import require_trackers
from ezcli.words import ez_command


def submit_run(
    config: RunConfig, path: Path, origin: dict[str, Any], cluster: Cluster, tracking: Tracking
) -> int:
    """`ez train` with a launcher other than local: makes the run's folder and submits the run.

    Raises:
      EzError: the folder belongs to another config, or the cluster refuses.
    """
    require_trackers(tracking)
    folder = RunFolder(path)
    if folder.exists:
        config = folder.require_same(config)
        if folder.read_info().get("status") == "finished":
            console.show(f"{folder.name} is already finished.")
            return 0
    launcher = cluster.settings.launcher(path / JOBS)
    threads = config.compute.threads or cluster.settings.threads or 1
    task = Task(folder.name, path, path / JOBS / "log", threads, options=tracking.options)
    try:
        prepare(folder, config, origin)
        (path / JOBS).mkdir(parents=True, exist_ok=True)
        with holding(path / JOBS / ".lock") as asked:  # from the check to the submission
            if asked.us is None:
                raise Busy(
                    "EZ-RUN-BUSY",
                    f"Another command is submitting the run {folder.name!r}{asked.other}.",
                )
            return hand_over(launcher, task)
    finally:
        launcher.close()


def hand_over(launcher: Launcher, task: Task) -> int:
    """Submits one run. Waits for it if it cannot outlive this process."""
    name = task.run
    look = f"See its progress: {ez_command('runs show', task.folder)}"
    state = launcher.states().get(name)
    if state == "ended":
        last = launcher.collect(name)
        console.show(f"Its last job: {' '.join((f'{last.cause}.', *last.last_lines))}")
    elif state is not None:
        console.show(f"{name} is already {state}. {look}")
        return 0
    (destination,) = launcher.submit([task])
    if launcher.outlives:
        console.show(f"{name}: submitted {destination}. {look}")
        return 0
    console.show(f"{name}: submitted. The run stops if this command ends. {look}")
    try:
        return see_through(launcher, task)
    except KeyboardInterrupt:
        for run in launcher.cancel(list(launcher.states()), at_once=False):
            launcher.collect(run)
        console.show(f"{name}: stopped and saved; repeat the command to continue.")
        return 130


def see_through(launcher: Launcher, task: Task) -> int:
    """Waits for a run, and submits it again if its node is lost."""
    for loss in range(MAX_LOSSES):
        while launcher.states()[task.run] != "ended":
            time.sleep(launcher.poll_seconds)
        found = launcher.collect(task.run)
        if found.exit_code == 0:
            console.show(f"{task.run}: finished.")
            return 0
        if found.fault != "cluster" or loss == MAX_LOSSES - 1:
            break
        console.show(f"{task.run}: {found.cause}; continuing.")
        launcher.submit([task])
    console.show(f"{task.run}: {found.cause}. {' '.join(found.last_lines)}")
    return 1
