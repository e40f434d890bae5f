"""Whole runs that a change may alter only on purpose; see tests/golden/runs.py."""

import pytest

from tests.golden.runs import RUNS, fingerprint, golden, hashes


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_whole_run_has_the_golden_bits(name, tmp_path):
    recorded = golden()
    if recorded is None:
        pytest.skip(f"no golden runs are recorded for {fingerprint()}")
    assert hashes(name, tmp_path / "run") == recorded[name]
