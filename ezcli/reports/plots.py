"""The figures of a report: scores and differences between arms."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ezcli.envs.suites import landmarks_of
from ezcli.reports.compare import Scale, arm_scores, generator
from ezcli.reports.comparison_tables import grid_table
from ezcli.reports.figures import (
    CAPTION_LETTERS,
    DASHES,
    GREY,
    INK,
    LINE_INCHES,
    MARKERS,
    PALETTE,
    STYLE,
    arm_text,
    bound,
    caption,
    draw_interval,
    folded,
    intervals_text,
    legend_above,
    look,
    thousands,
)
from ezcli.reports.formats import cell_text, one_line
from ezcli.reports.grids import Grid, as_text, value_text
from ezcli.reports.groups import ArmScores, Group, score_range
from ezcli.reports.modes import ROOT_ERROR, measured, runs_of
from ezcli.reports.provenance import protocol_text
from ezcli.reports.published import Agent
from ezcli.reports.report import Section
from ezcli.reports.statistics import SIZE, TAILS, Estimate, profile, resample, student
from ezcli.reports.tables import Interval, Number
from ezcli.words import counted_range

MOST_CURVES = 30  # most games with a separate panel
NAME_LETTERS = 60  # characters per line of a name beside a row
BAND_ROOM = 0.5  # space for bands beyond the lines, relative to the height of the lines
STUDENT_BANDS = "Bands: 95 %, Student's t."
LANDMARK_DASHES = (":", "--")
LANDMARK_KINDS = ("Dotted", "Dashed")


PROFILE_RESAMPLES = 2_000


class Plot(NamedTuple):
    """A figure with its names."""

    name: str  # for files
    title: str  # for readers
    figure: Figure


def plots(section: Section, agents: Sequence[Agent]) -> Iterator[Plot]:
    """All plots that a section has data for."""
    group = section.group
    if group is None or not group.runs:
        return
    with rc_context(STYLE):
        if games := games_with_curves(group):
            yield Plot("learning-curves", "Learning curves", learning_curves(group, games))
        if figure := mode_errors(group):
            yield Plot("modes", "Evaluation against training mode", figure)
        protocol = protocol_text(group)
        for plot in plots_of_scores(section, group, agents):
            if protocol:
                caption(plot.figure, f"Scores of the {protocol}.")
            yield plot


def plots_of_scores(section: Section, group: Group, agents: Sequence[Agent]) -> Iterator[Plot]:
    """The plots of reported scores."""
    scale = section.scale
    if scale and scale.kind == "normalised":
        if section.table("aggregates"):
            figure = aggregate_intervals(section)
            yield Plot("aggregates", "Aggregate scores", figure)
        title = f"{axis_text(scale).capitalize()} by game"
        yield Plot("games", title, game_bars(group, scale, agents))
        if len(scale.games) > 1:
            yield Plot("profile", "Performance profile", performance_profile(group, scale))
    if section.comparisons:
        yield Plot("differences", "Differences from the full agent", differences(section))
    if any(comparison.improvement for comparison in section.comparisons):
        yield Plot("improvement", "Probability of improvement", improvement(section))
    if section.effects:
        yield Plot("effects", "Main effects and interactions", effects(section))
    for key in dict.fromkeys(curve.key for curve in section.curves):
        yield Plot(f"sweep-{file_name(key)}", f"Score over {key}", sweep(section, key))
    for number, grid in enumerate(section.grids):
        name = f"grid-{number + 1}" if number else "grid"
        title = f"{grid.label}: score over {grid.down} and {grid.across}"
        yield Plot(name, one_line(title), heat_map(section, grid))


def games_with_curves(group: Group) -> list[str]:
    """Games on which all runs of an arm share several env_steps with evaluations."""
    games = [
        game
        for game in group.games
        if any(len(shared(scores_on_the_way(arm, game))) > 1 for arm in group.arms)
    ]
    return games[:MOST_CURVES]


def scores_on_the_way(arm: ArmScores, game: str) -> list[dict[int, float]]:
    """The evaluations of each run: scores by env_step."""
    runs = arm.runs.get(game, {}).values()
    return [{point.env_steps: point.score for point in run.curve} for run in runs]


def learning_curves(group: Group, games: Sequence[str]) -> Figure:
    """Draws scores over env_steps: a panel per game, a line per arm and reference score."""
    columns = min(len(games), 2 if len(games) <= 4 else 4)
    rows = math.ceil(len(games) / columns)
    figure = Figure(figsize=(3.3 * columns if columns > 1 else 5.5, 2.2 * rows + 1.1))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    drawn: list[Estimate] = []
    landmarks: dict[str, None] = {}
    cut = ""
    for panel in panels[len(games) :]:
        panel.set_visible(False)
    for panel, game in zip(panels, games, strict=False):
        for index, arm in enumerate(group.arms):
            scores = scores_on_the_way(arm, game)
            if scores:
                within = score_range(arm.runs[game].values())
                drawn += draw_means(panel, scores, look(index), arm_text(arm.name), within)
        run = next(run for run in group.runs if run.game == game)
        found = landmarks_of(run.config.env)
        landmarks |= dict.fromkeys(found)
        for (name, score), dashes in zip(found.items(), LANDMARK_DASHES, strict=False):
            panel.axhline(score, color=GREY, linestyle=dashes, zorder=0, label=f"_{name}")
        cut = show_lines(panel) or cut
        panel.set_title(game)
        if panel.get_subplotspec().is_first_col():
            panel.set_ylabel("score of an evaluation")
        panel.xaxis.set_major_locator(MaxNLocator(4))
        panel.xaxis.set_major_formatter(FuncFormatter(thousands))
    figure.supxlabel("environment steps", fontsize=8.5)
    legend_above(figure, list(panels))
    said = (f" {kind}: {name}." for kind, name in zip(LANDMARK_KINDS, landmarks, strict=False))
    caption(
        figure,
        f"{each_has(sizes_of(group))} Means of greedy evaluations."
        f"{intervals_text(drawn, STUDENT_BANDS + cut)}{''.join(said)}",
    )
    return figure


def shared(runs: Sequence[Mapping[int, float]]) -> list[int]:
    """The steps at which all runs have a value, in order."""
    return sorted(set.intersection(*map(set, runs))) if runs else []


def draw_means(
    panel: Axes,
    runs: Sequence[Mapping[int, float]],
    style: dict[str, Any],
    label: str,
    within: tuple[float, float],
) -> list[Estimate]:
    """Draws the mean of the runs at each common step, with its band.

    `within` are all values that it can have (`student`). Draws nothing with fewer than two common
    steps.
    """
    steps = shared(runs)
    if len(steps) < 2:
        return []
    values = [np.array([run[step] for run in runs]) for step in steps]
    found = [student([at_step], within=within).estimate for at_step in values]
    panel.plot(steps, [e.value for e in found], label=label, **style)
    draw_band(panel, steps, found, style)
    return found


def show_lines(panel: Axes) -> str:
    """Limits the axis so that wide bands do not flatten the lines. Returns a note if bands are cut.

    The axis extends beyond the lines by at most `BAND_ROOM` times their height. With three runs or
    fewer, bands can be far wider than a game's range of scores.
    """
    heights = np.concatenate([np.asarray(line.get_ydata(), float) for line in panel.lines])
    lowest, highest = np.nanmin(heights), np.nanmax(heights)
    room = BAND_ROOM * (highest - lowest)
    low, high = panel.get_ylim()
    if not room or (low >= lowest - room and high <= highest + room):
        return ""
    panel.set_ylim(max(low, lowest - room), min(high, highest + room))
    return " Bands are cut at the axis."


def draw_band(
    panel: Axes, x: Sequence[float], found: Sequence[Estimate], style: dict[str, Any]
) -> None:
    """Draws the intervals along a line, if there are any."""
    if any(estimate.low is not None for estimate in found):
        low, high = ([bound(e)[i] for e in found] for i in (0, 1))
        panel.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)


def mode_errors(group: Group) -> Figure | None:
    """Draws the error of the root's value over train_steps, a line per arm; None without data."""
    figure = Figure(figsize=(5.5, 3.3))
    panel = figure.subplots()
    drawn: list[Estimate] = []
    for index, arm in enumerate(group.arms):
        errors = [
            {m.train_steps: m.numbers[ROOT_ERROR] or 0.0 for m in measured(run)}
            for run in runs_of(arm)
        ]
        drawn += draw_means(panel, errors, look(index), arm_text(arm.name), SIZE)
    if not drawn:
        return None
    panel.axhline(1, color=GREY, linestyle=":", zorder=0)
    cut = show_lines(panel)
    panel.set_ylim(bottom=0)
    panel.xaxis.set_major_formatter(FuncFormatter(thousands))
    panel.set_xlabel("train_steps")
    panel.set_ylabel("RMSE / std of the root's value")
    legend_above(figure, [panel])
    caption(
        figure,
        f"{each_has(sizes_of(group))} Value in evaluation against training mode."
        f"{intervals_text(drawn, STUDENT_BANDS + cut)} Dotted line: the error is as large as the "
        "signal.",
    )
    return figure


