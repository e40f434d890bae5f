"""A stalled run is reported with the stack of each thread."""

import os
import re
import time
from functools import partialmethod
from types import SimpleNamespace

import pytest

from ezcli.envs.catch import Catch
from ezcli.experiments.catalogue import state
from ezcli.runs import stall
from ezcli.runs.examine import examine
from ezcli.runs.folder import RunFolder
from ezcli.runs.stall import Watchdog
from ezcli.runs.train import train
from tests.runs.helpers import Watcher, tiny
from tests.waiting import wait_for

FOREVER = 1e9  # seconds, as the longest pause so far


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(stall, "SECONDS", 0.2)
    monkeypatch.setattr(stall, "TIMES_LONGER", 2.0)


@pytest.fixture
def clock(monkeypatch):
    """The watchdog's, moved by hand."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(stall, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def slow_emulator(watchdog, said):
    """Nothing but this counts as a pause, however late a thread comes."""
    watchdog.longest = 0.0
    wait_for(lambda: said)
    watchdog.longest = FOREVER


def test_it_says_once_where_a_run_stands_still_and_that_it_goes_on(tmp_path, hurried):
    folder, said = RunFolder(tmp_path), []
    watchdog = Watchdog(folder, said.append)
    watchdog.longest = FOREVER
    with watchdog:
        slow_emulator(watchdog, said)
        assert "slow_emulator" in (tmp_path / "stalled.txt").read_text()
        watchdog.longest = 0.0
        time.sleep(0.5)
        watchdog.longest = FOREVER
        watchdog.beat()
        assert not (tmp_path / "stalled.txt").exists()
    first, second = said
    assert re.match(r"No progress for .+: the stack of each thread is in ", first)
    assert f"To stop the run: kill -9 {os.getpid()}, then ez resume {folder.path}" in first
    assert re.fullmatch(r"Continuing after .+ without progress\.", second)


def test_it_waits_longer_where_steps_take_longer(tmp_path, hurried, clock):
    watchdog = Watchdog(RunFolder(tmp_path), print)
    assert watchdog.patience == 0.2
    clock.seconds += 30
    watchdog.beat()
    assert watchdog.patience == 60


def test_who_moves_is_left_alone(tmp_path, clock):
    said = []
    watchdog = Watchdog(RunFolder(tmp_path), said.append)
    for _ in range(140):
        clock.seconds += stall.SECONDS
        watchdog._look()
        watchdog.beat()
    assert said == []
    clock.seconds += stall.TIMES_LONGER * stall.SECONDS + 1
    watchdog._look()
    assert len(said) == 1


def test_a_run_that_has_ended_does_not_stand_still(tmp_path, hurried):
    """Its last files may take long, after the last beat."""
    said = []
    with Watchdog(RunFolder(tmp_path), said.append) as watchdog:
        wait_for(lambda: said)
        assert (tmp_path / "stalled.txt").exists()
    assert watchdog.has_ended.wait(100)
    assert not (tmp_path / "stalled.txt").exists()


def test_where_a_run_stood_when_it_was_ended_can_still_be_read(tmp_path, hurried):
    said = []

    def stand():
        with Watchdog(RunFolder(tmp_path), said.append):
            wait_for(lambda: said)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stand()
    assert (tmp_path / "stalled.txt").exists()


def test_a_folder_that_cannot_be_written_is_said_too(tmp_path, hurried):
    said = []
    with Watchdog(RunFolder(tmp_path / "gone"), said.append):
        wait_for(lambda: said)
    assert "cannot be written" in said[0]


def describe(folder):
    return {finding.name: finding for finding in examine(folder)}


@pytest.mark.slow
def test_a_stalled_emulator_is_noticed_in_a_run(tmp_path, hurried, monkeypatch):
    folder, watcher, states, step = RunFolder(tmp_path / "run"), Watcher(), [], Catch.step

    class Patient(Watchdog):
        """With every pause but that of the stuck step."""

        def __init__(self, *given):
            super().__init__(*given)
            self.longest = FOREVER
            monkeypatch.setattr(Catch, "step", partialmethod(stuck_step, self))

    def stuck_step(self, watchdog, action):
        if not states and folder.read_info().get("status") == "running":
            watchdog.longest = 0.0
            wait_for(lambda: any(text.startswith("No progress") for text in watcher.said))
            watchdog.longest = FOREVER
            assert "stuck_step" in (folder.path / "stalled.txt").read_text()
            states.append((state(folder), describe(folder)["Progress"].ok))
        return step(self, action)

    monkeypatch.setattr("ezcli.runs.train.Watchdog", Patient)
    assert train(tiny("catch"), folder, watcher) is None
    assert states == [("stalled", False)]
    assert not (folder.path / "stalled.txt").exists()
