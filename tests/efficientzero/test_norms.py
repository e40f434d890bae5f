"""Each norm: its two modes, and searches with it."""

import copy
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from ezcli.efficientzero.components import rules_for
from ezcli.efficientzero.folded import fold
from ezcli.efficientzero.inference import search_states, to_network_input
from ezcli.efficientzero.network_settings import NormName
from ezcli.efficientzero.norm_layers import (
    Affine,
    ByRole,
    Renorm,
    RMSNorm,
    StandardisedConv2d,
)
from ezcli.efficientzero.norms import ROOT, UNROLLED
from ezcli.efficientzero.policy import tie_seeds
from ezcli.efficientzero.recalibrate import recalibrate
from ezcli.efficientzero.search import puct_constants
from ezcli.efficientzero.support import to_scalar
from tests.efficientzero.helpers import (
    ACTIONS,
    make_network,
    opinionated,
    random_batch,
    random_images,
    tiny,
)

NORMS = get_args(NormName)
ONE_FUNCTION = ("group", "group-standardised", "layer", "rms")  # in both modes


def with_norm(norm, *overrides):
    return tiny(f"network.norm={norm}", *overrides)


def played(network, images, steps=3):
    """Outputs of h, and of g and f along some actions."""
    output = network.initial_inference(to_network_input(images))
    outputs, role = [output], ROOT
    for k in range(steps):
        action = (torch.arange(len(images)) + k) % ACTIONS
        output = network.recurrent_inference(output.latent, output.prefix_state, action, role)
        outputs.append(output)
        role = UNROLLED
    return outputs


def tensors(outputs):
    return [
        t for o in outputs for t in (o.latent, o.value, o.policy, o.value_prefix) if t is not None
    ]


@pytest.mark.parametrize("norm", NORMS)
def test_a_folded_network_says_the_same(norm):
    network, images = opinionated(with_norm(norm)), random_images(6)
    with torch.inference_mode():
        expected = tensors(played(network, images))
        found = tensors(played(fold(network, "float32"), images))
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("norm", NORMS)
def test_a_folded_network_searches_alike(norm):
    config = with_norm(norm, "search.num_simulations=8")
    network, images = opinionated(config), random_images(6)
    constants = puct_constants(config, rules_for(config).prefix_horizon)
    ties = tie_seeds(np.random.default_rng(0), 6)
    one = search_states(network, images, constants, None, ties, "float32")
    other = search_states(fold(network, "float32"), images, constants, None, ties, "float32")
    np.testing.assert_array_equal(one.visits, other.visits)
    np.testing.assert_allclose(one.value, other.value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_the_modes_are_one_function_where_nothing_is_running(norm):
    network, images = opinionated(with_norm(norm)), random_images(8)
    with torch.no_grad():
        evaluated = tensors(played(network.eval(), images))
        trained = tensors(played(network.train(), images))
    differ = max((a - b).abs().max().item() for a, b in zip(evaluated, trained, strict=True))
    assert (differ == 0) == (norm in ONE_FUNCTION)


@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_starts_from_the_same_weights(norm):
    plain = dict(make_network(tiny(), ACTIONS, 0).named_parameters())
    other = dict(make_network(with_norm(norm), ACTIONS, 0).named_parameters())
    layers = [name for name, weight in plain.items() if weight.ndim > 1]
    assert layers
    for name in layers:
        torch.testing.assert_close(other[name], plain[name], rtol=0, atol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_a_latent_depends_on_no_other_in_evaluation_mode(norm):
    network, images = opinionated(with_norm(norm)), random_images(6)
    with torch.inference_mode():
        together = tensors(played(network, images))
        alone = tensors(played(network, images[:1]))
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one[:1], other, rtol=1e-3, atol=1e-3)


def test_by_role_the_modes_agree_at_the_root_on_a_stationary_sample():
    """With one set of statistics for both roles the root's error is many times as large."""
    errors = {}
    for norm in ("batch", "batch-by-role"):
        network, images = opinionated(with_norm(norm)), random_images(64)
        with torch.no_grad():
            for _ in range(100):
                trained = played(network.train(), images)
            evaluated = played(network.eval(), images)
        value, other = (to_scalar(outputs[0].value) for outputs in (trained, evaluated))
        errors[norm] = ((value - other).square().mean().sqrt() / value.std()).item()
    assert errors["batch-by-role"] < 0.05
    assert errors["batch"] > 10 * errors["batch-by-role"]


@pytest.mark.parametrize("norm", NORMS)
def test_projector_and_predictor_keep_batch_norms(norm):
    """Without them the latents of the consistency loss collapse."""
    network = make_network(with_norm(norm), ACTIONS, 0)
    layers = [*network.projector, *network.predictor]
    assert [type(m) for m in layers if isinstance(m, nn.BatchNorm1d)] == [nn.BatchNorm1d] * 4
    plain = (nn.Linear, nn.BatchNorm1d, nn.ReLU)
    assert all(isinstance(layer, plain) for layer in layers)


def test_recalibrated_statistics_are_those_of_the_batches():
    network = opinionated(with_norm("batch-recalibrated")).eval()
    weights = {name: weight.clone() for name, weight in network.named_parameters()}
    projected = {n: b.clone() for n, b in network.projector.named_buffers()}
    inputs = []
    network.representation.register_forward_hook(lambda _m, x, _y: inputs.append(x[0]))
    batches = [random_batch(with_norm("batch")) for _ in range(3)]
    recalibrate(network, [(b.observations[:, 0], b.actions) for b in batches], prefix_horizon=5)
    assert not network.training
    for name, weight in network.named_parameters():
        assert torch.equal(weight, weights[name]), name
    first = network.representation[1]
    assert isinstance(first, torch.nn.BatchNorm2d)
    seen = [network.representation[0](x).mean((0, 2, 3)) for x in inputs]
    torch.testing.assert_close(first.running_mean, torch.stack(seen).mean(0))
    assert first.momentum == tiny().network.batch_norm_momentum
    for name, before in network.projector.named_buffers():
        assert torch.equal(before, projected[name]), name  # searches do not read it


def test_a_role_keeps_its_own_statistics():
    norm = ByRole(torch.nn.BatchNorm1d(3, momentum=1.0)).train()
    root, unrolled = torch.randn(50, 3), torch.randn(50, 3) * 4 + 2
    norm(root, ROOT)
    norm(unrolled, UNROLLED)
    torch.testing.assert_close(norm.running_mean, torch.stack([root.mean(0), unrolled.mean(0)]))
    torch.testing.assert_close(norm.running_var, torch.stack([root.var(0), unrolled.var(0)]))


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5, 5)])
def test_roles_for_each_latent_are_those_of_all(shape):
    plain = torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d
    norm = ByRole(plain(3, momentum=0.5)).train()
    for role in (ROOT, UNROLLED):
        norm(torch.randn(50, *shape[1:]) * (1 + role) + role, role)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    norm.eval()
    x, roles = torch.randn(shape), torch.tensor([0, 1, 1, 0])
    expected = torch.stack([norm(x, int(role))[i] for i, role in enumerate(roles)])
    torch.testing.assert_close(norm(x, roles), expected)
    torch.testing.assert_close(Affine(norm)(x, roles), expected)
    for role in (ROOT, UNROLLED):
        torch.testing.assert_close(norm.settled(role)(x), norm(x, role))


