"""Reports over several suites: each has its own scale, and its own published scores."""

import pytest

from ezcli.envs.minatar_suite import REFERENCES
from ezcli.reports.choice import Choice
from ezcli.reports.formats import FORMATS, cell_text
from ezcli.reports.groups import Point
from ezcli.reports.plots import plots
from ezcli.reports.published import DEFAULT_AGAINST, agents_named
from ezcli.reports.published_tables import measured
from ezcli.reports.report import build
from tests.reports.helpers import make_group, noisy

ATARI = make_group(noisy({}), games=("pong", "breakout"), name="atari")
MINATAR = make_group(
    noisy({}), games=("breakout", "freeway"), env="minatar", preset_name="minatar", name="minatar"
)
CATCH = make_group(noisy({}), env="catch", preset_name="catch", name="catch")
OURS = "best-published-normalised"


def made(*groups):
    return build(groups, (), agents_named(DEFAULT_AGAINST), Choice(resamples=100))


def words(section):
    return " ".join(
        text for t in section.tables for text in (t.title, *map(str, t.columns), *t.notes)
    ).lower()


def test_each_suite_has_tables_on_its_own_scale():
    atari, minatar, catch = made(ATARI, MINATAR, CATCH).sections
    assert [section.scale.name for section in (atari, minatar, catch)] == [
        "human-normalised",
        OURS,
        "raw",
    ]
    assert "human-normalised" in words(atari)
    assert OURS not in words(atari)
    assert OURS in words(minatar)
    assert "human" not in words(minatar)
    assert "normalised" not in words(catch)


def test_published_scores_stand_beside_runs_of_their_own_suite():
    report = made(ATARI, MINATAR)
    atari, minatar = report.sections
    assert "EfficientZero †" in atari.table("beside").columns
    assert "DQN at 5M frames †" in minatar.table("beside").columns
    assert not any("EfficientZero" in column for column in minatar.table("beside").columns)
    assert {agent.name for agent in report.agents} == set(DEFAULT_AGAINST)
    assert made(CATCH).agents == ()


def test_a_published_effect_stands_beside_effects_on_its_own_scale_only():
    assert "published mean" in made(ATARI).sections[0].table("improvement").columns
    for group in (MINATAR, CATCH):
        assert "published mean" not in made(group).sections[0].table("improvement").columns


def test_scores_by_frames_stand_beside_measured_ones():
    (section,) = made(MINATAR).sections
    table = section.table("budgets")
    assert table.columns[2:] == ("100k frames", "500k frames", "1M frames", "5M frames")
    shown = {(row[0], str(row[1])): [cell_text(cell) for cell in row[2:]] for row in table.rows}
    assert shown["minatar-breakout", "DQN †"] == ["4.57", "8.29", "9.27", "10.08"]
    assert shown["minatar-freeway", "DQN †"] == ["–", "35.22", "48.00", "50.31"]
    ours = shown["minatar-breakout", "full"]
    assert ours[1:] == ["–", "–", "–"]  # the runs had 100,000 env_steps
    runs = section.group.arms[0].runs["minatar-breakout"].values()
    assert ours[0].startswith(f"{sum(run.score for run in runs) / len(runs):.2f} [")
    assert section.table("scores").columns[-1] == OURS


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([Point(95_000, 1.0), Point(99_000, 2.0), Point(104_000, 3.0)], "2.00"),
        ([Point(94_999, 1.0), Point(105_001, 3.0)], None),
        ([], None),
    ],
)
def test_the_evaluation_nearest_to_a_budget_is_shown(curve, expected):
    found = measured([curve], 100_000)
    assert (found if found is None else cell_text(found)) == expected
    assert measured([curve, []], 100_000) is None  # a run without one


def test_the_plots_of_each_suite_name_its_scale():
    for section, name in zip(
        made(ATARI, MINATAR).sections, ("human-normalised", OURS), strict=True
    ):
        drawn = {plot.name: plot for plot in plots(section, ())}
        assert drawn["games"].title == f"{name.capitalize()} score by game"
        for key in ("aggregates", "profile", "differences"):
            figure = drawn[key].figure
            axes = figure.axes[0].get_xlabel() or figure.get_supxlabel()
            assert name in axes


@pytest.mark.parametrize("form", ["markdown", "csv", "json", "latex"])
def test_no_format_calls_minatar_human_normalised(form):
    text = FORMATS[form](made(MINATAR))
    assert "human" not in text.lower()
    assert OURS in text


def test_the_reference_scores_are_those_of_the_five_games():
    assert len(REFERENCES) == 5
    assert all(reference.zero < reference.one for reference in REFERENCES.values())
