"""The Numba search against a search written with objects, from the definitions."""

import itertools

import numpy as np
import pytest
import torch

from ezcli.efficientzero.inference import RootNoise, as_evaluation, search_states, search_tree
from ezcli.efficientzero.kernels import TIE_TOLERANCE, random_below
from ezcli.efficientzero.puct_kernels import select
from ezcli.efficientzero.search import Evaluation, puct_constants, search
from ezcli.efficientzero.support import to_scalar
from ezcli.efficientzero.tree import ROOT, PuctConstants, new_tree
from tests import oracles
from tests.efficientzero.helpers import (
    assert_same_tree,
    chi_square,
    opinionated,
    random_images,
    tiny,
)
from tests.oracles import FakeNetwork, naive_random_below, naive_search, root_visits

CONSTANTS = PuctConstants(
    num_simulations=30,
    discount=0.95,
    pb_c_init=1.25,
    pb_c_base=19652.0,
    min_q_range=0.01,
    prefix_horizon=5,
)


def run(network, constants, seeds):
    def evaluate(node, parents, actions):
        assert all(len(paths) == node for paths in network.paths)
        return Evaluation(*network.evaluate(parents, actions))

    return search(Evaluation(*network.root()), evaluate, constants, np.array(seeds, np.int64))


def assert_equal_to_naive(network, constants, seeds):
    tree = run(network, constants, seeds)
    for b, seed in enumerate(seeds):
        root = naive_search(lambda path, b=b: network.opinion(b, path), constants, seed)
        assert tree.root_visits[b].tolist() == root_visits(root)
        assert tree.root_value[b] == pytest.approx(root.value, rel=1e-6, abs=1e-6)
        assert_same_tree(tree, b, root, constants)
    return tree


@pytest.mark.parametrize("horizon", [1, 2, 5])
@pytest.mark.parametrize("num_actions", [2, 3, 4, 6, 18])
def test_equals_the_naive_search(num_actions, horizon):
    constants = CONSTANTS._replace(prefix_horizon=horizon)
    network = FakeNetwork([3, 1, 4], num_actions)
    tree = assert_equal_to_naive(network, constants, seeds=[11, 2**32 - 1, 0])
    assert len({tuple(visits) for visits in tree.root_visits.tolist()}) > 1  # different trees


@pytest.mark.parametrize(("num_actions", "simulations"), [(2, 60), (18, 60)])
def test_deep_and_wide_searches_equal_the_naive_one(num_actions, simulations):
    constants = CONSTANTS._replace(num_simulations=simulations, prefix_horizon=2)
    tree = assert_equal_to_naive(FakeNetwork([9], num_actions), constants, seeds=[5])
    assert tree.depth.max() >= (6 if num_actions == 2 else 3)


