"""Killed at any moment, a run and a study end as if nothing had happened, byte for byte."""

import random
import shutil
import signal
import time
from collections import Counter

import pytest

from ezcli.runs.folder import RunFolder
from tests.chaos.helpers import (
    ABLATE,
    IS_LONG,
    KILLS,
    TRAIN,
    children,
    fault,
    study_results,
)
from tests.runs.helpers import outcome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def is_whole(folder, undisturbed):
    """Whether a finished run is as it should be, with no draft left behind."""
    return outcome(folder) == undisturbed and not list(folder.path.rglob(".tmp-*"))


def test_a_forked_command_is_like_a_fresh_process(zygote, undisturbed, tmp_path):
    assert zygote.run(*TRAIN, tmp_path)[0] == 0
    assert is_whole(RunFolder(tmp_path / "run"), undisturbed)


def test_kills_of_a_run_at_random_moments(zygote, undisturbed, tmp_path, record_property):
    rng, found, number = random.Random(0), Counter(), 0
    while found["kills"] < (KILLS * 3 // 4 or 20):
        folder = RunFolder(tmp_path / str(number) / "run")
        process = zygote.start(*TRAIN, folder.path.parent)
        time.sleep(rng.uniform(0, 0.7))
        process.kill()
        if process.wait() == -signal.SIGKILL:
            found["kills"] += 1
            if list(folder.path.rglob(".tmp-*")):
                found["while writing"] += 1
        else:
            assert process.returncode == 0, zygote.out.read_text()
        if process.returncode == 0 or rng.random() < 0.2:  # otherwise it is killed once more
            code, said = zygote.run(*TRAIN, folder.path.parent)
            assert code == 0, said
            assert is_whole(folder, undisturbed)
            found["runs"] += 1
            number += 1
    record_property("kills", dict(found))
    print(dict(found))
