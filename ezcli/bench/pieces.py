"""Times each part of a run's work on this machine, at its full size.

The first minutes of a run do not predict the last: a replay of 2,000 states gives reanalysis a
fiftieth of the work of 100,000. So `ezcli.runs.cost` multiplies the time of each part by its count
in a run.

`python -m ezcli.bench.pieces` reads a config as JSON from standard input and prints the cost. A
separate process can be stopped if a single train_step takes minutes.
"""

import json
import sys
import time
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
from ezcli.envs.make import make_env
from ezcli.runs.compute import num_cores, resolve_compute
from ezcli.runs.cost import Pieces, Seconds, checkpoint_bytes, from_pieces
from ezcli.runs.provenance import peak_memory
from ezcli.runs.trainer import make_network

SECONDS = 1.0  # for each part of the work
PLAYED_GAMES = 4  # random games at the same time, to measure the length of a game
REPEATS = 2  # least repeats of each part
FILLED = 2000  # states in the replay for batches


def measured(at: Bench) -> Pieces:
    """Times each part of the work, and records its memory."""
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
        game_env_steps=game_env_steps(at),
    )


def seconds(at: Bench) -> Seconds:
    """Times each part of the work, and trains a separate network for some steps.

    The learner stays in memory while searches are timed, as in a run.
    """
    config, envs, threads = at.config, at.config.acting.num_envs, at.compute.threads
    train_step = train_step_of(at)
    training = timed(train_step, at.seconds, REPEATS).median
    playing = timed(random_play(at, envs), at.seconds, REPEATS)
    planners = planners_for(config, len(at.spec.action_names))
    frozen = Searcher(at.network, at.compute.precision, at.compute.search)
    states, games = config.reanalyse.roots_per_search, config.evaluation.episodes
    observations = random_observations(at, max(states, envs, games))
    rng = np.random.default_rng(0)

    def search(planner: Planner, size: int) -> None:
        draws = planner.draws(rng, size, explores=True)
        planner.plan(frozen, observations[:size], draws)

    def each(work: Callable[[], object]) -> float:
        together = side_by_side(work, threads)
        return timed(together, at.seconds, REPEATS).median / (threads * states)

    env_step = playing.median / (PLAYED * envs)
    evaluating = timed(lambda: search(planners.evaluation, games), at.seconds, REPEATS).median
    return Seconds(
        env_step=env_step,
        decision=timed(lambda: search(planners.acting, envs), at.seconds, REPEATS).median / envs,
        search=each(lambda: search(planners.targets, states)),
        evaluation=each(lambda: frozen.evaluate(observations[:states])),
        train_step=training,
        game_step=evaluating / games + env_step,
    )


def game_env_steps(at: Bench) -> float:
    """Mean length of a game with random play in evaluation, env_steps.

    If games last longer than the measurement, the length follows from the rate at which games end.
    A trained agent's games may be longer or shorter.
    """
    rng, cap = np.random.default_rng(0), at.config.env.evaluation_max_episode_steps
    games = [make_env(at.config.env, evaluation=True) for _ in range(PLAYED_GAMES)]
    lengths = np.zeros(PLAYED_GAMES, np.int64)
    for game in games:
        game.reset(int(rng.integers(2**31)))
    played = ended = 0
    began = time.perf_counter()
    while not played or time.perf_counter() - began < at.seconds:
        for index, game in enumerate(games):
            step = game.step(int(rng.integers(len(at.spec.action_names))))
            played, lengths[index] = played + 1, lengths[index] + 1
            if step.is_game_over or lengths[index] >= cap:
                game.reset(int(rng.integers(2**31)))
                ended, lengths[index] = ended + 1, 0
    return float(min(played / max(ended, 1), cap))


def train_step_of(at: Bench) -> Callable[[], None]:
    """Makes one train_step, from the replay to the new weights."""
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
