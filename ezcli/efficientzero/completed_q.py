"""Completed Q values: estimates for all actions of a node, visited or not, transformed by sigma.

Danihelka et al., "Policy improvement by planning with Gumbel" (ICLR 2022), section 4 and
appendix D. With visits N(a), N = sum_a N(a), priors P(a) and the node's own first estimate v:

    q(a) = Q(a),  if N(a) > 0
           (v + N sum_visited P(b) Q(b) / sum_visited P(b)) / (1 + N),  otherwise
    sigma(q) = (c_visit + max_b N(b)) c_scale q',  q' = q scaled and clipped to [0, 1]

They scale Q to [0, 1] by the range in the node; EfficientZero V2 (Wang et al., ICML 2024) uses the
range in the tree. `kernels` explains how kernels are written.
"""

from functools import partial
from typing import Any

import numpy as np

from ezcli.jit import kernel

SMALLEST_PRIOR = 1.2e-38  # float32 loses digits below it, and the logarithm of 0 is not finite


@partial(kernel, inline="always")
def write_advantages(
    b: int,
    node: int,
    value_sum: float,
    edge_q: Any,
    edge_visits: Any,
    prior: Any,
    tree_low: float,
    tree_high: float,
    c_visit: float,
    c_scale: float,
    min_q_range: float,
    scales_by_node: bool,
    scores: Any,
) -> None:
    """Writes sigma(completed Q) of each action, minus the largest, into `scores` [A].

    Unvisited actions have the mixed value (appendix D). The node's own first estimate is its sum of
    returns minus the part that its children contributed.

    Args:
      b: the tree.
      node: index of the node.
      value_sum: of the node.
      edge_q: of the tree.
      edge_visits: of the tree.
      prior: of the tree.
      tree_low: smallest Q in the tree.
      tree_high: largest Q in the tree.
      c_visit: weight of Q without visits.
      c_scale: factor of that weight.
      min_q_range: smallest divisor of the scaling.
      scales_by_node: scale to [0, 1] by the range of these completed Q values, not by the tree's.
      scores: output.
    """
    estimate, visited_prior, weighted_q = value_sum, 0.0, 0.0
    total, most, num_visited = 0, 0, 0
    low, high = np.inf, -np.inf
    for action in range(scores.shape[0]):
        times = edge_visits[b, node, action]
        if times > 0:
            q = edge_q[b, node, action]
            p = max(prior[b, node, action], SMALLEST_PRIOR)
            estimate -= times * q
            visited_prior += p
            weighted_q += p * q
            total += times
            most = max(most, times)
            num_visited += 1
            low, high = min(low, q), max(high, q)
    mixed = estimate
    if total > 0:
        mixed = (estimate + total * (weighted_q / visited_prior)) / (1 + total)
    if num_visited < scores.shape[0]:
        low, high = min(low, mixed), max(high, mixed)
    top = high
    if not scales_by_node:
        low, high = tree_low, tree_high
    span = max(high - low, min_q_range)
    scale = (c_visit + most) * c_scale
    top = min(max((top - low) / span, 0.0), 1.0)
    unvisited = scale * (min(max((mixed - low) / span, 0.0), 1.0) - top)
    for action in range(scores.shape[0]):
        scores[action] = unvisited
        if edge_visits[b, node, action] > 0:
            normalised = min(max((edge_q[b, node, action] - low) / span, 0.0), 1.0)
            scores[action] = scale * (normalised - top)
