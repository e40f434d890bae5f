"""The search trees: plain arrays, and the Numba functions that walk them (MuZero appendix B).

Shapes: B trees, N = num_simulations + 1 nodes, A actions. Node 0 is the root and simulation `i`
creates node `i`, so nodes and simulations share one index.

The reward of an edge is stored on the edge, made from predicted value prefixes in one line when the
node is expanded; selecting and backing up know nothing of prefixes.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ezcli.efficientzero.value_prefix import reward_between

UNVISITED = -1
ROOT = 0
TIE_TOLERANCE = 1e-6  # scores this near to the best are equal


class SearchConstants(NamedTuple):
    """What the kernels read: numbers only, so that no ablation compiles them anew."""

    num_simulations: int
    discount: float  # per env_step
    pb_c_init: float
    pb_c_base: float
    min_q_range: float
    prefix_horizon: int  # env_steps; 1 where the value prefix is dropped


class Tree(NamedTuple):
    """Statistics of B search trees."""

    visits: np.ndarray  # [B, N] int32
    value_sum: np.ndarray  # [B, N] float64, discounted returns backed up through the node
    prior: np.ndarray  # [B, N, A] float32, policy probabilities
    children: np.ndarray  # [B, N, A] int32, node or UNVISITED
    parent: np.ndarray  # [B, N] int32, UNVISITED at the root
    depth: np.ndarray  # [B, N] int32, 0 at the root
    reward: np.ndarray  # [B, N] float64, on the edge into the node
    value_prefix: np.ndarray  # [B, N] float32, as predicted for the node
    q_range: np.ndarray  # [B, 2] float64, smallest and largest Q in the tree
    tie_seed: np.ndarray  # [B] int64 below 2**32, decides between equal scores

    @property
    def root_visits(self) -> np.ndarray:
        """[B, A] int32, how often each action of the root was tried."""
        child = self.children[:, ROOT]
        visits = np.take_along_axis(self.visits, np.maximum(child, ROOT), axis=1)
        return np.where(child == UNVISITED, 0, visits)

    @property
    def root_value(self) -> np.ndarray:
        """[B] float64, mean return through the root, its own first estimate included."""
        return self.value_sum[:, ROOT] / self.visits[:, ROOT]


def new_tree(
    policy: np.ndarray, value: np.ndarray, num_simulations: int, tie_seed: np.ndarray
) -> Tree:
    """Trees of a root each, from its policy [B, A] and value [B]; a root starts with one visit."""
    batch, num_actions = policy.shape
    nodes = num_simulations + 1
    tree = Tree(
        visits=np.zeros((batch, nodes), np.int32),
        value_sum=np.zeros((batch, nodes), np.float64),
        prior=np.zeros((batch, nodes, num_actions), np.float32),
        children=np.full((batch, nodes, num_actions), UNVISITED, np.int32),
        parent=np.full((batch, nodes), UNVISITED, np.int32),
        depth=np.zeros((batch, nodes), np.int32),
        reward=np.zeros((batch, nodes), np.float64),
        value_prefix=np.zeros((batch, nodes), np.float32),
        q_range=np.zeros((batch, 2), np.float64),
        tie_seed=tie_seed,
    )
    tree.prior[:, ROOT] = policy
    tree.visits[:, ROOT] = 1
    tree.value_sum[:, ROOT] = value
    return tree


# Numba from here on. `tree` is a Tree and `constants` a SearchConstants, of whatever array library.


@njit(cache=True, nogil=True)
def select_one(tree: Any, constants: Any, b: int) -> tuple[int, int]:
    """Walks tree `b` to an unvisited action; returns the node it stopped at and the action."""
    node, unvisited_q = ROOT, 0.0
    while True:
        unvisited_q = mean_q(tree, constants, b, node, unvisited_q)
        action = best_action(tree, constants, b, node, unvisited_q)
        child = tree.children[b, node, action]
        if child == UNVISITED:
            return node, action
        node = child


@njit(cache=True, nogil=True)
def q_value(tree: Any, constants: Any, b: int, node: int) -> float:
    """Return expected from the edge into `node`: its reward, then its discounted value."""
    value = tree.value_sum[b, node] / tree.visits[b, node]
    return tree.reward[b, node] + constants.discount * value


@njit(cache=True, nogil=True)
def mean_q(tree: Any, constants: Any, b: int, node: int, parent_q: float) -> float:
    """Mean Q of the visited actions: the score of the unvisited ones (appendix A.1).

    Below the root the parent's own such mean, `parent_q`, counts as one more sample.
    """
    total, visited = 0.0, 0
    for action in range(tree.children.shape[2]):
        child = tree.children[b, node, action]
        if child != UNVISITED:
            total += q_value(tree, constants, b, child)
            visited += 1
    if node == ROOT and visited > 0:
        return total / visited
    return (parent_q + total) / (visited + 1)


@njit(cache=True, nogil=True)
def best_action(tree: Any, constants: Any, b: int, node: int, unvisited_q: float) -> int:
    """Action with the highest pUCT score (MuZero equation 2); equal scores are drawn by lot."""
    num_actions = tree.children.shape[2]
    simulations = tree.visits[b, node] - 1
    pb_c = np.log((simulations + constants.pb_c_base + 1) / constants.pb_c_base)
    exploration = (pb_c + constants.pb_c_init) * np.sqrt(simulations)
    best_score = -np.inf
    for action in range(num_actions):
        found = score(tree, constants, b, node, action, unvisited_q, exploration)
        best_score = max(best_score, found)
    tied, chosen = 0, 0
    for action in range(num_actions):
        found = score(tree, constants, b, node, action, unvisited_q, exploration)
        if found >= best_score - TIE_TOLERANCE:
            tied += 1
            # Taking the k-th of the tied with chance 1 / k leaves each equally likely.
            if lot(tree.tie_seed[b], node, simulations, tied) == 0:
                chosen = action
    return chosen


@njit(cache=True, nogil=True)
def score(
    tree: Any,
    constants: Any,
    b: int,
    node: int,
    action: int,
    unvisited_q: float,
    exploration: float,
) -> float:
    """Normalised Q plus the exploration term; `exploration` is its part without the action."""
    child = tree.children[b, node, action]
    visits, q = 0, unvisited_q
    if child != UNVISITED:
        visits, q = tree.visits[b, child], q_value(tree, constants, b, child)
    low, high = tree.q_range[b, 0], tree.q_range[b, 1]
    q = (q - low) / max(high - low, constants.min_q_range)
    return min(max(q, 0.0), 1.0) + tree.prior[b, node, action] * exploration / (1 + visits)


@njit(cache=True, nogil=True)
def lot(seed: int, node: int, simulation: int, sides: int) -> int:
    """A fair throw, 0 to `sides` - 1, that depends on nothing but its arguments.

    A 32-bit integer hash by multiply and xor-shift with the constants of C. Wellons
    (hash-prospector); products stay below 2**63, so the same code runs without Numba.
    """
    x = seed
    for word in (node, simulation, sides):
        x = (x ^ word) & 0xFFFFFFFF
        x = ((x ^ (x >> 16)) * 0x21F0AAAD) & 0xFFFFFFFF
        x = ((x ^ (x >> 15)) * 0x735A2D97) & 0xFFFFFFFF
        x = x ^ (x >> 15)
    return x % sides


@njit(cache=True, nogil=True)
def expand_one(
    tree: Any, constants: Any, b: int, node: int, parent: int, action: int, prefix: float
) -> None:
    """Adds `node` under `parent`; the predicted prefix becomes a reward here and nowhere else."""
    tree.children[b, parent, action] = node
    tree.parent[b, node] = parent
    tree.depth[b, node] = tree.depth[b, parent] + 1
    tree.value_prefix[b, node] = prefix
    tree.reward[b, node] = reward_between(
        tree.value_prefix[b, parent], prefix, tree.depth[b, parent], constants.prefix_horizon
    )


@njit(cache=True, nogil=True)
def backup_one(tree: Any, constants: Any, b: int, node: int, leaf_value: float) -> None:
    """Adds the leaf's value to every node on its way up, then measures the range of Q."""
    at, value = node, np.float64(leaf_value)
    while at != UNVISITED:
        tree.visits[b, at] += 1
        tree.value_sum[b, at] += value
        value = tree.reward[b, at] + constants.discount * value
        at = tree.parent[b, at]
    low, high = np.inf, -np.inf
    for other in range(1, node + 1):
        q = q_value(tree, constants, b, other)
        low, high = min(low, q), max(high, q)
    tree.q_range[b, 0], tree.q_range[b, 1] = low, high
