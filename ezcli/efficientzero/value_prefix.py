"""Value prefix: the network predicts the running sum of rewards, not each reward.

EfficientZero section 4.2. The sum restarts every H = `horizon` steps of an unroll or a search path,
together with its LSTM state. For step k = 1, 2, ... of an unroll from time t:

    y_k = sum_(j=s..k-1) r_(t+j),  s = H floor((k - 1) / H)
    r_(t+k-1) = y_k - y_(k-1),  or y_k if k - 1 = s

`horizon=1` restarts at every step, so that the prefix is the reward. This is the ablation. No other
module depends on the relation between prefix and reward.
"""

from typing import Any

import numpy as np


def restarts_after(depth: Any, horizon: int) -> Any:
    """Whether the sum restarts below a node at `depth`, in steps from the root at 0.

    `depth` is a number, an array or a tensor. The result has the same type.
    """
    return depth % horizon == 0


def rewards_between(parent_prefix: Any, prefix: Any, parent_depth: Any, horizon: int) -> Any:
    """Rewards [B] on the edges from parents to children, from their predicted prefixes [B].

    All arguments are arrays, or all are tensors. The result has the same type.
    """
    return prefix - parent_prefix * ~restarts_after(parent_depth, horizon)


def prefix_targets(rewards: np.ndarray, horizon: int) -> np.ndarray:
    """Undiscounted sums [B, K] of `rewards` [B, K] along K, restarting every `horizon` steps."""
    targets = np.empty_like(rewards)
    running = np.zeros_like(rewards[:, 0])
    for k in range(rewards.shape[1]):
        running = rewards[:, k] + (0 if restarts_after(k, horizon) else running)
        targets[:, k] = running
    return targets
