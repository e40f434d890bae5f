"""Monte Carlo tree search over a batch of roots: select, evaluate, expand, backup.

The network is called once per simulation, for the whole batch.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ezcli.efficientzero.hyperparameters import Hyperparameters
from ezcli.efficientzero.kernels import expand_and_backup, select
from ezcli.efficientzero.tree import PuctConstants, Tree, new_tree
from ezcli.efficientzero.value_prefix import rewards_between


class Evaluation(NamedTuple):
    """The network's opinion of B new nodes, as arrays."""

    value_prefix: np.ndarray  # [B] float32; not read at the root, where the sum is 0
    policy: np.ndarray  # [B, A] float32, probabilities
    value: np.ndarray  # [B] float32


# The selection rule of a search, by the type of its constants.
SELECT: dict[type, Callable[..., None]] = {PuctConstants: select}

Evaluate = Callable[[int, np.ndarray, np.ndarray], Evaluation]


def puct_constants(settings: Hyperparameters, prefix_horizon: int) -> PuctConstants:
    """The settings as the kernels take them; the horizon comes from the rules."""
    search = settings.search
    return PuctConstants(
        num_simulations=search.num_simulations,
        discount=settings.value.discount,
        pb_c_init=search.pb_c_init,
        pb_c_base=search.pb_c_base,
        min_q_range=search.min_q_range,
        prefix_horizon=prefix_horizon,
    )


def search(
    root: Evaluation, evaluate: Evaluate, constants: PuctConstants, tie_seed: np.ndarray
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
    trees = np.arange(len(root.value))
    parents, actions = np.zeros_like(trees), np.zeros_like(trees)
    for node in range(1, constants.num_simulations + 1):
        SELECT[type(constants)](tree, constants, parents, actions)
        found = evaluate(node, parents, actions)
        tree.value_prefix[:, node] = found.value_prefix
        rewards = rewards_between(
            tree.value_prefix[trees, parents],
            found.value_prefix,
            tree.depth[trees, parents],
            constants.prefix_horizon,
        )
        expand_and_backup(
            tree, constants, node, parents, actions, rewards, found.policy, found.value
        )
    return tree
