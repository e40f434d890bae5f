"""The tables of a report, from scores; how they look is the business of `formats` and `page`."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ezcli.envs.games import ATARI_100K, BENCHMARK_FRAMES
from ezcli.errors import ReportError, UnknownName
from ezcli.experiments.design import FULL, arm_label
from ezcli.reports.collect import ArmScores, Group, Run
from ezcli.reports.compare import (
    Comparison,
    Curve,
    FactorEffect,
    Scale,
    arm_scores,
    baseline,
    compare,
    curves,
    factorial,
    generator,
    scale_of,
)
from ezcli.reports.published import Agent
from ezcli.reports.statistics import (
    AGGREGATES,
    Estimate,
    estimates,
    median,
    once,
    student,
)
from ezcli.words import counted, duration

MARKS = {"published": "†", "re-run by others": "‡"}
METRICS = {"mean": "mean", "median": "median", "iqm": "IQM", "optimality_gap": "optimality gap"}
STUDENT = "Brackets: 95 %, Student's t over runs; none from a single run."
PACKAGES = {"torch": "PyTorch", "numba": "Numba", "numpy": "NumPy", "ale-py": "ale-py"}  # in a note
DIGITS = 3  # of human-normalised scores and probabilities


EQUAL_RUNS = (
    "A number of several runs without brackets: it does not vary between them, and from a few runs "
    "without a spread follow neither an interval nor a p."
)


class Number(NamedTuple):
    """A number without an interval."""

    value: float
    digits: int
    signed: bool = False


class Interval(NamedTuple):
    """A number with its 95 % interval, or without one where runs tell of no spread."""

    estimate: Estimate
    digits: int
    signed: bool = False


class Probability(NamedTuple):
    """A p-value."""

    value: float


class Shown(str):
    """An arm or a comparison of two as readers see it; programs get its key instead."""

    key: str

    def __new__(cls, text: str, key: str) -> "Shown":
        """The text, with its key."""
        self = super().__new__(cls, text)
        self.key = key
        return self


Cell = str | Number | Interval | Probability | None  # None: missing


class Table(NamedTuple):
    """A table in no format yet."""

    key: str  # for programs
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


class Section(NamedTuple):
    """All about one group of runs, or about published scores alone."""

    title: str
    group: Group | None
    scale: Scale | None
    tables: tuple[Table, ...]
    comparisons: tuple[Comparison, ...]
    effects: tuple[FactorEffect, ...]
    curves: tuple[Curve, ...]
    notes: tuple[str, ...]

    def table(self, key: str) -> Table | None:
        """The first table of a kind, if there is one."""
        return next((table for table in self.tables if table.key == key), None)


class Report(NamedTuple):
    """Everything, in the order in which it is read."""

    sections: tuple[Section, ...]
    agents: tuple[Agent, ...]  # published, beside the measured ones
    notes: tuple[str, ...]  # what was left out, and why


class Choice(NamedTuple):
    """What the user wants to see."""

    games: tuple[str, ...] = ()  # empty: all
    arms: tuple[str, ...] = ()
    resamples: int = 50_000


def build(
    groups: Iterable[Group], said: Iterable[str], agents: list[Agent], choice: Choice
) -> Report:
    """The report on groups of runs beside published agents; on the agents alone without groups.

    Raises:
      ReportError: what was chosen leaves nothing.
      UnknownName: a game or an arm is in no group.
    """
    groups, said = list(groups), list(said)
    chosen = [restrict(group, choice) for group in groups]
    played = {game for group in groups for game in group.games}
    require_known("game", choice.games, played | set(ATARI_100K))
    require_known("arm", choice.arms, [arm.name for group in groups for arm in group.arms])
    chosen = [group for group in chosen if group.arms and group.games]
    unplayed = [f"No run has played {game}." for game in choice.games if game not in played]
    if groups:
        said += unplayed
    if not chosen and len(unplayed) == len(choice.games) > 0 and groups:
        raise ReportError(
            "EZ-REPORT-NOT-PLAYED", unplayed[0], f"There are: {', '.join(sorted(played))}."
        )
    if not chosen and (choice.arms or groups):
        raise ReportError(
            "EZ-REPORT-NOT-PLAYED", "No study or agent has both these games and these arms."
        )
    sections = [section(group, agents, choice) for group in chosen]
    if not chosen:
        sections = [published_section(agents, choice.games or ATARI_100K)]
    return Report(tuple(sections), tuple(agents), tuple(said))


def brief(group: Group, choice: Choice) -> Report:
    """The scores of a group's arms and how they differ, and nothing else.

    Raises:
      ReportError: what was chosen leaves nothing.
    """
    whole = build([group], (), [], choice)
    (found,) = whole.sections
    keys = ("aggregates" if found.table("aggregates") else "scores", "differences", "missing")
    tables = tuple(table for table in found.tables if table.key in keys)
    return whole._replace(sections=(found._replace(tables=tables, notes=()),))


def restrict(group: Group, choice: Choice) -> Group:
    """The group with the games and arms that were asked for, and what those are compared with."""
    wanted = {arm.name for arm in group.arms if not choice.arms or arm.name in choice.arms}
    wanted |= {baseline(group, arm) for arm in group.arms if arm.name in wanted} | {FULL}
    games = tuple(game for game in group.games if not choice.games or game in choice.games)
    arms = tuple(
        arm._replace(runs={game: seeds for game, seeds in arm.runs.items() if game in games})
        for arm in group.arms
        if arm.name in wanted
    )
    missing = tuple(m for m in group.missing if m.arm in wanted and m.game in games)
    return group._replace(games=games, arms=arms, missing=missing)


def require_known(what: str, wanted: Iterable[str], known: Iterable[str]) -> None:
    """Refuses a name that no group has."""
    for name in wanted:
        if name not in set(known):
            raise UnknownName(what, name, set(known))


def section(group: Group, agents: list[Agent], choice: Choice) -> Section:
    """Everything about one group."""
    scale = scale_of(group)
    comparisons = compare(group, scale, choice.resamples) if scale else []
    effects = factorial(group, scale) if scale else []
    swept = curves(group, scale) if scale else []
    tables: list[Table] = []
    if scale and scale.kind == "normalised" and (len(scale.games) > 1 or agents):
        tables.append(aggregates_table(group, scale, agents, choice.resamples))
    if scale and comparisons:
        tables.append(differences_table(scale, comparisons))
        tables.append(more_differences_table(scale, comparisons))
    if scale and effects:
        tables.append(effects_table(scale, effects))
    tables += [curve_table(curve, scale) for curve in swept if scale]
    if len(group.games) == 1 and len(group.arms) > 1:
        tables.append(one_game_table(group))
    else:
        tables += [scores_table(group, arm) for arm in group.arms if arm.runs]
    if comparisons and len(group.games) > 1:
        tables.append(by_game_table(comparisons))
    if agents and scale and scale.kind == "normalised":
        tables.append(beside_table(group, agents))
    if group.missing:
        tables.append(missing_table(group))
    if agents and scale and scale.kind == "normalised":
        tables.append(sources_table(agents))
    return Section(
        title=f"{'Study' if group.kind == 'study' else 'Agent'} {group.name}",
        group=group,
        scale=scale,
        tables=tuple(map(with_note_on_equal_runs, tables)),
        comparisons=tuple(comparisons),
        effects=tuple(effects),
        curves=tuple(swept),
        notes=tuple(provenance_notes(group)),
    )


def with_note_on_equal_runs(table: Table) -> Table:
    """The table; with a reason where several runs give a number without an interval."""
    cells = [cell for row in table.rows for cell in row]
    if any(isinstance(cell, Interval) and cell.estimate.does_not_vary for cell in cells):
        return table._replace(notes=(*table.notes, EQUAL_RUNS))
    return table


def scores_table(group: Group, arm: ArmScores) -> Table:
    """Raw and human-normalised scores of each game, games without a score included."""
    rows = tuple((game, *score_cells(group, arm, game)) for game in group.games)
    title = f"{arm_label(arm.name)}: {of_games(arm.games, group)}"
    return Table("scores", title, ("game", *score_columns(group)), rows, (STUDENT,))


def one_game_table(group: Group) -> Table:
    """The same of every arm, where there is one game."""
    (game,) = group.games
    rows = tuple((shown_arm(arm.name), *score_cells(group, arm, game)) for arm in group.arms)
    return Table("scores", f"{game}: scores", ("arm", *score_columns(group)), rows, (STUDENT,))


def score_columns(group: Group) -> tuple[str, ...]:
    """What is said of the runs of one arm on one game."""
    return ("runs", "score", *(("human-normalised",) if group.human_games else ()))


def score_cells(group: Group, arm: ArmScores, game: str) -> list[Cell]:
    """Number of runs, raw score and, where the group has any, human-normalised score."""
    runs = [run for _, run in sorted(arm.runs.get(game, {}).items())]
    raw = interval([run.score for run in runs]) if runs else None
    cells: list[Cell] = [str(len(runs)), raw]
    if group.human_games:
        known = bool(runs) and game in group.human_games
        normalised = [run.normalised(run.score) for run in runs] if known else []
        cells.append(interval(normalised, DIGITS) if known else None)
    return cells


def of_games(games: Sequence[str], group: Group | None = None) -> str:
    """Such as `7 of 26 games`: of the benchmark, or of what the group wanted."""
    is_atari = group is None or group.base.env.name == "atari"
    if games and is_atari and set(games) <= set(ATARI_100K):
        return f"{len(games)} of {len(ATARI_100K)} games"
    if group is None or len(games) == len(group.games):
        return counted(len(games), "game")
    return f"{len(games)} of {len(group.games)} games"


def aggregates_table(group: Group, scale: Scale, agents: list[Agent], resamples: int) -> Table:
    """Mean, median, IQM and optimality gap of each arm and of published agents, on equal games."""
    rows: list[tuple[Cell, ...]] = []
    sizes: set[int] = set()
    for arm in group.arms:
        if not arm.runs:
            rows.append((shown_arm(arm.name), *(None for _ in AGGREGATES)))
            continue
        scores = arm_scores(arm, scale)
        found = estimates(scores, generator(), resamples=resamples)
        intervals = (Interval(found[name], DIGITS) for name in AGGREGATES)
        sizes |= {len(values) for values in scores}
        rows.append((shown_arm(arm.name), *intervals))
    known = [agent for agent in agents if set(scale.games) <= set(agent.normalised)]
    for agent in known:
        values = [agent.normalised[game] for game in scale.games]
        means = (Number(float(f(values)), DIGITS) for f in (np.mean, np.median))
        rows.append((marked(agent), *means, None, None))
    notes = [
        "IQM and optimality gap are over runs, not over game means; of published agents only game "
        "means are known. Brackets: 95 % stratified bootstrap over runs, "
        f"{resamples:,} resamples."
    ]
    if known:
        notes += mark_notes(known)
    absent = [game for game in scale.games if any(game not in a.normalised for a in agents)]
    if absent:
        notes.append(f"Not beside published scores: there is none of {', '.join(absent)}.")
    return Table(
        "aggregates",
        f"Human-normalised over {of_games(scale.games)}, {to(sizes)} each",
        ("agent", *METRICS.values()),
        tuple(rows),
        tuple(notes),
    )


def to(sizes: set[int]) -> str:
    """Such as `1 run`, `5 runs` or `3 to 5 runs`."""
    least = f"{min(sizes)} to " if len(sizes) > 1 else ""
    return least + counted(max(sizes), "run")


def marked(agent: Agent) -> str:
    """A published agent's name with the sign that says that it was not measured here."""
    return f"{agent.about.title} {MARKS[agent.about.kind]}"


