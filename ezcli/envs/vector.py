"""Several environments in lock step, restarted by themselves: the trainer's only door to a game.

Everything here follows from the generator of seeds and the actions; the state of a running game is
therefore its log (its seed and the actions since), and a game is restored by playing its log again.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ezcli.envs.checked import Checked
from ezcli.envs.protocol import EnvSpec, Step

CONTINUE = 0  # the action that leads from a lost life to the next one


class FinishedGame(NamedTuple):
    """The outcome of one whole game, over all of its lives."""

    score: float  # sum of raw rewards
    env_steps: int  # all of them, those between two lives included


class Arrival(NamedTuple):
    """What one environment's action led to."""

    frame: np.ndarray  # uint8 [C, H, W]: the frame reached, even if it is the episode's last
    reward: float  # raw
    is_episode_over: bool
    is_truncated: bool  # a time limit ended the episode
    first_frame: np.ndarray | None  # uint8 [C, H, W] of the next episode, if this one is over
    finished: FinishedGame | None  # set when the game is over


class EnvLog(NamedTuple):
    """A running game, as something that JSON can hold."""

    seed: int
    actions: list[int]


class VectorEnv:
    """E environments that take one action each at a time.

    Args:
      make: builds one environment; all of them have the same frames and actions.
      num_envs: how many.
      rng: draws the seed of every new game, in the order of the environments. It belongs to the
        caller, who stores its state beside the logs of `save`.
    """

    def __init__(
        self, make: Callable[[], Checked], num_envs: int, rng: np.random.Generator
    ) -> None:
        assert num_envs >= 1
        self._games = [_Game(make()) for _ in range(num_envs)]
        self._rng = rng
        self.spec: EnvSpec = self._games[0].env.spec
        for game in self._games[1:]:
            game.env.require_like(self.spec)

    def start(self) -> list[np.ndarray]:
        """Starts a new game everywhere. Returns the first frames."""
        return [self._new_game(game) for game in self._games]

    def step(self, actions: Sequence[int]) -> list[Arrival]:
        """Plays one action in each environment; an episode that ends is followed by the next."""
        assert len(actions) == len(self._games), "one action for each environment"
        return [
            self._advance(game, int(action))
            for game, action in zip(self._games, actions, strict=True)
        ]

    def save(self) -> list[EnvLog]:
        """The running game of each environment."""
        return [EnvLog(game.seed, list(game.actions)) for game in self._games]

    def restore(self, logs: Sequence[EnvLog], frames: Sequence[np.ndarray]) -> None:
        """Plays each log again, in place of whatever was running.

        Args:
          logs: as `save` gave them.
          frames: uint8 [C, H, W], the last one of each environment, which must come again.

        Raises:
          EnvError: the same seed and actions gave another game.
        """
        assert len(logs) == len(self._games), "one log for each environment"
        for game, (seed, actions), frame in zip(self._games, logs, frames, strict=True):
            game.replay(seed, actions, frame)

    def _new_game(self, game: "_Game") -> np.ndarray:
        return game.reset(int(self._rng.integers(2**31)))

    def _advance(self, game: "_Game", action: int) -> Arrival:
        step = game.step(action)
        if not step.is_episode_over:
            return Arrival(step.frame, step.reward, False, False, None, None)
        # A lost life: one action leads on. Its reward is nobody's, but the score's.
        next_life = None if step.is_game_over else game.step(CONTINUE)
        if next_life is not None and not next_life.is_game_over:
            return Arrival(step.frame, step.reward, True, False, next_life.frame, None)
        finished = FinishedGame(game.score, len(game.actions))
        first_frame = self._new_game(game)
        return Arrival(step.frame, step.reward, True, step.is_truncated, first_frame, finished)


class _Game:
    """One environment, its running game's log and score."""

    def __init__(self, env: Checked) -> None:
        self.env = env
        self.seed = 0
        self.actions: list[int] = []
        self.score = 0.0

    def reset(self, seed: int) -> np.ndarray:
        self.seed, self.actions, self.score = seed, [], 0.0
        return self.env.reset(seed)

    def step(self, action: int) -> Step:
        step = self.env.step(action)
        self.actions.append(action)
        self.score += step.reward
        return step

    def replay(self, seed: int, actions: Sequence[int], last: np.ndarray) -> None:
        frame = self.reset(seed)
        for action in actions:
            step = self.step(action)
            if step.is_game_over:
                played = f"{len(self.actions)} of {len(actions)} replayed actions"
                raise self.env.not_repeatable(f"ended its game after {played}")
            frame = step.frame
        if not np.array_equal(frame, last):
            raise self.env.not_repeatable("showed another frame after the replayed actions")
