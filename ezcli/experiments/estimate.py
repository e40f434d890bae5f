"""What the runs of a study will cost, from runs that were measured in this runs folder.

A finished run with the same settings but for seed and game tells its seconds, memory and disk.
Where there is none, the finished run with the fewest differences stands in, scaled by train_steps;
and where no run here is like the full agent, its pieces of work are timed (`ezcli.bench.cost`).
"""

import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ezcli.config import UNIDENTIFIED, RunConfig, differences
from ezcli.errors import EzError
from ezcli.experiments.handover import PYTHON
from ezcli.experiments.study import PlannedRun
from ezcli.runs.evaluations import is_number
from ezcli.runs.folder import RunFolder


class Cost(NamedTuple):
    """Of one run."""

    seconds: float
    memory_bytes: int
    disk_bytes: int
    is_scaled: bool  # from a run with other settings


PATIENCE = 120.0  # seconds after which a measurement is given up


class Measured(NamedTuple):
    """A finished run, as evidence."""

    config: RunConfig
    seconds: float
    memory_bytes: int
    disk_bytes: int


class Total(NamedTuple):
    """Of what is left of a study; None where nothing was measured."""

    run_hours: float | None
    hours: float | None  # with `jobs` side by side
    memory_bytes: int | None  # of all that run side by side
    disk_bytes: int | None
    num_scaled: int  # runs whose cost is that of a run with other settings
    source: str  # one sentence on where the numbers are from


def measured(runs_dir: Path, names: Iterable[str]) -> list[Measured]:
    """The finished runs among `names` whose sessions all say how long they took."""
    found = []
    for name in names:
        folder = RunFolder(runs_dir / name)
        try:
            sessions = folder.sessions()
            seconds = [session.get("seconds") for session in sessions]
            memory = [session.get("peak_memory_bytes") for session in sessions]
            known = [number for number in (*seconds, *memory) if is_number(number) and number >= 0]
            if folder.read_info().get("status") != "finished" or not sessions:
                continue
            if len(known) < 2 * len(sessions):
                continue  # a session did not say
            found.append(
                Measured(
                    folder.config(),
                    sum(known[: len(sessions)]),
                    round(max(known[len(sessions) :])),
                    disk_bytes(folder.path),
                )
            )
        except EzError:
            continue  # a damaged run is no evidence
    return found


def measure(config: RunConfig) -> Measured | None:
    """Times a run's pieces of work in another process; None if that took too long or was killed.

    Raises:
      EzError: the run cannot start at all.
    """
    try:
        done = subprocess.run(
            [*PYTHON, "-m", "ezcli.bench.cost"],
            input=config.model_dump_json(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode < 0:  # such as for want of memory
        return None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        said = re.sub(r"^ezcli\.[\w.]+: ", "", last)  # the class of an error of ours
        raise EzError("EZ-COST-NOT-MEASURED", f"Timing the run's pieces of work failed: {said}")
    found = json.loads(done.stdout.splitlines()[-1])  # an environment of the user's may print too
    return Measured(config, 3600 * found["hours"], found["memory_bytes"], found["disk_bytes"])


def disk_bytes(path: Path) -> int:
    """Size of all files in a folder, without those that a run at work removes meanwhile."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


def cost(config: RunConfig, evidence: Mapping[str, list[Measured]]) -> Cost | None:
    """What a run with this config will cost; None if nothing like it was measured.

    Args:
      config: of the run.
      evidence: what was measured, by `kind` of the config.
    """
    same = evidence.get(kind(config))
    if same:
        return average(same, 1.0, is_scaled=False)
    others = [run for group in evidence.values() for run in group]
    others = [run for run in others if is_alike(run.config, config)] or others
    if not others:
        return None
    nearest = min(others, key=lambda run: len(differences(run.config, config)))
    scale = config.schedule.train_steps / nearest.config.schedule.train_steps
    return average(evidence[kind(nearest.config)], scale, is_scaled=True)


def is_alike(one: RunConfig, other: RunConfig) -> bool:
    """Whether a train_step of both takes about as long."""
    return load(one) == load(other)


def load(config: RunConfig) -> tuple[object, ...]:
    """What a train_step takes its time for."""
    search, loss = config.search.num_simulations, (config.loss.batch_size, config.loss.unroll_steps)
    return config.env.name, config.network, config.reanalyse, search, loss


def average(runs: list[Measured], scale: float, is_scaled: bool) -> Cost:
    """Mean seconds and disk, most memory."""
    count = len(runs)
    return Cost(
        scale * sum(run.seconds for run in runs) / count,
        max(run.memory_bytes for run in runs),
        round(scale * sum(run.disk_bytes for run in runs) / count),
        is_scaled,
    )


def kind(config: RunConfig) -> str:
    """Equal for configs that differ in seed and game at most."""
    tables = config.model_dump(mode="json", exclude={*UNIDENTIFIED, "seed"})
    tables["env"].pop("game", None)
    return json.dumps(tables, sort_keys=True)


def total(left: Iterable[PlannedRun], evidence: list[Measured], jobs: int, source: str) -> Total:
    """What the runs that are left will cost together.

    Args:
      left: runs that are not finished; one that was begun counts as whole.
      evidence: finished runs of any study.
      jobs: runs side by side.
      source: sentence on where the evidence is from.
    """
    by_kind: dict[str, list[Measured]] = {}
    for run in evidence:
        by_kind.setdefault(kind(run.config), []).append(run)
    costs = [cost(run.config, by_kind) for run in left]
    known = [c for c in costs if c is not None]
    if len(known) < len(costs):
        return Total(None, None, None, None, 0, source)
    seconds = sum(c.seconds for c in known)
    longest = max((c.seconds for c in known), default=0.0)
    memory = sum(sorted((c.memory_bytes for c in known), reverse=True)[:jobs])
    return Total(
        seconds / 3600,
        max(seconds / min(jobs, max(1, len(known))), longest) / 3600,
        memory,
        sum(c.disk_bytes for c in known),
        sum(c.is_scaled for c in known),
        source,
    )
