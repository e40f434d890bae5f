"""Plots: their selection, content and reproducibility."""

import io

import numpy as np
import pytest
from PIL import Image

from ezcli.commands.report import PLOT_TYPES
from ezcli.experiments.design import arm_label
from ezcli.reports import figures, plots
from ezcli.reports.choice import Choice
from ezcli.reports.collect import collect
from ezcli.reports.published import DEFAULT_AGAINST, agents_named
from ezcli.reports.report import build
from tests.reports.helpers import noisy, write_study


def drawn(runs_dir, against=DEFAULT_AGAINST):
    groups, said = collect([], runs_dir)
    report = build(groups, said, agents_named(against), Choice(resamples=200))
    (section,) = report.sections
    return section, {plot.name: plot for plot in plots.plots(section, report.agents)}


def words(figure):
    """All that can be read in a figure."""
    found = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    return " ".join(found)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    runs_dir = tmp_path_factory.mktemp("plots")
    write_study(
        runs_dir,
        noisy({"consistency": -0.3}),
        drops=("consistency", "value-prefix"),
        factorial=True,
        games=("pong", "breakout"),
        curve=lambda arm, game, seed: [(10_000, 0.0), (50_000, 0.1)],
    )
    return drawn(runs_dir)


def test_a_factorial_study_has_every_kind(study):
    _, found = study
    assert list(found) == [
        "learning-curves",
        "aggregates",
        "games",
        "profile",
        "differences",
        "improvement",
        "effects",
    ]


def test_axes_are_labelled_and_runs_counted(study):
    _, found = study
    for plot in found.values():
        text = words(plot.figure)
        assert "3 runs" in text or "3 pairs" in text or "3 seeds" in text, plot.name
        assert "95 %" in text, plot.name
    assert "environment steps" in words(found["learning-curves"].figure)
    assert "human-normalised score" in words(found["games"].figure)
    assert "EfficientZero (published)" in words(found["games"].figure)


def test_a_curve_goes_through_the_means(study):
    section, found = study
    panels = {panel.get_title(loc="left"): panel for panel in found["learning-curves"].figure.axes}
    (line,) = [line for line in panels["pong"].lines if line.get_label() == "− consistency"]
    arm = next(arm for arm in section.group.arms if arm.name == "consistency")
    mean = np.mean([run.score for run in arm.runs["pong"].values()])
    assert line.get_xdata().tolist() == [10_000, 50_000, 100_000]
    assert line.get_ydata()[-1] == pytest.approx(mean)


def test_random_play_is_drawn_where_it_is_known(study, tmp_path):
    _, found = study
    figure = found["learning-curves"].figure
    drawn_at = [
        [line.get_ydata()[0] for line in panel.lines if line.get_linestyle() == ":"]
        for panel in figure.axes
    ]
    assert drawn_at == [[1.7], [-20.7]]
    assert "Dotted: random play." in words(figure)
    write_study(
        tmp_path,
        noisy({}),
        env="catch",
        preset_name="catch",
        curve=lambda arm, game, seed: [(100, 0.1)],
    )
    figure = drawn(tmp_path)[1]["learning-curves"].figure
    lines = {line.get_linestyle(): line.get_ydata()[0] for line in figure.axes[0].lines[2:]}
    assert lines == {":": pytest.approx(-0.6), "--": 1}
    assert "Dotted: random play. Dashed: maximum." in " ".join(words(figure).split())


def test_an_interval_is_drawn_where_it_is(study):
    section, found = study
    panel = found["differences"].figure.axes[0]
    ends = {tuple(line.get_xdata()) for line in panel.lines if len(line.get_xdata()) == 2}
    for comparison in section.comparisons:
        estimate = comparison.mean.estimate
        assert (estimate.low, estimate.high) in ends


def test_arms_have_one_colour_everywhere_and_markers_of_their_own(study):
    section, found = study
    panel = found["learning-curves"].figure.axes[0]
    arms = [line for line in panel.lines if line.get_linestyle() != ":"]
    looks = {line.get_label(): (line.get_color(), line.get_marker()) for line in arms}
    assert (
        len(set(looks.values())) == len(section.group.arms) == len({m for _, m in looks.values()})
    )
    rows = [arm_label(arm.name) for arm in section.group.arms]
    for line in found["aggregates"].figure.axes[0].lines:
        if line.get_marker() not in ("None", "|"):
            name = rows[len(rows) + 1 - round(line.get_ydata()[0])]  # two published ones below
            assert (line.get_color(), line.get_marker()) == looks[name]


def test_a_game_without_human_scores_has_curves_and_differences_only(tmp_path):
    write_study(
        tmp_path,
        noisy({}),
        env="catch",
        preset_name="catch",
        curve=lambda arm, game, seed: [(100, 0.1)],
    )
    _, found = drawn(tmp_path)
    assert list(found) == ["learning-curves", "differences", "improvement"]


def test_one_seed_has_no_band(tmp_path):
    write_study(tmp_path, noisy({}), seeds=(0,), curve=lambda *place: [(10_000, 0.0)])
    _, found = drawn(tmp_path)
    panel = found["learning-curves"].figure.axes[0]
    assert len(panel.lines) == 3  # two arms, and random play
    assert not panel.collections


