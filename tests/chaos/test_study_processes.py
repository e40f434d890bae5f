"""A study of whole processes that is killed repeatedly ends the same."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from ezcli.experiments.study import StudyFolder
from ezcli.runs.json_files import read_lines
from tests.chaos.helpers import ROOT, children, only_long, study_results
from tests.runs.helpers import ROOM, TINY, sets

# Long enough to be killed in the middle of, with a checkpoint after every cycle.
LONGER = ("schedule.env_steps=400", "record.checkpoint_minutes=0")
SETS = sets(*TINY, *ROOM["catch"], *LONGER)
ABLATE = ["ablate", "--env", "catch", "--preset", "smoke", "--study", "s", "--seeds", "2", *SETS]
ABLATE += ["--drop", "value-prefix", "--jobs", "2", "--quiet", "--runs-dir"]
KILLS = 8

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), only_long]


def start(runs_dir):
    """`ez ablate` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "ezcli", *ABLATE, str(runs_dir)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    runs_dir = tmp_path_factory.mktemp("undisturbed")
    process = start(runs_dir)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    found = study_results(runs_dir)
    assert len(found) == 4
    assert len(set(map(str, found.values()))) == 4
    return found


@pytest.mark.parametrize("seed", [0, 1])
def test_a_study_survives_whatever_is_killed(tmp_path, undisturbed, seed):
    """The launcher or its runs, by SIGKILL, SIGTERM or SIGINT, at random moments."""
    rng = random.Random(seed)
    for _ in range(KILLS):
        process = start(tmp_path)
        time.sleep(rng.uniform(0.5, 7))
        whom = rng.choice(["launcher", "launcher", "run"])
        number = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        victims = [process.pid] if whom == "launcher" else children(process.pid)[:1]
        for victim in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, number)
        if whom == "run":
            time.sleep(rng.uniform(0, 1))
            process.send_signal(signal.SIGTERM)
        said, _ = process.communicate()
        allowed = {0, -9, -15, -2, 75, 130}  # -15, -2: before it listened
        assert process.returncode in allowed, said
    process = start(tmp_path)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert study_results(tmp_path) == undisturbed
    attempts = read_lines(StudyFolder(tmp_path, "s").attempts)
    assert sum(a["result"] == "finished" for a in attempts) <= 4
