"""Converts observations of Gymnasium to frames, and defines the supported spaces.

Images are uint8; booleans and bounded numbers are scaled to 0 to 255. A vector becomes float32
numbers of the order of 1: scaled to -1 to 1 by its bounds, or without bounds by the symmetric
logarithm, sign(x) log(1 + |x|) (Hafner et al. 2023, arXiv:2301.04104).
"""

from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from ezcli.errors import EnvError, UnknownName

UNBOUNDED = 1e6  # a bound beyond this is considered missing
WRAPPERS = "gymnasium.wrappers"


class View(NamedTuple):
    """How observations of one space become frames."""

    key: str  # of the entry in a Dict; empty: the observation itself
    kind: str  # image or vector
    channel_axis: int | None  # axis of channels of an image; None if it has none
    low: np.ndarray  # of the space's shape
    high: np.ndarray
    is_exact: bool  # a uint8 image, which is not scaled

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        shape = self.shaped(self.low).shape
        return shape[0], shape[1], shape[2]

    @property
    def frame_type(self) -> str:
        """The type of frames."""
        return "float32" if self.kind == "vector" else "uint8"

    def shaped(self, array: np.ndarray) -> np.ndarray:
        """Rearranges an array of the space's shape to [C, H, W]."""
        if self.kind == "vector":
            return array[None, None]
        return (
            array[None] if self.channel_axis is None else np.moveaxis(array, self.channel_axis, 0)
        )

    def frame(self, observation: Any) -> np.ndarray:
        """Converts an observation to a frame."""
        array = np.asarray(observation[self.key] if self.key else observation)
        if not self.is_exact:
            array = self.scaled(array.astype(np.float64))
        return np.ascontiguousarray(self.shaped(array))

    def scaled(self, numbers: np.ndarray) -> np.ndarray:
        """Scales numbers of the space to the scale of frames."""
        is_bounded = np.maximum(np.abs(self.low), np.abs(self.high)) <= UNBOUNDED
        low, high = np.where(is_bounded, self.low, 0), np.where(is_bounded, self.high, 1)
        share = (numbers - low) / np.where(high > low, high - low, 1)
        if self.kind == "image":
            return np.round(share.clip(0, 1) * 255).astype(np.uint8)
        symlog = np.sign(numbers) * np.log1p(np.abs(numbers))
        return np.where(is_bounded, 2 * share - 1, symlog).astype(np.float32)

    def contract(self) -> dict[str, object]:
        """The entries for the contract of a run."""
        found: dict[str, object] = {"observation": self.kind}
        if self.key:
            found["observation_key"] = self.key
        if self.channel_axis is not None:
            found["channel_axis"] = "first" if self.channel_axis == 0 else "last"
        if not self.is_exact:
            found |= {"low": told(self.low), "high": told(self.high)}
        return found


def told(bounds: np.ndarray) -> object:
    """Bounds as JSON: one if all are equal, one for each number of a vector, or the extremes."""
    if bounds.min() == bounds.max():
        return bound(bounds.flat[0])
    shown = bounds if bounds.ndim == 1 else (bounds.min(), bounds.max())
    return [bound(number) for number in shown]


def bound(number: float) -> float | str:
    """One bound, to six digits."""
    return float(f"{number:.6g}") if abs(number) <= UNBOUNDED else "none"


def view_of(space: spaces.Space[Any], env_id: str, key: str, axis: str) -> View:
    """Chooses the conversion of observations to frames.

    Args:
      space: space of the observations.
      env_id: id for errors.
      key: `env.observation_key`.
      axis: `env.channel_axis`.

    Raises:
      EzError: the space is not supported, or the Dict has no such entry.
    """
    if isinstance(space, spaces.Dict):
        key = key or only_image(space, env_id)
        if key not in space.spaces:
            raise UnknownName("observation key", key, space.spaces)
        inner = view_of(space.spaces[key], env_id, "", axis)
        return inner._replace(key=key)
    if key:
        raise EnvError(
            "EZ-ENV-NO-DICT",
            f"Observations of {env_id!r} are a {type(space).__name__} without entries, so "
            f"env.observation_key = {key!r} has no effect.",
            "Leave env.observation_key out.",
        )
    if not isinstance(space, spaces.Box):
        flat = isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)
        flat = flat or (isinstance(space, spaces.Tuple) and space.is_np_flattenable)
        raise unsupported(
            f"observations of {env_id!r} are of the space {type(space).__name__}",
            "FlattenObservation" if flat else "TransformObservation",
        )
    shape, low, high = space.shape, np.asarray(space.low), np.asarray(space.high)
    if len(shape) not in (1, 2, 3):
        raise unsupported(
            f"observations of {env_id!r} have the shape {shape}",
            "ReshapeObservation" if shape else "FlattenObservation",
        )
    if not np.prod(shape):
        raise unsupported(f"observations of {env_id!r} are empty", "TransformObservation")
    kind = "vector" if len(shape) == 1 else "image"
    is_exact = kind == "image" and space.dtype == np.uint8
    low, high = low.astype(np.float64), high.astype(np.float64)
    if kind == "image" and not is_exact and max(np.abs(low).max(), np.abs(high).max()) > UNBOUNDED:
        raise unsupported(
            f"observations of {env_id!r} are images of {space.dtype} without bounds",
            "TransformObservation",
        )
    return View("", kind, channel_axis(shape, axis), low, high, is_exact)


def channel_axis(shape: tuple[int, ...], axis: str) -> int | None:
    """The axis of an image's channels; None if there is none."""
    if len(shape) < 3:
        return None
    if axis == "auto":
        axis = "first" if shape[0] < min(shape[1:]) else "last"
    return 0 if axis == "first" else 2


def only_image(space: spaces.Dict, env_id: str) -> str:
    """The key of the only image entry.

    Raises:
      EnvError: no entry or several entries are images.
    """
    boxes = [key for key, one in space.spaces.items() if isinstance(one, spaces.Box)]
    images = [key for key in boxes if len(space.spaces[key].shape or ()) in (2, 3)] or boxes
    if len(images) == 1:
        return str(images[0])
    if not boxes:
        raise unsupported(
            f"observations of {env_id!r} are a Dict without a Box entry: {', '.join(space.spaces)}",
            "FlattenObservation",
        )
    raise EnvError(
        "EZ-ENV-OBSERVATION-KEY",
        f"Observations of {env_id!r} have several entries: {', '.join(space.spaces)}.",
        f"Choose one: --set env.observation_key={images[0]}",
    )


def num_actions(space: spaces.Space[Any], env_id: str) -> tuple[int, int]:
    """The number of actions, and the index of the first.

    Raises:
      EnvError: they are not discrete.
    """
    if isinstance(space, spaces.Discrete):
        return int(space.n), int(space.start)
    wrapper = "DiscretizeAction" if isinstance(space, spaces.Box) else "TransformAction"
    raise unsupported(f"actions of {env_id!r} are of the space {type(space).__name__}", wrapper)


def unsupported(what: str, wrapper: str) -> EnvError:
    """The error about an unsupported space."""
    return EnvError(
        "EZ-ENV-SPACE",
        f"The {what}. ezcli supports discrete actions, and observations that are an image, a "
        "vector, or a Dict with one of these.",
        f"Register an id that wraps it in {WRAPPERS}.{wrapper}, and use --env gym:MODULE:ID.",
    )
