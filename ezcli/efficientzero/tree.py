"""The search trees, as plain arrays. `kernels` has the functions on them.

Shapes: B trees, N = num_simulations + 1 nodes, A actions. Node 0 is the root and simulation `i`
creates node `i`, so nodes and simulations have the same index.

The reward of an edge is computed from predicted value prefixes when the node is expanded, and
stored on the edge. Selection and backup do not depend on prefixes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

UNVISITED, ROOT = -1, 0


class PuctConstants(NamedTuple):
    """Constants of the kernels: numbers only, so that no ablation recompiles them."""

    num_simulations: int
    discount: float  # per env_step
    pb_c_init: float
    pb_c_base: float
    min_q_range: float
    prefix_horizon: int  # env_steps; 1 without the value prefix


class GumbelConstants(NamedTuple):
    """Constants of the kernels of a Gumbel search."""

    num_simulations: int
    discount: float  # per env_step
    candidates: int  # largest number of actions at the start of sequential halving
    c_visit: float
    c_scale: float
    scales_by_node: bool  # scale Q to [0, 1] by the range in a node, not in the tree
    min_q_range: float
    prefix_horizon: int  # env_steps; 1 without the value prefix


Constants = PuctConstants | GumbelConstants  # constants of a search; their type selects its rule


class Tree(NamedTuple):
    """Statistics of B search trees."""

    visits: np.ndarray  # [B, N] int32
    value_sum: np.ndarray  # [B, N] float64, discounted returns backed up through the node
    prior: np.ndarray  # [B, N, A] float32, policy probabilities
    children: np.ndarray  # [B, N, A] int32, node or UNVISITED
    parent: np.ndarray  # [B, N] int32, UNVISITED at the root
    action: np.ndarray  # [B, N] int32, action taken at the parent; not used at the root
    depth: np.ndarray  # [B, N] int32, 0 at the root
    reward: np.ndarray  # [B, N] float64, reward of the edge into the node
    value_prefix: np.ndarray  # [B, N] float32, value prefix predicted for the node
    q: np.ndarray  # [B, N] float64, return expected from the edge into the node
    edge_q: np.ndarray  # [B, N, A] float64, `q` and
    # [B, N, A] int32, `visits` of the child, in the layout that selection reads
    edge_visits: np.ndarray
    q_range: np.ndarray  # [B, 2] float64, smallest and largest Q in the tree
    tie_seed: np.ndarray  # [B] int64 below 2**32, decides between equal scores
    # [B, A] float32, noise at the root, for rules that read it; otherwise it is in `prior`
    noise: np.ndarray

    @property
    def root_visits(self) -> np.ndarray:
        """[B, A] int32, how often each action of the root was tried."""
        return self.edge_visits[:, ROOT].copy()

    @property
    def root_value(self) -> np.ndarray:
        """[B] float64, mean return through the root, its own first estimate included."""
        return self.value_sum[:, ROOT] / self.visits[:, ROOT]


def empty_tree(
    batch: int,
    num_actions: int,
    num_simulations: int,
    zeros: Callable[[tuple[int, ...], str], Any],
) -> Tree:
    """A `Tree` of zeros made by `zeros(shape, dtype)`: arrays on a CPU, tensors on a GPU."""
    per_node = batch, num_simulations + 1
    per_edge = *per_node, num_actions
    return Tree(
        visits=zeros(per_node, "int32"),
        value_sum=zeros(per_node, "float64"),
        prior=zeros(per_edge, "float32"),
        children=zeros(per_edge, "int32"),
        parent=zeros(per_node, "int32"),
        action=zeros(per_node, "int32"),
        depth=zeros(per_node, "int32"),
        reward=zeros(per_node, "float64"),
        value_prefix=zeros(per_node, "float32"),
        q=zeros(per_node, "float64"),
        edge_q=zeros(per_edge, "float64"),
        edge_visits=zeros(per_edge, "int32"),
        q_range=zeros((batch, 2), "float64"),
        tie_seed=zeros((batch,), "int64"),
        noise=zeros((batch, num_actions), "float32"),
    )


def new_tree(
    policy: np.ndarray, value: np.ndarray, num_simulations: int, tie_seed: np.ndarray
) -> Tree:
    """B trees with only a root, from its policy [B, A] and value [B].

    A root starts with one visit.
    """
    batch, num_actions = policy.shape
    tree = empty_tree(batch, num_actions, num_simulations, np.zeros)
    tree.children.fill(UNVISITED)
    tree.parent.fill(UNVISITED)
    tree.prior[:, ROOT] = policy
    tree.visits[:, ROOT] = 1
    tree.value_sum[:, ROOT] = value
    tree.tie_seed[:] = tie_seed
    return tree
