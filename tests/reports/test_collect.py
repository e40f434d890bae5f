"""Scores from run folders: runs that count, excluded runs with reasons, and refused runs."""

import json
import re
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ezcli.config.resolve import resolve
from ezcli.config.text import to_toml
from ezcli.reports.choice import Choice
from ezcli.reports.collect import collect, of_study
from ezcli.reports.compare import scale_of
from ezcli.reports.groups import Protocol
from ezcli.reports.report import section
from ezcli.reports.run_scores import read_run
from ezcli.runs.evaluations import why_wrong
from ezcli.runs.folder import EVALUATIONS, RunFolder
from tests.experiments.helpers import without_seals
from tests.failing import fails
from tests.reports.helpers import evaluation, noisy, preset, raw, write_run, write_study


def agent(seed=0, game="pong", **changes):
    """A config of `atari100k`; changes by dotted key with `__` for the dot."""
    tables = preset(game=game).model_dump(mode="json")
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return resolve(tables, changes={"seed": seed, **dotted})


@pytest.fixture
def runs_dir(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def run(runs_dir):
    """A finished run with one evaluation on the way."""
    return write_run(runs_dir / "one", agent(), [10.0], curve=[(5_000, -3.0)])


def lines_of(path):
    return [json.loads(line) for line in (path / EVALUATIONS).read_text().splitlines()]


def rewrite(path, lines):
    (path / EVALUATIONS).write_text("".join(json.dumps(line) + "\n" for line in lines))


def scores(group, arm="full"):
    (found,) = [a for a in group.arms if a.name == arm]
    return {game: {s: run.score for s, run in seeds.items()} for game, seeds in found.runs.items()}


# ------------------------------------------------------------------ groups


def test_a_run_is_its_final_evaluation(run):
    found = read_run(run)
    assert (found.name, found.game, found.score, found.episodes) == ("one", "pong", 10.0, 32)
    assert found.curve == ((5_000, -3.0), (100_000, 10.0))
    assert found.normalised(found.score) == pytest.approx(30.7 / 35.3)
    assert (found.preset, found.seconds, found.contract["frame_skip"]) == ("atari100k", 60.0, 4)


def test_a_score_of_half_a_game_is_not_human_normalised(runs_dir, run):
    """Whatever the line says of a human-normalised score: see tests/envs/test_suites.py."""
    write_run(runs_dir / "two", agent(seed=1), [10.0])
    (both,), _ = collect(["one", "two"], runs_dir)
    assert scale_of(both).kind == "normalised"
    rewrite(
        run, [line | {"game_env_steps": [27_001] * len(line["scores"])} for line in lines_of(run)]
    )
    (cut,), _ = collect(["one", "two"], runs_dir)
    assert cut.normalised_games == set()
    assert scale_of(cut).kind == "raw"
    said = section(cut, [], Choice()).notes
    assert (
        sum(
            "pong: not human-normalised, because final games did not follow the rules" in x
            for x in said
        )
        == 1
    )


def test_manual_evaluations_do_not_count(run):
    """`ez evaluate` adds lines; a score that was played again is not a better one."""
    again = evaluation(agent(), [21.0] * 4, 100_000, "manual")
    rewrite(run, [*lines_of(run), again])
    found = read_run(run)
    assert (found.score, len(found.curve)) == (10.0, 2)


def evaluated(run, score, name=None, **protocol):
    """Adds an evaluation of the last weights to a run."""
    config = RunFolder(run).config()
    line = evaluation(config, [score] * 4, 100_000, "manual")
    line["protocol"] |= protocol
    rewrite(run, [*lines_of(run), line | ({"name": name} if name else {})])


def test_a_run_counts_with_the_evaluation_that_is_asked_for(runs_dir, run):
    changes = {"search.num_simulations": 5}
    evaluated(run, 1.0, "few", seed=2, changes=changes)
    evaluated(run, 2.0)
    assert read_run(run).score == 10.0
    assert read_run(run).protocol == Protocol("final", 0, {})
    few = read_run(run, "few")
    assert (few.score, few.episodes, few.protocol) == (1.0, 4, Protocol("few", 2, changes))
    assert few.curve == read_run(run).curve
    assert read_run(run, "latest").score == read_run(run, "manual").score == 2.0
    assert read_run(run, "other") == (
        "it has no evaluation 'other' of its last weights (it has: final, few, manual)"
    )
    rewrite(run, [*lines_of(run), lines_of(run)[1] | {"kind": "training-levels"}])
    assert read_run(run, "latest").score == 2.0  # the levels it was trained on do not count
    older = [line | {"train_steps": 1} for line in lines_of(run) if line.get("name")]
    rewrite(run, [*lines_of(run)[:2], *older])
    assert read_run(run, "latest").score == 10.0
    assert "no evaluation 'few' of its last weights" in read_run(run, "few")


@pytest.mark.parametrize("of_folder", [False, True])
def test_an_evaluation_that_no_run_has_is_answered_with_those_that_exist(runs_dir, run, of_folder):
    evaluated(run, 1.0, "few", seed=2)
    names = [str(runs_dir)] if of_folder else []
    with fails("EZ-UNKNOWN-EVALUATION", "'fwe'", "'few'") as caught:
        collect(names, runs_dir, "fwe")
    assert caught.value.hint.endswith("few, final, latest.")
    for one in ("few", "final", "latest"):
        collect(names, runs_dir, one)


def test_runs_without_the_evaluation_are_named_with_those_that_they_have(runs_dir, run):
    evaluated(run, 1.0, "few", seed=2)
    write_run(runs_dir / "two", agent(seed=1), [10.0])
    _, said = collect([], runs_dir, "few")
    assert said == [
        "two is left out: it has no evaluation 'few' of its last weights (it has: final)."
    ]


def test_the_protocol_stands_in_the_caption(runs_dir, run):
    evaluated(run, 1.0, "few", seed=2, changes={"search.num_simulations": 5})
    (group,), _ = collect(["one"], runs_dir, "few")
    made = section(group, [], Choice())
    protocol = "evaluation 'few' (4 episodes, seed 2, search.num_simulations=5)"
    assert made.title == f"Agent atari100k, {protocol}"
    assert f"These are not the final scores but those of the {protocol}." in made.notes
    (group,), _ = collect(["one"], runs_dir)
    assert section(group, [], Choice()).title == "Agent atari100k"


def test_evaluations_that_were_not_played_alike_are_not_compared(runs_dir, run):
    two = write_run(runs_dir / "two", agent(seed=1), [10.0])
    evaluated(run, 1.0, "again", seed=1)
    evaluated(two, 2.0, "again", seed=2)
    with fails("EZ-REPORT-OTHER-PROTOCOL", "seed: 1 / 2"):
        collect(["one", "two"], runs_dir, "again")
    groups, (said,) = collect([], runs_dir, "again")
    assert (groups, "are left out" in said) == ([], True)
    evaluated(two, 3.0, "again", seed=1)
    (group,), _ = collect(["one", "two"], runs_dir, "again")
    assert [run.score for run in group.runs] == [1.0, 3.0]
    evaluated(two, 3.0, "again", seed=1, changes={"search.num_simulations": 5})
    with fails("EZ-REPORT-OTHER-PROTOCOL", "search.num_simulations: 50 / 5"):
        collect(["one", "two"], runs_dir, "again")
    evaluated(two, 3.0, "again", seed=1, changes={"search.num_simulations": 50})  # its own
    collect(["one", "two"], runs_dir, "again")


def test_a_final_score_under_changes_does_not_count(run):
    lines = lines_of(run)
    changed = lines[-1]["protocol"] | {"changes": {"planning.evaluation": "gumbel"}}
    rewrite(run, [*lines[:-1], lines[-1] | {"protocol": changed}])
    assert "differs from the protocol in its config (changes" in read_run(run)


@pytest.mark.parametrize(
    ("entry", "value", "wrong"),
    [
        ("name", 3, "its name is 3"),
        ("seed", "x", "its seed is 'x'"),
        ("changes", [1], "changes of its protocol"),
        ("changes", {"a.b": [1]}, "changes of its protocol"),
        ("changes", {"a.b": 1}, "its evaluation 'few' is damaged"),
    ],
)
def test_a_forged_protocol_is_refused(run, entry, value, wrong):
    evaluated(run, 1.0, "few", **({} if entry == "name" else {entry: value}))
    if entry == "name":
        rewrite(run, [*lines_of(run)[:-1], lines_of(run)[-1] | {"name": value}])
    assert wrong in read_run(run, "few")


def test_a_study_is_its_cells(runs_dir):
    folder = write_study(runs_dir, lambda arm, game, seed: seed / 10 - (arm != "full"))
    (group,), said = collect(["mine"], runs_dir)
    assert said == []
    assert (group.name, group.kind, group.games, group.missing) == ("mine", "study", ("pong",), ())
    assert group.preset == folder.study().preset != ""
    assert [arm.name for arm in group.arms] == ["full", "value-prefix"]
    assert group.arms[1].drops == ("value-prefix",)
    assert group.arms[1].changes == {"components.value_prefix": False}
    expected = {seed: pytest.approx(raw("pong", seed / 10 - 1)) for seed in (0, 1, 2)}
    assert scores(group, "value-prefix") == {"pong": expected}
    assert len(group.runs) == 6
    assert collect([str(folder.path)], runs_dir / "elsewhere") == ([group], [])


def test_a_run_of_two_arms_stands_in_both_and_is_one(runs_dir):
    folder = write_study(runs_dir, lambda arm, game, seed: 0.5)

    def add_a_twin(record):
        record["arms"].append(record["arms"][0] | {"name": "twin"})
        record["cells"] += [c | {"arm": "twin"} for c in record["cells"] if c["arm"] == "full"]

    without_seals(folder, add_a_twin)
    group = of_study(folder)
    assert scores(group, "twin") == scores(group, "full")
    assert len(group.runs) == 6


def test_loose_runs_are_grouped_by_agent(runs_dir):
    write_run(runs_dir / "a", agent(0), [10.0])
    write_run(runs_dir / "b", agent(1, "breakout"), [3.0])
    write_run(runs_dir / "c", agent(0, search__num_simulations=8), [5.0])
    write_run(runs_dir / "d", preset("catch"), [0.5], preset_name="catch")
    groups, said = collect([], runs_dir)
    assert said == []
    assert {group.name: scores(group) for group in groups} == {
        "atari100k": {"pong": {0: 10.0}, "breakout": {1: 3.0}},
        "atari100k, search.num_simulations=8": {"pong": {0: 5.0}},
        "catch": {"catch": {0: 0.5}},
    }
    assert {group.kind for group in groups} == {"agent"}


def test_an_agent_is_named_by_its_preset_and_what_differs(runs_dir):
    changes = {"search__num_simulations": 8, "loss__shift_pixels": 2, "value__td_steps": 3}
    changes["seed"] = 4
    write_run(runs_dir / "a", agent(**changes), [10.0])
    write_run(runs_dir / "b", agent(**changes, acting__num_envs=2), [10.0])
    write_run(runs_dir / "c", preset("catch", "keydoor"), [0.5], preset_name="catch")
    write_run(runs_dir / "d", agent(value__td_steps=4), [0.5], preset_name="gone.toml")
    write_run(runs_dir / "e", agent(value__td_steps=2), [0.5], preset_name="x" * 300)
    names = [group.name for group in collect([], runs_dir)[0]]
    three = "loss.shift_pixels=2, search.num_simulations=8, value.td_steps=3"
    assert names[:4] == [
        f"atari100k, {three}",
        "atari100k, acting.num_envs=2, loss.shift_pixels=2, search.num_simulations=8, "
        "1 more changed",
        "keydoor with catch",
        "d",  # of the run: its preset is gone
    ]
    assert len(names) == 5


def test_a_run_of_a_study_is_named_by_the_study_where_it_stands_alone(runs_dir):
    write_study(runs_dir, noisy({}), seeds=(0,), drops=(), name="mine")
    (path,) = runs_dir.glob("pong-*")
    info = json.loads((path / "run.json").read_text()) | {
        "preset": str(runs_dir / "studies" / "mine" / "preset.toml")
    }
    info.pop("sha256")
    RunFolder(path).update_info(**info)
    ((group,), _) = collect([path.name], runs_dir)
    assert group.name == "mine"


def test_everything_is_studies_first_and_every_run_once(runs_dir):
    write_study(runs_dir, lambda *_: 0.5, seeds=(0, 1), skip=lambda arm, game, seed: seed == 1)
    write_run(runs_dir / "by-hand", agent(7), [1.0])
    write_run(runs_dir / "unfinished", agent(8), [1.0], status="interrupted")
    groups, said = collect([], runs_dir)
    assert [(group.kind, len(group.runs)) for group in groups] == [("study", 2), ("agent", 1)]
    assert said == ["unfinished is left out: it is interrupted."]
    (missing, _) = groups[0].missing
    assert missing[1:] == ("full", "pong", 1, "it has not started")
    assert collect([str(runs_dir)], runs_dir / "other") == (groups, said)


def test_nothing_at_all(tmp_path):
    assert collect([], tmp_path) == ([], [])
    assert collect([], tmp_path / "gone") == ([], [])


def test_a_run_by_name_and_by_path(runs_dir, run, monkeypatch):
    for name in ("one", str(run), f"{run}/"):
        (group,), said = collect([name], runs_dir)
        assert (scores(group), said) == ({"pong": {0: 10.0}}, [])
    monkeypatch.chdir(run)
    assert collect(["."], runs_dir)[0][0].runs[0].name == "one"


def test_a_name_given_twice_is_meant_once(runs_dir, run):
    write_study(runs_dir, lambda *_: 0.5)
    groups, said = collect(["mine", "one", "mine", "one", str(run)], runs_dir)
    assert [group.kind for group in groups] == ["study", "agent"]
    assert said == []


def test_a_name_is_of_a_run_before_it_is_a_path(runs_dir, run, tmp_path, monkeypatch):
    write_run(tmp_path / "one", agent(seed=7), [20.0])
    monkeypatch.chdir(tmp_path)
    (group,), _ = collect(["one"], runs_dir)
    assert [found.path for found in group.runs] == [run]
    (group,), _ = collect(["./runs/../one"], runs_dir)
    assert scores(group) == {"pong": {7: 20.0}}


def test_a_studys_run_may_have_another_name(runs_dir):
    write_study(runs_dir, lambda arm, game, seed: seed)
    (found, *_) = runs_dir.glob("*full-seed1*")
    found.rename(runs_dir / "renamed")
    (group,), said = collect([], runs_dir)
    assert (group.missing, said) == ((), [])
    assert group.arms[0].runs["pong"][1].name == "renamed"


def test_a_study_in_a_named_folder_is_meant_once(runs_dir, run, monkeypatch):
    write_study(runs_dir, lambda *_: 0.5)
    write_study(runs_dir, lambda *_: 0.5, name="empty", skip=lambda *_: True)
    monkeypatch.chdir(runs_dir.parent)
    groups, _ = collect(["runs", "mine", "runs/studies/empty", "one"], runs_dir)
    assert [group.name for group in groups] == ["empty", "mine", "atari100k"]
    (runs_dir.parent / "broken" / "half").mkdir(parents=True)
    (runs_dir.parent / "broken" / "half" / "config.toml").write_text("x = ")
    _, said = collect(["broken", str(runs_dir.parent / "broken"), "mine"], runs_dir)
    assert said == ["half is left out: it has not started."]


def test_a_study_says_how_to_go_on_with_it(runs_dir, tmp_path, monkeypatch):
    write_study(runs_dir, lambda *_: 0.5)
    monkeypatch.chdir(tmp_path)
    (group,), _ = collect(["mine"], runs_dir)
    assert group.go_on == "ez ablate --study mine"
    monkeypatch.chdir("/")
    (group,), _ = collect(["mine"], runs_dir)
    assert group.go_on == f"ez ablate --study mine --runs-dir {runs_dir}"


def test_a_name_is_looked_for_among_studies_first(runs_dir):
    write_study(runs_dir, lambda *_: 0.5, name="both")
    write_run(runs_dir / "both", agent(9), [1.0])
    assert collect(["both"], runs_dir)[0][0].kind == "study"


def test_the_start_of_a_name_is_enough(runs_dir, run):
    write_study(runs_dir, lambda *_: 0.5, name="mine")
    assert [group.name for group in collect(["mi"], runs_dir)[0]] == ["mine"]
    assert [found.name for found in collect(["on"], runs_dir)[0][0].runs] == ["one"]
    write_study(runs_dir, lambda *_: 0.5, name="one-more")
    with fails("EZ-RUN-AMBIGUOUS", "'on'", "one-more", "one"):
        collect(["on"], runs_dir)


def test_runs_named_together_are_one_group(runs_dir, run):
    write_run(runs_dir / "two", agent(1), [12.0])
    (group,), _ = collect(["one", "two"], runs_dir)
    assert scores(group) == {"pong": {0: 10.0, 1: 12.0}}


# ------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    "name", ["nothing", "x" * 300, "a/" * 3000, "a\0b", "../nothing", "/nothing"]
)
def test_a_name_of_nothing_is_refused(runs_dir, run, name):
    with fails("EZ-REPORT-NO-SUCH-NAME", repr(name)):
        collect([name], runs_dir)


