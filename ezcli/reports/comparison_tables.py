"""Tables of comparisons: differences from the full agent, factorial effects, sweeps."""

from collections.abc import Sequence
from pathlib import Path

from ezcli.experiments.design import FULL, arm_label
from ezcli.reports.compare import Comparison, Curve, FactorEffect, Scale
from ezcli.reports.grids import Grid, Ranked, as_text, value_text
from ezcli.reports.groups import Group, Run, of_games
from ezcli.reports.statistics import SHARE, Estimate
from ezcli.reports.tables import (
    DIGITS,
    Cell,
    Interval,
    Intervals,
    Number,
    Probability,
    Shown,
    Table,
    raw_digits,
    shown_arm,
)
from ezcli.words import counted, ez_command, listed

ONE_PAIR_OF_A_GAME = "A single pair of a game gives no interval."
DO_NOT_OVERLAP = (
    "A number without brackets is the same in every resample, because the scores of the two arms "
    "do not overlap or are all equal. With few runs this is not certainty."
)


def differences_table(scale: Scale, comparisons: Sequence[Comparison]) -> Table:
    """The difference of each arm, with a conclusion."""
    digits = scale_digits(scale, [c.mean.estimate for c in comparisons])
    tested = sum(c.pairs > 1 for c in comparisons)
    p_note = ""
    if any(c.adjusted_p is not None for c in comparisons):
        p_note = (
            f" p: paired t-test after Holm's correction over {counted(tested, 'arm')}; better and "
            "worse: p below 0.05."
        )
    fewer = [
        f"{versus(c)}: only {', '.join(c.games)} have a seed in both arms."
        for c in comparisons
        if c.games != scale.games
    ]
    rows = tuple(
        (
            versus(c),
            str(c.pairs),
            Interval(c.mean.estimate, digits, signed=True),
            None if c.adjusted_p is None else Probability(c.adjusted_p),
            c.verdict,
        )
        for c in comparisons
    )
    return Table(
        "differences",
        f"{minus(comparisons)}: {scale_text(scale)}",
        ("arm", "pairs", "difference", "p", "verdict"),
        rows,
        (f"Paired by seed within each game.{p_note}", *fewer),
        Intervals("Student's t", "A single pair has no interval and no p."),
    )


def more_differences_table(scale: Scale, comparisons: Sequence[Comparison]) -> Table | None:
    """Probability of improvement, differences of other aggregates, published effects.

    None if there is none of these. A single pair has no probability.
    """
    likely = any(c.improvement for c in comparisons)
    several = any(c.iqm for c in comparisons)
    published = any(c.published for c in comparisons)
    shown = ["probability of improvement"] if likely else []
    shown += ["differences of median and IQM"] if several else []
    shown += ["published effects"] if published else []
    columns = ["arm", *(["P(better)"] if likely else [])]
    columns += ["median", "IQM"] if several else []
    columns += ["published mean", "published median"] if published else []
    rows = []
    for c in comparisons:
        row: list[Cell] = [versus(c)]
        if likely:
            row.append(Interval(c.improvement, DIGITS, within=SHARE) if c.improvement else None)
        if several:
            row += [Interval(e, DIGITS, signed=True) if e else None for e in (c.median, c.iqm)]
        if published:
            row += (
                [Number(x, DIGITS, signed=True) for x in c.published] if c.published else [None] * 2
            )
        rows.append(tuple(row))
    if len(columns) == 1:
        return None
    notes = []
    if likely:
        notes.append("P(better): probability that a run of the arm beats a run of the other arm.")
    if published:
        notes.append(
            "Published: human-normalised, 26 games of Atari 100k at the published setting "
            "(arXiv:2111.00210); comparable only with the same games and preset."
        )
    return Table(
        "improvement",
        f"{listed(shown).capitalize()}: {scale_text(scale)}",
        tuple(columns),
        tuple(rows),
        tuple(notes),
        Intervals("stratified bootstrap", ONE_PAIR_OF_A_GAME, DO_NOT_OVERLAP),
    )


def by_game_table(comparisons: Sequence[Comparison]) -> Table:
    """Differences of raw scores, game by game."""
    games = sorted({game for c in comparisons for game in c.by_game})
    rows = []
    for game in games:
        found = [c.by_game.get(game) for c in comparisons]
        digits = raw_digits([d.estimate for d in found if d])
        rows.append(
            (game, *(Interval(d.estimate, digits, signed=True) if d else None for d in found))
        )
    return Table(
        "differences_by_game",
        f"{minus(comparisons)}, game by game: raw score",
        ("game", *(versus(c) for c in comparisons)),
        tuple(rows),
        intervals=Intervals("Student's t, uncorrected", "A single pair has no interval."),
    )


