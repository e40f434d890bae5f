"""What the runs that are left of a study will cost together."""

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

MEASURING_SECONDS = 120.0  # after which a measurement is given up


class Total(NamedTuple):
    """Of what is left of a study; None where nothing was measured."""

    run_hours: float | None
    hours: float | None  # with `jobs` side by side
    memory_bytes: int | None  # of all that run side by side
    disk_bytes: int | None
    num_scaled: int  # runs whose cost is that of a run with other settings
    source: str  # one sentence on where the numbers are from


def measure(config: RunConfig) -> Finished | None:
    """Times a run's pieces of work in another process; None if that took too long or was killed.

    Raises:
      EzError: the run cannot start at all.
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
    if done.returncode < 0:  # such as for want of memory
        return None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        said = re.sub(r"^ezcli\.[\w.]+: ", "", last)  # the class of an error of ours
        raise EzError("EZ-COST-NOT-MEASURED", f"Timing the run's pieces of work failed: {said}")
    found = json.loads(done.stdout.splitlines()[-1])  # an environment of the user's may print too
    return Finished(config, Cost(**found))


def total(left: Iterable[PlannedRun], evidence: list[Finished], jobs: int, source: str) -> Total:
    """What the runs that are left will cost together.

    Args:
      left: runs that are not finished; one that was begun counts as whole.
      evidence: finished runs of any study.
      jobs: runs side by side.
      source: sentence on where the evidence is from.
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
