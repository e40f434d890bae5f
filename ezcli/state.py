"""The state of each part of a run: how a part returns it, and checks it when it is restored.

A state is a table of arrays, JSON values and blobs. The code that stores states (`runs.checkpoint`)
depends on nothing else. A state that was read may be forged, and its arrays may still be on disk.
So a part checks names, types and shapes before it reads an array, and then the values.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Protocol, Self, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, ValidationError

from ezcli.errors import CheckpointError
from ezcli.settings import LARGEST

State = dict[str, Any]
LARGEST_FLOAT = float(np.finfo(np.float32).max)
LONGEST_NAME = 80  # characters shown of the name of a wrong entry

Count = Annotated[int, Field(ge=0, lt=LARGEST)]
Number = Annotated[float, Field(ge=-LARGEST_FLOAT, le=LARGEST_FLOAT)]


class Part(Protocol):
    """A component of a run whose state is saved with the run."""

    def state(self) -> State:
        """Returns what `restore` needs.

        It may share memory with the part, so it must be used before the part changes.
        """

    def restore(self, state: State) -> None:
        """Restores a state of a part that was built in the same way.

        Raises:
          CheckpointError: names the entry that does not fit.
        """


@dataclass
class Blob:
    """Immutable bytes. They are stored once, even if several states contain them."""

    chunks: Callable[[], Iterator[bytes]]  # all of them, in chunks of any size
    sha256: str = ""  # of the file that contains them, once it is written


class Layout(NamedTuple):
    """Type, shape and range of an array. Floats must be finite."""

    dtype: type
    shape: tuple[int, ...]
    low: float = -math.inf
    high: float = math.inf

    @classmethod
    def of(cls, array: np.ndarray, low: float = -math.inf, high: float = math.inf) -> Self:
        """The layout of an array, with this range."""
        return cls(array.dtype.type, array.shape, low, high)


class Table(BaseModel):
    """A table of JSON values. Unknown names are refused."""

    model_config = ConfigDict(strict=True, extra="forbid")


AnyTable = TypeVar("AnyTable", bound=Table)


def rows_of(width: int, may_be_nan: int = 0) -> Any:
    """The type of a list of rows of `width` numbers, of which the last `may_be_nan` may be NaN."""

    def check(row: list[float]) -> list[float]:
        if len(row) != width:
            raise ValueError(f"it has {len(row)} numbers, not {width}")
        for column, number in enumerate(row):
            may_be = math.isnan(number) and column >= width - may_be_nan
            if not (may_be or abs(number) <= LARGEST_FLOAT):
                raise ValueError(f"the number {number} is out of range")
        return row

    return Annotated[list[Annotated[list[float], AfterValidator(check)]], FailFast()]


def misfit(why: str) -> CheckpointError:
    """The error about a state that a part cannot restore."""
    return CheckpointError("EZ-CHECKPOINT-CONTENT", why)


def require(condition: object, why: str) -> None:
    """Refuses a state if a condition does not hold.

    Raises:
      CheckpointError: with the reason.
    """
    if not condition:
        raise misfit(why)


def states_of(parts: Mapping[str, Part]) -> dict[str, State]:
    """The state of each part, by its name."""
    return {name: part.state() for name, part in parts.items()}


def restore_parts(parts: Mapping[str, Part], states: Mapping[str, State]) -> None:
    """Restores the parts in order, so that a part can use those restored before it.

    Raises:
      CheckpointError: a state is missing, belongs to no part, or has an entry that does not fit.
        The message names the part and the entry.
    """
    for name in sorted(states.keys() ^ parts.keys()):
        known = "is missing" if name in parts else "belongs to no part of this run"
        raise misfit(f"{name[:LONGEST_NAME]!r} {known}")
    for name, part in parts.items():
        try:
            part.restore(states[name])
        except CheckpointError as error:
            raise CheckpointError("EZ-CHECKPOINT-CONTENT", f"{name}: {error.message}") from error


def is_array(value: object) -> bool:
    """Whether an entry of a state is an array, in memory or on disk."""
    return hasattr(value, "__array__")


def split(state: State) -> tuple[State, State]:
    """Splits a state into other entries and arrays."""
    arrays = {name: value for name, value in state.items() if is_array(value)}
    return {name: value for name, value in state.items() if name not in arrays}, arrays


def joined(states: Mapping[str, State]) -> State:
    """Joins several states into one: the entry `b` of the state `a` becomes `a.b`."""
    return {f"{name}.{key}": value for name in states for key, value in states[name].items()}


def parted(state: State, names: Iterable[str]) -> dict[str, State]:
    """The inverse of `joined`: returns the state of each of `names`.

    Raises:
      CheckpointError: names the first entry that belongs to none of them.
    """
    states: dict[str, State] = {name: {} for name in names}
    for key, value in state.items():
        name, _, rest = key.partition(".")
        require(name in states, f"{key[:LONGEST_NAME]!r} does not belong in it")
        states[name][rest] = value
    return states


def read_table(schema: type[AnyTable], table: object) -> AnyTable:
    """Validates a table of values against a schema.

    Raises:
      CheckpointError: names the first wrong entry.
    """
    try:
        return schema.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        entry = ".".join(str(part) for part in first["loc"])[:LONGEST_NAME] or "all of it"
        message = f"{entry}: {first['msg'][:1].lower()}{first['msg'][1:]}"
        raise misfit(message) from error


def read_arrays(
    layouts: Mapping[str, Layout], state: State, optional: Iterable[str] = ()
) -> dict[str, np.ndarray]:
    """Reads arrays. All layouts are checked before any array is read.

    Args:
      layouts: the layout of every allowed entry.
      state: contains arrays only.
      optional: names of entries that may be missing.

    Raises:
      CheckpointError: names the first entry that does not fit.
    """
    for name in sorted(state.keys() - layouts.keys()):
        raise misfit(f"{name[:LONGEST_NAME]!r} does not belong in it")
    for name in sorted(layouts.keys() - state.keys() - set(optional)):
        raise misfit(f"{name!r} is missing")
    for name, value in state.items():
        needed = layouts[name]
        require(is_array(value), f"{name!r} is not an array")
        has, needs = np.dtype(value.dtype), np.dtype(needed.dtype)
        fits = (has, tuple(value.shape)) == (needs, needed.shape)
        require(fits, f"{name!r} is {has} {list(value.shape)}, not {needs} {list(needed.shape)}")
    found = {name: np.asarray(value) for name, value in state.items()}
    for name, array in found.items():
        require_in_range(name, array, layouts[name].low, layouts[name].high)
    return found


def require_in_range(name: str, array: np.ndarray, low: float, high: float) -> None:
    """Refuses an array with a value that is not finite or out of range.

    Raises:
      CheckpointError: names the array.
    """
    if array.dtype == np.bool_:
        require((array.view(np.uint8) <= 1).all(), f"{name!r} is not a packed array of bits")
        return
    if array.dtype.kind == "f":
        require(np.isfinite(array).all(), f"{name!r} is not finite")
        high = min(high, LARGEST_FLOAT)
    in_range = (array >= low).all() and (array <= high).all()
    require(in_range, f"{name!r} is not between {low} and {high}")
