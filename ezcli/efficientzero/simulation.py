"""The network's part in one simulation of a search, from latents of all nodes to scalars.

Shapes: B roots, N = num_simulations + 1 nodes, A actions.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ezcli.efficientzero.batch import NetworkOutput, PrefixState
from ezcli.efficientzero.network import Network
from ezcli.efficientzero.norms import UNROLLED
from ezcli.efficientzero.support import to_scalar
from ezcli.efficientzero.tree import Constants
from ezcli.efficientzero.value_prefix import restarts_after


class Latents(NamedTuple):
    """Latents and prefix states of all nodes, on the network's device."""

    row: Tensor  # [B], 0 to B - 1
    depth: Tensor  # [N, B]
    # Channels last, so that a gather yields the memory format of the convolutions.
    latent: Tensor  # [N, B, h, w, c]
    hidden: Tensor  # [N, B, units]
    cell: Tensor  # [N, B, units]

    def gather(self, nodes: Tensor, horizon: int) -> tuple[Tensor, PrefixState]:
        """Latent and prefix state of one node [B] of each tree.

        The state is zero if the sum restarts.
        """
        latent = self.latent[nodes, self.row].permute(0, 3, 1, 2)
        goes_on = ~restarts_after(self.depth[nodes, self.row], horizon).unsqueeze(1)
        hidden, cell = self.hidden[nodes, self.row], self.cell[nodes, self.row]
        return latent, PrefixState(hidden * goes_on, cell * goes_on)

    def store(self, node: Tensor, parents: Tensor, output: NetworkOutput) -> None:
        """Stores the network's output for `node` [1], the child of `parents` [B]."""
        self.depth.index_copy_(0, node, (self.depth[parents, self.row] + 1).unsqueeze(0))
        latent = output.latent.permute(0, 2, 3, 1)
        for memory, found in zip(self[2:], (latent, *output.prefix_state), strict=True):
            memory.index_copy_(0, node, found.to(memory.dtype).unsqueeze(0))


def new_latents(root: NetworkOutput, constants: Constants) -> Latents:
    """Memory for the latents of all nodes of B trees, with their roots."""
    nodes, batch = constants.num_simulations + 1, len(root.latent)
    channels, height, width = root.latent.shape[1:]
    row = torch.arange(batch, device=root.latent.device)
    hidden = root.prefix_state.hidden.new_zeros(nodes, batch, root.prefix_state.hidden.shape[1])
    latent = root.latent.new_empty(nodes, batch, height, width, channels)
    latent[0] = root.latent.permute(0, 2, 3, 1)
    return Latents(row, row.new_zeros(nodes, batch), latent, hidden, torch.zeros_like(hidden))


# (*latents, node [1], parents [B], actions [B]) -> numbers, as of `Simulation`.
Simulate = Callable[..., Tensor]


class Simulation(nn.Module):
    """The network's part in a simulation, from tensors to tensors, so that it can be compiled.

    Args:
      network: in evaluation mode.
      horizon: env_steps after which the value prefix restarts.
    """

    def __init__(self, network: Network, horizon: int) -> None:
        super().__init__()
        self.network, self.horizon = network, horizon

    def forward(self, *tensors: Tensor) -> Tensor:
        """Returns numbers [B, 2 + A] of new nodes, and stores their latents. See `Simulate`."""
        *of_latents, node, parents, actions = tensors
        latents = Latents(*of_latents)
        found = self.network.recurrent_inference(
            *latents.gather(parents, self.horizon), actions, roles(parents)
        )
        latents.store(node, parents, found)
        return numbers_of(found)


def roles(nodes: Tensor) -> Tensor:
    """Roles of the latents of nodes [B]. The latent of node 0, the root, comes from h."""
    return (nodes != 0).long() * UNROLLED


def numbers_of(output: NetworkOutput) -> Tensor:
    """Value prefix, value and policy as one tensor [B, 2 + A]."""
    policy, value = policy_and_value(output)
    prefix = torch.zeros_like(value)
    if output.value_prefix is not None:
        prefix = to_scalar(output.value_prefix)
    return torch.cat([torch.stack([prefix, value], 1), policy], 1)


def policy_and_value(output: NetworkOutput) -> tuple[Tensor, Tensor]:
    """Probabilities [B, A] and scalars [B]. If a policy is not finite, its value is made so too.

    Values are backed up to the root, policies are not. So a check of the root's value covers both.
    """
    policy = output.policy.float().softmax(-1)
    return policy, to_scalar(output.value) + 0 * policy.sum(-1)
