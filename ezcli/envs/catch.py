"""Catch: a ball falls, a paddle moves under it (bsuite's `catch`; Osband et al., 2020).

The best return is 1. A random paddle gets about -0.6 on the default board. It shows within minutes
whether training works.
"""

import numpy as np

from ezcli.envs.protocol import EnvSpec, Step
from ezcli.envs.small_suites import CatchSettings


class Catch:
    """The ball falls one row a step, straight down; the paddle may move one column a step."""

    def __init__(self, settings: CatchSettings, evaluation: bool) -> None:
        self.rows = settings.rows
        self.columns = settings.columns
        self.spec = EnvSpec(
            frame_shape=(1, self.rows, self.columns),
            action_names=("stay", "left", "right"),
            contract={
                "name": "catch",
                "rows": self.rows,
                "columns": self.columns,
                "reward": "+1 caught, -1 missed, when the ball lands",
                "max_episode_steps": settings.cap(evaluation),
            },
        )
        self.ball_row = self.ball_column = self.paddle = 0

    def reset(self, seed: int) -> np.ndarray:
        """Starts with the ball in a random column of the top row, and the paddle in the middle."""
        self.ball_row = 0
        self.ball_column = int(np.random.default_rng(seed).integers(self.columns))
        self.paddle = self.columns // 2
        return self._frame()

    def step(self, action: int) -> Step:
        """Moves the paddle, then the ball."""
        move = (0, -1, 1)[action]
        self.paddle = min(max(self.paddle + move, 0), self.columns - 1)
        self.ball_row += 1
        has_landed = self.ball_row == self.rows - 1
        reward = (1.0 if self.ball_column == self.paddle else -1.0) if has_landed else 0.0
        return Step(self._frame(), reward, is_episode_over=has_landed, is_game_over=has_landed)

    def _frame(self) -> np.ndarray:
        frame = np.zeros(self.spec.frame_shape, np.uint8)
        frame[0, self.ball_row, self.ball_column] = 255
        frame[0, self.rows - 1, self.paddle] = 255
        return frame
