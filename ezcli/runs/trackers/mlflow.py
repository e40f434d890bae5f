"""MLflow: a run on the server that MLFLOW_TRACKING_URI names."""

import os
import time
from collections.abc import Mapping
from typing import Any

from ezcli.config.run import RunConfig
from ezcli.config.tables import flat_items
from ezcli.runs.folder import RunFolder
from ezcli.runs.trackers.protocol import Tracking

MOST_PARAMS = 100  # that one call takes
RETRIES = "2"  # of a request; MLflow's own default makes a lost server cost minutes
TAGS = {"study": "EZ_STUDY", "arm": "EZ_ARM"}  # and the variables that `ez ablate` sets


class MLflow:
    """A run of MLflow: settings are its parameters, the step is the train_step.

    MLflow itself reads its variables, such as MLFLOW_TRACKING_URI.
    """

    title, package, install = "MLflow", "mlflow", "ezcli[mlflow]"

    def __init__(self, tracking: Tracking, folder: RunFolder, config: RunConfig) -> None:
        """Starts a run of MLflow, or continues that of an earlier session."""
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", RETRIES)
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self.metric, self.sent = Metric, None
        self.client: Any = MlflowClient()
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "ezcli"
        known = self.client.get_experiment_by_name(experiment)
        place = known.experiment_id if known else self.client.create_experiment(experiment)
        own = f"{folder.name}-{config.identity}"
        found = self.client.search_runs([place], f"tags.ezcli = '{own}'")
        if found:
            self.run = found[0].info.run_id
            self.client.update_run(self.run, status="RUNNING")
            return
        tags = {tag: os.environ[name] for tag, name in TAGS.items() if name in os.environ}
        made = self.client.create_run(place, run_name=folder.name, tags={"ezcli": own, **tags})
        self.run = made.info.run_id
        settings = flat_items(config.model_dump(mode="json"))
        params = [Param(key, str(value)) for key, value in settings]
        for first in range(0, len(params), MOST_PARAMS):
            self.client.log_batch(self.run, params=params[first : first + MOST_PARAMS])

    def log(self, numbers: Mapping[str, float], train_steps: int) -> None:
        """A point of each metric; a thread of MLflow sends them."""
        now = time.time_ns() // 1_000_000  # milliseconds
        points = [
            self.metric(name, float(number), now, train_steps) for name, number in numbers.items()
        ]
        self.sent = self.client.log_batch(self.run, metrics=points, synchronous=False)

    def close(self) -> None:
        """Waits for what is on its way to the server."""
        if self.sent is not None:
            self.sent.wait()
        self.client.set_terminated(self.run)
