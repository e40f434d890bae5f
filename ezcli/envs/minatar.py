"""MinAtar's games with our protocol (the package `minatar`, version 1.0.15)."""

import importlib.metadata

import numpy as np

from ezcli.envs.minatar_suite import INSTALL, MinatarSettings
from ezcli.envs.protocol import EnvSpec, Step
from ezcli.errors import EnvError

ACTIONS = ("noop", "left", "up", "right", "down", "fire")


class MinAtar:
    """One game. Every reset builds a new one, because the package keeps its last action."""

    def __init__(self, settings: MinatarSettings, evaluation: bool) -> None:
        try:
            from minatar import Environment
        except ImportError as error:
            raise EnvError(
                "EZ-ENV-NOT-INSTALLED", f"MinAtar cannot be imported: {error}.", INSTALL
            ) from error
        self.make, self.settings = Environment, settings
        self.game = self.build(seed=0)
        self.spec = EnvSpec(
            frame_shape=(self.game.n_channels, 10, 10),
            action_names=ACTIONS,
            contract={
                "name": "minatar",
                "game": settings.game,
                "minatar": importlib.metadata.version("minatar"),
                "sticky": settings.sticky,
                "ramping": settings.ramping,
                "max_episode_steps": settings.cap(evaluation),
            },
        )

    def build(self, seed: int):  # type: ignore[no-untyped-def]
        """Builds a game that is a function of the seed and the actions."""
        settings = self.settings
        game = self.make(settings.game, settings.sticky, settings.ramping)
        game.seed(seed)
        game.reset()
        return game

    def reset(self, seed: int) -> np.ndarray:
        """Starts a new game."""
        self.game = self.build(seed)
        return self._frame()

    def step(self, action: int) -> Step:
        """Plays one action, or repeats the last one."""
        reward, is_over = self.game.act(action)
        return Step(self._frame(), float(reward), bool(is_over), bool(is_over))

    def _frame(self) -> np.ndarray:
        """The frame: channels of cells, 0 or 255."""
        planes = self.game.state().transpose(2, 0, 1).astype(np.uint8)
        frame: np.ndarray = planes * np.uint8(255)
        return frame
