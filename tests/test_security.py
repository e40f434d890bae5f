"""The guarantees in SECURITY.md: no code from files is executed, nothing is written elsewhere."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ezcli.runs.folder import RunFolder
from ezcli.runs.seals import checksum
from tests.failing import check
from tests.runs.helpers import PATIENT, Watcher, contents, run, tiny
from tests.test_cli import SETS, TRAIN

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ezcli"
# What turns bytes into code or arbitrary objects. `torch.load` is a pickle.
LOADERS = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "yaml"}
CALLS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {
    ("torch", "load"),
    ("torch", "save"),
    ("np", "load"),
    ("np", "save"),
    ("os", "system"),
}


def used(tree):
    """Modules imported, builtins called, and attributes of modules, of a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.value.id, node.attr
        elif isinstance(node, ast.keyword):
            yield node.arg, getattr(node.value, "value", None)


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: f.stem)
def test_nothing_turns_a_file_into_code(file):
    found = set(used(ast.parse(file.read_text(encoding="utf-8"))))
    if file.name == "jit.py":  # reads Numba's cache, behind checksums: tests/test_jit.py
        found -= {"pickle"}
    assert not found & (LOADERS | CALLS | ATTRIBUTES)
    assert ("shell", True) not in found
    assert ("allow_pickle", True) not in found


def test_that_check_sees_what_it_looks_for():
    code = "import pickle\nfrom joblib import load\neval('1')\ntorch.load(x)\nf(shell=True)"
    found = set(used(ast.parse(code)))
    assert {"pickle", "joblib", "eval", ("torch", "load"), ("shell", True)} <= found


@pytest.fixture
def elsewhere(tmp_path, finished):
    """A folder outside the runs folder, with things that must stay as they are."""
    outside = tmp_path / "outside"
    shutil.copytree(finished.path, outside / "run")
    for name in ("0000000000-0000000099.zst", "photo.jpg", "notes"):
        (outside / name).write_text("mine")
    return outside


@pytest.fixture
def begun(tmp_path, finished):
    """A run that `TRAIN` would continue."""
    folder = tmp_path / "runs" / "mine"
    shutil.copytree(finished.path, folder)
    RunFolder(folder).update_info(status="interrupted")
    return folder


@pytest.mark.parametrize(
    "inside",
    [
        "",
        "frames",
        "checkpoints",
        "metrics.jsonl",
        "run.json",
        ".lock",
        ".lock-holder",
        ".tmp-run.json",
    ],
)
def test_a_link_does_not_lead_out_of_a_run(inside, begun, elsewhere, ez):
    link = begun / inside if inside else begun
    if link.is_dir():
        shutil.rmtree(link)
    target = elsewhere / ("notes" if "." in inside else "run" if not inside else "")
    link.unlink(missing_ok=True)
    link.symlink_to(target)
    before = contents(elsewhere)
    commands = TRAIN, ["evaluate", "mine"], ["watch", "mine"], ["runs", "rm", "mine", "--yes"]
    for command in commands:
        code, out, err = ez(*command)
        if command[0] in ("train", "evaluate") or not inside:
            assert code in (1, 2)
            assert ez.error.code == "EZ-RUN-LINK" or "run.json" in ez.error.message
        assert "Traceback" not in out + err
        assert contents(elsewhere) == before


@pytest.mark.parametrize("inside", ["", "s", "s/logs", "s/study.json"])
def test_a_link_does_not_lead_out_of_a_study(inside, elsewhere, ez, tmp_path):
    link = tmp_path / "runs" / "studies" / inside
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere / "notes" if inside.endswith("json") else elsewhere)
    before = contents(elsewhere)
    ablate = ["ablate", "--env", "catch", "--preset", "smoke", "--study", "s", *SETS]
    assert ez(*ablate, "--drop", "value-prefix")[0] in (1, 2)
    assert ez.error.code == "EZ-RUN-LINK" or "study.json" in ez.error.message
    assert contents(elsewhere) == before


