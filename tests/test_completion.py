"""Completion by Tab, and its few imports."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ezcli.cli import app
from ezcli.commands.completion import SOURCES, complete

HEAVY = {"torch", "numba", "numpy", "rich", "ale_py", "gymnasium", "scipy", "matplotlib"}
AS_EZ = "import sys; sys.argv = ['ez']; from ezcli.cli import main; main()"
COMPLETED = [  # words so far, of which the last is completed, and a name among the answers
    ("resume by", "by-hand"),
    ("evaluate by", "by-hand"),
    ("watch by", "by-hand"),
    ("doctor by", "by-hand"),
    ("runs show by", "by-hand"),
    ("runs diff x by", "by-hand"),
    ("runs rm x by", "by-hand"),
    ("train --from by", "by-hand"),
    ("resume --runs-dir elsewhere t", "there"),
    ("report min", "mine"),
    ("report mine by", "by-hand"),
    ("study status mi", "mine"),
    ("study cancel mi", "mine"),
    ("runs --json --study mi", "mine"),
    ("ablate --study mi", "mine"),
    ("train --preset atari1", "atari100k"),
    ("config show --preset key", "keydoor"),
    ("ablate --drop value-p", "value-prefix"),
    ("ablations show value-p", "value-prefix"),
    ("train --game po", "pong"),
    ("ablate --game minatar/b", "minatar/breakout"),
    ("ablate --games at", "atari26"),
    ("train --env key", "keydoor"),
    ("train --set search.num", "search.num_simulations="),
    ("ablate --vary env.full", "env.full_action_set="),
]


@pytest.fixture
def names(tmp_path, monkeypatch):
    """A folder with runs and a study, of which no file can be understood."""
    monkeypatch.chdir(tmp_path)
    run, study = "runs/by-hand/config.toml", "runs/studies/mine/study.json"
    for file in (run, study, "elsewhere/there/config.toml"):
        Path(file).parent.mkdir(parents=True)
        Path(file).write_text("neither TOML nor JSON\n")


def asked(words):
    """The variables by which bash asks for the last of the words."""
    number = str(len(words.split()))
    return {"_EZ_COMPLETE": "complete_bash", "COMP_WORDS": f"ez {words}", "COMP_CWORD": number}


@pytest.mark.parametrize(("words", "name"), COMPLETED, ids=[words for words, _ in COMPLETED])
def test_names_are_completed(names, words, name):
    result = CliRunner().invoke(app, [], prog_name="ez", env=asked(words))
    found = result.output.split()
    assert name in found
    assert all(one.startswith(words.split()[-1]) for one in found)


def test_the_answers_load_next_to_nothing(names):
    code = (
        "import sys, ezcli.cli; from pathlib import Path; from ezcli.commands import completion\n"
        "for what in completion.SOURCES: print(len(completion.complete(what, '', Path('runs'))))\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *counts, loaded = done.stdout.splitlines()
    assert len(counts) == len(SOURCES)
    assert all(int(count) > 0 for count in counts)
    assert not HEAVY & set(loaded.split())


def test_a_process_answers_and_loads_no_more_than_that(names):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", AS_EZ],
        env=os.environ | asked("runs --json --study mi"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["mine"]
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "ezcli.commands.completion" in loaded
    assert not HEAVY & loaded


def test_where_nothing_can_be_read_there_are_no_names(tmp_path):
    assert complete("run", "", tmp_path / "none") == []
    (tmp_path / "file").touch()
    assert complete("study", "", tmp_path / "file") == []
