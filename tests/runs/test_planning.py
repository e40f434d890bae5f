"""Whole runs that plan for acting, for targets, for both or for neither."""

import itertools
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from ezcli.config.resolve import with_changes
from ezcli.experiments.ablations import combine, load_ablation
from ezcli.runs.evaluate import final_protocol
from ezcli.runs.folder import RunFolder
from ezcli.runs.scoring import evaluate_run
from tests.runs.helpers import interrupted, outcome, run, tiny

ONE_STEP = [f"planning.{purpose}=one-step" for purpose in ("acting", "targets", "evaluation")]
SETTINGS = (*ONE_STEP, "value.value_source=search")


def weights_of(folder):
    (file,) = sorted(folder.checkpoints.glob("*/weights.safetensors"))[-1:]
    return load_file(file)


@pytest.mark.slow
@pytest.mark.parametrize(("acting", "targets"), list(itertools.product([True, False], repeat=2)))
def test_each_quadrant_learns_what_its_planners_give(acting, targets, tmp_path):
    kept = {"planning-acting": acting, "planning-targets": targets}
    names = [name for name in kept if not kept[name]]
    config = tiny("catch", "reanalyse.ratio=0.5")
    config = with_changes(config, combine(load_ablation(name) for name in names))
    folder = run(tmp_path / "run", config)
    lines = folder.read("metrics.jsonl")
    depths = [line["search_depth"] for line in lines if line["search_depth"] is not None]
    entropies = [line["search_entropy"] for line in lines if line["search_depth"] is not None]
    assert depths
    assert all((entropy is not None) == acting for entropy in entropies)
    assert acting or set(depths) == {1.0}
    assert all((line["policy"] > 0) == targets for line in lines)
    assert all((line["target_entropy"] is not None) == targets for line in lines)
    assert all((line["reanalyse_asked"] > 0) == targets for line in lines)
    assert all(line["value"] > 0 and line["value_prefix"] > 0 for line in lines)
    last = weights_of(folder)
    heads = sorted(name for name in last if name.startswith("prediction.policy."))
    final = [last[name] for name in heads if last[name].shape[:1] == (3,)]  # weights and biases
    assert len(final) == 2
    assert all(array.any() == targets for array in final)  # without targets the prior stays uniform


@pytest.mark.slow
@pytest.mark.parametrize("settings", [SETTINGS, SETTINGS[:1], SETTINGS[1:2]])
def test_a_run_that_looks_one_step_ahead_is_resumed_bit_for_bit(settings, tmp_path):
    config = tiny("catch", *settings)
    whole = outcome(run(tmp_path / "whole", config))
    assert interrupted(tmp_path / "parts", config, 3, 7) == whole
    threads = tiny("catch", *settings, "compute.threads=2")
    assert outcome(run(tmp_path / "threads", threads)) == whole


def test_a_run_is_evaluated_without_its_search(finished, tmp_path):
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(finished.path, folder.path)
    config = folder.config()
    protocol = final_protocol(config, changes={"planning.evaluation": "one-step"})
    line = evaluate_run(folder, config, protocol, "no-search")
    assert evaluate_run(folder, config, protocol, "no-search") == line
    assert line["protocol"]["changes"] == {"planning.evaluation": "one-step"}
    random = {"planning.evaluation": "one-step", "one_step.evaluation_epsilon": 1.0}
    games = final_protocol(config, 64, changes=random)
    assert len(set(np.sign(evaluate_run(folder, config, games, "random")["scores"]))) == 2
