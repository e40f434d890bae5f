"""Sweeps: which arm is best, and the scores of every combination of two settings."""

import numpy as np
import pytest

from ezcli.reports import plots
from ezcli.reports.choice import Choice
from ezcli.reports.compare import scale_of
from ezcli.reports.formats import cell_text, key_of
from ezcli.reports.grids import grids, ranking
from ezcli.reports.report import brief, build
from tests.reports.helpers import make_group, noisy

SIMULATIONS, DISCOUNT = "search.num_simulations", "value.discount"
VARY = (f"{SIMULATIONS}=8,12,50", f"{DISCOUNT}=0.9,0.99")


def made(score, spread=0.0, **changes):
    asked = {"drops": (), "vary": VARY, "env": "catch", "preset_name": "catch"} | changes
    return make_group(noisy(score, spread), **asked)


def section(group):
    (found,) = build([group], [], [], Choice(resamples=100)).sections
    return found


def column(table, index):
    return [cell_text(row[index]) for row in table.rows]


def test_the_arms_stand_in_the_order_of_their_scores():
    best = f"{SIMULATIONS}=50,{DISCOUNT}=0.9"
    group = made({best: 0.4, f"{SIMULATIONS}=8": 0.2}, 0.01, seeds=range(6))
    found = ranking(group, scale_of(group))
    assert [one.arm for one in found[:2]] == [best, f"{SIMULATIONS}=8"]
    scores = [one.score.value for one in found]
    assert scores == sorted(scores, reverse=True)
    assert (found[0].behind, found[0].adjusted_p, found[0].verdict) == (None, None, "")
    assert {one.verdict for one in found[1:]} == {"worse"}
    runs = {arm.name: arm.runs["catch"] for arm in group.arms}
    for one in found[1:]:
        pairs = [runs[one.arm][seed].score - runs[best][seed].score for seed in range(6)]
        assert one.behind.estimate.value == pytest.approx(np.mean(pairs))


def test_the_correction_is_over_all_pairs():
    group = made({}, 0.1, seeds=range(4))
    arms = len(ranking(group, scale_of(group)))
    found = [one for one in ranking(group, scale_of(group)) if one.adjusted_p is not None]
    smallest = min(found, key=lambda one: one.behind.p)
    table = section(group).table("ranking")
    assert f"all {arms * (arms - 1) // 2} pairs of arms" in " ".join(table.notes)
    assert smallest.adjusted_p >= min(1, smallest.behind.p * 2)


def test_equal_arms_are_told_from_the_best_in_no_more_than_5_percent_or_so():
    """Without all pairs in the correction, it is 3 times as many."""
    wrong = 0
    for study in range(150):
        rng = np.random.default_rng(study)
        group = make_group(
            lambda *place, rng=rng: rng.normal(),
            drops=(),
            vary=(f"{SIMULATIONS}=8,12,16,50",),
            env="catch",
            preset_name="catch",
            seeds=range(5),
        )
        wrong += any(one.verdict == "worse" for one in ranking(group, scale_of(group)))
    assert wrong / 150 < 0.09


def test_the_ranking_says_what_to_do_with_the_first():
    group = made({f"{SIMULATIONS}=50,{DISCOUNT}=0.9": 0.4}, 0.01)
    table = section(group).table("ranking")
    first = next(a for a in group.arms if a.name == key_of(table.rows[0][0])).runs["catch"][0]
    assert f": ez config save --from {first.path} --output mine.toml" in table.notes[-1]
    assert "Train it with other seeds" in table.notes[-2]


@pytest.mark.parametrize(
    "changes",
    [{"drops": ("value-prefix", "consistency"), "vary": ()}, {"vary": (f"{SIMULATIONS}=8",)}],
)
def test_what_is_no_sweep_of_several_arms_is_not_ranked(changes):
    group = made({}, 0.1, **changes)
    assert ranking(group, scale_of(group)) == []
    assert section(group).table("ranking") is None


def test_a_grid_has_a_row_for_each_value_of_one_and_a_column_for_each_of_the_other():
    group = made({f"{SIMULATIONS}=8,{DISCOUNT}=0.9": 0.25}, vary=VARY)
    (grid,) = grids(group, scale_of(group))
    assert (grid.down, grid.across, grid.label) == (DISCOUNT, SIMULATIONS, "full")
    table = section(group).table("grid")
    assert table.columns == (DISCOUNT, "8", "12", "50")
    assert f"{DISCOUNT} (rows) by {SIMULATIONS} (columns)" in table.title
    assert column(table, 0) == ["0.9", "0.99"]
    assert column(table, 1) == ["0.75", "0.50"]
    assert section(group).table("curve") is None  # the grid has its numbers


def test_what_else_differs_makes_grids_of_its_own():
    group = made({}, drops=("consistency",), vary=(*VARY, "acting.num_envs=1,2"))
    labels = [grid.label for grid in grids(group, scale_of(group))]
    assert sorted(labels) == sorted(
        f"{drop}, {DISCOUNT}={value}" for drop in ("full", "− consistency") for value in (0.9, 0.99)
    )


def test_a_combination_without_a_run_is_left_empty():
    missing = f"{SIMULATIONS}=50,{DISCOUNT}=0.9"
    group = made({}, skip=lambda arm, game, seed: arm == missing)
    assert column(section(group).table("grid"), 3) == ["–", "0.50"]


def test_a_single_run_of_each_combination_has_no_interval():
    group = made({}, 0.1, seeds=(0,))
    found = section(group)
    assert {one.adjusted_p for one in ranking(group, scale_of(group))} == {None}
    assert "[" not in "".join(column(found.table("grid"), 1) + column(found.table("ranking"), 2))


def test_the_end_of_a_study_shows_the_ranking_and_the_grid():
    tables = brief(made({}, 0.1), Choice(resamples=100)).sections[0].tables
    assert [table.key for table in tables] == ["differences", "ranking", "grid", "scores"]


def test_a_heat_map_frames_the_best_and_shows_every_score():
    group = made(
        {f"{SIMULATIONS}=50,{DISCOUNT}=0.9": 0.25},
        skip=lambda arm, game, seed: arm == f"{SIMULATIONS}=8",
    )
    found = {plot.name: plot.figure for plot in plots.plots(section(group), ())}
    panel = found["grid"].axes[0]
    assert [text.get_text() for text in panel.texts] == [
        "0.50",
        "0.50",
        "0.75",
        "–",
        "0.50",
        "0.50",
    ]
    (frame,) = [patch for patch in panel.patches if not patch.get_fill()]
    assert frame.get_xy() == (1.5, -0.5)
    image = panel.images[0].get_array()
    assert image[0, 2] == pytest.approx(0.75)
    assert image.mask.tolist() == [[False] * 3, [True, False, False]]


def test_heat_maps_of_a_study_share_their_colours():
    group = made({"consistency": -0.4}, 0.1, drops=("consistency",))
    found = [plot.figure for plot in plots.plots(section(group), ()) if "grid" in plot.name]
    limits = {figure.axes[0].images[0].get_clim() for figure in found}
    assert (len(found), len(limits)) == (2, 1)
