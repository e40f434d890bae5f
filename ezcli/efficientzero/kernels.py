"""The Numba functions that walk the trees: select, expand, backup (MuZero appendix B).

`tree` is a `Tree`, `constants` are `PuctConstants`; B trees, N nodes, A actions. All kernels
stand in this one file and call nothing of another: Numba's cache on disk looks at the file of the
outermost kernel only, and would run old code after a change elsewhere.

The loops over trees are plain: searches run side by side in threads (the kernels release the GIL),
each on a batch of fixed size, so that no result depends on the number of threads.

The functions for one tree `b` take arrays and scalars only, and are inlined before LLVM sees them:
tuples of arrays cost a reference count at each access, calls with many arrays more than their work.
On a GPU `cuda_kernels` calls `select_between` and `expand_and_backup_between`, a tree a thread.
"""

import math
from functools import partial
from typing import Any

import numpy as np

from ezcli.jit import kernel

UNVISITED, ROOT = -1, 0
TIE_TOLERANCE = 1e-6  # scores this near to the best are equal


@kernel
def select(tree: Any, constants: Any, parents: Any, actions: Any) -> None:
    """Writes where each tree wants its next node into `parents` [B] and `actions` [B]."""
    select_between(
        0,
        parents.shape[0],
        tree.visits,
        tree.edge_q,
        tree.edge_visits,
        tree.prior,
        tree.children,
        tree.q_range,
        tree.tie_seed,
        constants.min_q_range,
        constants.pb_c_init,
        constants.pb_c_base,
        np.empty(tree.prior.shape[2]),
        parents,
        actions,
    )


@kernel
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
    expand_and_backup_between(
        0,
        parents.shape[0],
        node,
        parents,
        actions,
        rewards,
        policy,
        value,
        constants.discount,
        tree.children,
        tree.parent,
        tree.action,
        tree.depth,
        tree.reward,
        tree.prior,
        tree.visits,
        tree.value_sum,
        tree.q,
        tree.edge_q,
        tree.edge_visits,
        tree.q_range,
    )


@kernel
def select_between(
    first: int,
    last: int,
    visits: Any,
    edge_q: Any,
    edge_visits: Any,
    prior: Any,
    children: Any,
    q_range: Any,
    tie_seed: Any,
    min_q_range: float,
    pb_c_init: float,
    pb_c_base: float,
    scores: Any,
    parents: Any,
    actions: Any,
) -> None:
    """Selects in the trees from `first` to before `last`; `scores` [A] is written on the way."""
    for b in range(first, last):
        low = q_range[b, 0]
        span = max(q_range[b, 1] - low, min_q_range)
        node, unvisited_q = ROOT, 0.0
        while True:
            unvisited_q = mean_q(b, node, edge_q, edge_visits, unvisited_q)
            simulations = visits[b, node] - 1
            pb_c = math.log((simulations + pb_c_base + 1) / pb_c_base) + pb_c_init
            exploration = pb_c * math.sqrt(simulations)
            write_scores(
                b, node, edge_q, edge_visits, prior, unvisited_q, low, span, exploration, scores
            )
            action = best_action(scores, tie_seed[b], node, simulations)
            child = children[b, node, action]
            if child == UNVISITED:
                parents[b], actions[b] = node, action
                break
            node = child


