"""The Gumbel planner: random numbers, plans, actions and paths."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ezcli.efficientzero.components import PLANNERS
from ezcli.efficientzero.gumbel import Gumbel, decision
from ezcli.efficientzero.inference import RootNoise, search_tree
from ezcli.efficientzero.planner import best_path
from ezcli.efficientzero.search import gumbel_constants
from ezcli.efficientzero.searcher import Searcher
from tests.efficientzero.helpers import ACTIONS, opinionated, random_images, tiny

CONFIG = tiny("search.num_simulations=12", "gumbel.candidates=2")
BATCH = 6


@pytest.fixture(scope="module")
def frozen():
    return Searcher(opinionated(CONFIG), "float32", "cpu")


@pytest.fixture
def planner():
    return PLANNERS["gumbel"](CONFIG, 5, ACTIONS)


def rng():
    return np.random.default_rng(3)


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_constants_are_the_settings():
    config = tiny(
        "search.num_simulations=7",
        "gumbel.candidates=3",
        "gumbel.c_visit=11.0",
        "gumbel.c_scale=0.5",
        "gumbel.scaling=node",
        "search.min_q_range=0.03",
        "value.discount=0.9",
    )
    found = Gumbel(config, 4, ACTIONS).constants
    assert found == (7, 0.9, 3, 11.0, 0.5, True, 0.03, 4)
    assert not gumbel_constants(CONFIG, 4, ACTIONS).scales_by_node


@pytest.mark.parametrize(
    ("num_actions", "candidates"), [(2, 2), (3, 2), (4, 4), (15, 4), (16, 8), (18, 8)]
)
def test_the_candidates_of_the_authors_code(num_actions, candidates):
    config = tiny("gumbel.candidates_rule=by-actions", "gumbel.candidates=5")
    assert gumbel_constants(config, 5, num_actions).candidates == candidates


def test_draws_are_gumbel_noise_and_ties(planner):
    found = planner.draws(rng(), 20_000, explores=True)
    assert found.noise.dtype == np.float32
    assert found.noise.shape == (20_000, ACTIONS)
    assert found.noise.mean() == pytest.approx(np.euler_gamma, abs=0.03)
    assert found.noise.var() == pytest.approx(np.pi**2 / 6, abs=0.08)
    assert found.ties.max() < 2**32


def test_an_evaluation_draws_no_noise(planner):
    assert planner.draws(rng(), BATCH, explores=False).noise is None


@pytest.mark.parametrize("explores", [True, False])
@pytest.mark.parametrize("scaling", ["tree", "node"])
def test_a_plan_is_what_its_tree_decides(frozen, explores, scaling):
    planner = Gumbel(tiny(f"gumbel.scaling={scaling}", "gumbel.candidates=2"), 5, ACTIONS)
    images, draws = random_images(24), planner.draws(rng(), 24, explores)
    if explores:
        draws = draws._replace(noise=50 * draws.noise)  # as loud as this network's logits
    plan = planner.plan(frozen, images, draws)
    noise = RootNoise(draws.noise, 0.0) if explores else None
    tree, root = search_tree(
        frozen.network, images, planner.constants, noise, draws.ties, "float32"
    )
    policy, best = decision(tree, planner.constants)
    np.testing.assert_array_equal(plan.visits, tree.root_visits)
    np.testing.assert_allclose(plan.policy, policy, rtol=1e-6)
    np.testing.assert_array_equal(plan.best, best)
    np.testing.assert_allclose(plan.value, tree.root_value, rtol=1e-6)
    np.testing.assert_array_equal(plan.network_value, root.value)
    np.testing.assert_array_equal(plan.depth, tree.depth.max(1))
    np.testing.assert_array_equal(root.policy, tree.prior[:, 0])  # noise leaves it alone
    assert planner.gives_policies


def test_noise_changes_who_is_tried_and_nothing_of_the_policy_otherwise(planner, frozen):
    images, draws = random_images(BATCH), planner.draws(rng(), BATCH, explores=True)
    loud = draws._replace(noise=50 * draws.noise)  # as loud as this network's logits
    with_noise = planner.plan(frozen, images, loud)
    without = planner.plan(frozen, images, draws._replace(noise=None))
    assert (with_noise.visits != without.visits).any()
    constant = planner.plan(frozen, images, draws._replace(noise=np.ones_like(draws.noise)))
    np.testing.assert_array_equal(constant.policy, without.policy)


def test_a_plan_is_the_same_in_parts_and_in_threads(planner, frozen):
    images, draws = random_images(BATCH), planner.draws(rng(), BATCH, explores=True)
    parts = [slice(i, i + 2) for i in range(0, BATCH, 2)]
    with ThreadPoolExecutor(2) as executor:
        plans = list(executor.map(lambda i: planner.plan(frozen, images[i], draws.part(i)), parts))
    alone = [planner.plan(frozen, images[i], draws.part(i)) for i in parts]
    assert all(same(one, other) for one, other in zip(plans, alone, strict=True))
    whole = planner.plan(frozen, images, draws)
    np.testing.assert_array_equal(np.concatenate([plan.best for plan in plans]), whole.best)


@pytest.mark.parametrize("train_steps", [0, 10**6])
def test_the_winner_is_played_at_every_time(planner, frozen, train_steps):
    plan = planner.plan(frozen, random_images(BATCH), planner.draws(rng(), BATCH, explores=True))
    np.testing.assert_array_equal(planner.act(plan, 0, train_steps, rng()), plan.best)


def test_a_thought_shows_the_candidates_and_the_path_of_the_winner(planner, frozen):
    images, draws = random_images(1), planner.draws(rng(), 1, explores=False)
    thought, plan = planner.think(frozen, images, draws), planner.plan(frozen, images, draws)
    assert thought.action == plan.best[0]
    assert thought.visits.tolist() == plan.visits[0].tolist()
    assert np.count_nonzero(thought.visits) == 2  # candidates
    assert sum(thought.visits) == 12
    assert thought.value == pytest.approx(plan.value[0])
    assert thought.network_value == plan.network_value[0]
    assert thought.depth == plan.depth[0]
    assert thought.policy.sum() == pytest.approx(1)
    tree, _ = frozen.tree(planner.constants, images, None, draws.ties)
    assert thought.best_path == best_path(tree, thought.action, 5)
    assert thought.best_path[0].action == thought.action
    assert thought.best_path[0].visits == thought.visits[thought.action]
