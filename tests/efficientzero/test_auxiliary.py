"""The auxiliary losses by hand, their targets, and their heads."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ezcli.efficientzero.auxiliary import contrastive, cosine_consistency, reconstruction
from ezcli.efficientzero.components import AUXILIARY, add_decoder, rules_for
from ezcli.efficientzero.decoder import Decoder
from ezcli.efficientzero.hyperparameters import LossSettings
from ezcli.efficientzero.learner import Learner
from ezcli.efficientzero.loss import losses, unroll
from ezcli.efficientzero.moving_average import MovingAverage
from ezcli.efficientzero.network import Network
from tests.efficientzero.helpers import ACTIONS, make_network, opinionated, random_batch, tiny
from tests.failing import fails

B, K = 4, 3
NAMES = tuple(AUXILIARY)


def config_of(name, *overrides):
    small = f"loss.batch_size={B}", f"loss.unroll_steps={K}"
    return tiny(*small, f"loss.auxiliary={name}", *overrides)


def whole_network(config, seed=0):
    """The network with the head that the config needs."""
    network = make_network(config, seed=seed)
    size = config.env.frame_size
    add_decoder(network, config, (1, size, size), seed + 1)
    return network


def make_learner(config):
    return Learner(whole_network(config), config, rules_for(config), "float32")


def latents_of(network):
    return [torch.randn(B, *network.latent_shape) for _ in range(K)]


def numbers_of(learner):
    """All that a learner's train_steps change."""
    return {
        **{f"weights.{name}": array for name, array in learner.network.state().items()},
        **{name: np.asarray(value) for name, value in learner.state().items()},
    }


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert np.array_equal(one[name], other[name]), name


def test_the_setting_names_all_auxiliary_losses():
    assert LossSettings.model_fields["auxiliary"].annotation.__args__ == NAMES


def test_an_unknown_loss_is_refused():
    with fails("EZ-CONFIG-VALUE", "loss.auxiliary", "contrastive"):
        config_of("infonce")


@pytest.mark.parametrize("name", NAMES)
def test_dropping_consistency_drops_the_loss_that_is_named(name):
    rules = rules_for(config_of(name, "components.consistency=false"))
    assert rules.auxiliary_loss is AUXILIARY["none"].loss
    assert rules.target_momentum == 0


@pytest.mark.parametrize("name", NAMES)
def test_all_arms_start_with_the_same_h_g_f_and_projection(name):
    plain, arm = (whole_network(config_of(n)).state_dict() for n in ("simsiam", name))
    assert {key for key in arm if not key.startswith("decoder")} == plain.keys()
    assert all(torch.equal(arm[key], plain[key]) for key in plain)
    assert (arm.keys() == plain.keys()) == (name != "reconstruction")


@pytest.mark.parametrize("name", NAMES)
def test_the_target_gets_no_gradient(name):
    """Only the encoding of the first observation reaches h."""
    config = config_of(name)
    learner = make_learner(config)
    network, batch = learner.network.train(), random_batch(config)
    outputs = unroll(network, batch.observations[:, 0], batch.actions, 5)
    cut = [outputs[0], *(o._replace(latent=o.latent.detach()) for o in outputs[1:])]
    loss = learner.rules.auxiliary_loss
    found = losses(network, batch, cut, loss, learner.average)["consistency"].sum()
    assert found.requires_grad == (name != "none")
    if found.requires_grad:
        found.backward()
        assert all(p.grad is None for p in network.representation.parameters())
        used = network.decoder if name == "reconstruction" else network.projector
        assert all(p.grad is not None for p in used.parameters())


def test_a_decoder_is_trained_by_reconstruction_alone():
    config = config_of("reconstruction", "components.consistency=false")
    learner = make_learner(config)
    before = {name: tensor.clone() for name, tensor in learner.network.decoder.state_dict().items()}
    learner.step(random_batch(config))
    after = learner.network.decoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_spr_without_momentum_is_simsiam_bit_for_bit():
    configs = config_of("simsiam"), config_of("spr", "loss.auxiliary_momentum=0")
    learners = [make_learner(config) for config in configs]
    for seed in range(3):
        for learner in learners:
            learner.step(random_batch(learner.settings, seed=seed))
    assert_same(*map(numbers_of, learners))


def test_spr_compares_with_the_moving_average():
    network, other = opinionated(config_of("spr")), opinionated(config_of("spr"), seed=1)
    average = MovingAverage(other, 0.99).eval()
    batch, latents = random_batch(config_of("spr")), latents_of(network)
    with torch.no_grad():
        found = cosine_consistency(network, latents, batch, average)
        for b in range(B):
            for k in range(K):
                online = network.predict_projection(latents[k][b : b + 1])[0]
                seen = other.representation(batch.observations[b : b + 1, k + 1])
                target = other.project(seen)[0]
                expected = -(online @ target) / online.norm() / target.norm()
                assert found[b, k].item() == pytest.approx(expected.item(), abs=1e-5)


