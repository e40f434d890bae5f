"""One-step lookahead: the model's predictions for every action in a state, with A + 1 evaluations.

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
    """Predictions one step ahead of B states."""

    reward: np.ndarray  # [B, A] float32, predicted reward of each action
    value: np.ndarray  # [B, A] float32, value of the state after each action
    network_value: np.ndarray  # [B] float32, the network's own estimate of the state
    policy: np.ndarray  # [B, A] float32, the network's own probabilities


@torch.inference_mode()
def look_ahead(network: Network, observations: Tensor, precision: str) -> Lookahead:
    """Applies every action to states [B, C, H, W] in the model.

    Args:
      network: in evaluation mode.
      observations: on the network's device.
      precision: `bfloat16` uses autocast; `float32` runs the network unchanged.
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
