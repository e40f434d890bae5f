"""Value targets against the definition, one trajectory and one position at a time."""

import numpy as np
import pytest

from ezcli.efficientzero.targets import aged_td_steps, return_errors, value_targets
from tests.oracles import naive_value_target

K, L = 5, 5  # unroll steps, largest td_steps
DISCOUNT = 0.9


def window_of(rewards, values, start, td_steps):
    """What a replay would give at `start`: zeros after the last action."""
    ahead = np.zeros(K + L)
    for i in range(K + L):
        if start + i < len(rewards):
            ahead[i] = rewards[start + i]
    bootstraps = np.zeros(K + 1)
    for i in range(K + 1):
        if start + i + td_steps < len(rewards):
            bootstraps[i] = values[start + i + td_steps]
    return ahead, bootstraps


@pytest.mark.parametrize("length", [1, 2, 5, 9, 10, 11, 30])
@pytest.mark.parametrize("td_steps", [1, 2, 3, 4, 5])
def test_targets_equal_the_definition_at_every_position(length, td_steps):
    rng = np.random.default_rng(length)
    rewards, values = rng.normal(size=length), rng.normal(size=length) * 10
    starts = range(length)
    windows = [window_of(rewards, values, start, td_steps) for start in starts]
    ahead, bootstraps = map(np.stack, zip(*windows, strict=True))
    found = value_targets(ahead, bootstraps, np.full((length, 1), td_steps), DISCOUNT)
    assert found.dtype == np.float32
    for start in starts:
        for i in range(K + 1):
            t = start + i
            expected = 0.0
            if t < length:
                expected = naive_value_target(rewards, values, t, td_steps, DISCOUNT)
            assert found[start, i] == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_each_sample_has_its_own_number_of_steps():
    rng = np.random.default_rng(0)
    rewards, values = rng.normal(size=30), rng.normal(size=30)
    steps = np.array([1, 5, 2, 4, 3, 5, 1])
    windows = [window_of(rewards, values, 3, k) for k in steps]
    ahead, bootstraps = map(np.stack, zip(*windows, strict=True))
    found = value_targets(ahead, bootstraps, steps[:, None], DISCOUNT)
    for row, k in zip(found, steps.tolist(), strict=True):
        expected = [naive_value_target(rewards, values, 3 + i, k, DISCOUNT) for i in range(K + 1)]
        np.testing.assert_allclose(row, expected, rtol=1e-5)


def test_an_example_by_hand():
    rewards = np.array([[1, 0, 2, 0, 0, 0, 0]])
    bootstraps = np.array([[8.0, 16.0, 0, 0, 0, 0]])
    found = value_targets(rewards, bootstraps, np.array([[2]]), 0.5)
    assert found.tolist() == [[1 + 0 + 0.25 * 8, 0 + 0.5 * 2 + 0.25 * 16, 2, 0, 0, 0]]


@pytest.mark.parametrize(
    ("age", "steps"),
    [
        *((0, 5), (29_999, 5), (30_000, 4), (59_999, 4), (60_000, 3), (89_999, 3), (90_000, 2)),
        *((119_999, 2), (120_000, 1), (149_999, 1), (150_000, 1), (10**9, 1)),
    ],
)
def test_one_step_fewer_for_every_30_000_env_steps(age, steps):
    assert aged_td_steps(np.array([age]), 5, 30_000).tolist() == [steps]


def test_ages_of_a_batch_are_independent():
    ages = np.array([40_000, 0, 10**6])
    assert aged_td_steps(ages, 3, 30_000).tolist() == [2, 3, 1]


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8])
def test_errors_of_returns_equal_the_definition(length):
    """What lies beyond the terminal state belongs to another episode."""
    rng = np.random.default_rng(length)
    steps, rows = 3, np.arange(length)
    values, rewards = rng.normal(size=(2, length + steps + 1))
    following = rows[:, None] + np.arange(steps + 1)
    is_terminal = following == length
    found = return_errors(values[following], rewards[following], is_terminal, DISCOUNT)
    known = rewards[:length], values[:length]
    expected = [abs(values[t] - naive_value_target(*known, t, steps, DISCOUNT)) for t in rows]
    np.testing.assert_allclose(found, expected)