@pytest.mark.parametrize(("seeds", "spread"), [((0,), 0.1), ((0, 1), 0.0), ((0, 1), 0.1)])
def test_captions_promise_the_intervals_that_are_drawn(tmp_path, seeds, spread):
    write_study(
        tmp_path,
        noisy({"consistency": -0.3}, spread),
        drops=("consistency", "value-prefix"),
        factorial=True,
        games=("pong", "qbert"),
        seeds=seeds,
        curve=lambda *place: [(10_000, 0.0), (20_000, 0.1)],
    )
    write_study(
        tmp_path,
        noisy({}, spread),
        drops=(),
        vary=("search.num_simulations=8,50",),
        seeds=seeds,
        name="sweep",
    )
    groups, said = collect([], tmp_path)
    report = build(groups, said, [], Choice(resamples=100))
    found = [plot for s in report.sections for plot in plots.plots(s, ())]
    names = {plot.name for plot in found}
    assert {"learning-curves", "effects", "sweep-search.num_simulations"} <= names
    assert ("improvement" in names) == (len(seeds) > 1)
    for plot in found:
        assert ("95 %" in words(plot.figure)) == (len(seeds) > 1 and spread > 0), plot.name


def test_one_evaluation_is_no_curve(tmp_path):
    write_study(
        tmp_path,
        noisy({}),
        games=("pong", "qbert"),
        curve=lambda arm, game, seed: [(10_000 + seed * (game == "qbert"), 0.0)],
    )
    panels = drawn(tmp_path)[1]["learning-curves"].figure.axes
    assert [panel.get_title(loc="left") for panel in panels if panel.get_visible()] == ["pong"]


def test_a_band_begins_where_scores_begin_to_vary(tmp_path):
    write_study(
        tmp_path, noisy({}), curve=lambda arm, game, seed: [(10_000, 0.0), (20_000, seed / 10)]
    )
    assert len(drawn(tmp_path)[1]["learning-curves"].figure.axes[0].collections) == 2


@pytest.mark.parametrize("spread", [0.01, 3.0])
def test_wide_bands_do_not_flatten_the_lines(tmp_path, spread):
    """Two runs that differ much have bands many times as high as the lines: they are cut."""
    write_study(
        tmp_path,
        noisy({}, spread / 10),
        seeds=(0, 1),
        curve=lambda arm, game, seed: [(10_000, 0.0), (20_000, 1.0 + spread * seed)],
    )
    figure = drawn(tmp_path)[1]["learning-curves"].figure
    panel = figure.axes[0]
    ends = [end for line in panel.lines for end in line.get_ydata()]
    low, high = panel.get_ylim()
    assert high - low <= 2.01 * (max(ends) - min(ends))
    assert ("cut at the axis." in " ".join(words(figure).split())) == (spread > 1)


LONG = "network.norm=" + ",".join(
    f'"{norm}"' for norm in ("batch", "batch-by-role", "batch-renorm", "group", "layer")
)


@pytest.fixture(scope="module")
def long_names(tmp_path_factory):
    """A study of 20 arms with names of up to 80 letters."""
    runs_dir = tmp_path_factory.mktemp("long")
    write_study(
        runs_dir,
        noisy({}),
        drops=("off-policy-correction",),
        vary=(LONG, "optimiser.learning_rate=0.001,0.00001"),
        games=("pong", "qbert"),
        seeds=(0,),
        curve=lambda *place: [(10_000, 0.0)],
    )
    return drawn(runs_dir)


def is_colour_bar(panel):
    return hasattr(panel, "_colorbar")


def test_long_legends_fit_and_leave_room(long_names):
    for plot in long_names[1].values():
        plot.figure.draw_without_rendering()
        for legend in plot.figure.legends:
            assert legend.get_window_extent().width <= plot.figure.bbox.width, plot.name
        for panel in plot.figure.axes:
            box = panel.get_window_extent().transformed(plot.figure.dpi_scale_trans.inverted())
            if panel.get_visible() and not is_colour_bar(panel):
                assert min(box.width, box.height) > 1, plot.name


def test_arms_look_different():
    looks = [figures.look(index) for index in range(256)]
    assert len({tuple(look.values()) for look in looks}) == 256


def test_a_sweep_has_its_values_on_the_axis(tmp_path):
    write_study(tmp_path, noisy({}), drops=(), vary=("search.num_simulations=8,50,16",))
    _, found = drawn(tmp_path)
    panel = found["sweep-search.num_simulations"].figure.axes[0]
    assert list(panel.lines[0].get_xdata()) == [8, 16, 50]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["8", "16", "50"]


def test_the_command_knows_every_type_of_file():
    assert set(PLOT_TYPES) == set(figures.FILE_TYPES)


@pytest.mark.slow
@pytest.mark.parametrize("file_type", figures.FILE_TYPES)
def test_equal_figures_are_equal_files(tmp_path, file_type):
    write_study(tmp_path, noisy({}))
    one, other = (figures.render(drawn(tmp_path)[1]["games"].figure, file_type) for _ in range(2))
    assert one == other
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[file_type]
    assert one.startswith(start)


@pytest.mark.slow
@pytest.mark.parametrize("names", ["study", "long_names"])
def test_nothing_is_cut_off(names, request):
    """The outermost pixels of every figure are paper."""
    for plot in request.getfixturevalue(names)[1].values():
        pixels = np.asarray(Image.open(io.BytesIO(figures.render(plot.figure, "png"))).convert("L"))
        edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
        assert all((edge == 255).all() for edge in edges), plot.name
