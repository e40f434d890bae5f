"""The timed parts of a run. All timings wait for the device before they read the clock."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch

from ezcli.bench.cycles import first_cycles
from ezcli.bench.inputs import (
    PLAYED,
    Bench,
    fill,
    random_batch,
    random_observations,
    random_play,
    side_by_side,
    wait,
    zero_targets,
)
from ezcli.bench.pieces import REPEATS, measured
from ezcli.bench.timing import Timing, timed
from ezcli.efficientzero.assemble import make_batch
from ezcli.efficientzero.components import planners_for
from ezcli.efficientzero.frames import FrameStore
from ezcli.efficientzero.inference import autocast
from ezcli.efficientzero.kernels import expand_and_backup
from ezcli.efficientzero.learner import Learner
from ezcli.efficientzero.loss import unroll
from ezcli.efficientzero.planner import Draws
from ezcli.efficientzero.policy import tie_seeds
from ezcli.efficientzero.replay import Replay
from ezcli.efficientzero.search import SELECT
from ezcli.efficientzero.searcher import Searcher
from ezcli.efficientzero.tree import Constants, GumbelConstants, PuctConstants, new_tree
from ezcli.runs.compute import num_cores
from ezcli.runs.cost import from_pieces
from ezcli.runs.trainer import make_network
from ezcli.words import counted

TREE_ROOTS, TREE_ACTIONS, TREE_SIMULATIONS = (16, 256, 1536), (6, 18), 50
TREE_RULES: dict[str, Constants] = {
    "": PuctConstants(TREE_SIMULATIONS, 0.988, 1.25, 19652.0, 0.01, 5),
    ", Gumbel": GumbelConstants(TREE_SIMULATIONS, 0.988, 8, 50.0, 0.1, False, 0.01, 5),
}
SEARCH_ROOTS = (4, 16, 64, 256)
ENVIRONMENTS = (1, 4, 32)


class Result(NamedTuple):
    """A figure with the quartiles of its repeats."""

    part: str
    what: str  # with the part, a key that is equal in all result files
    value: float
    low: float
    high: float
    unit: str
    repeats: int


def tree(at: Bench) -> Iterator[Result]:
    """Times selection, expansion and backup, without a network."""
    sizes = product(TREE_RULES.items(), TREE_ACTIONS, TREE_ROOTS)
    for (rule, constants), actions, roots in sizes:
        work = tree_work(constants, roots, actions)
        for threads in dict.fromkeys((1, num_cores())):
            taken = timed(side_by_side(work, threads), at.seconds)
            scale = 1e9 / (threads * roots * TREE_SIMULATIONS)
            what = f"{roots} roots, {actions} actions, {counted(threads, 'thread')}{rule}"
            yield result("tree", what, taken, scale, "ns/simulation")


def tree_work(constants: Constants, roots: int, actions: int) -> Callable[[], object]:
    """A whole search with precomputed random numbers instead of a network."""
    rng = np.random.default_rng(0)
    nodes = TREE_SIMULATIONS + 1
    select = SELECT[type(constants)]
    policy = rng.dirichlet(np.full(actions, 0.3), size=(nodes, roots)).astype(np.float32)
    value = rng.normal(size=(nodes, roots)).astype(np.float32)
    rewards = 0.1 * rng.normal(size=(nodes, roots))
    seeds = tie_seeds(rng, roots)

    def work() -> None:
        tree = new_tree(policy[0], value[0], TREE_SIMULATIONS, seeds)
        parents, chosen = np.zeros(roots, np.int64), np.zeros(roots, np.int64)
        for node in range(1, nodes):
            select(tree, constants, parents, chosen)
            expand_and_backup(
                tree, constants, node, parents, chosen, rewards[node], policy[node], value[node]
            )

    return work


def search(at: Bench) -> Iterator[Result]:
    """Times whole searches with the network, as in acting and reanalysis."""
    rng = np.random.default_rng(0)
    planner = planners_for(at.config, len(at.spec.action_names)).targets
    frozen = Searcher(at.network, at.compute.precision, at.compute.search)
    for roots in SEARCH_ROOTS:
        observations = random_observations(at, roots)
        draws = planner.draws(rng, roots, explores=True)
        simulations = int(planner.plan(frozen, observations, draws).visits.sum())

        def work(observations: torch.Tensor = observations, draws: Draws = draws) -> None:
            planner.plan(frozen, observations, draws)

        for threads in dict.fromkeys((1, at.compute.threads)):
            taken = timed(side_by_side(work, threads), at.seconds)
            count = threads * simulations
            yield rate(
                "search",
                f"{roots} roots, {counted(threads, 'thread')}",
                taken,
                count,
                "simulations/s",
            )


def environment(at: Bench) -> Iterator[Result]:
    """Times random play, with frames resized and checked as for the trainer."""
    for number in ENVIRONMENTS:
        taken = timed(random_play(at, number), at.seconds)
        name = counted(number, "environment")
        yield rate("environment", name, taken, PLAYED * number, "env_steps/s")


def replay(at: Bench) -> Iterator[Result]:
    """Times drawing a batch, and gathering and augmenting its observations, as the replay fills."""
    config, rng = at.config, np.random.default_rng(0)
    replay = Replay(config, len(at.spec.action_names), config.env.frame_stack)
    frames = FrameStore(replay.rows, at.spec.frame_shape, at.compute.device, at.spec.frame_type)
    size = config.loss.batch_size
    targets = zero_targets(at)
    for share in (0.1, 0.9):
        fill(replay, frames, at.spec, int(share * replay.rows), rng)

        def draw() -> Any:
            return replay.sample(size, np.array([1.0]), rng)

        def gather() -> None:
            make_batch(draw(), targets, replay, frames, config.loss, rng)
            wait(at)

        full = f"batch of {size}, {share:.0%} full"
        yield result("replay", f"draw, {full}", timed(draw, at.seconds), 1e3, "ms")
        yield result("replay", f"draw and gather, {full}", timed(gather, at.seconds), 1e3, "ms")


def learner(at: Bench) -> Iterator[Result]:
    """Times a train_step and its parts."""
    config, precision = at.config, at.compute.precision
    network = make_network(config, at.spec.frame_shape, len(at.spec.action_names))
    learner = Learner(network.to(at.compute.device), config, at.rules, precision)
    batch = random_batch(at)
    network.train()

    def forward() -> Any:
        with autocast(at.compute.device, precision):
            outputs = unroll(
                network, batch.observations[:, 0], batch.actions, at.rules.prefix_horizon
            )
        wait(at)
        return outputs

    def with_losses() -> Any:
        total = learner.objective(network, batch).total
        wait(at)
        return total

    def with_backward() -> None:
        learner.optimiser.zero_grad()
        with_losses().backward()
        wait(at)

    def whole() -> None:
        learner.step(batch)
        wait(at)

    before = 0.0
    for name, work in (
        ("unroll", forward),
        ("losses", with_losses),
        ("backward", with_backward),
        ("clip and optimiser", whole),
    ):
        taken = timed(work, at.seconds)
        alone = taken._replace(
            median=taken.median - before, low=taken.low - before, high=taken.high - before
        )
        yield result("learner", name, alone, 1e3, "ms")
        before = taken.median
    yield result("learner", f"train_step, batch of {config.loss.batch_size}", taken, 1e3, "ms")


def run(at: Bench) -> Iterator[Result]:
    """Times the first cycles of a run, and estimates the whole run with its evaluations."""
    on_gpu = at.compute.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(at.compute.device)
    found = first_cycles(at.config, max(15.0, 4 * at.seconds))
    figures = [
        ("training, first cycles", found.train_steps_per_second, "train_steps/s", found.cycles),
        ("memory", found.memory_bytes / 2**30, "GiB", found.cycles),
    ]
    if on_gpu:
        peak = torch.cuda.max_memory_allocated(at.compute.device)
        figures.append(("GPU memory", peak / 2**30, "GiB", found.cycles))
    hours = from_pieces(at.config, measured(at)).hours or 0.0
    figures.append(("whole run, from its parts", hours, "h", REPEATS))
    for what, value, unit, repeats in figures:
        yield Result("run", what, value, value, value, unit, repeats)


PARTS: dict[str, Callable[[Bench], Iterator[Result]]] = {
    "tree": tree,
    "search": search,
    "environment": environment,
    "replay": replay,
    "learner": learner,
    "run": run,
}


def result(part: str, what: str, taken: Timing, scale: float, unit: str) -> Result:
    """A figure proportional to time."""
    median, low, high = (scale * seconds for seconds in taken[:3])
    return Result(part, what, median, low, high, unit, taken.repeats)


def rate(part: str, what: str, taken: Timing, count: int, unit: str) -> Result:
    """A figure inversely proportional to time."""
    value, low, high = (count / seconds for seconds in (taken.median, taken.high, taken.low))
    return Result(part, what, value, low, high, unit, taken.repeats)
