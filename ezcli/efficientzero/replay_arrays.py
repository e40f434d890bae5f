"""What a replay holds of each of its R rows, but for the frames; A actions."""

from typing import NamedTuple

import numpy as np


class ReplayArrays(NamedTuple):
    """Everything but the frames, one entry for each row."""

    action: np.ndarray  # [R] int64, taken in the state
    reward: np.ndarray  # [R] float32, that the action gave
    policy: np.ndarray  # [R, A] float32, visit distribution while acting
    is_terminal: np.ndarray  # [R] bool, no action was taken: the episode had ended
    age_in_episode: np.ndarray  # [R] int64, env_steps since the episode's first state
    collected_at: np.ndarray  # [R] int64, env_steps of the run when the action was taken
    state_id: np.ndarray  # [R] int64, a number no other state of the run has; -1 in unused rows
    weight: np.ndarray  # [R] float64, priority ** exponent; 0 where sampling is not allowed


def empty_arrays(rows: int, num_actions: int) -> ReplayArrays:
    """Those of a replay that nothing was written to."""
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
