"""Scores of several runs to numbers with intervals. Plain NumPy; every generator is an argument.

Scores of one agent are a list with an array for each game, an element for each run; games may have
different numbers of runs, and every game weighs the same. All intervals are of 95 %:

- of one game's mean, or of a difference: Student's t, whose coverage does not suffer from few runs;
- of an aggregate over games: percentiles of a bootstrap stratified by game (Agarwal et al., NeurIPS
  2021). Its coverage does: see `tests/reports/test_coverage.py` for how much.

Values that do not vary have no interval and no p: a variance of 0 from a few runs is what equal
scores on a grid give by chance, not a certainty. Two pairs of binary scores would call an arm
better or worse in 9 % of studies without a difference (`test_false_verdicts.py`).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

RESAMPLES = 50_000
CONFIDENCE = 0.95
CHUNK = 5_000  # resamples at a time, which bounds memory
RESAMPLING = 1e-6  # likewise of resamples, which are in float32
ROUNDING = 1e-9  # share of a score's size below which a variation is rounding
TAILS = (100 * (1 - CONFIDENCE) / 2, 100 * (1 + CONFIDENCE) / 2)

UNBOUNDED = (-np.inf, np.inf)
CORRELATION = (-1.0, 1.0)
SHARE = (0.0, 1.0)  # and probabilities
SIZE = (0.0, np.inf)  # of an error

Scores = Sequence[np.ndarray]
Counts = Sequence[np.ndarray]  # [n, R] for each game: how often each run is in each resample
Aggregate = Callable[[Scores, Counts], np.ndarray]


class Estimate(NamedTuple):
    """A number and its 95 % interval; None where one run, or equal ones, tell of no spread."""

    value: float
    low: float | None
    high: float | None
    runs: int  # of each game; the smallest number where they differ

    @property
    def does_not_vary(self) -> bool:
        """Whether there are several runs, all equal, and so no interval."""
        return self.low is None and self.runs > 1

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval tells the number from 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class Difference(NamedTuple):
    """A mean difference, and the probability of one as large if there were none."""

    estimate: Estimate
    p: float | None


def student(
    values: Scores, size: float = 0.0, within: tuple[float, float] = UNBOUNDED
) -> Difference:
    """Mean over games of the mean of each game's values [n], with Student's t interval and test.

    Args:
      values: of each game; of paired differences for the paired t-test.
      size: the largest of the scores that the values are differences of: a spread that is nothing
        beside it is rounding. The values' own size counts in any case.
      within: all values that the mean can have. The interval ends there, which takes nothing from
        its coverage.

    The variance is the sum of the games' own, and the degrees of freedom are Welch and
    Satterthwaite's; with one game, and paired differences as values, this is the paired t-test.
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
    degrees = 1 / ((parts / variance) ** 2 / (sizes - 1)).sum()  # squares of shares stay in range
    error = np.sqrt(variance)
    half = float(stdtrit(degrees, (1 + CONFIDENCE) / 2) * error)
    p = float(2 * stdtr(degrees, -abs(value) / error))
    least, most = (end(within[i], *map(end, values)) for i, end in enumerate((min, max)))
    low, high = max(value - half, float(least)), min(value + half, float(most))
    return Difference(Estimate(value, low, high, int(sizes.min())), p)


def mean(scores: Scores, counts: Counts) -> np.ndarray:
    """[R] mean over games of the mean over runs."""
    result: np.ndarray = game_means(scores, counts).mean(0)
    return result


def median(scores: Scores, counts: Counts) -> np.ndarray:
    """[R] median over games of the mean over runs."""
    result: np.ndarray = np.median(game_means(scores, counts), axis=0)
    return result


def optimality_gap(scores: Scores, counts: Counts) -> np.ndarray:
    """[R] how far runs stay below the human score of 1, runs above it counting as 1."""
    return 1 - mean([np.minimum(values, 1) for values in scores], counts)


def iqm(scores: Scores, counts: Counts) -> np.ndarray:
    """[R] interquartile mean over all runs of all games.

    A run weighs one over its game's number of runs. As in SciPy's and rliable's, a quarter of the
    number of runs, rounded down, is cut off at each end.
    """
    pooled = np.concatenate(scores)
    order = np.argsort(pooled, kind="stable")
    weights = np.repeat([1 / len(values) for values in scores], [len(values) for values in scores])
    total = len(scores)
    cut = len(pooled) // 4 / len(pooled) * total
    # [N, R] weight of the runs up to each, the lowest first, between the two cuts. Summed by parts,
    # the trimmed mean is the highest score minus every step in score times the weight below it.
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
    """[games, R] mean over each game's runs."""
    return np.stack([v.astype(c.dtype) @ c / len(v) for v, c in zip(scores, counts, strict=True)])


def once(scores: Scores) -> Counts:
    """The runs as they are: one resample that has each of them once."""
    return [np.ones((len(values), 1)) for values in scores]


def resample(rng: np.random.Generator, sizes: Sequence[int], resamples: int) -> Counts:
    """Counts [n, R] float32 for each game of a bootstrap stratified by game."""
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
    """Every aggregate of an agent's scores, with its bootstrap interval.

    No interval where a game has one run: its spread is unknown, and leaving it out of the bootstrap
    would make the interval too narrow.
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
    """A value with the percentiles of its resamples; without, if those are one number."""
    low, high = np.percentile(np.concatenate(drawn), TAILS)
    if high - low <= RESAMPLING * max(abs(value), abs(low), abs(high)):
        return Estimate(value, None, None, runs)
    return Estimate(value, float(low), float(high), runs)


def difference_of(aggregate: Aggregate) -> Aggregate:
    """The aggregate of one arm minus another's, resampled by pairs.

    The scores it takes are [n, 2] for each game: a pair is the two arms under one seed.
    """

    def difference(scores: Scores, counts: Counts) -> np.ndarray:
        one, other = ([pairs[:, arm] for pairs in scores] for arm in (0, 1))
        return aggregate(one, counts) - aggregate(other, counts)

    return difference


def probability_of_improvement(
    ours: Scores, theirs: Scores, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Estimate:
    """Mean over games of the probability that a run of ours beats one of theirs; a tie is half.

    Mann and Whitney's U as a share; the interval is a bootstrap of both sides (Agarwal et al.).
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
    """[T] share of runs above each threshold, every game weighing the same (Agarwal et al.)."""
    shares = [(values[:, None] > thresholds).mean(0) for values in scores]
    result: np.ndarray = np.mean(shares, axis=0)
    return result


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted probabilities: below 0.05, the family of tests errs in 5 % of studies."""
    adjusted = np.empty(len(ps))
    highest = 0.0
    for rank, index in enumerate(np.argsort(ps, kind="stable")):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = highest
    return [float(p) for p in adjusted]
