"""The network of the preset `atari100k` against the published numbers, and small ones."""

import numpy as np
import pytest
import torch
from torch import nn

from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.efficientzero.batch import PrefixState
from ezcli.efficientzero.network import Network
from ezcli.efficientzero.norms import ROOT
from ezcli.efficientzero.support import to_scalar
from tests.efficientzero.helpers import make_network, tiny

PARAMETERS = {
    "representation": 318_016,
    "dynamics": 2_382_281,
    "dynamics.lstm": 2_232_320,
    "prediction": 133_215,
    "projector": 4_465_664,
    "predictor": 1_051_136,
    "": 8_350_312,
}
# Millions of multiply-accumulates for one state, as printed in design/performance.md.
MULTIPLY_ACCUMULATES = {
    "representation": "148.6",
    "dynamics": "6.30",
    "dynamics.lstm": "2.23",
    "prediction": "2.78",
    "projector": "4.46",
    "predictor": "1.05",
}


@pytest.fixture(scope="module")
def atari100k():
    config = resolve(read_toml(preset_path("atari100k")))
    return Network(config.network, (12, 96, 96), 6, config.value.support, seed=0)


@pytest.mark.parametrize("part", PARAMETERS)
def test_parameters_are_the_published_ones(atari100k, part):
    parameters = atari100k.get_submodule(part).parameters()
    assert sum(parameter.numel() for parameter in parameters) == PARAMETERS[part]


def count(module, inputs, output):
    """Multiply-accumulates of one layer for one state."""
    if isinstance(module, nn.Conv2d):
        kernel = module.kernel_size[0] * module.kernel_size[1]
        return output.numel() * module.in_channels // module.groups * kernel
    if isinstance(module, nn.Linear):
        return output.numel() * module.in_features
    if isinstance(module, nn.LSTMCell):
        return 4 * module.hidden_size * (module.input_size + module.hidden_size)
    return 0


@pytest.fixture(scope="module")
def work(atari100k):
    """Multiply-accumulates by name of layer, of each function of the network."""
    found = {}
    hooks = [
        module.register_forward_hook(
            lambda module, inputs, output, name=name: found.update(
                {name: found.get(name, 0) + count(module, inputs, output)}
            )
        )
        for name, module in atari100k.named_modules()
        if not list(module.children())
    ]
    atari100k.eval()
    functions = {}
    with torch.no_grad():
        output = atari100k.initial_inference(torch.zeros(1, 12, 96, 96))
        functions["initial"] = found.copy()
        found.clear()
        atari100k.recurrent_inference(output.latent, output.prefix_state, torch.tensor([0]))
        functions["recurrent"] = found.copy()
        found.clear()
        atari100k.predict_projection(output.latent)
        functions["consistency"] = found.copy()
    for hook in hooks:
        hook.remove()
    return functions


def millions(found, part=""):
    return (
        sum(n for name, n in found.items() if f"{name}.".startswith(f"{part}." if part else ""))
        / 1e6
    )


@pytest.mark.parametrize("part", MULTIPLY_ACCUMULATES)
def test_multiply_accumulates_of_each_part_are_the_published_ones(work, part):
    layers = work["initial"] | work["recurrent"] | work["consistency"]
    digits = len(MULTIPLY_ACCUMULATES[part].partition(".")[2])
    assert f"{millions(layers, part):.{digits}f}" == MULTIPLY_ACCUMULATES[part]


def test_multiply_accumulates_of_each_inference_are_the_published_ones(work):
    assert f"{millions(work['initial']):.1f}" == "151.4"
    assert f"{millions(work['recurrent']):.2f}" == "9.09"
    assert f"{millions(work['consistency']):.2f}" == f"{4.46 + 1.05:.2f}"


def test_every_parameter_is_used(atari100k, work):
    called = {name for layers in work.values() for name in layers}
    for name, module in atari100k.named_modules():
        if next(module.parameters(recurse=False), None) is not None:
            assert name in called


def test_the_latent_is_64_by_6_by_6(atari100k):
    assert atari100k.latent_shape == (64, 6, 6)


@pytest.mark.parametrize(("downsamplings", "side"), [(0, 16), (1, 8), (2, 4), (3, 2), (4, 1)])
def test_each_downsampling_halves_the_frame(downsamplings, side):
    config = tiny(f"network.downsamplings={downsamplings}")
    network = make_network(config).eval()
    assert network.latent_shape == (4, side, side)
    with torch.no_grad():
        output = network.initial_inference(torch.rand(2, 4, 16, 16))
        assert output.latent.shape == (2, 4, side, side)
        output = network.recurrent_inference(
            output.latent, output.prefix_state, torch.tensor([0, 2])
        )
    assert output.latent.shape == (2, 4, side, side)
    assert output.value.shape == output.value_prefix.shape == (2, 11)
    assert output.policy.shape == (2, 3)
    assert output.prefix_state.hidden.shape == output.prefix_state.cell.shape == (2, 16)


