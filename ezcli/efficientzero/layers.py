"""The layers that the network is built from (EfficientZero appendix A.1).

3x3 convolutions have no bias and are followed by a norm (`norms`), except on skips. A vector latent
has one pixel, [B, c, 1, 1], and 1x1 convolutions instead. The 1x1 convolutions before the heads
carry a bias, as the published parameter counts imply. Every ReLU works in place: its input is not
used again, and memory traffic dominates on a CPU.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from ezcli.efficientzero.network_settings import NetworkSettings
from ezcli.efficientzero.norm_layers import Role, StandardisedConv2d
from ezcli.efficientzero.norms import ROOT, Layers, norm1d, norm2d, normalised

SMALLEST_RANGE = 1e-5  # least range of a latent that is scaled


class ResidualBlock(nn.Module):
    """Two convolutions, each with a norm, and a skip, which is a convolution if there is a stride.

    Args:
      settings: settings of the network.
      inputs: input channels.
      outputs: output channels.
      stride: stride of the first convolution.
      by_role: see `norms.norm2d`.
    """

    def __init__(
        self, settings: NetworkSettings, inputs: int, outputs: int, stride: int, by_role: bool
    ) -> None:
        super().__init__()
        self.first = convolution(settings, inputs, outputs, stride)
        self.first_norm = norm2d(settings, outputs, by_role)
        self.second = convolution(settings, outputs, outputs)
        self.second_norm = norm2d(settings, outputs, by_role)
        same = inputs == outputs and stride == 1
        self.skip = nn.Identity() if same else convolution(settings, inputs, outputs, stride)

    def forward(self, x: Tensor, role: Role = ROOT) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        y = F.relu(normalised(self.first_norm, self.first(x), role), inplace=True)
        y = normalised(self.second_norm, self.second(y), role)
        return F.relu(y + self.skip(x), inplace=True)


def convolution(settings: NetworkSettings, inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """3x3 with same padding, or 1x1 if latents are vectors; no bias."""
    kind = StandardisedConv2d if settings.norm == "group-standardised" else nn.Conv2d
    size = 1 if settings.representation == "mlp" else 3
    return kind(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)


def reduction(settings: NetworkSettings, channels: int) -> Layers:
    """1x1 convolution to the few input channels of a head."""
    outputs = settings.head_channels
    norm = norm2d(settings, outputs, by_role=True)
    return Layers(nn.Conv2d(channels, outputs, 1), norm, nn.ReLU(inplace=True))


def head(settings: NetworkSettings, inputs: int, outputs: int) -> Layers:
    """One hidden layer. The last layer starts at zero, so that all outputs start uniform."""
    last = nn.Linear(settings.head_hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    norm = norm1d(settings, settings.head_hidden, by_role=True)
    activation = nn.ELU if settings.head_activation == "elu" else nn.ReLU
    return Layers(nn.Linear(inputs, settings.head_hidden), norm, activation(inplace=True), last)


def embedding(settings: NetworkSettings, planes: int, shape: tuple[int, int, int]) -> nn.Module:
    """Embedding of the planes of an action (EfficientZero V2); the identity if it is off.

    Args:
      settings: settings of the network.
      planes: number of planes that encode an action.
      shape: (c, h, w) of a latent.
    """
    outputs = settings.action_embedding
    if not outputs:
        return nn.Identity()
    norm = nn.LayerNorm([outputs, *shape[1:]])
    return nn.Sequential(nn.Conv2d(planes, outputs, 1), norm, nn.ReLU(inplace=True))


def projector(settings: NetworkSettings, latent_shape: tuple[int, int, int]) -> nn.Sequential:
    """Three layers, each with a batch-norm; no ReLU after the last.

    Projector and predictor always have batch-norms: without them SimSiam's latents collapse (Chen
    and He 2021, table 3), and no search reads their running statistics.
    """
    inputs, units = latent_shape[0] * latent_shape[1] * latent_shape[2], settings.projection
    layers: list[nn.Module] = []
    for width in (inputs, units, units):
        norm = nn.BatchNorm1d(units, momentum=settings.batch_norm_momentum)
        layers += [nn.Linear(width, units), norm, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


def predictor(settings: NetworkSettings) -> nn.Sequential:
    """A bottleneck of two layers."""
    units, narrow = settings.projection, settings.projection_bottleneck
    norm = nn.BatchNorm1d(narrow, momentum=settings.batch_norm_momentum)
    relu = nn.ReLU(inplace=True)
    return nn.Sequential(nn.Linear(units, narrow), norm, relu, nn.Linear(narrow, units))


def scaling(settings: NetworkSettings) -> nn.Module:
    """Scaling of every latent: identity or `MinMax`."""
    return MinMax() if settings.latent_scaling else nn.Identity()


class MinMax(nn.Module):
    """Scales each latent to [0, 1] (MuZero appendix G).

    Latents are sums of rectified terms and grow with each unroll step. One batch-norm is used for
    all steps, so without scaling its running statistics fit none of them.
    """

    def forward(self, latent: Tensor) -> Tensor:
        """Scales latents [B, c, h, w]."""
        low, high = latent.amin((1, 2, 3), keepdim=True), latent.amax((1, 2, 3), keepdim=True)
        return (latent - low) / (high - low).clamp(min=SMALLEST_RANGE)
