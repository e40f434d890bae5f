"""How many runs train at the same time, on which devices, with how many threads."""

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
    """Options on how and where to run; None or empty if not given."""

    jobs: int | None
    devices: str | None
    launcher: str | None
    cluster: Path | None  # file with settings of launchers
    asked: dict[str, Any]  # settings of the launcher's table
    waits: bool
    tracking: Tracking = Tracking()


def number_of_jobs(
    execution: Execution, cluster: Cluster, base: RunConfig, left: int
) -> tuple[int, str]:
    """Number of runs at the same time, and the reason."""
    asked = cluster.settings.runs_at_once or execution.jobs
    if asked is not None:
        return asked, "as asked"
    if not isinstance(cluster.settings, LocalSettings):
        return max(1, left), "as many as the cluster allows"
    devices, share = devices_of(execution), cluster.settings.runs_per_gpu
    each = "one" if share == 1 else str(share)
    if devices:
        return share * len(devices), f"{each} for each device"
    if base.compute.device != "cpu":
        import torch

        if torch.cuda.is_available():
            return share, f"{each} for the GPU; --devices names more"
    if "runs_per_gpu" in execution.asked:
        raise ConfigError("EZ-STUDY-NO-GPU", "--runs-per-gpu needs a GPU.", "Use --jobs.")
    from ezcli.runs.compute import num_cores

    free = doctor.free_memory()
    fit = max(1, free // needs(base).memory_bytes) if free is not None else num_cores()
    jobs = max(1, min(num_cores(), fit, left))
    return jobs, "limited by cores and free memory" if left else "all runs are finished"


def devices_of(execution: Execution) -> list[str]:
    """The devices in `--devices`.

    Raises:
      ConfigError: an entry is empty.
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
    """Refuses devices that are invalid or missing on this machine.

    Raises:
      ConfigError: names the device.
    """
    devices = devices_of(execution)
    given = [o for o in overrides if parse_override(o)[0] == "compute.device"]
    if devices and given:
        raise ConfigError(
            "EZ-OPTION-CONFLICT",
            f"--devices {execution.devices} and --set {given[0]} both choose devices.",
            "Leave out one of them.",
        )
    for device in devices or [study.base.compute.device]:
        config = on_device(study.base, device)
        if must_be_here:
            from ezcli.runs.compute import resolve_compute

            resolve_compute(config.compute)


def threads_of(study: Study, jobs: int, cluster: Cluster) -> int:
    """Threads of each run: as requested, or its share of the cores."""
    from ezcli.runs.compute import num_cores

    return study.base.compute.threads or cluster.settings.threads or max(1, num_cores() // jobs)
