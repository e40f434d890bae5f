"""Representation h, dynamics g, prediction f, and the projection of the consistency loss.

EfficientZero appendix A.1; the layers are in `layers`.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ezcli.efficientzero.batch import NetworkOutput, PrefixState
from ezcli.efficientzero.hyperparameters import NetworkSettings
from ezcli.efficientzero.layers import (
    ResidualBlock,
    convolution,
    head,
    predictor,
    projector,
    reduction,
    scaling,
)


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
            nn.ReLU(inplace=True),
            ResidualBlock(stem, stem, 1, momentum),
            ResidualBlock(stem, channels, stride(2), momentum),
            ResidualBlock(channels, channels, 1, momentum),
        ]
        for _ in range(2, halvings):
            layers += [
                nn.AvgPool2d(3, stride=2, padding=1),
                ResidualBlock(channels, channels, 1, momentum),
            ]
        super().__init__(*layers, scaling(settings))


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
        self.num_actions, self.latent_shape = num_actions, latent_shape
        self.one_hot = settings.action_encoding == "one-hot"
        planes = num_actions if self.one_hot else 1
        self.convolution = convolution(channels + planes, channels)
        self.norm = nn.BatchNorm2d(channels, momentum=momentum)
        self.block = ResidualBlock(channels, channels, 1, momentum)
        self.scale = scaling(settings)
        self.reduce = reduction(settings, channels)
        self.lstm = nn.LSTMCell(settings.head_channels * height * width, settings.prefix_lstm)
        self.lstm_norm = nn.BatchNorm1d(settings.prefix_lstm, momentum=momentum)
        self.value_prefix = head(settings, settings.prefix_lstm, atoms)

    def forward(
        self, latent: Tensor, prefix_state: PrefixState, action: Tensor
    ) -> tuple[Tensor, PrefixState, Tensor]:
        """Next latent and prefix state, and value-prefix logits [B, S]."""
        planes = self.action_planes(action, latent.dtype)
        x = torch.cat([latent, planes], 1).contiguous(memory_format=torch.channels_last)
        x = F.relu(self.norm(self.convolution(x)) + latent, inplace=True)
        following = self.scale(self.block(x))
        hidden, cell = self.lstm(self.reduce(following).flatten(1), tuple(prefix_state))
        value_prefix = self.value_prefix(F.relu(self.lstm_norm(hidden), inplace=True))
        return following, PrefixState(hidden, cell), value_prefix

    def action_planes(self, action: Tensor, dtype: torch.dtype) -> Tensor:
        """The planes [B, A or 1, h, w] that say which action [B] was taken."""
        if self.one_hot:
            code = F.one_hot(action, self.num_actions).to(dtype)
        else:
            code = (action.to(dtype) / self.num_actions).unsqueeze(1)
        return code[:, :, None, None].expand(-1, -1, *self.latent_shape[1:])


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
