"""bfloat16 and CUDA: the same functions, with less precision or on another device."""

import numpy as np
import pytest
import torch

from ezcli.config.resolve import resolve
from ezcli.efficientzero.batch import Batch
from ezcli.efficientzero.components import rules_for
from ezcli.efficientzero.inference import search_states
from ezcli.efficientzero.learner import STEP_METRICS, Learner
from ezcli.efficientzero.network_copies import frozen
from ezcli.efficientzero.search import puct_constants
from ezcli.runs.compute import resolve_compute
from ezcli.runs.trainer import Trainer, make_network

SHAPE, ACTIONS = (1, 32, 32), 6


@pytest.fixture
def network(tiny_config):
    """A network whose heads have opinions: their last layers do not start at zero here."""
    made = make_network(tiny_config, SHAPE, ACTIONS)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            if not parameter.any():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return made


def make_batch(config, device="cpu") -> Batch:
    size, steps = config.loss.batch_size, config.loss.unroll_steps
    rng = np.random.default_rng(0)
    channels = SHAPE[0] * config.env.frame_stack

    def tensor(array):
        return torch.from_numpy(np.asarray(array, np.float32)).to(device)

    return Batch(
        observations=tensor(rng.random((size, steps + 1, channels, *SHAPE[1:]))),
        actions=torch.from_numpy(rng.integers(ACTIONS, size=(size, steps))).to(device),
        is_state=tensor(np.ones((size, steps + 1))),
        value_prefix=tensor(rng.normal(size=(size, steps))),
        value=tensor(rng.normal(size=(size, steps + 1))),
        policy=tensor(rng.dirichlet(np.ones(ACTIONS), size=(size, steps + 1))),
        has_policy=tensor(np.ones((size, steps + 1))),
        weights=tensor(np.ones(size)),
        frames=tensor(rng.integers(256, size=(size, steps + 1, channels, *SHAPE[1:]))).byte(),
    )


def learnt(network, config, precision, device="cpu"):
    learner = Learner(network.to(device), config, rules_for(config), precision)
    return learner, learner.step(make_batch(config, device))


def searched(network, config, precision, device="cpu"):
    rng = np.random.default_rng(1)
    channels = SHAPE[0] * config.env.frame_stack
    images = rng.integers(256, size=(8, channels, *SHAPE[1:]), dtype=np.uint8)
    return search_states(
        frozen(network).to(device),
        torch.from_numpy(images).to(device),
        puct_constants(config, 5),
        None,
        np.arange(8, dtype=np.int64),
        precision,
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_parameter_gets_a_gradient(precision, network, tiny_config):
    learner, _ = learnt(network, tiny_config, precision)
    missing = [
        name
        for name, parameter in learner.network.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    # A bias before a batch-norm, or one that every class shares, cannot matter.
    assert all(name.endswith("bias") for name in missing), missing


def test_bfloat16_learns_from_about_the_same_losses(network, tiny_config):
    exact = learnt(frozen(network).requires_grad_(True), tiny_config, "float32")[1]
    rough = learnt(network, tiny_config, "bfloat16")[1]
    losses = slice(0, STEP_METRICS.index("gradient_norm"))
    torch.testing.assert_close(rough.metrics[losses], exact.metrics[losses], rtol=0.03, atol=0.03)
    assert not torch.equal(rough.metrics, exact.metrics)


def test_bfloat16_sees_about_the_same_values(network, tiny_config):
    exact, rough = (searched(network, tiny_config, p) for p in ("float32", "bfloat16"))
    np.testing.assert_allclose(rough.network_value, exact.network_value, atol=0.1)
    assert (rough.visits.sum(1) == tiny_config.search.num_simulations).all()
    assert not np.array_equal(rough.network_value, exact.network_value)


@pytest.mark.gpu
def test_cuda_learns_from_the_same_losses(network, tiny_config):
    exact = learnt(frozen(network).requires_grad_(True), tiny_config, "float32")[1]
    cuda = learnt(network, tiny_config, "float32", "cuda")[1]
    torch.testing.assert_close(cuda.metrics.cpu(), exact.metrics, rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
def test_cuda_searches_the_same(network, tiny_config):
    exact = searched(network, tiny_config, "float32")
    cuda = searched(network, tiny_config, "float32", "cuda")
    np.testing.assert_allclose(cuda.network_value, exact.network_value, atol=1e-3)
    assert (cuda.visits == exact.visits).mean() > 0.9


@pytest.mark.gpu
def test_a_run_goes_through_on_cuda(tiny_config):
    config = resolve(tiny_config.model_dump(), ["compute.device=cuda", "env.max_episode_steps=40"])
    trainer = Trainer(config, resolve_compute(config.compute))
    lines = [event.metrics for event in trainer.events() if event.metrics]
    assert lines[-1]["train_steps"] == config.schedule.train_steps
    assert trainer.frames.frames.device.type == "cuda"
