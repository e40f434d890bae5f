"""What the trainer asks of an environment: one small protocol, fit for one file of your own.

    class MyEnv:
        spec = EnvSpec((1, 12, 12), ("left", "stay", "right"), {"name": "mine"})

        def __init__(self, settings: EnvSettings, evaluation: bool) -> None: ...
        def reset(self, seed: int) -> np.ndarray: ...
        def step(self, action: int) -> Step: ...

    ez train --env my_env.py:MyEnv

The one rule beyond the types: **an environment is a function of its seed and its actions**. The
same seed followed by the same actions gives the same frames and rewards, in this process and in any
other. Checkpoints rest on it: they store seed and actions of the running game and play them again,
because an emulator's own saved state is not exact.

Every answer is checked (`ezcli.envs.checked`). A game that has not ended by itself is cut off after
the settings' `max_episode_steps`, so no environment counts its steps for that.

Shapes: C channels, H height, W width. Frames are uint8 images; a vector of n numbers is a float32
frame of shape (1, 1, n), with numbers of the order of 1. Stacking is the trainer's work.
"""

import math
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np


class EnvSpec(NamedTuple):
    """The fixed facts of an environment."""

    frame_shape: tuple[int, int, int]  # C, H, W of one frame
    action_names: tuple[str, ...]  # index = action; action 0 continues after a lost life
    contract: dict[str, Any]  # everything that defines the task, written into every run
    frame_type: Literal["uint8", "float32"] = "uint8"  # float32: vectors, for `mlp`

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return math.prod(self.frame_shape) * np.dtype(self.frame_type).itemsize


class Step(NamedTuple):
    """What one action leads to."""

    frame: np.ndarray  # [C, H, W] of the spec's type
    reward: float  # raw, never clipped here
    is_episode_over: bool  # for the agent: the next frame begins another episode
    is_game_over: bool  # for the environment: the next call must be `reset`
    is_truncated: bool = False  # a time limit ended the game; its state has not ended it


class Env(Protocol):
    """A game. `is_truncated` implies `is_game_over`, and that implies `is_episode_over`.

    Where an episode ends before its game does (a lost life in Atari training), the trainer plays
    action 0 once, drops that reward, and the frame it leads to begins the next episode.
    """

    spec: EnvSpec

    def reset(self, seed: int) -> np.ndarray:
        """Starts a new game, determined by `seed` (0 to 2**31 - 1). Returns its first frame."""
        ...

    def step(self, action: int) -> Step:
        """Plays one action, 0 to the number of action names - 1."""
        ...
