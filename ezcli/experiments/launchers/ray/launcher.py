"""The Ray cluster as a launcher, from the driver's side."""

import logging
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import chdir
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ezcli.errors import ConfigError, EzError
from ezcli.experiments.handover import Task, exit_text, last_lines
from ezcli.experiments.launchers.protocol import Ending, Fault, JobState
from ezcli.experiments.launchers.ray.driver import DriverActor
from ezcli.experiments.launchers.ray.settings import RaySettings
from ezcli.experiments.launchers.ray.worker import train


class Submitted(NamedTuple):
    """A task submitted to Ray."""

    reference: Any  # ray.ObjectRef of the result of `train`
    started: str
    began: float


class RayLauncher:
    """Tasks of a Ray cluster. They end with the command that submitted them.

    Args:
      folder: for a file by which nodes detect whether they share our files.
      settings: the cluster and the resources of a run.
      slots: largest number of runs at the same time; None for as many as fit.

    Raises:
      ConfigError: Ray is missing, there is no cluster, or it is too small for a run.
    """

    outlives = False
    poll_seconds = 0.5

    def __init__(self, folder: Path, settings: RaySettings, slots: int | None = None) -> None:
        self.ray, self.settings, self.slots = connect(settings), settings, slots
        self.sent: dict[str, Submitted] = {}
        self.probe = folder / f"probe-{uuid.uuid4().hex}"
        beside_us = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            self.ray.get_runtime_context().get_node_id(), soft=False
        )
        options = {"num_cpus": 0, "scheduling_strategy": beside_us}
        self.driver = self.ray.remote(**options)(DriverActor).remote(str(Path.cwd()))
        needs = settings.needs
        self.train = self.ray.remote(
            num_cpus=needs["CPU"],
            num_gpus=needs["GPU"],
            resources=settings.resources,
            max_retries=0,
        )(train)

    def submit(self, tasks: Sequence[Task]) -> list[str]:
        """Submits every task to Ray, which starts it when resources are free."""
        self.probe.parent.mkdir(parents=True, exist_ok=True)
        self.probe.touch()
        for task in tasks:
            reference = self.train.remote(
                task, str(Path.cwd()), str(self.probe.absolute()), self.driver, self.settings
            )
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self.sent[task.run] = Submitted(reference, now, time.monotonic())
        return [""] * len(tasks)

    def states(self) -> Mapping[str, JobState]:
        """States as reported by tasks to the driver's actor, and ends as reported by Ray."""
        if not self.sent:
            return {}
        references = [sent.reference for sent in self.sent.values()]
        ended, _ = self.ray.wait(references, num_returns=len(references), timeout=0)
        begun = self._ask_driver("begun")
        return {
            run: "ended" if sent.reference in ended else "running" if run in begun else "queued"
            for run, sent in self.sent.items()
        }

    def _ask_driver(self, what: str, *arguments: Any) -> Any:
        """Calls the driver's actor.

        Raises:
          EzError: the actor, and with it the cluster, is gone.
        """
        try:
            return self.ray.get(getattr(self.driver, what).remote(*arguments))
        except self.ray.exceptions.RayError as error:
            said = " ".join(last_lines(str(error))[:1])
            raise EzError(
                "EZ-RAY-LOST",
                f"The Ray cluster was lost: {said}",
                "Repeat the command once the cluster is back.",
            ) from error

    def cancel(self, runs: Sequence[str], at_once: bool) -> list[str]:
        """Interrupts tasks, whose runs then save, or kills them."""
        for run in runs:
            self.ray.cancel(self.sent[run].reference, force=at_once)
        return list(runs)

    def collect(self, run: str) -> Ending:
        """The result of the task, or the reason why it has none."""
        exceptions = self.ray.exceptions
        sent = self.sent.pop(run)
        fault: Fault = "run"
        try:
            code, lines = self.ray.get(sent.reference)
        except exceptions.TaskCancelledError:
            code, cause, fault, lines = None, "cancelled", "user", ()
        except exceptions.OutOfMemoryError:
            code, cause, fault, lines = None, "out of memory on its node", "run", ()
        except (exceptions.NodeDiedError, exceptions.ObjectLostError) as error:
            code, cause, fault, lines = None, "its node failed", "cluster", last_lines(str(error))
        except exceptions.WorkerCrashedError:
            code, cause, fault, lines = None, "its worker died", "cluster", ()
        except exceptions.RayTaskError as error:
            code, cause, fault, lines = None, "its task failed", "run", last_lines(str(error))
        else:
            cause = exit_text(code)
        where = self._ask_driver("forget", run)
        return Ending(code, cause, fault, lines, sent.started, time.monotonic() - sent.began, where)

    def close(self) -> None:
        """Lets every run save, waits, and disconnects from the cluster."""
        try:
            for run in self.cancel(list(self.sent), at_once=False):
                self.collect(run)
        finally:
            self.probe.unlink(missing_ok=True)
            self.ray.shutdown()


def connect(settings: RaySettings) -> Any:
    """Returns the module `ray`, connected to the cluster.

    Raises:
      ConfigError: Ray is missing, there is no cluster, or it is too small for a run.
    """
    try:
        import ray
        import ray.exceptions
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise ConfigError(
            "EZ-RAY-NOT-INSTALLED",
            "The launcher ray needs Ray.",
            "Install the extra ezcli[ray]: see docs/tutorials/cluster.md.",
        ) from error
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the cluster
    try:
        with chdir("/"):  # Ray puts the current folder first in the search path of its workers
            ray.init(address=settings.address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:  # no answer; not an address
        raise ConfigError(
            "EZ-RAY-NO-CLUSTER",
            f"There is no Ray cluster at {settings.address!r}.",
            "Start one with `ray start --head`, or set ray.address in a file for --cluster.",
        ) from error
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    needs = {kind: amount for kind, amount in settings.needs.items() if amount}
    if not any(all(node.get(kind, 0) >= needs[kind] for kind in needs) for node in nodes):
        ray.shutdown()
        asked = ", ".join(f"{amount:g} {kind}" for kind, amount in needs.items())
        most = ", ".join(f"{max(node.get(kind, 0) for node in nodes):g} {kind}" for kind in needs)
        raise ConfigError(
            "EZ-RAY-RESOURCES",
            f"A run needs {asked}, but the largest node of the cluster has {most}.",
            "Request less with --gpus, --cpus or --runs-per-gpu.",
        )
    return ray
