"""The planner `one-step`: Q-learning on the model, against its definition."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from ezcli.efficientzero.batch import PrefixState
from ezcli.efficientzero.components import PLANNERS
from ezcli.efficientzero.norms import ROOT
from ezcli.efficientzero.one_step import OneStep
from ezcli.efficientzero.policy import epsilon_at, mean_entropy
from ezcli.efficientzero.searcher import Searcher
from ezcli.efficientzero.support import to_scalar
from tests.efficientzero.helpers import ACTIONS, make_network, opinionated, random_images, tiny
from tests.failing import fails
from tests.oracles import naive_one_step

CONFIG = tiny("value.discount=0.9")
BATCH = 6
MANY = 20_000


@pytest.fixture(scope="module")
def frozen():
    return Searcher(opinionated(CONFIG), "float32", "cpu")


@pytest.fixture
def planner():
    return PLANNERS["one-step"](CONFIG, 5, ACTIONS)


def rng():
    return np.random.default_rng(3)


def opinion_of(network, image):
    """From no action, or one, to (reward, value): one state and one action at a time."""

    @torch.inference_mode()
    def opinion(path):
        output = network.initial_inference(image[None].float() / 255)
        reward = 0.0
        for action in path:
            zeros = PrefixState(*(torch.zeros_like(x) for x in output.prefix_state))
            tried = torch.tensor([action])
            output = network.recurrent_inference(output.latent, zeros, tried, ROOT)
            reward = to_scalar(output.value_prefix).item()
        return reward, to_scalar(output.value).item()

    return opinion


@pytest.mark.parametrize("norm", ["batch", "batch-by-role", "layer"])
@pytest.mark.parametrize("explores", [True, False])
def test_a_plan_is_the_definition(norm, explores):
    config = tiny("value.discount=0.9", f"network.norm={norm}", "one_step.evaluation_epsilon=0.0")
    network, images = opinionated(config), random_images(24)
    planner = OneStep(config, 5, ACTIONS)
    draws = planner.draws(rng(), 24, explores)
    plan = planner.plan(Searcher(network, "float32", "cpu"), images, draws)
    for row, image in enumerate(images):
        q, own = naive_one_step(opinion_of(network, image), ACTIONS, 0.9)
        assert plan.best[row] == q.index(max(q))
        assert plan.value[row] == pytest.approx(max(q), rel=1e-3, abs=1e-3)
        assert plan.network_value[row] == pytest.approx(own, rel=1e-3, abs=1e-3)
    assert len(set(plan.best.tolist())) > 1
    assert (plan.depth.tolist(), plan.visits.tolist()) == ([1] * 24, [[1] * ACTIONS] * 24)


def test_it_gives_no_policies(planner, frozen):
    plan = planner.plan(frozen, random_images(BATCH), planner.draws(rng(), BATCH, True))
    assert not planner.gives_policies
    assert not planner.searches
    assert plan.policy.shape == (BATCH, ACTIONS)
    assert not plan.policy.any()
    assert np.isnan(mean_entropy(plan.policy))
    half = np.array([[0.5, 0.5], [0, 0]], np.float32)
    assert mean_entropy(half) == pytest.approx(np.log(2))


def test_the_prefix_of_one_step_is_its_reward_at_every_horizon(frozen):
    images, draws = random_images(BATCH), OneStep(CONFIG, 5, ACTIONS).draws(rng(), BATCH, True)
    one, other = (OneStep(CONFIG, h, ACTIONS).plan(frozen, images, draws) for h in (1, 5))
    np.testing.assert_array_equal(one.value, other.value)


@pytest.mark.parametrize("explores", [True, False])
def test_a_plan_is_the_same_in_parts_and_in_threads(planner, frozen, explores):
    images, draws = random_images(BATCH), planner.draws(rng(), BATCH, explores)
    parts = [slice(i, i + 2) for i in range(0, BATCH, 2)]
    with ThreadPoolExecutor(2) as executor:
        plans = list(executor.map(lambda i: planner.plan(frozen, images[i], draws.part(i)), parts))
    alone = [planner.plan(frozen, images[i], draws.part(i)) for i in parts]
    for one, other in zip(plans, alone, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    whole = planner.plan(frozen, images, draws)
    np.testing.assert_array_equal(np.concatenate([plan.best for plan in plans]), whole.best)
    found = np.concatenate([plan.value for plan in plans])
    np.testing.assert_allclose(found, whole.value, rtol=1e-4, atol=1e-5)


def test_epsilon_falls_over_a_share_of_the_run_and_stays():
    settings = CONFIG.one_step
    found = [epsilon_at(env_steps, 1000, settings) for env_steps in (0, 50, 99, 100, 101, 1000)]
    assert found == pytest.approx([1, 0.525, 0.0595, 0.05, 0.05, 0.05])
    at_once = settings.model_copy(update={"decay_fraction": 0.0})
    assert [epsilon_at(env_steps, 1000, at_once) for env_steps in (0, 1)] == [0.05, 0.05]


@pytest.mark.parametrize(("progress", "epsilon"), [(0.0, 0.8), (0.25, 0.5), (0.5, 0.2), (1, 0.2)])
@pytest.mark.parametrize("train_steps", [0, 10**6])
def test_it_acts_epsilon_greedily(planner, frozen, progress, epsilon, train_steps):
    settings = ("first_epsilon=0.8", "last_epsilon=0.2", "decay_fraction=0.5")
    config = tiny(*(f"one_step.{setting}" for setting in settings))
    plan = planner.plan(frozen, random_images(1), planner.draws(rng(), 1, True))
    plan = plan._replace(best=np.full(MANY, 2))
    env_steps = round(progress * config.schedule.env_steps)
    found = OneStep(config, 5, ACTIONS).act(plan, env_steps, train_steps, rng())
    shares = np.bincount(found, minlength=ACTIONS) / MANY
    expected = [epsilon / 3, epsilon / 3, 1 - epsilon + epsilon / 3]
    np.testing.assert_allclose(shares, expected, atol=0.02)


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_an_evaluation_is_epsilon_greedy_by_its_own_draws(epsilon, frozen):
    config = tiny(f"one_step.evaluation_epsilon={epsilon}")
    planner = OneStep(config, 5, ACTIONS)
    q = np.tile(np.array([0, 2, 1], np.float32), (MANY, 1))
    draws = planner.draws(rng(), MANY, explores=False)
    shares = np.bincount(planner._best(q, draws), minlength=ACTIONS) / MANY
    expected = [epsilon / 3, 1 - epsilon + epsilon / 3, epsilon / 3]
    np.testing.assert_allclose(shares, expected, atol=0.02)
    while_collecting = planner.draws(rng(), MANY, explores=True)
    assert while_collecting.noise is None
    assert set(planner._best(q, while_collecting)) == {1}


def test_one_of_equals_is_chosen_at_random(planner):
    q = np.tile(np.array([1, 0, 1], np.float32), (MANY, 1))
    found = planner._best(q, planner.draws(rng(), MANY, explores=True))
    np.testing.assert_allclose(np.bincount(found, minlength=3) / MANY, [0.5, 0, 0.5], atol=0.02)


def test_the_first_weights_prefer_no_action(planner):
    frozen = Searcher(make_network(CONFIG).eval(), "float32", "cpu")
    plan = planner.plan(frozen, random_images(64), planner.draws(rng(), 64, explores=True))
    assert set(plan.best.tolist()) == set(range(ACTIONS))


def test_a_thought_is_the_plan_of_one_state(planner, frozen):
    images, draws = random_images(1), planner.draws(rng(), 1, explores=False)
    thought, plan = planner.think(frozen, images, draws), planner.plan(frozen, images, draws)
    assert thought.action == plan.best[0]
    assert (thought.value, thought.network_value) == (plan.value[0], plan.network_value[0])
    assert (thought.depth, thought.visits.tolist()) == (1, [1] * ACTIONS)
    assert thought.policy.sum() == pytest.approx(1)
    assert thought.q.shape == (ACTIONS,)
    assert thought.value == thought.q.max() == thought.q[thought.action]
    (edge,) = thought.best_path
    assert (edge.action, edge.visits, edge.restarts) == (thought.action, 1, True)
    assert edge.reward == edge.value_prefix == frozen.look_ahead(images).reward[0, edge.action]


@pytest.mark.parametrize("head", ["value", "value_prefix"])
def test_what_is_not_finite_is_refused(planner, head):
    network = opinionated(CONFIG)
    layer = (network.prediction.value if head == "value" else network.dynamics.value_prefix)[-1]
    with torch.no_grad():
        layer.bias[0] = np.nan
    draws = planner.draws(rng(), 1, explores=True)
    with fails("EZ-RUN-NOT-FINITE", "1 of 1"):
        planner.plan(Searcher(network, "float32", "cpu"), random_images(1), draws)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gpu_plans_the_same(planner, precision):
    images, draws = random_images(24), planner.draws(rng(), 24, explores=True)
    network = opinionated(CONFIG)
    expected = planner.plan(Searcher(network, "float32", "cpu"), images, draws)
    searcher = Searcher(network.cuda(), precision, "cuda")
    found = planner.plan(searcher, images.cuda(), draws)
    near = 1e-3 if precision == "float32" else 0.5
    np.testing.assert_allclose(found.value, expected.value, rtol=near, atol=near)
