"""The selection rules on a GPU, by the type of a search's constants; see `cuda_kernels`."""

from collections.abc import Callable
from typing import Any

from numba import cuda
from torch import Tensor

from ezcli.efficientzero import gumbel_kernels, puct_kernels
from ezcli.efficientzero.cuda_kernels import launch
from ezcli.efficientzero.tree import GumbelConstants, PuctConstants, Tree


@cuda.jit
def puct_kernel(
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
    """`puct_kernels.select`, with `scores` [B, A] as working memory."""
    b = cuda.grid(1)
    if b < parents.shape[0]:
        puct_kernels.select_between(
            b,
            b + 1,
            visits,
            edge_q,
            edge_visits,
            prior,
            children,
            q_range,
            tie_seed,
            min_q_range,
            pb_c_init,
            pb_c_base,
            scores[b],
            parents,
            actions,
        )


@cuda.jit
def gumbel_kernel(
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
    """`gumbel_kernels.select`, with `scores` [B, A] as working memory."""
    b = cuda.grid(1)
    if b < parents.shape[0]:
        gumbel_kernels.select_between(
            b,
            b + 1,
            visits,
            value_sum,
            edge_q,
            edge_visits,
            prior,
            children,
            q_range,
            noise,
            tie_seed,
            num_simulations,
            candidates,
            c_visit,
            c_scale,
            min_q_range,
            scales_by_node,
            scores[b],
            parents,
            actions,
        )


def select_by_puct(
    tree: Tree, constants: PuctConstants, scores: Tensor, parents: Tensor, actions: Tensor
) -> None:
    """Writes the position of each tree's next node by pUCT to `parents` [B] and `actions` [B]."""
    launch(
        puct_kernel,
        len(parents),
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
        scores,
        parents,
        actions,
    )


def select_by_gumbel(
    tree: Tree, constants: GumbelConstants, scores: Tensor, parents: Tensor, actions: Tensor
) -> None:
    """Writes the position of each tree's next node, by the Gumbel search."""
    launch(
        gumbel_kernel,
        len(parents),
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
        scores,
        parents,
        actions,
    )


SELECT: dict[type, Callable[..., None]] = {  # as in `search`
    PuctConstants: select_by_puct,
    GumbelConstants: select_by_gumbel,
}
