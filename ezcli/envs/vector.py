"""Several environments in lock step, restarted by themselves: the trainer's only door to a game.

What passes this door has been checked against the contract of `ezcli.envs.protocol`, so nothing
behind it checks again. Everything here follows from the generator of seeds and the actions; the
state of a running game is therefore its log (its seed and the actions since), and a game is
restored by playing its log again.
"""

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import NamedTuple

import numpy as np

from ezcli.envs.protocol import Env, EnvSpec, Step
from ezcli.errors import EnvError

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
    first_frame: np.ndarray | None  # uint8 [C, H, W] of the next episode, if this one is over
    finished: FinishedGame | None  # set when the game is over


class EnvLog(NamedTuple):
    """A running game, as something that JSON can hold."""

    seed: int
    actions: list[int]


class VectorEnv:
    """E environments that take one action each at a time.

    Args:
      make: builds one environment.
      num_envs: how many.
      rng: draws the seed of every new game, in the order of the environments. It belongs to the
        caller, who stores its state beside the logs of `save`.
    """

    def __init__(self, make: Callable[[], Env], num_envs: int, rng: np.random.Generator) -> None:
        assert num_envs >= 1
        self._games = [_Game(make()) for _ in range(num_envs)]
        self._rng = rng
        self.spec: EnvSpec = self._games[0].env.spec

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

    def restore(self, logs: Sequence[EnvLog]) -> None:
        """Plays each log again, in place of whatever was running."""
        assert len(logs) == len(self._games), "one log for each environment"
        for game, (seed, actions) in zip(self._games, logs, strict=True):
            game.replay(seed, actions)

    def _new_game(self, game: "_Game") -> np.ndarray:
        return game.reset(int(self._rng.integers(2**31)))

    def _advance(self, game: "_Game", action: int) -> Arrival:
        step = game.step(action)
        if not step.is_episode_over:
            return Arrival(step.frame, step.reward, False, None, None)
        # A lost life: one action leads on. Its reward is nobody's, but the score's.
        next_life = None if step.is_game_over else game.step(CONTINUE)
        if next_life is not None and not next_life.is_game_over:
            return Arrival(step.frame, step.reward, True, next_life.frame, None)
        finished = FinishedGame(game.score, len(game.actions))
        return Arrival(step.frame, step.reward, True, self._new_game(game), finished)


class _Game:
    """One environment, its running game's log and score, and the guard at its door."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self._name = type(env).__name__
        self._check_spec(getattr(env, "spec", None))
        self.seed = 0
        self.actions: list[int] = []
        self.score = 0.0

    def reset(self, seed: int) -> np.ndarray:
        self.seed, self.actions, self.score = seed, [], 0.0
        return self._checked_frame(self.env.reset(seed))

    def step(self, action: int) -> Step:
        assert 0 <= action < len(self.env.spec.action_names), f"there is no action {action}"
        step = self.env.step(action)
        if not isinstance(step, Step):
            raise self._broken(f"returned a {type(step).__name__} from `step`; it must be a `Step`")
        if not isinstance(step.reward, Real) or not math.isfinite(step.reward):
            raise self._broken(f"returned the reward {step.reward!r}; it must be a finite number")
        if step.is_game_over and not step.is_episode_over:
            raise self._broken("ended its game but not its episode; set `is_episode_over` too")
        frame = self._checked_frame(step.frame)
        self.actions.append(action)
        self.score += float(step.reward)
        return Step(frame, float(step.reward), bool(step.is_episode_over), bool(step.is_game_over))

    def replay(self, seed: int, actions: Sequence[int]) -> None:
        self.reset(seed)
        for action in actions:
            if self.step(action).is_game_over:
                raise self._broken(
                    f"ended its game after {len(self.actions)} of {len(actions)} replayed actions; "
                    "the same seed and actions must give the same game"
                )

    def _check_spec(self, spec: object) -> None:
        if not isinstance(spec, EnvSpec):
            raise self._broken("has no `spec`, or one that is not an `EnvSpec`")
        if len(spec.frame_shape) != 3 or min(spec.frame_shape) < 1:
            raise self._broken(
                f"has frame_shape {spec.frame_shape}; it must be three sizes, C, H, W"
            )
        if not spec.action_names:
            raise self._broken("has no actions; `action_names` is empty")

    def _checked_frame(self, frame: np.ndarray) -> np.ndarray:
        if not isinstance(frame, np.ndarray):
            raise self._broken(f"returned a {type(frame).__name__} as its frame, not a NumPy array")
        if frame.shape != tuple(self.env.spec.frame_shape):
            shape = tuple(self.env.spec.frame_shape)
            raise self._broken(f"returned a frame of shape {frame.shape}; its spec says {shape}")
        if frame.dtype != np.uint8:
            raise self._broken(f"returned a frame of {frame.dtype}; it must be uint8")
        return frame.copy()  # an environment may draw the next frame into the same array

    def _broken(self, what: str) -> EnvError:
        return EnvError(f"Environment {self._name!r} {what}.", "See ezcli/envs/protocol.py.")
