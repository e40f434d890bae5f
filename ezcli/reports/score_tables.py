"""Tables of scores per game, of aggregates over games, and of runs without a score."""

from collections.abc import Sequence

import numpy as np

from ezcli.experiments.design import arm_label
from ezcli.reports.compare import Scale, arm_scores, generator
from ezcli.reports.groups import ArmScores, Group, Run, of_games, score_range
from ezcli.reports.published import Agent
from ezcli.reports.published_tables import mark_notes, marked
from ezcli.reports.statistics import estimates, student
from ezcli.reports.tables import (
    DIGITS,
    Cell,
    Interval,
    Intervals,
    Number,
    Table,
    interval,
    raw_digits,
    shown_arm,
)
from ezcli.words import counted, counted_range

AGGREGATE_TITLES = {
    "mean": "mean",
    "median": "median",
    "iqm": "IQM",
    "optimality_gap": "optimality gap",
}
ONE_OF_A_GAME = "A single run of a game has no interval."
STUDENT = Intervals("Student's t over runs")


def scores_table(group: Group, arm: ArmScores) -> Table:
    """Raw and normalised scores of each game, games without a score included."""
    rows = tuple((game, *score_cells(group, arm, game)) for game in group.games)
    title = f"{arm_label(arm.name)}: {of_games(arm.games, group.benchmark, len(group.games))}"
    return Table("scores", title, ("game", *score_columns(group)), rows, intervals=STUDENT)


def one_game_table(group: Group) -> Table:
    """Raw and normalised scores of every arm, if there is only one game."""
    (game,) = group.games
    rows = tuple((shown_arm(arm.name), *score_cells(group, arm, game)) for arm in group.arms)
    columns = ("arm", *score_columns(group))
    return Table("scores", f"{game}: scores", columns, rows, intervals=STUDENT)


def score_columns(group: Group) -> tuple[str, ...]:
    """The columns for the runs of one arm on one game."""
    known = group.normalisation if group.normalised_games else None
    return ("runs", "score", *((known.name,) if known else ()))


def score_cells(group: Group, arm: ArmScores, game: str) -> list[Cell]:
    """Number of runs, raw score and, if available, normalised score."""
    runs = [run for _, run in sorted(arm.runs.get(game, {}).items())]
    raw = raw_interval([run.score for run in runs], runs) if runs else None
    cells: list[Cell] = [str(len(runs)), raw]
    if group.normalised_games:
        known = bool(runs) and game in group.normalised_games
        normalised = [run.normalised(run.score) for run in runs] if known else []
        cells.append(interval(normalised, DIGITS) if known else None)
    return cells


def raw_interval(scores: Sequence[float], runs: Sequence[Run]) -> Interval:
    """The mean of raw scores of runs of one game; the interval ends where the game's scores do."""
    estimate = student([np.array(scores)], within=score_range(runs)).estimate
    return Interval(estimate, raw_digits([estimate]))


def aggregates_table(group: Group, scale: Scale, agents: list[Agent], resamples: int) -> Table:
    """Mean, median, IQM and optimality gap of each arm and of published agents, on equal games."""
    rows: list[tuple[Cell, ...]] = []
    sizes: set[int] = set()
    for arm in group.arms:
        if not arm.runs:
            rows.append((shown_arm(arm.name), *(None for _ in AGGREGATE_TITLES)))
            continue
        scores = arm_scores(arm, scale)
        found = estimates(scores, generator(), resamples=resamples)
        intervals = (Interval(found[name], DIGITS) for name in AGGREGATE_TITLES)
        sizes |= {len(values) for values in scores}
        rows.append((shown_arm(arm.name), *intervals))
    known = [agent for agent in agents if set(scale.games) <= set(agent.normalised)]
    for agent in known:
        values = [agent.normalised[game] for game in scale.games]
        means = (Number(float(f(values)), DIGITS) for f in (np.mean, np.median))
        rows.append((marked(agent), *means, None, None))
    notes = [
        f"Scale: {scale.ends}. IQM and optimality gap are over runs, not over game means"
        + ("; of published agents only game means are known." if known else ".")
    ]
    if known:
        notes += mark_notes(known)
    if known and known[0].benchmark.budgets:
        notes.append(f"The runs here were trained for {group.base.schedule.env_steps:,} frames.")
    absent = [game for game in scale.games if any(game not in a.normalised for a in agents)]
    if absent:
        notes.append(f"Not compared with published scores: there are none for {', '.join(absent)}.")
    return Table(
        "aggregates",
        f"{scale.name.capitalize()} over {of_games(scale.games, scale.benchmark)}, "
        f"{counted_range(sizes, 'run')} each",
        ("agent", *AGGREGATE_TITLES.values()),
        tuple(rows),
        tuple(notes),
        Intervals(f"stratified bootstrap over runs, {resamples:,} resamples", ONE_OF_A_GAME),
    )


def protocols_table(group: Group) -> Table | None:
    """Scores under other protocols beside final scores; None if there are none."""
    rows: list[tuple[Cell, ...]] = []
    for arm in group.arms:
        for game, runs in arm.runs.items():
            played = dict.fromkeys(text for run in runs.values() for text in run.otherwise)
            for text in played:
                both = [run for run in runs.values() if text in run.otherwise]
                score = raw_interval([run.otherwise[text] for run in both], both)
                own = raw_interval([run.final_score for run in both], both)
                change = interval([run.otherwise[text] - run.final_score for run in both])
                rows.append(
                    (
                        shown_arm(arm.name),
                        game,
                        text,
                        str(len(both)),
                        score,
                        own,
                        change._replace(signed=True),
                    )
                )
    if not rows:
        return None
    return Table(
        "protocols",
        "Evaluations under another protocol: raw score",
        ("arm", "game", "protocol", "runs", "score", "final score", "difference"),
        tuple(rows),
        ("The difference is paired by run. No other table contains these scores.",),
        STUDENT,
    )


def missing_table(group: Group) -> Table:
    """The cells of a study without a score: the seeds of each arm and game, by reason."""
    seeds: dict[tuple[str, str, str], list[str]] = {}
    for m in group.missing:
        seeds.setdefault((m.arm, m.game, m.why), []).append(str(m.seed))
    rows = tuple(
        (shown_arm(arm), game, ", ".join(own), why) for (arm, game, why), own in seeds.items()
    )
    return Table(
        "missing",
        f"Missing: {counted(len(group.missing), 'run')}",
        ("arm", "game", "seeds", "why"),
        rows,
        (f"Continue with: {group.go_on}",) if group.go_on else (),
    )
