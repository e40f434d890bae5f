"""Representation h: from stacked frames (EfficientZero appendix A.1) or a vector to a latent.

A latent is [B, c, h, w]. For vectors it has one pixel, [B, c, 1, 1], so that g and f are
perceptrons built from the same layers.
"""

import math

from torch import nn

from ezcli.efficientzero.layers import ResidualBlock, convolution, scaling
from ezcli.efficientzero.network_settings import NetworkSettings
from ezcli.efficientzero.norms import Layers, norm2d

Shape = tuple[int, int, int]  # channels, height, width


class Representation(Layers):
    """h: from stacked frames to latent.

    Four halvings reduce 96 px to 6 px. Fewer omit the later ones.
    """

    def __init__(self, settings: NetworkSettings, observation_shape: Shape) -> None:
        inputs, channels, halvings = observation_shape[0], settings.channels, settings.downsamplings
        stem = channels // 2

        def stride(halving: int) -> int:
            return 2 if halvings >= halving else 1

        def block(before: int, after: int, halving: int = halvings + 1) -> ResidualBlock:
            return ResidualBlock(settings, before, after, stride(halving), by_role=False)

        layers: list[nn.Module] = [
            convolution(settings, inputs, stem, stride(1)),
            norm2d(settings, stem, by_role=False),
            nn.ReLU(inplace=True),
            block(stem, stem),
            block(stem, channels, 2),
            block(channels, channels),
        ]
        for _ in range(2, halvings):
            layers += [nn.AvgPool2d(3, stride=2, padding=1), block(channels, channels)]
        super().__init__(*layers, scaling(settings))

    @staticmethod
    def latent_shape(settings: NetworkSettings, observation_shape: Shape) -> Shape:
        """(c, h, w) of the latent of an observation (C, H, W)."""
        _, height, width = observation_shape
        shrink = 2**settings.downsamplings
        return settings.channels, math.ceil(height / shrink), math.ceil(width / shrink)


class VectorRepresentation(Layers):
    """h for vector observations: a perceptron of five layers with two skips."""

    def __init__(self, settings: NetworkSettings, observation_shape: Shape) -> None:
        channels = settings.channels
        super().__init__(
            nn.Flatten(),
            nn.Unflatten(1, (math.prod(observation_shape), 1, 1)),
            convolution(settings, math.prod(observation_shape), channels),
            norm2d(settings, channels, by_role=False),
            nn.ReLU(inplace=True),
            ResidualBlock(settings, channels, channels, 1, by_role=False),
            ResidualBlock(settings, channels, channels, 1, by_role=False),
            scaling(settings),
        )

    @staticmethod
    def latent_shape(settings: NetworkSettings, observation_shape: Shape) -> Shape:
        """(c, 1, 1): one pixel."""
        return settings.channels, 1, 1


REPRESENTATIONS: dict[str, type[Representation] | type[VectorRepresentation]] = {
    "convolutional": Representation,
    "mlp": VectorRepresentation,
}
