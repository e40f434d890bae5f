"""A study of real runs, killed again and again, ends complete and as if nothing had happened."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ezcli.experiments.study import StudyFolder
from ezcli.runs.folder import RunFolder, read_lines
from tests.runs.helpers import ROOM, TINY, outcome

ROOT = Path(__file__).parents[2]
# Long enough to be killed in the middle of, with a checkpoint after every cycle.
LONGER = ("schedule.env_steps=400", "record.checkpoint_minutes=0")
SETS = [p for s in (*TINY, *ROOM["catch"], *LONGER) for p in ("--set", s)]
ABLATE = ["ablate", "--env", "catch", "--preset", "smoke", "--study", "s", "--seeds", "2", *SETS]
ABLATE += ["--drop", "value-prefix", "--jobs", "2", "--quiet", "--runs-dir"]
KILLS = 8

pytestmark = pytest.mark.slow


def start(runs_dir):
    """`ez ablate` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "ezcli", *ABLATE, str(runs_dir)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def children(pid):
    """Process ids of the direct children."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def results(runs_dir):
    """Bytes of everything that the study's runs decide."""
    cells = json.loads((StudyFolder(runs_dir, "s").path / "study.json").read_text())["cells"]
    return {cell["run"]: outcome(RunFolder(runs_dir / cell["run"])) for cell in cells}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    runs_dir = tmp_path_factory.mktemp("undisturbed")
    process = start(runs_dir)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    found = results(runs_dir)
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
    assert results(tmp_path) == undisturbed
    attempts = read_lines(StudyFolder(tmp_path, "s").attempts)
    assert sum(a["result"] == "finished" for a in attempts) <= 4
