"""A search entirely on the GPU: trees, latents and network in one CUDA graph.

It is the same search as `search.search` and `inference.search_tree`: the tree functions share their
source, and the same network outputs give the same visits
(`tests/efficientzero/test_device_search.py`). A graph replays one simulation, from select to
backup, without Python. The index of the new node is counted on the device. Only the results at the
roots are copied to the host, at the end.

Shapes: B roots, N = num_simulations + 1 nodes, A actions.
"""

import threading
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ezcli.efficientzero.batch import NetworkOutput, PrefixState
from ezcli.efficientzero.cuda_kernels import expand_and_backup
from ezcli.efficientzero.cuda_select import SELECT
from ezcli.efficientzero.inference import (
    RootNoise,
    SearchResult,
    initial_output,
)
from ezcli.efficientzero.network import Network
from ezcli.efficientzero.simulation import policy_and_value, roles
from ezcli.efficientzero.support import to_scalar
from ezcli.efficientzero.tree import ROOT, UNVISITED, Constants, empty_tree
from ezcli.efficientzero.value_prefix import restarts_after, rewards_between

RECORDING = threading.Lock()  # PyTorch records one graph at a time in a process
WARM_UPS = 3  # warm-up simulations before a graph is recorded, required by PyTorch


class DeviceSearch:
    """Searches from up to `size` roots with one network, reusing the same memory.

    Args:
      network: folded; its weights may change in place between searches, but not their addresses.
      constants: constants of the search.
      size: B; searches of fewer roots are padded.
    """

    def __init__(self, network: Network, constants: Constants, size: int) -> None:
        self.network, self.constants, self.size = network, constants, size
        weight = next(network.parameters())
        device, nodes = weight.device, constants.num_simulations + 1
        num_actions = network.num_actions
        channels, height, width = network.latent_shape

        def zeros(*shape: int, dtype: torch.dtype) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self.tree: Any = empty_tree(  # of tensors
            size,
            num_actions,
            constants.num_simulations,
            lambda shape, dtype: zeros(*shape, dtype=getattr(torch, dtype)),
        )
        self.trees = torch.arange(size, device=device)
        self.node = zeros(1, dtype=torch.int64)
        self.parents, self.actions = (zeros(size, dtype=torch.int64) for _ in range(2))
        self.scores = zeros(size, num_actions, dtype=torch.float64)
        # Channels last, so that a gather yields the memory format of the convolutions.
        self.latent = zeros(nodes, size, height, width, channels, dtype=weight.dtype)
        self.hidden = zeros(nodes, size, network.prefix_units, dtype=weight.dtype)
        self.cell = torch.zeros_like(self.hidden)
        self.graph: torch.cuda.CUDAGraph | None = None

    @torch.inference_mode()
    def search(
        self, observations: Tensor, noise: RootNoise | None, tie_seed: np.ndarray
    ) -> SearchResult:
        """Like `inference.search_states`, with at most `size` observations."""
        with torch.cuda.device(self.node.device) if self.node.is_cuda else nullcontext():
            return self._search(observations, noise, tie_seed)

    def _search(
        self, observations: Tensor, noise: RootNoise | None, tie_seed: np.ndarray
    ) -> SearchResult:
        """`search`, on the current device."""
        count = len(observations)
        root_value = self._start(observations, noise, tie_seed)
        if self.graph is None and self.node.is_cuda:
            self._record()
            root_value = self._start(observations, noise, tie_seed)
        for _ in range(self.constants.num_simulations):
            if self.graph is None:
                self._simulate()
            else:
                self.graph.replay()
        tree = self.tree
        value = tree.value_sum[:count, ROOT] / tree.visits[:count, ROOT]
        return SearchResult(
            visits=tree.edge_visits[:count, ROOT].cpu().numpy(),
            value=value.float().cpu().numpy(),
            network_value=root_value.cpu().numpy(),
            depth=tree.depth[:count].amax(1).cpu().numpy(),
            prior=tree.prior[:count, ROOT].cpu().numpy(),
            q=tree.edge_q[:count, ROOT].cpu().numpy(),
            q_range=tree.q_range[:count].cpu().numpy(),
        )

    def _start(self, observations: Tensor, noise: RootNoise | None, tie_seed: np.ndarray) -> Tensor:
        """Makes the roots, and returns their network values [count] float32."""
        count, tree = len(observations), self.tree
        output = initial_output(self.network, observations)
        policy, value = policy_and_value(output)
        for tensor in tree:
            tensor.zero_()
        if noise is not None:
            drawn = torch.from_numpy(noise.noise).to(policy.device, non_blocking=True)
            policy = (1 - noise.fraction) * policy + noise.fraction * drawn
            tree.noise[:count] = drawn
        for tensor in (tree.children, tree.parent):
            tensor.fill_(UNVISITED)
        tree.visits[:, ROOT] = 1
        tree.prior[:count, ROOT] = policy
        tree.value_sum[:count, ROOT] = value.double()
        seeds = torch.from_numpy(tie_seed).to(tree.tie_seed.device, non_blocking=True)
        tree.tie_seed[:count] = seeds
        self.latent[ROOT, :count] = output.latent.permute(0, 2, 3, 1)
        self.node.zero_()
        return value

    def _record(self) -> None:
        """Records one simulation, which is replayed on the contents of the same memory."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(min(WARM_UPS, self.constants.num_simulations)):
                self._simulate()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with RECORDING, torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._simulate()
        self.graph = graph

    def _simulate(self) -> None:
        """Select, evaluate, expand and backup of the next node of every tree."""
        tree, horizon = self.tree, self.constants.prefix_horizon
        self.node.add_(1)
        select = SELECT[type(self.constants)]
        select(tree, self.constants, self.scores, self.parents, self.actions)
        depth = tree.depth[self.trees, self.parents]
        goes_on = ~restarts_after(depth, horizon).unsqueeze(1)
        found = self.network.recurrent_inference(
            self.latent[self.parents, self.trees].permute(0, 3, 1, 2),
            PrefixState(
                self.hidden[self.parents, self.trees] * goes_on,
                self.cell[self.parents, self.trees] * goes_on,
            ),
            self.actions,
            roles(self.parents),
        )
        self._keep(found)
        prefix = to_scalar(value_prefix_of(found))
        rewards = rewards_between(
            tree.value_prefix[self.trees, self.parents], prefix, depth, horizon
        )
        tree.value_prefix.index_copy_(1, self.node, prefix.unsqueeze(1))
        policy, value = policy_and_value(found)
        expand_and_backup(
            tree, self.constants, self.node, self.parents, self.actions, rewards, policy, value
        )

    def _keep(self, output: NetworkOutput) -> None:
        """Stores latent and prefix state of the new node."""
        latent = output.latent.permute(0, 2, 3, 1)
        self.latent.index_copy_(0, self.node, latent.unsqueeze(0))
        self.hidden.index_copy_(0, self.node, output.prefix_state.hidden.unsqueeze(0))
        self.cell.index_copy_(0, self.node, output.prefix_state.cell.unsqueeze(0))


def value_prefix_of(output: NetworkOutput) -> Tensor:
    """The value-prefix logits, which every output below a root has."""
    if output.value_prefix is None:
        raise ValueError("an output of the root has no value prefix")
    return output.value_prefix