def test_renormalisation_begins_as_batch_norm():
    x, norm = torch.randn(20, 3) * 2 + 1, Renorm(torch.nn.BatchNorm1d(3, momentum=0.1)).train()
    norm.passes -= 1  # the first pass counts as none
    torch.testing.assert_close(norm(x), torch.nn.BatchNorm1d(3).train()(x))


def test_renormalisation_learns_from_running_statistics_in_the_end():
    norm = Renorm(torch.nn.BatchNorm1d(3, momentum=0.01)).train()
    norm.passes += 1000
    with torch.no_grad():
        norm.running_mean.fill_(0.5)
        norm.running_var.fill_(2.0)
    x = torch.randn(20, 3) + 0.5  # within what r and d may correct
    learnt, before = norm(x), (x - 0.5) / (2.0 + 1e-5) ** 0.5
    torch.testing.assert_close(learnt, before)
    assert not torch.equal(norm.running_mean, torch.full((1, 3), 0.5))


def test_rms_is_one_at_the_start():
    x = torch.randn(4, 3, 5, 5) * 7 + 3
    rms = RMSNorm(3)(x).square().mean((1, 2, 3)).sqrt()
    torch.testing.assert_close(rms, torch.ones(4))


def test_standardised_filters_have_mean_0_and_keep_variance():
    made = StandardisedConv2d(8, 4, 3, padding=1, bias=False)
    filters = made.standardised()
    torch.testing.assert_close(filters.mean((1, 2, 3)), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(filters.square().sum((1, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(made.plain()(x), made(x))


def test_a_single_pass_of_the_authors_moves_the_statistics_of_the_prediction_besides():
    networks = {}
    for norm in ("batch", "batch-authors"):
        config = with_norm(norm, "loss.unroll_steps=1")
        network = opinionated(config).train()
        batch = random_batch(config)
        size, steps = batch.actions.shape
        latents = [o.latent for o in played(network, random_images(size), steps)][1:]
        found = rules_for(config).auxiliary_loss(network, latents, batch, None)
        networks[norm] = found, network.state_dict()
    torch.testing.assert_close(networks["batch"][0], networks["batch-authors"][0])
    one, other = networks["batch"][1], networks["batch-authors"][1]
    moved = {name.split(".")[0] for name in one if not torch.equal(one[name], other[name])}
    assert moved == {"prediction"}


def test_the_authors_make_a_pass_for_each_step():
    config = with_norm("batch-authors")
    network, batch = opinionated(config).train(), random_batch(config)
    size, steps = batch.actions.shape
    latents = [o.latent for o in played(network, random_images(size), steps)][1:]
    again = copy.deepcopy(network)
    found = rules_for(config).auxiliary_loss(network, latents, batch, None)
    for step, latent in enumerate(latents):
        predicted = again.predict_projection(latent)
        seen = again.project(again.initial_inference(batch.observations[:, step + 1]).latent)
        similarity = nn.functional.cosine_similarity(predicted, seen, dim=1)
        torch.testing.assert_close(found[:, step], -similarity)
    for name, tensor in again.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], tensor, msg=name)
