"""How long a run will take on this machine, from its first cycles.

`python -m ezcli.runs.measure` reads a config as JSON from standard input and prints the estimate: a
process of its own can be given up when a single cycle takes minutes.
"""

import json
import math
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from ezcli.config import RunConfig
from ezcli.errors import EzError

if TYPE_CHECKING:
    from ezcli.runs.trainer import Trainer

BUDGET = 15.0  # seconds of learning cycles
PATIENCE = 120.0  # seconds after which the measurement is given up
UNCOUNTED = 2  # learning cycles at first: caches are cold, nothing is remembered


class Measurement(NamedTuple):
    """What a whole run will take, its evaluations left out, and the cycles that is from."""

    seconds: float
    memory_bytes: int
    disk_bytes: int  # of the finished run's folder
    cycles: int


def measure(config: RunConfig) -> Measurement | None:
    """Trains for some seconds in another process; None if it is too slow, or was killed.

    Raises:
      EzError: the run cannot start at all.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ezcli.runs.measure"],
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
        raise EzError(f"The first steps of the run failed: {last}")
    return Measurement(**json.loads(done.stdout))


def first_cycles(config: RunConfig, budget: float = BUDGET) -> Measurement:
    """Trains until the budget of seconds is spent on learning cycles, or to the end."""
    from ezcli.runs.compute import resolve_compute
    from ezcli.runs.train import warm_up_search
    from ezcli.runs.trainer import Trainer

    compute = resolve_compute(config.compute)
    warm_up_search()
    trainer = Trainer(config, compute)
    ahead = config.schedule.sample_ahead
    began = time.monotonic()
    marks = []  # ends of the learning cycles
    before = 0.0  # seconds before the first of them
    for event in trainer.events():
        now = time.monotonic()
        if not event.train_steps:
            before = now - began
            continue
        marks.append(now)
        if len(marks) > UNCOUNTED + 1 and now - marks[UNCOUNTED] > budget:
            break
    counted = marks[min(UNCOUNTED, len(marks) - 2) :] if len(marks) > 1 else [began, *marks]
    cycles = len(counted) - 1
    per_cycle = (counted[-1] - counted[0]) / cycles
    seconds = before + per_cycle * config.schedule.train_steps / ahead
    return Measurement(seconds, *room(trainer), cycles)


def room(trainer: "Trainer") -> tuple[int, int]:
    """Bytes of memory and of disk of the whole run, from its first cycles.

    The replay fills the memory that it has not touched yet.
    """
    from ezcli.runs.train import peak_memory

    config, frame_shape = trainer.config, trainer.envs.spec.frame_shape
    parameters = sum(p.numel() for p in trainer.learner.network.parameters())
    memory = peak_memory() + config.replay.capacity * math.prod(frame_shape)
    return memory, disk_of_run(config, frame_shape, parameters)


def disk_of_run(config: RunConfig, frame_shape: tuple[int, ...], parameters: int) -> int:
    """Bytes of a finished run's folder, about.

    A frame takes 500 bytes at most (the largest seen on Atari), and a parameter four bytes in five
    places of each of the two checkpoints: learnt, acting, target, and twice in the optimiser.
    """
    return config.replay.capacity * min(math.prod(frame_shape), 500) + 2 * 5 * 4 * parameters


if __name__ == "__main__":
    print(json.dumps(first_cycles(RunConfig.model_validate_json(sys.stdin.read()))._asdict()))
