"""Value targets for a window of K unroll steps from a sampled position (MuZero appendix G).

The target at position k of a window that begins at time t is z_(t+k), from rewards r and values v
of the target network. Action a_t leads from state s_t to s_(t+1) and gives r_t.

Rewards beyond the end of an episode are 0, and so is the value of its terminal state. A bootstrap
never reaches beyond that state. So the end of an episode needs no special case. The last state of
an episode that a time limit ended is not terminal and has a value.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ezcli.efficientzero.batch import Window


class Sources(NamedTuple):
    """Sources of the values in targets of n windows; M values for each window."""

    positions: np.ndarray  # [n, M] positions of the values in the window
    by_search: np.ndarray  # [n] bool, values come from searches, not directly from the network


class ValueRule(NamedTuple):
    """A rule that computes value targets from rewards and values of the target network."""

    # from n windows and their train_steps [n], counted from 0
    sources: Callable[[Window, np.ndarray], Sources]
    # from values [n, M], 0 past the end, to targets [n, K + 1]
    targets: Callable[[Window, Sources, np.ndarray], np.ndarray]


def returns_rule(
    unroll_steps: int,
    steps: Callable[[Window, np.ndarray], np.ndarray],
    discount: float,
    by_search: bool,
) -> ValueRule:
    """n-step returns from each of K + 1 positions.

        z_t = r_t + g r_(t+1) + ... + g^(n-1) r_(t+n-1) + g^n v_(t+n)

    Args:
      unroll_steps: K.
      steps: n of each window [n]. With n = 0, targets are values of searches at the positions.
      discount: g, per env_step.
      by_search: bootstraps are values of searches too, not of the network alone.
    """
    offsets = np.arange(unroll_steps + 1)

    def sources(window: Window, train_steps: np.ndarray) -> Sources:
        ahead = steps(window, train_steps)
        positions = np.minimum(offsets + ahead[:, None], last_states(window))
        return Sources(positions, (ahead == 0) | by_search)

    def targets(window: Window, sources: Sources, values: np.ndarray) -> np.ndarray:
        ahead = np.maximum(sources.positions - offsets, 0)  # 0 at the last state and beyond
        return value_targets(window.rewards, values, ahead, discount)

    return ValueRule(sources, targets)


def mixed_steps(
    td_steps: Callable[[np.ndarray], np.ndarray], first_train_step: int, newest: int
) -> Callable[[Window, np.ndarray], np.ndarray]:
    """The steps of the mixed value target (EfficientZero V2, equation 16).

        z_t = n-step return,             if i < T1 or age_t < T2
              value of a search at s_t,  otherwise

    i counts train_steps. T1 is `first_train_step` and T2 is `newest`.

    Args:
      td_steps: function from ages [n] to the steps of returns.
      first_train_step: T1; all targets before it are returns.
      newest: T2 in env_steps; targets of newer states are returns.
    """

    def steps(window: Window, train_steps: np.ndarray) -> np.ndarray:
        is_return = (train_steps < first_train_step) | (window.age < newest)
        return np.where(is_return, td_steps(window.age), 0)

    return steps


def gae_rule(
    unroll_steps: int, steps: int, discount: float, decay: float, by_search: bool
) -> ValueRule:
    """Values plus generalised advantages (Schulman et al., ICLR 2016), cut after `steps`.

        z_t = v_t + sum_(l=0..steps-1) (g d)^l (r_(t+l) + g v_(t+l+1) - v_(t+l))

    Terms beyond the end of the episode are 0.

    Args:
      unroll_steps: K.
      steps: number of terms in the sum.
      discount: g, per env_step.
      decay: d, often called lambda.
      by_search: values come from searches, not from the network alone.
    """
    positions = np.arange(unroll_steps + 1 + steps)

    def sources(window: Window, train_steps: np.ndarray) -> Sources:
        inside = np.minimum(positions, last_states(window))
        return Sources(inside, np.full(len(inside), by_search))

    def targets(window: Window, sources: Sources, values: np.ndarray) -> np.ndarray:
        is_step = positions[:-1] < last_states(window)
        rewards = window.rewards[:, : len(positions) - 1]
        errors = is_step * (rewards + discount * values[:, 1:] - values[:, :-1])
        found = values[:, : unroll_steps + 1].astype(np.float64)
        for step in range(steps):
            found += (discount * decay) ** step * errors[:, step : step + unroll_steps + 1]
        return found.astype(np.float32)

    return ValueRule(sources, targets)


def last_states(window: Window) -> np.ndarray:
    """Position [n, 1] of the last state of the episode in each window."""
    last: np.ndarray = window.is_state.sum(1, keepdims=True) - 1
    return last


def value_targets(
    rewards: np.ndarray, bootstraps: np.ndarray, td_steps: np.ndarray, discount: float
) -> np.ndarray:
    """n-step returns with a separate n for each position.

        z_(t+k) = sum_(i=0..n_k-1) g^i r_(t+k+i) + g^(n_k) v_(t+k+n_k),  k = 0..K

    Args:
      rewards: [B, K + L] from the sampled position on, where L is the largest of `td_steps`.
      bootstraps: [B, K + 1] value of the state `td_steps` after each position.
      td_steps: [B, K + 1] or [B, 1] steps n_k before the bootstrap, 0 to L.
      discount: g, per env_step.

    Returns:
      [B, K + 1] float32, return at each position of the window.
    """
    positions = bootstraps.shape[1]
    returns = bootstraps * discount**td_steps
    for step in range(rewards.shape[1] - positions + 1):
        is_within = step < td_steps
        returns = returns + is_within * discount**step * rewards[:, step : step + positions]
    return returns.astype(np.float32)


def return_errors(
    values: np.ndarray, rewards: np.ndarray, is_terminal: np.ndarray, discount: float
) -> np.ndarray:
    """|value - n-step return| [B] of states, from data recorded while acting.

        e_t = |v_t - sum_(i=0..n-1) g^i r_(t+i) - g^n v_(t+n)|

    Args:
      values: [B, n + 1] values of each state and the n states that follow in the stream.
      rewards: [B, n + 1] rewards of the actions taken in these states; the last is not used.
      is_terminal: [B, n + 1]; from the first terminal state on, values and rewards count as 0.
      discount: g, per env_step.
    """
    goes_on = np.cumsum(is_terminal, 1) == 0
    steps = values.shape[1] - 1
    found = np.where(goes_on[:, -1], discount**steps * values[:, -1], 0.0)
    found += np.where(goes_on, rewards, 0.0)[:, :-1] @ discount ** np.arange(steps)
    errors: np.ndarray = np.abs(values[:, 0] - found)
    return errors


def aged_td_steps(age: np.ndarray, td_steps: int, age_per_step: int) -> np.ndarray:
    """One step fewer for every `age_per_step` env_steps of age (EfficientZero section 4.3).

        n_t = clip(td_steps - floor(age_t / age_per_step), 1, td_steps)

    Args:
      age: [B] env_steps collected since the position.
      td_steps: steps for new data; at least 1 remains.
      age_per_step: env_steps of age that cost one step.
    """
    return np.clip(td_steps - age // age_per_step, 1, td_steps)