@kernel
def expand_and_backup_between(
    first: int,
    last: int,
    node: int,
    parents: Any,
    actions: Any,
    rewards: Any,
    policy: Any,
    value: Any,
    discount: float,
    children: Any,
    parent: Any,
    action_into: Any,
    depth: Any,
    reward: Any,
    prior: Any,
    visits: Any,
    value_sum: Any,
    q: Any,
    edge_q: Any,
    edge_visits: Any,
    q_range: Any,
) -> None:
    """Expands and backs up in the trees from `first` to before `last`."""
    for b in range(first, last):
        above, action = parents[b], actions[b]
        children[b, above, action] = node
        parent[b, node], action_into[b, node] = above, action
        depth[b, node] = depth[b, above] + 1
        reward[b, node] = rewards[b]
        for a in range(prior.shape[2]):
            prior[b, node, a] = policy[b, a]
        backup(
            b,
            node,
            value[b],
            discount,
            parent,
            action_into,
            reward,
            visits,
            value_sum,
            q,
            edge_q,
            edge_visits,
        )
        low, high = np.inf, -np.inf
        for other in range(1, node + 1):
            low, high = min(low, q[b, other]), max(high, q[b, other])
        q_range[b, 0], q_range[b, 1] = low, high


@partial(kernel, inline="always")
def mean_q(b: int, node: int, edge_q: Any, edge_visits: Any, parent_q: float) -> float:
    """Mean Q of the visited actions: the score of the unvisited ones (appendix A.1).

    Below the root the parent's own such mean, `parent_q`, counts as one more sample.
    """
    total, visited = 0.0, 0
    for action in range(edge_q.shape[2]):
        if edge_visits[b, node, action] > 0:
            total += edge_q[b, node, action]
            visited += 1
    if node != ROOT or visited == 0:
        total += parent_q
        visited += 1
    return total / visited


@partial(kernel, inline="always")
def write_scores(
    b: int,
    node: int,
    edge_q: Any,
    edge_visits: Any,
    prior: Any,
    unvisited_q: float,
    low: float,
    span: float,
    exploration: float,
    scores: Any,
) -> None:
    """Writes the pUCT score of each action (MuZero equation 2) into `scores` [A].

    Args:
      b: the tree.
      node: where in it.
      edge_q: of the tree.
      edge_visits: of the tree.
      prior: of the tree.
      unvisited_q: Q of actions that were not visited.
      low: smallest Q in the tree.
      span: from there to the largest.
      exploration: the part of the exploration term that is the same for every action.
      scores: written.
    """
    for action in range(scores.shape[0]):
        times = edge_visits[b, node, action]
        q = edge_q[b, node, action] if times > 0 else unvisited_q
        normalised = min(max((q - low) / span, 0.0), 1.0)
        scores[action] = normalised + prior[b, node, action] * exploration / (1 + times)


@partial(kernel, inline="always")
def best_action(scores: Any, tie_seed: int, node: int, simulations: int) -> int:
    """Action with the highest of `scores` [A]; equal scores are drawn by lot."""
    best = -np.inf
    for action in range(scores.shape[0]):
        best = max(best, scores[action])
    tied, chosen = 0, 0
    for action in range(scores.shape[0]):
        if scores[action] >= best - TIE_TOLERANCE:
            tied += 1
            # Taking the k-th of the tied with chance 1 / k leaves each equally likely.
            if tied == 1 or lot(tie_seed, node, simulations, tied) == 0:
                chosen = action
    return chosen


@kernel
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


@partial(kernel, inline="always")
def backup(
    b: int,
    node: int,
    leaf_value: float,
    discount: float,
    parent: Any,
    action_into: Any,
    reward: Any,
    visits: Any,
    value_sum: Any,
    q: Any,
    edge_q: Any,
    edge_visits: Any,
) -> None:
    """Adds the leaf's value to every node on its way up.

    Q of an edge is its reward, then the discounted mean value of the node that it leads to.
    """
    at, value = node, np.float64(leaf_value)
    while at != ROOT:
        visits[b, at] += 1
        value_sum[b, at] += value
        above, action = parent[b, at], action_into[b, at]
        q[b, at] = reward[b, at] + discount * (value_sum[b, at] / visits[b, at])
        edge_q[b, above, action] = q[b, at]
        edge_visits[b, above, action] = visits[b, at]
        value = reward[b, at] + discount * value
        at = above
    visits[b, ROOT] += 1
    value_sum[b, ROOT] += value
