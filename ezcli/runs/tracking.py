"""Weights & Biases, if asked for: whatever goes wrong with it, the run goes on."""

import json
import logging
from collections.abc import Callable
from typing import Any, Literal

from ezcli.config.run import RunConfig
from ezcli.files import write_atomically
from ezcli.runs.folder import RunFolder
from ezcli.runs.json_files import read_table

WandbMode = Literal["offline", "online"]
START_SECONDS = 30  # that it may take to start


class Tracker:
    """Copies metrics to wandb. JSON lines stay the truth; trouble with wandb is said once.

    wandb's step is the train_step. `wandb/logged.json` holds the last one of each kind of line, so
    that the lines which a run makes again after a kill are not logged twice.

    Args:
      mode: `offline`, `online`, or None for no tracking; wandb is imported only when it is used.
      folder: of the run; wandb writes below it.
      config: shown beside the run.
      say: told what goes wrong.
    """

    def __init__(
        self,
        mode: WandbMode | None,
        folder: RunFolder,
        config: RunConfig,
        say: Callable[[str], None],
    ) -> None:
        self.run: Any = None
        self.say = say
        self.logged: dict[str, int] = {}  # last train_step by kind of line
        if mode is None:
            return
        self.file = folder.path / "wandb" / "logged.json"
        logging.raiseExceptions = False  # its log on a full disk: no page each line
        try:
            import wandb

            self.run = wandb.init(
                project="ezcli",
                name=folder.name,
                id=f"{folder.name}-{config.identity}",
                resume="allow",
                dir=str(folder.path),
                mode=mode,
                config=config.model_dump(mode="json"),
                settings=wandb.Settings(silent=True, init_timeout=START_SECONDS),
            )
            self.run.define_metric("*", step_metric="env_steps")
            self.file.parent.mkdir(exist_ok=True)
            if self.file.exists():
                self.logged = read_table(self.file)
        except Exception as error:  # whatever it is, the run goes on
            self._give_up(error)

    def log(self, kind: str, train_steps: int, line: dict[str, Any]) -> None:
        """Sends one line, numbers only, unless a line of this kind and step was sent before.

        Args:
          kind: such as `metrics`; train_steps only grow within one.
          train_steps: wandb's step.
          line: what to send.
        """
        if self.run is None:
            return
        numbers = {key: value for key, value in line.items() if isinstance(value, int | float)}
        try:
            if train_steps <= self.logged.get(kind, -1):
                return
            self.run.log(numbers, step=train_steps)
            self.logged[kind] = train_steps
            write_atomically(self.file, json.dumps(self.logged).encode())
        except Exception as error:  # whatever it is, the run goes on
            self._give_up(error)

    def close(self) -> None:
        """Ends the tracking."""
        if self.run is None:
            return
        try:
            self.run.finish()
        except Exception as error:  # whatever it is, the run goes on
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.run = None
        self.say(f"Weights & Biases is off from here on: {error}")
