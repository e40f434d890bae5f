"""Traced simulations of a search, without Python between the network's operations.

With few roots a search consists of hundreds of small operations, and Python takes as long as they
do. PyTorch records a simulation once and replays the same operations, so results do not change.
"""

import threading
import warnings

import torch
from torch.jit._trace import TracerWarning

from ezcli.efficientzero.inference import initial_output
from ezcli.efficientzero.network import Network
from ezcli.efficientzero.simulation import Simulate, Simulation, new_latents
from ezcli.efficientzero.tree import Constants

TRACING = threading.Lock()  # warning filters belong to the process


@torch.inference_mode()
def traced(network: Network, observations: torch.Tensor, constants: Constants) -> Simulate:
    """A traced `Simulation` for batches of any size. The network's weights may change in place.

    Args:
      network: in evaluation mode, on a CPU.
      observations: [B, C, H, W] uint8, an example.
      constants: of the search.
    """
    latents = new_latents(initial_output(network, observations), constants)
    node = torch.ones(1, dtype=torch.int64)
    zeros = torch.zeros(len(observations), dtype=torch.int64)
    with TRACING, warnings.catch_warnings():
        # Its successors take half a minute to compile, and change results in the last bits.
        warnings.simplefilter("ignore", DeprecationWarning)
        # PyTorch's own checks of shapes, which cause no operation.
        warnings.filterwarnings("ignore", category=TracerWarning, module="torch")
        simulation = Simulation(network, constants.prefix_horizon)
        example = (*latents, node, zeros, zeros)
        made: Simulate = torch.jit.trace(simulation, example, check_trace=False)
    return made
