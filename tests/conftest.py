"""Fixtures for all tests."""

import signal
import sys

import pytest
import torch

from ezcli import cli
from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.config.run import RunConfig
from ezcli.runs import lock
from tests.runs.helpers import Watcher, outcome, run, tiny

torch.set_num_threads(1)  # as a run does: results must not depend on the machine's cores
# As in a terminal: whatever a shell starts in the background ignores Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def own_state(tmp_path_factory):
    """What the tests trust is not what the user trusts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
def quick_refusal(monkeypatch):
    """A lock that another has is refused at once, not after a second."""
    monkeypatch.setattr(lock, "INSTANT", 0.05)


@pytest.fixture
def tiny_config() -> RunConfig:
    """The preset `smoke`: every part is there, and small."""
    return resolve(read_toml(preset_path("smoke")))


@pytest.fixture
def ez(monkeypatch, capsys, tmp_path):
    """Runs a command in this process, in an empty folder: (exit code, output, errors).

    `ez.error` is the error that the last command ended with, or None.
    """
    monkeypatch.chdir(tmp_path)

    def end_with(error, end=cli.end_with):
        call.error = error
        end(error)

    def call(*arguments):
        call.error = None
        monkeypatch.setattr(sys, "argv", ["ez", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        streams = capsys.readouterr()
        return caught.value.code or 0, streams.out, streams.err

    monkeypatch.setattr(cli, "end_with", end_with)
    return call


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
