"""No home, no terminal, other locales, and standard streams that are closed, full or gone."""

import errno
import os
import shlex
import shutil
import signal
import subprocess
import sys

import pytest

from ezcli.runs.folder import RunFolder
from tests.chaos.helpers import (
    ROOT,
    SETS,
    TRAIN,
    ez,
    fault,
    is_sentence,
    only_long,
    some,
    tmpfs,
    without_privileges,
)
from tests.runs.helpers import outcome, weights
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

EZ = shlex.join([sys.executable, "-m", "ezcli"])
NAMED = ["train", "--env", "catch", "--preset", "smoke", *SETS]
needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory, zygote):
    """A finished run whose name is not ASCII."""
    path = tmp_path_factory.mktemp("runs")
    code, said = zygote.run(*NAMED, "--name", "größe-λ", "--runs-dir", path)
    assert code == 0, said
    return path


def shell(line, **environment):
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line.replace("EZ ", f"{EZ} ")],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=PATIENCE,
    )


@only_long
def test_without_home_and_with_a_package_that_cannot_be_written(undisturbed, tmp_path):
    """Numba then finds no folder to keep what it compiles in."""
    for part in ("ezcli", "presets", "ablations"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    folders = [tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())]
    (tmp_path / "runs").mkdir()
    for folder in folders:
        folder.chmod(0o555)
    try:
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path), "HOME": "/nowhere"}
        prefix = without_privileges()
        done = ez(*TRAIN, tmp_path / "runs", cwd="/", env=environment, prefix=prefix)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert outcome(RunFolder(tmp_path / "runs" / "run")) == undisturbed
    assert not list((tmp_path / "ezcli").rglob("__pycache__"))  # it could not be written indeed


LOCALES = (
    {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "xx_YY.UTF-8", "TERM": "dumb"},
)


@pytest.mark.parametrize("environment", some(LOCALES, LOCALES[:1]), ids=str)
def test_a_strange_locale(environment, runs_dir):
    at = f"--runs-dir {shlex.quote(str(runs_dir))}"
    lines = [f"EZ runs show größe-λ {at}", f"EZ report {at} | head -1"]
    lines += [f"EZ runs {at} | head -1", f"EZ report {at} --format markdown -o {runs_dir}/r.md"]
    for line in some(lines, lines[:2]):
        done = shell(line, **environment)
        assert done.returncode in ((0, 1) if "head" in line else (0,)), (line, done.stderr)
        assert "Traceback" not in done.stderr, (line, done.stderr)
        assert "Exception ignored" not in done.stderr, (line, done.stderr)


def test_text_for_programs_is_never_spelt_otherwise(tmp_path):
    game = tmp_path / "größe.py"
    game.write_text("class Game: ...\n")
    line = f"EZ config show --env {shlex.quote(str(game))}:Game --preset smoke"
    done = shell(line, PYTHONIOENCODING="ascii")
    assert is_sentence(done.returncode, done.stderr), done.stderr
    assert "PYTHONIOENCODING=utf-8" in done.stderr
    assert done.stdout == ""


@only_long
def test_training_in_a_strange_locale(tmp_path, runs_dir):
    line = f"EZ {shlex.join(NAMED)} --name größe-λ --runs-dir {shlex.quote(str(tmp_path))}"
    done = shell(line, LC_ALL="C", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert weights(RunFolder(tmp_path / "größe-λ")) == weights(RunFolder(runs_dir / "größe-λ"))


@pytest.mark.parametrize("closed", some(["0<&- 1>&- 2>&-", "2>&-", ">&-"], ["0<&- 1>&- 2>&-"]))
def test_closed_standard_files(closed, undisturbed, tmp_path):
    """Nothing that is printed may land in a file of the run that took their numbers."""
    done = shell(f"EZ {shlex.join([*TRAIN, str(tmp_path)])} {closed}")
    assert done.returncode == 0, done.stderr
    assert outcome(RunFolder(tmp_path / "run")) == undisturbed
    assert (tmp_path / "run" / ".lock").read_bytes() == b""
    assert not (tmp_path / "run" / ".lock-holder").exists()


def test_an_error_without_standard_error():
    assert shell("EZ runs show nothing 2>&-").returncode == 2


@needs_full
@pytest.mark.parametrize("words", ["--help", "--version", "runs --help", "ablations"])
def test_a_full_disk_behind_standard_output(words):
    done = shell(f"EZ {words} > /dev/full")
    assert is_sentence(done.returncode, done.stderr), done.stderr


@needs_full
def test_output_that_is_lost_stops_a_run_that_has_saved(zygote, undisturbed, tmp_path):
    """It says that the output failed, not that the run's folder did, and goes on when asked."""
    done = shell(f"EZ {shlex.join([*TRAIN, str(tmp_path)])} > /dev/full")
    assert is_sentence(done.returncode, done.stderr), done.stderr
    assert os.strerror(errno.ENOSPC) in done.stderr
    folder = RunFolder(tmp_path / "run")
    assert folder.read_info()["status"] == "interrupted"
    code, said = zygote.run(*TRAIN, tmp_path)
    assert code == 0, said
    assert outcome(folder) == undisturbed


@only_long
def test_a_reader_that_leaves_stops_a_run_that_has_saved(undisturbed, tmp_path):
    line = f"EZ {shlex.join([*TRAIN, str(tmp_path)])}"
    done = shell(f"{line} | (read -r; read -r; read -r)")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr, done.stderr
    folder = RunFolder(tmp_path / "run")
    assert folder.read_info()["status"] == "interrupted"
    assert list(folder.checkpoints.glob("step-*"))
    assert shell(line).returncode == 0
    assert outcome(folder) == undisturbed


@only_long
def test_without_a_terminal(undisturbed, tmp_path):
    """In a session of its own, with nothing to read from and no TERM."""
    environment = {key: value for key, value in os.environ.items() if key != "TERM"}
    done = ez(*TRAIN, tmp_path, start_new_session=True, stdin=subprocess.DEVNULL, env=environment)
    assert done.returncode == 0, done.stderr
    assert outcome(RunFolder(tmp_path / "run")) == undisturbed


@only_long
@pytest.mark.parametrize("room", [0, 200])
def test_a_full_disk_for_wandb(room, zygote, undisturbed, tmp_path):
    """The run goes on and is none the worse, whatever becomes of wandb."""
    folder = RunFolder(tmp_path / "run")
    code, _ = zygote.run(*TRAIN, tmp_path, fault=fault(tmp_path, 40, "kill"))
    assert code == -signal.SIGKILL
    with tmpfs(folder.path / "wandb", "400k") as disk:
        (disk / "filler").write_bytes(bytes((400 - room) * 1024))
        done = ez(*TRAIN, tmp_path, "--wandb", "offline")
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        if room == 0:
            assert "Weights & Biases is switched off" in done.stdout
    shutil.rmtree(folder.path / "wandb")
    assert outcome(folder) == undisturbed
