"""Disks that are full, read-only or failing, and folders that are removed."""

import os
import shutil
import subprocess

import pytest

from ezcli.experiments.study import StudyFolder
from ezcli.runs.folder import RunFolder
from ezcli.runs.json_files import read_lines
from tests.chaos.helpers import (
    ABLATE,
    TRAIN,
    ez,
    held,
    is_sentence,
    some,
    study_results,
    tmpfs,
    without_privileges,
)
from tests.runs.helpers import contents, outcome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KIB = 1024


@pytest.fixture
def disk(tmp_path):
    with tmpfs(tmp_path / "disk", "8m") as path:
        yield path


def fill(disk, leave):
    """Takes all room but so many bytes; returns the file to remove."""
    filler = disk / "filler"
    with filler.open("wb") as handle:
        handle.write(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - leave))
    return filler


@pytest.mark.parametrize("leave", some(range(0, 1000, 20), [4, 250]))
def test_a_run_on_a_full_disk(leave, zygote, undisturbed, disk):
    """It is full at the config, at run.json, at frames, in a checkpoint, at a line, as it comes."""
    filler = fill(disk, leave * KIB)
    code, said = zygote.run(*TRAIN, disk)
    if code != 0:
        assert is_sentence(code, said), said
        assert "cannot be written: No space left on device." in said
    filler.unlink()
    code, said = zygote.run(*TRAIN, disk)
    assert code == 0, said
    assert outcome(RunFolder(disk / "run")) == undisturbed


@pytest.mark.parametrize("leave", some(range(0, 3000, 150), [40]))
def test_a_study_on_a_full_disk(leave, zygote, undisturbed_study, disk):
    filler = fill(disk, leave * KIB)
    code, said = zygote.run(*ABLATE, disk)
    if code != 0:
        assert code == 1
        assert "Traceback" not in said, said
        assert "cannot be written: No space left on device" in said or "runs failed" in said
    filler.unlink()
    code, said = zygote.run(*ABLATE, disk)
    assert code == 0, said
    assert study_results(disk) == undisturbed_study
    read_lines(StudyFolder(disk, "s").attempts)


def test_a_disk_that_has_become_read_only(zygote, undisturbed, disk):
    assert zygote.run(*TRAIN[:-1], "--quiet", "--runs-dir", disk)[0] == 0
    RunFolder(disk / "run").update_info(status="interrupted")
    before = contents(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for writing in (TRAIN, ["resume", "run", "--runs-dir"], [*ABLATE]):
        code, said = zygote.run(*writing, disk)
        assert is_sentence(code, said), said
        assert "cannot be written: Read-only file system." in said
    code, said = zygote.run("evaluate", "run", "--runs-dir", disk)
    assert is_sentence(code, said), said
    for reading in (["runs"], ["runs", "show", "run"], ["report"], ["study", "status"]):
        code, said = zygote.run(*reading, "--runs-dir", disk)
        assert code == 0, said
    assert contents(disk) == before


@pytest.mark.parametrize("part", some(["", "run", "run/frames", "run/checkpoints"], ["run"]))
@pytest.mark.parametrize("taken", ["removed", "renamed"])
def test_a_folder_taken_from_under_a_run(taken, part, calls, zygote, undisturbed, tmp_path):
    """The run ends with a sentence and brings no half of itself back."""
    runs_dir = tmp_path / "runs"
    path = runs_dir / part
    runs_dir.mkdir()
    is_checkpoint = [call.startswith("rename /run/checkpoints/.tmp-step") for call in calls]
    aside = tmp_path / "aside"
    after = is_checkpoint.index(True) + 1
    with held(zygote, [*TRAIN, runs_dir], runs_dir, after) as process:
        assert list(runs_dir.glob("run/checkpoints/step-*"))
        path.rename(aside)
    code = process.wait()
    assert is_sentence(code, process.said), process.said
    assert "is missing: it was removed or renamed while the run needed it." in process.said
    assert not path.exists()
    if taken == "renamed":
        aside.rename(path)
        code, said = zygote.run(*TRAIN, runs_dir)
        assert code == 0, said
        assert outcome(RunFolder(runs_dir / "run")) == undisturbed
    elif part == "run/frames":
        code, said = zygote.run(*TRAIN, runs_dir)
        assert is_sentence(code, said), said
        assert "No checkpoint of 'run' is whole" in said
    else:  # nothing of it is left to go wrong
        code, said = zygote.run(*TRAIN, runs_dir)
        assert code == 0, said


def test_a_folder_that_may_not_be_read_or_written(zygote, undisturbed, tmp_path):
    code, said = zygote.run(*TRAIN, tmp_path)
    assert code == 0, said
    path = tmp_path / "run"
    RunFolder(path).update_info(status="interrupted")
    before = contents(path)
    closed = [path, path / "config.toml", path / "run.json", path / "checkpoints"]
    closed += [next(path.glob("checkpoints/*9/weights.safetensors"), path / "metrics.jsonl")]
    for what in some(closed, closed[:1]):
        mode = what.stat().st_mode
        what.chmod(0)
        try:
            done = ez(*TRAIN, tmp_path, prefix=without_privileges())
            assert done.returncode in (1, 2), (what, done.stdout, done.stderr)
            assert "error: " in done.stderr, what
            assert "Traceback" not in done.stderr, (what, done.stderr)
            for look in (["runs"], ["runs", "show", "run"]):  # which need not read all of it
                done = ez(*look, "--runs-dir", tmp_path, prefix=without_privileges())
                assert "Traceback" not in done.stderr, (what, done.stderr)
                assert done.returncode == 0 or "error: " in done.stderr, (what, look)
        finally:
            what.chmod(mode)
    assert contents(path) == before
    shutil.rmtree(path)