def test_a_folder_without_a_run_is_refused(runs_dir, run, tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "photo.png").write_bytes(bytes(range(256)))
    (foreign / "study.json").write_text("{}")
    with fails("EZ-REPORT-NO-RUN", str(foreign)):
        collect([str(foreign)], runs_dir)


def test_foreign_files_are_no_runs(runs_dir, run):
    (runs_dir / "notes.txt").write_text("hello")
    (runs_dir / "folder").mkdir()
    (runs_dir / "folder" / "run.json").write_text("[1]")
    (runs_dir / "studies" / "empty").mkdir(parents=True)
    (runs_dir / "project").mkdir()
    (runs_dir / "project" / "config.toml").write_text('title = "of something else"')
    groups, said = collect([], runs_dir)
    assert [len(group.runs) for group in groups] == [1]
    assert said == ["project is left out: it has not started."]


def test_two_agents_named_together_are_refused_with_the_difference(runs_dir, run):
    write_run(runs_dir / "two", agent(1, search__num_simulations=8), [12.0])
    with fails("EZ-REPORT-OTHER-AGENT", "'one'", "'two'", "search.num_simulations: 50 / 8"):
        collect(["one", "two"], runs_dir)


def test_named_runs_without_a_score_are_refused(runs_dir):
    write_run(runs_dir / "one", agent(), [1.0], status="failed")
    with fails("EZ-REPORT-NO-SCORE", "one ", "failed"):
        collect(["one"], runs_dir)