def mark_notes(agents: Iterable[Agent]) -> list[str]:
    """What the signs mean."""
    kinds = {agent.about.kind for agent in agents}
    return [f"{mark} {kind}; not measured here." for kind, mark in MARKS.items() if kind in kinds]


def beside_table(group: Group, agents: list[Agent]) -> Table:
    """The full agent's human-normalised score of each game beside published ones."""
    full = next((arm for arm in group.arms if arm.name == FULL), group.arms[0])
    rows = []
    for game in group.games:
        runs = list(full.runs.get(game, {}).values())
        ours: Cell = None
        if runs and game in group.human_games:
            ours = Number(float(np.mean([r.normalised(r.score) for r in runs])), DIGITS)
        theirs = [a.normalised.get(game) for a in agents]
        rows.append((game, ours, *(None if x is None else Number(x, DIGITS) for x in theirs)))
    return Table(
        "beside",
        f"Human-normalised score of {full.name} beside published ones",
        ("game", full.name, *map(marked, agents)),
        tuple(rows),
        tuple(mark_notes(agents)),
    )


def differences_table(scale: Scale, comparisons: Sequence[Comparison]) -> Table:
    """What each arm loses or gains, and what may be said of it."""
    digits = scale_digits(scale, [c.mean.estimate for c in comparisons])
    tested = sum(c.pairs > 1 for c in comparisons)
    p_note = "No p from a single pair."
    if tested:
        p_note = (
            f"p: the same test after Holm's correction over {counted(tested, 'arm')}; better and "
            "worse: p below 0.05."
        )
    fewer = [
        f"{versus(c)}: only {', '.join(c.games)} have a seed with both arms."
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
        (
            "Paired by seed within each game. Brackets: 95 %, Student's t, from two pairs on. "
            f"{p_note}",
            *fewer,
        ),
    )


