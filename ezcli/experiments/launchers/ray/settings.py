"""The table `[ray]`: the address of the cluster and the resources of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ezcli.experiments.launchers.protocol import Launcher, LauncherSettings
from ezcli.settings import DoesNotFit

SMALLEST_SHARE = 0.0001  # share of a resource, by Ray's documentation
SETTINGS_OF = {"CPU": ("cpus",), "GPU": ("gpus", "runs_per_gpu")}  # options that set each kind


def number(value: object) -> object:
    """Converts an option's text, or a whole number in a file; other values are unchanged."""
    try:
        return float(value) if isinstance(value, str | int) else value
    except (ValueError, OverflowError):
        return value


Amount = Annotated[float, BeforeValidator(number), Field(ge=0)]


class RaySettings(LauncherSettings):
    """The table `[ray]`: the address of the cluster and the resources of a run."""

    address: str = "auto"  # address of the cluster; auto: the cluster that this machine belongs to
    cpus: Amount = 1.0
    gpus: Amount = 1.0
    runs_per_gpu: Annotated[int, Field(ge=1)] = 1  # each run then requests its share of `gpus`
    resources: dict[str, Amount] = Field(default={})  # custom resources of the cluster
    # seconds between copies from nodes without our files
    bring_back_minutes: Annotated[float, Field(gt=0)] = 10.0

    @property
    def has_gpus(self) -> bool:
        """Whether a run gets GPUs."""
        return self.gpus > 0

    @property
    def threads(self) -> int:
        """The cores that a run requests."""
        return max(1, int(self.cpus))

    @property
    def foreign_address(self) -> str | None:
        """The address of the cluster, unless this machine is part of it."""
        return None if self.address == "auto" else self.address

    @property
    def needs(self) -> dict[str, float]:
        """Resources that Ray reserves for a run, by kind."""
        return {"CPU": self.cpus, "GPU": self.gpus / self.runs_per_gpu, **self.resources}

    @field_validator("resources")
    @classmethod
    def _are_not_ours(cls, resources: dict[str, float]) -> dict[str, float]:
        for name in sorted(resources.keys() & {"CPU", "GPU", "memory", "object_store_memory"}):
            raise ValueError(f"{name!r} is not a custom resource; use cpus and gpus")
        return resources

    @model_validator(mode="after")
    def _can_be_set_aside(self) -> "RaySettings":
        for name, amount in self.needs.items():
            if 0 < amount < SMALLEST_SHARE:
                raise DoesNotFit(
                    f"Ray reserves at least {SMALLEST_SHARE:g} {name} for a run, not {amount:g}",
                    *SETTINGS_OF.get(name, ("resources",)),
                )
            if name == "GPU" and amount > 1 and amount != int(amount):
                raise DoesNotFit(
                    f"Ray reserves a share of one GPU or whole GPUs for a run, not {amount:g}",
                    *SETTINGS_OF[name],
                )
        return self

    def launcher(
        self, jobs_dir: Path, slots: int | None = None, devices: Sequence[str] = ()
    ) -> Launcher:
        """The cluster."""
        from ezcli.experiments.launchers.ray.launcher import RayLauncher

        return RayLauncher(jobs_dir, self, slots)
