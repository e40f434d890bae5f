"""The first planner against the search and the rules that it is made of."""

from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import numpy as np
import pytest

from ezcli.efficientzero.components import PLANNERS, planners_for
from ezcli.efficientzero.inference import RootNoise, search_states
from ezcli.efficientzero.planner import Plan, best_path
from ezcli.efficientzero.policy import root_noise, sample_actions, tie_seeds, visit_policy
from ezcli.efficientzero.puct import Puct
from ezcli.efficientzero.search import Evaluation, puct_constants, search
from ezcli.efficientzero.search_settings import PlannerName
from ezcli.efficientzero.searcher import Searcher
from ezcli.efficientzero.tree import PuctConstants
from tests.efficientzero.helpers import ACTIONS, opinionated, random_images, tiny
from tests.oracles import FakeNetwork

CONFIG = tiny("search.num_simulations=12")
BATCH = 6


@pytest.fixture(scope="module")
def frozen():
    return Searcher(opinionated(CONFIG), "float32", "cpu")


@pytest.fixture
def planner():
    return Puct(CONFIG, 5, ACTIONS)


def rng():
    return np.random.default_rng(3)


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_one_planner_serves_every_purpose():
    found = planners_for(tiny("components.value_prefix=false"), ACTIONS)
    assert found.acting is found.targets is found.evaluation
    assert found.acting.constants.prefix_horizon == 1
    assert planners_for(CONFIG, ACTIONS).acting.constants.prefix_horizon == 5


def test_the_names_of_planners_are_those_that_settings_allow():
    assert set(PLANNERS) == set(get_args(PlannerName))


@pytest.mark.parametrize("purpose", ["acting", "targets", "evaluation"])
def test_each_purpose_may_have_a_planner_of_its_own(purpose, monkeypatch):
    class Other(Puct):
        pass

    monkeypatch.setitem(PLANNERS, "other", Other)
    planning = CONFIG.planning.model_copy(update={purpose: "other"})
    found = planners_for(CONFIG.model_copy(update={"planning": planning}), ACTIONS)
    kinds = {name: type(planner) for name, planner in found._asdict().items()}
    assert kinds == dict.fromkeys(found._fields, Puct) | {purpose: Other}


def test_draws_are_noise_and_ties_in_this_order(planner):
    alpha, expected = CONFIG.search.root_dirichlet_alpha, rng()
    found = planner.draws(rng(), BATCH, explores=True)
    np.testing.assert_array_equal(found.noise, root_noise(expected, BATCH, ACTIONS, alpha))
    np.testing.assert_array_equal(found.ties, tie_seeds(expected, BATCH))


def test_an_evaluation_draws_no_noise(planner):
    found = planner.draws(rng(), BATCH, explores=False)
    assert found.noise is None
    np.testing.assert_array_equal(found.ties, tie_seeds(rng(), BATCH))
    assert found.part(slice(2, 4)).noise is None


@pytest.mark.parametrize("explores", [True, False])
def test_a_plan_is_what_a_search_finds(planner, frozen, explores):
    images, draws = random_images(BATCH), planner.draws(rng(), BATCH, explores)
    plan = planner.plan(frozen, images, draws)
    fraction = CONFIG.search.root_exploration_fraction
    noise = RootNoise(draws.noise, fraction) if explores else None
    constants = puct_constants(CONFIG, 5)
    found = search_states(frozen.network, images, constants, noise, draws.ties, "float32")
    np.testing.assert_array_equal(plan.visits, found.visits)
    shares = found.visits / found.visits.sum(1, keepdims=True)
    np.testing.assert_allclose(plan.policy, shares, atol=1e-7)
    np.testing.assert_array_equal(plan.best, [row.tolist().index(max(row)) for row in plan.visits])
    assert same(plan[2:5], (found.value, found.network_value, found.depth))
    assert planner.gives_policies


def test_noise_changes_a_plan(planner, frozen):
    images, draws = random_images(BATCH), planner.draws(rng(), BATCH, explores=True)
    with_noise = planner.plan(frozen, images, draws)
    without = planner.plan(frozen, images, draws._replace(noise=None))
    assert (with_noise.visits != without.visits).any()


def test_a_plan_is_the_same_in_parts_and_in_threads(planner, frozen):
    images, draws = random_images(BATCH), planner.draws(rng(), BATCH, explores=True)
    parts = [slice(i, i + 2) for i in range(0, BATCH, 2)]
    with ThreadPoolExecutor(2) as executor:
        plans = list(executor.map(lambda i: planner.plan(frozen, images[i], draws.part(i)), parts))
    alone = [planner.plan(frozen, images[i], draws.part(i)) for i in parts]
    assert all(same(one, other) for one, other in zip(plans, alone, strict=True))
    whole = planner.plan(frozen, images, draws)
    np.testing.assert_array_equal(np.concatenate([plan.visits for plan in plans]), whole.visits)


@pytest.mark.parametrize("train_steps", [0, 10**6])
def test_actions_follow_visits_at_the_temperature_of_the_phase(train_steps):
    config = tiny("acting.temperatures=[1.0, 0.25]", "acting.temperature_until=[0.5]")
    visits = np.tile(np.array([1, 2, 4], np.int32), (BATCH, 1))
    nothing = np.zeros(BATCH, np.float32)
    plan = Plan(visit_policy(visits), visits.argmax(1), nothing, nothing, nothing, visits)
    temperature = 1.0 if train_steps == 0 else 0.25
    expected = sample_actions(visit_policy(visits, temperature), rng())
    found = Puct(config, 5, ACTIONS).act(plan, 0, train_steps, rng())
    np.testing.assert_array_equal(found, expected)


# ------------------------------------------------------------------ the best path


def searched(horizon, num_actions, key):
    """A tree of 40 simulations on a made-up network."""
    network = FakeNetwork([key], num_actions)
    constants = PuctConstants(40, 0.95, 1.25, 19652.0, 0.01, horizon)
    return search(
        Evaluation(*network.root()),
        lambda node, parents, actions: Evaluation(*network.evaluate(parents, actions)),
        constants,
        np.array([5]),
    )


@pytest.mark.parametrize("horizon", [1, 2, 5])
@pytest.mark.parametrize(("num_actions", "key"), [(2, 1), (2, 8), (3, 2), (18, 3)])
def test_the_best_path_goes_to_the_most_visited_children(horizon, num_actions, key):
    tree = searched(horizon, num_actions, key)
    path = best_path(tree, int(tree.root_visits[0].argmax()), horizon)
    assert path
    node = 0
    for edge in path:
        children = [n for n in range(len(tree.parent[0])) if tree.parent[0, n] == node]
        best = max(children, key=lambda n: (tree.visits[0, n], -action_to(tree, n)))
        assert edge.action == action_to(tree, best)
        assert edge.visits == tree.visits[0, best]
        assert edge.reward == tree.reward[0, best]
        assert edge.value_prefix == tree.value_prefix[0, best]
        node = best
    assert node not in tree.parent[0]  # it ends where nothing was tried


def action_to(tree, node):
    """The action that leads to a node from its parent."""
    (action,) = np.flatnonzero(tree.children[0, tree.parent[0, node]] == node)
    return int(action)


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_a_prefix_is_the_sum_of_the_rewards_since_it_began(horizon):
    path = best_path(searched(horizon, 2, 8), 0, horizon)
    assert len(path) > 2
    assert [edge.restarts for edge in path] == [i % horizon == 0 for i in range(len(path))]
    total = 0.0
    for edge in path:
        total = edge.reward + (0.0 if edge.restarts else total)
        assert edge.value_prefix == pytest.approx(total, abs=1e-5)
