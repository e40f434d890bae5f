"""Numba kernels that are shared by all selection rules: expand, backup and ties.

`tree` is a `Tree`; B trees, N nodes, A actions. Each rule has its own file of kernels beside this
one (`puct_kernels`, `gumbel_kernels`): `ezcli.jit` recompiles a kernel when a file that it uses
changes.

Loops over trees are serial. Searches run in parallel threads (the kernels release the GIL), each on
a batch of fixed size, so that no result depends on the number of threads.

Functions for one tree `b` take only arrays and scalars, and are inlined before LLVM: tuples of
arrays cost a reference count at each access, and calls with many arrays cost more than their work.
On a GPU `cuda_kernels` calls the functions named `between`, one tree per thread.
"""

from functools import partial
from typing import Any

import numpy as np

from ezcli.efficientzero.tree import ROOT, Constants, Tree
from ezcli.jit import kernel

TIE_TOLERANCE = 1e-6  # scores within this distance of the best are equal


@kernel
def expand_and_backup(
    tree: Tree,
    constants: Constants,
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
def best_action(scores: Any, tie_seed: int, node: int, simulations: int) -> int:
    """The action with the highest of `scores` [A]; ties are broken at random."""
    best = -np.inf
    for action in range(scores.shape[0]):
        best = max(best, scores[action])
    tied, chosen = 0, 0
    for action in range(scores.shape[0]):
        if scores[action] >= best - TIE_TOLERANCE:
            tied += 1
            # Taking the k-th tied action with probability 1 / k makes all equally likely.
            if tied == 1 or random_below(tie_seed, node, simulations, tied) == 0:
                chosen = action
    return chosen


@kernel
def random_below(seed: int, node: int, simulation: int, bound: int) -> int:
    """A uniform integer from 0 to `bound` - 1 that depends only on its arguments.

    A 32-bit integer hash by multiply and xor-shift with the constants of C. Wellons
    (hash-prospector); products stay below 2**63, so the same code runs without Numba.
    """
    x = seed
    for word in (node, simulation, bound):
        x = (x ^ word) & 0xFFFFFFFF
        x = ((x ^ (x >> 16)) * 0x21F0AAAD) & 0xFFFFFFFF
        x = ((x ^ (x >> 15)) * 0x735A2D97) & 0xFFFFFFFF
        x = x ^ (x >> 15)
    return x % bound


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
    """Adds the leaf's value to every node on the path to the root.

    Q of an edge is its reward plus the discounted mean value of its child.
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
