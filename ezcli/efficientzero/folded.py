"""A frozen network for searches, with all constant computations done in advance.

Batch-norms in evaluation mode are a scale and a shift, which are merged into the weights before
them. Other norms are kept. With norms by role, f is folded once for each role of a latent, and g,
whose batches mix roles, has a scale and a shift for each. The effect of an action on the first
convolution of the dynamics does not depend on the latent, and becomes a table. Outputs equal the
network's up to rounding.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from ezcli.efficientzero.batch import PrefixState
from ezcli.efficientzero.layers import ResidualBlock
from ezcli.efficientzero.network import Dynamics, Network, Prediction
from ezcli.efficientzero.norm_layers import Affine, ByRole, Renorm, Role, StandardisedConv2d
from ezcli.efficientzero.norms import ROOT, UNROLLED, normalised

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@torch.no_grad()
def fold(network: Network, precision: str) -> Network:
    """Makes a copy for inference only, without projection.

    Args:
      network: not modified.
      precision: `float32` or `bfloat16`, precision of every weight and latent.
    """
    folded = copy.deepcopy(network).eval().requires_grad_(False)
    folded.projector, folded.predictor = nn.Sequential(), nn.Sequential()
    folded.decoder = None
    for name, module in list(folded.named_modules()):
        if isinstance(module, StandardisedConv2d):
            replace(folded, name, module.plain())
        elif isinstance(module, Renorm):
            replace(folded, name, module.settled(0))
    folded.add_module("prediction", FoldedPrediction(folded.prediction))
    for module in list(folded.modules()):
        if isinstance(module, ResidualBlock):
            join(module, "first", "first_norm")
            join(module, "second", "second_norm")
        elif isinstance(module, Dynamics):
            join(module, "convolution", "norm")
        elif isinstance(module, nn.Sequential):
            for index in range(1, len(module)):
                join(module, str(index - 1), str(index))
    for name, module in list(folded.named_modules()):
        if isinstance(module, ByRole):
            replace(folded, name, Affine(module))
    folded.add_module("dynamics", FoldedDynamics(folded.dynamics))
    folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return folded.to(PRECISIONS[precision])


def join(module: nn.Module, layer: str, norm: str) -> None:
    """Merges a batch-norm into the weights of the layer before it, but no other norm."""
    before, after = module.get_submodule(layer), module.get_submodule(norm)
    if isinstance(before, nn.Linear) and isinstance(after, nn.BatchNorm1d):
        module.add_module(layer, fuse_linear_bn_eval(before, after))
    elif isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
        module.add_module(layer, fuse_conv_bn_eval(before, after))
    elif isinstance(after, nn.BatchNorm1d | nn.BatchNorm2d):
        raise TypeError(f"{type(after).__name__} after {type(before).__name__}")
    else:
        return
    module.add_module(norm, nn.Identity())


def replace(module: nn.Module, name: str, by: nn.Module) -> None:
    """Replaces the module with this dotted name."""
    parent, _, child = name.rpartition(".")
    module.get_submodule(parent).add_module(child, by)


class FoldedPrediction(nn.Module):
    """f, with a copy for each role of a latent if its norms depend on roles."""

    def __init__(self, prediction: Prediction) -> None:
        super().__init__()
        has_roles = any(isinstance(module, ByRole) for module in prediction.modules())
        self.of_role = nn.ModuleList(
            of_role(prediction, role) for role in ((ROOT, UNROLLED) if has_roles else (ROOT,))
        )

    def forward(self, latent: Tensor, role: int) -> tuple[Tensor, Tensor]:
        """Like `Prediction.forward`."""
        value, policy = self.of_role[role % len(self.of_role)](latent, role)
        return value, policy


def of_role(prediction: Prediction, role: int) -> Prediction:
    """Makes a copy of f for latents in one role."""
    made = copy.deepcopy(prediction)
    for name, module in list(made.named_modules()):
        if isinstance(module, ByRole):
            replace(made, name, module.settled(role))
    return made


class FoldedDynamics(nn.Module):
    """g with a table of the contribution of each action, a convolution of constant planes."""

    def __init__(self, dynamics: Dynamics) -> None:
        super().__init__()
        whole = dynamics.convolution
        channels = whole.out_channels
        actions = torch.arange(dynamics.num_actions, device=whole.weight.device)
        planes = dynamics.action_planes(actions, whole.weight.dtype)
        table = F.conv2d(planes, whole.weight[:, channels:], whole.bias, padding=whole.padding)
        self.table = nn.Parameter(
            table.contiguous(memory_format=torch.channels_last), requires_grad=False
        )
        self.weight = nn.Parameter(whole.weight[:, :channels].clone(), requires_grad=False)
        self.norm, self.padding = dynamics.norm, whole.padding
        self.block, self.scale, self.reduce = dynamics.block, dynamics.scale, dynamics.reduce
        self.lstm, self.lstm_norm = dynamics.lstm, dynamics.lstm_norm
        self.value_prefix = dynamics.value_prefix

    def forward(
        self, latent: Tensor, prefix_state: PrefixState, action: Tensor, role: Role
    ) -> tuple[Tensor, PrefixState, Tensor]:
        """Like `Dynamics.forward`."""
        x = F.conv2d(latent, self.weight, padding=self.padding) + self.table[action]
        x = normalised(self.norm, x, role)
        following = self.scale(self.block(F.relu(x + latent, inplace=True), role))
        hidden, cell = self.lstm(self.reduce(following, role).flatten(1), tuple(prefix_state))
        x = F.relu(normalised(self.lstm_norm, hidden, role), inplace=True)
        return following, PrefixState(hidden, cell), self.value_prefix(x, role)
