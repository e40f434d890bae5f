"""Estimates with intervals from scores of several runs. Plain NumPy; generators are arguments.

Scores of one agent are a list with an array for each game and an element for each run. Games may
have different numbers of runs, and have equal weight. All intervals have a nominal coverage of 95
%:

- of one game's mean, or of a difference: Student's t, whose coverage holds with few runs;
- of an aggregate over games: percentiles of a bootstrap stratified by game (Agarwal et al., NeurIPS
  2021). Its coverage falls with few runs: `tests/reports/test_coverage.py` measures how much.

Equal values have no interval and no p: with few runs, discrete scores can be equal by chance.
Otherwise two pairs of binary scores would call an arm better or worse in 9 % of studies without a
difference (`test_false_verdicts.py`).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

RESAMPLES = 50_000
CONFIDENCE = 0.95
CHUNK = 5_000  # resamples at a time, to limit memory
RESAMPLING = 1e-6  # the same for resamples, which are float32
ROUNDING = 1e-9  # relative size below which a variation is considered rounding
TAILS = (100 * (1 - CONFIDENCE) / 2, 100 * (1 + CONFIDENCE) / 2)

UNBOUNDED = (-np.inf, np.inf)
CORRELATION = (-1.0, 1.0)
SHARE = (0.0, 1.0)  # and probabilities
SIZE = (0.0, np.inf)  # of an error

Scores = Sequence[np.ndarray]
Counts = Sequence[np.ndarray]  # [n, R] for each game: count of each run in each resample
Aggregate = Callable[[Scores, Counts], np.ndarray]


class Estimate(NamedTuple):
    """An estimate and its 95 % interval, which is None for a single run or equal runs."""

    value: float
    low: float | None
    high: float | None
    runs: int  # per game; the smallest number if games differ

    @property
    def does_not_vary(self) -> bool:
        """Whether there are several runs with equal values, and so no interval."""
        return self.low is None and self.runs > 1

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class Difference(NamedTuple):
    """A mean difference with its p: the probability of one at least as large without an effect."""

    estimate: Estimate
    p: float | None


def student(
    values: Scores, size: float = 0.0, within: tuple[float, float] = UNBOUNDED
) -> Difference:
    """Mean over games of the mean of each game's values [n], with Student's t interval and test.

    Args:
      values: array for each game; paired differences for the paired t-test.
      size: the largest score that the values are differences of. A spread that is negligible
        relative to it, or to the values, is considered rounding.
      within: all values that the mean can have. The interval ends there, which takes nothing from
        its coverage.

    The variance is the sum over games, and the degrees of freedom are Welch and Satterthwaite's.
    With one game and paired differences this is the paired t-test.
    """
    sizes = np.array([len(game) for game in values])
    value = float(np.mean([game.mean() for game in values]))
    if sizes.min() < 2:
        return Difference(Estimate(value, None, None, int(sizes.min())), None)
    parts = np.array([game.var(ddof=1) / len(game) for game in values]) / len(values) ** 2
    variance = parts.sum()
    size = max(size, *(float(np.abs(game).max()) for game in values))
    if np.sqrt(variance) <= ROUNDING * size:
        return Difference(Estimate(value, None, None, int(sizes.min())), None)
    degrees = 1 / ((parts / variance) ** 2 / (sizes - 1)).sum()  # squares of shares cannot overflow
    error = np.sqrt(variance)
    half = float(stdtrit(degrees, (1 + CONFIDENCE) / 2) * error)
    p = float(2 * stdtr(degrees, -abs(value) / error))
    least, most = (end(within[i], *map(end, values)) for i, end in enumerate((min, max)))
    low, high = max(value - half, float(least)), min(value + half, float(most))
    return Difference(Estimate(value, low, high, int(sizes.min())), p)


def mean(scores: Scores, counts: Counts) -> np.ndarray:
    """Mean [R] over games of the mean over runs."""
    result: np.ndarray = game_means(scores, counts).mean(0)
    return result


def median(scores: Scores, counts: Counts) -> np.ndarray:
    """Median [R] over games of the mean over runs."""
    result: np.ndarray = np.median(game_means(scores, counts), axis=0)
    return result


def optimality_gap(scores: Scores, counts: Counts) -> np.ndarray:
    """Mean distance [R] of runs to the human score of 1; runs above it count as 1."""
    return 1 - mean([np.minimum(values, 1) for values in scores], counts)


def iqm(scores: Scores, counts: Counts) -> np.ndarray:
    """Interquartile mean [R] over all runs of all games.

    The weight of a run is one over its game's number of runs. As in SciPy and rliable, a quarter of
    the runs, rounded down, is cut off at each end.
    """
    pooled = np.concatenate(scores)
    order = np.argsort(pooled, kind="stable")
    weights = np.repeat([1 / len(values) for values in scores], [len(values) for values in scores])
    total = len(scores)
    cut = len(pooled) // 4 / len(pooled) * total
    # [N, R] cumulative weight of sorted runs between the two cuts. Summation by parts: the trimmed
    # mean is the highest score minus every step in score times the weight below it.
    below = np.concatenate(counts)[order]
    below *= weights[order, None].astype(below.dtype)
    np.cumsum(below, axis=0, out=below)
    np.clip(below, cut, total - cut, out=below)
    below -= below.dtype.type(cut)
    steps = np.diff(pooled[order]).astype(below.dtype)
    result: np.ndarray = pooled[order[-1]] - steps @ below[:-1] / (total - 2 * cut)
    return result


AGGREGATES: dict[str, Aggregate] = {
    "mean": mean,
    "median": median,
    "iqm": iqm,
    "optimality_gap": optimality_gap,
}


def game_means(scores: Scores, counts: Counts) -> np.ndarray:
    """Mean [games, R] over each game's runs."""
    return np.stack([v.astype(c.dtype) @ c / len(v) for v, c in zip(scores, counts, strict=True)])