def aggregate_intervals(section: Section) -> Figure:
    """Draws mean, median, IQM and optimality gap of every arm and of published agents."""
    table = section.table("aggregates")
    scale = section.scale
    assert table, "sections with aggregates only"
    assert scale, "aggregates have a scale"
    names = [folded(str(row[0]), NAME_LETTERS) for row in table.rows]
    lines = sum(name.count("\n") for name in names)
    room = max(len(line) for name in names for line in name.split("\n")) / CAPTION_LETTERS
    figure = Figure(figsize=(max(8, 6 + room), 0.34 * len(names) + LINE_INCHES * lines + 1.4))
    titles = table.columns[1:]
    panels = figure.subplots(1, len(titles), sharey=True)
    rows = np.arange(len(names))[::-1]
    arms = len(section.group.arms) if section.group else 0
    drawn: list[Estimate] = []
    for column, (panel, title) in enumerate(zip(panels, titles, strict=True), start=1):
        for index, (y, row) in enumerate(zip(rows, table.rows, strict=True)):
            cell = row[column]
            if isinstance(cell, Interval):
                drawn.append(cell.estimate)
                draw_interval(panel, cell.estimate, y, look(index))
            elif isinstance(cell, Number):
                panel.plot(cell.value, y, marker="|", color=GREY, markersize=11, linewidth=0)
        arrow = "←" if title == "optimality gap" else "→"
        panel.set_title(f"{title} {arrow}")
        panel.grid(axis="y", visible=False)
        panel.xaxis.set_major_locator(MaxNLocator(4))
    panels[0].set_yticks(rows, names)
    panels[0].set_ylim(-0.6, len(names) - 0.4)
    figure.supxlabel(f"{axis_text(scale)} ({scale.ends})", fontsize=8.5)
    marks = " Grey ticks: published, not measured here." if arms < len(names) else ""
    bars = intervals_text(drawn, "Bars: 95 % stratified bootstrap.")
    caption(figure, f"{table.title}.{bars}{marks}")
    return figure


