"""Procgen's games behind our protocol (the package `envpool`)."""

import importlib.metadata
from typing import Any

import numpy as np

from ezcli.envs.procgen_suite import LEVELS, ProcgenSettings, missing
from ezcli.envs.protocol import EnvSpec, Step
from ezcli.errors import EnvError

# The buttons that an action holds down, in Procgen's order. The letters are a game's own actions.
ACTIONS = (
    "left+down",
    "left",
    "left+up",
    "down",
    "noop",
    "up",
    "right+down",
    "right",
    "right+up",
    "d",
    "a",
    "w",
    "s",
    "q",
    "e",
)


class Procgen:
    """One game.

    Every reset builds a new game that has one level. A game of envpool that goes on to another
    level is not always the game that starts there (in dodgeball, for one), so it could not be
    played again for a checkpoint.
    """

    def __init__(self, settings: ProcgenSettings, evaluation: bool) -> None:
        lacks = missing()
        if lacks is not None:
            raise EnvError("EZ-ENV-NOT-INSTALLED", f"{lacks.what}.", lacks.remedy)
        import envpool

        self.make, self.settings = envpool.make, settings
        self.level_set = settings.level_set(evaluation)
        self.id = f"{settings.game.capitalize()}{settings.difficulty.capitalize()}-v0"
        self.game: Any = None
        self.spec = EnvSpec(
            frame_shape=(3, 64, 64),
            action_names=ACTIONS,
            contract={
                "name": "procgen",
                "game": settings.game,
                "difficulty": settings.difficulty,
                "envpool": importlib.metadata.version("envpool"),
                "levels": settings.levels,
                "start_level": settings.start_level,
                "max_episode_steps": settings.cap(evaluation),
            },
        )

    def reset(self, seed: int) -> np.ndarray:
        """Starts a new game on the level that the seed chooses."""
        # With one level, what happens depends on the level alone: the seed of envpool chooses
        # among several.
        self.game = self.make(
            self.id,
            env_type="gymnasium",
            num_envs=1,
            num_threads=1,
            seed=0,
            num_levels=1,
            start_level=self.level_of(seed),
        )
        frames, _ = self.game.reset()
        frame: np.ndarray = frames[0]
        return frame

    def step(self, action: int) -> Step:
        """Plays one action for one frame of the game."""
        frames, rewards, ended, cut, _ = self.game.step(np.array([action], np.int32))
        is_over = bool(ended[0] or cut[0])
        is_truncated = bool(cut[0] and not ended[0])
        return Step(frames[0], float(rewards[0]), is_over, is_over, is_truncated)

    def level_of(self, seed: int) -> int:
        """The level that a seed chooses, among those that training or evaluation draws from."""
        rng, start, levels = (
            np.random.default_rng(seed),
            self.settings.start_level,
            self.settings.levels,
        )
        if self.level_set == "all":
            return int(rng.integers(LEVELS))
        if self.level_set == "training":
            return start + int(rng.integers(levels))
        level = int(rng.integers(LEVELS - levels))
        return level if level < start else level + levels
