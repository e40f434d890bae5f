"""The normalisations that the network can be built with (`network.norm`).

Searches and bootstrapped values read the network in evaluation mode, learning in training mode. For
a batch-norm these are two functions, and they differ where its running statistics fit no batch. The
statistics of root latents (from h) and of unrolled ones (from g) differ, and one batch-norm in f or
g serves both. The choices:

    batch               one set of running statistics for all (EfficientZero)
    batch-authors       likewise; the target observations pass through f as well (authors' code)
    batch-recalibrated  likewise; statistics are made afresh for each copy (`recalibrate`)
    batch-by-role       f and g keep a set for root latents and one for unrolled ones
    batch-renorm        learns from nearly running statistics (Ioffe 2017, arXiv:1702.03275)
    group, layer, rms   no running statistics: both modes are one function
    group-standardised  group, with standardised convolutions (Qiao et al. 2019, arXiv:1903.10520)

The projection of the consistency loss, which no search reads, has batch-norms with every choice.

Shapes: B latents, C channels or units.
"""

import math

from torch import Tensor, nn

from ezcli.efficientzero.network_settings import NetworkSettings
from ezcli.efficientzero.norm_layers import Affine, ByRole, Renorm, RMSNorm, Role

GROUPS = 8  # of channels, at most
ROOT, UNROLLED = 0, 1  # roles of a latent: from h, or from g


def norm2d(settings: NetworkSettings, channels: int, by_role: bool) -> nn.Module:
    """The normalisation behind a convolution.

    Args:
      settings: of the network.
      channels: C.
      by_role: whether latents of both roles pass through.
    """
    momentum = settings.batch_norm_momentum
    match settings.norm:
        case "batch-by-role" if by_role:
            return ByRole(nn.BatchNorm2d(channels, momentum=momentum))
        case "batch-renorm":
            return Renorm(nn.BatchNorm2d(channels, momentum=momentum))
        case "group" | "group-standardised":
            return nn.GroupNorm(math.gcd(GROUPS, channels), channels)
        case "layer":
            return nn.GroupNorm(1, channels)
        case "rms":
            return RMSNorm(channels)
    return nn.BatchNorm2d(channels, momentum=momentum)


def norm1d(settings: NetworkSettings, units: int, by_role: bool) -> nn.Module:
    """The normalisation behind a linear layer or the LSTM; arguments as of `norm2d`."""
    momentum = settings.batch_norm_momentum
    match settings.norm:
        case "batch-by-role" if by_role:
            return ByRole(nn.BatchNorm1d(units, momentum=momentum))
        case "batch-renorm":
            return Renorm(nn.BatchNorm1d(units, momentum=momentum))
        case "group" | "group-standardised" | "layer":
            return nn.LayerNorm(units)
        case "rms":
            return RMSNorm(units)
    return nn.BatchNorm1d(units, momentum=momentum)


def normalised(norm: nn.Module, x: Tensor, role: Role) -> Tensor:
    """The norm of `x`, of latents in that role."""
    whole: Tensor = norm(x, role) if isinstance(norm, ByRole | Affine) else norm(x)
    return whole


class Layers(nn.Sequential):
    """Layers one after the other, some of which know roles."""

    def forward(self, x: Tensor, role: Role = ROOT) -> Tensor:
        """[B, ...] to [B, ...]."""
        for layer in self:
            x = normalised(layer, x, role)
        return x
