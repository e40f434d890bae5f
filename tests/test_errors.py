"""The codes of errors, and the one file that holds their wording."""

import ast
import json
import re
from pathlib import Path

import pytest

from ezcli.errors import UnknownName, closest
from tests import error_sentences


def test_every_error_has_a_code():
    kinds = error_sentences.error_classes() - {"UnknownName"}
    made = [call for call in error_sentences.errors() if error_sentences.name_of(call) in kinds]
    assert len(made) > 150
    for call in made:
        code = call.args[0]
        assert isinstance(code, ast.Constant), ast.unparse(call)
        assert error_sentences.CODE.fullmatch(str(code.value)), ast.unparse(call)


def test_the_wording_of_errors():
    now = error_sentences.sentences()
    kept = error_sentences.FILE.read_text(encoding="utf-8").splitlines()
    assert now == kept, "if this is meant: python -m tests.error_sentences"


def test_no_test_asserts_the_wording_of_an_error():
    """`fails` of tests/failing.py asserts the code and what is named."""
    kinds = error_sentences.error_classes()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and error_sentences.name_of(node) == "raises":
                named = ast.unparse(node.args[0])
                is_ours = not kinds.isdisjoint(re.findall(r"\w+", named))
                asserts_wording = any(keyword.arg == "match" for keyword in node.keywords)
                assert not (is_ours and asserts_wording), f"{path}, line {node.lineno}"


def test_the_code_of_an_unknown_name():
    assert UnknownName("set of games", "x", ["y"]).code == "EZ-UNKNOWN-SET-OF-GAMES"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["train", "--game", "pnog"], "EZ-UNKNOWN-GAME"),
        (
            ["config", "show", "--preset", "smoke", "--set", "loss.absent=1"],
            "EZ-CONFIG-UNKNOWN-KEY",
        ),
        (["runs", "show", "absent"], "EZ-RUN-MISSING"),
    ],
)
def test_debug_prints_the_code(ez, command, code):
    exit_code, _, err = ez("--debug", *command)
    assert exit_code != 0
    assert code in err.splitlines()
    assert code not in ez(*command)[2]


def test_json_holds_the_error(ez):
    exit_code, out, err = ez(
        "config", "show", "--preset", "smoke", "--set", "loss.absent=1", "--json"
    )
    error = json.loads(out)["error"]
    assert exit_code == 2
    assert error["code"] == "EZ-CONFIG-UNKNOWN-KEY"
    assert error["message"] in err
    assert "loss.absent" in error["message"]
    assert set(error) == {"code", "message", "hint"}


def test_json_of_a_command_without_an_error_has_none(ez):
    exit_code, out, _ = ez("runs", "--json")
    assert (exit_code, json.loads(out)) == (0, [])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("num_sim", "num_simulations"),  # cut short, though more like another name
        ("num_env", "num_envs"),
        ("nu", None),
        ("num_enves", "num_envs"),
    ],
)
def test_a_name_that_was_cut_short_is_completed(name, meant):
    assert closest(name, ["num_envs", "num_simulations"]) == meant