def more_differences_table(scale: Scale, comparisons: Sequence[Comparison]) -> Table:
    """Probability of improvement, differences of other aggregates, published effects."""
    several = any(c.iqm for c in comparisons)
    published = any(c.published for c in comparisons)
    and_published = ", and published effects" if published else ""
    columns = ["arm", "P(better)"]
    columns += ["median", "IQM"] if several else []
    columns += ["published mean", "published median"] if published else []
    rows = []
    for c in comparisons:
        row: list[Cell] = [versus(c), Interval(c.improvement, DIGITS)]
        if several:
            row += [Interval(e, DIGITS, signed=True) if e else None for e in (c.median, c.iqm)]
        if published:
            row += (
                [Number(x, DIGITS, signed=True) for x in c.published] if c.published else [None] * 2
            )
        rows.append(tuple(row))
    notes = [
        "P(better): probability that a run of the arm beats one of the other. Brackets: 95 % "
        "stratified bootstrap."
    ]
    if published:
        notes.append(
            "Published: human-normalised, 26 games of Atari 100k at the published setting "
            "(arXiv:2111.00210); comparable only with the same games and preset."
        )
    return Table(
        "improvement",
        f"Probability of improvement{and_published}: {scale_text(scale)}",
        tuple(columns),
        tuple(rows),
        tuple(notes),
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
        ("Brackets: 95 %, Student's t, uncorrected.",),
    )