def other_environment(runs_dir):
    contract = {"name": "atari", "game": "pong", "frame_skip": 5}
    write_run(runs_dir / "two", agent(1), [12.0], environment=contract)


def test_runs_in_different_environments_are_refused_with_the_difference(runs_dir, run):
    other_environment(runs_dir)
    with fails("EZ-REPORT-OTHER-ENV", "frame_skip: 4 / 5"):
        collect(["one", "two"], runs_dir)


def test_they_do_not_keep_others_from_being_reported(runs_dir, run):
    other_environment(runs_dir)
    write_run(runs_dir / "three", preset("catch"), [0.5], preset_name="catch")
    (group,), (said,) = collect([], runs_dir)
    assert group.name == "catch"
    assert said.startswith("The runs of atari100k are left out: The runs 'one' and 'two' were not")


def environments(runs_dir, contract):
    """A study over the frame skip whose runs have the contracts that `contract(config)` gives."""
    folder = write_study(runs_dir, noisy({}), drops=(), vary=("env.frame_skip=4,8",))
    for cell in folder.record().cells:
        run = RunFolder(runs_dir / cell.run)
        run.update_info(environment=contract(run.config()))
    return folder


def test_arms_may_change_the_environment_and_are_told(runs_dir):
    folder = environments(runs_dir, lambda config: {"frame_skip": config.env.frame_skip})
    (group,), said = collect([folder.name], runs_dir)
    assert [arm.name for arm in group.arms] == ["full", "env.frame_skip=8"]
    assert collect([], runs_dir) == ([group], said) == ([group], [])
    notes = section(group, [], Choice(resamples=100)).notes
    (note,) = [note for note in notes if "its own environment" in note]
    assert "env.frame_skip=8 (env.frame_skip = 8)" in note


