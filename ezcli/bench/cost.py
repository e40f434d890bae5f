"""What a whole run costs on this machine, before it begins: hours, memory, disk.

The first minutes of a run tell little about its last: a replay of 2,000 states gives reanalysis
a fiftieth of the work that 100,000 do. So each piece of work is timed by itself, at its full size,
and multiplied by how often a run does it (`operations.amounts`).

`python -m ezcli.bench.cost` reads a config as JSON from standard input and prints the cost: a
process of its own can be given up when a single train_step takes minutes.
"""

import json
import math
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from ezcli.bench.inputs import (
    Bench,
    bench,
    fill,
    random_observations,
    side_by_side,
    wait,
    zero_targets,
)
from ezcli.bench.operations import (
    Amounts,
    Operations,
    amounts,
    draws,
    num_parameters,
    operations,
)
from ezcli.bench.operations import parameters as parameters_of
from ezcli.bench.timing import timed
from ezcli.config import RunConfig
from ezcli.efficientzero.assemble import make_batch
from ezcli.efficientzero.components import planners_for
from ezcli.efficientzero.frames import FrameStore
from ezcli.efficientzero.learner import Learner
from ezcli.efficientzero.replay import Replay
from ezcli.efficientzero.searcher import Searcher
from ezcli.envs.make import make_env
from ezcli.envs.protocol import EnvSpec
from ezcli.envs.vector import VectorEnv
from ezcli.runs.compute import num_cores, resolve_compute
from ezcli.runs.provenance import peak_memory
from ezcli.runs.trainer import make_network

SECONDS = 1.0  # for each piece of work
REPEATS = 2  # of each piece of work, at least
PLAYED = 32  # env_steps in a row
FILLED = 2000  # states that batches are drawn from


class Seconds(NamedTuple):
    """Time of each piece of work."""

    env_step: float  # of one environment, all of them in lock step
    decision: float  # of one environment, searched together with the others
    search: float  # of one state, for its targets, while all threads search
    evaluation: float  # of one state, likewise
    train_step: float  # with its batch gathered and augmented


class Cost(NamedTuple):
    """Of one run; evaluations are not counted."""

    hours: float
    shares: dict[str, float]  # of the work: acting, reanalysis, learning
    memory_bytes: int  # main memory, with a full replay
    device_memory_bytes: int | None  # on a GPU
    disk_bytes: int


class Counted(NamedTuple):
    """What can be said of a run without a clock."""

    parameters: dict[str, int]  # by part of the network
    operations: Operations
    amounts: Amounts

    @property
    def run(self) -> dict[str, float]:
        """MACs of a whole run, by what they are for."""
        once, times = self.operations, self.amounts
        return {
            "acting": times.decisions * once.search,
            "reanalysis": times.searched * once.search + times.evaluated * once.initial_inference,
            "learning": times.train_steps * once.train_step,
        }


def counted(at: Bench) -> Counted:
    """Parameters, operations and amounts of a run."""
    counts = operations(at.config, at.spec, at.network)
    return Counted(parameters_of(at.network), counts, amounts(at.config))


def measured(at: Bench) -> tuple[Seconds, Cost]:
    """Times each piece of work, and says what a run made of them takes."""
    times = seconds(at)
    return times, cost(at, times)


def seconds(at: Bench) -> Seconds:
    """Times each piece of work; trains a network of its own for some steps.

    The learner stays in memory while searches are timed, as in a run.
    """
    config, envs, threads = at.config, at.config.acting.num_envs, at.compute.threads
    train_step = train_step_of(at)
    training = timed(train_step, at.seconds, REPEATS).median
    planner = planners_for(config, len(at.spec.action_names)).targets
    frozen = Searcher(at.network, at.compute.precision, at.compute.search)
    states = config.reanalyse.roots_per_search
    observations = random_observations(at, max(states, envs))
    draws = planner.draws(np.random.default_rng(0), len(observations), explores=True)

    def search(size: int) -> None:
        planner.plan(frozen, observations[:size], draws.part(slice(size)))

    def each(work: Callable[[], object]) -> float:
        together = side_by_side(work, threads)
        return timed(together, at.seconds, REPEATS).median / (threads * states)

    return Seconds(
        env_step=env_step_seconds(at),
        decision=timed(lambda: search(envs), at.seconds, REPEATS).median / envs,
        search=each(lambda: search(states)),
        evaluation=each(lambda: frozen.evaluate(observations[:states])),
        train_step=training,
    )


