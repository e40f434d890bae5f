"""The interface of an environment, small enough for a single file of your own.

    class MyEnv:
        spec = EnvSpec((1, 12, 12), ("left", "stay", "right"), {"name": "mine"})

        def __init__(self, settings: EnvSettings, evaluation: bool) -> None: ...
        def reset(self, seed: int) -> np.ndarray: ...
        def step(self, action: int) -> Step: ...

    ez train --env my_env.py:MyEnv

There is one rule beyond the types: **an environment is a function of its seed and its actions**.
The same seed and the same actions give the same frames and rewards, in this process and in any
other. Checkpoints depend on it: they store seed and actions of the running game and replay them,
because an emulator's own saved state is not exact.

Everything that it returns is checked (`ezcli.envs.checked`). A game that has not ended is cut off
after `max_episode_steps` in the settings, so an environment need not count its steps.

Shapes: C channels, H height, W width. Frames are uint8 images; a vector of n numbers is a float32
frame of shape (1, 1, n), with numbers of the order of 1. The trainer stacks frames.
"""

import math
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np


class EnvSpec(NamedTuple):
    """The constants of an environment."""

    frame_shape: tuple[int, int, int]  # C, H, W of one frame
    action_names: tuple[str, ...]  # by index of the action; action 0 continues after a lost life
    contract: dict[str, Any]  # everything that defines the task, recorded in every run
    frame_type: Literal["uint8", "float32"] = "uint8"  # float32: vectors, for `mlp`

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return math.prod(self.frame_shape) * np.dtype(self.frame_type).itemsize


class Step(NamedTuple):
    """The result of one action."""

    frame: np.ndarray  # [C, H, W] of the spec's type
    reward: float  # raw, never clipped here
    is_episode_over: bool  # the next frame begins another episode
    is_game_over: bool  # the next call must be `reset`
    is_truncated: bool = False  # a time limit ended the game


class Env(Protocol):
    """A game. `is_truncated` implies `is_game_over`, and that implies `is_episode_over`.

    If an episode ends before its game (a lost life in Atari training), the trainer plays action 0
    once and ignores its reward. The next frame begins the next episode.
    """

    spec: EnvSpec

    def reset(self, seed: int) -> np.ndarray:
        """Starts a new game, determined by `seed` (0 to 2**31 - 1). Returns its first frame."""
        ...

    def step(self, action: int) -> Step:
        """Plays one action, 0 to the number of action names - 1."""
        ...
