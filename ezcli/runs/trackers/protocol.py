"""The options and the interface of trackers."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from ezcli.config.run import RunConfig
from ezcli.runs.folder import RunFolder


class Tracking(NamedTuple):
    """The requested trackers, named like the options of `ez train`."""

    wandb: str | None = None  # `offline` or `online`
    wandb_project: str | None = None  # PROJECT or ENTITY/PROJECT
    tensorboard: bool = False
    mlflow: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        """The same, as options of `ez resume`."""
        options: list[str] = []
        for name, value in self._asdict().items():
            if value:
                options.append(f"--{name.replace('_', '-')}")
                options += [] if value is True else [value]
        return tuple(options)


class Tracker(Protocol):
    """Receives the metrics of a run. If a method raises, the run continues without the tracker.

    It writes into a folder of the run with its name in `tracking.TRACKERS`.
    """

    title: str  # name for users
    package: str  # package that it imports
    install: str  # argument of pip to install it

    def __init__(self, tracking: Tracking, folder: RunFolder, config: RunConfig) -> None:
        """Opens the tracker for a run and its config."""
        ...

    def log(self, numbers: Mapping[str, float], train_steps: int) -> None:
        """Logs numbers at a train_step. train_steps never decrease."""
        ...

    def close(self) -> None:
        """Flushes all data."""
        ...
