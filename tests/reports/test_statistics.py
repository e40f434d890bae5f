"""Aggregates, intervals and tests against SciPy, plain Python and numbers worked out by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from ezcli.reports import statistics
from ezcli.reports.statistics import (
    AGGREGATES,
    CORRELATION,
    UNBOUNDED,
    Estimate,
    difference_of,
    estimates,
    game_means,
    holm,
    iqm,
    mean,
    median,
    once,
    optimality_gap,
    probability_of_improvement,
    profile,
    resample,
    student,
)
from tests.reports.oracles import are_percentiles

NUMBERS = st.floats(-100, 100).map(lambda x: round(x, 3))
QUICK = settings(max_examples=40, deadline=None)
RAGGED = st.lists(st.lists(NUMBERS, min_size=1, max_size=6), min_size=1, max_size=7)


def generator(seed=0):
    return np.random.default_rng(seed)


def arrays(*games):
    return [np.array(game, float) for game in games]


def some_scores(sizes=(5,) * 7, seed=0):
    """Games of different levels and spreads."""
    rng = generator(seed)
    return [rng.normal(rng.uniform(0, 2), rng.uniform(0.1, 1), n) for n in sizes]


def value(function, scores):
    (result,) = function(scores, once(scores))
    return result


def weighted_iqm(scores):
    """The interquartile mean in exact steps: each run as a bar as wide as its weight."""
    bars = sorted((x, 1 / len(game)) for game in scores for x in game)
    cut = len(bars) // 4 * len(scores) / len(bars)
    total, position = 0.0, 0.0
    for x, width in bars:
        inside = min(position + width, len(scores) - cut) - max(position, cut)
        total += x * max(0.0, inside)
        position += width
    return total / (len(scores) - 2 * cut)


# ------------------------------------------------------------------ aggregates


@QUICK
@given(RAGGED)
def test_mean_and_median_are_of_game_means(games):
    scores = arrays(*games)
    means = [sum(game) / len(game) for game in games]
    assert value(mean, scores) == pytest.approx(np.mean(means), abs=1e-9)
    assert value(median, scores) == pytest.approx(np.median(means), abs=1e-9)


@QUICK
@given(st.integers(1, 9), st.integers(1, 26), st.integers(0, 1000))
def test_iqm_is_scipys_trimmed_mean_with_equal_numbers_of_runs(runs, games, seed):
    scores = some_scores((runs,) * games, seed)
    expected = stats.trim_mean(np.stack(scores, 1), proportiontocut=0.25, axis=None)
    assert value(iqm, scores) == pytest.approx(expected, abs=1e-9)


@QUICK
@given(RAGGED)
@example([[1.0, 2.0, 3.0], [10.0]])
@example([[0.0], [0.0, 0.0], [5.0] * 5])
def test_iqm_weighs_every_game_the_same(games):
    assert value(iqm, arrays(*games)) == pytest.approx(weighted_iqm(games), abs=1e-9)


def test_iqm_by_hand():
    """Four runs: the lowest and the highest are cut off. Three and one: 2/3 of the lowest is."""
    assert value(iqm, arrays([9, 1, 3, 2])) == 2.5
    # bars: 1, 2, 3 of width 1/3 and 10 of width 1; cut 4 // 4 / 4 * 2 = 0.5 at each end
    # left: 1/6 of 2, 1/3 of 3, 1/2 of 10
    assert value(iqm, arrays([1, 2, 3], [10])) == pytest.approx(2 / 6 + 1 + 5)


def test_optimality_gap_by_hand():
    """Game means of min(x, 1): (0.5 + 1) / 2 = 0.75, -1 and 1; one minus their mean."""
    scores = arrays([0.5, 3.0], [-1.0], [1.0, 7.0, 1.0])
    assert value(optimality_gap, scores) == pytest.approx(1 - (0.75 - 1 + 1) / 3)


@QUICK
@given(RAGGED, st.integers(0, 1000))
def test_a_resample_is_worth_what_its_runs_are_worth(games, seed):
    """Counts stand for copies of runs; in single precision."""
    scores = arrays(*games)
    counts = resample(generator(seed), [len(game) for game in games], 3)
    for column in range(3):
        copied = [
            np.repeat(game, c[:, column].astype(int))
            for game, c in zip(scores, counts, strict=True)
        ]
        for function in AGGREGATES.values():
            found = function(scores, counts)[column]
            assert found == pytest.approx(value(function, copied), rel=1e-4, abs=2e-3)


def test_single_precision_is_enough_for_a_hundred_runs_of_26_games():
    scores = some_scores((100,) * 26)
    counts = resample(generator(), (100,) * 26, 20)
    for name, function in AGGREGATES.items():
        exact = function(scores, [c.astype(float) for c in counts])
        assert function(scores, counts) == pytest.approx(exact, abs=2e-5), name


# ------------------------------------------------------------------ Student's t


@QUICK
@given(st.lists(NUMBERS, min_size=2, max_size=20).filter(lambda x: np.ptp(x) > 0.01))
def test_one_game_is_scipys_t(values):
    found = student(arrays(values))
    expected = stats.ttest_1samp(values, 0)
    low, high = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-9)
    assert found.estimate.value == pytest.approx(np.mean(values))
    assert (found.estimate.low, found.estimate.high) == pytest.approx((low, high), abs=1e-7)
    assert found.estimate.runs == len(values)


def test_differences_of_one_game_are_the_paired_t_test():
    ours, theirs = generator().normal([[0.5], [0]], 1, (2, 6))
    found = student([ours - theirs])
    expected = stats.ttest_rel(ours, theirs)
    low, high = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.estimate[1:3] == pytest.approx((low, high))


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=9))
def test_an_interval_ends_where_its_values_do(values):
    free, cut = (student([np.array(values)], within=ends) for ends in (UNBOUNDED, CORRELATION))
    assert cut.p == free.p
    if free.estimate.low is not None:
        assert cut.estimate.low == max(-1, free.estimate.low)
        assert cut.estimate.high == min(1, free.estimate.high)


def test_two_games_are_welchs_t():
    """The mean of x and -y is half of Welch's difference of the means of x and y."""
    x, y = generator().normal(2, 1, 4), generator(1).normal(1, 3, 7)
    found = student([x, -y])
    expected = stats.ttest_ind(x, y, equal_var=False)
    low, high = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.estimate == pytest.approx(((x.mean() - y.mean()) / 2, low / 2, high / 2, 4))


