"""Recomputes the running statistics of batch-norms for the current weights.

Running statistics are averages over many train_steps with older weights. With `network.norm =
"batch-recalibrated"`, they are replaced whenever the learner's network is copied, by the mean over
BATCHES batches of windows that pass through the network in training mode. Learning is not affected,
because it uses the statistics of its own batch. Shapes: B windows, K unroll steps, C, H, W of a
stacked observation.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ezcli.efficientzero.loss import unroll
from ezcli.efficientzero.network import Network

BATCHES = 8  # our choice

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


@torch.no_grad()
def recalibrate(
    network: Network, batches: Iterable[tuple[Tensor, Tensor]], prefix_horizon: int
) -> None:
    """Replaces the running statistics of h, g and f by those of the batches.

    Args:
      network: neither its weights nor its mode change.
      batches: at least one; observations [B, C, H, W] in [0, 1] and actions [B, K] int64.
      prefix_horizon: env_steps after which the value prefix restarts.
    """
    parts = (network.representation, network.dynamics, network.prediction)
    norms = [m for part in parts for m in part.modules() if isinstance(m, BatchNorm)]
    momentum, was_training = [norm.momentum for norm in norms], network.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all passes
    network.train()
    for observations, actions in batches:
        unroll(network, observations, actions, prefix_horizon)
    network.train(was_training)
    for norm, before in zip(norms, momentum, strict=True):
        norm.momentum = before
