"""Procgen's games with our protocol (the package `envpool`)."""

import importlib.metadata
from typing import Any

import numpy as np

from ezcli.envs.procgen_suite import LEVELS, ProcgenSettings, missing
from ezcli.envs.protocol import EnvSpec, Step
from ezcli.errors import EnvError

# The buttons of each action, in Procgen's order. Letters are actions of single games.
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

    Every reset builds a new game with a single level. When a game of envpool continues to another
    level, it may differ from a game started there (for example in dodgeball), so it could not be
    replayed for a checkpoint.
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
        """Starts a new game on the level selected by the seed."""
        # With one level, the game depends only on the level: the seed of envpool selects among
        # several.
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
        """The level that a seed selects, among those of training or evaluation."""
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
