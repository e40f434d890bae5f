"""Code and clusters from other people's files need permission."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ezcli import trust
from ezcli.envs import custom
from ezcli.experiments.launchers import cluster
from tests.failing import check, fails
from tests.runs.helpers import TINY

GAME = """
from pathlib import Path

import numpy as np

from ezcli.envs.protocol import EnvSpec, Step

Path("executed").touch()


class Room:
    spec = EnvSpec((1, 4, 4), ("left", "right"), {"name": "room"})

    def __init__(self, settings, evaluation):
        self.steps = 0

    def reset(self, seed):
        self.steps = 0
        return np.zeros((1, 4, 4), np.uint8)

    def step(self, action):
        self.steps += 1
        return Step(np.zeros((1, 4, 4), np.uint8), 1.0, self.steps == 3, self.steps == 3)
"""
SETS = [x for setting in TINY for x in ("--set", setting)]
TRAIN = ("train", "--env", "game.py:Room", "--preset", "smoke", "--quiet", *SETS)
STUDY = ("ablate", "--vary", "search.num_simulations=1,2", "--seeds", "1", "--study", "s")


@pytest.fixture(autouse=True)
def stranger(monkeypatch, tmp_path):
    """A user who trusts nothing yet, in a folder with a game; returns who they are afterwards."""
    (tmp_path / "game.py").write_text(GAME)

    def another(name):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / name))
        (tmp_path / "executed").unlink(missing_ok=True)
        custom._load.cache_clear()  # as in a process of its own

    another("first")
    return another


def was_executed():
    return Path("executed").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a game, and a run and a study of it."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "game.py").write_text(GAME)
    study = (*STUDY, "--env", "game.py:Room", "--preset", "smoke", *SETS, "--quiet")
    environment = os.environ | {"XDG_STATE_HOME": str(folder / "state")}
    for arguments in ((*TRAIN, "--name", "run"), study):
        command = [sys.executable, "-m", "ezcli", *arguments]
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    (folder / "executed").unlink()
    return folder


@pytest.fixture
def given(ez, trained, tmp_path):
    """A run and a study that somebody else trained and gave away, with their game."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return "game.py:Room"


COMMANDS = {
    "resume": ["resume", "run"],
    "evaluate": ["evaluate", "run"],
    "watch": ["watch", "run", "-o", "film.gif"],
    "cost of a preset": ["cost", "--preset", "runs/run/config.toml"],
    "bench of a preset": ["bench", "replay", "--preset", "runs/run/config.toml"],
    "train from a preset": ["train", "--preset", "runs/run/config.toml", "--seed", "3"],
    "a study's preset": ["train", "--preset", "runs/studies/s/preset.toml", "--seed", "5"],
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_foreign_code_is_not_executed_without_a_yes(command, ez, given):
    assert ez(*COMMANDS[command])[0] == 2
    check(ez.error, "EZ-TRUST-NEEDED", "game.py:Room", "ez --trust")
    assert not was_executed()
    code, _, err = ez("--trust", *COMMANDS[command])
    assert code == 0, err
    ez(*COMMANDS[command])  # remembered
    assert ez.error is None or ez.error.code != "EZ-TRUST-NEEDED"


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--dry-run"], ["--seeds", "2"], ["--print-commands"]])
def test_a_foreign_study_is_not_gone_on_with(more, ez, given):
    code = ez("ablate", "--study", "s", *more)[0]
    assert (code, was_executed()) == (2, False)
    check(ez.error, "EZ-TRUST-NEEDED", "study 's'", "game.py:Room")


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["runs"],
        ["runs", "show", "run"],
        ["report"],
        ["doctor", "run"],
        ["study", "status", "s"],
        ["config", "show", "--preset", "runs/run/config.toml"],
    ],
)
def test_looking_executes_nothing(command, ez, given):
    ez(*command)
    assert not was_executed()


@pytest.mark.slow
def test_listings_say_that_a_game_is_custom(ez, given):
    assert "room (custom)" in ez("runs")[1]
    assert "room (custom)" in ez("runs", "show", "run")[1]
    assert "room (custom) with smoke" in ez("report", "run")[1]
    runs = json.loads(ez("runs", "--json")[1])
    assert {(run["game"], run["environment"]) for run in runs} == {("room", "custom")}


