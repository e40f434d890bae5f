"""What it costs to send a run elsewhere: the same small study here, on SLURM, and on Ray.

    python -m benchmarks.launchers -o benchmarks/results/NAME-launchers.json

The SLURM and the Ray cluster are those of the tests: two nodes, both of them this machine.
Of each run are told: its own seconds, from when training begins to its end; the process, which
also has to load PyTorch; and the whole, that is the time of the study by the runs that each of the
two places executed, which has submitting, waiting in the queue and looking whether it has ended.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from ezcli import __version__
from ezcli.experiments.study import StudyFolder
from ezcli.files import write_atomically
from ezcli.runs.folder import RunFolder
from ezcli.runs.json_files import read_lines
from ezcli.runs.provenance import device_name
from tests.cluster.slurm import Slurm, missing
from tests.runs.helpers import ROOM, TINY

PLACES = 2
ONE_CORE = ["--cpus", "1", "--gpus", "0"]
OPTIONS = {
    "local": ["--jobs", "2"],
    "slurm": ["--launcher", "slurm", *ONE_CORE, "--memory", "1500M", "--jobs", "2", "--wait"],
    "ray": ["--launcher", "ray", *ONE_CORE],
}


class Took(NamedTuple):
    """Seconds of a study, and medians over its runs."""

    study: float
    whole: float  # of the study, by the runs that one of its places executed
    process: float
    training: float


def measure(launcher: str, seeds: int, environment: Mapping[str, str]) -> Took:
    """Trains the study."""
    settings = (*TINY, *ROOM["catch"], "compute.threads=1")
    study = ["ablate", "--env", "catch", "--preset", "smoke", "--study", "s", "--quiet"]
    study += ["--drop", "value-prefix", "--seeds", str(seeds)]
    study += [part for setting in settings for part in ("--set", setting)]
    with tempfile.TemporaryDirectory() as cwd:
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "ezcli", *study, *OPTIONS[launcher]],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(Path.cwd()), **environment},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        took = time.monotonic() - began
        runs_dir = Path(cwd) / "runs"
        attempts = read_lines(StudyFolder(runs_dir, "s").attempts)
        sessions = [
            session["seconds"]
            for path in runs_dir.glob("*/run.json")
            for session in RunFolder(path.parent).sessions()
        ]
    return Took(
        took,
        took * PLACES / len(attempts),
        statistics.median(line["seconds"] for line in attempts),
        statistics.median(sessions),
    )


def on_slurm(seeds: int) -> Took:
    """On a cluster that lives as long as this takes."""
    with tempfile.TemporaryDirectory(prefix="ez-slurm-") as folder:
        cluster = Slurm(Path(folder))
        try:
            return measure("slurm", seeds, cluster.environment)
        finally:
            cluster.close()


def on_ray(seeds: int) -> Took:
    """Likewise."""
    from ray.cluster_utils import Cluster

    os.environ["PYTHONPATH"] = str(Path.cwd())
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        for _ in range(PLACES):
            cluster.add_node(num_cpus=1)
        return measure("ray", seeds, {"RAY_ADDRESS": cluster.address})
    finally:
        cluster.shutdown()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    measure("local", 1, {})  # compiles
    found = {"local": measure("local", options.seeds, {})}
    if not missing():
        found["slurm"] = on_slurm(options.seeds)
    found["ray"] = on_ray(options.seeds)
    for launcher, took in found.items():
        words = ", ".join(f"{name} {value:.1f}" for name, value in took._asdict().items())
        print(f"{launcher:6} {words}")
    result = {
        "ezcli": __version__,
        "device": device_name(torch.device("cpu")),
        "runs": 2 * options.seeds,
        "seconds": {launcher: took._asdict() for launcher, took in found.items()},
    }
    if options.output:
        write_atomically(options.output, (json.dumps(result, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
