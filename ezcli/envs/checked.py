"""Checks everything that an environment returns against its contract.

A violation of `ezcli.envs.protocol` becomes a sentence that names it and its game, so that it can
be reproduced.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from numbers import Integral, Real
from typing import TypeVar

import numpy as np

from ezcli.envs.protocol import Env, EnvSpec, Step
from ezcli.envs.restored import restored, restored_quickly
from ezcli.errors import EnvError, EzError
from ezcli.settings import LARGEST_SCORE

LONGEST_MESSAGE = 200  # characters
LONGEST_NAME = 100  # characters of an action's name, shown in tables and films
LARGEST_CONTRACT = 100_000  # characters, as JSON
FRAME_TYPES = ("uint8", "float32")
DEEPEST_CONTRACT = 10  # levels of nested tables and lists
SHOWS = "`ez --debug` shows where."
Value = TypeVar("Value")


@contextmanager
def guarded(blame: Callable[[str], EnvError]) -> Iterator[None]:
    """Turns exceptions of a user's code into the error made by `blame`."""
    try:
        yield
    except (EzError, MemoryError, KeyboardInterrupt):  # Ctrl-C stops
        raise
    except BaseException as error:  # a user's code may raise anything
        raise blame(told(error)) from error


def told(error: BaseException) -> str:
    """Type and message of an exception of a user's code. Its message may raise too."""
    name = type(error).__name__
    try:
        message = str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as second:  # as above
        message = f"its message cannot be shown ({type(second).__name__})"
    return " ".join(f"{name}: {message}".split()).rstrip(".: ")[:LONGEST_MESSAGE]


