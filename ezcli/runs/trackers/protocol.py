"""What was asked for of trackers, and what each of them does."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from ezcli.config.run import RunConfig
from ezcli.runs.folder import RunFolder


class Tracking(NamedTuple):
    """Where to copy numbers; named like the options of `ez train`, without value: not there."""

    wandb: str | None = None  # `offline` or `online`
    wandb_project: str | None = None  # PROJECT or ENTITY/PROJECT
    tensorboard: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        """The same as options of `ez resume`."""
        options: list[str] = []
        for name, value in self._asdict().items():
            if value:
                options.append(f"--{name.replace('_', '-')}")
                options += [] if value is True else [value]
        return tuple(options)


class Tracker(Protocol):
    """Takes the numbers of a run. Whatever a method raises, the run goes on without the tracker.

    It writes into the folder of the run that has its name in `tracking.TRACKERS`.
    """

    title: str  # as users know it
    package: str  # that it imports
    install: str  # what pip installs to get that

    def __init__(self, tracking: Tracking, folder: RunFolder, config: RunConfig) -> None:
        """Opens it, for a run and the config that it shows beside the numbers."""
        ...

    def log(self, numbers: Mapping[str, float], train_steps: int) -> None:
        """Takes numbers at a train_step; train_steps never fall."""
        ...

    def close(self) -> None:
        """Hands over all that it was given."""
        ...