def game_bars(group: Group, scale: Scale, agents: Sequence[Agent]) -> Figure:
    """Draws normalised scores per game: bars for the full agent, marks for published agents."""
    arm = next(arm for arm in group.arms if arm.runs)  # the full agent comes first
    games = [
        game
        for game in reversed(group.games)
        if game in group.normalised_games and game in arm.runs
    ]
    figure = Figure(figsize=(7, 0.24 * len(games) + 1.8))
    panel = figure.subplots()
    drawn: list[Estimate] = []
    for y, game in enumerate(games):
        values = np.array([run.normalised(run.score) for run in arm.runs[game].values()])
        found = student([values]).estimate
        drawn.append(found)
        label = arm_text(arm.name) if y == 0 else None
        panel.barh(y, found.value, 0.62, color=PALETTE[0], alpha=0.75, label=label)
        if found.low is not None:
            panel.plot(bound(found), [y, y], color=INK, linewidth=1)
    for index, agent in enumerate(agents):
        points = [(agent.normalised[g], y) for y, g in enumerate(games) if g in agent.normalised]
        if points:
            panel.plot(
                *zip(*points, strict=True),
                marker=MARKERS[index % len(MARKERS)],
                linewidth=0,
                color=PALETTE[1 + index % (len(PALETTE) - 1)],
                markeredgecolor=INK,
                markeredgewidth=0.6,
                markersize=5.5,
                label=f"{agent.title} ({agent.about.kind})",
            )
    low, high = panel.dataLim.intervalx
    panel.set_xlim(min(low, 0) - 0.05, max(high, 1) * 1.25)
    panel.axvline(1, color=GREY, linestyle="--", linewidth=1)
    panel.axvline(0, color=INK, linewidth=0.8)
    panel.set_xscale("symlog", linthresh=1, linscale=1.5)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.set_yticks(range(len(games)), games)
    panel.set_ylim(-0.6, len(games) - 0.4)
    panel.grid(axis="y", visible=False)
    panel.set_xlabel(f"{axis_text(scale)} (linear to 1, logarithmic above)")
    legend_above(figure, [panel])
    sizes = {len(arm.runs[game]) for game in games}
    lines = intervals_text(drawn, "Lines: 95 %, Student's t.")
    caption(figure, f"{each_has(sizes)}{lines} Scale: {scale.ends}.")
    return figure