def test_the_average_follows_the_weights_after_each_train_step():
    config = config_of("spr", "optimiser.warmup_fraction=0", "loss.auxiliary_momentum=0.75")
    learner = make_learner(config)
    expected = {n: p.clone() for n, p in learner.average.named_parameters()}
    for seed in range(3):
        learner.step(random_batch(config, seed=seed))
        online = dict(learner.network.named_parameters())
        for name, weight in expected.items():
            expected[name] = 0.75 * weight + 0.25 * online[name].detach()
    for name, weight in learner.average.named_parameters():
        torch.testing.assert_close(weight, expected[name])
        assert not weight.requires_grad
        if not name.endswith("bias"):
            assert not torch.equal(weight, online[name]), name


def test_the_state_of_the_average_is_whole():
    config = config_of("spr", "optimiser.warmup_fraction=0")
    one, other = make_learner(config), make_learner(config)
    one.step(random_batch(config))
    for mine, saved in ((other.network, one.network), (other.average, one.average), (other, one)):
        mine.restore(saved.state())
    for learner in (one, other):
        learner.step(random_batch(config, seed=1))
    assert_same(numbers_of(one), numbers_of(other))
    assert_same(one.average.state(), other.average.state())


def test_info_nce_by_hand():
    config = config_of("contrastive")
    network, batch = opinionated(config), random_batch(config)
    batch.is_state[1] = torch.tensor([1, 1, 0, 0])
    latents = latents_of(network)
    with torch.no_grad():
        found = contrastive(network, latents, batch)
        assert found.shape == (B, K)
        for k in range(K):
            online = network.project(latents[k])
            seen = network.project(network.representation(batch.observations[:, k + 1]))
            for b in range(B):
                there = [i for i in range(B) if i == b or batch.is_state[i, k + 1]]
                similar = [F.cosine_similarity(online[b], seen[i], dim=0) / 0.1 for i in there]
                expected = torch.stack(similar).logsumexp(0) - similar[there.index(b)]
                assert found[b, k].item() == pytest.approx(expected.item(), abs=1e-4)


def test_info_nce_of_equal_latents_is_the_log_of_the_batch():
    config = config_of("contrastive")
    network, batch = make_network(config).eval(), random_batch(config)
    latents = [torch.ones(B, *network.latent_shape)] * K
    same = batch._replace(observations=batch.observations[:1].expand(B, -1, -1, -1, -1))
    found = contrastive(network, latents, same)
    torch.testing.assert_close(found, torch.full((B, K), math.log(B)))


def test_reconstruction_reads_the_newest_frame_before_augmentation():
    config = config_of("reconstruction")
    network, batch = whole_network(config).eval(), random_batch(config)
    latents = latents_of(network)
    with torch.no_grad():
        found = reconstruction(network, latents, batch)
        for b in range(B):
            for k in range(K):
                decoded = network.decoder(latents[k][b : b + 1])[0]
                frame = batch.frames[b, k + 1, -1:].float() / 255
                expected = ((decoded - frame) ** 2).mean().item()
                assert found[b, k].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("downsamplings", range(5))
@pytest.mark.parametrize("frame", [(3, 96, 96), (1, 84, 84), (4, 21, 10), (1, 17, 17)])
def test_the_decoder_mirrors_the_encoder(downsamplings, frame):
    settings = tiny(f"network.downsamplings={downsamplings}").network
    network = Network(settings, frame, ACTIONS, 5, seed=0)
    decoder = Decoder(settings, frame).eval()
    with torch.no_grad():
        latent = network.eval().representation(torch.rand(2, *frame))
        assert decoder(latent).shape == (2, *frame)

    def convolutions(module, kind):
        return sum(type(m) is kind for m in module.modules())

    halvings = sum(max(m.stride) > 1 for m in decoder if isinstance(m, torch.nn.ConvTranspose2d))
    assert halvings == downsamplings
    assert convolutions(decoder, torch.nn.ConvTranspose2d) == max(2, downsamplings)


def test_the_weighted_gradient_into_the_encoder_is_measured_now_and_then():
    norms = {}
    for coefficient in (1.0, 3.0):
        config = config_of("simsiam", f"loss.consistency_coefficient={coefficient}")
        learner, batch = make_learner(config), random_batch(config)
        norms[coefficient] = learner.step(batch).auxiliary_gradient.item()
        assert learner.step(batch).auxiliary_gradient is None  # the second train_step
        learner.train_steps = 500
        assert learner.step(batch).auxiliary_gradient is None
    assert norms[3.0] == pytest.approx(3 * norms[1.0], rel=1e-5)
    alone = [f"loss.{name}_coefficient=0" for name in ("value", "policy", "value_prefix")]
    config = config_of("simsiam", "loss.consistency_coefficient=1.0", *alone)
    learner = make_learner(config)
    learner.network.train()
    learner.objective(learner.network, random_batch(config)).total.backward()
    gradients = [p.grad for p in learner.network.representation.parameters()]
    assert norms[1.0] == pytest.approx(torch.cat([g.flatten() for g in gradients]).norm().item())


def test_nothing_is_measured_without_an_auxiliary_loss():
    config = config_of("none")
    assert make_learner(config).step(random_batch(config)).auxiliary_gradient is None
