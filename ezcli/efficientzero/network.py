"""Representation h, dynamics g, prediction f, and the projection of the consistency loss.

EfficientZero appendix A.1; the layers are in `layers`.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ezcli.efficientzero.batch import NetworkOutput, PrefixState
from ezcli.efficientzero.decoder import Decoder, VectorDecoder
from ezcli.efficientzero.layers import (
    ResidualBlock,
    convolution,
    embedding,
    head,
    predictor,
    projector,
    reduction,
    scaling,
)
from ezcli.efficientzero.network_settings import NetworkSettings
from ezcli.efficientzero.norm_layers import Role
from ezcli.efficientzero.norms import ROOT, UNROLLED, norm1d, norm2d, normalised
from ezcli.efficientzero.representation import REPRESENTATIONS, Shape
from ezcli.state import Layout, State, read_arrays


class SavedModule(nn.Module):
    """A module whose weights and running statistics belong to a run's state."""

    def state(self) -> State:
        """Weights and running statistics."""
        return {name: array_of(tensor) for name, tensor in self.state_dict().items()}

    def restore(self, state: State) -> None:
        """Raises CheckpointError: tensors of another module, or not finite."""
        layouts = {
            name: Layout.of(array, 0 if name.endswith("running_var") else -math.inf)
            for name, array in self.state().items()
        }
        found = read_arrays(layouts, state)
        self.load_state_dict({name: torch.from_numpy(array) for name, array in found.items()})


class Network(SavedModule):
    """h, g, f and the projection in one module.

    Args:
      settings: widths and norms.
      observation_shape: (C, H, W) of the stacked observation.
      num_actions: A.
      support: atoms on each side of 0, so that S = 2 * support + 1.
      seed: seed of the initial weights. h, g and f are built before the projection, so their
        initial weights do not depend on it.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        observation_shape: Shape,
        num_actions: int,
        support: int,
        seed: int,
    ) -> None:
        super().__init__()
        atoms, kind = 2 * support + 1, REPRESENTATIONS[settings.representation]
        self.latent_shape = kind.latent_shape(settings, observation_shape)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.representation = kind(settings, observation_shape)
            self.dynamics = Dynamics(settings, self.latent_shape, num_actions, atoms)
            self.prediction = Prediction(settings, self.latent_shape, num_actions, atoms)
            self.projector = projector(settings, self.latent_shape)
            self.predictor = predictor(settings)
        # From latents to frames, if a loss needs it.
        self.decoder: Decoder | VectorDecoder | None = None
        self.num_actions = num_actions
        self.prefix_units = settings.prefix_lstm
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def initial_inference(self, observations: Tensor) -> NetworkOutput:
        """f(h(observations)); observations [B, C, H, W] in [0, 1]. The prefix starts at zero."""
        latent = self.representation(observations)
        zeros = latent.new_zeros(len(latent), self.prefix_units)
        value, policy = self.prediction(latent, ROOT)
        return NetworkOutput(latent, PrefixState(zeros, zeros), None, value, policy)

    def recurrent_inference(
        self, latent: Tensor, prefix_state: PrefixState, action: Tensor, role: Role = UNROLLED
    ) -> NetworkOutput:
        """f(g(latent, action)); latent [B, c, h, w] in that role, action [B] int64."""
        latent, prefix_state, value_prefix = self.dynamics(latent, prefix_state, action, role)
        value, policy = self.prediction(latent, UNROLLED)
        return NetworkOutput(latent, prefix_state, value_prefix, value, policy)

    def project(self, latent: Tensor) -> Tensor:
        """Projection of the target branch, [B, projection] (SimSiam, Chen and He 2021)."""
        return self.projector(latent.flatten(1))

    def predict_projection(self, latent: Tensor) -> Tensor:
        """Projector and predictor, the online branch, [B, projection]."""
        return self.predictor(self.project(latent))


class Dynamics(nn.Module):
    """g: from latent and action to next latent and value prefix."""

    def __init__(
        self,
        settings: NetworkSettings,
        latent_shape: Shape,
        num_actions: int,
        atoms: int,
    ) -> None:
        super().__init__()
        channels, height, width = latent_shape
        self.num_actions, self.latent_shape = num_actions, latent_shape
        self.one_hot = settings.action_encoding == "one-hot"
        planes = num_actions if self.one_hot else 1
        self.embedding = embedding(settings, planes, latent_shape)
        planes = settings.action_embedding or planes
        self.convolution = convolution(settings, channels + planes, channels)
        self.norm = norm2d(settings, channels, by_role=True)
        self.block = ResidualBlock(settings, channels, channels, 1, by_role=True)
        self.scale = scaling(settings)
        self.reduce = reduction(settings, channels)
        self.lstm = nn.LSTMCell(settings.head_channels * height * width, settings.prefix_lstm)
        self.lstm_norm = norm1d(settings, settings.prefix_lstm, by_role=True)
        self.value_prefix = head(settings, settings.prefix_lstm, atoms)

    def forward(
        self, latent: Tensor, prefix_state: PrefixState, action: Tensor, role: Role
    ) -> tuple[Tensor, PrefixState, Tensor]:
        """Next latent and prefix state, and value-prefix logits [B, S]; the role is `latent`'s."""
        planes = self.action_planes(action, latent.dtype)
        x = torch.cat([latent, planes], 1).contiguous(memory_format=torch.channels_last)
        x = normalised(self.norm, self.convolution(x), role)
        following = self.scale(self.block(F.relu(x + latent, inplace=True), role))
        hidden, cell = self.lstm(self.reduce(following, role).flatten(1), tuple(prefix_state))
        x = F.relu(normalised(self.lstm_norm, hidden, role), inplace=True)
        return following, PrefixState(hidden, cell), self.value_prefix(x, role)

    def action_planes(self, action: Tensor, dtype: torch.dtype) -> Tensor:
        """The planes [B, p, h, w] that encode actions [B]."""
        if self.one_hot:
            code = F.one_hot(action, self.num_actions).to(dtype)
        else:
            code = (action.to(dtype) / self.num_actions).unsqueeze(1)
        planes = self.embedding(code[:, :, None, None].expand(-1, -1, *self.latent_shape[1:]))
        return planes.to(dtype)


class Prediction(nn.Module):
    """f: from latent to value and policy."""

    def __init__(
        self,
        settings: NetworkSettings,
        latent_shape: Shape,
        num_actions: int,
        atoms: int,
    ) -> None:
        super().__init__()
        channels, height, width = latent_shape
        inputs = settings.head_channels * height * width
        self.block = ResidualBlock(settings, channels, channels, 1, by_role=True)
        self.reduce_value = reduction(settings, channels)
        self.value = head(settings, inputs, atoms)
        self.reduce_policy = reduction(settings, channels)
        self.policy = head(settings, inputs, num_actions)

    def forward(self, latent: Tensor, role: int) -> tuple[Tensor, Tensor]:
        """Value logits [B, S] and policy logits [B, A] of latents with this role."""
        x = self.block(latent, role)
        value = self.value(self.reduce_value(x, role).flatten(1), role)
        return value, self.policy(self.reduce_policy(x, role).flatten(1), role)


def array_of(tensor: Tensor) -> np.ndarray:
    """The tensor as an array in main memory, contiguous; it may share the tensor's memory."""
    return tensor.detach().cpu().contiguous().numpy()