def once(scores: Scores) -> Counts:
    """One resample that contains each run once."""
    return [np.ones((len(values), 1)) for values in scores]


def resample(rng: np.random.Generator, sizes: Sequence[int], resamples: int) -> Counts:
    """Draws counts [n, R] float32 for each game, for a bootstrap stratified by game."""
    columns = np.arange(resamples)
    drawn = []
    for n in sizes:
        cells = rng.integers(n, size=(n, resamples)) * resamples + columns
        counts = np.bincount(cells.ravel(), minlength=n * resamples)
        drawn.append(counts.reshape(n, resamples).astype(np.float32))
    return drawn


def estimates(
    scores: Scores,
    rng: np.random.Generator,
    functions: dict[str, Aggregate] = AGGREGATES,
    resamples: int = RESAMPLES,
) -> dict[str, Estimate]:
    """All aggregates of an agent's scores, with bootstrap intervals.

    There are no intervals if a game has one run: its spread is unknown, and without it the interval
    would be too narrow.
    """
    sizes = [len(values) for values in scores]
    values = {name: float(f(scores, once(scores))[0]) for name, f in functions.items()}
    if min(sizes) < 2:
        return {name: Estimate(value, None, None, 1) for name, value in values.items()}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in functions}
    for first in range(0, resamples, CHUNK):
        counts = resample(rng, sizes, min(CHUNK, resamples - first))
        for name, function in functions.items():
            drawn[name].append(function(scores, counts))
    return {name: between(values[name], drawn[name], min(sizes)) for name in functions}


def between(value: float, drawn: Sequence[np.ndarray], runs: int) -> Estimate:
    """A value with the percentiles of its resamples, or without an interval if they are equal."""
    low, high = np.percentile(np.concatenate(drawn), TAILS)
    if high - low <= RESAMPLING * max(abs(value), abs(low), abs(high)):
        return Estimate(value, None, None, runs)
    return Estimate(value, float(low), float(high), runs)


def difference_of(aggregate: Aggregate) -> Aggregate:
    """The difference of an aggregate between two arms, for resampling by pairs.

    Its scores are [n, 2] for each game: a pair has the two arms with one seed.
    """

    def difference(scores: Scores, counts: Counts) -> np.ndarray:
        one, other = ([pairs[:, arm] for pairs in scores] for arm in (0, 1))
        return aggregate(one, counts) - aggregate(other, counts)

    return difference


def probability_of_improvement(
    ours: Scores, theirs: Scores, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Estimate:
    """Mean over games of the probability that a run of ours beats one of theirs; a tie counts 1/2.

    This is Mann and Whitney's U, normalised. The interval is a bootstrap of both sides (Agarwal et
    al.).
    """
    wins = [(x[:, None] > y) + 0.5 * (x[:, None] == y) for x, y in zip(ours, theirs, strict=True)]
    value = float(np.mean([table.mean() for table in wins]))
    rows, columns = ([table.shape[axis] for table in wins] for axis in (0, 1))
    runs = min(*rows, *columns)
    if runs < 2:
        return Estimate(value, None, None, runs)
    drawn = []
    for first in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - first)
        sides = zip(resample(rng, rows, size), resample(rng, columns, size), wins, strict=True)
        shares = [((table.T @ i) * j).sum(0) / table.size for i, j, table in sides]
        drawn.append(np.mean(shares, axis=0))
    return between(value, drawn, runs)


def profile(scores: Scores, thresholds: np.ndarray) -> np.ndarray:
    """Share of runs [T] above each threshold, with equal weight for games (Agarwal et al.)."""
    shares = [(values[:, None] > thresholds).mean(0) for values in scores]
    result: np.ndarray = np.mean(shares, axis=0)
    return result


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p values: at 0.05, the family of tests errs in at most 5 % of studies."""
    adjusted = np.empty(len(ps))
    highest = 0.0
    for rank, index in enumerate(np.argsort(ps, kind="stable")):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = highest
    return [float(p) for p in adjusted]
