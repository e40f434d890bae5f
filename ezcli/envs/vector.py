"""Several environments in lock step with automatic restarts. The trainer plays only through these.

Everything is determined by the generator of seeds and the actions. So the state of a running game
is its log (seed and actions), and a game is restored by replaying the log.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import FailFast

from ezcli.envs.checked import Checked
from ezcli.envs.protocol import EnvSpec, Step
from ezcli.settings import LARGEST
from ezcli.state import Count, State, Table, read_table, require

CONTINUE = 0  # the action that continues after a lost life


class FinishedGame(NamedTuple):
    """The outcome of one whole game, over all of its lives."""

    score: float  # sum of raw rewards
    env_steps: int  # including those between two lives


class Arrival(NamedTuple):
    """The result of one environment's action."""

    frame: np.ndarray  # [C, H, W]: the frame reached, even if it is the episode's last
    reward: float  # raw
    is_episode_over: bool
    is_truncated: bool  # a time limit ended the episode
    first_frame: np.ndarray | None  # [C, H, W] of the next episode, if this one is over
    finished: FinishedGame | None  # if the game is over


class GameLog(Table):
    """A running game: seed and actions to replay it."""

    seed: Count
    actions: Annotated[list[int], FailFast()]  # since the start of the game


class GameLogs(Table):
    """The state of a `VectorEnv`: a log for each environment."""

    games: list[GameLog]


class VectorEnv:
    """E environments that step together.

    Args:
      make: builds one environment; all of them have the same frames and actions.
      num_envs: E.
      rng: draws the seed of every new game, in the order of the environments. It belongs to the
        caller, which also saves its state.
      longest: largest number of actions in the log of a running game.
    """

    def __init__(
        self,
        make: Callable[[], Checked],
        num_envs: int,
        rng: np.random.Generator,
        longest: int = LARGEST,
    ) -> None:
        assert num_envs >= 1
        self._longest = longest
        self._games = [_Game(make()) for _ in range(num_envs)]
        self._rng = rng
        self.spec: EnvSpec = self._games[0].env.spec
        for game in self._games[1:]:
            game.env.require_like(self.spec)

    def start(self) -> list[np.ndarray]:
        """Starts a new game in each environment, and returns the first frames."""
        return [self._new_game(game) for game in self._games]

    def step(self, actions: Sequence[int]) -> list[Arrival]:
        """Plays one action in each environment. An episode that ends is followed by the next."""
        assert len(actions) == len(self._games), "one action for each environment"
        return [
            self._advance(game, int(action))
            for game, action in zip(self._games, actions, strict=True)
        ]

    def state(self) -> State:
        """The log of the running game of each environment."""
        games = [{"seed": game.seed, "actions": list(game.actions)} for game in self._games]
        return {"games": games}

    def restore(self, state: State) -> None:
        """Replaces the running games by replaying each log.

        Raises:
          CheckpointError: the logs belong to other environments.
          EnvError: the same seed and actions gave another game.
        """
        logs, known = read_table(GameLogs, state).games, range(len(self.spec.action_names))
        need = len(self._games)
        require(len(logs) == need, f"it has {len(logs)} games, not {need}")
        for number, log in enumerate(logs):
            what = f"games.{number} has"
            require(len(log.actions) <= self._longest, f"{what} more actions than the run takes")
            require(set(log.actions) <= set(known), f"{what} an action that the game does not have")
        for game, log in zip(self._games, logs, strict=True):
            game.replay(log.seed, log.actions)

    def require_frames(self, frames: Sequence[np.ndarray]) -> None:
        """Refuses replayed games whose last frames differ.

        Args:
          frames: [C, H, W], the last frame of each environment at the time of the state.

        Raises:
          EnvError: the same seed and actions gave another game.
        """
        for game, frame in zip(self._games, frames, strict=True):
            game.require_frame(frame)

    def _new_game(self, game: "_Game") -> np.ndarray:
        return game.reset(int(self._rng.integers(2**31)))

    def _advance(self, game: "_Game", action: int) -> Arrival:
        step = game.step(action)
        if not step.is_episode_over:
            return Arrival(step.frame, step.reward, False, False, None, None)
        # After a lost life one action continues. Its reward counts only for the score.
        next_life = None if step.is_game_over else game.step(CONTINUE)
        if next_life is not None and not next_life.is_game_over:
            return Arrival(step.frame, step.reward, True, False, next_life.frame, None)
        finished = FinishedGame(game.score, len(game.actions))
        first_frame = self._new_game(game)
        return Arrival(step.frame, step.reward, True, step.is_truncated, first_frame, finished)


class _Game:
    """One environment with log, score and newest frame of its running game."""

    def __init__(self, env: Checked) -> None:
        self.env = env
        self.frame = np.empty(0, np.uint8)
        self.seed = 0
        self.actions: list[int] = []
        self.score = 0.0

    def reset(self, seed: int) -> np.ndarray:
        self.seed, self.actions, self.score = seed, [], 0.0
        self.frame = self.env.reset(seed)
        return self.frame

    def step(self, action: int) -> Step:
        step = self.env.step(action)
        self.actions.append(action)
        self.score += step.reward
        self.frame = step.frame
        return step

    def replay(self, seed: int, actions: Sequence[int]) -> None:
        self.reset(seed)
        for action in actions:
            if self.step(action).is_game_over:
                played = f"{len(self.actions)} of {len(actions)} replayed actions"
                raise self.env.not_repeatable(f"ended its game after {played}")

    def require_frame(self, frame: np.ndarray) -> None:
        if not np.array_equal(self.frame, frame):
            raise self.env.not_repeatable("showed another frame after the replayed actions")
