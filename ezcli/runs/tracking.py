"""Copies of a run's numbers, for the tools that were asked for.

The JSON lines of the run stay the truth. What goes wrong with a tool is said once, and the run goes
on without it.
"""

import json
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ezcli.config.run import RunConfig
from ezcli.errors import ConfigError
from ezcli.files import write_atomically
from ezcli.runs.folder import RunFolder
from ezcli.runs.json_files import read_table
from ezcli.runs.trackers.protocol import Tracker, Tracking
from ezcli.runs.trackers.tensorboard import TensorBoard
from ezcli.runs.trackers.weights_and_biases import MODES, WeightsAndBiases, entity_and_project

# By the option that asks for it, a field of `Tracking`.
TRACKERS: dict[str, type[Tracker]] = {"wandb": WeightsAndBiases, "tensorboard": TensorBoard}
OPTIONAL = ("tensorboard",)  # whose packages ezcli does not bring


def require_trackers(tracking: Tracking) -> None:
    """Refuses what cannot be had, before anything is made.

    Raises:
      ConfigError: a value is not allowed, or a package is not installed.
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
            "--wandb-project means nothing without --wandb.",
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


class Trackers:
    """The trackers of one session of a run.

    `NAME/logged.json` in the run holds the train_step of the last line of each kind that a tracker
    took, so that the lines which a run makes again after a kill are not sent twice.

    Args:
      tracking: which ones; none of their packages is imported unless it is asked for.
      folder: of the run.
      config: shown beside the numbers.
      say: told what goes wrong.
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
            except Exception as error:  # whatever it is, the run goes on
                self._give_up(name, error)

    def log(self, kind: str, train_steps: int, line: Mapping[str, Any]) -> None:
        """Sends one line, numbers only, unless a line of this kind and step was sent before.

        Args:
          kind: such as `metrics`; train_steps only grow within one.
          train_steps: of the run.
          line: what to send.
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
            except Exception as error:  # whatever it is, the run goes on
                self._give_up(name, error)

    def _give_up(self, name: str, error: Exception) -> None:
        self.open.pop(name, None)
        self.say(f"{TRACKERS[name].title} is off from here on: {error}")


class Logged:
    """A tracker, and a file that says how far it was told."""

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
