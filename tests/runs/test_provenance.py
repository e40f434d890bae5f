"""The commit that a run records is that of ezcli's own checkout."""

import os
import shutil
import subprocess
import time

import pytest

from ezcli.runs import provenance
from ezcli.runs.provenance import git_state, libraries, other_bits
from tests.runs.helpers import Watcher, run, tiny

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
ME = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]


def git(folder, *arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    command = ["git", "-C", str(folder), *ME, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return done.stdout.strip()


def repository(folder):
    """A checkout with one commit; returns its package's folder, as `git_state` takes it."""
    package = folder / "ezcli" / "runs"
    package.mkdir(parents=True)
    (package / "code.py").write_text(f"# {folder}\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", f"In {folder.name}")
    return package


def test_commit_and_changes(tmp_path):
    package = repository(tmp_path / "ours")
    assert git_state(package) == {"commit": git(package, "rev-parse", "HEAD"), "dirty": False}
    (package / "code.py").write_text("changed")
    assert git_state(package)["dirty"] is True


def test_outside_a_checkout_there_is_none(tmp_path):
    (tmp_path / "ezcli" / "runs").mkdir(parents=True)
    assert git_state(tmp_path / "ezcli" / "runs") is None


@pytest.mark.parametrize(
    "variables",
    [("GIT_DIR",), ("GIT_DIR", "GIT_WORK_TREE"), ("GIT_INDEX_FILE",), ("GIT_CEILING_DIRECTORIES",)],
)
def test_variables_of_git_lead_to_no_other_repository(tmp_path, monkeypatch, variables):
    ours, other = repository(tmp_path / "ours"), tmp_path / "other"
    repository(other)
    places = {"GIT_DIR": other / ".git", "GIT_WORK_TREE": other, "GIT_INDEX_FILE": other / "x"}
    for name in variables:
        monkeypatch.setenv(name, str(places.get(name, tmp_path)))
    assert git_state(ours) == {"commit": git(ours, "rev-parse", "HEAD"), "dirty": False}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give files away")
def test_a_checkout_of_somebody_else_is_recorded(tmp_path):
    package = repository(tmp_path / "ours")
    commit = git(package, "rev-parse", "HEAD")
    for path in (tmp_path / "ours", *(tmp_path / "ours").rglob("*")):
        os.chown(path, 65534, 65534)
    assert git_state(package) == {"commit": commit, "dirty": False}


def fake_git(tmp_path, monkeypatch, script):
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_what_git_says_is_the_reason(tmp_path, monkeypatch):
    package = repository(tmp_path / "ours")
    fake_git(tmp_path, monkeypatch, "echo 'fatal: it is broken' >&2; exit 128")
    assert git_state(package) == {
        "commit": None,
        "dirty": None,
        "unknown": "fatal: it is broken",
    }


def test_a_git_that_hangs_is_given_up(tmp_path, monkeypatch):
    package = repository(tmp_path / "ours")
    fake_git(tmp_path, monkeypatch, "exec sleep 600")
    monkeypatch.setattr(provenance, "GIT_SECONDS", 1)
    began = time.monotonic()
    assert git_state(package)["unknown"] == "git took more than 1 seconds"
    assert time.monotonic() - began < 300


def test_without_git_the_reason_is_recorded(tmp_path, monkeypatch):
    package = repository(tmp_path / "ours")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(package)["unknown"].startswith("git cannot be run: No such file")


# ------------------------------------------------------------------ what decides the bits


def test_variables_that_decide_bits_are_recorded_and_no_others(monkeypatch):
    for name in provenance.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert set(libraries()) == {"cpu_capability"}
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2" + "x" * 1000)
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert set(libraries()) == {"cpu_capability", "ONEDNN_MAX_CPU_ISA"}
    assert len(libraries()["ONEDNN_MAX_CPU_ISA"]) == 100


SESSION = {
    "device_name": "a processor",
    "precision": "float32",
    "packages": {"torch": "2.6.0"},
    "libraries": {"cpu_capability": "AVX512"},
}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ""),
        ({"started": "later"}, ""),
        ({"precision": "bfloat16"}, "precision: float32 there, bfloat16 now"),
        ({"packages": {"torch": "2.7.0"}}, "torch: 2.6.0 there, 2.7.0 now"),
        (
            {"libraries": {"cpu_capability": "AVX512", "MKL_CBWR": "AVX2"}},
            "MKL_CBWR: not set there, AVX2 now",
        ),
    ],
)
def test_a_session_that_computes_other_bits_is_told(changed, said):
    assert other_bits(SESSION, SESSION | changed) == said
    assert bool(other_bits(SESSION | changed, SESSION)) == bool(said)


def test_a_session_from_before_they_were_recorded_differs_in_nothing_unknown():
    old = {"device_name": "a processor", "packages": {"torch": "2.6.0"}}
    now = SESSION | {"libraries": {"cpu_capability": "AVX512", "MKL_CBWR": "AVX2"}}
    assert other_bits(old, now) == ""
    assert other_bits(old, now | {"device_name": "another"}).startswith("device_name: a processor")


def test_a_package_that_resized_frames_alike_is_not_missed():
    packages = {"torch": "2.6.0", "opencv-python-headless": "4.10.0"}
    assert other_bits(SESSION | {"packages": packages}, SESSION) == ""


def test_a_run_resumed_under_other_variables_says_so(tmp_path, monkeypatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    folder = run(tmp_path / "run", tiny(), Watcher(3))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    watcher = Watcher()
    run(folder.path, tiny(), watcher)
    assert any(
        "not bit-exact (ONEDNN_MAX_CPU_ISA: not set there, AVX2 now)" in text
        for text in watcher.said
    )
    assert [s["libraries"].get("ONEDNN_MAX_CPU_ISA") for s in folder.sessions()] == [None, "AVX2"]
