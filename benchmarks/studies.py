"""How long a large study takes to plan, list, look at and report.

    python -m benchmarks.studies -o benchmarks/results/NAME-520-runs.json

Makes the folders of a finished study (26 games, 4 arms, 5 seeds) without training: each has the
config, entries, evaluations and as many lines of metrics as a run of `atari100k` leaves. Then each
command runs as a process of its own, some times over.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from ezcli import __version__
from ezcli.envs.atari_suite import ATARI_100K
from ezcli.files import write_atomically
from ezcli.runs.folder import METRICS, TIMING, RunFolder
from ezcli.runs.metrics import COLUMNS
from ezcli.runs.provenance import device_name
from tests.reports.helpers import noisy, write_study

DROPS = ("consistency", "value-prefix", "off-policy-correction")
SEEDS = (0, 1, 2, 3, 4)
ATARI_26 = tuple(ATARI_100K)
LINES = 1000  # of metrics; a run of atari100k writes 1,200
COMMANDS = {
    "plan, nothing there": ["--runs-dir", "empty", "--launcher", "slurm", "--dry-run"],
    "plan, all finished": ["--study", "mine", "--dry-run"],
    "go on, nothing left": ["--study", "mine"],
}
LOOKS = {
    "list runs": ["runs"],
    "list studies": ["study", "status"],
    "status": ["study", "status", "mine"],
    "report": ["report", "mine", "-o", "report.md"],
    "report with its page": ["report", "mine", "-o", "report.html"],
}


def make(runs_dir: Path) -> None:
    """The study, and what its runs would have written."""
    curve = [(10_000 * number, 0.05 * number) for number in range(1, 11)]
    write_study(
        runs_dir,
        noisy({"full": 0.6}),
        drops=DROPS,
        games=ATARI_26,
        seeds=SEEDS,
        curve=lambda *_: curve,
    )
    metrics = lines({"env_steps": 100, "train_steps": 100} | dict.fromkeys(COLUMNS, 0.123456789))
    timing = lines({"env_steps": 100, "train_steps": 100, "seconds": 12.345})
    for config in runs_dir.glob("*/config.toml"):
        (config.parent / METRICS).write_bytes(metrics)
        (config.parent / TIMING).write_bytes(timing)
        folder = RunFolder(config.parent)
        folder.update_info(seals=folder.seals())


def lines(entries: dict[str, Any]) -> bytes:
    """So many equal lines of JSON."""
    return (json.dumps(entries) + "\n").encode() * LINES


def ablate(options: list[str]) -> list[str]:
    """Arguments of `ez ablate` for the whole study."""
    drops = [part for drop in DROPS for part in ("--drop", drop)]
    if "mine" in options:
        return ["ablate", *options]
    study = ["--preset", "atari100k", "--games", "atari26", "--seeds", "5", *drops]
    return ["ablate", *study, *options]


def seconds(arguments: list[str], cwd: Path) -> float:
    """How long a command takes.

    Raises:
      CalledProcessError: it fails.
    """
    began = time.perf_counter()
    command = [sys.executable, "-m", "ezcli", *arguments]
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        cwd = Path(place)
        make(cwd / "runs")
        files = sum(path.is_file() for path in (cwd / "runs").rglob("*"))
        commands = {name: ablate(rest) for name, rest in COMMANDS.items()} | LOOKS
        found = {
            name: [round(seconds(arguments, cwd), 2) for _ in range(options.times)]
            for name, arguments in commands.items()
        }
    for name, took in found.items():
        print(f"{name:24} {statistics.median(took):6.2f} s   {took}")
    result = {
        "ezcli": __version__,
        "device": device_name(torch.device("cpu")),
        "files": files,
        "seconds": found,
    }
    if options.output:
        write_atomically(options.output, (json.dumps(result, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
