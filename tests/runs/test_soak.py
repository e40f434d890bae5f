"""Memory, files and threads of a long run do not grow."""

import pytest

from benchmarks.soak import soak

pytestmark = pytest.mark.slow


def test_nothing_grows_once_the_replay_is_full(tmp_path):
    found = soak(1600, tmp_path / "run", every=0.01)
    early, late = found["second_quarter"], found["second_half"]
    assert found["samples"] > 20
    assert (late["files"], late["threads"]) == (early["files"], early["threads"])
    assert late["mebibytes"] - early["mebibytes"] < 25
