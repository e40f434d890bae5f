"""A traced simulation is the plain one, bit for bit, with every norm and batches of any size."""

import copy
from typing import get_args

import pytest
import torch

from ezcli.efficientzero.inference import search_states
from ezcli.efficientzero.network_settings import NetworkSettings
from ezcli.efficientzero.search import puct_constants
from ezcli.efficientzero.searcher import Searcher
from tests.efficientzero.helpers import opinionated, random_images, tiny

NORMS = get_args(NetworkSettings.model_fields["norm"].annotation)


def equal(one, other):
    return all((a == b).all() for a, b in zip(one, other, strict=True))


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("norm", NORMS)
def test_a_traced_search_is_the_plain_one(norm):
    config = tiny(f"network.norm={norm!r}")
    frozen = Searcher(opinionated(config), "float32", "cpu")
    for horizon in (config.search.prefix_horizon, 1):
        constants = puct_constants(config, horizon)
        for batch in (4, 1, 7, 7):
            images, ties = random_images(batch), torch.arange(batch).numpy()
            plain = search_states(frozen.network, images, constants, None, ties, "float32")
            assert equal(frozen.search(constants, images, None, ties), plain)


def test_a_traced_search_takes_new_weights():
    config = tiny()
    network = opinionated(config)
    frozen = Searcher(network, "float32", "cpu")
    constants = puct_constants(config, 5)
    images, ties = random_images(3), torch.arange(3).numpy()
    before = frozen.search(constants, images, None, ties)
    other = copy.deepcopy(network)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(1.5)
    frozen.take(other)
    after = frozen.search(constants, images, None, ties)
    assert not equal(before[1:2], after[1:2])
    assert equal(Searcher(other, "float32", "cpu").search(constants, images, None, ties), after)
