"""Times each piece of a run's work on this machine, at its full size.

The first minutes of a run tell little about its last: a replay of 2,000 states gives reanalysis
a fiftieth of the work that 100,000 do. So `ezcli.runs.cost` multiplies the time of each piece by
how often a run does it.

`python -m ezcli.bench.pieces` reads a config as JSON from standard input and prints the cost: a
process of its own can be given up when a single train_step takes minutes.
"""

import json
import sys
from collections.abc import Callable

import numpy as np
import torch

from ezcli.bench.inputs import (
    PLAYED,
    Bench,
    bench,
    fill,
    random_observations,
    random_play,
    side_by_side,
    wait,
    zero_targets,
)
from ezcli.bench.operations import num_parameters
from ezcli.bench.timing import timed
from ezcli.config.run import RunConfig
from ezcli.efficientzero.assemble import make_batch
from ezcli.efficientzero.components import planners_for
from ezcli.efficientzero.frames import FrameStore
from ezcli.efficientzero.learner import Learner
from ezcli.efficientzero.planner import Planner
from ezcli.efficientzero.replay import Replay
from ezcli.efficientzero.searcher import Searcher
from ezcli.runs.compute import num_cores, resolve_compute
from ezcli.runs.cost import Pieces, Seconds, checkpoint_bytes, from_pieces
from ezcli.runs.provenance import peak_memory
from ezcli.runs.trainer import make_network

SECONDS = 1.0  # for each piece of work
REPEATS = 2  # of each piece of work, at least
FILLED = 2000  # states that batches are drawn from


def measured(at: Bench) -> Pieces:
    """Times each piece of work, and notes what memory they hold."""
    times, device = seconds(at), at.compute.device
    on_gpu, parameters = device.type == "cuda", num_parameters(at.network)
    return Pieces(
        seconds=times,
        threads=at.compute.threads,
        cores=num_cores(),
        memory_bytes=peak_memory(),
        device_memory_bytes=torch.cuda.max_memory_reserved(device) if on_gpu else None,
        frame_bytes=at.spec.frame_bytes,
        checkpoint_bytes=checkpoint_bytes(at.config, parameters, len(at.spec.action_names)),
    )


def seconds(at: Bench) -> Seconds:
    """Times each piece of work; trains a network of its own for some steps.

    The learner stays in memory while searches are timed, as in a run.
    """
    config, envs, threads = at.config, at.config.acting.num_envs, at.compute.threads
    train_step = train_step_of(at)
    training = timed(train_step, at.seconds, REPEATS).median
    playing = timed(random_play(at, envs), at.seconds, REPEATS)
    planners = planners_for(config, len(at.spec.action_names))
    frozen = Searcher(at.network, at.compute.precision, at.compute.search)
    states = config.reanalyse.roots_per_search
    observations = random_observations(at, max(states, envs))
    rng = np.random.default_rng(0)

    def search(planner: Planner, size: int) -> None:
        draws = planner.draws(rng, size, explores=True)
        planner.plan(frozen, observations[:size], draws)

    def each(work: Callable[[], object]) -> float:
        together = side_by_side(work, threads)
        return timed(together, at.seconds, REPEATS).median / (threads * states)

    return Seconds(
        env_step=playing.median / (PLAYED * envs),
        decision=timed(lambda: search(planners.acting, envs), at.seconds, REPEATS).median / envs,
        search=each(lambda: search(planners.targets, states)),
        evaluation=each(lambda: frozen.evaluate(observations[:states])),
        train_step=training,
    )


def train_step_of(at: Bench) -> Callable[[], None]:
    """One train_step, from the replay to the new weights."""
    config, rng = at.config, np.random.default_rng(0)
    replay = Replay(config, len(at.spec.action_names), config.env.frame_stack)
    frames = FrameStore(replay.rows, at.spec.frame_shape, at.compute.device, at.spec.frame_type)
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


if __name__ == "__main__":
    asked = RunConfig.model_validate_json(sys.stdin.read())
    found = measured(bench(asked, resolve_compute(asked.compute), SECONDS))
    print(json.dumps(from_pieces(asked, found)._asdict()))
