"""`ez runs`: listing, showing, comparing and deleting runs."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import get_args

import pytest

from ezcli import console
from ezcli.commands import runs as commands
from ezcli.commands.runs import SORTS, auxiliary_gradient
from ezcli.experiments import catalogue
from ezcli.experiments.study import StudyFolder
from ezcli.runs.folder import RunFolder
from ezcli.runs.names import run_path
from tests.experiments.helpers import make_study, save
from tests.failing import check
from tests.runs.helpers import run, tiny


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs") / "trained", tiny()).path


@pytest.fixture
def runs_dir(tmp_path, trained):
    """A study with one finished run and one broken, and a run of no study."""
    folder = tmp_path / "runs"
    _, runs = save(folder, make_study(seeds=(0,)))
    shutil.copytree(trained, folder / runs[0].name)
    failed = RunFolder(folder / runs[1].name)
    failed.create(runs[1].config)
    failed.update_info(status="failed", identity=runs[1].config.identity)
    other = RunFolder(folder / "by-hand")
    other.create(tiny("keydoor", "seed=3"))
    return folder


def squeezed(text):
    return " ".join(text.split())


def test_none_yet(ez):
    code, out, _ = ez("runs")
    assert (code, squeezed(out)) == (0, "No run in runs yet. Start one: ez train --game pong")


def test_the_list(ez, runs_dir):
    code, out, err = ez("runs")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    head = ["id", "study", "arm", "or", "run", "game", "seed", "state", "done", "score"]
    assert lines[0][:10] == head
    by_id = {line[0]: line for line in lines[1:]}
    assert by_id[tiny().identity[:6]][1:7] == ["mine", "full", "catch", "0", "finished", "100%"]
    arm = tiny("catch", "components.value_prefix=false").identity[:6]
    assert by_id[arm][1:9] == ["mine", "−", "value", "prefix", "catch", "0", "failed", "0%"]
    loose = by_id[tiny("keydoor", "seed=3").identity[:6]]
    assert loose[1:5] == ["by-hand", "keydoor", "3", "new"]


def test_a_run_outside_of_studies_has_its_name_at_80_columns(ez, runs_dir, monkeypatch):
    config = tiny("keydoor", "seed=4")
    RunFolder(run_path(runs_dir, f"keydoor-seed4-{config.identity[:6]}")).create(config)
    lines = ez("runs")[1].splitlines()
    (line,) = [line for line in lines if config.identity[:6] in line]
    assert line.split()[:2] == [config.identity[:6], "keydoor-seed4"]
    assert "arm or run" not in ez("runs", "--study", "mine")[1]


def test_the_preset_of_a_run_is_that_of_its_study(ez, runs_dir, monkeypatch):
    monkeypatch.setattr(console.out, "width", 160)
    folder = StudyFolder(runs_dir, "mine")
    for path in runs_dir.glob("*/run.json"):
        if path.parent.name != "by-hand":
            RunFolder(path.parent).update_info(preset=str(folder.preset_file))
    lines = ez("runs")[1].splitlines()
    named = Path(folder.record().preset).stem
    assert named != "preset"
    assert sum(f" {named} " in line for line in lines if "− value prefix" in line) == 1


def test_the_list_fits_80_columns(ez, runs_dir):
    assert max(map(len, ez("runs")[1].splitlines())) <= 80


def test_where_it_is_narrow_the_time_goes_first(ez, runs_dir, monkeypatch):
    wide = ez("runs")[1].splitlines()
    monkeypatch.setattr(console.out, "width", len(wide[0].rstrip()) - 1)
    narrow = ez("runs")[1].splitlines()
    assert (len(narrow), "when" in narrow[0], "score" in narrow[0]) == (len(wide), False, True)


def test_what_is_the_same_everywhere_is_said_once(ez, runs_dir):
    lines = ez("runs", "--study", "mine")[1].splitlines()
    assert lines[:2] == ["study: mine", "game: catch"]
    assert lines[2].split() == ["id", "arm", "seed", "state", "done", "score", "time", "when"]


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_no_id_game_or_state_is_broken(ez, runs_dir, monkeypatch, width):
    runs = {f"{'long-name' * n}-{n}": tiny("keydoor", "seed=9") for n in (1, 2)}  # one identity
    for name, config in runs.items():
        RunFolder(run_path(runs_dir, name)).create(config)
    whole = json.loads(ez("runs", "--json")[1])
    monkeypatch.setattr(console.out, "width", width)
    lines = ez("runs")[1].splitlines()
    assert len(lines) == 1 + len(whole)  # no cell goes on in a second line
    assert max(map(len, lines)) <= width
    for line, one in zip(lines[1:], whole, strict=True):
        assert line.split()[0] in (one["name"], one["identity"][:6])
        assert {one["game"], one["state"]} <= set(line.split())


def test_preset_and_time_where_there_is_room(ez, runs_dir, monkeypatch):
    RunFolder(run_path(runs_dir, "by-hand")).update_info(preset="mine/own.toml")
    monkeypatch.setattr(console.out, "width", 160)
    lines = ez("runs")[1].splitlines()
    assert {"preset", "time", "when", "name"} <= set(lines[0].split())
    (line,) = [line for line in lines if "by-hand" in line]
    assert " own " in line
    listed = {run["name"]: run for run in json.loads(ez("runs", "--json")[1])}
    assert listed["by-hand"]["preset"] == "mine/own.toml"


@pytest.mark.parametrize("order", SORTS)
def test_sorting(ez, runs_dir, order):
    listed = json.loads(ez("runs", "--sort", order, "--json")[1])
    names = [run["name"] for run in listed]
    assert sorted(names) == [run["name"] for run in json.loads(ez("runs", "--json")[1])]
    keys = {"name": "name", "game": "game", "state": "state", "score": "score", "when": "updated"}
    if order in keys:
        known = [run[keys[order]] for run in listed if run[keys[order]] is not None]
        assert known == sorted(known, reverse=order in ("score", "when"))
        assert all(run[keys[order]] is None for run in listed[len(known) :])
    else:
        assert listed[0]["state"] == "finished"  # the only one that was trained


def test_an_order_that_is_none_suggests(ez, runs_dir):
    assert ez("runs", "--sort", "scores")[0] == 2
    check(ez.error, "EZ-UNKNOWN-ORDER", "'scores'", "'score'")


def test_names_where_there_is_room(ez, runs_dir, monkeypatch):
    monkeypatch.setattr(console.out, "width", 140)
    assert "by-hand" in ez("runs")[1]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["--study", "mine"], 2),
        (["--study", "mi"], 2),
        (["--arm", "full"], 1),
        (["--game", "keydoor"], 1),
        (["--state", "failed"], 1),
        (["--state", "running"], 0),
        (["--study", "mine", "--state", "failed", "--arm", "value-prefix"], 1),
        (["--arm", "− value prefix"], 1),
        (["--arm", "- value prefix"], 1),
    ],
)
def test_filters(ez, runs_dir, filters, found):
    listed = json.loads(ez("runs", *filters, "--json")[1])
    assert len(listed) == found
    code, out, _ = ez("runs", *filters)
    assert code == 0
    assert ("No run matches." in out) == (found == 0)


@pytest.mark.parametrize(
    ("option", "value", "near"),
    [
        ("--study", "mone", "mine"),
        ("--arm", "ful", "full"),
        ("--game", "keydor", "keydoor"),
        ("--state", "finish", "finished"),
    ],
)
def test_a_filter_that_fits_nothing_suggests(ez, runs_dir, option, value, near):
    assert ez("runs", option, value)[0] == 2
    check(ez.error, f"EZ-UNKNOWN-{option[2:].upper()}", repr(value), repr(near))


def test_json_says_all(ez, runs_dir):
    listed = {line["name"]: line for line in json.loads(ez("runs", "--json")[1])}
    (done,) = [line for line in listed.values() if line["state"] == "finished"]
    assert done["studies"] == [{"study": "mine", "arm": "full"}]
    assert done["identity"] == tiny().identity
    assert done["train_steps"] <= done["total_train_steps"] == tiny().schedule.train_steps
    assert done["score_kind"] == "final"
    assert listed["by-hand"]["score"] is None


@pytest.mark.parametrize(("file", "text"), [("config.toml", "seed ="), ("run.json", "{")])
def test_a_damaged_run_is_listed(ez, runs_dir, trained, file, text):
    folder = shutil.copytree(trained, runs_dir / "zz")
    (folder / file).write_text(text)
    (line,) = [x for x in json.loads(ez("runs", "--json")[1]) if x["name"] == "zz"]
    assert (line["state"], line["score"], line["train_steps"]) == ("damaged", None, None)
    code, out, _ = ez("runs")
    (shown,) = [text for text in out.splitlines() if " damaged " in text]
    assert code == 0
    assert "%" not in shown
    assert "." not in shown.replace("-", "")  # no score


def test_an_evaluation_by_hand_is_not_the_score(ez, runs_dir, trained):
    (before,) = [x for x in json.loads(ez("runs", "--json")[1]) if x["state"] == "finished"]
    path = runs_dir / before["name"] / "evaluations.jsonl"
    line = json.loads(path.read_text().splitlines()[-1]) | {"kind": "manual", "mean": 99.0}
    with path.open("a") as handle:
        handle.write(json.dumps(line) + "\n")
    (after,) = [x for x in json.loads(ez("runs", "--json")[1]) if x["name"] == before["name"]]
    assert (after["score"], after["score_kind"]) == (before["score"], "final")


def test_a_filter_for_studies_where_there_is_none(ez, runs_dir):
    shutil.rmtree(runs_dir / "studies")
    assert ez("runs", "--study", "mine")[0] == 2
    check(ez.error, "EZ-RUNS-FILTER-EMPTY", "--study mine")


def test_a_runs_folder_that_is_a_file(ez, tmp_path):
    (tmp_path / "notes").touch()
    assert ez("runs", "--runs-dir", "notes")[0] == 2
    check(ez.error, "EZ-PATH-NOT-A-FOLDER", "'notes'")


def test_show(ez, runs_dir):
    code, out, _ = ez("runs", "show", tiny().identity[:6])
    assert code == 0
    out = squeezed(out)
    for part in ("state finished", "arm full in mine", "train_steps 1", "final 56", "torch "):
        assert part in out
    assert "Continue with" not in out
    assert "Start it with: ez resume runs/by-hand" in ez("runs", "show", "by-hand")[1]
    facts = json.loads(ez("runs", "show", tiny().identity, "--json")[1])
    assert facts["evaluations"][-1]["kind"] == "final"
    shown = f"auxiliary gradient {facts['auxiliary_gradient']:.3g}, norm into the encoder of 2 x"
    assert shown in out
    assert facts["disk_bytes"] > 1000


def test_the_auxiliary_gradient_is_the_mean_over_the_train_steps_that_measured_it(tmp_path):
    folder = RunFolder(tmp_path)
    lines = [
        {"train_steps": 300, "auxiliary_gradient": 2.0},
        {"train_steps": 600, "auxiliary_gradient": 7.0},
        {"train_steps": 900, "auxiliary_gradient": None},
    ]
    for count, expected in ((0, None), (1, 2.0), (2, 4.0), (3, 4.0)):
        text = "".join(json.dumps(line) + "\n" for line in lines[:count])
        (tmp_path / "metrics.jsonl").write_text(text)
        assert auxiliary_gradient(folder) == expected


def test_an_id_of_several_runs_is_refused(ez, runs_dir, trained):
    shutil.copytree(trained, runs_dir / "twin")
    assert ez("runs", "show", tiny().identity[:6])[0] == 2
    check(ez.error, "EZ-RUN-AMBIGUOUS", "twin")
    assert "twin" in ez("runs")[1]  # where each goes by its name


def test_diff(ez, runs_dir):
    full, arm = (tiny("catch", *s).identity for s in ((), ("components.value_prefix=false",)))
    code, out, _ = ez("runs", "diff", full, arm)
    assert (code, "components.value_prefix true false" in squeezed(out)) == (0, True)
    shown = json.loads(ez("runs", "diff", full, "by-hand", "--json")[1])
    assert shown["seed"] == {"one": 0, "other": 3}
    assert shown["env.name"] == {"one": "catch", "other": "keydoor"}
    assert "are the same" in ez("runs", "diff", full, full)[1]


# ------------------------------------------------------------------ deleting


def test_rm_asks_where_somebody_can_answer(ez, runs_dir, monkeypatch):
    answers = iter(["n\n", "", "y\n"])
    monkeypatch.setattr(sys, "stdin", Terminal(answers))
    for left in (True, True, False):
        code, out, _ = ez("runs", "rm", "by-hand")
        assert "Delete 1 run? [y/N]" in out
        assert (runs_dir / "by-hand").exists() == left
        assert code == (1 if left else 0)


class Terminal:
    """Standard input with somebody at it."""

    def __init__(self, answers):
        self.answers = answers

    def isatty(self):
        return True

    def readline(self):
        return next(self.answers)


def test_rm_and_report_take_ids(ez, runs_dir):
    full, by_hand = (config.identity[:6] for config in (tiny(), tiny("keydoor", "seed=3")))
    code, out, _ = ez("report", full)
    assert (code, "1 run;" in out) == (0, True)
    code, out, _ = ez("runs", "rm", by_hand, "by-hand", "--yes")
    assert "Deleted 1 run." in out
    assert (code, (runs_dir / "by-hand").exists()) == (0, False)


def test_rm_does_not_ask_nobody(ez, runs_dir, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert ez("runs", "rm", "by-hand")[0] == 2
    check(ez.error, "EZ-RUNS-NOT-CONFIRMED", "--yes")
    assert (runs_dir / "by-hand").exists()


def test_rm_says_which_study_needs_it(ez, runs_dir):
    name = next(p.name for p in runs_dir.glob("catch-smoke-full-*"))
    code, out, _ = ez("runs", "rm", name, "by-hand", "--yes")
    assert (code, "needed by mine" in out, "Deleted 2 runs." in out) == (0, True, True)
    assert not (runs_dir / name).exists()
    assert not (runs_dir / "by-hand").exists()


@pytest.mark.parametrize("name", ["../outside", "studies", ".", "..", "", "/etc", "link", "notes"])
def test_rm_never_leaves_the_runs_folder(ez, runs_dir, trained, name):
    outside = shutil.copytree(trained, runs_dir.parent / "outside")
    (runs_dir / "link").symlink_to(outside)
    (runs_dir / "notes").mkdir()
    code, _, err = ez("runs", "rm", "by-hand", name, "--yes")
    assert (code, "Traceback" in err) == (2, False)
    assert outside.joinpath("config.toml").exists()
    assert (runs_dir / "by-hand").exists()  # nothing is deleted if any name is wrong


def test_rm_leaves_a_run_that_is_being_trained(ez, runs_dir):
    with RunFolder(runs_dir / "by-hand").lock():
        assert ez("runs", "rm", "by-hand", "--yes")[0] == 1
    check(ez.error, "EZ-RUN-BUSY", "'by-hand'")
    assert (runs_dir / "by-hand" / "config.toml").exists()


class Killed(BaseException):
    """Stands for the end of the process: nothing can be changed after it."""


def test_rm_killed_at_any_change_leaves_a_run_or_what_the_next_one_deletes(
    runs_dir, trained, tmp_path, monkeypatch
):
    whole = sorted(str(path.relative_to(trained)) for path in trained.rglob("*"))
    kinds = set()
    for at in range(10_000):
        path = shutil.copytree(trained, tmp_path / "some" / "victim")
        left = [at]

        def counted(call, left=left):
            def change(*arguments, **options):
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
                return call(*arguments, **options)

            return change

        with monkeypatch.context() as patch:
            for name in ("unlink", "rmdir", "replace"):
                patch.setattr(os, name, counted(getattr(os, name)))
            try:
                commands.remove(["victim"], path.parent, yes=True)
                break
            except Killed:
                pass
        if path.exists():
            kinds.add("whole")
            now = [str(file.relative_to(path)) for file in path.rglob("*")]
            assert sorted(file for file in now if not file.startswith(".lock")) == [
                file for file in whole if not file.startswith(".lock")
            ]
        else:
            kinds.add("hidden")
            assert catalogue.by_identity(path.parent) == {}
            shutil.copytree(trained, path)
        (path / ".lock-holder").unlink(missing_ok=True)
        commands.remove(["victim"], path.parent, yes=True)
        assert list(path.parent.iterdir()) == []
    assert kinds == {"whole", "hidden"}


def test_help_names_every_state(ez):
    _, out, _ = ez("runs", "--help")
    assert all(state in out for state in get_args(catalogue.State))


@pytest.mark.parametrize(
    "command",
    [
        ["runs", "show", "by-h"],
        ["runs", "diff", "by-h", "b"],
        ["doctor", "by-h"],
        ["runs", "rm", "by-h", "--yes"],
    ],
)
def test_the_start_of_a_name_is_a_name(ez, runs_dir, command):
    assert ez(*command)[0] == 0


def test_report_takes_the_start_of_a_name(ez, runs_dir):
    name = next(path.name for path in runs_dir.glob("catch-smoke-full-*"))
    assert ez("report", name[:-2], "--format", "csv")[0] == 0


def test_the_start_of_several_names_is_none(ez, runs_dir):
    assert ez("runs", "show", "catch-smoke")[0] == 2
    check(ez.error, "EZ-RUN-AMBIGUOUS", "'catch-smoke'")
    code, _, _ = ez("runs", "rm", "catch-smoke", "--yes")
    assert (code, len(list(runs_dir.glob("catch-smoke-*")))) == (2, 2)
    assert ez("runs", "rm", "", "--yes")[0] == 2


def test_a_whole_name_is_not_the_start_of_another(ez, runs_dir):
    RunFolder(run_path(runs_dir, "by-hand-2")).create(tiny("keydoor", "seed=4"))
    assert json.loads(ez("runs", "show", "by-hand", "--json")[1])["name"] == "by-hand"


@pytest.mark.parametrize("sessions", [None, 3, -(10**30), "abc", [3], {"seconds": 3}])
def test_sessions_that_are_none_keep_no_other_run_from_the_list(sessions, ez, tmp_path, finished):
    for name in ("good", "odd"):
        shutil.copytree(finished.path, tmp_path / "runs" / name)
    path = tmp_path / "runs" / "odd" / "run.json"
    table = json.loads(path.read_text()) | {"sessions": sessions}
    del table["sha256"]
    path.write_text(json.dumps(table))
    for arguments in (["runs"], ["runs", "--json"], ["runs", "show", "odd"], ["report", "good"]):
        code, _, err = ez(*arguments)
        assert code in (0, 1), err
        assert "Traceback" not in err
    assert "good" in ez("runs", "--json")[1]
