"""Kernels of the Gumbel search: the next node of each tree, and the final decision at its root.

Danihelka et al., "Policy improvement by planning with Gumbel" (ICLR 2022): sequential halving at
the root (section 3), and the deterministic rule below the root (section 5).

`tree` is a `Tree`, `constants` are `GumbelConstants`; B trees, N nodes, A actions. `kernels`
explains how kernels are written.
"""

import math
from functools import partial
from typing import Any

import numpy as np

from ezcli.efficientzero.completed_q import SMALLEST_PRIOR, write_advantages
from ezcli.efficientzero.kernels import best_action
from ezcli.efficientzero.tree import ROOT, UNVISITED, GumbelConstants, Tree
from ezcli.jit import kernel


@kernel
def select(tree: Tree, constants: GumbelConstants, parents: Any, actions: Any) -> None:
    """Writes the position of each tree's next node into `parents` [B] and `actions` [B]."""
    select_between(
        0,
        parents.shape[0],
        tree.visits,
        tree.value_sum,
        tree.edge_q,
        tree.edge_visits,
        tree.prior,
        tree.children,
        tree.q_range,
        tree.noise,
        tree.tie_seed,
        constants.num_simulations,
        constants.candidates,
        constants.c_visit,
        constants.c_scale,
        constants.min_q_range,
        constants.scales_by_node,
        np.empty(tree.prior.shape[2]),
        parents,
        actions,
    )


@kernel
def select_between(
    first: int,
    last: int,
    visits: Any,
    value_sum: Any,
    edge_q: Any,
    edge_visits: Any,
    prior: Any,
    children: Any,
    q_range: Any,
    noise: Any,
    tie_seed: Any,
    num_simulations: int,
    candidates: int,
    c_visit: float,
    c_scale: float,
    min_q_range: float,
    scales_by_node: bool,
    scores: Any,
    parents: Any,
    actions: Any,
) -> None:
    """Selects in the trees from `first` to before `last`; `scores` [A] is working memory."""
    for b in range(first, last):
        node = ROOT
        while True:
            simulations = visits[b, node] - 1
            write_advantages(
                b,
                node,
                value_sum[b, node],
                edge_q,
                edge_visits,
                prior,
                q_range[b, 0],
                q_range[b, 1],
                c_visit,
                c_scale,
                min_q_range,
                scales_by_node,
                scores,
            )
            if node == ROOT:
                times = halving_visits(
                    simulations, min(candidates, scores.shape[0]), num_simulations
                )
                write_root_scores(b, times, edge_visits, prior, noise, scores)
            else:
                write_interior_scores(b, node, simulations, edge_visits, prior, scores)
            action = best_action(scores, tie_seed[b], node, simulations)
            child = children[b, node, action]
            if child == UNVISITED:
                parents[b], actions[b] = node, action
                break
            node = child


@kernel
def decide(tree: Tree, constants: GumbelConstants, policy: Any, best: Any) -> None:
    """Writes policies and decisions at the roots of finished searches.

    Args:
      tree: only its roots are read.
      constants: of the search.
      policy: [B, A], output: softmax(logits + advantages).
      best: [B], output: the action with the highest score among the most visited ones.
    """
    scores = np.empty(tree.prior.shape[2])
    for b in range(best.shape[0]):
        write_advantages(
            b,
            ROOT,
            tree.value_sum[b, ROOT],
            tree.edge_q,
            tree.edge_visits,
            tree.prior,
            tree.q_range[b, 0],
            tree.q_range[b, 1],
            constants.c_visit,
            constants.c_scale,
            constants.min_q_range,
            constants.scales_by_node,
            scores,
        )
        total, most = 0.0, 0
        for action in range(scores.shape[0]):
            weight = max(tree.prior[b, ROOT, action], SMALLEST_PRIOR) * math.exp(scores[action])
            policy[b, action] = weight
            total += weight
            most = max(most, tree.edge_visits[b, ROOT, action])
        for action in range(scores.shape[0]):
            policy[b, action] /= total
        write_root_scores(b, most, tree.edge_visits, tree.prior, tree.noise, scores)
        best[b] = best_action(scores, tree.tie_seed[b], ROOT, tree.visits[b, ROOT] - 1)


@kernel
def halving_visits(simulation: int, candidates: int, num_simulations: int) -> int:
    """Visits of the action that sequential halving tries in this simulation, counted from 0.

    The phases share the simulations equally. In each phase every remaining action is tried equally
    often. Then the better half remains, at least two.
    """
    if candidates == 1:
        return simulation
    phases, left = 0, 1
    while left < candidates:
        left *= 2
        phases += 1
    times, left = 0, candidates
    while True:
        rounds = max(1, num_simulations // (phases * left))
        if simulation < rounds * left:
            return times + simulation // left
        simulation -= rounds * left
        times += rounds
        left = max(2, left // 2)


@partial(kernel, inline="always")
def write_root_scores(
    b: int, times: int, edge_visits: Any, prior: Any, noise: Any, scores: Any
) -> None:
    """Turns advantages into scores [A] at the root: noise + logits + advantages.

    Only actions that were tried `times` times are candidates.
    """
    for action in range(scores.shape[0]):
        if edge_visits[b, ROOT, action] == times:
            p = max(prior[b, ROOT, action], SMALLEST_PRIOR)
            scores[action] += noise[b, action] + math.log(p)
        else:
            scores[action] = -np.inf


@partial(kernel, inline="always")
def write_interior_scores(
    b: int, node: int, simulations: int, edge_visits: Any, prior: Any, scores: Any
) -> None:
    """Turns advantages into scores [A] below the root: improved policy minus share of visits.

    score(a) = softmax_a(l(a) + sigma(q(a))) - N(a) / (1 + sum_b N(b))
    """
    total, of_unvisited = 0.0, -1.0
    for action in range(scores.shape[0]):
        if edge_visits[b, node, action] > 0:
            factor = math.exp(scores[action])
        else:
            if of_unvisited < 0:
                of_unvisited = math.exp(scores[action])
            factor = of_unvisited
        scores[action] = max(prior[b, node, action], SMALLEST_PRIOR) * factor
        total += scores[action]
    for action in range(scores.shape[0]):
        share = edge_visits[b, node, action] / (1 + simulations)
        scores[action] = scores[action] / total - share
