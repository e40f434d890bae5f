"""Independent named streams of random numbers from one seed."""

import zlib
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field, create_model

from ezcli.state import State, Table, read_table

STREAMS = ("environments", "acting", "replay", "reanalysis", "augmentation")


def odd(value: int) -> int:
    """Refuses even increments, which PCG64 does not have."""
    if value % 2 == 0:
        raise ValueError("it is even")
    return value


class Pcg64(Table):
    """The two state variables of NumPy's PCG64."""

    state: int = Field(ge=0, lt=2**128)
    inc: Annotated[int, Field(ge=0, lt=2**128), AfterValidator(odd)]


class StreamState(Table):
    """`bit_generator.state` of a stream."""

    bit_generator: Literal["PCG64"]
    state: Pcg64
    has_uint32: int = Field(ge=0, le=1)
    uinteger: int = Field(ge=0, lt=2**32)


class Streams(dict[str, np.random.Generator]):
    """The streams that a run draws from, by name."""

    def __init__(self, seed: int) -> None:
        super().__init__({name: generator(seed, name) for name in STREAMS})

    def state(self) -> State:
        """The state of each stream."""
        return {name: stream.bit_generator.state for name, stream in self.items()}

    def restore(self, state: State) -> None:
        """Raises CheckpointError: other streams, or a state that PCG64 does not have."""
        fields: dict[str, Any] = dict.fromkeys(self, (StreamState, ...))
        found = read_table(create_model("StreamStates", __base__=Table, **fields), state)
        for name, stream in self.items():
            stream.bit_generator.state = getattr(found, name).model_dump()


def generator(seed: int, name: str, *indices: int) -> np.random.Generator:
    """The stream `name` of a run; `indices` distinguish streams that are used once each."""
    entropy = (seed, zlib.crc32(name.encode()), *indices)
    return np.random.default_rng(np.random.SeedSequence(entropy))


def network_seed(seed: int, part: str = "network") -> int:
    """Seed of the initial weights: equal in every arm of a study.

    Args:
      seed: of the run.
      part: an additional module, with a separate seed for its weights.
    """
    return int(generator(seed, part).integers(2**31))
