"""Comparison of arms: paired differences, main effects of a factorial study, curves of sweeps."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from ezcli.config.tables import flat_items
from ezcli.envs.suite import Benchmark
from ezcli.errors import EzError
from ezcli.experiments.ablations import (
    PUBLISHED_FULL,
    PUBLISHED_SCALE,
    ablation_names,
    load_ablation,
)
from ezcli.experiments.design import FULL, arm_label
from ezcli.reports.groups import ArmScores, Group, Run, score_range
from ezcli.reports.statistics import (
    UNBOUNDED,
    Difference,
    Estimate,
    difference_of,
    estimates,
    holm,
    iqm,
    median,
    probability_of_improvement,
    student,
)

SIGNIFICANCE = 0.05
BOOTSTRAP_SEED = 0  # each interval uses a new generator with this seed, so tables are reproducible


class Scale(NamedTuple):
    """The scale on which a group's scores can be averaged over games."""

    kind: Literal["normalised", "raw"]
    games: tuple[str, ...]  # games that every arm with scores has
    benchmark: Benchmark | None = None  # benchmark of the suite

    @property
    def name(self) -> str:
        """Name of the scale, such as `human-normalised`."""
        if self.kind == "raw" or self.benchmark is None:
            return "raw"
        return self.benchmark.normalisation.name

    @property
    def ends(self) -> str:
        """The meaning of 0 and 1, such as `random play 0, human 1`; empty for raw scores."""
        if self.kind == "raw" or self.benchmark is None:
            return ""
        return f"{self.benchmark.normalisation.zero} 0, {self.benchmark.normalisation.one} 1"

    def of(self, run: Run) -> float:
        """A run's score on this scale."""
        return run.normalised(run.score) if self.kind == "normalised" else run.score


class Effect(NamedTuple):
    """The published effect of an ablation: dropped minus full, human-normalised, 26 games."""

    mean: float
    median: float


class Comparison(NamedTuple):
    """An arm minus another arm, with the same seeds."""

    arm: str
    against: str
    pairs: int  # per game; the smallest number if games differ
    games: tuple[str, ...]
    mean: Difference
    median: Estimate | None  # only with several games
    iqm: Estimate | None
    # probability that a run of the arm beats one of the other; with several pairs
    improvement: Estimate | None
    adjusted_p: float | None  # after Holm's correction over the arms of the study
    by_game: dict[str, Difference]  # raw scores
    published: Effect | None

    @property
    def verdict(self) -> str:
        """The conclusion in words."""
        return verdict(self.mean, self.adjusted_p, self.pairs)


class FactorEffect(NamedTuple):
    """A main effect or an interaction of a factorial study."""

    factors: tuple[str, ...]
    games: tuple[str, ...]  # games with a seed that has every arm
    difference: Difference
    adjusted_p: float | None
    blocks: int  # seeds with every arm, per game; the smallest number if games differ

    @property
    def verdict(self) -> str:
        """The conclusion in words. An interaction is positive or negative, not better or worse."""
        said = verdict(self.difference, self.adjusted_p, self.blocks)
        if len(self.factors) > 1:
            return {"better": "positive", "worse": "negative"}.get(said, said)
        return said


class CurvePoint(NamedTuple):
    """An arm of a sweep."""

    arm: str
    value: Any  # of the swept setting
    score: Estimate
    difference: Difference | None  # difference to the arm with the same value and without the drop


class Curve(NamedTuple):
    """Scores over the values of one setting, with all others equal."""

    key: str
    label: str  # dropped ablations and other changes; empty for the full agent
    points: tuple[CurvePoint, ...]


def verdict(difference: Difference, adjusted_p: float | None, pairs: int) -> str:
    """The conclusion: better, worse, or not distinguishable."""
    estimate = difference.estimate
    if adjusted_p is None:
        return "one pair: no interval" if pairs < 2 else "equal differences: no interval"
    if adjusted_p < SIGNIFICANCE:
        return "better" if estimate.value > 0 else "worse"
    corrected = " after Holm" if estimate.excludes_zero else ""
    return f"not distinguishable at n = {pairs}{corrected}"


def scale_of(group: Group) -> Scale | None:
    """The scale on which the group's arms can be compared over games, if there is one.

    Normalised if the benchmark has reference scores; otherwise raw, if there is only one game.
    """
    games = {run.game for run in group.runs}
    scored = [arm for arm in group.arms if arm.runs]
    common = {game for game in games if all(game in arm.runs for arm in scored)}
    known = common & group.normalised_games
    if known:
        return Scale("normalised", tuple(sorted(known)), group.benchmark)
    return Scale("raw", tuple(common)) if len(games) == 1 and common else None


