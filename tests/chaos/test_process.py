"""Signals, two at once, a clock that jumps, memory that runs out."""

import contextlib
import json
import random
import signal
import time
from functools import partial

import pytest

from ezcli.errors import Busy
from ezcli.experiments.study import StudyFolder
from ezcli.runs.folder import RunFolder
from tests.chaos.helpers import (
    ABLATE,
    IS_LONG,
    TRAIN,
    fault,
    held,
    is_sentence,
    only_long,
    some,
    study_results,
)
from tests.runs.helpers import outcome, replaced
from tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SAVE = "rename /run/checkpoints/.tmp-step"
GRACE = 10  # seconds from SIGTERM to SIGKILL, as containers and schedulers have it


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def has_begun(folder):
    """To train; by the time that this is seen it may be over."""
    return "status" in folder.read_info()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2], ids=str)
def test_a_polite_end_at_random_moments(number, calls, zygote, undisturbed, tmp_path):
    """Told while it makes any of its calls, it saves at most twice: that, and the cycle's end."""
    saves = [n for n, call in enumerate(calls) if call.startswith(SAVE)]
    rng = random.Random(0)
    for attempt in range(40 if IS_LONG else 2):
        folder = RunFolder(tmp_path / str(attempt) / "run")
        runs_dir, log = folder.path.parent, tmp_path / f"{attempt}.log"
        runs_dir.mkdir()
        at = rng.randrange(saves[0], saves[-3])
        with held(zygote, [*TRAIN, runs_dir], runs_dir, at, log) as process:
            process.kill(number)
        assert process.wait() == 75, process.said
        assert "and saved. Continue with: ez resume" in process.said
        assert folder.read_info()["status"] == "interrupted"
        later = log.read_text().replace(str(runs_dir), "").splitlines()[at:]
        assert 1 <= sum(call.startswith(SAVE) for call in later) <= 2
        code, said = zygote.run(*TRAIN, runs_dir)
        assert code == 0, said
        assert outcome(folder) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2], ids=str)
def test_a_polite_end_between_two_calls(number, zygote, undisturbed, tmp_path):
    """At a random moment, if it has not ended by then; how soon is for a machine that is idle."""
    rng, longest = random.Random(0), 0.0
    for attempt in range(20 if IS_LONG else 1):
        folder = RunFolder(tmp_path / str(attempt) / "run")
        process = zygote.start(*TRAIN, folder.path.parent)
        wait_for(partial(has_begun, folder))
        time.sleep(rng.uniform(0, 0.5))
        process.kill(number)
        began = time.monotonic()
        # Killed by it: it came when the run had finished and no longer listened.
        assert process.wait() in (0, 75, -number), process.said
        longest = max(longest, time.monotonic() - began)
        said = folder.read_info()["status"]
        assert said == ("interrupted" if process.returncode == 75 else "finished")
        code, said = zygote.run(*TRAIN, folder.path.parent)
        assert code == 0, said
        assert outcome(folder) == undisturbed
    print(f"the longest took {longest:.2f} s")
    if IS_LONG:
        assert longest < GRACE


def test_a_run_under_nohup_outlives_its_terminal(calls, zygote, undisturbed, folder):
    runs_dir = folder.path.parent
    saved = next(n for n, call in enumerate(calls) if call.startswith(SAVE))
    with held(zygote, [*TRAIN, runs_dir], runs_dir, saved, ignored=[signal.SIGHUP]) as process:
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
    if IS_LONG:
        assert time.monotonic() - began < GRACE
    runs = [RunFolder(path.parent) for path in tmp_path.glob("*/config.toml")]
    # The other run may have ended already, or not have begun to listen.
    said = {run.read_info().get("status") for run in runs}
    assert said <= {"interrupted", "finished", None}
    # The last run may have been ending just then: nothing was left to stop.
    assert code == 75 or (code in (0, -number) and said == {"finished"}), process.said
    assert zygote.run(*ABLATE, tmp_path)[0] == 0
    assert study_results(tmp_path) == undisturbed_study