def effects_table(scale: Scale, effects: Sequence[FactorEffect]) -> Table:
    """Main effects and interactions of a factorial study."""
    digits = scale_digits(scale, [e.difference.estimate for e in effects])
    scale = scale._replace(games=effects[0].games)
    p_note = ""
    if any(e.adjusted_p is not None for e in effects):
        p_note = (
            f" p: after Holm's correction over {len(effects)} effects; better, worse, positive "
            "and "
            "negative: p below 0.05."
        )
    rows = tuple(
        (
            Shown(" x ".join(map(arm_label, e.factors)), " x ".join(e.factors)),
            str(e.blocks),
            Interval(e.difference.estimate, digits, signed=True),
            None if e.adjusted_p is None else Probability(e.adjusted_p),
            e.verdict,
        )
        for e in effects
    )
    return Table(
        "factorial",
        f"Main effects of dropping, and interactions: {scale_text(scale)}",
        ("drop", "seeds", "effect", "p", "verdict"),
        rows,
        (
            "A main effect is the mean of arms that drop minus the mean of arms that keep. An "
            "interaction is half the change that one drop makes to the effect of the "
            f"other.{p_note}",
        ),
        Intervals("Student's t", "A single seed has no interval and no p."),
    )


def curve_table(curve: Curve, scale: Scale) -> Table:
    """Scores over the values of one setting."""
    has_difference = any(point.difference for point in curve.points)
    digits = scale_digits(scale, [point.score for point in curve.points])
    rows = []
    for point in curve.points:
        row: list[Cell] = [str(point.value), str(point.score.runs), Interval(point.score, digits)]
        if has_difference:
            found = point.difference
            row.append(Interval(found.estimate, digits, signed=True) if found else None)
        rows.append(tuple(row))
    columns = (curve.key, "runs", "score", *(("minus without drop",) if has_difference else ()))
    return Table(
        "curve",
        f"{curve.label} over {curve.key}: {scale_text(scale)}",
        columns,
        tuple(rows),
        intervals=Intervals("Student's t over runs, uncorrected"),
    )


def ranking_table(group: Group, ranked: Sequence[Ranked], scale: Scale) -> Table:
    """The arms of a sweep in order of their scores."""
    digits = scale_digits(scale, [one.score for one in ranked])
    rows = tuple(
        (
            shown_arm(one.arm),
            str(one.score.runs),
            Interval(one.score, digits),
            Interval(one.behind.estimate, digits, signed=True) if one.behind else None,
            None if one.adjusted_p is None else Probability(one.adjusted_p),
            one.verdict or "–",
        )
        for one in ranked
    )
    p_note = ""
    if any(one.adjusted_p is not None for one in ranked):
        count = len(ranked) * (len(ranked) - 1) // 2
        p_note = (
            f" p: paired t-test after Holm's correction over all {counted(count, 'pair')} of "
            "arms; "
            "worse: p below 0.05."
        )
    best = next(arm for arm in group.arms if arm.name == ranked[0].arm)
    first = min((run for runs in best.runs.values() for run in runs.values()), key=by_place)
    options: dict[str, str | Path | None] = {"from": first.path, "output": "mine.toml"}
    go_on = ez_command("config save", **options)
    return Table(
        "ranking",
        f"Ranking: {scale_text(scale)}",
        ("arm", "runs", "score", "minus the first", "p", "verdict"),
        rows,
        (
            f"Differences are paired by seed.{p_note}",
            "The first was selected by its score, which is therefore too high on average. Train "
            "it with other seeds before you report it.",
            f"Continue with its settings: {go_on}",
        ),
        Intervals("Student's t, uncorrected"),
    )


def by_place(run: Run) -> tuple[str, int]:
    """The order of runs by game and seed."""
    return run.game, run.config.seed


def grid_table(grid: Grid, scale: Scale) -> Table:
    """The scores over two settings: rows are values of one, columns values of the other."""
    digits = scale_digits(scale, list(grid.scores.values()))
    rows = []
    for value in grid.rows:
        found = [grid.scores.get((as_text(value), as_text(other))) for other in grid.columns]
        rows.append((value_text(value), *(Interval(e, digits) if e else None for e in found)))
    return Table(
        "grid",
        f"{grid.label}, {grid.down} (rows) by {grid.across} (columns): {scale_text(scale)}",
        (grid.down, *map(value_text, grid.columns)),
        tuple(rows),
        intervals=Intervals("Student's t over runs, uncorrected"),
    )


def minus(comparisons: Sequence[Comparison]) -> str:
    """Header of a difference."""
    if all(c.against == FULL for c in comparisons):
        return "Minus the full agent"
    return 'Minus the full agent, or minus the arm named after "vs."'


def versus(comparison: Comparison) -> Shown:
    """The arm, and the other one unless it is the full agent."""
    arm, against = comparison.arm, comparison.against
    if against == FULL:
        return shown_arm(arm)
    return Shown(f"{arm_label(arm)} vs. {arm_label(against)}", f"{arm} - {against}")


def scale_digits(scale: Scale, values: Sequence[Estimate]) -> int:
    """Digits after the decimal point."""
    return DIGITS if scale.kind == "normalised" else raw_digits(values)


def scale_text(scale: Scale) -> str:
    """Description of the scale."""
    if scale.kind == "normalised":
        return f"{scale.name}, mean over {of_games(scale.games, scale.benchmark)}"
    return f"raw score, {scale.games[0]}"
