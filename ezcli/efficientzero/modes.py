"""The difference between the network in evaluation mode (searches) and training mode (learning).

Searches and bootstrapped values use the network in evaluation mode, learning in training mode. With
running statistics these are two different functions of the same weights (`norms`). Both are applied
to the same windows, and compared at the root and at the last position of the unroll:

    rmse         sqrt(mean (e - t)^2) / std(t)     e in evaluation mode, t in training mode
    bias         mean(e - t) / std(t)
    correlation  of e and t

of values, and of value prefixes at the last position; for policies the total variation, the mean of
sum_a |e(a) - t(a)| / 2. Shapes: B windows, K unroll steps, C, H, W of a stacked observation.
"""

import copy
from math import nan

import torch
from torch import Tensor

from ezcli.efficientzero.batch import NetworkOutput
from ezcli.efficientzero.loss import unroll
from ezcli.efficientzero.network import Network
from ezcli.efficientzero.support import to_scalar

WINDOWS = 256  # windows of the replay in a comparison
COMPARED = ("rmse", "bias", "correlation")
ABOUT = {
    "rmse": "root mean square error, in standard deviations",
    "bias": "mean error, in standard deviations",
    "correlation": "correlation",
}
PLACES = {"root": "root", "last": "last position of the unroll"}

# Names of the columns, with their descriptions.
MODES = {
    f"modes_{what}_{name}_{place}": f"{what} in evaluation against training mode at the {where}: "
    + ABOUT[name]
    for place, where in PLACES.items()
    for what in ("value", "prefix")
    for name in COMPARED
    if (what, place) != ("prefix", "root")
} | {
    f"modes_policy_variation_{place}": "policy in evaluation against training mode at the "
    f"{where}: total variation"
    for place, where in PLACES.items()
}


@torch.no_grad()
def compare_modes(
    network: Network,
    observations: Tensor,
    actions: Tensor,
    is_state: Tensor,
    prefix_horizon: int,
) -> dict[str, float]:
    """The values of MODES; not finite if nothing varies.

    Args:
      network: not modified.
      observations: [B, C, H, W] in [0, 1], the first of each window.
      actions: [B, K] int64.
      is_state: [B, K + 1] bool; positions past the end of an episode are left out.
      prefix_horizon: env_steps after which the value prefix restarts.
    """
    copied = copy.deepcopy(network)  # training mode updates the running statistics
    evaluated = unroll(copied.eval(), observations, actions, prefix_horizon)
    trained = unroll(copied.train(), observations, actions, prefix_horizon)
    found: dict[str, float] = {}
    for place, at in (("root", 0), ("last", actions.shape[1])):
        rows = is_state[:, at]
        one, other = evaluated[at], trained[at]
        for what, compared in compared_scalars(one, other, rows).items():
            for name, number in zip(COMPARED, compared, strict=True):
                found[f"modes_{what}_{name}_{place}"] = number
        apart = (one.policy.softmax(-1) - other.policy.softmax(-1))[rows].abs().sum(-1) / 2
        found[f"modes_policy_variation_{place}"] = apart.mean().item() if len(apart) else nan
    return {name: found[name] for name in MODES}


def compared_scalars(
    one: NetworkOutput, other: NetworkOutput, rows: Tensor
) -> dict[str, tuple[float, float, float]]:
    """rmse, bias and correlation of value and, except at the root, value prefix in these rows."""
    found = {"value": compared(to_scalar(one.value)[rows], to_scalar(other.value)[rows])}
    if one.value_prefix is not None and other.value_prefix is not None:
        prefixes = (to_scalar(output)[rows] for output in (one.value_prefix, other.value_prefix))
        found["prefix"] = compared(*prefixes)
    return found


def compared(evaluated: Tensor, trained: Tensor) -> tuple[float, float, float]:
    """rmse, bias and correlation of [n] numbers in two modes; NaN if n is 0."""
    if not len(trained):
        return nan, nan, nan
    error, std = evaluated - trained, trained.std(correction=0)
    both = torch.stack([evaluated, trained]).double()
    return (
        (error.square().mean().sqrt() / std).item(),
        (error.mean() / std).item(),
        torch.corrcoef(both)[0, 1].item(),
    )