@pytest.mark.slow
def test_what_a_command_line_names_is_trusted_from_then_on(ez):
    assert ez(*TRAIN, "--name", "run")[0] == 0
    assert ez("evaluate", "run")[0] == 0
    Path("game.py").rename("moved.py")
    Path("game.py").write_text(Path("moved.py").read_text())  # the content counts
    assert ez("evaluate", "run")[0] == 0


@pytest.mark.slow
def test_a_planned_run_of_ones_own_asks_nothing(ez):
    plan = (*STUDY, "--env", "game.py:Room", "--preset", "smoke", *SETS, "--print-commands")
    first = ez(*plan)[1].splitlines()[0].split()
    assert first[:3] == ["ez", "--trust", "resume"]  # for another machine, which knows nothing
    assert ez("resume", first[3], "--quiet")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "expected"), [(True, 0), (False, 2)])
def test_a_terminal_is_asked(answer, expected, ez, given, monkeypatch):
    asked = []

    monkeypatch.setattr("os.isatty", lambda descriptor: True)
    monkeypatch.setattr("ezcli.console.ask", lambda question: asked.append(question) or answer)
    assert ez("evaluate", "run")[0] == expected
    (question,) = asked
    assert question.endswith("Do you trust it?")
    assert was_executed() is answer


# ------------------------------------------------------------------ clusters


@pytest.fixture
def nobody(monkeypatch):
    monkeypatch.setattr(trust, "confirm", None)
    monkeypatch.setattr(trust, "is_everything_trusted", False)


def launcher_file(folder, address):
    path = folder / "launcher.toml"
    path.write_text(f'launcher = "ray"\n[ray]\naddress = "{address}"\n')
    return path


@pytest.mark.usefixtures("nobody")
def test_the_address_in_a_study_is_not_connected_to_without_a_yes(tmp_path):
    saved = launcher_file(tmp_path, "ray://evil:10001")
    with fails("EZ-TRUST-NEEDED", "'ray://evil:10001'", "ez --trust"):
        cluster.cluster_of(None, None, saved, {})
    cluster.cluster_of("local", None, saved, {})  # not used, so not asked for


@pytest.mark.usefixtures("nobody")
def test_this_machines_own_cluster_needs_none(tmp_path):
    assert cluster.cluster_of(None, None, launcher_file(tmp_path, "auto"), {}).name == "ray"


@pytest.mark.usefixtures("nobody")
def test_an_address_of_a_command_line_is_remembered(tmp_path):
    saved = launcher_file(tmp_path, "ray://ours:10001")
    cluster.cluster_of(None, saved, None, {})  # --cluster FILE
    assert cluster.cluster_of(None, None, saved, {}).settings.address == "ray://ours:10001"
    with fails("EZ-TRUST-NEEDED"):
        cluster.cluster_of(None, None, launcher_file(tmp_path, "ray://ours:10002"), {})


# ------------------------------------------------------------------ the list


@pytest.mark.usefixtures("nobody")
def test_the_list_is_the_users_alone(tmp_path):
    trust.remember(trust.key("ray", "x"))
    path = trust.trusted_file()
    assert path.is_relative_to(tmp_path)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    trust.remember(trust.key("ray", "x"))
    assert path.read_text() == trust.key("ray", "x") + "\n"


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("content", [b"\xff\xfe", b"", None])
def test_a_list_that_cannot_be_read_trusts_nothing(content, tmp_path):
    path = trust.trusted_file()
    path.parent.mkdir(parents=True)
    path.mkdir() if content is None else path.write_bytes(content)
    with fails("EZ-TRUST-NEEDED"):
        trust.require(trust.key("ray", "x"), "It", "connected to")
    trust.remember(trust.key("ray", "x"))  # does not fail either


@pytest.mark.usefixtures("nobody")
def test_a_user_without_a_home(monkeypatch):
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert trust.trusted_file() is None
    trust.remember("x")
    with fails("EZ-TRUST-NEEDED"):
        trust.require("x", "It", "executed")


def test_keys_follow_class_and_content_alone():
    one = trust.code("/a/game.py:Room", {"game.py": "1"})
    assert one == trust.code("game.py:Room", {"game.py": "1"})
    assert one != trust.code("game.py:Other", {"game.py": "1"})
    assert one != trust.code("game.py:Room", {"game.py": "2"})
    assert trust.key("ray", "x") != trust.key("code", "x")
