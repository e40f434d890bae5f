"""The seam between planning and everything that uses a plan.

A planner answers for a batch of states: which action to play, a policy and a value for targets, and
what metrics and films may show. Acting, targets and evaluation ask nothing else, so that another
planner is one file and one entry in `components.PLANNERS`.

Random numbers are drawn before the work is split between threads (`draws`, then `part`): how many
threads there are changes no plan. Shapes: B states, A actions.
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
    """The random numbers of B plans; what they mean is the planner's own matter."""

    noise: np.ndarray | None  # float32, a row for each state; None if the planner draws none
    ties: np.ndarray  # [B] int64 below 2**32, decides between equal scores

    def part(self, rows: slice) -> "Draws":
        """Those of some of the states."""
        return Draws(None if self.noise is None else self.noise[rows], self.ties[rows])


class Plan(NamedTuple):
    """What planning found out about B states."""

    policy: np.ndarray  # [B, A] float32, probabilities: the policy target; 0 if there is none
    best: np.ndarray  # [B] int64, the action to play without exploration
    value: np.ndarray  # [B] float32, of the plan
    network_value: np.ndarray  # [B] float32, the network's own estimate
    depth: np.ndarray  # [B] int32, env_steps to the deepest state that was considered
    visits: np.ndarray  # [B, A] int32, how often each action was tried


class Edge(NamedTuple):
    """One step of a path that was considered."""

    action: int
    visits: int  # of the state it leads to
    value_prefix: float  # predicted sum of rewards, this one included
    reward: float  # predicted, of this step alone
    restarts: bool  # whether the sum begins with this step


class Thought(NamedTuple):
    """A plan for one state, with what a film shows of it."""

    action: int  # `Plan.best`
    visits: np.ndarray  # [A] int32
    policy: np.ndarray  # [A] float32, the network's own probabilities
    value: float  # of the plan
    network_value: float  # the network's own estimate
    depth: int  # env_steps to the deepest state that was considered
    best_path: tuple[Edge, ...]  # the steps that the plan prefers; `action` is the first
    q: np.ndarray | None = None  # [A] float32, Q of each action; of planners that do not search
    tree: Tree | None = None  # of the search, B = 1; None where nothing is searched


class Planner(Protocol):
    """Plans for batches of states with a frozen network; holds settings and no state."""

    gives_policies: bool  # whether `Plan.policy` is a target to learn from
    searches: bool  # whether `search.num_simulations` means anything to it

    def __init__(self, settings: Hyperparameters, prefix_horizon: int, num_actions: int) -> None:
        """For the settings of a run, the steps after which its prefix restarts, and A."""
        ...

    def draws(self, rng: np.random.Generator, batch: int, explores: bool) -> Draws:
        """The random numbers of `batch` plans; `explores` is False in evaluation."""
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
        """Actions [B] int64 to play while collecting, after so many steps of either kind."""
        ...

    def think(self, network: Searcher, observations: Tensor, draws: Draws) -> Thought:
        """`plan` of one state, with its best path."""
        ...


def best_path(tree: Tree, action: int, prefix_horizon: int) -> tuple[Edge, ...]:
    """From the root of the first tree by `action`, then always on to the most visited child."""
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
