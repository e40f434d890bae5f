"""Value prefixes against their definition, and back to rewards."""

import numpy as np
import pytest

from ezcli.efficientzero.value_prefix import prefix_targets, restarts_after, rewards_between
from tests.oracles import naive_prefix_target


def rewards(batch=7, steps=11):
    return np.random.default_rng(0).integers(-3, 4, size=(batch, steps)).astype(np.float32)


@pytest.mark.parametrize("horizon", [1, 2, 3, 5, 11, 50])
def test_targets_equal_their_definition(horizon):
    given = rewards()
    before = given.copy()
    targets = prefix_targets(given, horizon)
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(given, before)
    for b, row in enumerate(given.tolist()):
        assert targets[b].tolist() == [
            naive_prefix_target(row, k, horizon) for k in range(len(row))
        ]


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_rewards_come_back_from_prefixes(horizon):
    given = rewards()
    prefixes = np.concatenate([np.full((7, 1), 99.0), prefix_targets(given, horizon)], 1)
    for depth in range(11):
        parent, child = prefixes[:, depth], prefixes[:, depth + 1]
        found = rewards_between(parent, child, np.full(7, depth), horizon)
        np.testing.assert_array_equal(found, given[:, depth])


def test_each_tree_has_a_depth_of_its_own():
    depths = np.array([0, 1, 4, 5])
    found = rewards_between(np.full(4, 1.0), np.full(4, 3.0), depths, 5)
    np.testing.assert_array_equal(found, [3, 2, 2, 3])


def test_a_horizon_of_one_makes_a_prefix_a_reward():
    np.testing.assert_array_equal(prefix_targets(rewards(), 1), rewards())


@pytest.mark.parametrize(
    ("horizon", "restarts"), [(1, [0, 1, 2, 3, 4, 5, 6]), (2, [0, 2, 4, 6]), (5, [0, 5])]
)
def test_the_sum_restarts_at_multiples_of_the_horizon(horizon, restarts):
    assert [depth for depth in range(7) if restarts_after(depth, horizon)] == restarts
