"""Estimates the cost of the unfinished runs of a study."""

import json
import re
import subprocess
from collections.abc import Iterable
from typing import NamedTuple

from ezcli.config.run import RunConfig
from ezcli.errors import EzError
from ezcli.experiments.handover import PYTHON
from ezcli.experiments.study import PlannedRun
from ezcli.runs.cost import Cost, Finished, agent_key, by_agent, from_finished_runs

MEASURING_SECONDS = 120.0  # time limit of a measurement


class Total(NamedTuple):
    """The cost of the unfinished runs; None if nothing was measured."""

    run_hours: float | None
    hours: float | None  # with `jobs` runs at the same time
    memory_bytes: int | None  # of all runs at the same time
    disk_bytes: int | None
    num_scaled: int  # runs whose cost is scaled from a run with other settings
    source: str  # one sentence on the source of the numbers


def measure(config: RunConfig) -> Finished | None:
    """Times the parts of a run in another process; None if that took too long or was killed.

    Raises:
      EzError: the run cannot start.
    """
    try:
        done = subprocess.run(
            [*PYTHON, "-m", "ezcli.bench.pieces"],
            input=config.model_dump_json(),
            capture_output=True,
            text=True,
            timeout=MEASURING_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode < 0:  # for example because memory ran out
        return None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        said = re.sub(r"^ezcli\.[\w.]+: ", "", last)  # the class of one of our errors
        raise EzError("EZ-COST-NOT-MEASURED", f"Timing the parts of the run failed: {said}")
    found = json.loads(done.stdout.splitlines()[-1])  # a user's environment may print too
    return Finished(config, Cost(**found))


def total(left: Iterable[PlannedRun], evidence: list[Finished], jobs: int, source: str) -> Total:
    """The total cost of the unfinished runs.

    Args:
      left: unfinished runs; a partly trained one counts in full.
      evidence: finished runs of any study.
      jobs: runs at the same time.
      source: sentence on the source of the evidence.
    """
    known = by_agent(evidence)
    configs = [run.config for run in left]
    costs = [cost for config in configs if (cost := from_finished_runs(config, known))]
    if len(costs) < len(configs):
        return Total(None, None, None, None, 0, source)
    hours = [cost.hours or 0.0 for cost in costs]
    memory = sorted((cost.memory_bytes for cost in costs), reverse=True)
    return Total(
        sum(hours),
        max(sum(hours) / min(jobs, max(1, len(costs))), max(hours, default=0.0)),
        sum(memory[:jobs]),
        sum(cost.disk_bytes for cost in costs),
        sum(agent_key(config) not in known for config in configs),
        source,
    )
