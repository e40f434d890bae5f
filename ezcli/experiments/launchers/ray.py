"""Runs as tasks of a Ray cluster.

Each run is a task that holds its share of cores and GPUs and starts `ez train` beside it. Where a
node sees the driver's files, it trains in the run's folder. Where it does not, the folder travels:
an actor beside the driver, the home of the runs, hands it out and takes it back every few minutes,
so that a node that is lost costs no more than what came after the last time.
"""

import ctypes
import io
import logging
import os
import shutil
import signal
import socket
import tempfile
import time
import uuid
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, chdir, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ezcli.errors import Busy, ConfigError, EzError
from ezcli.experiments.handover import Task, last_lines, start_process
from ezcli.experiments.launchers.local import ending
from ezcli.experiments.launchers.protocol import JOBS, Ending, Fault, JobState, Place
from ezcli.files import appending
from ezcli.runs.folder import RunFolder
from ezcli.settings import DoesNotFit

SMALLEST = 0.0001  # share of a resource, by Ray's documentation
SETTINGS_OF = {"CPU": ("cpus",), "GPU": ("gpus", "runs_per_gpu")}  # that decide each kind
PACKING_TRIES = 20  # a run may change while its folder is packed


def number(value: object) -> object:
    """A number, of an option's text or a whole one of a file; anything else stays."""
    try:
        return float(value) if isinstance(value, str | int) else value
    except (ValueError, OverflowError):
        return value


Amount = Annotated[float, BeforeValidator(number), Field(ge=0)]


class RaySettings(Place):
    """The table `[ray]`: where the cluster is, and what a run asks for."""

    address: str = "auto"  # of the cluster; auto: the one that this machine is part of
    cpus: Amount = 1.0
    gpus: Amount = 1.0
    runs_per_gpu: Annotated[int, Field(ge=1)] = 1  # each then asks for its share of `gpus`
    resources: dict[str, Amount] = Field(default={})  # the cluster's own kinds
    bring_back_minutes: Annotated[float, Field(gt=0)] = 10.0  # where nodes do not see our files

    @property
    def has_gpus(self) -> bool:
        """Whether a run gets any."""
        return self.gpus > 0

    @property
    def threads(self) -> int:
        """The cores that a run asks for."""
        return max(1, int(self.cpus))

    @property
    def needs(self) -> dict[str, float]:
        """What Ray sets aside for a run, by kind."""
        return {"CPU": self.cpus, "GPU": self.gpus / self.runs_per_gpu, **self.resources}

    @field_validator("resources")
    @classmethod
    def _are_not_ours(cls, resources: dict[str, float]) -> dict[str, float]:
        for name in sorted(resources.keys() & {"CPU", "GPU", "memory", "object_store_memory"}):
            raise ValueError(f"{name!r} is none of the cluster's own; there are cpus and gpus")
        return resources

    @model_validator(mode="after")
    def _can_be_set_aside(self) -> "RaySettings":
        for name, amount in self.needs.items():
            if 0 < amount < SMALLEST:
                raise DoesNotFit(
                    f"Ray gives a run at least {SMALLEST:g} {name}, not {amount:g}",
                    *SETTINGS_OF.get(name, ("resources",)),
                )
            if name == "GPU" and amount > 1 and amount != int(amount):
                raise DoesNotFit(
                    f"Ray gives a run a share of a GPU or whole ones, not {amount:g}",
                    *SETTINGS_OF[name],
                )
        return self

    def launcher(
        self, jobs_dir: Path, slots: int | None = None, devices: Sequence[str] = ()
    ) -> "RayLauncher":
        """The cluster."""
        return RayLauncher(jobs_dir, self, slots)


class Sent(NamedTuple):
    """A task that Ray has."""

    reference: Any  # ray.ObjectRef of what `train` returns
    started: str
    began: float


