"""One step ahead: what the model says of every action in a state, in A + 1 network calls.

The value prefix starts at the root, so the prefix of a child is the reward of its action. The
calls for all actions of all states are one batch. Shapes: B states, A actions.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ezcli.efficientzero.batch import PrefixState
from ezcli.efficientzero.inference import as_evaluation, autocast, initial_output
from ezcli.efficientzero.network import Network
from ezcli.efficientzero.simulation import roles


class Lookahead(NamedTuple):
    """What lies one step ahead of B states."""

    reward: np.ndarray  # [B, A] float32, predicted, of each action
    value: np.ndarray  # [B, A] float32, of the state that it leads to
    network_value: np.ndarray  # [B] float32, the network's own estimate of the state
    policy: np.ndarray  # [B, A] float32, the network's own probabilities


@torch.inference_mode()
def look_ahead(network: Network, observations: Tensor, precision: str) -> Lookahead:
    """Takes every action of states [B, C, H, W] in the model.

    Args:
      network: in evaluation mode.
      observations: on the network's device.
      precision: `bfloat16` casts on the way; `float32` leaves the network as it is.
    """
    with autocast(observations.device, precision):
        output = initial_output(network, observations)
        batch, actions = output.policy.shape
        latent, *prefix_state = (
            x.repeat_interleave(actions, 0) for x in (output.latent, *output.prefix_state)
        )
        tried = torch.arange(actions, device=latent.device).repeat(batch)
        at_root = roles(torch.zeros_like(tried))
        found = network.recurrent_inference(latent, PrefixState(*prefix_state), tried, at_root)
        root, children = as_evaluation(output), as_evaluation(found)
    shape = batch, actions
    return Lookahead(
        reward=children.value_prefix.reshape(shape),
        value=children.value.reshape(shape),
        network_value=root.value,
        policy=root.policy,
    )