def test_runs_of_one_arm_still_need_one_environment(runs_dir):
    folder = environments(
        runs_dir,
        lambda config: {"frame_skip": config.env.frame_skip, "noop_max": config.seed},
    )
    with fails("EZ-REPORT-OTHER-ENV", "noop_max: 0 / 1"):
        collect([folder.name], runs_dir)


@pytest.mark.parametrize("key", ["ale_py", "rom_md5"])
def test_arms_that_change_the_environment_need_one_emulator(runs_dir, key):
    folder = environments(runs_dir, lambda config: {key: str(config.env.frame_skip)})
    with fails("EZ-REPORT-OTHER-ENV", f"{key}: '4' / '8'"):
        collect([folder.name], runs_dir)


def test_a_study_in_different_environments_is_refused(runs_dir):
    folder = write_study(runs_dir, lambda *_: 0.5)
    name = folder.record().cells[0].run
    RunFolder(runs_dir / name).update_info(environment={"frame_skip": 5})
    with fails("EZ-REPORT-OTHER-ENV", name):
        collect(["mine"], runs_dir)
    groups, said = collect([], runs_dir)
    assert said[0].startswith("The study mine is left out: The runs")
    assert {group.kind for group in groups} == {"agent"}


# ------------------------------------------------------------------ changed by hand


