"""Kernels of pUCT: the next node of each tree (MuZero appendix B, equation 2).

From the root, at each node s, until the selected action has no child:

    a = argmax_a  Q'(s, a) + P(s, a) sqrt(N(s)) / (1 + N(s, a)) (c1 + log((N(s) + c2 + 1) / c2))
    Q(s, a) = r(s, a) + discount V(child),  N(s) = sum_a N(s, a)
    Q'(s, a) = clip((Q(s, a) - min Q) / max(max Q - min Q, min_q_range), 0, 1)

The smallest and largest Q are those of the tree. An action without visits has the mean Q of
`mean_q`. c1 is `pb_c_init` and c2 is `pb_c_base`.

`tree` is a `Tree`, `constants` are `PuctConstants`; B trees, A actions. `kernels` explains how
kernels are written.
"""

import math
from functools import partial
from typing import Any

import numpy as np

from ezcli.efficientzero.kernels import best_action
from ezcli.efficientzero.tree import ROOT, UNVISITED, PuctConstants, Tree
from ezcli.jit import kernel


@kernel
def select(tree: Tree, constants: PuctConstants, parents: Any, actions: Any) -> None:
    """Writes the position of each tree's next node into `parents` [B] and `actions` [B]."""
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
    """Selects in the trees from `first` to before `last`; `scores` [A] is working memory."""
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


@partial(kernel, inline="always")
def mean_q(b: int, node: int, edge_q: Any, edge_visits: Any, parent_q: float) -> float:
    """Mean Q of the visited actions: the score of the unvisited ones (appendix A.1).

        at the root:  q(s) = sum_visited Q(s, a) / n,  0 if n = 0
        below it:     q(s) = (q(parent) + sum_visited Q(s, a)) / (1 + n)

    n counts the visited actions, and `parent_q` is q(parent).
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
      node: index of the node.
      edge_q: of the tree.
      edge_visits: of the tree.
      prior: of the tree.
      unvisited_q: Q of actions that were not visited.
      low: smallest Q in the tree.
      span: difference between the largest and the smallest Q.
      exploration: the factor of the exploration term that is equal for all actions.
      scores: output.
    """
    for action in range(scores.shape[0]):
        times = edge_visits[b, node, action]
        q = edge_q[b, node, action] if times > 0 else unvisited_q
        normalised = min(max((q - low) / span, 0.0), 1.0)
        scores[action] = normalised + prior[b, node, action] * exploration / (1 + times)
