"""One seed, many independent streams of random numbers, each with a name."""

import zlib

import numpy as np

STREAMS = ("environments", "acting", "replay", "reanalysis", "augmentation")


def generator(seed: int, name: str, *indices: int) -> np.random.Generator:
    """The stream `name` of a run; `indices` tell apart streams that are used once each."""
    entropy = (seed, zlib.crc32(name.encode()), *indices)
    return np.random.default_rng(np.random.SeedSequence(entropy))


def network_seed(seed: int) -> int:
    """Seed of the first weights: equal in every arm of a study."""
    return int(generator(seed, "network").integers(2**31))