def test_the_runs_folder_itself_may_be_a_link(tmp_path, elsewhere, ez):
    (tmp_path / "runs").symlink_to(elsewhere)
    assert ez("runs")[0] == 0
    assert ez("doctor", "run")[0] == 0


def test_a_study_cannot_name_a_run_elsewhere(ez, tmp_path, finished):
    shutil.copytree(finished.path, tmp_path / "outside")
    study = {"name": "s", "ezcli": "0", "preset": "p", "games": [], "seeds": [0], "arms": []}
    cell = {"arm": "full", "env": "catch", "seed": 0, "identity": "0", "run": "../outside"}
    folder = tmp_path / "runs" / "studies" / "s"
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(json.dumps(study | {"cells": [cell]}))
    for command in (["study", "status", "s"], ["report", "s"]):
        assert ez(*command)[0] in (1, 2)
        check(ez.error, "EZ-STUDY-DAMAGED", "study.json")


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("files", "/dev/zero"),
        ("files", "../../../outside/notes"),
        ("blobs", "../../../outside/0000000000-0000000099.zst"),
        ("records", "../../outside/notes"),
    ],
)
def test_a_manifest_cannot_name_a_file_elsewhere(entry, name, begun, elsewhere, ez):
    """Its checksum is right: whoever wrote it could compute one."""
    for path in begun.glob("checkpoints/step-*/manifest.json"):
        manifest = json.loads(path.read_text())
        del manifest["sha256"]
        manifest[entry][name] = next(iter(manifest[entry].values()))
        path.write_text(json.dumps(manifest | {"sha256": checksum(manifest)}))
    assert ez(*TRAIN)[0] == 1
    check(ez.error, "EZ-CHECKPOINT-NONE-WHOLE", "manifest.json", name)


def test_a_pipe_in_a_run_stops_nothing(begun, ez):
    (begun / ".lock").unlink()
    os.mkfifo(begun / ".lock")
    assert ez(*TRAIN)[0] == 1
    check(ez.error, "EZ-RUN-LINK", ".lock", "FIFO")


@pytest.mark.slow
def test_only_frames_are_removed_from_the_folder_of_frames(tmp_path):
    config = tiny("catch", "record.checkpoint_minutes=0")
    folder = run(tmp_path / "run", config, Watcher(stop_after=3))
    (folder.frames / "notes").write_text("mine")
    run(folder.path, config)
    assert (folder.frames / "notes").read_text() == "mine"


def test_no_name_or_message_steers_the_terminal(ez, begun, tmp_path):
    begun.rename(begun.with_name("a\x1b]0;owned\x07b\x1b[31mc\u202e"))
    (tmp_path / "mine.py").write_text(
        "class Mine:\n  def __init__(self, *_):\n    raise ValueError('\\x1b[2J')\n"
    )
    commands = (
        ["runs"],
        ["runs", "show", "nothing"],
        ["report"],
        ["train", "--env", "mine.py:Mine"],
    )
    for command in commands:
        _, out, err = ez(*command)
        assert not {"\x1b", "\x07", "\u202e"} & set(out + err)
    assert r"\x1b[2J" in err


@pytest.mark.slow
def test_no_secret_is_written(tmp_path):
    """Of the environment, and wandb's key, in a run and in the logs of a study."""
    secrets = {"WANDB_API_KEY": "0123456789abcdef" * 2 + "01234567", "MY_TOKEN": "hunter2hunter2"}
    environment = os.environ | secrets
    environment |= {"WANDB_MODE": "offline", "WANDB__SERVICE_WAIT": "600"}
    study = ["ablate", "--env", "catch", "--preset", "smoke", "--study", "s", *SETS]
    for arguments in (
        [*TRAIN, "--wandb", "offline"],
        [*study, "--drop", "value-prefix", "--jobs", "1"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", PATIENT, *arguments],
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
        )
        written = contents(tmp_path) | {"output": done.stdout + done.stderr}
        for secret in secrets.values():
            holding = [name for name, content in written.items() if secret.encode() in content]
            assert holding == []
    assert list((tmp_path / "runs" / "mine").glob("wandb/offline-run-*"))
