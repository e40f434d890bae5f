"""Value targets for a window of K unroll steps from a sampled position (MuZero appendix G).

Rewards and bootstrap values beyond the end of an episode are 0, so a finished episode needs no
special case.
"""

import numpy as np


def value_targets(
    rewards: np.ndarray, bootstraps: np.ndarray, td_steps: np.ndarray, discount: float
) -> np.ndarray:
    """n-step returns, each with the number of steps of its own sample.

    Args:
      rewards: [B, K + L] from the sampled position on, where L is the largest of `td_steps`.
      bootstraps: [B, K + 1] value of the state `td_steps` after each position.
      td_steps: [B] steps before the bootstrap, 1 to L.
      discount: per env_step.

    Returns:
      [B, K + 1] float32, return at each position of the window.
    """
    positions = bootstraps.shape[1]
    returns = bootstraps * discount ** td_steps[:, None]
    for step in range(rewards.shape[1] - positions + 1):
        is_within = (step < td_steps)[:, None]
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
