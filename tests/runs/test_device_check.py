"""A GPU that computes differently from the CPU is detected before a run, and recorded.

Without a GPU the trees run in Numba's simulator (`make test-nojit`).
"""

import pytest
import torch
from numba import config as numba_config

from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.efficientzero import self_check
from ezcli.runs.compute import Compute
from ezcli.runs.device_check import checked
from ezcli.runs.trainer import make_network
from tests.runs.helpers import run, tiny

SIMULATED = bool(numba_config.ENABLE_CUDASIM)
DEVICES = [
    pytest.param(
        "cpu", marks=pytest.mark.skipif(not SIMULATED, reason="needs NUMBA_ENABLE_CUDASIM=1")
    ),
    pytest.param("cuda", marks=pytest.mark.gpu),
]


def compute(device="cpu", precision="float32", search="cpu"):
    return Compute(torch.device(device), precision, search, 1)


def settings():
    return resolve(read_toml(preset_path("catch")), ["search.num_simulations=12"])


def network_of(config):
    return make_network(config, (1, 10, 5), 3)


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_that_agrees_is_used(device):
    asked = compute(device, "bfloat16", "cuda")
    found = checked(asked, settings())
    assert (found.compute, found.said) == (asked, [])
    assert found.record["puct_misplaced_visits"] == found.record["gumbel_misplaced_visits"] == 0
    assert 0 < found.record["precision_error"] < 0.05


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("planner", ["puct", "gumbel"])
def test_trees_that_differ_go_to_the_host(device, planner, monkeypatch):
    """A planted fault: the kernel of one planner reads the prior of another action."""
    from ezcli.efficientzero import cuda_select
    from ezcli.efficientzero.tree import GumbelConstants, PuctConstants

    kind = {"puct": PuctConstants, "gumbel": GumbelConstants}[planner]
    right = cuda_select.SELECT[kind]

    def wrong(tree, *arguments):
        right(tree._replace(prior=tree.prior.roll(1, -1).contiguous()), *arguments)

    monkeypatch.setitem(cuda_select.SELECT, kind, wrong)
    found = checked(compute(device, "float32", "cuda"), settings())
    assert found.compute == compute(device, "float32", "cpu")
    (sentence,) = found.said
    assert planner in sentence
    misplaced = {name for name, share in found.record.items() if share > 0}
    assert misplaced == {f"{planner}_misplaced_visits"}


@pytest.mark.parametrize(
    ("error", "recorded"), [(0.2, 0.2), (float("nan"), "not finite"), (float("inf"), "not finite")]
)
def test_bfloat16_that_is_far_off_is_not_used(error, recorded, monkeypatch):
    from ezcli.runs import device_check

    monkeypatch.setattr(device_check, "error_of", lambda *_: error)
    found = checked(compute(precision="bfloat16"), settings())
    assert found.compute == compute()
    assert found.record == {"precision_error": recorded}  # JSON has no nan
    assert len(found.said) == 1


def test_how_far_bfloat16_is_off():
    """By its digits, 8 bits; by all where a weight is wrong."""
    config = settings()
    network = self_check.opinionated(network_of(config))
    seen = self_check.observations_for(network, (1, 10, 5))
    assert self_check.error_of(network, "float32", seen) == 0
    assert 0.0005 < self_check.error_of(network, "bfloat16", seen) < 0.05


def test_opinions_differ_between_states():
    network = self_check.opinionated(network_of(settings()))
    seen = self_check.observations_for(network, (1, 10, 5))
    with torch.inference_mode():
        output = network.initial_inference(seen)
    assert output.policy.softmax(-1).std(0).min() > 0.005
    assert output.value.std(0).min() > 0


def test_a_cpu_in_float32_has_nothing_to_check():
    assert checked(compute(), settings()) == (compute(), None, [])


@pytest.mark.slow
def test_a_run_records_its_check(tmp_path):
    config = tiny("catch", "compute.precision='bfloat16'", "compute.device='cpu'")
    (session,) = run(tmp_path / "run", config).sessions()
    assert 0 < session["device_check"]["precision_error"] < 0.05