def edit_config(path, **changes):
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    config = resolve(RunFolder(path).config().model_dump(mode="json"), changes=dotted)
    (path / "config.toml").write_text(to_toml(config))
    return config


def test_a_run_whose_config_was_edited_does_not_count(runs_dir, run):
    edit_config(run, search__num_simulations=8)
    assert "its config.toml was changed" in read_run(run)


def test_nor_does_it_in_a_study(runs_dir):
    folder = write_study(runs_dir, lambda *_: 0.5)
    cell = folder.record().cells[1]
    edit_config(runs_dir / cell.run, loss__shift_pixels=2)
    group = of_study(folder)
    (missing,) = group.missing
    assert missing[1:4] == (cell.arm, "pong", 0)
    assert "its config.toml was changed" in missing.why


def test_what_changes_no_result_may_be_edited(run):
    edit_config(run, compute__threads=1, record__metrics_interval=7)
    assert read_run(run).score == 10.0


def to_another_game(record):
    for cell in record["cells"]:
        cell["env"] = "breakout"


def to_another_seed(record):
    record["cells"][0]["seed"] = 77


def to_another_arm(record):
    record["cells"][0]["arm"] = "none of them"


def to_other_changes(record):
    record["arms"][1]["changes"] = {"components.consistency": False}


def to_a_setting_that_is_none(record):
    record["arms"][1]["changes"] = {"components.nothing": False}