def effects_table(scale: Scale, effects: Sequence[FactorEffect]) -> Table:
    """Main effects and interactions of a factorial study."""
    digits = scale_digits(scale, [e.difference.estimate for e in effects])
    scale = scale._replace(games=effects[0].games)
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
            "A main effect is the mean of the arms that drop minus that of those that keep; an "
            "interaction is half of how much one drop changes the effect of the other. Brackets: "
            f"95 %, Student's t. p: after Holm's correction over {len(effects)} effects; better, "
            "worse, positive and negative: p below 0.05.",
        ),
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
        ("Brackets: 95 %, Student's t over runs, uncorrected.",),
    )


def missing_table(group: Group) -> Table:
    """The cells of a study without a score: the seeds of each arm and game, by reason."""
    seeds: dict[tuple[str, str, str], list[str]] = {}
    for m in group.missing:
        seeds.setdefault((m.arm, m.game, m.why), []).append(str(m.seed))
    rows = tuple(
        (shown_arm(arm), game, ", ".join(own), why) for (arm, game, why), own in seeds.items()
    )
    number = len(group.missing)
    return Table(
        "missing",
        f"Missing: {counted(number, 'run')}",
        ("arm", "game", "seeds", "why"),
        rows,
        (f"Go on with: {group.go_on}",) if group.go_on else (),
    )


