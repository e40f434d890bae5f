"""Printed commands: a shell parses them correctly for any name."""

import ast
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ezcli
from ezcli import cli, console
from ezcli.words import counted_range, ez_command, listed, shell_line

ODD = (
    "x; touch P #",
    "a b",
    "a  b",
    "it's",
    'a "b"',
    "$(touch P)",
    "`touch P`",
    "a\nb",
    "\x1b[31m",
    "\u202eabc",
    "naïve",
    "\udcff",
    "~",
    "*",
    "!!",
    "a\\x20  b",
)
VERBS = [
    *(command.name or command.callback.__name__ for command in cli.app.registered_commands),
    *(group.name for group in cli.app.registered_groups),
]


def words_of(line):
    """The words that bash makes of a command, without starting it."""
    done = subprocess.run(["bash"], input=f"printf '%s\\0' {line}".encode(), capture_output=True)
    assert not done.stderr
    return [word.decode(errors="surrogateescape") for word in done.stdout.split(b"\0")[:-1]]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_shell_reads_the_words_that_were_meant():
    assert words_of(shell_line(ODD)) == list(ODD)


@pytest.mark.parametrize("name", ODD)
def test_neither_terminal_nor_report_changes_a_printed_command(name):
    line = ez_command("resume", name)
    assert console.harmless(line) == line
    assert " ".join(line.split()) == line  # as a page shows it


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_a_word_stays_one_word(word):
    line = shell_line([word])
    assert line.isprintable()
    if line.startswith("$"):
        assert line[2:-1].encode().decode("unicode_escape").encode("latin-1").decode() == word
    else:
        assert shlex.split(line) == [word]


def test_options_follow_and_none_is_left_out():
    assert ez_command("report", "x", plots="a b", runs_dir=None) == "ez report x --plots 'a b'"
    assert ez_command("ablate", study="-x") == "ez ablate --study -x"


def test_a_name_that_looks_like_an_option_stays_a_name():
    assert ez_command("study status", "-x", runs_dir=Path("r")) == (
        "ez study status --runs-dir r -- -x"
    )


def test_a_path_is_not_taken_for_the_name_of_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ez_command("resume", Path("x")) == f"ez resume {tmp_path / 'x'}"
    assert ez_command("resume", Path("runs/x")) == "ez resume runs/x"


def test_no_command_is_put_together_by_hand():
    """Every name or path in a printed command goes through `ez_command`."""
    by_hand = re.compile(rf"\bez ({'|'.join(VERBS)})\b[^.:`]*$")
    for path in Path(ezcli.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.JoinedStr):
                continue
            for part, value in zip(node.values, node.values[1:], strict=False):
                if isinstance(part, ast.Constant) and isinstance(value, ast.FormattedValue):
                    assert not by_hand.search(part.value), f"{path}:{node.lineno}"


def test_a_range_of_counts_has_one_noun():
    found = [counted_range(counts, "run") for counts in ({1}, {5}, {5, 3}, {1, 4})]
    assert found == ["1 run", "5 runs", "3 to 5 runs", "1 to 4 runs"]


def test_texts_are_listed_as_in_a_sentence():
    lists = ([], ["a"], ["a", "b"], ["a", "b", "c"])
    assert [listed(texts) for texts in lists] == ["", "a", "a and b", "a, b and c"]
