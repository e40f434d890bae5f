"""A run that stands still says so, and where."""

import os
import re
import time

import pytest

from ezcli.experiments.catalogue import state
from ezcli.runs import stall
from ezcli.runs.examine import examine
from ezcli.runs.folder import RunFolder
from ezcli.runs.stall import Watchdog
from ezcli.runs.train import train
from tests.runs.helpers import Watcher, tiny

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(stall, "SECONDS", 0.2)
    monkeypatch.setattr(stall, "TIMES_LONGER", 2.0)


def wait_until(is_so, seconds=10.0):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def slow_emulator(said):
    wait_until(lambda: said)


def test_it_says_once_where_a_run_stands_still_and_that_it_goes_on(tmp_path, hurried):
    folder, said = RunFolder(tmp_path), []
    with Watchdog(folder, said.append) as watchdog:
        slow_emulator(said)
        assert "slow_emulator" in (tmp_path / "stalled.txt").read_text()
        time.sleep(0.5)
        watchdog.beat()
        assert not (tmp_path / "stalled.txt").exists()
    first, second = said
    assert re.match(r"No progress for \d+ s: where it stands is in ", first)
    assert f"To give up: kill -9 {os.getpid()}, then `ez resume`." in first
    assert re.fullmatch(r"Going on after \d+ s without progress\.", second)


def test_it_waits_longer_where_steps_take_longer(tmp_path, hurried):
    watchdog = Watchdog(RunFolder(tmp_path), print)
    assert watchdog.patience == 0.2
    watchdog.beaten -= 30
    watchdog.beat()
    assert 60 <= watchdog.patience < 61


@pytest.mark.slow
def test_who_moves_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(stall, "SECONDS", 1.0)
    said = []
    with Watchdog(RunFolder(tmp_path), said.append) as watchdog:
        for _ in range(140):
            time.sleep(0.01)
            watchdog.beat()
    assert said == []
    assert watchdog.has_ended.is_set()


def test_a_folder_that_cannot_be_written_is_said_too(tmp_path, hurried):
    said = []
    with Watchdog(RunFolder(tmp_path / "gone"), said.append):
        wait_until(lambda: said)
    assert "cannot be written" in said[0]


def describe(folder):
    return {finding.name: finding for finding in examine(folder)}


STUCK = """
import time
from pathlib import Path

from ezcli.envs.catch import Catch


class Stuck(Catch):
    def __init__(self, settings, evaluation):
        settings = settings.model_copy(update={"rows": 4, "columns": 3})
        super().__init__(settings, evaluation)
        self.left = 20

    def step(self, action):
        self.left -= 1
        while self.left == 0 and not Path("stalled_long_enough").exists():
            time.sleep(0.01)
        return super().step(action)
"""


@pytest.mark.slow
def test_a_stalled_emulator_is_noticed_in_a_run(tmp_path, hurried, monkeypatch):
    (tmp_path / "stuck.py").write_text(STUCK)
    monkeypatch.chdir(tmp_path)
    folder, states = RunFolder(tmp_path / "run"), []

    class Looking(Watcher):
        def say(self, text):
            super().say(text)
            stalled = folder.path / "stalled.txt"
            if text.startswith("No progress") and "stuck.py" in stalled.read_text():
                states.append((state(folder), describe(folder)["Progress"].ok))
                (tmp_path / "stalled_long_enough").touch()

    config = tiny("catch")
    custom = config.env.model_dump() | {"name": "custom", "target": "stuck.py:Stuck"}
    del custom["rows"], custom["columns"]
    config = type(config).model_validate(config.model_dump() | {"env": custom})
    assert train(config, folder, Looking()) is None
    assert states == [("stalled", False)]
    assert not (folder.path / "stalled.txt").exists()