def env_step_seconds(at: Bench) -> float:
    """Time of one env_step of one environment, played at random in lock step with the others."""
    number, rng = at.config.acting.num_envs, np.random.default_rng(0)
    envs = VectorEnv(lambda: make_env(at.config.env, evaluation=False), number, rng)
    envs.start()

    def play() -> None:
        for _ in range(PLAYED):
            envs.step(rng.integers(len(at.spec.action_names), size=number).tolist())

    return timed(play, at.seconds, REPEATS).median / (PLAYED * number)


def train_step_of(at: Bench) -> Callable[[], None]:
    """One train_step, from the replay to the new weights."""
    config, rng = at.config, np.random.default_rng(0)
    replay = Replay(config, len(at.spec.action_names), config.env.frame_stack)
    frames = FrameStore(replay.rows, at.spec.frame_shape, at.compute.device)
    drawable = config.acting.num_envs * (config.lookahead + 2)
    fill(replay, frames, at.spec, max(min(replay.rows // 2, FILLED), drawable), rng)
    network = make_network(config, at.spec.frame_shape, len(at.spec.action_names))
    learner = Learner(network.to(at.compute.device), config, at.rules, at.compute.precision)
    targets, size = zero_targets(at), config.loss.batch_size

    def train_step() -> None:
        window = replay.sample(size, np.array([1.0]), rng)
        learner.step(make_batch(window, targets, replay, frames, config.loss, rng))
        wait(at)

    return train_step


def cost(at: Bench, times: Seconds) -> Cost:
    """What a run takes whose pieces of work take so long.

    A CPU learns in one thread while it collects in another and then searches in as many as there
    are: in each cycle the longest of what must be waited for counts. A GPU is taken to do one thing
    after the other, which is at most what a run takes there.
    """
    config, schedule, found = at.config, at.config.schedule, draws(at.config)
    on_gpu = at.compute.device.type == "cuda"
    threads = 1 if on_gpu else at.compute.threads
    cores = min(threads, num_cores())
    shape = found.searched.shape
    collects = (found.train_step < schedule.collecting_train_steps)[:, None]
    each = schedule.env_steps_per_cycle * (times.env_step + times.decision)
    acting = np.broadcast_to(np.where(collects, each, 0.0), shape)
    learning = np.full(shape, schedule.sample_ahead * times.train_step)
    reanalysis = found.searched * times.search + found.evaluated * times.evaluation
    cycles = (learning + acting) / cores + reanalysis
    if threads > 1:
        cycles = np.maximum(cycles, np.maximum(learning, acting + reanalysis))
    whole = schedule.random_env_steps * times.env_step + found.times * cycles.sum()
    work = {"acting": acting, "reanalysis": cores * reanalysis, "learning": learning}
    sums = {name: float(part.sum()) for name, part in work.items()}
    states, frame = config.replay.capacity, math.prod(at.spec.frame_shape)
    device_memory = torch.cuda.max_memory_reserved(at.compute.device) if on_gpu else None
    return Cost(
        hours=float(whole) / 3600,
        shares={name: part / max(sum(sums.values()), 1e-30) for name, part in sums.items()},
        memory_bytes=peak_memory() + (0 if on_gpu else states * frame),
        device_memory_bytes=device_memory,
        disk_bytes=disk_of_run(config, at.spec, num_parameters(at.network)),
    )


def disk_of_run(config: RunConfig, spec: EnvSpec, parameters: int) -> int:
    """Bytes of a finished run's folder, about.

    A frame takes 500 bytes at most (the largest seen on Atari). Each of the two checkpoints holds a
    parameter of four bytes as it is learnt, acts and makes targets now and next, and once or twice
    in the optimiser; and of each state 70 bytes and 8 for each action.
    """
    states = config.replay.capacity
    frames = states * min(math.prod(spec.frame_shape), 500)
    copies = 6 if config.optimiser.name == "adam" else 5
    return frames + 2 * (copies * 4 * parameters + states * (70 + 8 * len(spec.action_names)))


if __name__ == "__main__":
    asked = RunConfig.model_validate_json(sys.stdin.read())
    _, found = measured(bench(asked, resolve_compute(asked.compute), SECONDS))
    print(json.dumps(found._asdict()))
