"""What the code of an environment does to the process that plays it, beside playing."""

import json
import subprocess
import sys

import pytest

from tests.runs.helpers import TINY
from tests.test_cli import MY_ENV

SETS = [part for setting in TINY for part in ("--set", setting)]
OWN = ["--env", "game.py:Corridor", "--preset", "smoke", *SETS]
PRINTS = """
import ctypes, os, sys
print("by Python")
os.write(1, b"by number\\n")
ctypes.CDLL(None).puts(b"by C")
os.system("echo by a child")
sys.__stdout__.write("by the first standard output\\n")
"""


def process(*arguments):
    """A command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "ezcli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def game(tmp_path, monkeypatch):
    """The file of an environment, in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "game.py"
    path.write_text(MY_ENV)
    return path


@pytest.mark.slow
def test_json_is_all_of_standard_output_whatever_an_environment_prints(game, ez):
    told = PRINTS.replace("\n", "\n        ")
    game.write_text(f"{PRINTS}{MY_ENV}".replace("self.spec =", f"{told}self.spec ="))
    assert ez("train", *OWN, "--quiet", "--name", "x")[0] == 0
    for command in (
        ["evaluate", "runs/x", "--json"],
        ["cost", *OWN, "--json"],
        ["bench", "environment", "--seconds", "0.01", *OWN, "--json"],
        ["ablate", *OWN, "--drop", "value-prefix", "--seeds", "1", "--json"],
    ):
        done = process(*command)
        assert done.returncode == 0, done.stderr
        assert isinstance(json.loads(done.stdout), dict)
    commands = process("ablate", *OWN, "--seeds", "2", "--print-commands")
    lines = commands.stdout.splitlines()
    assert [" ".join(line.split()[:3]) for line in lines] == ["ez --trust train"] * len(lines)
    assert lines
