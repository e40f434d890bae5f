"""How many runs train side by side, on which devices, with how many threads."""

from pathlib import Path
from typing import Any, NamedTuple

from ezcli import doctor
from ezcli.commands.config_options import on_device
from ezcli.config.overrides import parse_override
from ezcli.config.run import RunConfig
from ezcli.errors import ConfigError
from ezcli.experiments.launchers.cluster import Cluster
from ezcli.experiments.launchers.local import LocalSettings
from ezcli.experiments.study import Study
from ezcli.runs.cost import needs
from ezcli.runs.trackers.protocol import Tracking


class Execution(NamedTuple):
    """How the runs are to be made, and where; None and empty stand for what was not given."""

    jobs: int | None
    devices: str | None
    launcher: str | None
    cluster: Path | None  # file with the settings of launchers
    asked: dict[str, Any]  # settings of the launcher's table
    waits: bool
    tracking: Tracking = Tracking()


def number_of_jobs(
    execution: Execution, cluster: Cluster, base: RunConfig, left: int
) -> tuple[int, str]:
    """Runs side by side, and why so many."""
    asked = cluster.settings.runs_at_once or execution.jobs
    if asked is not None:
        return asked, "as asked"
    if not isinstance(cluster.settings, LocalSettings):
        return max(1, left), "as many as the cluster gives"
    devices, share = devices_of(execution), cluster.settings.runs_per_gpu
    each = "one" if share == 1 else str(share)
    if devices:
        return share * len(devices), f"{each} for each device"
    if base.compute.device != "cpu":
        import torch

        if torch.cuda.is_available():
            return share, f"{each} for the GPU; --devices names more"
    if "runs_per_gpu" in execution.asked:
        raise ConfigError(
            "EZ-STUDY-NO-GPU", "--runs-per-gpu means nothing without a GPU.", "Use --jobs."
        )
    from ezcli.runs.compute import num_cores

    free = doctor.free_memory()
    fit = max(1, free // needs(base).memory_bytes) if free is not None else num_cores()
    jobs = max(1, min(num_cores(), fit, left))
    return jobs, "what cores and free memory hold" if left else "nothing is left to run"


def devices_of(execution: Execution) -> list[str]:
    """The devices that were named.

    Raises:
      ConfigError: none was, between the commas.
    """
    if execution.devices is None:
        return []
    devices = [device.strip() for device in execution.devices.split(",")]
    if "" in devices:
        raise ConfigError(
            "EZ-STUDY-DEVICES",
            f"--devices {execution.devices!r} is not allowed.",
            "Use cuda:0,cuda:1.",
        )
    return devices


def check_devices(
    study: Study, execution: Execution, overrides: list[str], must_be_here: bool
) -> None:
    """Refuses devices that are none, and those that this machine lacks.

    Raises:
      ConfigError: it names the device.
    """
    devices = devices_of(execution)
    given = [o for o in overrides if parse_override(o)[0] == "compute.device"]
    if devices and given:
        raise ConfigError(
            "EZ-OPTION-CONFLICT",
            f"--devices {execution.devices} and --set {given[0]} both name devices.",
            "Leave out one of them.",
        )
    for device in devices or [study.base.compute.device]:
        config = on_device(study.base, device)
        if must_be_here:
            from ezcli.runs.compute import resolve_compute

            resolve_compute(config.compute)


def threads_of(study: Study, jobs: int, cluster: Cluster) -> int:
    """Threads of each run: those asked for, or its share of the cores."""
    from ezcli.runs.compute import num_cores

    return study.base.compute.threads or cluster.settings.threads or max(1, num_cores() // jobs)