def to_swapped_arms(record):
    for cell in record["cells"]:
        cell["arm"] = {"full": "value-prefix", "value-prefix": "full"}[cell["arm"]]


@pytest.mark.parametrize(
    ("change", "code", "cell"),
    [
        (to_another_game, "EZ-STUDY-DAMAGED", "full on breakout with seed 0"),
        (to_another_seed, "EZ-STUDY-DAMAGED", "full on pong with seed 0"),
        (to_another_arm, "EZ-STUDY-DAMAGED", "full on pong with seed 0"),
        (to_other_changes, "EZ-STUDY-DAMAGED", "value-prefix on pong with seed 0"),
        (to_swapped_arms, "EZ-STUDY-DAMAGED", "full on pong with seed 0"),
        (to_a_setting_that_is_none, "EZ-CONFIG-UNKNOWN-KEY", "components.nothing"),
    ],
)
def test_a_study_that_was_edited_is_refused(runs_dir, change, code, cell):
    folder = write_study(runs_dir, lambda *_: 0.5)
    without_seals(folder, change)
    with fails(code, cell) as caught:
        collect(["mine"], runs_dir)
    if change in (to_another_game, to_another_seed, to_another_arm):
        assert (
            len(re.findall(r"\b[0-9a-f]{12}\b", caught.value.message)) == 1
        )  # the other is no run
    assert "The study mine is left out" in collect([], runs_dir)[1][0]


def test_an_edited_preset_of_a_study_is_refused(runs_dir):
    folder = write_study(runs_dir, lambda *_: 0.5)
    without_seals(folder)
    text = folder.preset_file.read_text().replace("num_simulations = 50", "num_simulations = 49")
    folder.preset_file.write_text(text)
    with fails("EZ-STUDY-DAMAGED", "preset.toml", "full on pong with seed 0"):
        collect(["mine"], runs_dir)


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"name": "mine"}', "[" * 100_000])
def test_a_damaged_study_is_refused_or_left_out(runs_dir, content):
    folder = write_study(runs_dir, lambda *_: 0.5)
    (folder.path / "study.json").write_text(content)
    with fails("EZ-STUDY-DAMAGED", "study.json"):
        collect(["mine"], runs_dir)
    groups, said = collect([], runs_dir)
    assert "The study mine is left out" in said[0]
    assert [group.kind for group in groups] == ["agent", "agent"]


def test_another_run_under_the_name_of_a_studys_is_not_its(runs_dir):
    folder = write_study(runs_dir, lambda *_: 0.5)
    cell = folder.record().cells[0]
    shutil.rmtree(runs_dir / cell.run)
    write_run(runs_dir / cell.run, agent(0, value__td_steps=3), [9.0])
    (missing,) = of_study(folder).missing
    assert missing.why == "it has not started"


# ------------------------------------------------------------------ left out


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("new", "it is empty although the run was trained"),
        ("running", "it is killed"),
        ("interrupted", "it is interrupted"),
        ("failed", "it failed"),
        ("done", "its status is 'done'"),
        (None, "its status is None"),
        (["finished"], "its status is ['finished']"),
    ],
)
def test_a_run_that_did_not_finish_is_left_out(runs_dir, run, status, why):
    RunFolder(run).update_info(status=status)
    if not why.startswith(("it is killed", "it is interrupted")) and status != "failed":
        why = f"it is damaged ({str(run / 'run.json')!r} is damaged: {why})"
    assert read_run(run) == why
    assert collect([], runs_dir) == ([], [f"one is left out: {why}."])


def test_a_run_that_is_being_trained_is_left_out(run):
    with RunFolder(run).lock():
        assert read_run(run) == "it is running"


