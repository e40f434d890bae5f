"""Monte Carlo tree search over a batch of roots: select, evaluate, expand, backup.

The network is called once per simulation, for the whole batch.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ezcli.efficientzero import gumbel_kernels, puct_kernels
from ezcli.efficientzero.hyperparameters import Hyperparameters
from ezcli.efficientzero.kernels import expand_and_backup
from ezcli.efficientzero.tree import Constants, GumbelConstants, PuctConstants, Tree, new_tree
from ezcli.efficientzero.value_prefix import rewards_between


class Evaluation(NamedTuple):
    """Outputs of the network for B new nodes, as arrays."""

    value_prefix: np.ndarray  # [B] float32; not read at the root, where the sum is 0
    policy: np.ndarray  # [B, A] float32, probabilities
    value: np.ndarray  # [B] float32


# The selection rule of a search, by the type of its constants.
SELECT: dict[type, Callable[..., None]] = {
    PuctConstants: puct_kernels.select,
    GumbelConstants: gumbel_kernels.select,
}

Evaluate = Callable[[int, np.ndarray, np.ndarray], Evaluation]


def puct_constants(settings: Hyperparameters, prefix_horizon: int) -> PuctConstants:
    """Constants of the pUCT kernels. The horizon comes from the rules."""
    search = settings.search
    return PuctConstants(
        num_simulations=search.num_simulations,
        discount=settings.value.discount,
        pb_c_init=search.pb_c_init,
        pb_c_base=search.pb_c_base,
        min_q_range=search.min_q_range,
        prefix_horizon=prefix_horizon,
    )


def gumbel_constants(
    settings: Hyperparameters, prefix_horizon: int, num_actions: int
) -> GumbelConstants:
    """Constants of the Gumbel kernels.

    The number of candidates may depend on the number of actions.
    """
    gumbel, search = settings.gumbel, settings.search
    by_actions = 2 if num_actions < 4 else 4 if num_actions < 16 else 8
    candidates = {"fixed": gumbel.candidates, "by-actions": by_actions}[gumbel.candidates_rule]
    return GumbelConstants(
        num_simulations=search.num_simulations,
        discount=settings.value.discount,
        candidates=candidates,
        c_visit=gumbel.c_visit,
        c_scale=gumbel.c_scale,
        scales_by_node=gumbel.scaling == "node",
        min_q_range=search.min_q_range,
        prefix_horizon=prefix_horizon,
    )


def search(
    root: Evaluation,
    evaluate: Evaluate,
    constants: Constants,
    tie_seed: np.ndarray,
    noise: np.ndarray | None = None,
) -> Tree:
    """Runs `num_simulations` of select, evaluate, expand, backup.

    Args:
      root: the network's output at the roots; noise on priors is already in `policy`.
      evaluate: `(node, parents [B], actions [B]) -> Evaluation` for the nodes that `actions` reach
        from `parents`. It stores their latents at `node` for later simulations.
      constants: of the search.
      tie_seed: [B] int64 below 2**32. It determines every choice between equal scores. In the first
        simulation all scores are equal, because the exploration term is 0 by design.
      noise: [B, A] float32 at the roots, for rules that read it; None: zeros.
    """
    tree = new_tree(root.policy, root.value, constants.num_simulations, tie_seed)
    if noise is not None:
        tree.noise[:] = noise
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
