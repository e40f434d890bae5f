"""`ez report`, from its arguments to its output and files."""

import csv
import io
import json
import os
import re

import pytest
from rich.console import Console

from ezcli import console
from ezcli.commands.report import arms_in, free_name
from ezcli.experiments.design import arm_label
from tests.failing import check, fails
from tests.reports.helpers import noisy, preset, write_run, write_study

FAST = ("--resamples", "200")
STARTS = {
    "markdown": "# ",
    "csv": "section,table,",
    "json": "{\n",
    "latex": "% ",
    "html": "<!doctype html>",
}
SUFFIXES = {"markdown": ".md", "csv": ".csv", "json": ".json", "latex": ".tex", "html": ".html"}


def study(folder, **options):
    """A study of two arms, two games and three seeds under `runs/`."""
    options = {"games": ("pong", "up_n_down")} | options
    return write_study(folder / "runs", noisy({"value-prefix": -0.3}), **options)


def squeezed(text):
    return " ".join(text.split())


def everything(folder):
    """Every path below, with the content of files."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def terminal(monkeypatch):
    """A terminal 80 columns wide, as text."""
    stream = io.StringIO()
    screen = Console(file=stream, force_terminal=True, width=80, highlight=False)
    monkeypatch.setattr(console, "out", screen)

    def lines():
        return re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).splitlines()

    return lines


# ------------------------------------------------------------------ names of arms

ARMS = (
    "full",
    "value-prefix",
    "value-prefix,search.num_simulations=6",
    "search.num_simulations=6",
    "consistency+value-prefix",
    "a,b",
    "value.scales=[1.0, 2.5]",
    "value.scales=[1.0, 2.5],value.words=[x, y]",
    "value.words=[x, y]",
    "optimiser.decay=[]",
    "a",
)


@pytest.mark.parametrize("one", ARMS)
def test_every_name_of_an_arm_can_be_typed(one):
    assert arms_in(one, {*ARMS}) == [one]
    assert arms_in(f" {one.replace(', ', ',')},", {*ARMS}) == [one]
    shown = arm_label(one)  # such as `− value prefix`
    assert (
        arms_in(shown, {*ARMS}) == arms_in(shown.replace("\N{MINUS SIGN}", "-"), {*ARMS}) == [one]
    )
    assert arms_in(f"full, {shown}, full", {*ARMS}) == ["full", one, "full"]
    for other in ("full", "consistency+value-prefix"):
        assert arms_in(f"{one},{other}", {*ARMS}) == [one, other]
        assert arms_in(f"{other}, {one}", {*ARMS}) == [other, one]


def test_the_longest_name_counts_that_leaves_names_only():
    known = {"a", "a,b", "b,c"}
    assert arms_in("a,b", known) == ["a,b"]
    assert arms_in("a,b,c", known) == ["a", "b,c"]
    assert arms_in("", known) == arms_in(" , ", known) == []
    assert arms_in(",".join(["a"] * 5000), known) == ["a"] * 5000


@pytest.mark.parametrize(("text", "part"), [("a,x", "x"), ("b", "b"), ("a,b,b", "b"), ("x,a", "x")])
def test_a_part_that_is_no_arm_is_named(text, part):
    with fails("EZ-UNKNOWN-ARM", repr(part)):
        arms_in(text, {"a", "a,b", "b,c"})


def test_every_name_that_a_table_prints_is_an_arm(ez, tmp_path):
    """Typed back, it gives that arm, the full agent, and what it is compared with."""
    values = "[1.0, 0.5, 0.25],[1.0, 0.5, 0.5]"
    sweep = (f"acting.temperatures={values}", "search.num_simulations=6,50")
    study(tmp_path, games=("pong",), seeds=(0, 1), drops=("value-prefix",), vary=sweep)
    command = ("report", "--format", "json", "--against", "", *FAST)
    names = shown_arms(ez(*command)[1])
    assert len(names) > 6
    for name in names:
        found = shown_arms(ez(*command, "--arms", name)[1])
        others = {other for other in found if name not in other}
        assert name in found
        assert others <= {"full", name.removeprefix("value-prefix,")}, found
    two = ["search.num_simulations=6", "value-prefix"]
    both = shown_arms(ez(*command, "--arms", two[1], "--arms", two[0])[1])
    assert set(both) == {"full", *two}
    code, out, _ = ez("report", "--arms", ",".join(reversed(two)), *FAST)
    note = "--arms 'value-prefix,search.num_simulations=6' names 'value-prefix,search."
    assert (code, note in squeezed(out)) == (0, True)


def shown_arms(text):
    """The arms whose runs a report in JSON holds."""
    (section,) = json.loads(text)["sections"]
    return list(dict.fromkeys(row["arm"] for row in section["runs"]))


# ------------------------------------------------------------------ what is reported


def test_every_run_and_study_without_a_name(ez, tmp_path):
    study(tmp_path)
    config = preset("smoke", "catch").model_copy(update={"seed": 3})
    write_run(tmp_path / "runs" / "alone", config, [0.5], preset_name="smoke")
    code, out, err = ez("report", *FAST)
    assert (code, err) == (0, "")
    assert "Study mine" in out
    assert "full: 2 of 26 games" in out
    assert "Agent catch with smoke\n\nfull: 1 game\n" in out


def test_one_study_by_its_name(ez, tmp_path):
    study(tmp_path, games=("pong",))
    study(tmp_path, games=("alien",), name="other")
    code, out, _ = ez("report", "mine", *FAST)
    assert (code, "pong" in out, "alien" in out) == (0, True, False)


def test_a_folder_of_runs(ez, tmp_path):
    study(tmp_path)
    assert ez("report", "runs", *FAST)[1] == ez("report", *FAST)[1]


def test_published_scores_without_any_run(ez):
    code, out, err = ez("report")
    assert code == 0
    assert squeezed(err) == "No finished run in runs: these are published scores."
    rows = {line.split("  ")[0].strip(): line.split() for line in out.splitlines() if line.strip()}
    assert rows["EfficientZero †"][2:4] == ["1.943", "1.090"]
    assert rows["BBF †"][2:4] == ["2.247", "0.917"]
    assert rows["DIAMOND †"][2:4] == ["1.459", "0.373"]


def test_runs_that_do_not_count_are_no_reason_to_say_that_there_is_none(ez, tmp_path):
    config = preset("smoke", "catch")
    write_run(tmp_path / "runs" / "one", config, [0.1], preset_name="smoke", identity="other")
    code, out, err = ez("report")
    assert code == 0
    assert squeezed(err) == "No run that counts in runs: these are published scores."
    assert "one is left out: its config.toml was changed" in squeezed(out)


def test_published_scores_of_some_agents_and_games(ez):
    options = ("--against", "efficientzero,spr", "--games", "pong, breakout")
    code, out, _ = ez("report", "--format", "csv", *options)
    rows = [row for row in csv.DictReader(io.StringIO(out)) if row["table"] != "sources"]
    assert code == 0
    assert {row["row"] for row in rows} == {"EfficientZero †", "SPR ‡", "pong", "breakout"}


def test_no_published_scores_beside_ones_own(ez, tmp_path):
    study(tmp_path)
    assert "†" in ez("report", *FAST)[1]
    code, out, _ = ez("report", "--against", "", *FAST)
    assert (code, "†" in out, "published ones" in out) == (0, False, False)


def test_runs_of_spr_control_stand_beside_spr(ez, tmp_path):
    for name in ("spr-control", "atari-cpu"):
        run = tmp_path / "runs" / name
        write_run(run, preset(name), [3.0], preset_name=name)
        assert ("SPR ‡" in ez("report", run, *FAST)[1]) == (name == "spr-control")


@pytest.mark.parametrize("game", ["minatar/breakout", "minatar-breakout"])
def test_a_game_goes_by_the_name_of_its_table_or_of_its_option(ez, tmp_path, game):
    for env, name in (("minatar", "breakout"), (None, "breakout")):
        config = preset("minatar" if env else "atari-cpu", env, name)
        write_run(tmp_path / "runs" / f"of-{env or 'atari'}", config, [3.0])
    out = ez("report", "--games", game, "--against", "", *FAST)[1]
    assert ("minatar-breakout" in out, "atari-cpu" in out) == (True, False)
    assert "No run played" not in out
    assert "Atari 100k" in ez("report", "--games", "atari/breakout", "--against", "", *FAST)[1]
    assert ez("report", "--games", game.replace("out", "uot"))[0] == 2
    check(ez.error, "EZ-UNKNOWN-GAME", "minatar-breakout")


def test_games_and_arms(ez, tmp_path):
    study(tmp_path, drops=("value-prefix", "consistency"))
    out = ez("report", "--games", "pong", "--arms", "consistency", "--against", "", *FAST)[1]
    assert "consistency" in out
    assert "value-prefix" not in out
    assert "up_n_down" not in out


@pytest.mark.slow
def test_equal_runs_give_equal_reports(ez, tmp_path):
    study(tmp_path)
    for form in STARTS:
        assert ez("report", "--format", form, *FAST)[1] == ez("report", "--format", form, *FAST)[1]


# ------------------------------------------------------------------ the terminal


@pytest.mark.parametrize("factorial", [pytest.param(False, marks=pytest.mark.slow), True])
def test_tables_fit_80_columns(ez, terminal, tmp_path, factorial):
    drops = ("value-prefix", "consistency", "off-policy-correction")
    games = ("pong", "up_n_down", "chopper_command", "private_eye")
    study(tmp_path, drops=drops, factorial=factorial, games=games, seeds=(0, 1, 2, 3, 4))
    assert ez("report", *FAST)[0] == 0
    lines = terminal()
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)  # nothing is cut off
    assert "chopper_command" in "".join(lines)


def test_a_pipe_gets_a_line_for_each_row(ez, tmp_path):
    study(tmp_path)
    out = ez("report", "--against", "efficientzero-rerun", *FAST)[1]
    assert re.search(r"^full +0\.\d+ \[0\.\d+, 0\.\d+\] ", out, re.MULTILINE)
    assert "\nEfficientZero, re-run ‡ " in out


def test_published_scores_fit_80_columns(ez, terminal):
    assert ez("report")[0] == 0
    assert max(map(len, terminal())) <= 80


# ------------------------------------------------------------------ formats and files


@pytest.mark.parametrize(
    "form", [pytest.param(f, marks=[pytest.mark.slow] if f == "html" else []) for f in STARTS]
)
def test_a_format_on_standard_output_and_in_a_file(ez, tmp_path, form):
    study(tmp_path)
    code, out, err = ez("report", "--format", form, *FAST)
    assert (code, err) == (0, "")
    assert out.startswith(STARTS[form])
    name = f"report{SUFFIXES[form]}"
    code, printed, err = ez("report", "-o", name, *FAST)
    assert (code, printed, err) == (0, "", f"Wrote {name}.\n")
    assert (tmp_path / name).read_text(encoding="utf-8") == out
    ez("report", "--format", form, "-o", "odd.name", *FAST)
    assert (tmp_path / "odd.name").read_text(encoding="utf-8") == out


def test_json_has_every_run(ez, tmp_path):
    study(tmp_path)
    whole = json.loads(ez("report", "--format", "json", *FAST)[1])
    assert len(whole["sections"][0]["runs"]) == 2 * 2 * 3


@pytest.mark.slow
def test_links_start_where_the_page_lies(ez, tmp_path):
    study(tmp_path)
    (tmp_path / "pages").mkdir()
    ez("report", "-o", "pages/report.html", *FAST)
    links = set(re.findall(r'href="([^"#][^"]*)"', (tmp_path / "pages/report.html").read_text()))
    assert links
    assert all((tmp_path / "pages" / link / "config.toml").is_file() for link in links)


@pytest.mark.slow
def test_plots(ez, tmp_path):
    study(tmp_path)
    code, _, err = ez("report", "--plots", "plots", "--plot-types", "svg", *FAST)
    assert code == 0
    names = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert squeezed(err) == f"Wrote {len(names)} plots to plots."
    assert "Study-mine-aggregates.svg" in names
    assert {name.rpartition(".")[2] for name in names} == {"svg"}


def test_plots_of_equal_names_stay_apart():
    taken = set()
    assert [free_name(name, taken) for name in ("a", "b", "a", "a")] == ["a", "b", "a-2", "a-3"]


# ------------------------------------------------------------------ what is left out


def test_what_is_missing_is_shown(ez, tmp_path):
    study(tmp_path, skip=lambda arm, game, seed: (game, seed) == ("pong", 2))
    out = squeezed(ez("report", *FAST)[1])
    assert "Missing: 2 runs" in out
    assert "Continue with: ez ablate --study mine" in out


def test_damaged_folders_are_named_and_the_rest_is_reported(ez, tmp_path):
    study(tmp_path)
    config = preset("smoke", "catch")
    path = write_run(tmp_path / "runs" / "<b>[red]half", config, [1.0], preset_name="smoke")
    (path / "evaluations.jsonl").write_text('{"kind": "fin')
    code, out, _ = ez("report", *FAST)
    assert code == 0
    assert "Study mine" in out
    assert "<b>[red]half" in out


def test_runs_that_differ_are_refused_with_the_difference(ez, tmp_path):
    config = preset("smoke", "catch")
    other = config.model_copy(
        update={"search": config.search.model_copy(update={"num_simulations": 7})}
    )
    write_run(tmp_path / "runs" / "one", config, [0.1], preset_name="smoke")
    write_run(tmp_path / "runs" / "two", other, [0.2], preset_name="smoke")
    assert ez("report", "one", "two", *FAST)[:2] == (1, "")
    check(ez.error, "EZ-REPORT-OTHER-AGENT", "'one'", "'two'", "search.num_simulations", "7")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--format", "word"], 2, ("'word'", "terminal", "latex")),
        (["-o", "report.doc"], 2, ("'report.doc'", ".md", ".html", "--format")),
        (["-o", "report"], 2, ("'report'", "--format")),
        (["--format", "terminal", "-o", "x.md"], 2, ("terminal", "--output")),
        (["--plots", "p", "--plot-types", "gif"], 2, ("'gif'", "png, svg", "pdf")),
        (["--against", "bbff"], 2, ("'bbff'", "bbf")),
        (["--games", "pongg"], 2, ("'pongg'", "pong")),
        (["--arms", "value"], 2, ("'value'", "value-prefix")),
        (["--resamples", "5"], 2, ("--resamples", "100")),
        (["gone"], 2, ("'gone'", "ez runs")),
        (["-o", "gone/report.md"], 2, ("'gone'",)),
        (["-o", "runs/.md"], 2, ("'runs/.md'", "--format")),
        (["--format", "csv", "-o", "runs"], 1, ("'runs'",)),
        (["--plots", "file"], 1, ("'file'",)),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence_and_leaves_nothing(
    ez, tmp_path, arguments, code, said
):
    study(tmp_path, games=("pong",), seeds=(0, 1))
    (tmp_path / "file").write_text("mine")
    before = everything(tmp_path)
    found, out, err = ez("report", *arguments, *([] if "--resamples" in arguments else FAST))
    assert found == code
    assert "Traceback" not in err
    for part in said:
        assert part in squeezed(err)
    assert everything(tmp_path) == before
    assert out == "" or arguments[0] == "--plots"  # tables were printed before


def test_nothing_to_draw(ez, tmp_path):
    assert ez("report", "--plots", "plots")[0] == 1
    check(ez.error, "EZ-REPORT-NOTHING-TO-DRAW")
    assert not (tmp_path / "plots").exists()


def test_one_raw_score_alone_is_nothing_to_draw(ez, tmp_path):
    write_run(tmp_path / "runs" / "mine", preset("catch"), [1.0])
    assert ez("report", "mine", "--plots", "plots")[0] == 1
    check(ez.error, "EZ-REPORT-NO-CURVE", "evaluation.interval")
    assert not (tmp_path / "plots").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(ez, tmp_path):
    study(tmp_path, games=("pong",))
    (tmp_path / "locked").mkdir(mode=0o500)
    assert ez("report", "-o", "locked/report.md", *FAST)[0] == 1
    check(ez.error, "EZ-PATH-NOT-WRITABLE", "locked/report.md")
