"""Operations of a run, against counts by hand and counts during a run."""

import math

import pytest
import torch
from torch import nn

from ezcli.bench.operations import Operations, macs, num_parameters, operations, parameters
from ezcli.commands.config_options import ConfigOptions, build_config
from ezcli.config.resolve import with_changes
from ezcli.config.run import RunConfig
from ezcli.envs.make import make_env
from ezcli.envs.protocol import EnvSpec
from ezcli.runs.compute import resolve_compute
from ezcli.runs.trainer import Trainer, make_network
from ezcli.runs.workload import amounts
from tests.runs.helpers import tiny


def counted(config: RunConfig) -> tuple[EnvSpec, Operations, dict[str, int]]:
    spec = make_env(config.env, evaluation=False).spec
    network = make_network(config, spec.frame_shape, len(spec.action_names))
    assert sum(parameters(network).values()) == num_parameters(network)
    return spec, operations(config, spec, network), parameters(network)


@pytest.fixture(scope="module")
def paper():
    return counted(build_config(ConfigOptions("atari100k", game="pong", device="cpu")))


def test_the_papers_network_has_the_parameters_that_its_layers_give(paper):
    _, _, parts = paper
    block = 2 * (64 * 64 * 9 + 2 * 64)
    atoms, actions = 601, 6
    reduction = 64 * 16 + 16 + 2 * 16
    assert parts["prediction"] == block
    assert parts["dynamics"] == 65 * 64 * 9 + 2 * 64 + block
    assert parts["value"] == reduction + 577 * 32 + 2 * 32 + 33 * atoms
    assert parts["policy"] == reduction + 577 * 32 + 2 * 32 + 33 * actions
    lstm = 4 * 512 * (576 + 512 + 2)
    assert parts["value prefix"] == reduction + lstm + 2 * 512 + 513 * 32 + 2 * 32 + 33 * atoms
    assert sum(parts.values()) == 8_350_312


def test_the_papers_inferences_by_hand(paper):
    _, found, _ = paper

    def convolution(inputs: int, outputs: int, side: int) -> int:
        return inputs * outputs * 9 * side**2

    stem = convolution(12, 32, 48) + 2 * convolution(32, 32, 48)
    halving = 2 * convolution(32, 64, 24) + convolution(64, 64, 24)  # its skip is one too
    rest = 2 * (convolution(64, 64, 24) + convolution(64, 64, 12) + convolution(64, 64, 6))
    reduction = 64 * 16 * 36
    f = 2 * convolution(64, 64, 6) + 2 * (reduction + 576 * 32) + 32 * (601 + 6)
    assert found.initial_inference == stem + halving + rest + f
    lstm = 4 * 512 * (576 + 512)
    g = 3 * convolution(64, 64, 6)  # what an action adds is a table
    g += reduction + lstm + 512 * 32 + 32 * 601
    assert found.recurrent_inference == g + f
    assert found.search == found.initial_inference + 50 * found.recurrent_inference


@pytest.mark.slow
def test_a_train_step_computes_forward_once_and_backward_about_twice():
    config = with_changes(tiny(), {"components.consistency": False})
    _, found, _ = counted(config)
    forward = found.initial_inference + config.loss.unroll_steps * found.recurrent_inference
    times = found.train_step / (config.loss.batch_size * forward)
    assert 2.8 < times < 3.1  # no gradient goes into the images; planes of actions are convolved


@pytest.mark.slow
def test_consistency_costs_both_its_branches():
    config = tiny()
    spec, with_it, _ = counted(config)
    _, without, _ = counted(with_changes(config, {"components.consistency": False}))
    network = make_network(config, spec.frame_shape, len(spec.action_names))
    images = config.loss.batch_size * config.loss.unroll_steps
    shape = (spec.frame_shape[0] * config.env.frame_stack, *spec.frame_shape[1:])
    seen = macs(lambda: network.representation(torch.zeros(2, *shape))) // 2

    def weights(*parts: nn.Module) -> int:
        return sum(m.weight.numel() for p in parts for m in p.modules() if isinstance(m, nn.Linear))

    online = 3 * weights(network.projector, network.predictor)  # forward, and backward twice
    target = seen + weights(network.projector)  # forward alone
    assert with_it.train_step - without.train_step == images * (online + target)


def test_a_matrix_product_is_counted_once():
    left, right = torch.empty(3, 5, device="meta"), torch.empty(5, 7, device="meta")
    assert macs(lambda: left @ right) == 3 * 5 * 7


RUN = {
    "env.max_episode_steps": 400,
    "schedule.env_steps": 1200,
    "schedule.random_env_steps": 400,
    "schedule.train_steps_per_env_step": 0.1,
    "schedule.sample_ahead": 4,
    "schedule.target_update_interval": 16,
    "schedule.acting_update_interval": 16,
    "schedule.final_train_steps": 16,
    "loss.batch_size": 8,
    "replay.capacity": 2000,
    "replay.priority_exponent": 0.0,
    "reanalyse.ratio": 1.0,
    "evaluation.interval": 0,
    "record.metrics_interval": 4,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"reanalyse.memoise": False},
        {"value.value_source": "search"},
        {"reanalyse.ratio": 0.0},
        {"reanalyse.ratio": 0.5},
        {"value.td_steps": 9, "components.off_policy_correction": False},
        {"reanalyse.ratio": 0.0, "value.value_source": "search"},
        {"value.target": "search"},
        {"value.target": "mixed"},
        {"value.target": "gae", "value.gae_steps": 7},
        {"replay.capacity": 600},
    ],
    ids=str,
)
def test_the_amounts_are_those_of_a_run(changes):
    """Windows drawn uniformly from long games: what the arithmetic assumes."""
    config = with_changes(tiny("keydoor"), RUN | changes)
    lines = []
    for event in Trainer(config, resolve_compute(config.compute)).events():
        lines += [event.metrics] if event.metrics else []
    expected = amounts(config)
    assert expected.train_steps == lines[-1]["train_steps"] == 96
    for name in ("asked", "searched", "evaluated"):
        counted = sum(line[f"reanalyse_{name}"] for line in lines)
        assert getattr(expected, name) == pytest.approx(counted, rel=0.1, abs=20), name


def test_without_the_memo_each_target_is_a_search_and_with_it_no_more_than_each_state():
    config = build_config(ConfigOptions("atari100k", game="pong", device="cpu"))
    found = amounts(config)
    networks = math.ceil(config.schedule.train_steps / config.schedule.target_update_interval)
    assert found.searched < networks * config.schedule.env_steps
    again = amounts(with_changes(config, {"reanalyse.memoise": False}))
    assert again.searched == again.asked == found.asked
    assert found.asked == 120_000 * 253 * 6  # 0.99 of 256, rounded


def test_a_very_long_run_is_counted_at_once():
    config = build_config(
        ConfigOptions(
            "atari100k", game="pong", device="cpu", overrides=["schedule.env_steps=1000000000"]
        )
    )
    assert amounts(config).asked == pytest.approx(config.schedule.train_steps * 253 * 6)