def test_three_games_by_hand():
    """Welch and Satterthwaite.

    Means 2, 3, 10; variances of the means 1/3, 2/2, 0; so the mean is 5, its variance (4/3) / 9,
    and its degrees of freedom (4/3)^2 / ((1/3)^2 / 2 + 1^2 / 1) = 32 / 19.
    """
    found = student(arrays([1, 2, 3], [2, 4], [10, 10]))
    error, degrees = math.sqrt(4 / 27), 32 / 19
    half = stats.t.ppf(0.975, degrees) * error
    assert found.estimate == pytest.approx((5, 5 - half, 5 + half, 2))
    assert found.p == pytest.approx(2 * stats.t.sf(5 / error, degrees))


def test_equal_games_have_the_degrees_of_freedom_of_all():
    """Three games of equal variance and n runs: 3 (n - 1) degrees of freedom."""
    game = np.array([0.0, 1.0, 2.0, 3.0])
    found = student([game, game + 5, game - 5]).estimate
    half = stats.t.ppf(0.975, 9) * math.sqrt(game.var(ddof=1) / 4 / 3)
    assert found.high - found.low == pytest.approx(2 * half)


@pytest.mark.parametrize(
    ("values", "size"),
    [
        (arrays([2, 2], [4, 4, 4]), 0.0),
        (arrays([0, 0]), 0.0),
        (arrays([-0.1, -0.1]), 0.0),
        (arrays([0.1 + 0.2, 0.3]), 0.0),  # equal but for rounding
        (arrays([1e6 + 0.1 - 1e6, 0.1]), 1e6),
    ],
)
def test_values_that_do_not_vary_have_no_interval_and_no_p(values, size):
    found = student(values, size)
    assert found.estimate.value == pytest.approx(np.mean([v.mean() for v in values]))
    assert found[1:] == (None,)
    assert found.estimate[1:] == (None, None, 2)
    assert found.estimate.does_not_vary


def test_a_game_that_does_not_vary_leaves_the_others_their_interval():
    alone, beside = student(arrays([1, 2, 4])), student(arrays([1, 2, 4], [0, 0, 0]))
    assert beside.p == pytest.approx(alone.p)
    assert beside.estimate.high == pytest.approx(alone.estimate.high / 2)


@pytest.mark.parametrize("scores", [arrays([3, 3]), arrays([1, 1, 1], [7, 7])])
def test_resamples_that_do_not_vary_are_no_interval(scores):
    for estimate in estimates(scores, generator(), resamples=200).values():
        assert estimate[1:] == (None, None, 2)
    better = probability_of_improvement(scores, [x - 1 for x in scores], generator(), 200)
    assert better == Estimate(1.0, None, None, 2)
    assert not better.excludes_zero


