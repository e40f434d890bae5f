"""The Numba functions that walk the trees: select, expand, backup (MuZero appendix B).

`tree` is a `Tree`, `constants` are `SearchConstants`; B trees, A actions. All kernels stand in this
one file and use nothing of another: Numba's cache on disk looks at the file of the outermost kernel
only, and would run old code after a change elsewhere.

The loops over trees are plain, not parallel: searches run side by side in threads (the kernels
release the GIL), each on a batch of fixed size, so that a result never depends on the number of
threads. The `*_one` functions take arrays and scalars only, so that they can serve a GPU too.
"""

from typing import Any

import numpy as np
from numba import njit

UNVISITED = -1
ROOT = 0
TIE_TOLERANCE = 1e-6  # scores this near to the best are equal


@njit(cache=True, nogil=True)
def select(tree: Any, constants: Any, parents: Any, actions: Any) -> None:
    """Writes where each tree wants its next node into `parents` [B] and `actions` [B]."""
    for b in range(parents.shape[0]):
        parents[b], actions[b] = select_one(tree, constants, b)


@njit(cache=True, nogil=True)
def expand_and_backup(
    tree: Any,
    constants: Any,
    node: int,
    parents: Any,
    actions: Any,
    rewards: Any,
    policy: Any,
    value: Any,
) -> None:
    """Adds `node` to each tree, and its `value` [B] to the path above it."""
    for b in range(parents.shape[0]):
        expand_one(tree, b, node, parents[b], actions[b], rewards[b])
        for action in range(tree.prior.shape[2]):
            tree.prior[b, node, action] = policy[b, action]
        backup_one(tree, constants, b, node, value[b])


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
def expand_one(tree: Any, b: int, node: int, parent: int, action: int, reward: float) -> None:
    """Adds `node` under `parent`, with `reward` on the edge between them."""
    tree.children[b, parent, action] = node
    tree.parent[b, node] = parent
    tree.depth[b, node] = tree.depth[b, parent] + 1
    tree.reward[b, node] = reward


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