def published_section(agents: list[Agent], games: Sequence[str]) -> Section:
    """The published comparison, when there is nothing of one's own to report."""
    rows: list[tuple[Cell, ...]] = []
    for agent in agents:
        known = [np.array([agent.normalised[g]]) for g in games if g in agent.normalised]
        if known:
            values = [float(f(known, once(known))[0]) for f in AGGREGATES.values()]
            rows.append((marked(agent), *(Number(value, DIGITS) for value in values)))
    if not rows:
        raise ReportError(
            "EZ-REPORT-NOT-PUBLISHED", "No published agent has a score of these games."
        )
    table = Table(
        "published",
        f"Published human-normalised scores over {of_games(games)} of Atari 100k",
        ("agent", "mean", "median", "IQM of game means", "gap of game means"),
        tuple(rows),
        (
            *mark_notes(agents),
            "IQM and optimality gap here are over game means, the only thing published of most. "
            "An IQM over runs is 0.04 to 0.12 lower.",
        ),
    )
    by_game = Table(
        "published_by_game",
        "Game by game, human-normalised",
        ("game", *map(marked, agents)),
        tuple(
            (
                game,
                *(
                    Number(a.normalised[game], DIGITS) if game in a.normalised else None
                    for a in agents
                ),
            )
            for game in games
        ),
    )
    tables = [table, *([by_game] if len(agents) <= 6 else []), sources_table(agents)]
    return Section("Published scores", None, None, tuple(tables), (), (), (), ())


def sources_table(agents: Sequence[Agent]) -> Table:
    """Where published scores come from."""
    return Table(
        "sources",
        "Sources of the published scores",
        ("agent", "runs", "source", "protocol"),
        tuple(
            (marked(a), str(a.about.runs or "?"), a.about.source, a.about.protocol) for a in agents
        ),
    )


def provenance_notes(group: Group) -> list[str]:
    """Protocol, code, machines and time behind a group's scores."""
    runs = group.runs
    if not runs:
        return ["No run has a score yet."]
    episodes = sorted({run.episodes for run in runs})
    caps = sorted({run.config.env.evaluation_max_episode_steps for run in runs})
    seeds = sorted({run.config.seed for run in runs})
    presets = [group.preset] if group.preset else sorted({run.preset for run in runs})
    notes = [
        f"{counted(len(runs), 'run')}; each score is the mean over {either(episodes)} episodes of "
        f"at most {either(caps)} env_steps, played with the last weights without exploration.",
        f"Preset {', '.join(presets)}; {'seed' if len(seeds) == 1 else 'seeds'} {listed(seeds)}.",
    ]
    if any(arm.drops for arm in group.arms):
        notes.append(
            "An arm with a drop is the agent without that part: see ez ablations show NAME."
        )
    changed = {
        arm.name: {key: value for key, value in arm.changes.items() if key.startswith("env.")}
        for arm in group.arms
        if arm.runs
    }
    if any(changed.values()):
        there = "; ".join(
            f"{name} ({', '.join(f'{key} = {json.dumps(value)}' for key, value in own.items())})"
            for name, own in changed.items()
            if own
        )
        notes.append(
            f"Each arm was scored in its own environment, and these change it: {there}. So a "
            "difference between arms can be one of what is played, not of the agent."
        )
    cut = sorted({run.game for run in runs if not run.is_whole})
    if cut:
        notes.append(
            f"{', '.join(cut)}: not human-normalised, since final games were cut off before the "
            f"{BENCHMARK_FRAMES:,} frames of the benchmark, or went on beyond them."
        )
    versions = sessions_by(runs, version_text)
    notes.append(f"Code: {counts_text(versions)}.")
    if len(versions) > 1:
        notes.append("The runs were trained by several versions of the code: see CHANGELOG.md.")
    devices = sessions_by(runs, device_text)
    trained = [f"{device} ({counted(number, 'run')})" for device, number in devices.most_common()]
    notes.append(f"Trained on: {', '.join(trained)}.")
    notes.append(f"With {counts_text(sessions_by(runs, package_text), '; or ')}.")
    libraries = sessions_by(runs, library_text)
    if set(libraries) - {""}:
        set_ = counts_text(libraries, "; ")
        notes.append(f"Variables that decide the bits of libraries: {set_}.")
    seconds = [run.seconds for run in runs if run.seconds is not None]
    if len(seconds) == len(runs):
        notes.append(
            f"Training took {duration(sum(seconds))} in all, "
            f"{duration(median_of(seconds))} a run (median)."
        )
    return notes


