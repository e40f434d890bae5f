"""The first cycles of a run on this machine: how fast they are, and what memory they hold."""

import time
from typing import NamedTuple

from ezcli.config.run import RunConfig
from ezcli.runs.compute import resolve_compute, warm_up_search
from ezcli.runs.cost import memory_of_run
from ezcli.runs.provenance import peak_memory
from ezcli.runs.trainer import Trainer

UNCOUNTED = 2  # learning cycles at first: caches are cold, nothing is remembered


class FirstCycles(NamedTuple):
    """What was measured, and on how many cycles. Later ones have more states to search again."""

    train_steps_per_second: float
    memory_bytes: int  # with a full replay
    cycles: int


def first_cycles(config: RunConfig, budget: float) -> FirstCycles:
    """Trains until the budget of seconds is spent on learning cycles, or to the end."""
    compute = resolve_compute(config.compute)
    warm_up_search()
    trainer = Trainer(config, compute)
    began = time.monotonic()
    marks = []  # ends of the learning cycles
    for event in trainer.events():
        if not event.train_steps:
            continue
        marks.append(time.monotonic())
        if len(marks) > UNCOUNTED + 1 and marks[-1] - marks[UNCOUNTED] > budget:
            break
    counted = marks[min(UNCOUNTED, len(marks) - 2) :] if len(marks) > 1 else [began, *marks]
    cycles = len(counted) - 1
    rate = cycles * config.schedule.sample_ahead / (counted[-1] - counted[0])
    return FirstCycles(rate, memory(trainer), cycles)


def memory(trainer: Trainer) -> int:
    """Main memory of the whole run, bytes; on a CPU the replay fills what it has not touched."""
    if trainer.compute.device.type == "cuda":
        return peak_memory()
    frame = trainer.envs.spec.frame_bytes
    return memory_of_run(trainer.config, frame, peak_memory())
