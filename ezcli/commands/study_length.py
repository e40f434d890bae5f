"""Warns if the runs of a study are probably too short to learn."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ezcli.config.run import RunConfig
from ezcli.envs.settings import EnvSettings
from ezcli.envs.suite import Learnt, Reference
from ezcli.envs.suites import landmarks_of, normalisation_of, reference_of, suite_of
from ezcli.errors import EzError
from ezcli.experiments.study import PlannedRun
from ezcli.runs.evaluations import OWN, why_wrong
from ezcli.runs.folder import EVALUATIONS, RunFolder
from ezcli.words import counted, listed

MOST_NAMED = 6  # games in a sentence
ENOUGH = 0.75  # share of the known length from which there is no warning


class Scale(NamedTuple):
    """Two raw scores of a game, before and after learning, and their sources."""

    reference: Reference
    zero: str
    one: str

    @property
    def half(self) -> float:
        """The raw score halfway."""
        return (self.reference.zero + self.reference.one) / 2


class Trained(NamedTuple):
    """The progress of a finished run."""

    env_steps: int  # of its last evaluation
    reached: dict[int, float]  # scores by env_steps


def too_short(runs: Iterable[PlannedRun], runs_dir: Path, names: Iterable[str]) -> list[str]:
    """Sentences on games that take longer to learn than the study trains.

    The evidence is finished runs of the game, of any agent, or else measured or published scores.

    Args:
      runs: of the study.
      runs_dir: folder of all runs.
      names: of the runs there.
    """
    longest: dict[str, RunConfig] = {}
    for run in runs:
        label = run.config.env_label
        known = longest.setdefault(label, run.config)
        if run.config.schedule.env_steps > known.schedule.env_steps:
            longest[label] = run.config
    finished = list(finished_runs(runs_dir, names))
    games: dict[str, list[str]] = {}  # by the sentence about them
    for label, config in longest.items():
        trained = [far for env, far in finished if env == config.env]
        found = told_by_runs(config, trained)
        found = told_by_records(label, config) if found is None else found
        if found:
            games.setdefault(found, []).append(label)
    return [
        f"Too short? {listed(labels) if len(labels) <= MOST_NAMED else f'{len(labels)} games'}: "
        f"{found}, and this study trains for {longest[labels[0]].schedule.env_steps:,}."
        for found, labels in games.items()
    ]


def finished_runs(runs_dir: Path, names: Iterable[str]) -> Iterator[tuple[EnvSettings, Trained]]:
    """Configs and evaluations of finished runs; damaged runs are ignored."""
    for name in names:
        folder = RunFolder(runs_dir / name)
        try:
            if folder.require_sound() != "finished":
                continue
            env, lines = folder.config().env, folder.read(EVALUATIONS)
        except (EzError, OSError):
            continue
        own = [line for line in lines if line.get("kind") in OWN]
        if own and not any(map(why_wrong, own)):
            yield env, Trained(own[-1]["env_steps"], {x["env_steps"]: x["mean"] for x in own})


def told_by_runs(config: RunConfig, trained: list[Trained]) -> str | None:
    """The evidence from finished runs of a game; empty if the length is enough.

    None if there is no evidence.
    """
    scale = scale_of(config.env, trained)
    if scale is None or not trained:
        return None
    length = config.schedule.env_steps
    reached = [
        steps for run in trained for steps, score in run.reached.items() if score >= scale.half
    ]
    way = f"got halfway from {scale.zero} to {scale.one}"
    if reached:
        first = min(reached)
        if length >= ENOUGH * first:
            return ""
        return f"finished runs here {way} after {first:,} env_steps at the earliest"
    most = max(run.env_steps for run in trained)
    if most < length:
        return None
    runs = counted(len(trained), "finished run")
    return f"no run here {way} ({runs} of at most {most:,} env_steps)"


def told_by_records(label: str, config: RunConfig) -> str:
    """The evidence from measured or published scores of a game.

    Empty without any, or if the length is enough.
    """
    length = config.schedule.env_steps
    learnt = suite_of(config.env).learnt(config.env)
    if learnt is None:
        learnt = first_published(label, config.env)
    if learnt is None or length >= ENOUGH * learnt.env_steps:
        return ""
    return f"{learnt.what} after {learnt.env_steps:,} env_steps"


def first_published(label: str, env: EnvSettings) -> Learnt | None:
    """The first budget after which a published agent is halfway, in a suite with several budgets.

    One frame is one env_step.
    """
    benchmark, reference = suite_of(env).benchmark, reference_of(env)
    if benchmark is None or reference is None or not benchmark.budgets:
        return None
    from ezcli.reports.published import agents_of  # lazy: most studies need no published scores

    half = (reference.zero + reference.one) / 2
    agents = agents_of(benchmark)
    for budget in benchmark.budgets:
        scores = [agent.by_budget[budget].get(label) for agent in agents]
        if any(score and score.score >= half for score in scores):
            scale = benchmark.normalisation
            way = f"from {scale.zero} to {scale.one}"
            return Learnt(budget, f"the first published agent is halfway {way}")
    return None


def scale_of(env: EnvSettings, trained: list[Trained]) -> Scale | None:
    """The scores before and after learning the game; of an unknown game, those of the runs."""
    landmarks, reference, scale = landmarks_of(env), reference_of(env), normalisation_of(env)
    if len(landmarks) > 1:
        (zero, low), (one, high) = landmarks.items()
        return Scale(Reference(low, high), zero, f"the {one}")
    if reference and scale:
        return Scale(reference, scale.zero, scale.one)
    scores = [score for run in trained for score in run.reached.values()]
    if not scores or min(scores) == max(scores):
        return None
    return Scale(Reference(min(scores), max(scores)), "their lowest score", "their highest")
