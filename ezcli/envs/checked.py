"""The guard at an environment's door: what passes has been checked against the contract.

Whatever an environment does, its own code or a user's, becomes a sentence that names what broke
`ezcli.envs.protocol` and in which game, so that it can be played again.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import TypeVar

import numpy as np

from ezcli.envs.protocol import Env, EnvSpec, Step
from ezcli.errors import EnvError, EzError

LARGEST_REWARD = 1e30  # sums of it still fit float32, in which rewards are kept
LONGEST_MESSAGE = 200  # characters
SHOWS = "`ez --debug` shows where."
Value = TypeVar("Value")


@contextmanager
def guarded(blame: Callable[[str], EnvError]) -> Iterator[None]:
    """Turns whatever a user's code raises into the error that `blame` makes of it."""
    try:
        yield
    except (EzError, MemoryError):
        raise
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        told = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".: ")
        raise blame(told[:LONGEST_MESSAGE]) from error


class Checked:
    """An environment whose every answer is checked; frames are copied.

    Args:
      make: builds the environment.
      name: what to call it in an error.
      max_env_steps: of one game; then it is over whatever the environment says.
    """

    def __init__(self, make: Callable[[], Env], name: str, max_env_steps: int) -> None:
        self.name, self.max_env_steps = name, max_env_steps
        self.seed = self.env_steps = 0
        self.env = self._asked("its constructor", make)
        self.spec = self._checked_spec(
            self._asked("`spec`", lambda: getattr(self.env, "spec", None))
        )

    def reset(self, seed: int) -> np.ndarray:
        """As `Env.reset`.

        Raises:
          EnvError: the environment broke its contract.
        """
        self.seed, self.env_steps = seed, 0
        return self._checked_frame(self._asked("`reset`", lambda: self.env.reset(seed)))

    def step(self, action: int) -> Step:
        """As `Env.step`.

        Raises:
          EnvError: the environment broke its contract.
        """
        assert 0 <= action < len(self.spec.action_names), f"there is no action {action}"
        step = self._asked("`step`", lambda: self.env.step(action))
        self.env_steps += 1
        if not isinstance(step, Step):
            raise self.broken(f"returned a {type(step).__name__} from `step`; it must be a `Step`")
        reward, episode, game = step.reward, step.is_episode_over, step.is_game_over
        if not isinstance(reward, Real) or reward != reward or abs(reward) == math.inf:
            raise self.broken(f"returned the reward {reward!r}; it must be a finite number")
        if abs(reward) > LARGEST_REWARD:
            raise self.broken("returned a reward beyond -1e30 to 1e30, which cannot be summed")
        for flag, value in (("is_episode_over", episode), ("is_game_over", game)):
            if not isinstance(value, bool | np.bool_):
                raise self.broken(f"returned {value!r} as `{flag}`; it must be True or False")
        if game and not episode:
            raise self.broken("ended its game but not its episode; set `is_episode_over` too")
        is_cut = self.env_steps >= self.max_env_steps
        frame = self._checked_frame(step.frame)
        return Step(frame, float(reward), bool(episode) or is_cut, bool(game) or is_cut)

    def require_like(self, spec: EnvSpec) -> None:
        """Refuses frames or actions other than those of `spec`.

        Raises:
          EnvError: they differ.
        """
        for name, here, there in zip(EnvSpec._fields[:2], self.spec, spec, strict=False):
            if here != there:
                raise self.broken(f"has {name} {here} here and {there} elsewhere; it must be one")

    def broken(self, what: str, hint: str = "See ezcli/envs/protocol.py.") -> EnvError:
        """The error that says what the environment did, and in which game."""
        where = f" (seed {self.seed}, env_step {self.env_steps} of the game)"
        return EnvError(f"Environment {self.name!r} {what}{where}.", hint)

    def _asked(self, what: str, ask: Callable[[], Value]) -> Value:
        """What the environment answers; anything that it raises is its own defect."""
        with guarded(lambda told: self.broken(f"failed in {what}: {told}", SHOWS)):
            return ask()

    def _checked_spec(self, spec: object) -> EnvSpec:
        if not isinstance(spec, EnvSpec):
            raise self.broken("has no `spec`, or one that is not an `EnvSpec`")
        shape, names = spec.frame_shape, spec.action_names
        if not isinstance(shape, tuple | list) or len(shape) != 3:
            raise self.broken(f"has frame_shape {shape!r}; it must be three sizes, C, H, W")
        if not all(isinstance(size, Integral) and size >= 1 for size in shape):
            raise self.broken(f"has frame_shape {shape!r}; its sizes must be whole and positive")
        if not isinstance(names, tuple | list) or not all(isinstance(n, str) for n in names):
            raise self.broken(f"has action_names {names!r}; it must be a tuple of strings")
        if not names:
            raise self.broken("has no actions; `action_names` is empty")
        try:
            json.dumps(spec.contract, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise self.broken(f"has a `contract` that JSON cannot hold: {error}") from error
        channels, height, width = map(int, shape)
        return EnvSpec((channels, height, width), tuple(names), spec.contract)

    def _checked_frame(self, frame: np.ndarray) -> np.ndarray:
        if not isinstance(frame, np.ndarray):
            raise self.broken(f"returned a {type(frame).__name__} as its frame, not a NumPy array")
        if frame.shape != self.spec.frame_shape:
            raise self.broken(
                f"returned a frame of shape {frame.shape}; its spec says {self.spec.frame_shape}"
            )
        if frame.dtype != np.uint8:
            raise self.broken(f"returned a frame of {frame.dtype}; it must be uint8")
        return frame.copy()  # an environment may draw the next frame into the same array
