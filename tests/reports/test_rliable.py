"""Intervals agree with rliable, the usual library for Atari 100k since 2021.

rliable draws from NumPy's global generator whatever `random_state` it is given, so the two can
agree within Monte-Carlo error only.
"""

import csv
from pathlib import Path

import numpy as np
import pytest

from ezcli.envs.atari_suite import ATARI_100K, reference_scores
from ezcli.reports.published import published_agents
from ezcli.reports.statistics import (
    AGGREGATES,
    estimates,
    once,
    probability_of_improvement,
    profile,
)
from tests.reports.oracles import are_percentiles

PRINTED = {"mean": 1.046, "median": 0.289, "iqm": 0.501, "optimality_gap": 0.512}  # in the paper


@pytest.fixture(scope="module")
def raw():
    """The scores of five runs of IRIS, by game."""
    lines = (Path(__file__).parent / "iris.csv").read_text().splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return {row.pop("game"): [float(score) for score in row.values()] for row in rows}


@pytest.fixture(scope="module")
def iris(raw):
    """An array for each game, human-normalised."""
    return [
        np.array([reference_scores()[game].normalised(x) for x in raw[game]]) for game in ATARI_100K
    ]


@pytest.fixture(scope="module")
def other():
    """Another agent, with three runs of each game; its scores lie about as high."""
    rng = np.random.default_rng(0)
    means = published_agents()["twm"].normalised
    return [means[game] + rng.normal(0, 0.1 + 0.1 * means[game], 3) for game in ATARI_100K]


@pytest.fixture
def seeded():
    """NumPy's global generator in a known state, and put back."""
    state = np.random.get_state()
    np.random.seed(0)
    yield
    np.random.set_state(state)


def test_the_paper_prints_these_numbers(iris):
    found = {name: float(f(iris, once(iris))[0]) for name, f in AGGREGATES.items()}
    assert found == pytest.approx(PRINTED, abs=5e-4)


def test_the_column_of_published_scores_holds_their_means(raw):
    means = {game: np.mean(scores) for game, scores in raw.items()}
    assert means == pytest.approx(published_agents()["iris"].raw)


@pytest.mark.slow
def test_a_profile_is_rliables(iris):
    from rliable import library

    thresholds = np.linspace(-0.5, 8, 40)
    expected = library.score_distributions(np.stack(iris, 1), thresholds)
    assert profile(iris, thresholds) == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.usefixtures("seeded")
def test_aggregates_agree(iris):
    from rliable import library, metrics

    functions = {
        "mean": metrics.aggregate_mean,
        "median": metrics.aggregate_median,
        "iqm": metrics.aggregate_iqm,
        "optimality_gap": metrics.aggregate_optimality_gap,
    }
    found = estimates(iris, np.random.default_rng(0))
    table = np.stack(iris, 1)  # [runs, games]
    drawn = library.StratifiedBootstrap(table).apply(
        lambda x: np.array([function(x) for function in functions.values()]), reps=10_000
    )
    for i, (name, function) in enumerate(functions.items()):
        assert found[name].value == pytest.approx(function(table)), name
        assert are_percentiles(found[name][1:3], drawn[:, i]), name


@pytest.mark.slow
@pytest.mark.usefixtures("seeded")
def test_probability_of_improvement_agrees(iris, other):
    """Resamples are rliable's. Its own function takes 34 ms each, so it is asked for a few only."""
    from rliable import library, metrics

    def improvement(x, y):
        return ((x[:, None] > y) + 0.5 * (x[:, None] == y)).mean()

    tables = np.stack(iris, 1), np.stack(other, 1)
    bootstrap = library.StratifiedIndependentBootstrap(*tables)
    for (x, y), _ in bootstrap.bootstrap(10):
        assert improvement(x, y) == pytest.approx(metrics.probability_of_improvement(x, y))
    found = probability_of_improvement(iris, other, np.random.default_rng(0))
    assert found.value == pytest.approx(metrics.probability_of_improvement(*tables))
    assert are_percentiles(found[1:3], bootstrap.apply(improvement, reps=20_000)[:, 0])
