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
    """A task that Ray has."""

    reference: Any  # ray.ObjectRef of what `train` returns
    started: str
    began: float


class RayLauncher:
    """Tasks of a Ray cluster, which end with the command that submitted them.

    Args:
      folder: for a file by which nodes tell whether they see our files.
      settings: where the cluster is, and what a run asks for.
      slots: runs under way at once, at most; None: as many as the cluster holds.

    Raises:
      ConfigError: Ray is missing, there is no cluster, or it can never hold a run.
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
        """Hands every task to Ray, which starts it where and when there is room."""
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
        """As the tasks told the driver's actor, and as Ray knows of their ends."""
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
        """What the driver's actor answers.

        Raises:
          EzError: it is gone, and the cluster with it.
        """
        try:
            return self.ray.get(getattr(self.driver, what).remote(*arguments))
        except self.ray.exceptions.RayError as error:
            said = " ".join(last_lines(str(error))[:1])
            raise EzError(
                "EZ-RAY-LOST",
                f"The Ray cluster was lost: {said}",
                "Repeat the command once it is back.",
            ) from error

    def cancel(self, runs: Sequence[str], at_once: bool) -> list[str]:
        """Interrupts tasks, which let their runs save; or kills them."""
        for run in runs:
            self.ray.cancel(self.sent[run].reference, force=at_once)
        return list(runs)

    def collect(self, run: str) -> Ending:
        """What the task returned, or why it could not."""
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
        """Lets every run save, waits for that, and leaves the cluster."""
        try:
            for run in self.cancel(list(self.sent), at_once=False):
                self.collect(run)
        finally:
            self.probe.unlink(missing_ok=True)
            self.ray.shutdown()


def connect(settings: RaySettings) -> Any:
    """The module `ray`, connected to the cluster.

    Raises:
      ConfigError: it is missing, there is no cluster, or it can never hold a run.
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
    except (ConnectionError, ValueError) as error:  # nobody answers; that is no address
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
            f"A run asks for {asked}, and no node of the cluster has that (at most {most}).",
            "Ask for less: --gpus, --cpus, --runs-per-gpu.",
        )
    return ray