@pytest.mark.parametrize(
    "changed",
    [
        {"discount": 0.5},
        {"pb_c_init": 3.0},
        {"pb_c_base": 4.0},
        {"min_q_range": 5.0},
        {"num_simulations": 1},
        {"num_simulations": 2},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_every_constant_is_used_as_the_naive_search_uses_it(changed):
    assert_equal_to_naive(FakeNetwork([7, 8], 4), CONSTANTS._replace(**changed), seeds=[1, 2])


@pytest.mark.parametrize("num_actions", [2, 5, 18])
@pytest.mark.parametrize("levels", [2, 3])
def test_many_exact_ties_are_broken_as_the_naive_search_breaks_them(num_actions, levels):
    network = FakeNetwork([1, 2, 3], num_actions, levels=levels, uniform=True)
    assert_equal_to_naive(network, CONSTANTS._replace(discount=1.0), seeds=[5, 6, 7])


def test_nothing_to_tell_the_actions_apart_visits_all_equally():
    network = FakeNetwork([1], 5, levels=2, uniform=True)
    network.opinion = lambda b, path: (np.float32(0), np.full(5, 0.2, np.float32), np.float32(0))
    assert run(network, CONSTANTS, [3]).root_visits.tolist() == [[6] * 5]


def test_a_tree_does_not_depend_on_its_batch():
    keys, seeds = [5, 6, 7, 5], [1, 2, 3, 4]
    together = run(FakeNetwork(keys, 6), CONSTANTS, seeds)
    for b in range(len(keys)):
        alone = run(FakeNetwork(keys[b : b + 1], 6), CONSTANTS, seeds[b : b + 1])
        for of_batch, of_one in zip(together, alone, strict=True):
            np.testing.assert_array_equal(of_batch[b], of_one[0])


def test_one_action_makes_a_chain():
    tree = assert_equal_to_naive(FakeNetwork([2, 3], 1), CONSTANTS, seeds=[1, 1])
    assert tree.root_visits.tolist() == [[30], [30]]
    assert tree.depth.max(1).tolist() == [30, 30]


def test_the_first_simulation_is_a_fair_lot_whatever_the_priors():
    roots, num_actions = 2000, 5
    policy = np.tile(np.array([0.96, 0.01, 0.01, 0.01, 0.01], np.float32), (roots, 1))
    zeros = np.zeros(roots, np.float32)
    seeds = np.random.default_rng(0).integers(2**32, size=roots)
    tree = search(
        Evaluation(zeros, policy, zeros),
        lambda node, parents, actions: Evaluation(zeros, policy, zeros),
        CONSTANTS._replace(num_simulations=1),
        seeds,
    )
    assert tree.root_visits.sum(1).tolist() == [1] * roots
    assert chi_square(tree.root_visits.sum(0)) < 18.5  # 4 degrees of freedom, p = 0.001
    assert num_actions == np.count_nonzero(tree.root_visits.sum(0))


def chosen_at_root(policy, seeds, simulations):
    """What `select` takes when nothing is visited, so that scores follow the priors."""
    batch = len(seeds)
    tree = new_tree(np.tile(np.array(policy, np.float32), (batch, 1)), np.zeros(batch), 1, seeds)
    tree.visits[:, ROOT] = 1 + simulations
    parents, actions = np.zeros(batch, np.int64), np.zeros(batch, np.int64)
    select(tree, CONSTANTS, parents, actions)
    assert set(parents) == {ROOT}
    return actions


@pytest.mark.parametrize("simulations", [1, 2, 7])
def test_ties_are_uniform_over_seeds(simulations):
    seeds = np.arange(3000)  # consecutive on purpose
    policy = [0.2, 0.2, 0.04, 0.2, 0.04, 0.04, 0.04, 0.04, 0.2]
    counts = np.bincount(chosen_at_root(policy, seeds, simulations), minlength=9)
    assert counts[[2, 4, 5, 6, 7]].sum() == 0
    assert chi_square(counts[[0, 1, 3, 8]]) < 16.3  # 3 degrees of freedom, p = 0.001


@pytest.mark.parametrize("largest_first", [True, False])
def test_scores_within_the_tolerance_tie_and_others_do_not(largest_first):
    assert TIE_TOLERANCE == oracles.TIE_TOLERANCE == 1e-6
    seeds = np.arange(300)
    for difference, ties in ((6e-7, True), (1.2e-6, False)):
        policy = np.array([0.5, 0.5 - difference])  # scores are 1.25 times as far apart
        found = chosen_at_root(policy if largest_first else policy[::-1], seeds, 1)
        assert set(found) == ({0, 1} if ties else {0 if largest_first else 1})


def test_nodes_and_simulations_break_ties_independently():
    """One vector of noise per root would make every node of a tree choose alike."""
    seeds = np.random.default_rng(1).integers(2**32, size=4000).tolist()
    for one, other in (((0, 1), (1, 1)), ((0, 1), (0, 2)), ((3, 0), (4, 0))):
        table = np.zeros((3, 3), int)
        for seed in seeds:
            table[random_below(seed, *one, 3), random_below(seed, *other, 3)] += 1
        assert chi_square(table) < 26.1  # 8 degrees of freedom, p = 0.001


def test_random_below_equals_its_definition_in_python_integers():
    words = [0, 1, 2, 50, 2**16, 2**31, 2**32 - 1]
    for seed, node, simulation in itertools.product(words, [0, 1, 50], [0, 3, 49]):
        for bound in (1, 2, 18):
            arguments = (seed, node, simulation, bound)
            assert random_below(*arguments) == naive_random_below(*arguments)


def test_the_range_of_q_is_that_of_all_edges_now():
    """Values change as returns come in: an extreme of the past must not stay."""
    tree = run(FakeNetwork([1, 2], 3), CONSTANTS, [1, 2])
    for b in range(2):
        value = tree.value_sum[b, 1:] / tree.visits[b, 1:]
        q = tree.reward[b, 1:] + CONSTANTS.discount * value
        assert tree.q_range[b].tolist() == pytest.approx([q.min(), q.max()])


def test_edges_repeat_what_their_nodes_say():
    tree = run(FakeNetwork([1, 2], 3), CONSTANTS, [1, 2])
    for b in range(2):
        for node in range(1, CONSTANTS.num_simulations + 1):
            edge = (b, tree.parent[b, node], tree.action[b, node])
            assert tree.children[edge] == node
            assert tree.edge_visits[edge] == tree.visits[b, node]
            assert tree.edge_q[edge] == tree.q[b, node]
        assert (tree.edge_visits[b] > 0).sum() == CONSTANTS.num_simulations


# With a real network: latents and prefix states.


def action_path(tree, b, node):
    path = []
    while node != ROOT:
        parent = tree.parent[b, node]
        path.append(tree.children[b, parent].tolist().index(node))
        node = parent
    return path[::-1]


def unrolled(network, observation, path, horizon):
    """The network's output along `path`, one state at a time from the root."""
    output = network.initial_inference(observation)
    for depth, action in enumerate(path):
        state = output.prefix_state
        if depth % horizon == 0:
            state = type(state)(*(torch.zeros_like(part) for part in state))
        output = network.recurrent_inference(output.latent, state, torch.tensor([action]))
    return output


@pytest.mark.slow
@pytest.mark.parametrize("horizon", [1, 2, 3])
@torch.inference_mode()
def test_every_node_is_what_unrolling_its_actions_gives(horizon):
    config = tiny("search.num_simulations=20")
    network = opinionated(config, num_actions=2)
    observations = random_images(3)
    constants = puct_constants(config, horizon)
    seeds = np.array([1, 2, 3])
    tree, root = search_tree(network, observations, constants, None, seeds, "float32")
    assert tree.depth.max() > horizon + 1
    for b in range(3):
        seen = observations[b : b + 1].float() / 255
        known = {}
        assert root.value[b] == pytest.approx(
            to_scalar(network.initial_inference(seen).value).item(), abs=1e-4
        )
        for node in range(21):
            path = action_path(tree, b, node)
            expected = as_evaluation(unrolled(network, seen, path, horizon))
            known[tuple(path)] = expected
            np.testing.assert_allclose(tree.prior[b, node], expected.policy[0], atol=1e-4)
            np.testing.assert_allclose(
                tree.value_prefix[b, node], expected.value_prefix[0], atol=1e-3
            )
            if tree.visits[b, node] == 1:
                assert tree.value_sum[b, node] == pytest.approx(expected.value[0], abs=1e-3)
            if node == ROOT:
                continue
            before = known[tuple(path[:-1])].value_prefix[0]
            restarts = (len(path) - 1) % horizon == 0
            reward = expected.value_prefix[0] - (0 if restarts else before)
            assert tree.reward[b, node] == pytest.approx(reward, abs=2e-3)


@torch.inference_mode()
def test_the_prefix_state_matters_to_the_test_above():
    """The network of the test above says different things with and without a restart."""
    config = tiny()
    network = opinionated(config, num_actions=2)
    seen = torch.rand(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    one, other = (
        to_scalar(unrolled(network, seen, [0, 1, 1], horizon).value_prefix).item()
        for horizon in (1, 3)
    )
    assert abs(one - other) > 1e-2


def test_search_states_summarises_the_tree():
    config = tiny("search.num_simulations=12")
    network = opinionated(config)
    observations = random_images(4)
    constants, seeds = puct_constants(config, 5), np.arange(4)
    found = search_states(network, observations, constants, None, seeds, "float32")
    with torch.inference_mode():
        tree, root = search_tree(network, observations, constants, None, seeds, "float32")
    np.testing.assert_array_equal(found.visits, tree.root_visits)
    np.testing.assert_array_equal(found.value, tree.root_value.astype(np.float32))
    np.testing.assert_array_equal(found.network_value, root.value)
    np.testing.assert_array_equal(found.depth, tree.depth.max(1))
    assert found.visits.sum(1).tolist() == [12] * 4


@pytest.mark.parametrize("fraction", [0.0, 0.25, 1.0])
@torch.inference_mode()
def test_root_noise_is_mixed_into_the_priors_of_the_root_alone(fraction):
    config = tiny()
    network = opinionated(config)
    observations = random_images(2)
    noise = np.array([[1, 0, 0], [0.2, 0.3, 0.5]], np.float32)
    constants, seeds = puct_constants(config, 5), np.arange(2)
    given = RootNoise(noise, fraction)
    tree, root = search_tree(network, observations, constants, given, seeds, "float32")
    plain = as_evaluation(network.initial_inference(observations.float() / 255)).policy
    np.testing.assert_allclose(root.policy, tree.prior[:, ROOT])
    np.testing.assert_allclose(
        tree.prior[:, ROOT], (1 - fraction) * plain + fraction * noise, atol=1e-6
    )
    first = tree.children[0, ROOT].tolist().index(1)
    below = unrolled(network, observations[:1].float() / 255, [first], 5)
    np.testing.assert_allclose(tree.prior[0, 1], below.policy.softmax(-1)[0], atol=1e-5)
