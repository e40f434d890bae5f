"""Runs that several tests look at."""

import pytest

from tests.runs.helpers import Watcher, outcome, run, tiny


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The outcome of a tiny run of `catch` that nothing interrupted."""
    return outcome(run(tmp_path_factory.mktemp("undisturbed") / "run", tiny()))


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of a tiny run of `catch` that is finished; not to be changed."""
    return run(tmp_path_factory.mktemp("finished") / "run", tiny())


@pytest.fixture(scope="session")
def stopped(tmp_path_factory):
    """The folder of a tiny run of `catch`, saved after every event and stopped after the 6th."""
    config = tiny("catch", "record.checkpoint_minutes=0")
    return run(tmp_path_factory.mktemp("stopped") / "run", config, Watcher(stop_after=6))
