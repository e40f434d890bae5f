"""The comparison of the two modes against its definition."""

import numpy as np
import pytest
import torch

from ezcli.efficientzero.loss import unroll
from ezcli.efficientzero.modes import MODES, compare_modes, compared
from ezcli.efficientzero.support import to_scalar
from tests.efficientzero.helpers import opinionated, random_batch, tiny

HORIZON = 5


def compare(network, batch):
    is_state = batch.is_state.bool()
    return compare_modes(network, batch.observations[:, 0], batch.actions, is_state, HORIZON)


@pytest.fixture
def batch():
    made = random_batch(tiny("loss.batch_size=16"))
    made.is_state[:5, -1] = 0  # past the end of their episodes
    return made


def test_the_numbers_are_those_of_their_definition(batch):
    network = opinionated(tiny())
    found = compare(network, batch)
    first, last = batch.observations[:, 0], batch.actions.shape[1]
    rows = batch.is_state[:, last].bool()
    assert 1 < rows.sum() < len(rows)
    with torch.no_grad():
        e, t = (
            unroll(mode(), first, batch.actions, HORIZON) for mode in (network.eval, network.train)
        )
    one, other = (to_scalar(o[last].value_prefix)[rows].numpy() for o in (e, t))
    assert found["modes_prefix_rmse_last"] == pytest.approx(
        np.sqrt(np.mean((one - other) ** 2)) / other.std(), rel=1e-5
    )
    assert found["modes_prefix_bias_last"] == pytest.approx(
        (one.mean() - other.mean()) / other.std(), rel=1e-4
    )
    assert found["modes_prefix_correlation_last"] == pytest.approx(
        np.corrcoef(one, other)[0, 1], rel=1e-5
    )
    policies = [o[0].policy.softmax(-1)[batch.is_state[:, 0].bool()].numpy() for o in (e, t)]
    variation = np.abs(policies[0] - policies[1]).sum(1).mean() / 2
    assert found["modes_policy_variation_root"] == pytest.approx(variation, rel=1e-5)
    assert list(found) == list(MODES)


@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_one_function_has_no_error(norm, batch):
    found = compare(opinionated(tiny(f"network.norm={norm}")), batch)
    for name, number in found.items():
        assert number == pytest.approx(1.0 if "correlation" in name else 0.0, abs=1e-6), name


def test_a_shift_is_bias_and_a_scale_is_not():
    numbers = torch.tensor([1.0, 2.0, 3.0, 6.0])
    std = numbers.std(correction=0).item()
    assert compared(numbers + 2, numbers) == pytest.approx((2 / std, 2 / std, 1.0))
    mirrored = 2 * numbers.mean() - numbers
    assert compared(mirrored, numbers) == pytest.approx((2.0, 0.0, -1.0), abs=1e-6)


def test_the_network_is_left_as_it_was(batch):
    network = opinionated(tiny()).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    compare(network, batch)
    assert network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
