"""The scale of values without PyTorch, so that a config can compute the range of its support."""

import math
from collections.abc import Callable
from typing import Any

EPSILON = 0.001  # slope of the linear part of h (`support.squash`)


def unsquashed(z: Any, sqrt: Callable[[Any], Any]) -> Any:
    """The inverse of h for z >= 0: a float or a tensor, and the square root for it.

    The textbook form ((sqrt(1 + 4 e (z + 1 + e)) - 1) / (2 e))**2 - 1 subtracts nearly equal
    numbers; multiplying by the conjugate keeps float32 exact to its precision.
    """
    root = sqrt(1 + 4 * EPSILON * (z + 1 + EPSILON))
    excess = 2 * z / (root + 1 + 2 * EPSILON)  # sqrt(|x| + 1) - 1
    return excess * (excess + 2)


def largest_value(support: int) -> float:
    """The largest value that `support` atoms on each side of 0 represent.

    Larger values are clipped.
    """
    return float(unsquashed(support, math.sqrt))
