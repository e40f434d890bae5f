"""Where runs execute: from the name of a launcher to the launcher, and one run sent away."""

import time
from collections.abc import Sequence
from pathlib import Path

from ezcli import console
from ezcli.config import RunConfig, with_changes
from ezcli.errors import Busy
from ezcli.experiments.launchers.cluster import Cluster
from ezcli.experiments.launchers.protocol import JOBS, Launcher, Task
from ezcli.experiments.launchers.slurm import LEDGER, SlurmLauncher, SlurmSettings
from ezcli.runs.folder import RunFolder
from ezcli.runs.lock import holding


def launcher_of(
    cluster: Cluster, jobs_dir: Path, slots: int | None, devices: Sequence[str] = ()
) -> Launcher:
    """The place where runs execute.

    Args:
      cluster: which, and what is asked of it.
      jobs_dir: for what must be remembered of jobs that outlive this process.
      slots: runs side by side; None leaves that to the place, if it can see to it.
      devices: of this machine, handed out to the runs.

    Raises:
      ConfigError: what it needs is not here.
    """
    if cluster.launcher == "slurm":
        return SlurmLauncher(jobs_dir, cluster.slurm)
    if cluster.launcher == "ray":
        from ezcli.experiments.launchers.ray import RayLauncher

        return RayLauncher(jobs_dir, cluster.ray, slots)
    from ezcli.experiments.launchers.local import LocalLauncher

    return LocalLauncher(slots or 1, devices)


def submit_run(config: RunConfig, path: Path, origin: dict[str, str], cluster: Cluster) -> int:
    """`ez train` with a launcher other than local: makes the run's folder, and hands it over.

    Raises:
      EzError: the folder belongs to another config, or the cluster refuses.
    """
    folder = RunFolder(path)
    if config.compute.threads == 0:
        config = with_changes(config, {"compute.threads": cluster.threads})
    if folder.exists:
        folder.require_same(config)
        if folder.read_info().get("status") == "finished":
            console.show(f"{folder.name} is finished already.")
            return 0
    launcher = launcher_of(cluster, path / JOBS, None)
    try:
        if not folder.exists:
            with folder.lock():
                folder.create(config)
                folder.update_info(**origin)
        (path / JOBS).mkdir(parents=True, exist_ok=True)
        with holding(path / JOBS / ".lock") as asked:  # from asking to handing over
            if asked.us is None:
                raise Busy(f"Another command hands over the run {folder.name!r}{asked.other}.")
            return hand_over(launcher, folder)
    finally:
        launcher.close()


def hand_over(launcher: Launcher, folder: RunFolder) -> int:
    """Submits one run, and waits for it if it would end with this process."""
    name = folder.name
    state = launcher.states().get(name)
    if state == "ended":
        last = launcher.collect(name)
        console.show(f"Its last job: {' '.join((f'{last.cause}.', *last.last_lines))}")
    elif state is not None:
        console.show(f"{name} is {state} already. See how far it is: ez runs")
        return 0
    arguments = ("resume", str(folder.path), "--quiet")
    task = Task(name, folder.path, arguments, folder.path / JOBS / "log")
    (place,) = launcher.submit([task])
    if launcher.outlives:
        console.show(f"{name}: submitted {place}. See how far it is: ez runs")
        return 0
    console.show(f"{name}: submitted. It ends with this command; see how far it is: ez runs")
    while launcher.states()[name] != "ended":
        time.sleep(launcher.poll_seconds)
    found = launcher.collect(name)
    if found.exit_code == 0:
        console.show(f"{name}: finished.")
        return 0
    console.show(f"{name}: {found.cause}. {' '.join(found.last_lines)}")
    return 1


def queue_of(jobs_dir: Path) -> SlurmLauncher | None:
    """The queue that runs were sent to; None if they were sent to none.

    Raises:
      ConfigError: this is no machine of the cluster.
    """
    is_known = (jobs_dir / LEDGER).is_file()
    return SlurmLauncher(jobs_dir, SlurmSettings()) if is_known else None


def in_queue(launcher: SlurmLauncher | None) -> list[str]:
    """The runs that are queued or running there."""
    if launcher is None:
        return []
    return [run for run, state in launcher.states().items() if state != "ended"]
