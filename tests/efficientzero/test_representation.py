"""Observations that are vectors: a perceptron as h, and g and f on latents of one pixel."""

import numpy as np
import pytest
import torch

from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.efficientzero.components import planners_for, rules_for
from ezcli.efficientzero.folded import fold
from ezcli.efficientzero.frames import FrameStore, RecentFrames
from ezcli.efficientzero.inference import search_states, to_network_input
from ezcli.efficientzero.learner import Learner
from ezcli.efficientzero.network import Network
from ezcli.efficientzero.norms import UNROLLED
from ezcli.efficientzero.searcher import Searcher
from tests.efficientzero.helpers import random_batch
from tests.efficientzero.test_folded import learnt
from tests.failing import fails

NUMBERS = 5
NORMS = ("batch", "batch-by-role", "batch-renorm", "group", "group-standardised", "layer", "rms")


def vectors(*overrides):
    """A small config whose observations are two vectors of NUMBERS."""
    small = [
        'network.representation="mlp"',
        "network.downsamplings=0",
        "network.channels=8",
        "loss.augmentation=false",
        "value.support=5",
        "env.frame_stack=2",
        "search.num_simulations=8",
    ]
    return resolve(read_toml(preset_path("smoke")), [*small, *overrides])


def network_of(config, seed=0):
    return Network(config.network, (2, 1, NUMBERS), 3, config.value.support, seed)


def with_opinions(config, seed=0):
    """A network whose statistics and heads are random."""
    network, generator = learnt(network_of(config, seed), seed), torch.Generator().manual_seed(seed)
    for head in (
        network.prediction.value,
        network.prediction.policy,
        network.dynamics.value_prefix,
    ):
        head[-1].weight.data.normal_(0, 0.7, generator=generator)
    return network.requires_grad_(False)


def observations(count):
    numbers = np.random.default_rng(count).standard_normal((count, 2, 1, NUMBERS), np.float32)
    return torch.from_numpy(numbers)


def test_latents_have_one_pixel_and_no_weight_looks_beside_it():
    network = network_of(vectors())
    assert network.latent_shape == (8, 1, 1)
    assert network.initial_inference(observations(4)).latent.shape == (4, 8, 1, 1)
    sizes = {m.kernel_size for m in network.modules() if isinstance(m, torch.nn.Conv2d)}
    assert sizes == {(1, 1)}
    network.eval()
    one, other = observations(2)
    changed = other.clone()
    changed[1, 0, 3] += 1  # every number counts
    stacked = torch.stack([one, other, changed])
    latent = network.initial_inference(stacked).latent
    assert not torch.equal(latent[1], latent[2])


def test_h_g_and_f_of_images_are_what_they_were():
    config = resolve(read_toml(preset_path("catch")))
    network = Network(config.network, (1, 10, 5), 3, config.value.support, 0)
    sizes = {m.kernel_size for m in network.modules() if isinstance(m, torch.nn.Conv2d)}
    assert sizes == {(1, 1), (3, 3)}  # 1x1 before the heads
    assert network.latent_shape == (16, 10, 5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("encoding", ["one-hot", "scalar"])
def test_a_folded_network_says_the_same(norm, encoding):
    config = vectors(f"network.norm={norm}", f"network.action_encoding={encoding}")
    network = with_opinions(config)
    folded = fold(network, "float32")
    state, actions = observations(4), torch.tensor([0, 1, 2, 1])
    with torch.inference_mode():
        said = []
        for one in (network, folded):
            root = one.initial_inference(state)
            child = one.recurrent_inference(root.latent, root.prefix_state, actions, 0)
            later = one.recurrent_inference(child.latent, child.prefix_state, actions, UNROLLED)
            said.append([root.latent, root.value, root.policy, child.value, *later[2:], later[0]])
    for expected, found in zip(*said, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("planner", ["puct", "gumbel"])
def test_a_search_with_a_folded_network_finds_the_same(planner):
    config = vectors(f"planning.acting={planner}", f"planning.evaluation={planner}")
    network, state = with_opinions(config), observations(6)
    plan = planners_for(config, 3).acting
    draws = plan.draws(np.random.default_rng(0), len(state), explores=True)
    assert np.isfinite(plan.plan(Searcher(network, "float32", "cpu"), state, draws).policy).all()
    constants, seeds = plan.constants, np.arange(6, dtype=np.uint64)
    plain, folded = (
        search_states(one, state, constants, None, seeds, "float32")
        for one in (network, fold(network, "float32"))
    )
    np.testing.assert_array_equal(plain.visits, folded.visits)
    np.testing.assert_allclose(plain.value, folded.value, atol=1e-4)


def test_it_learns_what_a_vector_says():
    config = vectors("optimiser.warmup_fraction=0.0", "optimiser.name=adam")
    network = network_of(config)
    learner = Learner(network, config, rules_for(config), "float32")
    shape = (config.loss.batch_size, config.loss.unroll_steps + 1, 2, 1, NUMBERS)
    batch = random_batch(resolve(read_toml(preset_path("smoke")), ["value.support=5"]))
    generator = torch.Generator().manual_seed(0)
    batch = batch._replace(observations=torch.randn(shape, generator=generator))
    losses = [learner.step(batch).metrics.tolist() for _ in range(60)]
    assert losses[-1] < losses[0]


def test_float_frames_are_kept_exactly_and_reach_the_network_as_they_are():
    rng = np.random.default_rng(0)
    frames = [rng.standard_normal((1, 1, NUMBERS), np.float32) for _ in range(3)]
    store = FrameStore(3, (1, 1, NUMBERS), torch.device("cpu"), "float32")
    for row, frame in enumerate(frames):
        store.write(row, frame)
    found = to_network_input(store.observations(np.array([[0, 2]])))
    np.testing.assert_array_equal(found.numpy(), np.concatenate([frames[0], frames[2]])[None])
    recent = RecentFrames(frames[:1], 2, torch.device("cpu"))
    recent.add(0, frames[1])
    np.testing.assert_array_equal(
        recent.observations([0]).numpy(), np.concatenate(frames[:2])[None]
    )


def test_settings_that_do_not_fit_vectors_are_refused():
    with fails("EZ-CONFIG-COMBINATION", "downsamplings", "representation"):
        vectors("network.downsamplings=2")
    with fails("EZ-CONFIG-COMBINATION", "loss.augmentation", "network.representation"):
        vectors("loss.augmentation=true")
    with fails("EZ-CONFIG-VALUE", "network.representation", "mlp"):
        vectors("network.representation=mpl")
