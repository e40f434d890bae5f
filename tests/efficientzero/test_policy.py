"""From visit counts to actions."""

import numpy as np
import pytest

from ezcli.efficientzero.policy import (
    greedy_actions,
    root_noise,
    sample_actions,
    temperature_at,
    tie_seeds,
    visit_policy,
)


def test_temperature_falls_where_the_phases_end(tiny_config):
    acting = tiny_config.acting
    assert acting.temperatures == (1.0, 0.5, 0.25)
    for train_step, expected in [
        (0, 1.0),
        (599, 1.0),
        (600, 0.5),
        (899, 0.5),
        (900, 0.25),
        (1199, 0.25),
        (1200, 0.25),
    ]:
        assert temperature_at(train_step, 1200, acting) == expected


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.25])
def test_policy_is_proportional_to_powers_of_the_visits(temperature):
    visits = np.array([[50, 0, 0], [1, 2, 3], [25, 24, 1], [0, 0, 7]], np.int32)
    policy = visit_policy(visits, temperature)
    assert policy.dtype == np.float32
    for row, counts in zip(policy, visits.tolist(), strict=True):
        powers = [count ** (1 / temperature) for count in counts]
        np.testing.assert_allclose(row, np.array(powers) / sum(powers), rtol=1e-6)


def test_policy_at_temperature_one_is_the_default():
    visits = np.array([[1, 3], [5, 5]])
    assert visit_policy(visits).tolist() == [[0.25, 0.75], [0.5, 0.5]]


def test_low_temperatures_do_not_overflow():
    policy = visit_policy(np.array([[10_000, 9_999, 0]], np.int32), 0.001)
    assert np.isfinite(policy).all()
    assert policy.sum() == pytest.approx(1)


def test_actions_are_drawn_as_often_as_the_policy_says():
    policy = np.array([[0.1, 0.0, 0.6, 0.3], [0.0, 1.0, 0.0, 0.0]], np.float32)
    rng, draws = np.random.default_rng(0), 10_000
    actions = sample_actions(np.repeat(policy, draws, 0), rng).reshape(2, draws)
    counts = np.stack([np.bincount(row, minlength=4) for row in actions])
    assert counts[1].tolist() == [0, draws, 0, 0]
    assert counts[0, 1] == 0
    deviation = np.sqrt(draws * policy[0] * (1 - policy[0]))
    assert (np.abs(counts[0] - draws * policy[0]) <= 4 * deviation).all()


def test_every_environment_throws_for_itself():
    actions = sample_actions(np.full((200, 2), 0.5, np.float32), np.random.default_rng(0))
    assert set(actions.tolist()) == {0, 1}


class Highest:
    """A generator whose throws are the largest there are."""

    def random(self, shape):
        return np.full(shape, np.nextafter(1, 0))


class Lowest:
    def random(self, shape):
        return np.zeros(shape)


def test_the_ends_of_the_range_give_possible_actions():
    policy = np.array([[0.0, 0.5, 0.5, 0.0]], np.float32)
    assert sample_actions(policy, Highest()).tolist() == [2]
    assert sample_actions(policy, Lowest()).tolist() == [1]


def test_the_most_visited_action_is_greedy_and_the_lowest_of_equals():
    visits = np.array([[1, 5, 5], [9, 0, 9], [0, 0, 1]])
    assert greedy_actions(visits).tolist() == [1, 0, 2]


@pytest.mark.parametrize("num_actions", [2, 18])
def test_noise_is_dirichlet(num_actions):
    noise = root_noise(np.random.default_rng(0), 4000, num_actions, 0.3)
    assert noise.shape == (4000, num_actions)
    assert noise.dtype == np.float32
    np.testing.assert_allclose(noise.sum(1), 1, atol=1e-5)
    assert (noise >= 0).all()
    mean = 1 / num_actions
    variance = mean * (1 - mean) / (0.3 * num_actions + 1)
    np.testing.assert_allclose(noise.mean(0), mean, atol=5 * np.sqrt(variance / 4000))
    assert noise.var(0).mean() == pytest.approx(variance, rel=0.1)


def test_tie_seeds_fill_32_bits():
    seeds = tie_seeds(np.random.default_rng(0), 5000)
    assert seeds.dtype == np.int64
    assert seeds.min() >= 0
    assert 2**32 * 0.99 < seeds.max() < 2**32
    assert len(set(seeds.tolist())) > 4990
