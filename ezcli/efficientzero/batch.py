"""The records that modules exchange, with their shapes.

Letters: B batch, K unroll steps, A actions, E environments, N nodes of a tree (simulations + 1),
S atoms of the support, P units of the prefix LSTM; C, H, W channels, height and width of a stacked
observation, and c, h, w those of a latent.
"""

from typing import NamedTuple

import numpy as np
from torch import Tensor


class PrefixState(NamedTuple):
    """LSTM state of the value prefix, passed from node to node."""

    hidden: Tensor  # [B, P]
    cell: Tensor  # [B, P]


class NetworkOutput(NamedTuple):
    """Outputs of the network for B states."""

    latent: Tensor  # [B, c, h, w]
    prefix_state: PrefixState  # of the value prefix of these states
    value_prefix: Tensor | None  # [B, S] logits; None at the root, which has no prefix
    value: Tensor  # [B, S] logits
    policy: Tensor  # [B, A] logits


class Window(NamedTuple):
    """Sampled positions of the replay, each with the states that follow.

    L is the largest number of env_steps between a state and the bootstrap of its value target. Rows
    are indices of states in the replay; `is_state` is False past the end of the episode, where rows
    repeat the last state, rewards are 0 and actions are random. With `value.bootstrap_truncated`
    the last state of a truncated episode is not terminal.
    """

    rows: np.ndarray  # [B, K + L + 1] int64
    is_state: np.ndarray  # [B, K + L + 1] bool, the state belongs to the episode
    is_terminal: np.ndarray  # [B, K + L + 1] bool, the state after the last action
    actions: np.ndarray  # [B, K] int64
    rewards: np.ndarray  # [B, K + L] float32, clipped if the environment clips rewards
    age: np.ndarray  # [B] int64, env_steps collected since the position
    weights: np.ndarray  # [B] float32, importance weights; the largest in a batch is 1


class Targets(NamedTuple):
    """Targets of the network at the K + 1 positions of each window."""

    value_prefix: np.ndarray  # [B, K] float32, scalars
    value: np.ndarray  # [B, K + 1] float32, scalars
    policy: np.ndarray  # [B, K + 1, A] float32, probabilities
    has_policy: np.ndarray  # [B, K + 1] bool, False where no action is taken


class Batch(NamedTuple):
    """One train_step's data, on the run's device."""

    observations: Tensor  # [B, K + 1, C, H, W] in [0, 1], augmented with loss.augmentation
    actions: Tensor  # [B, K] int64
    is_state: Tensor  # [B, K + 1] float32, 1 where the position counts
    value_prefix: Tensor  # [B, K] scalars
    value: Tensor  # [B, K + 1] scalars
    policy: Tensor  # [B, K + 1, A]
    has_policy: Tensor  # [B, K + 1] float32
    weights: Tensor  # [B]
    frames: Tensor  # [B, K + 1, C, H, W], the stored observations before augmentation
