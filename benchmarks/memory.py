"""How much main memory a run takes once its replay is full.

    python benchmarks/memory.py atari100k --device cpu

Fills the replay to its capacity with random frames, then draws, reanalyses, learns from four
batches and saves a checkpoint: after each, what the process holds and the most that it ever held.
On a GPU the frames lie there, and what it holds at most is printed too.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from ezcli.bench.inputs import fill
from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve, use_env
from ezcli.runs import checkpoint
from ezcli.runs.compute import make_executor, resolve_compute, warm_up_search
from ezcli.runs.draw import Drawn
from ezcli.runs.folder import RunFolder
from ezcli.runs.provenance import peak_memory
from ezcli.runs.trainer import Trainer


def main() -> None:
    """Prints a line for each part."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("preset", nargs="?", default="atari100k")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    settings = [f"compute.device={options.device}", "schedule.sample_ahead=4"]
    config = resolve(use_env(read_toml(preset_path(options.preset)), None, "pong"), settings)
    warm_up_search()
    trainer = Trainer(config, resolve_compute(config.compute))
    say("built")
    rng = np.random.default_rng(0)
    for env, frame in enumerate(trainer.envs.start()):
        trainer.frames.write(env, frame)
    fill(trainer.replay, trainer.frames, trainer.envs.spec, trainer.replay.rows, rng)
    trainer.is_started = True
    say(f"{trainer.replay.rows:,} states")
    with make_executor(trainer.compute.threads) as executor:
        window = trainer._draw(0)
        target = trainer.copies.target
        pending = trainer.reanalyser.start(window, target, 0, 0, rng, executor)
        targets, _ = trainer.reanalyser.finish(pending)
        say("drawn and reanalysed")
        drawn = Drawn(window, targets)
        executor.submit(trainer._learn, drawn, executor).result()
        trainer.ahead.drawn = drawn
        say("learnt")
    with tempfile.TemporaryDirectory() as scratch:
        folder = RunFolder(Path(scratch) / "run")
        folder.create(config)
        checkpoint.save(trainer, folder)
        say("saved")


def say(what: str) -> None:
    """Memory now and at its peak, in GiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    now = pages * os.sysconf("SC_PAGE_SIZE") / 2**30
    line = f"{what}: {now:.2f} GiB now, {peak_memory() / 2**30:.2f} at most"
    if torch.cuda.is_available():
        line += f"; GPU {torch.cuda.max_memory_allocated() / 2**30:.2f} at most"
    print(line, flush=True)


if __name__ == "__main__":
    main()
