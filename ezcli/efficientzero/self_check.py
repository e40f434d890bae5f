"""Differences between a device and the CPU: trees of a search, and outputs in bfloat16.

Both are compared with random last layers, because a new network predicts the same for every state,
which would hide faults.
"""

import copy

import numpy as np
import torch
from torch import Tensor

from ezcli.efficientzero.folded import fold
from ezcli.efficientzero.inference import initial_output, search_states
from ezcli.efficientzero.network import Network
from ezcli.efficientzero.tree import Constants

ROOTS, SEED = 16, 0
HEAD_WEIGHTS = 1.0  # standard deviation with which policies differ between states


def opinionated(network: Network) -> Network:
    """A copy in evaluation mode whose last layers are random; the same for the same network."""
    made = copy.deepcopy(network).eval()
    heads = made.prediction.value, made.prediction.policy, made.dynamics.value_prefix
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for head in heads:
            for weight in head[-1].parameters():
                drawn = HEAD_WEIGHTS * torch.randn(weight.shape, generator=generator)
                weight.copy_(drawn)
    return made


def observations_for(network: Network, shape: tuple[int, int, int]) -> Tensor:
    """Random observations [ROOTS, *shape] float32 in [0, 1], on the network's device."""
    drawn = torch.rand((ROOTS, *shape), generator=torch.Generator().manual_seed(SEED))
    return drawn.to(next(network.parameters()).device)


def misplaced_visits(network: Network, constants: Constants, observations: Tensor) -> float:
    """Share of the root's visits that differ between trees on the device and on the CPU.

    The network runs on its own device in both cases, so that exact agreement gives 0.

    Args:
      network: folded, on the device.
      constants: of the search.
      observations: [B, C, H, W] on the same device.
    """
    from ezcli.efficientzero.device_search import DeviceSearch  # lazy: loads Numba's CUDA

    roots = len(observations)
    ties = np.random.default_rng(SEED).integers(2**32, size=roots)
    found = DeviceSearch(network, constants, roots).search(observations, None, ties)
    expected = search_states(network, observations, constants, None, ties, "float32")
    moved = np.abs(found.visits - expected.visits).sum() / 2
    return float(moved) / (roots * constants.num_simulations)


@torch.inference_mode()
def error_of(network: Network, precision: str, observations: Tensor) -> float:
    """Error of value and policy logits relative to float32.

    Args:
      network: not folded, in evaluation mode.
      precision: precision of the compared copy; the error is 0 for `float32`.
      observations: [B, C, H, W] on the network's device.
    """
    compared, exact = (
        initial_output(fold(network, name), observations) for name in (precision, "float32")
    )
    errors = [
        (one.float() - other).norm() / other.norm()
        for one, other in zip(compared[-2:], exact[-2:], strict=True)
    ]
    return float(torch.stack(errors).max())