class Checked:
    """An environment with checked results and copied frames.

    Args:
      make: builds the environment.
      name: its name in errors.
      max_env_steps: limit of one game, which is truncated there.
    """

    def __init__(self, make: Callable[[], Env], name: str, max_env_steps: int) -> None:
        self.name, self.max_env_steps = name, max_env_steps
        self.seed = self.env_steps = 0
        self.score = 0.0  # of the game so far
        self.env = self._asked("its constructor", make)
        self.spec = self._asked(
            "`spec`", lambda: self._checked_spec(getattr(self.env, "spec", None))
        )

    def reset(self, seed: int) -> np.ndarray:
        """Like `Env.reset`.

        Raises:
          EnvError: the environment broke its contract.
        """
        self.seed, self.env_steps, self.score = seed, 0, 0.0
        return self._checked_frame(self._asked("`reset`", lambda: self.env.reset(seed)))

    def step(self, action: int) -> Step:
        """Like `Env.step`.

        Raises:
          EnvError: the environment broke its contract.
        """
        assert 0 <= action < len(self.spec.action_names), f"there is no action {action}"
        with self._blamed("`step`"), restored_quickly():
            step = self._plain(self.env.step(action))
        self.env_steps += 1
        if not math.isfinite(step.reward):
            raise self.violation(f"returned the reward {step.reward!r}; it must be a finite number")
        self.score += step.reward
        if max(abs(step.reward), abs(self.score)) > LARGEST_SCORE:
            raise self.violation(
                f"has a reward of {step.reward:g} and a score of {self.score:g} in this game; "
                f"both must lie within -{LARGEST_SCORE:g} and {LARGEST_SCORE:g}",
                "Divide its rewards by a constant.",
            )
        if step.is_game_over and not step.is_episode_over:
            raise self.violation("ended its game but not its episode; set `is_episode_over` too")
        if step.is_truncated and not step.is_game_over:
            raise self.violation("truncated its game but did not end it; set `is_game_over` too")
        step = step._replace(frame=self._checked_frame(step.frame))
        if step.is_game_over or self.env_steps < self.max_env_steps:
            return step
        has_ended = step.is_episode_over  # as with a lost life: it has the value of an end
        return step._replace(is_episode_over=True, is_game_over=True, is_truncated=not has_ended)

    def _plain(self, step: Step) -> Step:
        """The step in our own types, read once, because a user's types may compute their values."""
        if not isinstance(step, Step):
            raise self.violation(
                f"returned a {type(step).__name__} from `step`; it must be a `Step`"
            )
        frame, reward = step.frame, step.reward
        flags = (step.is_episode_over, step.is_game_over, step.is_truncated)
        if not isinstance(reward, Real):
            raise self.violation(f"returned the reward {reward!r}; it must be a finite number")
        for name, flag in zip(Step._fields[2:], flags, strict=True):
            if not isinstance(flag, bool | np.bool_):
                raise self.violation(f"returned {flag!r} as `{name}`; it must be True or False")
        try:
            number = float(reward)
        except OverflowError:
            number = math.inf if reward > 0 else -math.inf
        return Step(frame, number, *map(bool, flags))

    def require_like(self, spec: EnvSpec) -> None:
        """Refuses frames or actions other than those of `spec`.

        Raises:
          EnvError: they differ.
        """
        for name in ("frame_shape", "action_names", "frame_type"):
            here, there = getattr(self.spec, name), getattr(spec, name)
            if here != there:
                raise self.violation(
                    f"has {name} {here} here but {there} elsewhere; it must not change"
                )

    def violation(self, what: str, hint: str = "See ezcli/envs/protocol.py.") -> EnvError:
        """The error about a violation, with its game."""
        return EnvError("EZ-ENV-CONTRACT", self._located(what), hint)

    def not_repeatable(self, what: str) -> EnvError:
        """The error about a replayed game that differs from the recorded one."""
        rule = "the same seed and actions must give the same game"
        return EnvError("EZ-ENV-NOT-REPEATABLE", self._located(f"{what}; {rule}"))

    def _located(self, what: str) -> str:
        """A sentence with the environment and the game."""
        where = f"seed {self.seed}, env_step {self.env_steps} of the game"
        return f"Environment {self.name!r} {what} ({where})."

    def _blamed(self, what: str) -> AbstractContextManager[None]:
        """Attributes all exceptions within the context to the environment."""
        return guarded(
            lambda told: EnvError(
                "EZ-ENV-FAILED", self._located(f"failed in {what}: {told}"), SHOWS
            )
        )

    def _asked(self, what: str, ask: Callable[[], Value]) -> Value:
        """Calls the environment."""
        with self._blamed(what), restored():
            return ask()

    def _checked_spec(self, spec: object) -> EnvSpec:
        if not isinstance(spec, EnvSpec):
            raise self.violation("has no `spec`, or one that is not an `EnvSpec`")
        shape, names = spec.frame_shape, spec.action_names
        if not isinstance(shape, tuple | list) or len(shape) != 3:
            raise self.violation(f"has frame_shape {shape!r}; it must be three sizes, C, H, W")
        if not all(isinstance(size, Integral) and size >= 1 for size in shape):
            raise self.violation(f"has frame_shape {shape!r}; its sizes must be whole and positive")
        if not isinstance(names, tuple | list) or not all(isinstance(n, str) for n in names):
            raise self.violation(f"has action_names {names!r}; it must be a tuple of strings")
        if not names:
            raise self.violation("has no actions; `action_names` is empty")
        if any(len(name) > LONGEST_NAME for name in names):
            raise self.violation(f"has an action name of more than {LONGEST_NAME} characters")
        if spec.frame_type not in FRAME_TYPES:
            raise self.violation(
                f"has frame_type {spec.frame_type!r}; it must be {' or '.join(FRAME_TYPES)}"
            )
        channels, height, width = map(int, shape)
        contract = self._checked_contract(spec.contract)
        shape = (channels, height, width)
        return EnvSpec(shape, tuple(map(str, names)), contract, spec.frame_type)

    def _checked_contract(self, contract: object) -> dict[str, object]:
        """The contract as it will be in a run's files, so that comparisons use written values."""
        if not isinstance(contract, dict):
            raise self.violation("has a `contract` that is not a table; it must be a dict")
        try:
            text = json.dumps(contract, allow_nan=False)
            table: dict[str, object] = json.loads(text, object_pairs_hook=distinct)
        except (TypeError, ValueError, RecursionError) as error:
            raise self.violation(f"has a `contract` that JSON cannot hold: {error}") from error
        if len(text) > LARGEST_CONTRACT:
            raise self.violation(
                f"has a `contract` of {len(text):,} characters as JSON; "
                f"it must have at most {LARGEST_CONTRACT:,}"
            )
        if is_nested(table, DEEPEST_CONTRACT):
            raise self.violation(f"has a `contract` of more than {DEEPEST_CONTRACT} levels")
        return table

    def _checked_frame(self, frame: object) -> np.ndarray:
        if not isinstance(frame, np.ndarray):
            raise self.violation(
                f"returned a {type(frame).__name__} as its frame, not a NumPy array"
            )
        with self._blamed("its frame"):
            frame = np.array(frame, subok=False)  # the next may be drawn into the same array
        if frame.shape != self.spec.frame_shape:
            raise self.violation(
                f"returned a frame of shape {frame.shape}, but its spec has {self.spec.frame_shape}"
            )
        if frame.dtype != self.spec.frame_type:
            raise self.violation(
                f"returned a frame of {frame.dtype}; it must be {self.spec.frame_type}"
            )
        if frame.dtype.kind == "f" and not np.isfinite(frame).all():
            raise self.violation("returned a frame with a value that is not finite")
        return frame


def distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A table of JSON.

    Raises:
      ValueError: two keys, such as 1 and "1", are the same as text.
    """
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"two of its keys are {twice[:LONGEST_NAME]!r} as text")
    return table


def is_nested(value: object, levels: int) -> bool:
    """Whether tables and lists are nested on more levels than `levels`."""
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, list) and (
        not levels or any(is_nested(inner, levels - 1) for inner in value)
    )
