"""A run or study that is killed at any moment and continued ends byte for byte the same."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from ezcli.errors import Busy
from ezcli.experiments.study import StudyFolder
from ezcli.runs.folder import RunFolder
from ezcli.runs.json_files import read_lines
from tests.chaos.helpers import (
    ABLATE,
    IS_LONG,
    KILLS,
    ROOT,
    TRAIN,
    children,
    ez,
    fault,
    is_sentence,
    study_results,
)
from tests.runs.helpers import outcome
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def go_on(zygote, *command):
    """To the end, once no lock is held by a child that a killed process was just forking."""
    deadline = time.monotonic() + PATIENCE
    while True:
        code, said = zygote.run(*command)
        if code != Busy.exit_code or time.monotonic() > deadline:
            return code, said


def is_whole(folder, undisturbed):
    """Whether a finished run is as it should be, with no draft left behind."""
    return outcome(folder) == undisturbed and not list(folder.path.rglob(".tmp-*"))


def test_a_forked_command_is_like_a_fresh_process(zygote, undisturbed, tmp_path):
    assert zygote.run(*TRAIN, tmp_path)[0] == 0
    assert is_whole(RunFolder(tmp_path / "run"), undisturbed)


def test_kills_of_a_run_at_random_moments(zygote, undisturbed, tmp_path, record_property):
    rng, found, number = random.Random(0), Counter(), 0
    while found["kills"] < (KILLS * 3 // 4 or 12):
        folder = RunFolder(tmp_path / str(number) / "run")
        process = zygote.start(*TRAIN, folder.path.parent)
        time.sleep(rng.uniform(0, 0.7))
        process.kill()
        if process.wait() == -signal.SIGKILL:
            found["kills"] += 1
            if list(folder.path.rglob(".tmp-*")):
                found["while writing"] += 1
        else:
            assert process.returncode == 0, process.said
        if process.returncode == 0 or rng.random() < 0.2:  # otherwise it is killed once more
            code, said = go_on(zygote, *TRAIN, folder.path.parent)
            assert code == 0, said
            assert is_whole(folder, undisturbed)
            found["runs"] += 1
            number += 1
    record_property("kills", dict(found))
    print(dict(found))


# `ez` in a process of its own, to which a fault happens: folder and number of the call come first.
FRESH = """
import sys
from ezcli.cli import main
from tests.chaos.faults import Fault, install
install(Fault(sys.argv.pop(1), int(sys.argv.pop(1)), "kill"))
main()
"""


def test_kills_of_fresh_processes(calls, undisturbed, tmp_path):
    """After the first checkpoint, and again as far into what was left."""
    folder = RunFolder(tmp_path / "run")
    saved = [call.startswith("rename /run/checkpoints/.tmp-step") for call in calls].index(True)
    for kill in range(3 if IS_LONG else 1):
        command = [sys.executable, "-c", FRESH, str(tmp_path), str(saved + 2 + 9 * kill)]
        done = subprocess.run([*command, *TRAIN, str(tmp_path)], cwd=ROOT, timeout=PATIENCE)
        assert done.returncode == -signal.SIGKILL
        assert folder.read_info()["status"] == "running"
        assert list(folder.checkpoints.glob("step-*"))
    assert ez(*TRAIN, tmp_path).returncode == 0
    assert is_whole(folder, undisturbed)


def chosen(calls, what):
    """All calls for a kill; for the others, and in the short form, some of each kind."""
    if IS_LONG and what == "kill":
        return list(range(len(calls)))
    by_kind = {}
    for number, call in enumerate(calls):
        kind = re.sub(r"[0-9]+|[a-z]+\.(safetensors|json$)", "#", call)
        by_kind.setdefault(kind, []).append(number)
    if IS_LONG:
        return sorted({n[i] for n in by_kind.values() for i in (0, len(n) // 2, -1)})
    second = sorted(numbers[len(numbers) // 2] for numbers in by_kind.values())
    return second[("kill", "power", "full").index(what) :: 7]


@pytest.mark.parametrize("what", ["kill", "power", "full"])
def test_a_fault_at_any_call_that_changes_a_file(what, calls, zygote, undisturbed, tmp_path):
    """Killed, without power, or on a full disk; the same command then goes on."""
    failed = []
    for at in chosen(calls, what):
        folder = RunFolder(tmp_path / str(at) / "run")
        runs_dir = folder.path.parent
        runs_dir.mkdir()
        code, said = zygote.run(*TRAIN, runs_dir, fault=fault(runs_dir, at, what))
        if what == "full" and calls[at] == "remove /run/.lock-holder":
            is_well = code == 0  # the run is whole; the name left there is of a process that ended
        elif what == "full":
            is_well = is_sentence(code, said) and "cannot be written: No space" in said
        else:
            is_well = code == -signal.SIGKILL
        if is_well:
            code, said = zygote.run(*TRAIN, runs_dir)
            is_well = code == 0 and is_whole(folder, undisturbed)
        if not is_well:
            failed.append((at, calls[at], code, said))
        shutil.rmtree(runs_dir)
    assert failed == []


def test_a_study_comes_out_the_same_in_another_order(zygote, undisturbed_study, tmp_path):
    """One run at a time, the full agent's first; the arm is added to the study afterwards."""
    at = ABLATE.index("--drop")
    study, arm = ABLATE[:at], ABLATE[at : at + 2]
    for more in ([], arm):
        code, said = zygote.run(*study, *more, "--jobs", "1", "--quiet", "--runs-dir", tmp_path)
        assert code == 0, said
    assert study_results(tmp_path) == undisturbed_study


def test_kills_in_a_study(zygote, undisturbed_study, tmp_path, record_property):
    """The launcher or one of its runs, by SIGKILL or politely, at random moments."""
    rng, found, number = random.Random(1), Counter(), 0
    while found["kills"] < (KILLS // 4 or 3):
        runs_dir = tmp_path / str(number)
        for _ in range(rng.randrange(1, 8 if IS_LONG else 4)):
            process = zygote.start(*ABLATE, runs_dir)
            time.sleep(rng.uniform(0, 3))
            victims = [process.pid]
            if rng.random() < 0.5:
                victims = children(process.pid)[:1]
            kill = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
            for victim in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, kill)
                    found["kills"] += kill is signal.SIGKILL
            if victims != [process.pid]:
                time.sleep(rng.uniform(0, 1))
                process.kill(signal.SIGTERM)
            assert process.wait() in {0, -9, -15, -2, 75, 130, Busy.exit_code}, process.said
        code, said = go_on(zygote, *ABLATE, runs_dir)
        assert code == 0, said
        assert study_results(runs_dir) == undisturbed_study
        attempts = read_lines(StudyFolder(runs_dir, "s").attempts)
        assert sum(attempt["result"] == "finished" for attempt in attempts) <= 4
        found["studies"] += 1
        number += 1
    record_property("kills", dict(found))
    print(dict(found))
