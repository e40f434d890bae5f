"""The kernels on a GPU: the same functions, one tree per thread.

Nothing here waits for the device, so a CUDA graph can record it. Importing this file needs the
package numba-cuda, or Numba's simulator (`NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1`), where the
kernels run as Python on tensors of the CPU.
"""

import warnings
from typing import Any

import torch
from numba import cuda
from torch import Tensor

from ezcli.efficientzero.kernels import expand_and_backup_between
from ezcli.efficientzero.tree import Constants, Tree

# Few blocks are intended: the time of a small search depends on its depth.
warnings.filterwarnings("ignore", "Grid size")
THREADS = 32  # threads in a block: few, so that the trees spread over the multiprocessors


@cuda.jit
def expand_and_backup_kernel(
    node: Any,
    parents: Any,
    actions: Any,
    rewards: Any,
    policy: Any,
    value: Any,
    discount: float,
    children: Any,
    parent: Any,
    action_into: Any,
    depth: Any,
    reward: Any,
    prior: Any,
    visits: Any,
    value_sum: Any,
    q: Any,
    edge_q: Any,
    edge_visits: Any,
    q_range: Any,
) -> None:
    """`kernels.expand_and_backup`, with `node` [1] on the device."""
    b = cuda.grid(1)
    if b < parents.shape[0]:
        expand_and_backup_between(
            b,
            b + 1,
            node[0],
            parents,
            actions,
            rewards,
            policy,
            value,
            discount,
            children,
            parent,
            action_into,
            depth,
            reward,
            prior,
            visits,
            value_sum,
            q,
            edge_q,
            edge_visits,
            q_range,
        )


def expand_and_backup(
    tree: Tree,
    constants: Constants,
    node: Tensor,
    parents: Tensor,
    actions: Tensor,
    rewards: Tensor,
    policy: Tensor,
    value: Tensor,
) -> None:
    """Adds `node` [1] to each tree, and its `value` [B] to the path above it."""
    launch(
        expand_and_backup_kernel,
        len(parents),
        node,
        parents,
        actions,
        rewards,
        policy,
        value,
        constants.discount,
        tree.children,
        tree.parent,
        tree.action,
        tree.depth,
        tree.reward,
        tree.prior,
        tree.visits,
        tree.value_sum,
        tree.q,
        tree.edge_q,
        tree.edge_visits,
        tree.q_range,
    )


def launch(kernel: Any, threads: int, *arguments: Any) -> None:
    """Runs a kernel on PyTorch's current stream, or immediately in the simulator."""
    blocks = (threads + THREADS - 1) // THREADS
    arrays = [as_array(a) if isinstance(a, Tensor) else a for a in arguments]
    if arguments[0].is_cuda:
        stream = cuda.external_stream(torch.cuda.current_stream().cuda_stream)
        kernel[blocks, THREADS, stream](*arrays)
    else:
        kernel[blocks, THREADS](*arrays)


def as_array(tensor: Tensor) -> Any:
    """The tensor's memory as an array for Numba, without a copy."""
    return cuda.as_cuda_array(tensor, sync=False) if tensor.is_cuda else tensor.numpy()
