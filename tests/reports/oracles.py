"""Reference implementations for tests of the statistics."""

import math

import numpy as np


def are_percentiles(interval, drawn):
    """Whether an interval's ends cut off 2.5 % of what was drawn, within Monte-Carlo error.

    An end may be a value that many resamples have: then 2.5 % lie between those below it and those
    up to it.
    """
    drawn, noise = np.array(drawn), 4 * math.sqrt(0.025 * 0.975 / len(drawn))
    cut_off = [(drawn < interval[0] - 1e-6).mean(), (drawn > interval[1] + 1e-6).mean()]
    reached = [(drawn < interval[0] + 1e-6).mean(), (drawn > interval[1] - 1e-6).mean()]
    return max(cut_off) <= 0.025 + noise and min(reached) >= 0.025 - noise
