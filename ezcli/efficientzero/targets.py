"""Value targets for a window of K unroll steps from a sampled position (MuZero appendix G).

Rewards beyond the end of an episode are 0, and so is the value of its terminal state. A bootstrap
goes no further than that state, so an episode that ends needs no special case; nor does one that a
time limit cut off, whose last state is not terminal and has a value.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ezcli.efficientzero.batch import Window


class ValueRule(NamedTuple):
    """How value targets are made: from values that the target network gives, and from rewards.

    Shapes: n windows, K + 1 positions that have a target, M values that the rule asks for.
    """

    by_search: bool  # values are those of searches, not the network's own
    positions: Callable[[Window], np.ndarray]  # [n, M] where in each window a value is taken
    targets: Callable[[Window, np.ndarray], np.ndarray]  # of values [n, M], 0 past the end


def td_rule(
    unroll_steps: int,
    td_steps: Callable[[np.ndarray], np.ndarray],
    discount: float,
    by_search: bool,
) -> ValueRule:
    """n-step returns that bootstrap `td_steps(age)` env_steps after each of K + 1 positions.

    z_t = r_t + g r_(t+1) + ... + g^(n-1) r_(t+n-1) + g^n v_(t+n)
    """
    offsets = np.arange(unroll_steps + 1)

    def positions(window: Window) -> np.ndarray:
        last = window.is_state.sum(1, keepdims=True) - 1
        return np.minimum(offsets + td_steps(window.age)[:, None], last)

    def targets(window: Window, values: np.ndarray) -> np.ndarray:
        steps = np.maximum(positions(window) - offsets, 0)  # 0 at the last state and beyond
        return value_targets(window.rewards, values, steps, discount)

    return ValueRule(by_search, positions, targets)


def value_targets(
    rewards: np.ndarray, bootstraps: np.ndarray, td_steps: np.ndarray, discount: float
) -> np.ndarray:
    """n-step returns, each with a number of steps of its own.

    Args:
      rewards: [B, K + L] from the sampled position on, where L is the largest of `td_steps`.
      bootstraps: [B, K + 1] value of the state `td_steps` after each position.
      td_steps: [B, K + 1] or [B, 1] steps before the bootstrap, 0 to L.
      discount: per env_step.

    Returns:
      [B, K + 1] float32, return at each position of the window.
    """
    positions = bootstraps.shape[1]
    returns = bootstraps * discount**td_steps
    for step in range(rewards.shape[1] - positions + 1):
        is_within = step < td_steps
        returns = returns + is_within * discount**step * rewards[:, step : step + positions]
    return returns.astype(np.float32)


def aged_td_steps(age: np.ndarray, td_steps: int, age_per_step: int) -> np.ndarray:
    """One step fewer for every `age_per_step` env_steps of age (EfficientZero section 4.3).

    Args:
      age: [B] env_steps collected since the position.
      td_steps: for fresh data; never fewer than 1 remain.
      age_per_step: env_steps of age that cost one step.
    """
    return np.clip(td_steps - age // age_per_step, 1, td_steps)
