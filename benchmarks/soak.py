"""Whether a long run leaks: its memory, files and threads over time, and what its metrics cost.

    python benchmarks/soak.py --env-steps 200000 -o benchmarks/results/NAME.json

Trains `catch` with a replay of a thousand states, which is soon full, saves often, and looks at the
process every few seconds. Then it asks what a line costs in the metrics of a run of a million
train_steps, and what reading them takes when such a run is resumed.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ezcli import __version__
from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve, use_env
from ezcli.config.run import RunConfig
from ezcli.files import write_atomically
from ezcli.runs.evaluate import Told, silent
from ezcli.runs.folder import METRICS, RunFolder
from ezcli.runs.metrics import COLUMNS
from ezcli.runs.provenance import device_name
from ezcli.runs.train import train

SMALL = (
    "compute.device='cpu'",
    "network.downsamplings=0",
    "network.channels=4",
    "search.num_simulations=4",
    "acting.num_envs=2",
    "replay.capacity=1000",
    "schedule.random_env_steps=200",
    "schedule.train_steps_per_env_step=0.5",
    "schedule.final_train_steps=0",
    "schedule.sample_ahead=20",
    "schedule.acting_update_interval=20",
    "schedule.target_update_interval=20",
    "optimiser.decayed_train_steps=0",
    "loss.batch_size=8",
    "loss.unroll_steps=2",
    "value.td_steps=2",
    "evaluation.interval=200",
    "evaluation.episodes=4",
    "evaluation.interval_episodes=2",
    "record.metrics_interval=20",
    "record.checkpoint_minutes=0.02",
)


class Sampler:
    """A reporter that looks at the process instead of speaking."""

    def __init__(self, every: float) -> None:
        self.every, self.looked, self.lost_output = every, 0.0, None
        self.samples: list[dict[str, Any]] = []

    def say(self, text: str) -> None:
        """Nothing."""

    def progress(self, event: Any, config: RunConfig, rates: Any) -> None:
        """Takes a sample now and then."""
        if time.monotonic() - self.looked >= self.every:
            self.looked = time.monotonic()
            self.samples.append({"train_steps": event.train_steps, **look()})

    def quiet_while(self, what: str, is_announced: bool = True) -> nullcontext[Told]:
        """Nothing."""
        return nullcontext(silent)


def look() -> dict[str, float]:
    """This process now: MiB of resident memory, open files, threads."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "mebibytes": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "files": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
    }


def soak(env_steps: int, folder: Path, every: float) -> dict[str, Any]:
    """Trains, and compares the second half of the run with its first."""
    tables = use_env(read_toml(preset_path("smoke")), "catch", None)
    config = resolve(tables, [*SMALL, f"schedule.env_steps={env_steps}"])
    sampler, began = Sampler(every), time.monotonic()
    train(config, RunFolder(folder), sampler)
    seconds = time.monotonic() - began
    half = len(sampler.samples) // 2
    early, late = sampler.samples[half // 2 : half], sampler.samples[half:]

    def median(samples: list[dict[str, Any]], name: str) -> float:
        return round(float(np.median([sample[name] for sample in samples])), 1)

    def steps_per_second(samples: list[dict[str, Any]]) -> float:
        steps = samples[-1]["train_steps"] - samples[0]["train_steps"]
        return float(round(steps / (every * (len(samples) - 1)), 2))

    return {
        "env_steps": env_steps,
        "train_steps": config.schedule.train_steps,
        "seconds": round(seconds),
        "samples": len(sampler.samples),
        "second_quarter": {name: median(early, name) for name in look()},
        "second_half": {name: median(late, name) for name in look()},
        "last": sampler.samples[-1],
        "train_steps_per_second": [steps_per_second(early), steps_per_second(late)],
        "disk_mebibytes": sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 2**20,
    }


def metrics_of_a_million_steps(path: Path, interval: int) -> dict[str, Any]:
    """What one more line costs, and what a resume reads, after 1,000,000 train_steps."""
    folder = RunFolder(path)
    path.mkdir()
    line = dict.fromkeys(COLUMNS, 0.123456789012345)
    lines = [
        json.dumps(line | {"env_steps": step, "train_steps": step})
        for step in range(interval, 1_000_001, interval)
    ]
    costs = {}
    for number in (1, len(lines)):
        write_atomically(path / METRICS, ("\n".join(lines[:number]) + "\n").encode())
        taken = []
        for _ in range(50):
            began = time.perf_counter()
            folder.append(METRICS, line)
            taken.append(time.perf_counter() - began)
        costs[number] = float(np.median(taken))
    began = time.perf_counter()
    folder.keep_lines(METRICS, 0, lambda line: line["train_steps"] <= 1_000_000)
    return {
        "metrics_interval": interval,
        "lines": len(lines),
        "mebibytes": round((path / METRICS).stat().st_size / 2**20, 1),
        "append_ms_after_1_line": round(1e3 * costs[1], 2),
        "append_ms_after_all": round(1e3 * costs[len(lines)], 2),
        "resume_reads_seconds": round(time.perf_counter() - began, 2),
    }


def main() -> None:
    """Prints what was found, and writes it with -o."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--env-steps", type=int, default=20_000)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two looks")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = {
            "ezcli": __version__,
            "device": device_name(torch.device("cpu")),
            "run": soak(options.env_steps, Path(scratch) / "run", options.every),
            "metrics": [
                metrics_of_a_million_steps(Path(scratch) / f"every-{interval}", interval)
                for interval in (100, 10, 1)
            ],
        }
    text = json.dumps(found, indent=2) + "\n"
    print(text, end="")
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