@pytest.mark.parametrize("scores", [arrays([3]), arrays([1, 5], [3]), arrays([3], [3], [3, 3])])
def test_a_single_run_has_no_interval(scores):
    assert student(scores) == (Estimate(3.0, None, None, 1), None)
    assert not student(scores).estimate.excludes_zero
    for estimate in estimates(scores, generator(), resamples=100).values():
        assert estimate[1:] == (None, None, 1)


def test_runs_are_those_of_the_game_with_the_fewest():
    scores = some_scores((5, 2, 4))
    assert student(scores).estimate.runs == 2
    assert {e.runs for e in estimates(scores, generator(), resamples=100).values()} == {2}


@pytest.mark.parametrize("size", [1e-150, 1e-100, 1e-20, 1e20, 1e60])
def test_the_size_of_scores_does_not_matter(size):
    small = student(arrays([1, 2, 3], [2, 4]))
    large = student([x * size for x in arrays([1, 2, 3], [2, 4])])
    assert large.p == pytest.approx(small.p)
    assert large.estimate[:3] == pytest.approx([x * size for x in small.estimate[:3]])


@pytest.mark.parametrize(
    ("low", "high", "excludes"),
    [
        (0.1, 0.2, True),
        (-0.2, -0.1, True),
        (1e-200, 1e-190, True),
        (-0.1, 0.1, False),
        (0.0, 1.0, False),
        (None, None, False),
    ],
)
def test_an_interval_excludes_zero_or_does_not(low, high, excludes):
    assert Estimate(0.15, low, high, 3).excludes_zero is excludes


# ------------------------------------------------------------------ the bootstrap


@QUICK
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 40))
def test_every_resample_has_as_many_runs_as_there_are(sizes, resamples):
    counts = resample(generator(), sizes, resamples)
    assert [c.shape for c in counts] == [(n, resamples) for n in sizes]
    for n, c in zip(sizes, counts, strict=True):
        assert (c.sum(0) == n).all()
        assert (c == c.round()).all()


def test_every_run_is_drawn_as_often_and_games_are_drawn_apart():
    """Counts of a run are binomial: mean 1, variance 1 - 1/n; two games' are not correlated."""
    one, other = resample(generator(), (4, 4), 40_000)
    assert one.mean(1) == pytest.approx(1, abs=4 * math.sqrt(0.75 / 40_000))
    assert one.var(1) == pytest.approx(0.75, abs=0.03)
    assert np.corrcoef(one[0], other[0])[0, 1] == pytest.approx(0, abs=4 / math.sqrt(40_000))


NAIVE = {
    "mean": lambda games: np.mean([game.mean() for game in games]),
    "median": lambda games: np.median([game.mean() for game in games]),
    "iqm": weighted_iqm,
    "optimality_gap": lambda games: np.mean([1 - np.minimum(game, 1).mean() for game in games]),
}


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(5,) * 7, (3, 5, 4, 2, 6)])
def test_intervals_are_those_of_a_plain_loop(sizes):
    scores, rng = some_scores(sizes), generator(1)
    loop = {name: [] for name in NAIVE}
    for _ in range(1_500):
        drawn = [rng.choice(game, len(game)) for game in scores]
        for name, function in NAIVE.items():
            loop[name].append(function(drawn))
    for name, found in estimates(scores, generator(2)).items():
        assert found.value == pytest.approx(NAIVE[name](scores)), name
        assert are_percentiles(found[1:3], loop[name]), name
        assert found.runs == min(sizes)


def test_the_same_seed_gives_the_same_interval():
    scores = some_scores()
    one, again, other = (estimates(scores, generator(s), resamples=1000) for s in (7, 7, 8))
    assert one == again
    assert one["iqm"].low != other["iqm"].low


def test_chunks_bound_memory_and_change_nothing(monkeypatch):
    """Neither a chunk that does not divide the resamples, nor one as large as all."""
    scores, sizes = some_scores(), []
    expected = estimates(scores, generator())
    monkeypatch.setattr(
        statistics, "resample", lambda rng, n, r: sizes.append(r) or resample(rng, n, r)
    )
    for chunk in (3_000, 10_000, 20_000):
        monkeypatch.setattr(statistics, "CHUNK", chunk)
        sizes.clear()
        found = estimates(scores, generator(), resamples=10_000)
        assert sum(sizes) == 10_000
        assert max(sizes) <= chunk
        for name in AGGREGATES:
            width = expected[name].high - expected[name].low
            assert found[name][1:3] == pytest.approx(expected[name][1:3], abs=0.04 * width)


