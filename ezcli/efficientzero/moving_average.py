"""The moving average of an encoder and its projector, for the targets of SPR."""

import copy

import torch
from torch import Tensor

from ezcli.efficientzero.network import Network, SavedModule


class MovingAverage(SavedModule):
    """h and the projector, with moving averages of a network's weights.

    After each train_step, weight = momentum * weight + (1 - momentum) * weight of the network. The
    average stays in training mode, so that its norms use the statistics of each batch, like the
    network.

    Args:
      network: the source of its initial weights.
      momentum: weight of the old value, in (0, 1).
    """

    def __init__(self, network: Network, momentum: float) -> None:
        super().__init__()
        self.representation = copy.deepcopy(network.representation)
        self.projector = copy.deepcopy(network.projector)
        self.momentum = momentum
        self.train().requires_grad_(False)

    def forward(self, observations: Tensor) -> Tensor:
        """Projections [n, projection] of observations [n, C, H, W] in [0, 1]."""
        projected: Tensor = self.projector(self.representation(observations).flatten(1))
        return projected

    @torch.no_grad()
    def follow(self, network: Network) -> None:
        """Moves the weights towards those of the network, after a train_step."""
        own: list[Tensor] = list(self.parameters())
        followed = network.representation, network.projector
        others: list[Tensor] = [weight for part in followed for weight in part.parameters()]
        torch._foreach_lerp_(own, others, 1 - self.momentum)