@contextlib.contextmanager
def contest(zygote, command, folder):
    """Two that start at once; the one that is refused, and the other, which waits meanwhile.

    One that is refused changes fewer than 12 things in the folder, and it may come late: the one
    that is not refused waits before its twelfth.
    """
    gate = zygote.folder / f"gate-{zygote.started}"
    hold = fault(folder, at=11, what="hold", gate=gate)
    both = [zygote.start(*command, fault=hold) for _ in range(2)]
    try:
        wait_for(lambda: any(process.poll() is not None for process in both))
        refused, other = sorted(both, key=lambda process: process.returncode is None)
        wait_for(lambda: gate.exists() or other.poll() is not None)
        assert other.returncode is None, other.said
        yield refused, other
    finally:
        gate.unlink(missing_ok=True)


def test_of_two_processes_one_trains(zygote, undisturbed, folder):
    command = [*TRAIN, folder.path.parent]
    with contest(zygote, command, folder.path) as (refused, other):
        said = "Another process is working on the run 'run'"
        assert is_sentence(refused.returncode, refused.said, Busy.exit_code), refused.said
        assert said in refused.said  # who it is had perhaps not been written yet
        assert f"{said} (process {other.pid} on " in zygote.run(*command)[1]
    assert other.wait() == 0, other.said
    assert outcome(folder) == undisturbed


def test_of_two_launchers_one_trains(zygote, undisturbed_study, tmp_path):
    command, study = [*ABLATE, tmp_path], StudyFolder(tmp_path, "s").path
    with contest(zygote, command, study) as (refused, other):
        said = "Another process is working on the study 's'"
        assert is_sentence(refused.returncode, refused.said, Busy.exit_code), refused.said
        assert said in refused.said
        assert f"{said} (process {other.pid} on " in zygote.run(*command)[1]
    assert other.wait() == 0, other.said
    assert study_results(tmp_path) == undisturbed_study


def test_others_look_while_one_trains(calls, zygote, undisturbed, folder):
    runs_dir = folder.path.parent
    evaluated = calls.index("fsync /run/evaluations.jsonl") + 1
    with held(zygote, [*TRAIN, runs_dir], runs_dir, evaluated) as process:
        assert len(folder.read("evaluations.jsonl")) == 1
        at = ("--runs-dir", runs_dir)
        code, said = zygote.run("evaluate", "run", *at)
        assert is_sentence(code, said, Busy.exit_code), said
        assert "Another process is working on the run" in said
        for looking in (["runs"], ["runs", "show", "run"], ["report"], ["study", "status"]):
            assert zygote.run(*looking, *at)[0] == 0
    assert process.wait() == 0, process.said
    assert outcome(folder) == undisturbed


@pytest.mark.parametrize("seconds", some([-3600, 86400 * 365], [-86400 * 365]))
def test_a_clock_that_jumps(seconds, zygote, undisturbed, folder):
    began = time.monotonic()
    code, said = zygote.run(*TRAIN, folder.path.parent, clock=seconds)
    assert code == 0, said
    took = time.monotonic() - began
    assert outcome(folder) == undisturbed
    (session,) = folder.read_info()["sessions"]
    assert 0 < session["seconds"] <= took + 0.05  # it is rounded to tenths
    clocks = [line["seconds"] for line in folder.read("timing.jsonl")]
    assert clocks == sorted(clocks)
    assert 0 < clocks[-1] <= took + 0.001
    shown = ("runs", "show", "run", "--json", "--runs-dir", folder.path.parent)
    assert 0 < json.loads(zygote.run(*shown)[1])["seconds"] <= took + 0.05


def test_memory_that_is_not_there_at_the_start(zygote, folder):
    much = replaced(TRAIN, "replay.capacity=200000000")
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