@pytest.mark.parametrize("status", ["interrupted", "running"])
def test_a_study_says_why_a_cell_has_no_score(runs_dir, status):
    folder = write_study(runs_dir, lambda *_: 0.5)
    cell = folder.record().cells[2]
    RunFolder(runs_dir / cell.run).update_info(status=status)
    (missing,) = of_study(folder).missing
    why = {"interrupted": "it is interrupted", "running": "it is killed"}[status]
    assert missing == (cell.run, cell.arm, cell.env, cell.seed, why)


def test_a_damaged_run_of_a_study_was_started(runs_dir):
    folder = write_study(runs_dir, lambda *_: 0.5)
    cell = folder.record().cells[0]
    (runs_dir / cell.run / "run.json").write_text("[1, 2]")
    (missing,) = of_study(folder).missing
    assert missing.why.startswith("it is damaged (")
    assert "run.json' is damaged: it contains no table" in missing.why
    assert collect([], runs_dir)[1] == []  # it is said there, once


def test_a_copy_is_not_another_run(runs_dir, run):
    shutil.copytree(run, runs_dir / "two")
    (group,), said = collect([], runs_dir)
    assert scores(group) == {"pong": {0: 10.0}}
    assert said == ["two is left out: it is the same run as one."]
    assert collect(["two", "one"], runs_dir)[1] == ["one is left out: it is the same run as two."]


def test_nor_is_a_copy_of_a_studys_run(runs_dir):
    folder = write_study(runs_dir, lambda *_: 0.5)
    name = folder.record().cells[0].run
    shutil.copytree(runs_dir / name, runs_dir / "zz")
    groups, said = collect([], runs_dir)
    assert [group.kind for group in groups] == ["study"]
    assert said == [f"zz is left out: it is the same run as {name}."]


BROKEN_FILES = {
    "empty run.json": ("run.json", ""),
    "run.json is a list": ("run.json", "[1]"),
    "run.json is deep": ("run.json", "[" * 100_000),
    "run.json has a number that is too long": ("run.json", '{"x": ' + "9" * 5_000 + "}"),
    "no run.json": ("run.json", None),
    "empty config": ("config.toml", ""),
    "half a config": ("config.toml", "seed ="),
    "a config that is deep": ("config.toml", "seed = " + "[" * 100_000),
    "a config of zeros": ("config.toml", "\0" * 100),
    "no evaluations": (EVALUATIONS, None),
    "empty evaluations": (EVALUATIONS, ""),
    "damaged in the middle": (EVALUATIONS, '{"kind": "final"\n{"kind": "final"}\n'),
    "a list": (EVALUATIONS, "[1]\n"),
    "a number": (EVALUATIONS, "3\n"),
    "null": (EVALUATIONS, "null\n"),
    "a deep line": (EVALUATIONS, "[" * 100_000 + "\n"),
    "a number that is too long": (EVALUATIONS, '{"mean": ' + "9" * 5_000 + "}\n"),
    "no line end": (EVALUATIONS, '{"kind": "final", "mean": 3}'),
}


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_broken_files_are_left_out_with_a_reason(runs_dir, run, name):
    file, text = BROKEN_FILES[name]
    (run / file).unlink()
    if text is not None:
        (run / file).write_text(text)
    groups, said = collect([], runs_dir)
    assert groups == []
    assert said[0].startswith("one is left out: it ")


def test_a_torn_last_line_is_none(run):
    """The final evaluation counts without what a crash left behind it, and not if it is torn."""
    text = (run / EVALUATIONS).read_text()
    (run / EVALUATIONS).write_text(text + '{"kind": "manual", "me')
    assert read_run(run).score == 10.0
    (run / EVALUATIONS).write_text(text[:-10])
    assert read_run(run) == "it has no final evaluation"


NAN, INFINITY = float("nan"), float("inf")
WRONG_LINES = {
    "NaN among the scores": {"scores": [10.0] * 31 + [NAN]},
    "an infinite score": {"scores": [10.0] * 31 + [INFINITY]},
    "null": {"scores": [10.0] * 31 + [None]},
    "text": {"scores": ["10.0"] * 32},
    "true": {"scores": [True] * 32, "mean": 1.0},
    "a huge score": {"scores": [1e308] * 32, "mean": 1e308},
    "a huge integer": {"scores": [10**400] * 32, "mean": 10**400},
    "a table": {"scores": {"0": 10.0}},
    "no score": {"scores": [], "mean": 0.0},
    "scores missing": {"scores": None},
    "too few scores": {"scores": [10.0] * 4},
    "another mean": {"mean": 10.1},
    "a mean that is NaN": {"mean": NAN},
    "a mean that is text": {"mean": "10"},
    "no mean": {"mean": None},
    "a mean that is huge": {"mean": 10**400},
    "no protocol": {"protocol": None},
    "a protocol that is a list": {"protocol": [32]},
    "an empty protocol": {"protocol": {}},
    "no env_steps": {"env_steps": None},
    "env_steps that are a fraction": {"env_steps": 1.5},
}


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("name", WRONG_LINES)
def test_a_wrong_evaluation_is_left_out_with_a_reason(runs_dir, run, name, which):
    """On the way as at the end."""
    lines = lines_of(run)
    lines[0] = lines[1] | {"kind": "interim"}
    lines[which] |= WRONG_LINES[name]
    rewrite(run, lines)
    groups, (said,) = collect([], runs_dir)
    assert groups == []
    assert said.startswith("one is left out: an evaluation of it is damaged (")


