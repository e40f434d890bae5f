"""The arrays of a replay with R rows, without frames; A actions."""

from typing import NamedTuple

import numpy as np


class ReplayArrays(NamedTuple):
    """Everything except frames, one entry for each row."""

    action: np.ndarray  # [R] int64, taken in the state
    reward: np.ndarray  # [R] float32, reward of the action
    policy: np.ndarray  # [R, A] float32, visit distribution while acting
    is_terminal: np.ndarray  # [R] bool, no action was taken: the episode had ended
    age_in_episode: np.ndarray  # [R] int64, env_steps since the episode's first state
    collected_at: np.ndarray  # [R] int64, env_steps of the run when the action was taken
    state_id: np.ndarray  # [R] int64, unique number of the state in the run; -1 in unused rows
    weight: np.ndarray  # [R] float64, priority ** exponent; 0 where sampling is not allowed


def empty_arrays(rows: int, num_actions: int) -> ReplayArrays:
    """The arrays of an empty replay."""
    return ReplayArrays(
        action=np.zeros(rows, np.int64),
        reward=np.zeros(rows, np.float32),
        policy=np.zeros((rows, num_actions), np.float32),
        is_terminal=np.zeros(rows, np.bool_),
        age_in_episode=np.zeros(rows, np.int64),
        collected_at=np.zeros(rows, np.int64),
        state_id=np.full(rows, -1, np.int64),
        weight=np.zeros(rows, np.float64),
    )