def listed(numbers: Sequence[int]) -> str:
    """Rising numbers, such as `0 to 4`, `0, 3, 7`."""
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def sessions_by(runs: Iterable[Run], text: Callable[[Mapping[str, Any]], str]) -> Counter[str]:
    """How many runs have a session that `text` says this of; a run may count for several."""
    texts = (dict.fromkeys(text(session) for session in run.sessions or ({},)) for run in runs)
    return Counter(itertools.chain.from_iterable(texts))


def counts_text(found: Counter[str], joint: str = ", ") -> str:
    """The texts, the most frequent first; with numbers of runs where one is not of all."""
    if len(found) == 1:
        return next(iter(found)) or "none"
    return joint.join(
        f"{text or 'none'} ({counted(number, 'run')})" for text, number in found.most_common()
    )


def device_text(session: Mapping[str, Any]) -> str:
    """Such as `AMD EPYC in float32`."""
    device = str(session.get("device_name", "unknown"))
    return f"{device} in {session['precision']}" if session.get("precision") else device


def library_text(session: Mapping[str, Any]) -> str:
    """Such as `ONEDNN_MAX_CPU_ISA=AVX2`; empty if no variable was set."""
    found = session.get("libraries")
    known = found if isinstance(found, dict) else {}
    return " ".join(f"{key}={value}" for key, value in known.items() if key != "cpu_capability")


def package_text(session: Mapping[str, Any]) -> str:
    """Such as `PyTorch 2.13.0, Numba 0.61.0, NumPy 2.4.6, ale-py 0.12.1`."""
    found = session.get("packages")
    known = found if isinstance(found, dict) else {}
    texts = [f"{name} {known[package]}" for package, name in PACKAGES.items() if known.get(package)]
    return ", ".join(texts) or "unknown packages"


def version_text(session: Mapping[str, Any]) -> str:
    """Such as `ezcli 0.1.0 (ee7f7df, changed)`."""
    git = session.get("git")
    commit = ""
    if isinstance(git, dict) and git.get("commit"):
        commit = f" ({str(git['commit'])[:7]}{', changed' if git.get('dirty') else ''})"
    return f"ezcli {session.get('ezcli', 'of unknown version')}{commit}"


def median_of(values: Sequence[float]) -> float:
    """The median."""
    single = [np.array([value]) for value in values]
    return float(median(single, once(single))[0])


def either(values: Sequence[int]) -> str:
    """Such as `32` or `32 or 100`."""
    return " or ".join(f"{value:,}" for value in values)


def minus(comparisons: Sequence[Comparison]) -> str:
    """What is subtracted."""
    if all(c.against == FULL for c in comparisons):
        return "Minus the full agent"
    return 'Minus the full agent, or the arm after "vs."'


def versus(comparison: Comparison) -> Shown:
    """The arm; the other too unless it is the full agent."""
    arm, against = comparison.arm, comparison.against
    if against == FULL:
        return shown_arm(arm)
    return Shown(f"{arm_label(arm)} vs. {arm_label(against)}", f"{arm} - {against}")


def shown_arm(name: str) -> Shown:
    """An arm in a table."""
    return Shown(arm_label(name), name)


def interval(values: Sequence[float], digits: int | None = None) -> Interval:
    """The mean of runs of one game, with Student's t interval."""
    estimate = student([np.array(values)]).estimate
    return Interval(estimate, raw_digits([estimate]) if digits is None else digits)


def scale_digits(scale: Scale, values: Sequence[Estimate]) -> int:
    """Digits after the point."""
    return DIGITS if scale.kind == "normalised" else raw_digits(values)


def raw_digits(values: Sequence[Estimate]) -> int:
    """Digits after the point that a raw score deserves: 2 below 10, 1 below 1,000."""
    largest = max(
        (abs(x) for e in values for x in (e.value, e.low, e.high) if x is not None), default=0
    )
    return 2 if largest < 10 else 1 if largest < 1000 else 0


def scale_text(scale: Scale) -> str:
    """What is averaged."""
    if scale.kind == "normalised":
        return f"human-normalised, mean over {of_games(scale.games)}"
    return f"raw score, {scale.games[0]}"