def arm_scores(arm: ArmScores, scale: Scale) -> list[np.ndarray]:
    """Scores of an arm: an array for each game with an element for each seed."""
    return [
        np.array([scale.of(run) for _, run in sorted(arm.runs[game].items())])
        for game in scale.games
    ]


def arm_mean(arm: ArmScores, scale: Scale) -> Estimate:
    """The mean of an arm's scores over the games of the scale."""
    runs = [run for game in scale.games for run in arm.runs[game].values()]
    within = score_range(runs) if scale.kind == "raw" else UNBOUNDED
    return student(arm_scores(arm, scale), within=within).estimate


def compare(group: Group, scale: Scale, resamples: int) -> list[Comparison]:
    """Compares every arm with its baseline."""
    known = {arm.name: arm for arm in group.arms}
    found = []
    for arm in group.arms:
        against = known.get(baseline(group, arm))
        if against is None or arm.name == against.name:
            continue
        comparison = pairwise(arm, against, scale, resamples)
        if comparison is not None:
            found.append(comparison)
    adjusted = corrected([comparison.mean for comparison in found])
    return [c._replace(adjusted_p=p) for c, p in zip(found, adjusted, strict=True)]


def corrected(differences: Sequence[Difference]) -> list[float | None]:
    """Holm's adjusted p of each difference with a p.

    A difference of several equal pairs is counted with p = 1, because the number of tests must not
    depend on their results.
    """
    family = [i for i, found in enumerate(differences) if found.estimate.runs > 1]
    ps = [differences[i].p for i in family]
    adjusted = dict(zip(family, holm([1.0 if p is None else p for p in ps]), strict=True))
    return [None if d.p is None else adjusted[i] for i, d in enumerate(differences)]


def pairwise(arm: ArmScores, against: ArmScores, scale: Scale, resamples: int) -> Comparison | None:
    """One arm minus another; None if they share no seed of any game."""
    pairs = joined(arm, against, scale)
    if not pairs:
        return None
    tables = list(pairs.values())
    functions = {"median": difference_of(median), "iqm": difference_of(iqm)}
    several = len(pairs) > 1
    aggregates = estimates(tables, generator(), functions, resamples) if several else {}
    mean = paired(tables)
    return Comparison(
        arm=arm.name,
        against=against.name,
        pairs=mean.estimate.runs,
        games=tuple(pairs),
        mean=mean,
        median=aggregates.get("median"),
        iqm=aggregates.get("iqm"),
        improvement=probability_of_improvement(
            [table[:, 0] for table in tables],
            [table[:, 1] for table in tables],
            generator(),
            resamples,
        )
        if mean.estimate.runs > 1
        else None,
        adjusted_p=None,
        by_game={game: paired([table]) for game, table in joined(arm, against, raw(pairs)).items()},
        published=published_effect(arm) if scale.name == PUBLISHED_SCALE else None,
    )


def joined(arm: ArmScores, against: ArmScores, scale: Scale) -> dict[str, np.ndarray]:
    """Scores [seeds, 2] of two arms for each seed that both have, by game."""
    return {
        game: np.array(
            [(scale.of(arm.runs[game][seed]), scale.of(against.runs[game][seed])) for seed in seeds]
        )
        for game in scale.games
        if (seeds := sorted(arm.runs.get(game, {}).keys() & against.runs.get(game, {}).keys()))
    }


def paired(tables: Sequence[np.ndarray]) -> Difference:
    """The mean difference of two arms, from the [seeds, 2] scores of each game."""
    return student([table[:, 0] - table[:, 1] for table in tables], largest(tables))


def raw(games: Iterable[str]) -> Scale:
    """The scale of raw scores of these games."""
    return Scale("raw", tuple(games))


def largest(tables: Iterable[np.ndarray]) -> float:
    """The largest absolute value in several tables."""
    return max(float(np.abs(table).max()) for table in tables)


def baseline(group: Group, arm: ArmScores) -> str:
    """The arm without drops at the same values of swept settings, or else the full agent."""
    if arm.drops:
        swept = swept_settings(group)
        here = point(group, arm, swept)
        for other in group.arms:
            if not other.drops and point(group, other, swept) == here:
                return other.name
    return FULL


def published_effect(arm: ArmScores) -> Effect | None:
    """The published effect of an arm that makes the changes of one of our ablations."""
    if not arm.drops:
        return None
    for ablation in map(load_ablation, ablation_names()):
        if ablation.published and changes_of(arm.drops) == ablation.changes == arm.changes:
            return Effect(
                ablation.published.mean - PUBLISHED_FULL.mean,
                ablation.published.median - PUBLISHED_FULL.median,
            )
    return None


