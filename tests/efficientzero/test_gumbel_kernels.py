"""The Gumbel search against its definitions: halving, values and decisions."""

import itertools

import numpy as np
import pytest

from ezcli.efficientzero.gumbel import decision
from ezcli.efficientzero.gumbel_kernels import halving_visits
from ezcli.efficientzero.search import Evaluation, search
from ezcli.efficientzero.tree import GumbelConstants
from tests.efficientzero.helpers import assert_same_tree
from tests.oracles import FakeNetwork, halving_sequence, naive_gumbel_search, root_visits

CONSTANTS = GumbelConstants(
    num_simulations=16,
    discount=0.95,
    candidates=8,
    c_visit=50.0,
    c_scale=0.1,
    scales_by_node=False,
    min_q_range=0.01,
    prefix_horizon=5,
)


def gumbel_noise(batch, num_actions, seed=0):
    return np.random.default_rng(seed).gumbel(size=(batch, num_actions)).astype(np.float32)


def run(network, constants, noise, seeds):
    """The trees, their policies and their winners."""

    def evaluate(node, parents, actions):
        return Evaluation(*network.evaluate(parents, actions))

    root = Evaluation(*network.root())
    tree = search(root, evaluate, constants, np.array(seeds, np.int64), noise)
    return tree, *decision(tree, constants)


def assert_equal_to_naive(network, constants, seeds, noise=None):
    if noise is None:
        noise = gumbel_noise(len(seeds), network.num_actions)
    tree, policy, best = run(network, constants, noise, seeds)
    for b, seed in enumerate(seeds):
        root, improved, winner = naive_gumbel_search(
            lambda path, b=b: network.opinion(b, path), constants, noise[b].tolist(), seed
        )
        assert tree.root_visits[b].tolist() == root_visits(root)
        assert_same_tree(tree, b, root, constants)
        assert policy[b].tolist() == pytest.approx(improved, rel=1e-5, abs=1e-7)
        assert best[b] == winner
    return tree


# ------------------------------------------------------------------ sequential halving

TABLES = [
    (8, 16, [4, 4, 2, 2, 1, 1, 1, 1]),
    (4, 16, [6, 6, 2, 2]),
    (2, 4, [2, 2]),
]


@pytest.mark.parametrize(("candidates", "simulations", "totals"), TABLES)
@pytest.mark.parametrize("num_actions", [8, 18])
def test_the_published_visits(candidates, simulations, totals, num_actions):
    constants = CONSTANTS._replace(candidates=candidates, num_simulations=simulations)
    keys = list(range(1, 9))
    noise = gumbel_noise(len(keys), num_actions)
    network = FakeNetwork(keys, num_actions)
    tree, _, best = run(network, constants, noise, keys)
    first = noise + np.log(network.root()[1])
    for b, visits in enumerate(tree.root_visits):
        assert sorted(visits.tolist(), reverse=True)[:candidates] == totals
        assert visits.sum() == simulations
        drawn = np.argsort(-first[b])[:candidates]  # Gumbel-top-k
        assert set(np.flatnonzero(visits)) == set(drawn.tolist())
        assert visits[best[b]] == totals[0]


@pytest.mark.parametrize("candidates", range(1, 19))
def test_halving_shares_the_simulations_as_defined(candidates):
    for simulations in range(1, 65):
        found = [halving_visits(i, candidates, simulations) for i in range(simulations)]
        assert found == halving_sequence(candidates, simulations)


# ------------------------------------------------------------------ against the naive search


@pytest.mark.parametrize("scales_by_node", [False, True], ids=["tree", "node"])
@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("num_actions", [1, 2, 3, 6, 18])
def test_equals_the_naive_search(num_actions, horizon, scales_by_node):
    constants = CONSTANTS._replace(prefix_horizon=horizon, scales_by_node=scales_by_node)
    network = FakeNetwork([3, 1, 4], num_actions)
    tree = assert_equal_to_naive(network, constants, seeds=[11, 2**32 - 1, 0])
    if num_actions > 2:  # of two each gets half
        assert len({tuple(visits) for visits in tree.root_visits.tolist()}) > 1


@pytest.mark.parametrize(
    "changed",
    [
        {"discount": 0.5},
        {"c_visit": 2.0},
        {"c_scale": 3.0},
        {"min_q_range": 5.0},
        {"candidates": 1},
        {"candidates": 3},
        {"num_simulations": 1},
        {"num_simulations": 60},
    ],
    ids=lambda changed: next(iter(changed)),
)
@pytest.mark.parametrize("scales_by_node", [False, True], ids=["tree", "node"])
def test_every_constant_is_used_as_the_naive_search_uses_it(changed, scales_by_node):
    constants = CONSTANTS._replace(scales_by_node=scales_by_node, **changed)
    assert_equal_to_naive(FakeNetwork([7, 8], 4), constants, seeds=[1, 2])


@pytest.mark.parametrize("num_actions", [2, 5, 18])
@pytest.mark.parametrize("levels", [2, 3])
def test_exact_ties_are_broken_as_the_naive_search_breaks_them(num_actions, levels):
    network = FakeNetwork([1, 2, 3], num_actions, levels=levels, uniform=True)
    constants = CONSTANTS._replace(discount=1.0, num_simulations=30)
    noise = np.zeros((3, num_actions), np.float32)
    assert_equal_to_naive(network, constants, [5, 6, 7], noise)


