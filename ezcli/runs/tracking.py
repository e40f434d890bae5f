"""Sends a run's metrics to the requested trackers.

The JSON lines of the run remain authoritative. If a tracker fails, this is reported once, and the
run continues without it.
"""

import json
import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ezcli.config.run import RunConfig
from ezcli.errors import ConfigError
from ezcli.files import write_atomically
from ezcli.runs.folder import RunFolder
from ezcli.runs.json_files import read_table
from ezcli.runs.trackers.mlflow import MLflow
from ezcli.runs.trackers.protocol import Tracker, Tracking
from ezcli.runs.trackers.tensorboard import TensorBoard
from ezcli.runs.trackers.weights_and_biases import MODES, WeightsAndBiases, entity_and_project

# By option, a field of `Tracking`.
TRACKERS: dict[str, type[Tracker]] = {
    "wandb": WeightsAndBiases,
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
}
OPTIONAL = ("tensorboard", "mlflow")  # whose packages are not dependencies of ezcli


def require_trackers(tracking: Tracking) -> None:
    """Refuses unavailable trackers before anything is created.

    Raises:
      ConfigError: a value is not allowed, a package is not installed, or MLflow has no address.
    """
    if tracking.wandb not in (None, *MODES):
        raise ConfigError(
            "EZ-OPTION-WANDB",
            f"--wandb {tracking.wandb!r} is not allowed.",
            "Use offline or online.",
        )
    entity_and_project(tracking.wandb_project)
    if tracking.wandb_project is not None and tracking.wandb is None:
        raise ConfigError(
            "EZ-OPTION-WANDB",
            "--wandb-project needs --wandb.",
            "Add --wandb offline or --wandb online.",
        )
    for name in OPTIONAL:
        tracker = TRACKERS[name]
        if getattr(tracking, name) and find_spec(tracker.package) is None:
            raise ConfigError(
                "EZ-OPTION-NO-PACKAGE",
                f"--{name} needs the package {tracker.package!r}, which is not installed.",
                f"Install it: pip install '{tracker.install}'",
            )
    if tracking.mlflow and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise ConfigError(
            "EZ-OPTION-MLFLOW",
            "--mlflow needs the address of a server, but MLFLOW_TRACKING_URI is not set.",
            "Set it, for example: export MLFLOW_TRACKING_URI=http://localhost:5000",
        )


class Trackers:
    """The trackers of one session of a run.

    `NAME/logged.json` in the run has the train_step of the last line of each kind that a tracker
    received, so that lines that a run repeats after a kill are not sent twice.

    Args:
      tracking: the requested trackers; packages of others are not imported.
      folder: of the run.
      config: shown by trackers.
      say: receives messages about failures.
    """

    def __init__(
        self, tracking: Tracking, folder: RunFolder, config: RunConfig, say: Callable[[str], None]
    ) -> None:
        self.say = say
        self.open: dict[str, Logged] = {}  # by their names in `TRACKERS`
        for name, tracker in TRACKERS.items():
            if not getattr(tracking, name):
                continue
            try:
                opened = tracker(tracking, folder, config)
                self.open[name] = Logged(opened, folder.path / name / "logged.json")
            except Exception as error:  # after any error, the run continues
                self._give_up(name, error)

    def log(self, kind: str, train_steps: int, line: Mapping[str, Any]) -> None:
        """Sends the numbers of one line, unless this kind and step were sent before.

        Args:
          kind: such as `metrics`; within a kind train_steps increase.
          train_steps: of the run.
          line: the line to send.
        """
        numbers = {key: value for key, value in line.items() if isinstance(value, int | float)}
        self._of_each(lambda one: one.log(kind, train_steps, numbers))

    def close(self) -> None:
        """Ends the tracking."""
        self._of_each(lambda one: one.tracker.close())

    def _of_each(self, do: Callable[["Logged"], None]) -> None:
        for name, one in list(self.open.items()):
            try:
                do(one)
            except Exception as error:  # after any error, the run continues
                self._give_up(name, error)

    def _give_up(self, name: str, error: Exception) -> None:
        self.open.pop(name, None)
        self.say(f"{TRACKERS[name].title} is switched off: {error}")


class Logged:
    """A tracker with a file that records its last lines."""

    def __init__(self, tracker: Tracker, file: Path) -> None:
        self.tracker, self.file = tracker, file
        file.parent.mkdir(exist_ok=True)
        self.last: dict[str, int] = read_table(file) if file.exists() else {}  # by kind of line

    def log(self, kind: str, train_steps: int, numbers: dict[str, float]) -> None:
        """Passes a line on, unless the tracker has it."""
        if train_steps <= self.last.get(kind, -1):
            return
        self.tracker.log(numbers, train_steps)
        self.last[kind] = train_steps
        write_atomically(self.file, json.dumps(self.last).encode())