def test_values_prefixes_and_policies_start_uniform():
    network = make_network(tiny())
    output = network.initial_inference(torch.rand(5, 4, 16, 16))
    assert not output.value.any()
    assert not output.policy.any()
    assert output.value_prefix is None
    assert not output.prefix_state.hidden.any()
    assert not output.prefix_state.cell.any()
    output = network.recurrent_inference(
        output.latent, output.prefix_state, torch.tensor([0, 1, 2, 0, 1])
    )
    for logits in (output.value, output.policy, output.value_prefix):
        assert not logits.any()
    torch.testing.assert_close(to_scalar(output.value), torch.zeros(5), rtol=0, atol=1e-6)
    assert output.prefix_state.hidden.any()


def weights(network, *parts):
    return {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not parts or name.partition(".")[0] in parts
    }


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    assert_same(weights(make_network(tiny(), seed=5)), weights(make_network(tiny(), seed=5)))
    one, other = (make_network(tiny(), seed=seed).representation[0].weight for seed in (5, 6))
    assert not torch.equal(one, other)


def test_h_g_and_f_start_the_same_whatever_the_projection():
    parts = "representation", "dynamics", "prediction"
    narrow = make_network(tiny("network.projection=4", "network.projection_bottleneck=2"))
    wide = make_network(tiny("network.projection=64", "network.projection_bottleneck=32"))
    assert narrow.projector[0].weight.shape != wide.projector[0].weight.shape
    assert_same(weights(narrow, *parts), weights(wide, *parts))


def test_building_a_network_leaves_the_random_numbers_of_torch_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    make_network(tiny(), seed=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_building_a_network_leaves_the_batch_norms_as_new():
    for module in make_network(tiny()).modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert not module.running_mean.any()
            assert (module.running_var == 1).all()
            assert module.num_batches_tracked == 0
            assert module.momentum == 0.1


def test_the_first_weights_do_not_depend_on_the_number_of_threads():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        other = make_network(tiny())
    finally:
        torch.set_num_threads(threads)
    assert_same(weights(make_network(tiny())), weights(other))


def test_the_action_is_a_plane_of_its_share():
    """Action a is a constant plane a / A on top of the latent."""
    network = make_network(tiny()).eval()
    seen = []
    hook = network.dynamics.convolution.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0])
    )
    output = network.initial_inference(torch.rand(3, 4, 16, 16))
    network.recurrent_inference(output.latent, output.prefix_state, torch.tensor([0, 1, 2]))
    hook.remove()
    assert torch.equal(seen[0][:, :4], output.latent)
    expected = torch.tensor([0, 1 / 3, 2 / 3]).view(3, 1, 1).expand(3, 4, 4)
    torch.testing.assert_close(seen[0][:, 4], expected)


def test_no_convolution_of_three_by_three_has_a_bias(atari100k):
    for module in atari100k.modules():
        if isinstance(module, nn.Conv2d):
            assert (module.bias is None) == (module.kernel_size == (3, 3))


def test_the_projector_ends_in_a_batch_norm_without_relu():
    network = make_network(tiny())
    assert isinstance(network.projector[-1], nn.BatchNorm1d)
    network.train()
    projected = network.project(torch.randn(32, *network.latent_shape))
    assert (projected < 0).any()
    np.testing.assert_allclose(projected.mean(0).detach(), 0, atol=1e-5)


def test_the_predictor_is_as_narrow_as_it_is_said_to_be():
    network = make_network(tiny("network.projection=24", "network.projection_bottleneck=7"))
    wide, narrow = network.predictor[0], network.predictor[-1]
    assert (wide.in_features, wide.out_features) == (24, 7)
    assert (narrow.in_features, narrow.out_features) == (7, 24)


def test_evaluation_uses_running_statistics():
    network = make_network(tiny()).eval()
    images = torch.rand(4, 4, 16, 16)
    with torch.no_grad():
        together = network.initial_inference(images).latent
        alone = network.initial_inference(images[:1]).latent
    torch.testing.assert_close(together[:1], alone)


def test_latents_are_scaled_to_0_and_1_one_by_one_where_the_settings_say_so():
    plain, scaled = (
        make_network(tiny(f"network.latent_scaling={choice}")).eval()
        for choice in ("false", "true")
    )
    assert_same(weights(plain), weights(scaled))
    images, actions = torch.rand(3, 4, 16, 16), torch.tensor([0, 1, 2])
    with torch.no_grad():
        before, after = plain.initial_inference(images), scaled.initial_inference(images)
        for b in range(3):
            low, high = before.latent[b].min(), before.latent[b].max()
            torch.testing.assert_close(after.latent[b], (before.latent[b] - low) / (high - low))
        following = scaled.recurrent_inference(after.latent, after.prefix_state, actions).latent
        raw = plain.recurrent_inference(after.latent, after.prefix_state, actions).latent
        for b in range(3):
            low, high = raw[b].min(), raw[b].max()
            torch.testing.assert_close(following[b], (raw[b] - low) / (high - low))


