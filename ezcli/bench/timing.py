"""Times a piece of work by repetition."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

LEAST = 5  # least number of repeats


class Timing(NamedTuple):
    """Seconds that a piece of work takes."""

    median: float
    low: float  # first quartile
    high: float  # third quartile
    repeats: int


def timed(work: Callable[[], object], budget: float, least: int = LEAST) -> Timing:
    """Times `work` for `budget` seconds and at least `least` times, after one untimed run."""
    work()
    taken: list[float] = []
    while len(taken) < least or sum(taken) < budget:
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    low, median, high = statistics.quantiles(taken, n=4)
    return Timing(median, low, high, len(taken))
