"""The interface between planning and everything that uses a plan.

For a batch of states, a planner returns the action to play, policies and values for targets, and
data for metrics and films. Acting, targets and evaluation use nothing else, so a new planner is one
file and one entry in `components.PLANNERS`.

Random numbers are drawn before the work is split between threads (`draws`, then `part`), so plans
do not depend on the number of threads. Shapes: B states, A actions.
"""

from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

from ezcli.efficientzero.hyperparameters import Hyperparameters
from ezcli.efficientzero.policy import greedy_actions
from ezcli.efficientzero.searcher import Searcher
from ezcli.efficientzero.tree import ROOT, UNVISITED, Tree
from ezcli.efficientzero.value_prefix import restarts_after


class Draws(NamedTuple):
    """The random numbers of B plans. Their meaning depends on the planner."""

    noise: np.ndarray | None  # float32, a row for each state; None if the planner needs none
    ties: np.ndarray  # [B] int64 below 2**32, breaks ties

    def part(self, rows: slice) -> "Draws":
        """The random numbers of some states."""
        return Draws(None if self.noise is None else self.noise[rows], self.ties[rows])


class Plan(NamedTuple):
    """Plans for B states."""

    policy: np.ndarray  # [B, A] float32, probabilities: the policy target; 0 if there is none
    best: np.ndarray  # [B] int64, the action to play without exploration
    value: np.ndarray  # [B] float32, the plan's value of the state
    network_value: np.ndarray  # [B] float32, the network's value of the state
    depth: np.ndarray  # [B] int32, env_steps to the deepest state that was considered
    visits: np.ndarray  # [B, A] int32, how often each action was tried


class Edge(NamedTuple):
    """One step of a considered path."""

    action: int
    visits: int  # value of the state after the step
    value_prefix: float  # predicted sum of rewards, this one included
    reward: float  # predicted reward of this step alone
    restarts: bool  # whether the sum restarts at this step


class Thought(NamedTuple):
    """A plan for one state, with the data that a film shows."""

    action: int  # `Plan.best`
    visits: np.ndarray  # [A] int32
    policy: np.ndarray  # [A] float32, the network's own probabilities
    value: float  # of the plan
    network_value: float  # the network's own estimate
    depth: int  # env_steps to the deepest state that was considered
    best_path: tuple[Edge, ...]  # the preferred steps, beginning with `action`
    q: np.ndarray | None = None  # [A] float32, Q of each action, from planners that do not search
    tree: Tree | None = None  # tree of the search, B = 1; None without a search


class Planner(Protocol):
    """Plans for batches of states with a frozen network. It has settings but no state."""

    gives_policies: bool  # whether `Plan.policy` can be a policy target
    searches: bool  # whether it uses `search.num_simulations`

    def __init__(self, settings: Hyperparameters, prefix_horizon: int, num_actions: int) -> None:
        """Takes the settings of a run, the steps after which its prefix restarts, and A."""
        ...

    def draws(self, rng: np.random.Generator, batch: int, explores: bool) -> Draws:
        """Draws the random numbers of `batch` plans; `explores` is False in evaluation."""
        ...

    def plan(self, network: Searcher, observations: Tensor, draws: Draws) -> Plan:
        """Plans from observations [B, C, H, W] on the network's device.

        Raises:
          NotFinite: a value is not finite.
        """
        ...

    def act(
        self, plan: Plan, env_steps: int, train_steps: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Actions [B] int64 to play during collection, after `env_steps` and `train_steps`."""
        ...

    def think(self, network: Searcher, observations: Tensor, draws: Draws) -> Thought:
        """Plans from one state, and returns the best path too."""
        ...


def best_path(tree: Tree, action: int, prefix_horizon: int) -> tuple[Edge, ...]:
    """The path from the root of the first tree by `action`, then by the most visited children."""
    path: list[Edge] = []
    node = tree.children[0, ROOT, action]
    while node != UNVISITED:
        path.append(
            Edge(
                action=action,
                visits=int(tree.visits[0, node]),
                value_prefix=float(tree.value_prefix[0, node]),
                reward=float(tree.reward[0, node]),
                restarts=bool(restarts_after(tree.depth[0, node] - 1, prefix_horizon)),
            )
        )
        action = int(greedy_actions(tree.edge_visits[:1, node])[0])
        node = tree.children[0, node, action]
    return tuple(path)