def performance_profile(group: Group, scale: Scale) -> Figure:
    """Draws the share of runs above each normalised score."""
    figure = Figure(figsize=(6, 3.6))
    panel = figure.subplots()
    every = np.concatenate([x for arm in group.arms if arm.runs for x in arm_scores(arm, scale)])
    lowest, highest = float(min(0, every.min())), float(max(1.0, np.percentile(every, 98)))
    thresholds = np.linspace(lowest, highest, 201)
    bands = ""
    for index, arm in enumerate(group.arms):
        if not arm.runs:
            continue
        scores, style = arm_scores(arm, scale), look(index)
        panel.plot(
            thresholds,
            profile(scores, thresholds),
            color=style["color"],
            linestyle=DASHES[(index + index // len(PALETTE)) % len(DASHES)],
            label=arm_text(arm.name),
        )
        if any(np.ptp(values) > 0 for values in scores) and min(map(len, scores)) > 1:
            bands = " Bands: 95 % stratified bootstrap, pointwise."
            low, high = profile_band(scores, thresholds)
            panel.fill_between(thresholds, low, high, color=style["color"], alpha=0.15, linewidth=0)
    panel.axvline(1, color=GREY, linestyle="--", linewidth=1)
    panel.set_ylim(-0.02, 1.02)
    panel.set_xlabel(f"{axis_text(scale)} τ")
    panel.set_ylabel("share of runs with score > τ")
    legend_above(figure, [panel])
    caption(figure, f"{each_has(sizes_of(group))}{bands} Scale: {scale.ends}.")
    return figure


def profile_band(scores: Sequence[np.ndarray], thresholds: np.ndarray) -> np.ndarray:
    """[2, T] pointwise 95 % interval of a performance profile."""
    sizes = [len(values) for values in scores]
    drawn = np.zeros((PROFILE_RESAMPLES, len(thresholds)))
    counts = resample(generator(), sizes, PROFILE_RESAMPLES)
    for values, count in zip(scores, counts, strict=True):
        drawn += count.T @ (values[:, None] > thresholds) / len(values)
    result: np.ndarray = np.percentile(drawn / len(scores), TAILS, axis=0)
    return result


def differences(section: Section) -> Figure:
    """Draws the difference of every arm to the full agent."""
    names = [f"{arm_text(c.arm)} vs. {arm_text(c.against)}" for c in section.comparisons]
    found = [c.mean.estimate for c in section.comparisons]
    figure, _ = forest(names, found, f"difference in {axis_text(section.scale)}", 0)
    pairs = counted_range({c.pairs for c in section.comparisons}, "pair")
    bars = intervals_text(found, "Bars: 95 %, Student's t, uncorrected.")
    caption(figure, f"{pairs} per game.{bars}")
    return figure


def improvement(section: Section) -> Figure:
    """Draws the probability that a run of an arm beats one of the full agent."""
    likely = {
        f"{arm_text(c.arm)} > {arm_text(c.against)}": c.improvement
        for c in section.comparisons
        if c.improvement
    }
    found = list(likely.values())
    label = "P(a run of the first arm beats a run of the second)"
    figure, panel = forest(list(likely), found, label, 0.5)
    panel.set_xlim(-0.02, 1.02)
    pairs = counted_range({c.pairs for c in section.comparisons if c.improvement}, "pair")
    bars = intervals_text(found, "Bars: 95 % stratified bootstrap.")
    caption(figure, f"{pairs} per game.{bars}")
    return figure


def effects(section: Section) -> Figure:
    """Draws main effects of dropping, and interactions."""
    names = [" x ".join(map(arm_text, effect.factors)) for effect in section.effects]
    found = [effect.difference.estimate for effect in section.effects]
    figure, _ = forest(names, found, f"effect of dropping on {axis_text(section.scale)}", 0)
    blocks = counted_range({effect.blocks for effect in section.effects}, "seed")
    bars = intervals_text(found, "Bars: 95 %, Student's t, uncorrected.")
    caption(
        figure,
        f"{blocks} per game in every arm.{bars} Interactions: half the change that one drop "
        "makes to the effect of the other.",
    )
    return figure


def forest(
    names: Sequence[str], found: Sequence[Estimate], label: str, reference: float
) -> tuple[Figure, Axes]:
    """Draws intervals one below the other, and a line at the reference."""
    names = [folded(name, NAME_LETTERS) for name in names]
    lines = sum(name.count("\n") for name in names)
    room = max(len(line) for name in names for line in name.split("\n")) / CAPTION_LETTERS
    figure = Figure(figsize=(4.2 + room, 0.36 * len(names) + LINE_INCHES * lines + 1.4))
    panel = figure.subplots()
    rows = np.arange(len(names))[::-1]
    for index, (y, estimate) in enumerate(zip(rows, found, strict=True)):
        # the first colour belongs to the full agent
        draw_interval(panel, estimate, y, look(index + 1))
    panel.axvline(reference, color=GREY, linestyle="--", linewidth=1)
    panel.set_yticks(rows, names)
    panel.set_ylim(-0.6, len(names) - 0.4)
    panel.grid(axis="y", visible=False)
    panel.set_xlabel(label)
    return figure, panel


def sweep(section: Section, key: str) -> Figure:
    """Draws scores over the values of one setting, a line for each combination of the others."""
    lines = [curve for curve in section.curves if curve.key == key]
    values = list(dict.fromkeys(p.value for line in lines for p in line.points))
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    figure = Figure(figsize=(6, 3.6))
    panel = figure.subplots()
    for index, line in enumerate(lines):
        x = [p.value if numeric else values.index(p.value) for p in line.points]
        scores = [point.score for point in line.points]
        style = look(index)
        panel.plot(x, [e.value for e in scores], label=one_line(line.label), **style)
        draw_band(panel, x, scores, style)
    if numeric and min(values) > 0 and max(values) / min(values) > 20:
        panel.set_xscale("log")
    ticks = [one_line(str(value)) for value in values]
    panel.set_xticks(values if numeric else range(len(values)), ticks)
    if sum(len(tick) + 2 for tick in ticks) > 5 * CAPTION_LETTERS:  # without an offset they overlap
        panel.tick_params(axis="x", rotation=30)
        for label in panel.get_xticklabels():
            label.set_horizontalalignment("right")
    panel.minorticks_off()
    panel.set_xlabel(key)
    panel.set_ylabel(axis_text(section.scale))
    legend_above(figure, [panel])
    found = [point.score for line in lines for point in line.points]
    sizes = {estimate.runs for estimate in found}
    bands = STUDENT_BANDS + show_lines(panel)
    caption(figure, f"{each_has(sizes)}{intervals_text(found, bands)}")
    return figure


def heat_map(section: Section, grid: Grid) -> Figure:
    """Draws the scores over two settings as colours and numbers. The best has a frame."""
    scale = section.scale
    assert scale, "grids have a scale"
    shown = grid_table(grid, scale)
    rows, columns = (list(map(as_text, values)) for values in (grid.rows, grid.columns))
    found = [[grid.scores.get((row, column)) for column in columns] for row in rows]
    means = np.array([[np.nan if e is None else e.value for e in row] for row in found])
    texts = [[cell_text(cell).replace(" [", "\n[") for cell in row[1:]] for row in shown.rows]
    wide = max(len(line) for row in texts for text in row for line in text.split("\n"))
    widest = max(wide, *(len(column) for column in columns)) / CAPTION_LETTERS + 0.25
    names = [folded(value_text(value), NAME_LETTERS) for value in grid.rows]
    room = max(len(line) for name in names for line in name.split("\n")) / CAPTION_LETTERS
    width = max(4.5, 1.8 + room + widest * len(columns))
    figure = Figure(figsize=(width, 0.55 * len(rows) + 1.6))
    panel = figure.subplots()
    every = [estimate.value for one in section.grids for estimate in one.scores.values()]
    lowest, highest = min(every), max(every)  # equal scores have equal colours in all heat maps
    image = panel.imshow(means, cmap="cividis", aspect="auto", vmin=lowest, vmax=highest)
    middle = (lowest + highest) / 2
    for y, row in enumerate(texts):
        for x, text in enumerate(row):
            dark = not means[y, x] > middle
            colour = INK if np.isnan(means[y, x]) else "white" if dark else "black"
            panel.text(x, y, text, ha="center", va="center", color=colour, fontsize=8)
    best_y, best_x = np.unravel_index(np.nanargmax(means), means.shape)
    corner = float(best_x) - 0.5, float(best_y) - 0.5
    panel.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=PALETTE[1], linewidth=2.5))
    panel.set_xticks(range(len(columns)), [one_line(value_text(value)) for value in grid.columns])
    panel.set_yticks(range(len(rows)), names)
    panel.set_xlabel(one_line(grid.across))
    panel.set_ylabel(one_line(grid.down))
    panel.set_title(one_line(grid.label))
    panel.grid(visible=False)
    figure.colorbar(image, ax=panel, label=axis_text(scale))
    estimates = list(grid.scores.values())
    brackets = intervals_text(estimates, "Brackets: 95 %, Student's t.")
    caption(
        figure,
        f"{each_has({estimate.runs for estimate in estimates})}{brackets} Frame: the highest "
        "score.",
    )
    return figure


def sizes_of(group: Group) -> set[int]:
    """All numbers of runs per game and arm."""
    return {len(seeds) for arm in group.arms for seeds in arm.runs.values()}


def each_has(runs: set[int]) -> str:
    """A sentence on the number of runs per game."""
    return f"{counted_range(runs, 'run')} per game."


def axis_text(scale: Scale | None) -> str:
    """The label of an axis of scores."""
    return "score" if scale is None or scale.kind == "raw" else f"{scale.name} score"


def file_name(text: str) -> str:
    """A text as part of a file name."""
    return re.sub(r"[^A-Za-z0-9.=_-]+", "-", text).strip("-.")[:80] or "section"
