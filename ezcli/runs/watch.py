"""One whole game, played as in `evaluate`, with what the agent thought at every env_step.

The game that `seed` starts here is the game of an evaluation of one episode under the same seed:
the same start, the same lots between equal actions, the same score.
"""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
import torch

from ezcli.config import RunConfig
from ezcli.efficientzero.components import rules_for
from ezcli.efficientzero.folded import fold
from ezcli.efficientzero.inference import search_tree
from ezcli.efficientzero.kernels import ROOT, UNVISITED
from ezcli.efficientzero.policy import greedy_actions, tie_seeds
from ezcli.efficientzero.search import search_constants
from ezcli.efficientzero.tree import SearchConstants, Tree
from ezcli.efficientzero.value_prefix import restarts_after
from ezcli.envs.make import make_env
from ezcli.runs.agent import Agent
from ezcli.runs.seeding import generator

Ending = Literal["over", "cut", "stopped"]


class Edge(NamedTuple):
    """One step of a path that the search looked at."""

    action: int
    visits: int  # of the node it leads to
    value_prefix: float  # predicted sum of rewards, this one included
    reward: float  # predicted, of this step alone
    restarts: bool  # whether the sum begins with this step


class Thought(NamedTuple):
    """What a search said about a state, and what was done about it."""

    action: int  # the most visited
    visits: np.ndarray  # [A] int32
    policy: np.ndarray  # [A] float32, the network's own opinion of the actions
    value: float  # mean return through the root
    network_value: float  # the network's own opinion of the state
    depth: int  # env_steps to the deepest node
    best_path: tuple[Edge, ...]  # always on to the most visited child; `action` is its first


class Moment(NamedTuple):
    """A state of the game: one for each env_step, and one for the end."""

    frame: np.ndarray  # uint8 [C, H, W], the newest of the observation
    env_step: int  # actions taken so far
    reward: float  # raw, of the action that led here; 0 at the start
    score: float  # raw, so far
    thought: Thought | None  # None at the end
    ending: Ending | None  # None before the end


def play(
    agent: Agent,
    config: RunConfig,
    seed: int,
    max_env_steps: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Moment]:
    """Plays greedily and without noise, to the game's end or cap; the last moment says which.

    Args:
      agent: who plays.
      config: of its run; the environment is built under the rules of evaluation.
      seed: of the game's start and of the searches' ties.
      max_env_steps: at most; the rules of evaluation may end the game before.
      should_stop: asked before every step.
    """
    rng = generator(config.seed, "evaluation", seed)
    constants = search_constants(config, rules_for(config).prefix_horizon)
    agent = agent._replace(network=fold(agent.network, agent.compute.precision))  # as it is scored
    game = make_env(config.env, evaluation=True)
    stack = [game.reset(int(rng.integers(2**31)))] * config.env.frame_stack
    env_step, reward, score = 0, 0.0, 0.0
    ending: Ending | None = None
    while ending is None:
        if should_stop():
            ending = "stopped"
            break
        thought = think(agent, np.concatenate(stack), constants, tie_seeds(rng, 1))
        yield Moment(stack[-1], env_step, reward, score, thought, None)
        step = game.step(thought.action)
        stack = [*stack[1:], step.frame]
        env_step, reward, score = env_step + 1, step.reward, score + step.reward
        # A game that the environment itself cuts off says that it is over.
        if step.is_game_over and env_step < config.env.evaluation_max_episode_steps:
            ending = "over"
        elif step.is_game_over or env_step >= max_env_steps:
            ending = "cut"
    yield Moment(stack[-1], env_step, reward, score, None, ending)


def think(
    agent: Agent, observation: np.ndarray, constants: SearchConstants, tie_seed: np.ndarray
) -> Thought:
    """Searches from one observation [C, H, W] uint8, without noise."""
    observations = torch.from_numpy(observation[None]).to(agent.compute.device)
    with torch.inference_mode():
        tree, root = search_tree(
            agent.network, observations, constants, None, tie_seed, agent.compute.precision
        )
    return Thought(
        action=int(greedy_actions(tree.root_visits)[0]),
        visits=tree.root_visits[0],
        policy=root.policy[0],
        value=float(tree.root_value[0]),
        network_value=float(root.value[0]),
        depth=int(tree.depth[0].max()),
        best_path=best_path(tree, constants.prefix_horizon),
    )


def best_path(tree: Tree, prefix_horizon: int) -> tuple[Edge, ...]:
    """From the root of the first tree always on to the most visited child."""
    path: list[Edge] = []
    children = tree.children[0, ROOT]
    while (children != UNVISITED).any():
        visits = np.where(children == UNVISITED, 0, tree.visits[0, children])
        action = int(greedy_actions(visits[None])[0])
        node = children[action]
        path.append(
            Edge(
                action=action,
                visits=int(visits[action]),
                value_prefix=float(tree.value_prefix[0, node]),
                reward=float(tree.reward[0, node]),
                restarts=bool(restarts_after(tree.depth[0, node] - 1, prefix_horizon)),
            )
        )
        children = tree.children[0, node]
    return tuple(path)