def test_reasons_name_what_is_wrong(run):
    (final,) = lines_of(run)[1:]
    assert why_wrong(final) == ""
    assert (
        why_wrong(final | {"scores": [NAN] * 32})
        == "scores that are not all numbers of at most 1e+15"
    )
    assert why_wrong(final | {"mean": 11}) == "a mean that does not match its scores"
    assert why_wrong(final | {"scores": [10.0] * 4}) == "4 scores of 32 episodes"
    assert why_wrong(final | {"kind": "best"}) == "its kind is 'best'"


def test_final_evaluations_that_differ_are_left_out(run):
    *lines, final = lines_of(run)
    rewrite(run, [*lines, final, final])
    assert read_run(run).score == 10.0
    rewrite(run, [*lines, final, final | {"scores": [11.0] * 32, "mean": 11.0}])
    assert read_run(run) == "it has several final evaluations, and they differ"


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [("episodes", 4, 32), ("max_env_steps", 3000, 27000), ("num_simulations", None, 50)],
)
def test_another_protocol_than_the_configs_is_left_out(run, key, value, wanted):
    *lines, final = lines_of(run)
    final["protocol"][key] = value
    if key == "episodes":
        final |= {"scores": [10.0] * 4, "game_env_steps": [100] * 4}
    rewrite(run, [*lines, final])
    assert read_run(run) == (
        "its final evaluation differs from the protocol in its config "
        f"({key} {value!r}, but {wanted!r} in its config)"
    )


@pytest.mark.parametrize(
    "entry",
    [
        {"sessions": None},
        {"sessions": 3},
        {"sessions": "abc"},
        {"sessions": {"seconds": 3}},
        {"sessions": [3]},
        {"environment": None},
        {"environment": "pong"},
    ],
)
def test_a_run_json_of_wrong_types_is_left_out(run, entry):
    RunFolder(run).update_info(**entry)
    assert read_run(run).startswith("its run.json is damaged (")


@pytest.mark.parametrize("seconds", [None, NAN, INFINITY, "60", [60], 10**400, True])
def test_unknown_seconds_are_unknown(run, seconds):
    RunFolder(run).update_info(sessions=[{"seconds": 60.0}, {"seconds": seconds}])
    assert read_run(run).seconds is None


@pytest.mark.parametrize("entry", [{"preset": 3}, {"preset": ["a"]}, {"preset": "\0"}, {"name": 3}])
def test_a_strange_name_of_a_preset_is_only_a_name(runs_dir, run, entry):
    RunFolder(run).update_info(**entry)
    (group,), _ = collect([], runs_dir)
    assert scores(group) == {"pong": {0: 10.0}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FINAL = evaluation(agent(), [10.0] * 32, 100_000, "final")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A finished run whose evaluations are written again and again."""
    return write_run(tmp_path_factory.mktemp("runs") / "one", agent(), [10.0])


def is_refused_or_ten(found):
    return isinstance(found, str) or found.score == pytest.approx(10.0)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_entry_makes_an_error_or_another_score(shared, data):
    """Anything in place of any entry: the run counts with its score, or is left out."""
    line = json.loads(json.dumps(FINAL))
    table = data.draw(st.sampled_from([line, line["protocol"]]))
    table[data.draw(st.sampled_from(sorted(table)))] = data.draw(JSON)
    rewrite(shared, [line])
    assert is_refused_or_ten(read_run(shared))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 31), JSON)
def test_no_score_among_the_others_does(shared, place, value):
    scores = [10.0] * 32
    scores[place] = value
    rewrite(shared, [FINAL | {"scores": scores}])
    assert is_refused_or_ten(read_run(shared))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 400))
def test_nor_do_bytes(shared, junk, place):
    text = json.dumps(FINAL).encode() + b"\n"
    (shared / EVALUATIONS).write_bytes(text[:place] + junk + text[place:])
    assert is_refused_or_ten(read_run(shared))
