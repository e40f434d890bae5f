"""Monte Carlo tree search over a batch of roots: select, evaluate, expand, backup.

The network is called once per simulation for the whole batch. The loops over trees are plain, not
parallel: searches run side by side in threads (the kernels release the GIL), each on a batch of
fixed size, so that a result never depends on the number of threads.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ezcli.efficientzero.hyperparameters import Hyperparameters
from ezcli.efficientzero.tree import (
    SearchConstants,
    Tree,
    backup_one,
    expand_one,
    new_tree,
    select_one,
)


class Evaluation(NamedTuple):
    """The network's opinion of B new nodes, as arrays."""

    value_prefix: np.ndarray  # [B] float32; not read at the root, where the sum is 0
    policy: np.ndarray  # [B, A] float32, probabilities
    value: np.ndarray  # [B] float32


Evaluate = Callable[[int, np.ndarray, np.ndarray], Evaluation]


def search_constants(settings: Hyperparameters, prefix_horizon: int) -> SearchConstants:
    """The settings as the kernels take them; the horizon comes from the rules."""
    search = settings.search
    return SearchConstants(
        num_simulations=search.num_simulations,
        discount=settings.value.discount,
        pb_c_init=search.pb_c_init,
        pb_c_base=search.pb_c_base,
        min_q_range=search.min_q_range,
        prefix_horizon=prefix_horizon,
    )


def search(
    root: Evaluation, evaluate: Evaluate, constants: SearchConstants, tie_seed: np.ndarray
) -> Tree:
    """Runs `num_simulations` of select, evaluate, expand, backup.

    Args:
      root: the network's output at the roots, any exploration noise already in `policy`.
      evaluate: `(node, parents [B], actions [B]) -> Evaluation` of the nodes that `actions` reach
        from `parents`. It keeps their latents under `node` for later simulations.
      constants: of the search.
      tie_seed: [B] int64 below 2**32. It fixes every choice between equal scores, such as all
        those of the first simulation, where the exploration term is 0 by design.
    """
    tree = new_tree(root.policy, root.value, constants.num_simulations, tie_seed)
    parents = np.zeros(len(root.value), np.int64)
    actions = np.zeros(len(root.value), np.int64)
    for node in range(1, constants.num_simulations + 1):
        select(tree, constants, parents, actions)
        evaluation = evaluate(node, parents, actions)
        expand_and_backup(tree, constants, node, parents, actions, evaluation)
    return tree


@njit(cache=True, nogil=True)
def select(tree: Any, constants: Any, parents: Any, actions: Any) -> None:
    """Writes where each tree wants its next node into `parents` [B] and `actions` [B]."""
    for b in range(parents.shape[0]):
        parents[b], actions[b] = select_one(tree, constants, b)


@njit(cache=True, nogil=True)
def expand_and_backup(
    tree: Any, constants: Any, node: int, parents: Any, actions: Any, evaluation: Any
) -> None:
    """Adds `node` to each tree and its value to the path above it."""
    for b in range(parents.shape[0]):
        expand_one(tree, constants, b, node, parents[b], actions[b], evaluation.value_prefix[b])
        for action in range(tree.prior.shape[2]):
            tree.prior[b, node, action] = evaluation.policy[b, action]
        backup_one(tree, constants, b, node, evaluation.value[b])
