"""The simulations of a search without Python between the operations of the network.

With few roots a search is hundreds of small operations, and Python between them takes as long as
they do. PyTorch records a simulation once and replays the same operations, so that no bit changes.
"""

import threading
import warnings

import torch
from torch.jit._trace import TracerWarning

from ezcli.efficientzero.inference import initial_output
from ezcli.efficientzero.network import Network
from ezcli.efficientzero.simulation import Simulate, Simulation, new_latents
from ezcli.efficientzero.tree import Constants

TRACING = threading.Lock()  # filters of warnings are the process's


@torch.inference_mode()
def traced(network: Network, observations: torch.Tensor, constants: Constants) -> Simulate:
    """A `Simulation` for batches of any size; the network's weights may change in place.

    Args:
      network: in evaluation mode, on a CPU.
      observations: [B, C, H, W] uint8, an example.
      constants: of the search.
    """
    latents = new_latents(initial_output(network, observations), constants)
    node = torch.ones(1, dtype=torch.int64)
    zeros = torch.zeros(len(observations), dtype=torch.int64)
    with TRACING, warnings.catch_warnings():
        # Its successors compile for half a minute, and do not give the same bits.
        warnings.simplefilter("ignore", DeprecationWarning)
        # PyTorch's own checks of shapes; no operation follows from them.
        warnings.filterwarnings("ignore", category=TracerWarning, module="torch")
        simulation = Simulation(network, constants.prefix_horizon)
        example = (*latents, node, zeros, zeros)
        made: Simulate = torch.jit.trace(simulation, example, check_trace=False)
    return made
