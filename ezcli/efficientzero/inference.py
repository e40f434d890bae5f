"""Searching with a network: latents stay on the network's device, scalars go to and from the trees.

Shapes: B roots, N = num_simulations + 1 nodes, A actions.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ezcli.efficientzero.batch import NetworkOutput
from ezcli.efficientzero.network import Network
from ezcli.efficientzero.norms import ROOT as ROOT_ROLE
from ezcli.efficientzero.search import Evaluation, search
from ezcli.efficientzero.simulation import Simulate, Simulation, new_latents, numbers_of
from ezcli.efficientzero.support import to_scalar
from ezcli.efficientzero.tree import ROOT, Constants, Tree


class RootNoise(NamedTuple):
    """Exploration at the roots: priors become (1 - fraction) * prior + fraction * noise.

    For a rule that reads `Tree.noise` itself, the fraction is 0 and priors do not change.
    """

    noise: np.ndarray  # [B, A] float32
    fraction: float


class SearchResult(NamedTuple):
    """The result of a search."""

    visits: np.ndarray  # [B, A] int32, visits of the root's actions
    value: np.ndarray  # [B] float32, mean return through the root
    network_value: np.ndarray  # [B] float32, the network's value of the root
    depth: np.ndarray  # [B] int32, env_steps to the deepest node
    prior: np.ndarray  # [B, A] float32, priors of the root's actions, including noise
    q: np.ndarray  # [B, A] float64, Q of the root's actions; 0 without a visit
    q_range: np.ndarray  # [B, 2] float64, smallest and largest Q in the tree


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Runs a network in `bfloat16`, or unchanged for `float32`.

    Must not be used while a learner runs in another thread: the cache of casts belongs to the
    process, and leaving autocast clears it. A folded network has its precision in its weights.
    """
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


@torch.inference_mode()
def search_states(
    network: Network,
    observations: Tensor,
    constants: Constants,
    noise: RootNoise | None,
    tie_seed: np.ndarray,
    precision: str,
    simulate: Simulate | None = None,
) -> SearchResult:
    """Searches from B states.

    Args:
      network: in evaluation mode; its batch-norms use their running statistics.
      observations: [B, C, H, W] uint8 or float32 on the network's device.
      constants: constants of the search.
      noise: noise at the roots; None to search greedily.
      tie_seed: [B], see `search`.
      precision: `bfloat16` uses autocast; `float32` runs the network unchanged.
      simulate: a `Simulation` with this network, or a faster one that computes the same.
    """
    tree, root = search_tree(network, observations, constants, noise, tie_seed, precision, simulate)
    return SearchResult(
        visits=tree.root_visits,
        value=tree.root_value.astype(np.float32),
        network_value=root.value,
        depth=tree.depth.max(1),
        prior=tree.prior[:, ROOT].copy(),
        q=tree.edge_q[:, ROOT].copy(),
        q_range=tree.q_range,
    )


def search_tree(
    network: Network,
    observations: Tensor,
    constants: Constants,
    noise: RootNoise | None,
    tie_seed: np.ndarray,
    precision: str,
    simulate: Simulate | None = None,
) -> tuple[Tree, Evaluation]:
    """`search_states` that returns the whole tree and the network's values of the roots."""
    device = observations.device
    simulate = simulate or Simulation(network, constants.prefix_horizon)
    with autocast(device, precision):
        output = initial_output(network, observations)
        root = as_evaluation(output)
        if noise is not None:
            mixed = (1 - noise.fraction) * root.policy + noise.fraction * noise.noise
            root = root._replace(policy=mixed.astype(np.float32))
        latents = new_latents(output, constants)
        nodes = torch.arange(constants.num_simulations + 1, device=device).unsqueeze(1)

        def evaluate(node: int, parents: np.ndarray, actions: np.ndarray) -> Evaluation:
            at = torch.from_numpy(parents).to(device)
            action = torch.from_numpy(actions).to(device)
            return split_numbers(simulate(*latents, nodes[node], at, action))

        drawn = None if noise is None else noise.noise
        return search(root, evaluate, constants, tie_seed, drawn), root


@torch.inference_mode()
def evaluate_states(network: Network, observations: Tensor, precision: str) -> np.ndarray:
    """The network's values [B] float32 of observations [B, C, H, W], without a search."""
    with autocast(observations.device, precision):
        output = initial_output(network, observations)
    return to_scalar(output.value).cpu().numpy()


@torch.inference_mode()
def latents_of(network: Network, observations: Tensor, precision: str) -> np.ndarray:
    """The latents h(o), [B, *network.latent_shape] float32, of observations [B, C, H, W]."""
    with autocast(observations.device, precision):
        output = initial_output(network, observations)
    latents: np.ndarray = output.latent.float().cpu().numpy()
    return latents


@torch.inference_mode()
def expected_frames(network: Network, observations: Tensor, actions: Tensor) -> np.ndarray | None:
    """The frames [B, C, H, W] that the model predicts after actions; None without a decoder.

    Args:
      network: in evaluation mode, not folded.
      observations: [B, T * C, H, W] before the actions; the frames have their type.
      actions: [B] int64.
    """
    if network.decoder is None:
        return None
    root = network.initial_inference(to_network_input(observations))
    following = network.recurrent_inference(root.latent, root.prefix_state, actions, ROOT_ROLE)
    frames = network.decoder(following.latent)
    if observations.dtype == torch.uint8:
        frames = (frames.clamp(0, 1) * 255).round().to(torch.uint8)
    found: np.ndarray = frames.cpu().numpy()
    return found


def to_network_input(observations: Tensor) -> Tensor:
    """Converts uint8 to [0, 1] and leaves float32 unchanged; channels last in memory."""
    scale = 255 if observations.dtype == torch.uint8 else 1
    return observations.to(torch.float32, memory_format=torch.channels_last) / scale


def initial_output(network: Network, observations: Tensor) -> NetworkOutput:
    """The network's output for observations [B, C, H, W], in the precision of its weights."""
    weight = next(network.parameters())
    return network.initial_inference(to_network_input(observations).to(weight.dtype))


def as_evaluation(output: NetworkOutput) -> Evaluation:
    """Turns logits into the values a tree needs, in one transfer from the device."""
    return split_numbers(numbers_of(output))


def split_numbers(found: Tensor) -> Evaluation:
    """Splits the result of `numbers_of` into arrays."""
    numbers = found.cpu().numpy()
    return Evaluation(numbers[:, 0].copy(), numbers[:, 2:].copy(), numbers[:, 1].copy())
