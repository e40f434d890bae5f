"""The speed and memory of the first cycles of a run on this machine."""

import time
from typing import NamedTuple

from ezcli.config.run import RunConfig
from ezcli.runs.compute import resolve_compute, warm_up_search
from ezcli.runs.cost import memory_of_run
from ezcli.runs.provenance import peak_memory
from ezcli.runs.trainer import Trainer

UNCOUNTED = 2  # first learning cycles to skip, because caches are empty


class FirstCycles(NamedTuple):
    """The measurements and the number of cycles. Later cycles have more states to reanalyse."""

    train_steps_per_second: float
    memory_bytes: int  # with a full replay
    cycles: int


def first_cycles(config: RunConfig, budget: float) -> FirstCycles:
    """Trains until learning cycles have taken `budget` seconds, or to the end."""
    compute = resolve_compute(config.compute)
    warm_up_search()
    trainer = Trainer(config, compute)
    began = time.monotonic()
    marks = []  # end times of learning cycles
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
    """Main memory of the whole run, bytes.

    On a CPU this includes the unfilled part of the replay.
    """
    if trainer.compute.device.type == "cuda":
        return peak_memory()
    frame = trainer.envs.spec.frame_bytes
    return memory_of_run(trainer.config, frame, peak_memory())
