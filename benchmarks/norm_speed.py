"""CPU time of a train_step and of a search with each norm, relative to batch-norm.

    python -m benchmarks.norm_speed [--rounds 9] [-o benchmarks/results/NAME-norm-speed.json]

Each round times every norm once, and a ratio is the median over rounds of the ratios to `batch` in
the same round. Both sides have one thread, and CPU time is what other work on the machine disturbs
least. A search has ROOTS roots and the preset's number of simulations. `batch-recalibrated` differs
from `batch` only where a copy is taken: the column "copy" is what that adds, in train_steps.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from ezcli.bench.inputs import bench, random_batch, random_observations
from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.efficientzero.components import planners_for
from ezcli.efficientzero.learner import Learner
from ezcli.efficientzero.network_settings import NormName
from ezcli.efficientzero.recalibrate import BATCHES, recalibrate
from ezcli.efficientzero.searcher import Searcher
from ezcli.runs.compute import num_cores, resolve_compute
from ezcli.runs.provenance import device_name, version

PRESETS = ("keydoor", "minatar", "atari-cpu")
ROOTS = 64


def works(preset: str, norm: str) -> tuple[Callable[[], Any], ...]:
    """A train_step, a search, and the recalibration of a copy where the norm has one."""
    changes = ["compute.device='cpu'", f"network.norm='{norm}'"]
    config = resolve(read_toml(preset_path(preset)), changes)
    at = bench(config, resolve_compute(config.compute), 1.0)
    planner = planners_for(config, len(at.spec.action_names)).targets
    searcher = Searcher(at.network, "float32", "cpu")
    observations = random_observations(at, ROOTS)
    draws = planner.draws(np.random.default_rng(0), ROOTS, explores=True)
    batch = random_batch(at)
    learner = Learner(at.network, config, at.rules, "float32")
    first = batch.observations[:, 0], batch.actions

    def step() -> None:
        at.network.train()
        learner.step(batch)

    def search() -> None:
        planner.plan(searcher, observations, draws)

    def copy() -> None:
        if at.rules.recalibrates:
            recalibrate(at.network, [first] * BATCHES, at.rules.prefix_horizon)

    return step, search, copy


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU time of one call, in this thread."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


def measured(preset: str, rounds: int) -> list[dict[str, Any]]:
    """A row for each norm."""
    norms = get_args(NormName)
    parts = [works(preset, norm) for norm in norms]
    times = np.array(
        [[[cpu_seconds(work) for work in of_norm] for of_norm in parts] for _ in range(rounds + 1)]
    )[1:]  # [rounds, norms, parts]; the first round compiles
    ratios = np.median(times / times[:, :1], axis=0)
    copies = np.median(times[:, :, 2] / times[:, :, 0], axis=0)
    return [
        {
            "preset": preset,
            "norm": norm,
            "train_step": round(float(ratios[i, 0]), 2),
            "search": round(float(ratios[i, 1]), 2),
            "copy_in_train_steps": round(float(copies[i]), 2),
            "train_step_ms": round(1e3 * float(np.median(times[:, i, 0])), 1),
            "search_ms": round(1e3 * float(np.median(times[:, i, 1])), 1),
        }
        for i, norm in enumerate(norms)
    ]


def main() -> None:
    """Measures each preset and prints a line for each norm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for preset in PRESETS:
        found += measured(preset, asked.rounds)
        for row in found[-len(get_args(NormName)) :]:
            print(row, flush=True)
    if asked.output:
        result = {
            "device": device_name(torch.device("cpu")),
            "cores": num_cores(),
            "torch": version("torch"),
            "rounds": asked.rounds,
            "norms": found,
        }
        asked.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
