"""Value prefix: the network predicts the running sum of rewards, not each reward.

EfficientZero section 4.2. The sum restarts every `horizon` steps of an unroll or of a search path,
and with it the LSTM state that carries it. `horizon=1` restarts at every step, so the prefix is the
reward: that is the whole ablation. Nothing outside this file knows how a prefix and a reward are
related.
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def restarts_after(depth: int, horizon: int) -> bool:
    """Whether the sum starts again below a node at `depth`, in steps from the root at 0."""
    return depth % horizon == 0


@njit(cache=True, nogil=True)
def reward_between(parent_prefix: float, prefix: float, parent_depth: int, horizon: int) -> float:
    """Reward on the edge from a parent to its child, from their predicted prefixes."""
    if restarts_after(parent_depth, horizon):
        return prefix
    return prefix - parent_prefix


def prefix_targets(rewards: np.ndarray, horizon: int) -> np.ndarray:
    """Undiscounted sums of `rewards` [B, K] along K, starting again every `horizon` steps."""
    targets = np.empty_like(rewards)
    running = np.zeros_like(rewards[:, 0])
    for k in range(rewards.shape[1]):
        running = rewards[:, k] + (0 if restarts_after(k, horizon) else running)
        targets[:, k] = running
    return targets
