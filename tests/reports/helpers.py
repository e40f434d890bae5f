"""Folders of finished runs with chosen scores, without training."""

import json
import math
from pathlib import Path

import numpy as np

from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve, use_env
from ezcli.envs.atari_suite import reference_scores
from ezcli.envs.minatar_suite import REFERENCES
from ezcli.experiments.design import arms_of
from ezcli.experiments.study import Study, StudyFolder, plan
from ezcli.reports.groups import ArmScores, Group, Missing, Point, Run
from ezcli.runs.folder import EVALUATIONS, RunFolder

SESSION = {
    "ezcli": "0.1.0",
    "git": {"commit": "0123456789abcdef", "dirty": False},
    "device_name": "a processor",
    "packages": {"torch": "2.6.0", "numba": None, "numpy": "2.0.0"},
    "seconds": 60.0,
}


def preset(name="atari100k", env=None, game=None):
    return resolve(use_env(read_toml(preset_path(name)), env, game))


def write_run(path, config, scores, status="finished", curve=(), preset_name="atari100k", **info):
    """A run folder; `scores` are those of the final evaluation's episodes, or one for all."""
    folder = RunFolder(path)
    folder.create(config)
    folder.update_info(
        **{
            "name": path.name,
            "preset": preset_name,
            "identity": config.identity,
            "status": status,
            "environment": contract_of(config),
            "sessions": [SESSION],
        }
        | info
    )
    lines = [evaluation(config, [score], env_steps, "interim") for env_steps, score in curve]
    if status == "finished":
        every = list(scores) * (config.evaluation.episodes if len(scores) == 1 else 1)
        lines.append(evaluation(config, every, config.schedule.env_steps, "final"))
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (path / EVALUATIONS).write_text(text)
    return path


def contract_of(config):
    """What an environment would say it is."""
    return {"name": config.env.name, "game": config.env_label, "frame_skip": 4}


def evaluation(config, scores, env_steps, kind):
    """A line of evaluations.jsonl."""
    return {
        "kind": kind,
        "env_steps": env_steps,
        "train_steps": env_steps,
        "mean": math.fsum(scores) / len(scores),
        "human_normalised": 0.5,  # not read
        "protocol": {
            "episodes": len(scores),
            "max_env_steps": config.env.evaluation_max_episode_steps,
            "seed": 0,
            "num_simulations": config.search.num_simulations,
        },
        "scores": [float(score) for score in scores],
        "game_env_steps": [100] * len(scores),
    }


def make_study(drops, vary, factorial, games, seeds, env, preset_name, name):
    """A study as `ez ablate` would make it."""
    base = preset(preset_name, env, games[0] if games and env in (None, "minatar") else None)
    arms, _ = arms_of(base, list(drops), list(vary), factorial)
    return Study(
        name,
        preset_name,
        base,
        tuple(arms),
        tuple(games) if env in (None, "minatar") else (),
        tuple(seeds),
    )


def write_study(
    runs_dir,
    score,
    drops=("value-prefix",),
    vary=(),
    factorial=False,
    games=("pong",),
    seeds=(0, 1, 2),
    env=None,
    preset_name="atari100k",
    name="mine",
    curve=lambda arm, game, seed: (),
    skip=lambda arm, game, seed: False,
):
    """A study whose runs have the human-normalised scores `score(arm, game, seed)`.

    Raw scores in games without a human score. Runs that `skip` names are not there.
    """
    study = make_study(drops, vary, factorial, games, seeds, env, preset_name, name)
    runs = plan(study, {})
    folder = StudyFolder(runs_dir, name)
    folder.save(study, runs)
    for run in runs:
        cell = run.cells[0]
        place = (cell.arm, cell.env, cell.seed)
        if skip(*place) or RunFolder(runs_dir / run.name).exists:  # one run may be in two studies
            continue
        write_run(
            runs_dir / run.name,
            run.config,
            [raw(cell.env, score(*place))],
            curve=[(steps, raw(cell.env, x)) for steps, x in curve(*place)],
            preset_name=preset_name,
        )
    return folder


def make_group(
    score,
    drops=("value-prefix",),
    vary=(),
    factorial=False,
    games=("pong",),
    seeds=(0, 1, 2),
    env=None,
    preset_name="atari100k",
    name="mine",
    skip=lambda arm, game, seed: False,
):
    """What `write_study` writes, as `of_study` reads it, without any file."""
    study = make_study(drops, vary, factorial, games, seeds, env, preset_name, name)
    arms = {arm.name: ArmScores(arm.name, arm.drops, arm.changes, {}) for arm in study.arms}
    missing = []
    cells = [(run, cell) for run in plan(study, {}) for cell in run.cells]
    for run, cell in cells:
        place = (cell.arm, cell.env, cell.seed)
        if skip(*place):
            missing.append(Missing(run.name, *place, "it has not started"))
            continue
        final = float(raw(cell.env, score(*place)))
        arms[cell.arm].runs.setdefault(cell.env, {})[cell.seed] = Run(
            run.name,
            Path("runs", run.name),
            run.config,
            final,
            run.config.evaluation.episodes,
            (Point(run.config.schedule.env_steps, final),),
            preset_name,
            contract_of(run.config),
            (SESSION,),
            SESSION["seconds"],
            distinct=1,
        )
    labels = tuple(sorted({cell.env for _, cell in cells}))
    go_on = StudyFolder(Path("runs"), name).go_on
    found, missed = tuple(arms.values()), tuple(missing)
    return Group(name, "study", study.base, found, labels, missed, go_on, study.preset)


def raw(game, normalised):
    """The raw score of a normalised one; itself where there are no reference scores."""
    reference = (reference_scores() | REFERENCES).get(game)
    if reference is None:
        return normalised
    return reference.zero + normalised * (reference.one - reference.zero)


def noisy(arm_effects, spread=0.1):
    """Scores of arms: 0.5, plus the arm's effect, plus noise that depends on the cell only."""

    def score(arm, game, seed):
        rng = np.random.default_rng([seed, *map(ord, f"{arm}/{game}")])
        return 0.5 + arm_effects.get(arm, 0) + spread * rng.normal()

    return score
