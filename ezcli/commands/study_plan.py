"""The plan of a study, with its cost, as text and as JSON."""

import json
from pathlib import Path
from typing import Any

from ezcli import console
from ezcli.commands.jobs import threads_of
from ezcli.config.resolve import with_changes
from ezcli.experiments import catalogue, estimate
from ezcli.experiments.design import Arm, arm_label
from ezcli.experiments.launchers.cluster import Cluster
from ezcli.experiments.study import PlannedRun, Study
from ezcli.runs.cost import finished_runs, is_alike
from ezcli.runs.folder import RunFolder
from ezcli.words import counted, duration, size

BEGUN = ("running", "stalled", "interrupted", "killed", "failed", "damaged")


def run_state(runs_dir: Path, run: PlannedRun) -> str:
    """The state of a planned run; `new` before it has a folder."""
    folder = RunFolder(runs_dir / run.name)
    return catalogue.state(folder) if folder.exists else "new"


def cost_of(
    study: Study,
    left: list[PlannedRun],
    runs_dir: Path,
    existing: dict[str, str],
    jobs: int,
    cluster: Cluster,
) -> estimate.Total:
    """The cost of the unfinished runs, from finished runs or from timing a run's parts."""
    evidence = finished_runs(runs_dir, existing.values())
    source = f"From {counted(len(evidence), 'finished run')} here"
    if left and not any(is_alike(run.config, study.base) for run in evidence):
        if not cluster.settings.is_here:
            return estimate.total(left, [], jobs, "No similar run has finished here yet.")
        threads = threads_of(study, jobs, cluster)
        found = estimate.measure(with_changes(study.base, {"compute.threads": threads}))
        if found is None:
            slow = f"Timing a run took more than {estimate.MEASURING_SECONDS:.0f} s, or was killed."
            return estimate.total(left, [], jobs, slow)
        evidence = [found]
        source = "Estimated from a search and a train_step timed now"
    return estimate.total(
        left, evidence, jobs, f"{source}; runs at the same time slow each other down."
    )


def show_plan(
    study: Study,
    runs: list[PlannedRun],
    states: dict[str, str],
    cost: estimate.Total,
    jobs: str,
) -> None:
    """Prints the plan before anything runs."""
    sizes = [(len(study.arms), "arm"), (len(study.games), "game"), (len(study.seeds), "seed")]
    product = " x ".join(counted(*part) for part in sizes if part != (0, "game"))
    console.tell(f"Study {study.name}: {product}, {counted(len(runs), 'run')}.")
    rows = []
    for arm in study.arms:
        own = [states[run.name] for run in runs if any(c.arm == arm.name for c in run.cells)]
        counts = (own.count("finished"), sum(s in BEGUN for s in own), own.count("new"))
        rows.append((arm_label(arm.name), differences_text(arm), *counts))
    console.show_table(("arm", "differs from the full agent in", "finished", "begun", "new"), rows)
    console.tell(f"Seeds {', '.join(map(str, study.seeds))}; runs at the same time: {jobs}.")
    console.tell(cost_text(cost))


def differences_text(arm: Arm) -> str:
    """The changes of an arm, in a cell of a table."""
    changes = ", ".join(f"{key} = {json.dumps(value)}" for key, value in arm.changes.items())
    return changes or "nothing"


def cost_text(cost: estimate.Total) -> str:
    """The cost of the unfinished runs, in a sentence."""
    if cost.run_hours is None:
        return f"Hours, memory and disk are not known. {cost.source}"
    if not cost.run_hours:
        return "All runs are finished."
    scaled = ""
    if cost.num_scaled:
        scaled = f"The hours of {counted(cost.num_scaled, 'run')} are scaled from other settings. "
    alone, together = (duration(3600 * (h or 0)) for h in (cost.run_hours, cost.hours))
    memory, disk = (size(count or 0) for count in (cost.memory_bytes, cost.disk_bytes))
    return (
        f"The unfinished runs need about {alone} of training ({together} in parallel), {memory} of "
        f"memory and {disk} of disk. {scaled}{cost.source}"
    )


def plan_as_json(
    study: Study, runs: list[PlannedRun], states: dict[str, str], cost: estimate.Total
) -> dict[str, Any]:
    """The plan as JSON values."""
    return {
        "study": study.name,
        "preset": study.preset,
        "games": list(study.games),
        "seeds": list(study.seeds),
        "arms": [arm._asdict() for arm in study.arms],
        "runs": [
            {
                "name": run.name,
                "identity": run.config.identity,
                "state": states[run.name],
                "cells": [{"arm": c.arm, "env": c.env, "seed": c.seed} for c in run.cells],
            }
            for run in runs
        ],
        "estimate": cost._asdict(),
    }
