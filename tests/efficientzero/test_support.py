"""Scalars to distributions and back."""

import math

import pytest
import torch

from ezcli.efficientzero.squash import largest_value
from ezcli.efficientzero.support import squash, to_categorical, to_scalar, unsquash

SUPPORT = 300


def wide():
    """Both signs, from 1e-8 to 5e4, and zero; 6e4 is about the end of the support."""
    positive = torch.logspace(-8, math.log10(5e4), 2001)
    return torch.cat([-positive.flip(0), torch.zeros(1), positive])


def h(x):
    """The definition, in Python floats."""
    return math.copysign(math.sqrt(abs(x) + 1) - 1, x) + 0.001 * x


def test_squash_equals_its_definition():
    expected = torch.tensor([h(x) for x in wide().double().tolist()], dtype=torch.float64)
    torch.testing.assert_close(squash(wide().double()), expected, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(squash(wide()).double(), expected, rtol=1e-5, atol=1e-7)


def test_unsquash_inverts_squash_in_float64():
    x = wide().double()
    torch.testing.assert_close(unsquash(squash(x)), x, rtol=1e-9, atol=1e-15)


def test_unsquash_is_exact_to_float32():
    """The textbook form is off by 1e-4 near 0: its square roots cancel."""
    y = torch.cat([-torch.logspace(-8, 2.4, 500), torch.zeros(1), torch.logspace(-8, 2.4, 500)])
    torch.testing.assert_close(unsquash(y).double(), unsquash(y.double()), rtol=2e-6, atol=1e-12)
    one = squash(torch.tensor(1.0, dtype=torch.float64))
    assert unsquash(one).item() == pytest.approx(1.0, rel=1e-12)


def test_scalars_survive_the_round_trip_through_a_distribution():
    x = wide()
    found = to_scalar(to_categorical(x, SUPPORT).log())
    torch.testing.assert_close(found, x, rtol=3e-5, atol=1e-5)


def test_the_mass_is_one_on_two_neighbours_and_its_mean_the_squashed_value():
    x = wide()
    distribution = to_categorical(x, SUPPORT)
    assert distribution.shape == (len(x), 2 * SUPPORT + 1)
    assert (distribution >= 0).all()
    assert torch.allclose(distribution.sum(-1), torch.ones(len(x)), atol=1e-6)
    assert ((distribution > 0).sum(-1) <= 2).all()
    atoms = torch.arange(-SUPPORT, SUPPORT + 1, dtype=torch.float64)
    mean = (distribution.double() * atoms).sum(-1)
    torch.testing.assert_close(mean, squash(x).double(), rtol=1e-6, atol=1e-6)
    spread = atoms.expand_as(distribution).clone()
    spread[distribution == 0] = float("nan")
    width = spread.nan_to_num(-1e9).amax(-1) - spread.nan_to_num(1e9).amin(-1)
    assert (width <= 1).all()


@pytest.mark.parametrize("atom", [-300, -17, -1, 0, 1, 2, 299, 300])
def test_a_value_on_an_atom_hits_it_alone(atom):
    x = unsquash(torch.tensor(float(atom), dtype=torch.float64))
    distribution = to_categorical(x.round(decimals=10), SUPPORT)
    assert distribution.argmax().item() == atom + SUPPORT
    assert distribution.max().item() == pytest.approx(1, abs=1e-9)


def test_zero_is_the_middle_atom():
    expected = torch.zeros(11)
    expected[5] = 1
    assert torch.equal(to_categorical(torch.tensor(0.0), 5), expected)


def test_what_exceeds_the_support_is_clipped_to_its_ends():
    last = unsquash(torch.tensor(5.0, dtype=torch.float64)).item()
    for x in (last, last + 1, 1e6):
        for sign in (1, -1):
            distribution = to_categorical(torch.tensor(sign * x, dtype=torch.float64), 5)
            assert distribution[5 + sign * 5].item() == pytest.approx(1)
            assert distribution.sum().item() == pytest.approx(1)


def test_shapes_are_kept():
    x = torch.zeros(2, 3, 4)
    assert to_categorical(x, 7).shape == (2, 3, 4, 15)
    assert to_scalar(torch.zeros(2, 3, 15)).shape == (2, 3)


def test_uniform_logits_say_zero():
    torch.testing.assert_close(to_scalar(torch.zeros(4, 601)), torch.zeros(4), rtol=0, atol=1e-5)


def test_bfloat16_logits_are_read_in_float32():
    logits = to_categorical(torch.tensor([20.0]), 30).log().clamp(min=-100).bfloat16()
    assert to_scalar(logits).dtype == torch.float32
    assert to_scalar(logits).item() == pytest.approx(20, rel=0.02)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_last_two_atoms_share_what_lies_between_them(sign):
    x = unsquash(torch.tensor(sign * 4.75, dtype=torch.float64))
    expected = torch.zeros(11, dtype=torch.float64)
    expected[5 + sign * 4], expected[5 + sign * 5] = 0.25, 0.75
    torch.testing.assert_close(to_categorical(x, 5), expected)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_has_no_distribution(wrong):
    distribution = to_categorical(torch.tensor([1.0, wrong]), 5)
    assert distribution[0].sum() == 1
    assert distribution[1].isnan().any()


@pytest.mark.parametrize("support", [1, 2, 10, 20, 300, 100_000])
def test_the_largest_value_is_that_of_the_last_atom(support):
    logits = torch.full((2, 2 * support + 1), -1000.0)
    logits[0, 0] = logits[1, -1] = 0
    largest = largest_value(support)
    assert to_scalar(logits).tolist() == pytest.approx([-largest, largest], rel=1e-5)
    assert h(largest) == pytest.approx(support, rel=1e-9)