def test_a_difference_is_resampled_by_pairs():
    """What both arms of a pair share cancels out: the interval is that of the rest alone."""
    rng = generator()
    shared, rest = rng.normal(0, 100, (5, 6)), rng.normal(0.3, 0.1, (5, 6))
    pairs = [np.stack([s + r, s], 1) for s, r in zip(shared, rest, strict=True)]
    apart = estimates(list(rest), generator(), {"mean": mean}, 2_000)["mean"]
    found = estimates(pairs, generator(), {"mean": difference_of(mean)}, 2_000)["mean"]
    assert found == pytest.approx(apart, abs=1e-3)


def test_game_means_by_hand():
    counts = [np.array([[1.0, 2.0], [1.0, 0.0]]), np.array([[1.0, 1.0]])]
    found = game_means(arrays([1, 3], [7]), counts)
    assert found.tolist() == [[2.0, 1.0], [7.0, 7.0]]


# ------------------------------------------------------------------ probability of improvement


def test_probability_of_improvement_by_hand():
    """Of 2 x 3 pairs 3 are won and 1 is tied; in the second game all 4 are lost."""
    ours, theirs = arrays([1, 3], [0, 0]), arrays([0, 1, 2], [5, 6])
    found = probability_of_improvement(ours, theirs, generator(), 100)
    assert found.value == pytest.approx(((1 + 0.5 + 0 + 3) / 6 + 0) / 2)
    assert found.runs == 2


def test_one_game_is_mann_and_whitneys_u():
    rng = generator()
    for _ in range(20):
        ours, theirs = rng.integers(0, 6, 5).astype(float), rng.integers(0, 6, 7).astype(float)
        u = stats.mannwhitneyu(ours, theirs, alternative="greater", method="asymptotic").statistic
        found = probability_of_improvement([ours], [theirs], generator(), 100)
        assert found.value == pytest.approx(u / 35)


@pytest.mark.slow
def test_its_interval_is_that_of_a_plain_loop():
    """Both sides are resampled, each by itself."""
    ours, theirs, rng = some_scores((4, 6, 3), 1), some_scores((5, 3, 4), 2), generator()
    loop = []
    for _ in range(1_000):
        sides = [[rng.choice(game, len(game)) for game in side] for side in (ours, theirs)]
        wins = [
            sum((a > b) + 0.5 * (a == b) for a in x for b in y) / len(x) / len(y)
            for x, y in zip(*sides, strict=True)
        ]
        loop.append(sum(wins) / len(wins))
    found = probability_of_improvement(ours, theirs, generator(3), 20_000)
    assert are_percentiles(found[1:3], loop)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (arrays([2, 3]), arrays([0, 1]), Estimate(1.0, None, None, 2)),
        (arrays([0, 1]), arrays([2, 3]), Estimate(0.0, None, None, 2)),
        (arrays([1, 1]), arrays([1, 1]), Estimate(0.5, None, None, 2)),
        (arrays([1], [1, 2]), arrays([0], [0, 0]), Estimate(1.0, None, None, 1)),
        (arrays([1, 2], [1, 2]), arrays([0], [0, 0]), Estimate(1.0, None, None, 1)),
        (arrays([1, 2, 3]), arrays([0, 0]), Estimate(1.0, None, None, 2)),
    ],
)
def test_probability_of_improvement_at_its_ends(ours, theirs, expected):
    assert probability_of_improvement(ours, theirs, generator(), 200) == expected


# ------------------------------------------------------------------ profiles and Holm


def test_a_profile_is_the_share_of_runs_above():
    scores = arrays([0, 1, 2, 3], [5])
    found = profile(scores, np.array([-1.0, 0.0, 1.5, 3.0, 5.0]))
    assert found.tolist() == [1.0, (0.75 + 1) / 2, (0.5 + 1) / 2, 0.5, 0.0]


@QUICK
@given(RAGGED)
def test_a_profile_falls_from_one_to_zero(games):
    found = profile(arrays(*games), np.linspace(-101, 101, 50))
    assert (found[0], found[-1]) == (1, 0)
    assert (np.diff(found) <= 1e-12).all()


def test_holm_by_hand():
    """Four tests: the smallest times 4, the next times 3, and never below the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@QUICK
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_a_test_alone_and_bonferroni(ps):
    adjusted = holm(ps)
    for p, found in zip(ps, adjusted, strict=True):
        assert p <= found <= min(1.0, p * len(ps))
    for (p, found), (q, other) in itertools.combinations(zip(ps, adjusted, strict=True), 2):
        assert found == other if p == q else (p < q) <= (found <= other)


@QUICK
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms())
def test_holm_does_not_know_an_order(ps, rng):
    order = list(range(len(ps)))
    rng.shuffle(order)
    shuffled = holm([ps[i] for i in order])
    assert shuffled == pytest.approx([holm(ps)[i] for i in order])
