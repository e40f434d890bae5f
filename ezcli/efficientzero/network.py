"""Representation h, dynamics g, prediction f, and the projection of the consistency loss.

EfficientZero appendix A.1. All 3x3 convolutions are without bias and followed by batch-norm; the
1x1 convolutions before the heads carry a bias, as the published parameter counts show.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ezcli.efficientzero.batch import NetworkOutput, PrefixState
from ezcli.efficientzero.hyperparameters import NetworkSettings


class Network(nn.Module):
    """h, g, f and the projection in one module.

    Args:
      settings: widths.
      observation_shape: (C, H, W) of the stacked observation.
      num_actions: A.
      support: atoms each side of 0, so that S = 2 * support + 1.
      seed: of the first weights. h, g and f are built before the projection, so they start equal
        whatever the projection is.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        observation_shape: tuple[int, int, int],
        num_actions: int,
        support: int,
        seed: int,
    ) -> None:
        super().__init__()
        atoms, shrink = 2 * support + 1, 2**settings.downsamplings
        channels, height, width = observation_shape
        self.latent_shape = (
            settings.channels,
            math.ceil(height / shrink),
            math.ceil(width / shrink),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.representation = Representation(settings, channels)
            self.dynamics = Dynamics(settings, self.latent_shape, num_actions, atoms)
            self.prediction = Prediction(settings, self.latent_shape, num_actions, atoms)
            self.projector = projector(settings, self.latent_shape)
            self.predictor = predictor(settings)
        self.num_actions = num_actions
        self.prefix_units = settings.prefix_lstm
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def initial_inference(self, observations: Tensor) -> NetworkOutput:
        """f(h(observations)); observations [B, C, H, W] in [0, 1]. The prefix starts at zero."""
        latent = self.representation(observations)
        zeros = latent.new_zeros(len(latent), self.prefix_units)
        value, policy = self.prediction(latent)
        return NetworkOutput(latent, PrefixState(zeros, zeros), None, value, policy)

    def recurrent_inference(
        self, latent: Tensor, prefix_state: PrefixState, action: Tensor
    ) -> NetworkOutput:
        """f(g(latent, action)); latent [B, c, h, w], action [B] int64."""
        latent, prefix_state, value_prefix = self.dynamics(latent, prefix_state, action)
        value, policy = self.prediction(latent)
        return NetworkOutput(latent, prefix_state, value_prefix, value, policy)

    def project(self, latent: Tensor) -> Tensor:
        """Projector of the target branch, [B, projection] (SimSiam, Chen and He 2021)."""
        return self.projector(latent.flatten(1))

    def predict_projection(self, latent: Tensor) -> Tensor:
        """Predictor on top of the projector: the online branch, [B, projection]."""
        return self.predictor(self.project(latent))


class ResidualBlock(nn.Module):
    """Two convolutions with batch-norm and a skip; a stride makes the skip a convolution too."""

    def __init__(self, inputs: int, outputs: int, stride: int, momentum: float) -> None:
        super().__init__()
        self.first = convolution(inputs, outputs, stride)
        self.first_norm = nn.BatchNorm2d(outputs, momentum=momentum)
        self.second = convolution(outputs, outputs)
        self.second_norm = nn.BatchNorm2d(outputs, momentum=momentum)
        same = inputs == outputs and stride == 1
        self.skip = nn.Identity() if same else convolution(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        y = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(y)) + self.skip(x))


class Representation(nn.Sequential):
    """h: stacked frames to latent. Four halvings take 96 px to 6; fewer omit the later ones."""

    def __init__(self, settings: NetworkSettings, inputs: int) -> None:
        channels, momentum = settings.channels, settings.batch_norm_momentum
        stem, halvings = channels // 2, settings.downsamplings

        def stride(halving: int) -> int:
            return 2 if halvings >= halving else 1

        layers: list[nn.Module] = [
            convolution(inputs, stem, stride(1)),
            nn.BatchNorm2d(stem, momentum=momentum),
            nn.ReLU(),
            ResidualBlock(stem, stem, 1, momentum),
            ResidualBlock(stem, channels, stride(2), momentum),
            ResidualBlock(channels, channels, 1, momentum),
        ]
        for _ in range(2, halvings):
            layers += [
                nn.AvgPool2d(3, stride=2, padding=1),
                ResidualBlock(channels, channels, 1, momentum),
            ]
        super().__init__(*layers)


