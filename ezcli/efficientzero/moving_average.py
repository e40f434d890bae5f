"""The moving average of an encoder and its projector that gives SPR's targets."""

import copy

import torch
from torch import Tensor

from ezcli.efficientzero.network import Network, SavedModule


class MovingAverage(SavedModule):
    """h and the projector, with weights that follow those of a network.

    After each train_step a weight becomes momentum * itself + (1 - momentum) * the network's. The
    average stays in training mode, so that its norms read the statistics of each batch, as those of
    the network do.

    Args:
      network: whose weights it starts from.
      momentum: share of the old weights that stays, in (0, 1).
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
