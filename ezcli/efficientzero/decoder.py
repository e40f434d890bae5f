"""Decoders: from a latent to the newest frame of its observation, mirroring h."""

import math

from torch import nn

from ezcli.efficientzero.layers import ResidualBlock
from ezcli.efficientzero.network_settings import NetworkSettings
from ezcli.efficientzero.norms import norm2d


class Decoder(nn.Sequential):
    """The layers of h in reverse order, with transposed convolutions where h halves the size.

    From latents [n, c, h, w] to pixels [n, C, H, W], 0 for black and 1 for full brightness, not
    clipped.

    Args:
      settings: of the network.
      frame_shape: (C, H, W) of one frame.
    """

    def __init__(self, settings: NetworkSettings, frame_shape: tuple[int, int, int]) -> None:
        outputs, height, width = frame_shape
        channels, halvings = settings.channels, settings.downsamplings
        stem = channels // 2
        sizes = [(math.ceil(height / 2**n), math.ceil(width / 2**n)) for n in range(halvings + 1)]
        # h has two layers that may halve, and others that keep the size
        sizes += [sizes[-1]] * (2 - halvings)
        widths = [outputs, stem] + [channels] * (len(sizes) - 2)
        layers: list[nn.Module] = []
        for level in range(len(sizes) - 1, 0, -1):
            before, after = widths[level], widths[level - 1]
            layers += [
                ResidualBlock(settings, before, before, 1, by_role=False),
                enlargement(before, after, sizes[level], sizes[level - 1], bias=level == 1),
            ]
            if level > 1:
                layers += [norm2d(settings, after, by_role=False), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class VectorDecoder(nn.Sequential):
    """Decoder for vectors: from latents [n, c, 1, 1] to frames [n, C, H, W].

    Args:
      settings: of the network.
      frame_shape: (C, H, W) of one frame.
    """

    def __init__(self, settings: NetworkSettings, frame_shape: tuple[int, int, int]) -> None:
        channels = settings.channels
        super().__init__(
            ResidualBlock(settings, channels, channels, 1, by_role=False),
            nn.Conv2d(channels, math.prod(frame_shape), 1),
            nn.Flatten(),
            nn.Unflatten(1, frame_shape),
        )


DECODERS: dict[str, type[Decoder] | type[VectorDecoder]] = {
    "convolutional": Decoder,
    "mlp": VectorDecoder,
}


def enlargement(
    inputs: int, outputs: int, before: tuple[int, int], after: tuple[int, int], bias: bool
) -> nn.ConvTranspose2d:
    """A transposed 3x3 convolution from images [h, w] to images of the same size or twice as large.

    It is the transpose of a convolution with padding 1, and with stride 2 if the sizes differ.
    """
    (h, w), (height, width) = before, after
    stride = 1 + (height > h), 1 + (width > w)
    rest = height - 1 - (h - 1) * stride[0], width - 1 - (w - 1) * stride[1]
    return nn.ConvTranspose2d(inputs, outputs, 3, stride, 1, rest, bias=bias)
