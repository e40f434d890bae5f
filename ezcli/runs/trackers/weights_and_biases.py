"""Weights & Biases."""

import logging
import os
import re
from collections.abc import Mapping
from typing import Any

from ezcli.config.run import RunConfig
from ezcli.errors import ConfigError
from ezcli.runs.folder import RunFolder
from ezcli.runs.trackers.protocol import Tracking

MODES = ("offline", "online")
START_SECONDS = 30  # time limit of its start


class WeightsAndBiases:
    """A run of wandb, whose step is the train_step and whose x-axis is env_steps.

    wandb itself reads its variables, such as WANDB_RUN_GROUP and WANDB_JOB_TYPE.
    """

    title, package, install = "Weights & Biases", "wandb", "ezcli"

    def __init__(self, tracking: Tracking, folder: RunFolder, config: RunConfig) -> None:
        """Starts a run of wandb, or continues the one of an earlier session."""
        logging.raiseExceptions = False  # its log on a full disk would print a page for each line
        import wandb

        entity, project = entity_and_project(tracking.wandb_project)
        self.run: Any = wandb.init(
            entity=entity,
            project=project or os.environ.get("WANDB_PROJECT") or "ezcli",
            name=folder.name,
            id=f"{folder.name}-{config.identity}",
            resume="allow",
            dir=str(folder.path),
            mode="offline" if tracking.wandb == "offline" else "online",
            config=config.model_dump(mode="json"),
            settings=wandb.Settings(silent=True, init_timeout=START_SECONDS),
        )
        self.run.define_metric("*", step_metric="env_steps")

    def log(self, numbers: Mapping[str, float], train_steps: int) -> None:
        """Adds a row to its history."""
        self.run.log(dict(numbers), step=train_steps)

    def close(self) -> None:
        """Waits until all data is sent."""
        self.run.finish()


def entity_and_project(text: str | None) -> tuple[str | None, str | None]:
    """Splits `PROJECT` or `ENTITY/PROJECT` into entity and project; None if not given.

    Raises:
      ConfigError: the text has neither form.
    """
    if text is None:
        return None, None
    found = re.fullmatch(r"(?:([^/\s]+)/)?([^/\s]+)", text)
    if found is None:
        raise ConfigError(
            "EZ-OPTION-WANDB",
            f"--wandb-project {text!r} is not allowed.",
            "Use PROJECT or ENTITY/PROJECT.",
        )
    return found[1], found[2]