def test_a_tree_does_not_depend_on_its_batch():
    keys, seeds, noise = [5, 6, 7, 5], [1, 2, 3, 4], gumbel_noise(4, 6)
    tree, *decided = run(FakeNetwork(keys, 6), CONSTANTS, noise, seeds)
    for b in range(len(keys)):
        rows = slice(b, b + 1)
        alone, *of_one = run(FakeNetwork(keys[rows], 6), CONSTANTS, noise[rows], seeds[rows])
        for batch, one in zip((*tree, *decided), (*alone, *of_one), strict=True):
            np.testing.assert_array_equal(batch[b], one[0])


# ------------------------------------------------------------------ what it is for


def bandits(q, policy, noise, **changed):
    """Roots of exact value below which the rewards are `q` [B, A] and nothing follows."""
    batch = len(q)
    nothing, uniform = np.zeros(batch, np.float32), np.full_like(policy, 1 / policy.shape[1])

    def evaluate(node, parents, actions):
        rewards = np.where(parents == 0, q[np.arange(batch), actions], 0)
        return Evaluation(rewards.astype(np.float32), uniform, nothing)

    constants = CONSTANTS._replace(prefix_horizon=1, **changed)
    value = (policy * q).sum(1).astype(np.float32)
    root = Evaluation(nothing, policy, value)
    tree = search(root, evaluate, constants, np.arange(batch), noise)
    return tree, *decision(tree, constants)


def random_bandits(batch, num_actions):
    rng = np.random.default_rng(num_actions)
    q = rng.normal(size=(batch, num_actions))
    return q, rng.dirichlet(np.ones(num_actions), batch).astype(np.float32)


@pytest.mark.parametrize("scales_by_node", [False, True], ids=["tree", "node"])
@pytest.mark.parametrize("better", [0, 1])
def test_a_bandit_with_two_arms_ends_on_the_better_one(better, scales_by_node):
    q = np.array([[1.0, 1.0]])
    q[0, 1 - better] = 0.9
    policy = np.full((1, 2), 0.5, np.float32)
    for simulations in (2, 3, 4, 16):
        _, improved, best = bandits(
            q, policy, None, num_simulations=simulations, scales_by_node=scales_by_node
        )
        assert best.tolist() == [better]
        assert improved[0, better] > 0.5


@pytest.mark.parametrize("scales_by_node", [False, True], ids=["tree", "node"])
@pytest.mark.parametrize("num_actions", [2, 6, 18])
def test_the_target_is_better_than_the_policy_where_all_was_tried(num_actions, scales_by_node):
    q, policy = random_bandits(200, num_actions)
    tree, improved, _ = bandits(
        q,
        policy,
        gumbel_noise(200, num_actions),
        num_simulations=2 * num_actions,
        candidates=num_actions,
        scales_by_node=scales_by_node,
    )
    assert (tree.root_visits > 0).all()
    np.testing.assert_allclose(improved.sum(1), 1, rtol=1e-5)
    assert ((improved * q).sum(1) > (policy * q).sum(1)).all()


@pytest.mark.parametrize(("candidates", "simulations"), [(2, 2), (2, 4), (4, 8), (8, 16)])
def test_the_winner_is_better_than_the_policy_on_average_with_any_budget(candidates, simulations):
    q, policy = random_bandits(1500, 18)
    noise = gumbel_noise(1500, 18)
    _, improved, best = bandits(
        q, policy, noise, candidates=candidates, num_simulations=simulations
    )
    gain = q[np.arange(1500), best] - (policy * q).sum(1)
    assert gain.mean() > 5 * gain.std() / np.sqrt(1500)
    gain = ((improved - policy) * q).sum(1)
    assert gain.mean() > 5 * gain.std() / np.sqrt(1500)


def test_noise_draws_actions_in_proportion_to_the_policy():
    """One candidate is a sample of the policy: the Gumbel trick."""
    policy = np.tile(np.array([0.5, 0.3, 0.15, 0.05], np.float32), (20_000, 1))
    _, _, best = bandits(
        np.zeros((20_000, 4)), policy, gumbel_noise(20_000, 4), candidates=1, num_simulations=1
    )
    shares = np.bincount(best, minlength=4) / 20_000
    assert shares == pytest.approx(policy[0], abs=0.015)  # four standard deviations


@pytest.mark.parametrize("scales_by_node", [False, True], ids=["tree", "node"])
def test_extreme_constants_and_policies_stay_finite(scales_by_node):
    policy = np.array([[1.0, 0.0, 0.0]], np.float32)
    q = np.array([[0.0, 1.0, 0.5]])
    for c_scale, c_visit in itertools.product((0.0, 2.0**31), repeat=2):
        _, improved, best = bandits(
            q,
            policy,
            None,
            c_scale=c_scale,
            c_visit=c_visit,
            scales_by_node=scales_by_node,
        )
        assert improved.sum() == pytest.approx(1)
        assert best[0] == (1 if c_scale else 0)


def test_the_value_is_the_mean_of_the_first_estimate_and_all_returns():
    q, policy = random_bandits(5, 6)
    tree, *_ = bandits(q, policy, gumbel_noise(5, 6))
    assert tree.visits[:, 0].tolist() == [17] * 5
    returns = (tree.root_visits * q.astype(np.float32)).sum(1)
    first = (policy * q).sum(1).astype(np.float32)
    np.testing.assert_allclose(tree.root_value, (first + returns) / 17, rtol=1e-6)