class RayLauncher:
    """Tasks of a Ray cluster, which end with the command that submitted them.

    Args:
      folder: for a mark by which nodes tell whether they see our files.
      settings: where the cluster is, and what a run asks for.
      slots: runs under way at once, at most; None: as many as the cluster holds.

    Raises:
      ConfigError: Ray is missing, there is no cluster, or it can never hold a run.
    """

    outlives = False
    poll_seconds = 0.5

    def __init__(self, folder: Path, settings: RaySettings, slots: int | None = None) -> None:
        self.ray, self.settings, self.slots = connect(settings), settings, slots
        self.sent: dict[str, Sent] = {}
        self.mark = folder / f"mark-{uuid.uuid4().hex}"
        beside_us = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            self.ray.get_runtime_context().get_node_id(), soft=False
        )
        options = {"num_cpus": 0, "scheduling_strategy": beside_us}
        self.home = self.ray.remote(**options)(Home).remote(str(Path.cwd()))
        needs = settings.needs
        self.train = self.ray.remote(
            num_cpus=needs["CPU"],
            num_gpus=needs["GPU"],
            resources=settings.resources,
            max_retries=0,
        )(train)

    def submit(self, tasks: Sequence[Task]) -> list[str]:
        """Hands every task to Ray, which starts it where and when there is room."""
        self.mark.parent.mkdir(parents=True, exist_ok=True)
        self.mark.touch()
        for task in tasks:
            reference = self.train.remote(
                task, str(Path.cwd()), str(self.mark.absolute()), self.home, self.settings
            )
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self.sent[task.run] = Sent(reference, now, time.monotonic())
        return [""] * len(tasks)

    def states(self) -> Mapping[str, JobState]:
        """As the tasks told the home of the runs, and as Ray knows of their ends."""
        if not self.sent:
            return {}
        references = [sent.reference for sent in self.sent.values()]
        ended, _ = self.ray.wait(references, num_returns=len(references), timeout=0)
        begun = self._at_home("begun")
        return {
            run: "ended" if sent.reference in ended else "running" if run in begun else "queued"
            for run, sent in self.sent.items()
        }

    def _at_home(self, what: str, *arguments: Any) -> Any:
        """What the home of the runs answers.

        Raises:
          EzError: it is gone, and the cluster with it.
        """
        try:
            return self.ray.get(getattr(self.home, what).remote(*arguments))
        except self.ray.exceptions.RayError as error:
            said = " ".join(last_lines(str(error))[:1])
            raise EzError(
                "EZ-RAY-LOST",
                f"The Ray cluster was lost: {said}",
                "The same command goes on once it is back.",
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
            code, cause, fault, lines = None, "its node failed", "place", last_lines(str(error))
        except exceptions.WorkerCrashedError:
            code, cause, fault, lines = None, "its worker died", "place", ()
        except exceptions.RayTaskError as error:
            code, cause, fault, lines = None, "its task failed", "run", last_lines(str(error))
        else:
            cause = ending(code)
        where = self._at_home("forget", run)
        return Ending(code, cause, fault, lines, sent.started, time.monotonic() - sent.began, where)

    def close(self) -> None:
        """Lets every run save, waits for that, and leaves the cluster."""
        try:
            for run in self.cancel(list(self.sent), at_once=False):
                self.collect(run)
        finally:
            self.mark.unlink(missing_ok=True)
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
            "Install the extra ezcli[ray]: see CLUSTERS.md.",
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


class Home:
    """Where the runs live: an actor on the driver's machine.

    Args:
      cwd: the driver's folder, to which paths are relative.
    """

    def __init__(self, cwd: str) -> None:
        os.chdir(cwd)
        self.places: dict[str, str] = {}
        self.locks: dict[str, tuple[str, ExitStack]] = {}  # by run: its folder, and what holds it

    def begin(self, run: str, where: str) -> None:
        """A task says that it trains."""
        self.places[run] = where

    def begun(self) -> list[str]:
        """Runs whose task has begun."""
        return list(self.places)

    def forget(self, run: str) -> str | None:
        """Where the task was that has ended; its run is free for others."""
        self.let_go(run)
        return self.places.pop(run, None)

    def hold(self, run: str, path: str) -> str | None:
        """Holds the lock of a run that trains where its folder cannot be seen from here.

        Returns:
          Who else has it, as a sentence; None if we have it now.
        """
        stack = ExitStack()
        try:
            stack.enter_context(RunFolder(Path(path)).lock())
        except Busy as error:
            return error.message
        self.locks[run] = (path, stack)
        return None

    def let_go(self, run: str) -> None:
        """Lets go of a run's lock."""
        if run in self.locks:
            _, stack = self.locks.pop(run)
            stack.close()

    def fetch(self, path: str) -> bytes:
        """A run's folder, packed."""
        return pack(Path(path))

    def add(self, content: bytes, log: str) -> None:
        """Adds to what a run has printed."""
        with appending(Path(log)) as handle:
            handle.write(content)

    def store(self, packed: bytes, run: str, goes_on: bool) -> str | None:
        """Puts a run's folder in the place of what is there, whose lock goes with it.

        Args:
          packed: the folder.
          run: its name.
          goes_on: whether the run trains on, so that the lock is to be held again.

        Returns:
          As `hold`: another process may have taken the run in between.
        """
        path, stack = self.locks[run]
        folder = Path(path)
        draft = folder.with_name(f".incoming-{folder.name}")
        shutil.rmtree(draft, ignore_errors=True)
        unpack(packed, draft)
        del self.locks[run]
        stack.close()
        try:
            replace(draft, folder)
        finally:
            other = self.hold(run, path) if goes_on else None
        return other


def train(
    task: Task, cwd: str, mark: str, home: Any, settings: RaySettings
) -> tuple[int, tuple[str, ...]]:
    """What a worker does: trains one run; its exit code and last lines.

    Args:
      task: the run.
      cwd: the driver's folder.
      mark: a file that is there if this machine sees the driver's files.
      home: the actor `Home`.
      settings: of the launcher.
    """
    import ray

    home.begin.remote(task.run, socket.gethostname())
    if Path(mark).is_file():
        os.chdir(cwd)
        return execute(task, lambda: None, None)
    with tempfile.TemporaryDirectory(prefix="ez-") as place:
        os.chdir(place)
        try:
            return away(task, settings, home, ray)
        finally:
            os.chdir("/")


def away(task: Task, settings: RaySettings, home: Any, ray: Any) -> tuple[int, tuple[str, ...]]:
    """Trains in a folder of this machine, and brings the run's folder back again and again."""
    run, here = task.folder, Path("runs") / task.folder.name
    other = ray.get(home.hold.remote(task.run, str(run)))
    if other is not None:
        return Busy.exit_code, (other,)
    unpack(ray.get(home.fetch.remote(str(run))), here.parent)

    def bring_back(goes_on: bool = True) -> None:
        other = ray.get(home.store.remote(pack(here), task.run, goes_on))
        if other is not None:
            raise Busy("EZ-RUN-BUSY", other)

    own = task._replace(folder=here, log=Path("log"))
    try:
        found = execute(own, bring_back, 60 * settings.bring_back_minutes)
    except Busy as error:
        return Busy.exit_code, (error.message,)
    except BaseException:  # such as Ray's way to end a worker; the run has saved
        bring_back(goes_on=False)
        raise
    else:
        bring_back(goes_on=False)
        return found
    finally:
        ray.get(home.add.remote(Path("log").read_bytes(), str(task.log)))


def execute(
    task: Task, now_and_then: Callable[[], None], seconds: float | None
) -> tuple[int, tuple[str, ...]]:
    """Runs `ez` and waits for it; an interrupt of the task lets it save.

    What is done now and then may fail with an OSError: there is a next time.
    """
    child = start_process(task, end_with_parent)
    due = None if seconds is None else time.monotonic() + seconds
    try:
        while child.process.poll() is None:
            time.sleep(0.2)
            if due is not None and seconds is not None and time.monotonic() >= due:
                with suppress(OSError):
                    now_and_then()
                due = time.monotonic() + seconds
    except BaseException as error:  # whatever it is, nothing trains on in a folder that goes
        child.signal(signal.SIGTERM)
        child.process.wait()
        if not isinstance(error, KeyboardInterrupt):  # that is from `ray.cancel`
            raise
    return child.process.returncode, child.last_lines()


def end_with_parent() -> None:
    """Has the kernel tell this process to save when the worker that started it is gone."""
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def pack(run: Path) -> bytes:
    """A run's folder as a zip archive, under its own name.

    A run may train meanwhile. It is packed again if a file went away or its newest checkpoint
    changed, so that what was packed holds that checkpoint and all that the run wrote up to it.

    Raises:
      OSError: it kept changing.
    """
    for attempt in range(PACKING_TRIES):
        before = newest(run)
        memory = io.BytesIO()
        try:
            with zipfile.ZipFile(memory, "w") as archive:
                for file in files_of(run):
                    archive.writestr(str(file.relative_to(run.parent)), file.read_bytes())
        except FileNotFoundError:
            if attempt == PACKING_TRIES - 1:
                raise
        else:
            if newest(run) == before:
                return memory.getvalue()
        time.sleep(0.1)
    raise OSError(f"{run} changed {PACKING_TRIES} times while it was packed")


def newest(run: Path) -> str:
    """Name of a run's newest checkpoint; empty if it has none."""
    return max((path.name for path in run.glob("checkpoints/step-*")), default="")


def files_of(run: Path) -> list[Path]:
    """The files of a run's folder but for locks, jobs and what is being written."""
    found = sorted(f for f in run.rglob("*") if f.is_file() and not f.is_symlink())
    drafts = (".tmp-", ".lock")
    return [
        file
        for file in found
        if not any(part.startswith(drafts) for part in file.relative_to(run).parts)
        and file.relative_to(run).parts[0] != JOBS
    ]


def unpack(packed: bytes, folder: Path) -> None:
    """The files of an archive, in a folder that is made; none goes elsewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(folder)


def replace(draft: Path, folder: Path) -> None:
    """Puts the one folder that is in `draft` in the place of `folder`, which is whole at any time.

    Where the system cannot exchange two folders at once, what was there is in `draft` for an
    instant. What is known of the jobs stays.
    """
    (inner,) = draft.iterdir()
    if (folder / JOBS).exists():
        (folder / JOBS).rename(inner / JOBS)
    if folder.exists() and not exchanged(inner, folder):
        old = draft / f".outgoing-{folder.name}"
        folder.rename(old)
    if not folder.exists():
        inner.rename(folder)
    shutil.rmtree(draft, ignore_errors=True)  # on NFS a file may be there as long as it is read


def exchanged(one: Path, other: Path) -> bool:
    """Exchanges two folders in one step; False if this system or filesystem cannot."""
    at_cwd, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of linux/fs.h
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    paths = (os.fsencode(one), os.fsencode(other))
    return rename is not None and rename(at_cwd, paths[0], at_cwd, paths[1], exchange) == 0