def changes_of(drops: Iterable[str]) -> dict[str, Any] | None:
    """The settings that these ablations change; None if one is not in the package."""
    try:
        return {key: value for name in drops for key, value in load_ablation(name).changes.items()}
    except (EzError, OSError):  # a user's file, or a name beyond the limit of file names
        return None


def factorial(group: Group, scale: Scale) -> list[FactorEffect]:
    """Main effects and interactions of a study with every subset of its drops; otherwise empty.

    The effect of a drop is the mean over arms that drop minus the mean over arms that keep. The
    interaction of two is half the difference between the effect of one when the other is dropped
    and when it is kept. Each seed of a game is a block with every arm.
    """
    arms = {arm.drops: arm for arm in group.arms}
    factors = sorted({name for drops in arms for name in drops})
    subsets = [s for n in range(len(factors) + 1) for s in itertools.combinations(factors, n)]
    if len(factors) < 2 or len(arms) < len(group.arms) or set(arms) != set(subsets):
        return []
    blocks: dict[str, np.ndarray] = {}  # [seeds, arms] per game
    for game in scale.games:
        tables = [arms[subset].runs.get(game, {}) for subset in subsets]
        seeds = sorted(set.intersection(*(set(table) for table in tables)))
        if seeds:
            blocks[game] = np.array([[scale.of(t[seed]) for t in tables] for seed in seeds])
    if not blocks:
        return []
    found = []
    for chosen in subsets[1:]:
        signs = [np.prod([1 if f in subset else -1 for f in chosen]) for subset in subsets]
        contrast = np.array(signs) / 2 ** (len(factors) - 1)
        size = largest(blocks.values())
        difference = student([table @ contrast for table in blocks.values()], size)
        runs = difference.estimate.runs
        found.append(FactorEffect(chosen, tuple(blocks), difference, None, runs))
    adjusted = corrected([effect.difference for effect in found])
    return [effect._replace(adjusted_p=p) for effect, p in zip(found, adjusted, strict=True)]


def curves(group: Group, scale: Scale) -> list[Curve]:
    """For each swept setting, the scores over its values, with all others equal."""
    swept = swept_settings(group)
    known = {arm.name: arm for arm in group.arms}
    found = []
    for key in swept:
        lines: dict[str, list[CurvePoint]] = {}
        for arm in group.arms:
            if not arm.runs:
                continue
            values = point(group, arm, swept)
            label = label_beside(arm, values, (key,))
            against = known.get(baseline(group, arm))
            difference = None
            if arm.drops and against and point(group, against, swept) == values:
                pair = pairwise(arm, against, scale, 1)
                difference = pair.mean if pair else None
            score = arm_mean(arm, scale)
            lines.setdefault(label, []).append(CurvePoint(arm.name, values[key], score, difference))
        for label, points in lines.items():
            if len(points) > 1:
                ordered = sorted(points, key=lambda point: in_order(point.value))
                found.append(Curve(key, label, tuple(ordered)))
    return found


def label_beside(arm: ArmScores, values: Mapping[str, Any], shown: Sequence[str]) -> str:
    """What an arm drops, and its values of swept settings that are not shown elsewhere."""
    others = [f"{key}={json.dumps(value)}" for key, value in values.items() if key not in shown]
    return ", ".join([arm_label("+".join(arm.drops) or FULL), *others])


def in_order(value: Any) -> tuple[int, float, str]:
    """A sort key: numbers by size, then everything else by its text."""
    if isinstance(value, int | float):
        return 0, value, ""
    return 1, 0.0, json.dumps(value)


def swept_settings(group: Group) -> list[str]:
    """The settings in which arms with the same drops differ."""
    found: set[str] = set()
    for one, other in itertools.combinations(group.arms, 2):
        if one.drops == other.drops:
            keys = one.changes.keys() | other.changes.keys()
            found |= {k for k in keys if one.changes.get(k) != other.changes.get(k)}
    return sorted(found)


def point(group: Group, arm: ArmScores, swept: Sequence[str]) -> dict[str, Any]:
    """The values of the swept settings in an arm."""
    full = dict(flat_items(group.base.model_dump(mode="json")))
    return {key: arm.changes.get(key, full.get(key)) for key in swept}


def generator() -> np.random.Generator:
    """A new generator with the same seed, for each interval."""
    return np.random.default_rng(BOOTSTRAP_SEED)
