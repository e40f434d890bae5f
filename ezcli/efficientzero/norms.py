"""The norms that the network can be built with (`network.norm`).

Searches and bootstrapped values use the network in evaluation mode, learning in training mode. For
a batch-norm these are two functions, which differ if its running statistics do not match the batch.
Statistics of root latents (from h) and unrolled latents (from g) differ, and one batch-norm in f or
g is used for both. The choices:

    batch               one set of running statistics for all (EfficientZero)
    batch-authors       the same; target observations also pass through f (authors' code)
    batch-recalibrated  the same; statistics are recomputed for each copy (`recalibrate`)
    batch-by-role       f and g have one set for root latents and one for unrolled ones
    batch-renorm        learns with nearly the running statistics (Ioffe 2017, arXiv:1702.03275)
    group, layer, rms   no running statistics: both modes are the same function
    group-standardised  group, with standardised convolutions (Qiao et al. 2019, arXiv:1903.10520)

The projection of the consistency loss is not used in searches, and always has batch-norms.

Shapes: B latents, C channels or units.
"""

import math

from torch import Tensor, nn

from ezcli.efficientzero.network_settings import NetworkSettings
from ezcli.efficientzero.norm_layers import Affine, ByRole, Renorm, RMSNorm, Role

GROUPS = 8  # largest number of groups of channels
ROOT, UNROLLED = 0, 1  # roles of a latent: from h, or from g


def norm2d(settings: NetworkSettings, channels: int, by_role: bool) -> nn.Module:
    """The norm after a convolution.

    Args:
      settings: of the network.
      channels: C.
      by_role: whether latents of both roles pass through it.
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
    """The norm after a linear layer or the LSTM; arguments as in `norm2d`."""
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
    """Applies a norm to `x`, latents with this role."""
    whole: Tensor = norm(x, role) if isinstance(norm, ByRole | Affine) else norm(x)
    return whole


class Layers(nn.Sequential):
    """A sequence of layers, some of which depend on roles."""

    def forward(self, x: Tensor, role: Role = ROOT) -> Tensor:
        """Applies all layers to [B, ...]."""
        for layer in self:
            x = normalised(layer, x, role)
        return x
