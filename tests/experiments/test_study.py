"""A study and its plan: runs, shared runs, their order, and allowed changes."""

import errno
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve, use_env
from ezcli.experiments.design import Arm
from ezcli.experiments.study import StudyFolder, cells_of, default_name, plan
from tests.experiments.helpers import make_study, save
from tests.failing import fails
from tests.runs.helpers import tiny


def names(runs):
    return [run.name for run in runs]


def atari(**changes):
    tables = use_env(read_toml(preset_path("smoke")), None, "pong")
    return resolve(tables, changes=changes)


def test_every_cell_is_its_arm_on_its_game_with_its_seed():
    study = make_study(base=atari())._replace(games=("pong", "breakout"))
    cells = cells_of(study)
    assert len(cells) == 2 * 2 * 2
    for cell in cells:
        assert cell.config.seed == cell.seed
        assert cell.config.env.game == cell.env
        assert cell.config.components.value_prefix == (cell.arm == "full")


def test_a_study_is_balanced_whenever_it_is_stopped():
    """Every prefix of the order holds each arm as often as the others, give or take one."""
    study = make_study(["value-prefix", "consistency"], (5, 3, 9), base=atari())
    order = [(cell.seed, cell.env, cell.arm) for cell in cells_of(study)]
    assert [seed for seed, _, _ in order] == [5] * 3 + [3] * 3 + [9] * 3
    for end in range(len(order)):
        counts = [sum(o[2] == arm.name for o in order[:end]) for arm in study.arms]
        assert max(counts) - min(counts) <= 1


def test_the_plan_is_stable():
    study = make_study(["value-prefix", "consistency"])
    assert plan(study, {}) == plan(study, {})
    assert len(set(names(plan(study, {})))) == 6


def test_a_name_tells_arm_and_seed_and_ends_in_the_identity():
    for run in plan(make_study(), {}):
        cell = run.cells[0]
        assert run.name == f"catch-smoke-{cell.arm}-seed{cell.seed}-{run.config.identity[:6]}"


def test_a_run_that_is_there_already_is_used_under_its_own_name():
    study = make_study()
    full = tiny("catch", "seed=1")
    runs = plan(study, {full.identity: "by-hand"})
    assert [r.name for r in runs if r.config.identity == full.identity] == ["by-hand"]
    assert len(runs) == 4


def test_the_full_agent_is_shared_by_every_study_that_needs_it():
    one, other = (plan(make_study([drop]), {}) for drop in ("value-prefix", "consistency"))
    shared = set(names(one)) & set(names(other))
    assert shared == {run.name for run in one if run.arms == "full"}
    assert len(shared) == 2


def test_arms_with_equal_configs_are_one_run():
    study = make_study()
    twin = Arm("twin", (), study.arms[1].changes)
    runs = plan(study._replace(arms=(*study.arms, twin)), {})
    assert len(runs) == 4
    assert {run.arms for run in runs} == {"full", "− value prefix = − twin"}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=6, unique=True), st.randoms())
def test_the_order_of_seeds_changes_the_order_only(seeds, rng):
    shuffled = list(seeds)
    rng.shuffle(shuffled)
    one, other = (plan(make_study(seeds=s), {}) for s in (seeds, shuffled))
    assert sorted(names(one)) == sorted(names(other))


# ------------------------------------------------------------------ on disk


def test_a_saved_study_comes_back(tmp_path):
    study = make_study(["value-prefix+consistency"], vary=["search.num_simulations=3,4"])
    folder, runs = save(tmp_path, study)
    again = folder.study()
    assert again == study
    assert names(plan(again, {})) == names(runs)
    cells = json.loads((folder.path / "study.json").read_text())["cells"]
    assert {(c["arm"], c["seed"]): c["run"] for c in cells} == {
        (cell.arm, cell.seed): run.name for run in runs for cell in run.cells
    }


def test_a_study_grows(tmp_path):
    folder, _ = save(tmp_path, make_study(seeds=(0, 1)))
    merged, added = folder.merge(make_study(["consistency"], seeds=(1, 7)))
    assert [arm.name for arm in merged.arms] == ["full", "value-prefix", "consistency"]
    assert merged.seeds == (0, 1, 7)
    assert added == [
        "New in the study: arms − consistency.",
        "New in the study: seeds 7.",
    ]


def test_games_are_added_too(tmp_path):
    folder, _ = save(tmp_path, make_study(base=atari())._replace(games=("pong",)))
    other = make_study(base=resolve(use_env(atari().model_dump(mode="json"), None, "breakout")))
    merged, added = folder.merge(other._replace(games=("breakout",)))
    assert merged.games == ("pong", "breakout")
    assert added == ["New in the study: games breakout."]


def test_the_same_again_adds_nothing(tmp_path):
    study = make_study()
    folder, _ = save(tmp_path, study)
    assert folder.merge(study) == (study, [])


def test_a_changed_preset_is_refused_with_the_difference(tmp_path):
    folder, _ = save(tmp_path, make_study())
    before = (folder.path / "study.json").read_bytes()
    changed = make_study(base=tiny("catch", "value.discount=0.5"))
    named = "value.discount: 0.9", "there, 0.5 now", "ez ablate --study mine"
    with fails("EZ-STUDY-OTHER-AGENT", *named):
        folder.merge(changed)
    assert (folder.path / "study.json").read_bytes() == before


def test_another_arm_of_the_same_name_is_refused(tmp_path):
    study = make_study()
    folder, _ = save(tmp_path, study)
    other = study._replace(arms=(study.arms[0], Arm("value-prefix", (), {"search.pb_c_init": 2.0})))
    with fails("EZ-STUDY-OTHER-ARM", "'value-prefix'", "search.pb_c_init"):
        folder.merge(other)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"name": "mine", "extra": 1}', "\xff"])
def test_a_damaged_study_is_named(tmp_path, content):
    folder, _ = save(tmp_path, make_study())
    (folder.path / "study.json").write_text(content, encoding="latin-1")
    with fails("EZ-STUDY-DAMAGED", "study.json'"):
        folder.study()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", ".hidden", "a\nb", "studies"])
def test_a_study_cannot_leave_its_folder(tmp_path, name):
    with fails("EZ-STUDY-NAME", repr(name)):
        StudyFolder(tmp_path, name)


def test_a_name_for_who_gives_none():
    base, arms = tiny(), make_study(["value-prefix", "consistency"]).arms
    assert default_name(base, "smoke", (), arms) == "catch-smoke-value-prefix-consistency"
    assert default_name(base, "catch", (), arms) == "catch-value-prefix-consistency"
    assert default_name(atari(), "smoke", ("pong", "qbert"), arms[:2]) == (
        "2-games-smoke-value-prefix"
    )
    many = tuple(Arm(f"arm-number-{i}", (), {"seed": i}) for i in range(20))
    long = default_name(base, "smoke", (), many)
    assert len(long) <= 100
    assert long != default_name(base, "smoke", (), many[:19])  # not somebody else's study


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "studies").write_text("a file")
    with fails("EZ-STUDY-NOT-WRITABLE", "studies/mine'", os.strerror(errno.ENOTDIR)):
        save(tmp_path, make_study())
