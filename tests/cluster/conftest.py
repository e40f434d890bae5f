"""A SLURM for the tests that send runs to one."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.cluster.slurm import NODES, Slurm, missing


@pytest.fixture(scope="session")
def slurm():
    """A real one, of two nodes, for as long as the tests last."""
    if missing():
        why = f"no SLURM can be started here: {', '.join(missing())} missing"
        assert not os.environ.get("CI"), why
        pytest.skip(why)
    folder = Path(tempfile.mkdtemp(prefix="ez-slurm-"))  # short, for the socket in it
    cluster = Slurm(folder)
    yield cluster
    cluster.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def at_slurm(slurm, monkeypatch):
    """Commands of this process find it, and every node works."""
    slurm.ask("scontrol", "update", f"NodeName={','.join(NODES)}", "State=RESUME")
    slurm.wait_idle()
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    yield slurm
    slurm.ask("scancel", "-u", "root")
    slurm.wait_empty()