class Dynamics(nn.Module):
    """g: latent and action to next latent and value prefix."""

    def __init__(
        self,
        settings: NetworkSettings,
        latent_shape: tuple[int, int, int],
        num_actions: int,
        atoms: int,
    ) -> None:
        super().__init__()
        channels, height, width = latent_shape
        momentum = settings.batch_norm_momentum
        self.num_actions = num_actions
        self.convolution = convolution(channels + 1, channels)
        self.norm = nn.BatchNorm2d(channels, momentum=momentum)
        self.block = ResidualBlock(channels, channels, 1, momentum)
        self.reduce = reduction(settings, channels)
        self.lstm = nn.LSTMCell(settings.head_channels * height * width, settings.prefix_lstm)
        self.lstm_norm = nn.BatchNorm1d(settings.prefix_lstm, momentum=momentum)
        self.value_prefix = head(settings, settings.prefix_lstm, atoms)

    def forward(
        self, latent: Tensor, prefix_state: PrefixState, action: Tensor
    ) -> tuple[Tensor, PrefixState, Tensor]:
        """Next latent and prefix state, and value-prefix logits [B, S]."""
        plane = (action.to(latent.dtype) / self.num_actions).view(-1, 1, 1, 1)
        plane = plane.expand(-1, 1, *latent.shape[2:])
        x = torch.cat([latent, plane], 1).contiguous(memory_format=torch.channels_last)
        following = self.block(F.relu(self.norm(self.convolution(x)) + latent))
        hidden, cell = self.lstm(self.reduce(following).flatten(1), tuple(prefix_state))
        value_prefix = self.value_prefix(F.relu(self.lstm_norm(hidden)))
        return following, PrefixState(hidden, cell), value_prefix


class Prediction(nn.Module):
    """f: latent to value and policy."""

    def __init__(
        self,
        settings: NetworkSettings,
        latent_shape: tuple[int, int, int],
        num_actions: int,
        atoms: int,
    ) -> None:
        super().__init__()
        channels, height, width = latent_shape
        inputs = settings.head_channels * height * width
        self.block = ResidualBlock(channels, channels, 1, settings.batch_norm_momentum)
        self.reduce_value = reduction(settings, channels)
        self.value = head(settings, inputs, atoms)
        self.reduce_policy = reduction(settings, channels)
        self.policy = head(settings, inputs, num_actions)

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Value logits [B, S] and policy logits [B, A]."""
        x = self.block(latent)
        value = self.value(self.reduce_value(x).flatten(1))
        return value, self.policy(self.reduce_policy(x).flatten(1))


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """3x3, same padding, no bias."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


def reduction(settings: NetworkSettings, channels: int) -> nn.Sequential:
    """1x1 convolution to the few channels that a head reads."""
    outputs = settings.head_channels
    norm = nn.BatchNorm2d(outputs, momentum=settings.batch_norm_momentum)
    return nn.Sequential(nn.Conv2d(channels, outputs, 1), norm, nn.ReLU())


def head(settings: NetworkSettings, inputs: int, outputs: int) -> nn.Sequential:
    """One hidden layer; the last layer starts at zero, so that all outputs start uniform."""
    last = nn.Linear(settings.head_hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    norm = nn.BatchNorm1d(settings.head_hidden, momentum=settings.batch_norm_momentum)
    return nn.Sequential(nn.Linear(inputs, settings.head_hidden), norm, nn.ReLU(), last)


def projector(settings: NetworkSettings, latent_shape: tuple[int, int, int]) -> nn.Sequential:
    """Three layers, each with batch-norm; no ReLU after the last."""
    inputs, units = latent_shape[0] * latent_shape[1] * latent_shape[2], settings.projection
    momentum = settings.batch_norm_momentum
    layers: list[nn.Module] = []
    for width in (inputs, units, units):
        layers += [nn.Linear(width, units), nn.BatchNorm1d(units, momentum=momentum), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def predictor(settings: NetworkSettings) -> nn.Sequential:
    """A bottleneck of two layers."""
    units, narrow = settings.projection, settings.projection_bottleneck
    norm = nn.BatchNorm1d(narrow, momentum=settings.batch_norm_momentum)
    return nn.Sequential(nn.Linear(units, narrow), norm, nn.ReLU(), nn.Linear(narrow, units))
