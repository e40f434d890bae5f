"""The search on a GPU is the search on the CPU: on a real one, or in Numba's simulator without one.

The simulator: `NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1`, as `make test-nojit` sets them.
"""

import numpy as np
import pytest
import torch
from numba import config as numba_config

from ezcli.efficientzero.folded import fold
from ezcli.efficientzero.inference import RootNoise, search_states
from ezcli.efficientzero.search import gumbel_constants, puct_constants
from ezcli.efficientzero.searcher import Searcher
from tests.efficientzero.helpers import opinionated, random_images, tiny
from tests.efficientzero.test_representation import observations as vectors_seen
from tests.efficientzero.test_representation import vectors, with_opinions

SIMULATED = bool(numba_config.ENABLE_CUDASIM)
DEVICES = [
    pytest.param(
        "cpu", marks=pytest.mark.skipif(not SIMULATED, reason="needs NUMBA_ENABLE_CUDASIM=1")
    ),
    pytest.param("cuda", marks=pytest.mark.gpu),
]
pytestmark = pytest.mark.parametrize("device", DEVICES)


@pytest.fixture(autouse=True)
def exact():
    """Convolutions in whole float32, whatever the size of the batch."""
    if not torch.cuda.is_available():
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def both(
    device, roots, size, horizon=5, num_actions=3, noise=None, seed=0, simulations=20, settings=()
):
    """What the search on the CPU and that on the device find, with the same network."""
    from ezcli.efficientzero.device_search import DeviceSearch

    config = tiny(f"search.num_simulations={simulations}", *settings)
    network = fold(opinionated(config, num_actions=num_actions), "float32").to(device)
    observations = random_images(roots, seed).to(device)
    constants = puct_constants(config, horizon)
    if settings:
        constants = gumbel_constants(config, horizon, num_actions)
    ties = np.random.default_rng(seed).integers(2**32, size=roots)
    plain = search_states(network, observations, constants, noise, ties, "float32")
    search = DeviceSearch(network, constants, size)
    return plain, search.search(observations, noise, ties), search, observations, ties


def assert_same(found, expected):
    np.testing.assert_array_equal(found.visits, expected.visits)
    np.testing.assert_array_equal(found.depth, expected.depth)
    np.testing.assert_allclose(found.value, expected.value, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.network_value, expected.network_value, rtol=1e-5, atol=1e-5)
    for name in ("prior", "q", "q_range"):
        one, other = getattr(found, name), getattr(expected, name)
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("horizon", [1, 2, 5])
@pytest.mark.parametrize("num_actions", [2, 6])
def test_the_same_visits(device, horizon, num_actions):
    expected, found, *_ = both(device, 4, 4, horizon, num_actions)
    assert_same(found, expected)
    assert expected.depth.max() > 3


def test_the_same_visits_where_observations_are_vectors(device):
    from ezcli.efficientzero.device_search import DeviceSearch

    config = vectors("search.num_simulations=20")
    network = fold(with_opinions(config), "float32").to(device)
    constants, ties = puct_constants(config, 5), np.arange(4, dtype=np.uint64)
    seen = vectors_seen(4).to(device)
    expected = search_states(network, seen, constants, None, ties, "float32")
    found = DeviceSearch(network, constants, 4).search(seen, None, ties.astype(np.int64))
    assert_same(found, expected)
    assert expected.depth.max() > 2


@pytest.mark.parametrize("scaling", ["tree", "node"])
@pytest.mark.parametrize(("num_actions", "candidates"), [(2, 8), (6, 3)])
def test_the_same_gumbel_search(device, num_actions, candidates, scaling):
    drawn = np.random.default_rng(1).gumbel(size=(4, num_actions)).astype(np.float32)
    settings = [f"gumbel.candidates={candidates}", f"gumbel.scaling={scaling}"]
    found = {}
    for loudness in (0, 50):  # as loud as this network's logits
        noise = RootNoise(loudness * drawn, 0.0)
        expected, found[loudness], *_ = both(device, 4, 4, 5, num_actions, noise, settings=settings)
        assert_same(found[loudness], expected)
        assert expected.depth.max() > 2
    if num_actions > candidates:
        assert (found[0].visits != found[50].visits).any()


def test_root_noise(device):
    noise = RootNoise(np.random.default_rng(1).dirichlet([0.3] * 3, 4).astype(np.float32), 0.25)
    expected, found, *_ = both(device, 4, 4, noise=noise)
    assert_same(found, expected)
    without, *_ = both(device, 4, 4)
    assert (expected.visits != without.visits).any()


def test_fewer_roots_than_there_is_room_for(device):
    """What fills up the rest changes nothing."""
    expected, found, *_ = both(device, 3, 8)
    assert_same(found, expected)
    assert found.visits.shape == (3, 3)


def test_nothing_is_left_of_the_search_before(device):
    _, first, search, observations, ties = both(device, 4, 4)
    search.search(random_images(4, seed=9).to(device), None, ties + 1)
    assert_same(search.search(observations, None, ties), first)
    fewer = search.search(observations[:2], None, ties[:2])
    np.testing.assert_array_equal(fewer.visits, first.visits[:2])


def test_bfloat16(device):
    config = tiny("search.num_simulations=10")
    constants = puct_constants(config, 5)
    observations, ties = random_images(4).to(device), np.arange(4)
    plain = Searcher(opinionated(config).to(device), "bfloat16", "cpu")
    found = Searcher(opinionated(config).to(device), "bfloat16", "cuda")
    assert_same(
        found.search(constants, observations, None, ties),
        plain.search(constants, observations, None, ties),
    )


def test_a_searcher_has_a_search_for_each_size(device):
    config = tiny("search.num_simulations=6")
    constants = puct_constants(config, 5)
    searcher = Searcher(opinionated(config).to(device), "float32", "cuda")
    for roots in (1, 4, 5, 8, 3):
        found = searcher.search(constants, random_images(roots).to(device), None, np.arange(roots))
        assert found.visits.sum(1).tolist() == [6] * roots
    assert sorted(searcher.on_device) == [(constants, 4), (constants, 8)]


def test_weights_may_change_in_place(device):
    _, first, search, observations, ties = both(device, 4, 4)
    with torch.no_grad():
        for parameter in search.network.parameters():
            parameter.mul_(0.5)
    changed = search.search(observations, None, ties)
    plain = search_states(search.network, observations, search.constants, None, ties, "float32")
    assert_same(changed, plain)
    assert (changed.network_value != first.network_value).any()
