"""How throughput grows when several small runs share one device.

    python -m benchmarks.sharing --env catch --cores 0,1 -o benchmarks/results/NAME-sharing.json
    python -m benchmarks.sharing --env catch --device cuda

For each number of runs it starts them all at once, as `ez ablate --runs-per-gpu` or `--jobs` would,
waits until every one learns, and lets them go on for a while. A run's rate is that of its
train_steps between the first and the last line that it wrote in this time; the throughput is the
sum. On a CPU the runs are kept to the named cores, and each gets its share of them.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ezcli import __version__
from ezcli.files import write_atomically
from ezcli.runs.folder import TIMING, RunFolder
from ezcli.runs.json_files import read_lines
from ezcli.runs.provenance import device_name

MOST_TO_START = 600.0  # seconds until every run has learnt something


class Place(NamedTuple):
    """What the runs share."""

    env: str
    preset: str | None
    device: str
    cores: set[int]  # that they may use; empty: all


class Shared(NamedTuple):
    """Runs side by side."""

    runs: int
    train_steps_per_second: float  # of all together
    slowest: float  # of one run
    memory_bytes: int  # of the largest run
    seconds_to_start: float  # until the last one had learnt something


def start(place: Place, runs_dir: Path, number: int, of: int) -> subprocess.Popen[bytes]:
    """One of the runs."""
    cores = len(place.cores) or os.cpu_count() or 1
    train = ["train", "--env", place.env, "--device", place.device, "--runs-dir", str(runs_dir)]
    train += ["--seed", str(number), "--name", f"run-{number}", "--quiet"]
    train += ["--preset", place.preset] if place.preset else []
    settings = [f"compute.threads={max(1, cores // of)}", "record.metrics_interval=20"]
    sets = [part for setting in settings for part in ("--set", setting)]
    return subprocess.Popen(
        [sys.executable, "-m", "ezcli", *train, *sets],
        stdout=subprocess.DEVNULL,
        preexec_fn=partial(os.sched_setaffinity, 0, place.cores) if place.cores else None,
    )


def measure(place: Place, of: int, seconds: float) -> Shared:
    """Trains so many runs side by side.

    Raises:
      RuntimeError: one of them ended by itself, or did not start to learn in time.
    """
    with tempfile.TemporaryDirectory() as runs_dir:
        folders = [RunFolder(Path(runs_dir) / f"run-{number}") for number in range(of)]
        began = time.monotonic()
        processes = [start(place, Path(runs_dir), number, of) for number in range(of)]
        try:
            while not all(lines(folder) for folder in folders):
                if time.monotonic() - began > MOST_TO_START or any(p.poll() for p in processes):
                    raise RuntimeError("not every run has started to learn")
                time.sleep(0.2)
            took = time.monotonic() - began
            before = [len(lines(folder)) for folder in folders]
            time.sleep(seconds)
            if any(process.poll() is not None for process in processes):
                raise RuntimeError("a run ended before the time was up; choose fewer --seconds")
            after = [lines(folder) for folder in folders]
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            for process in processes:
                process.wait()
        memory = [folder.sessions()[-1]["peak_memory_bytes"] for folder in folders]
    rates = [rate(found[count - 1 :]) for found, count in zip(after, before, strict=True)]
    return Shared(of, sum(rates), min(rates), max(memory), took)


def lines(folder: RunFolder) -> list[dict[str, Any]]:
    """What a run has written about its clocks since it learns."""
    return [line for line in read_lines(folder.path / TIMING) if line["train_steps"]]


def rate(found: list[dict[str, Any]]) -> float:
    """Train_steps per second between the first and the last line."""
    first, last = found[0], found[-1]
    steps = last["train_steps"] - first["train_steps"]
    return float(steps / (last["seconds"] - first["seconds"])) if steps else 0.0


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--env", default="catch")
    parser.add_argument("--preset")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cores", default="", help="of the CPU, such as 0,1; all if not given")
    parser.add_argument("--runs", default="1,2,4,8")
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    cores = {int(core) for core in options.cores.split(",") if core}
    place = Place(options.env, options.preset, options.device, cores)
    found = []
    print("runs  train_steps/s  against one  slowest run  memory of a run  start")
    for number in options.runs.split(","):
        shared = measure(place, int(number), options.seconds)
        found.append(shared)
        total = shared.train_steps_per_second
        print(
            f"{shared.runs:4}  {total:13.2f}  {total / found[0].train_steps_per_second:11.2f}  "
            f"{shared.slowest:11.2f}  {shared.memory_bytes / 2**30:11.2f} GiB  "
            f"{shared.seconds_to_start:3.0f} s",
            flush=True,
        )
    result = {
        "ezcli": __version__,
        "device": device_name(torch.device(options.device)),
        "env": options.env,
        "preset": options.preset,
        "cores": sorted(cores),
        "shared": [shared._asdict() for shared in found],
    }
    if options.output:
        write_atomically(options.output, (json.dumps(result, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
