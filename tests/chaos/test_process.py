"""Signals, two at once, a clock that jumps, memory that runs out."""

import json
import random
import signal
import time

import pytest

from ezcli.errors import Busy
from ezcli.runs.folder import RunFolder
from tests.chaos.helpers import ABLATE, IS_LONG, TRAIN, is_sentence, only_long, some, study_results
from tests.runs.helpers import outcome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

GRACE = 10  # seconds from SIGTERM to SIGKILL, as containers and schedulers have it


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def wait_for(found, *arguments, patience=60):
    deadline = time.monotonic() + patience
    while not found(*arguments):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def is_training(folder):
    return folder.read_info().get("status") == "running"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2], ids=str)
def test_a_polite_end_at_random_moments(number, zygote, undisturbed, tmp_path):
    rng, longest = random.Random(0), 0.0
    for attempt in range(40 if IS_LONG else 2):
        folder = RunFolder(tmp_path / str(attempt) / "run")
        process = zygote.start(*TRAIN, folder.path.parent)
        wait_for(is_training, folder)
        time.sleep(rng.uniform(0, 1.2))
        process.kill(number)
        began = time.monotonic()
        # Killed by it: it came when the run had finished and no longer listened.
        assert process.wait() in (0, 75, -number), process.said
        longest = max(longest, time.monotonic() - began)
        if process.returncode == 75:
            assert folder.read_info()["status"] == "interrupted"
            assert "and saved. Go on with: ez resume" in process.said
        else:
            assert folder.read_info()["status"] == "finished"
        code, said = zygote.run(*TRAIN, folder.path.parent)
        assert code == 0, said
        assert outcome(folder) == undisturbed
    print(f"the longest took {longest:.2f} s")
    assert longest < GRACE


def test_a_run_under_nohup_outlives_its_terminal(zygote, undisturbed, folder):
    process = zygote.start(*TRAIN, folder.path.parent, ignored=[signal.SIGHUP])
    wait_for(is_training, folder)
    process.kill(signal.SIGHUP)
    assert process.wait() == 0, process.said
    assert outcome(folder) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=str)
def test_a_polite_end_of_a_study(number, zygote, undisturbed_study, tmp_path):
    process = zygote.start(*ABLATE, tmp_path)
    wait_for(lambda: list(tmp_path.glob("*/checkpoints/step-*")))
    process.kill(number)
    began = time.monotonic()
    code = process.wait()
    assert time.monotonic() - began < GRACE
    runs = [RunFolder(path.parent) for path in tmp_path.glob("*/config.toml")]
    # The other run may have ended already, or not have begun to listen.
    said = {run.read_info().get("status") for run in runs}
    assert said <= {"interrupted", "finished", None}
    # The last run may have been ending just then: nothing was left to stop.
    assert code == 75 or (code, said) == (0, {"finished"}), process.said
    assert zygote.run(*ABLATE, tmp_path)[0] == 0
    assert study_results(tmp_path) == undisturbed_study


def test_of_two_processes_one_trains(zygote, undisturbed, folder):
    """It takes a second to see that the other stays; by then that one must not have ended."""
    slow = [*TRAIN[:-1], "--set", "evaluation.episodes=300", "--runs-dir", folder.path.parent]
    both = [zygote.start(*slow) for _ in range(2)]
    codes = sorted(process.wait() for process in both)
    said = "".join(process.said for process in both)
    assert codes[0] == 0, said
    assert is_sentence(codes[1], said, exit_code=Busy.exit_code), said
    assert "Another process is working on the run 'run'" in said


def test_of_two_launchers_one_trains(zygote, undisturbed_study, tmp_path):
    both = [zygote.start(*ABLATE, tmp_path) for _ in range(2)]
    codes = sorted(process.wait() for process in both)
    said = "".join(process.said for process in both)
    assert codes[0] == 0, said
    assert is_sentence(codes[1], said, exit_code=Busy.exit_code), said
    assert "Another process works on the study 's'" in said
    assert study_results(tmp_path) == undisturbed_study


def test_others_look_while_one_trains(zygote, undisturbed, folder):
    process = zygote.start(*TRAIN, folder.path.parent)
    wait_for(folder.read, "evaluations.jsonl")
    at = ("--runs-dir", folder.path.parent)
    code, said = zygote.run("evaluate", "run", *at)
    if process.poll() is None:
        assert is_sentence(code, said, exit_code=Busy.exit_code), said
        assert "Another process is working on the run" in said
    for looking in (["runs"], ["runs", "show", "run"], ["report"], ["study", "status"]):
        assert zygote.run(*looking, *at)[0] == 0
    assert process.wait() == 0, process.said


@pytest.mark.parametrize("seconds", some([-3600, 86400 * 365], [-86400 * 365]))
def test_a_clock_that_jumps(seconds, zygote, undisturbed, folder):
    began = time.monotonic()
    code, said = zygote.run(*TRAIN, folder.path.parent, clock=seconds)
    assert code == 0, said
    took = time.monotonic() - began
    assert outcome(folder) == undisturbed
    (session,) = folder.read_info()["sessions"]
    assert 0 < session["seconds"] <= took
    clocks = [line["seconds"] for line in folder.read("timing.jsonl")]
    assert clocks == sorted(clocks)
    assert 0 < clocks[-1] <= took
    shown = ("runs", "show", "run", "--json", "--runs-dir", folder.path.parent)
    assert 0 < json.loads(zygote.run(*shown)[1])["seconds"] <= took


def test_memory_that_is_not_there_at_the_start(zygote, folder):
    much = [*TRAIN[:-1], "--set", "replay.capacity=200000000", "--runs-dir"]
    code, said = zygote.run(*much, folder.path.parent, memory=2**30)
    assert is_sentence(code, said), said
    assert "Memory ran out." in said
    assert "replay.capacity" in said


@only_long  # a Python without memory may break in ways of its own
def test_memory_that_runs_out_on_the_way(zygote, undisturbed, tmp_path):
    ran_out = 0
    for mebibytes in range(0, 80, 2):
        folder = RunFolder(tmp_path / str(mebibytes) / "run")
        code, said = zygote.run(*TRAIN, folder.path.parent, memory=mebibytes * 2**20)
        if code != 0:
            ran_out += 1
            assert is_sentence(code, said), said
            assert "Memory ran out." in said
            assert folder.read_info().get("status", "failed") == "failed"
        code, said = zygote.run(*TRAIN, folder.path.parent)
        assert code == 0, said
        assert outcome(folder) == undisturbed
    assert ran_out > 1