def dynamics_input(encoding: str, actions: list[int]) -> torch.Tensor:
    """What the first convolution of g sees behind the latent: [B, planes, 2, 2]."""
    dynamics = make_network(tiny(f"network.action_encoding={encoding}")).eval().dynamics
    seen: list[torch.Tensor] = []
    dynamics.convolution.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    channels, height, width = make_network(tiny()).latent_shape
    latents = torch.rand(len(actions), channels, height, width)
    units = torch.zeros(len(actions), dynamics.lstm.hidden_size)
    with torch.no_grad():
        dynamics(latents, PrefixState(units, units), torch.tensor(actions), ROOT)
    torch.testing.assert_close(seen[0][:, :channels], latents)
    return seen[0][:, channels:, :2, :2]


def test_an_action_is_one_plane_of_its_share_or_a_plane_of_its_own():
    ones = torch.ones(2, 2)
    scalar = dynamics_input("scalar", [0, 2])
    torch.testing.assert_close(scalar, torch.stack([0 * ones, ones * 2 / 3]).unsqueeze(1))
    one_hot = dynamics_input("one-hot", [0, 2])
    code = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]])
    torch.testing.assert_close(one_hot, code[:, :, None, None] * ones)


def test_a_constant_latent_is_scaled_to_zero():
    network = make_network(tiny("network.latent_scaling=true"))
    constant = torch.full((2, 4, 4, 4), 3.0, requires_grad=True)
    found = network.dynamics.scale(constant)
    found.sum().backward()
    assert not found.any()
    assert constant.grad.isfinite().all()


def test_each_latent_is_scaled_by_its_own_range():
    scale = make_network(tiny("network.latent_scaling=true")).dynamics.scale
    latents = torch.randn(3, 4, 2, 2) * torch.tensor([1.0, 5.0, 20.0]).view(3, 1, 1, 1)
    found = scale(latents).flatten(1)
    torch.testing.assert_close(found.amin(1), torch.zeros(3))
    torch.testing.assert_close(found.amax(1), torch.ones(3))


def test_an_embedded_action_is_normalised_over_its_planes():
    """A 1x1 convolution, a layer norm over planes and places, a ReLU (EfficientZero V2)."""
    for encoding, planes in (("scalar", 1), ("one-hot", 3)):
        config = tiny(f"network.action_encoding={encoding}", "network.action_embedding=5")
        dynamics = make_network(config).dynamics
        assert dynamics.convolution.in_channels == config.network.channels + 5
        convolution, norm, _ = dynamics.embedding
        assert (convolution.in_channels, convolution.out_channels) == (planes, 5)
        with torch.no_grad():
            norm.weight.uniform_(0.5, 2)
            norm.bias.uniform_(-1, 1)
        actions = torch.tensor([2, 0])
        code = torch.eye(3)[actions] if planes == 3 else (actions / 3)[:, None]
        linear = code @ convolution.weight[:, :, 0, 0].T + convolution.bias
        x = linear[:, :, None, None].expand(-1, -1, *norm.normalized_shape[1:])
        mean, variance = x.mean((1, 2, 3), True), x.var((1, 2, 3), unbiased=False, keepdim=True)
        expected = ((x - mean) / (variance + norm.eps).sqrt() * norm.weight + norm.bias).relu()
        found = dynamics.action_planes(actions, torch.float32)
        torch.testing.assert_close(found, expected)


def test_without_an_embedding_the_weights_are_as_before():
    plain, embedded = (make_network(tiny(f"network.action_embedding={n}")) for n in (0, 5))
    assert not any("embedding" in name for name in plain.state_dict())
    assert any("embedding" in name for name in embedded.state_dict())
    for name, weight in plain.representation.state_dict().items():
        assert torch.equal(weight, embedded.representation.state_dict()[name])


def test_the_heads_may_have_another_activation():
    plain, other = (make_network(tiny(f"network.head_activation={a}")) for a in ("relu", "elu"))
    kinds = [type(layer) for layer in (plain.prediction.value[2], other.prediction.value[2])]
    assert kinds == [nn.ReLU, nn.ELU]
    heads = other.prediction.value, other.prediction.policy, other.dynamics.value_prefix
    assert [sum(isinstance(layer, nn.ELU) for layer in head) for head in heads] == [1, 1, 1]
    assert sum(isinstance(module, nn.ELU) for module in other.modules()) == 3
