"""The coverage of 95 % intervals, by simulation.

Runs of the 26 games of Atari 100k are drawn around EfficientZero's published scores, with a
standard deviation of 0.1 plus 0.3 times the score. In percent, from 10,000 to 20,000 simulations
for Student's t and 8,000 with 500 resamples for the bootstrap; 2,000 resamples give the same:

    runs of each game                               3      5     10
    Student's t: one game                          95     95     95
    Student's t: mean over games                   95     95     95
    stratified bootstrap: mean over games          84     89     92
    stratified bootstrap: IQM                      86     90     93

So intervals of aggregates are too narrow with few runs, as those of every table that rliable made;
differences between arms are tested with Student's t.
"""

import math

import numpy as np
import pytest

from ezcli.reports.published import published_agents
from ezcli.reports.statistics import estimates, iqm, mean, student

RUNS = (3, 5, 10)
TRUTH = np.array(list(published_agents()["efficientzero"].normalised.values()))
SPREAD = 0.1 + 0.3 * TRUTH
BOOTSTRAP = {"mean": (0.838, 0.887, 0.920), "iqm": (0.857, 0.903, 0.935)}

pytestmark = pytest.mark.slow


def draw(rng, runs):
    return list(rng.normal(TRUTH, SPREAD, (runs, 26)).T)


def holds(estimate, truth):
    return estimate.low <= truth <= estimate.high


def noise(coverage, simulations):
    """Four standard errors."""
    return 4 * math.sqrt(coverage * (1 - coverage) / simulations)


@pytest.mark.parametrize("runs", RUNS)
def test_students_t_of_one_game(runs):
    rng, simulations = np.random.default_rng(runs), 10_000
    held = [holds(student([rng.normal(3, 2, runs)]).estimate, 3) for _ in range(simulations)]
    assert np.mean(held) == pytest.approx(0.95, abs=noise(0.95, simulations))


@pytest.mark.parametrize("runs", RUNS)
def test_students_t_of_the_mean_over_games(runs):
    rng, simulations = np.random.default_rng(runs), 5_000
    held = [holds(student(draw(rng, runs)).estimate, TRUTH.mean()) for _ in range(simulations)]
    assert np.mean(held) == pytest.approx(0.95, abs=noise(0.95, simulations))


@pytest.fixture(scope="module")
def true_iqm():
    """The interquartile mean of so many runs that it is that of the distribution."""
    runs = np.random.default_rng(0).normal(TRUTH, SPREAD, (100_000, 26))
    low, high = np.quantile(runs, (0.25, 0.75))
    return runs[(runs >= low) & (runs <= high)].mean()


@pytest.mark.parametrize("runs", RUNS)
def test_the_bootstrap_of_aggregates(runs, true_iqm):
    rng, simulations = np.random.default_rng(runs), 2_000
    truth = {"mean": TRUTH.mean(), "iqm": true_iqm}
    held = {name: [] for name in truth}
    for _ in range(simulations):
        found = estimates(draw(rng, runs), rng, {"mean": mean, "iqm": iqm}, resamples=500)
        for name, estimate in found.items():
            held[name].append(holds(estimate, truth[name]))
    for name, measured in BOOTSTRAP.items():
        expected = measured[RUNS.index(runs)]
        assert np.mean(held[name]) == pytest.approx(expected, abs=noise(expected, simulations))
        assert np.mean(held[name]) < 0.95
