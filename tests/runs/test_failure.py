"""A value that is not finite stops the run at its train_step, and leaves a record."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ezcli.efficientzero import targets
from ezcli.efficientzero.searcher import Searcher
from ezcli.runs import failure
from ezcli.runs.examine import examine
from ezcli.runs.folder import RunFolder
from ezcli.runs.train import train
from tests.failing import check, fails
from tests.runs.helpers import Watcher, outcome, run, tiny

TOO_FAST = (
    "optimiser.learning_rate=1e28",
    "schedule.acting_update_interval=200",  # no search meets the weights
    "schedule.target_update_interval=200",
)


def poisoned(monkeypatch, after, what=np.nan):
    """From the draw of that number on, the second value target of its second batch is `what`."""
    draws, make = [], targets.value_targets

    def value_targets(*arguments):
        draws.append(1)
        values = make(*arguments)
        if len(draws) > after:
            values[4, 1] = what
        return values

    monkeypatch.setattr(targets, "value_targets", value_targets)


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """The folder of a tiny run whose third draw is poisoned, and the error; not to be changed."""
    folder = RunFolder(tmp_path_factory.mktemp("failed") / "run")
    with pytest.MonkeyPatch.context() as patch:
        poisoned(patch, after=2)
        with fails("EZ-RUN-NOT-FINITE") as caught:
            train(tiny(), folder, Watcher())
    return folder, caught.value


@pytest.fixture
def copied(failed, tmp_path):
    """A copy of that folder."""
    return RunFolder(shutil.copytree(failed[0].path, tmp_path / "run"))


def test_the_error_names_the_step_the_losses_and_the_way_on(failed):
    folder, error = failed
    check(error, "EZ-RUN-NOT-FINITE", "train_step 5", "loss nan, value nan, gradient_")
    assert f"ez doctor {folder.path}" in error.hint
    info = folder.read_info()
    assert (info["status"], info["error"]) == ("failed", error.message)


def test_the_batch_the_weights_and_the_step_are_kept(failed):
    folder, _ = failed
    kept = folder.path / "failure"
    batch = load_file(kept / "batch.safetensors")
    where = (~batch["value"].isfinite()).nonzero().tolist()
    assert where == [[0, 1]]  # of the draw's second batch of four
    assert batch["observations"].isfinite().all()
    record = json.loads((kept / "failure.json").read_text())
    assert (record["train_step"], record["first_layer"]) == (5, None)
    assert record["gradients"]
    assert record["batch"]["value"]["not_finite"] == 1


@pytest.mark.slow
def test_the_run_ends_as_if_nothing_had_been_once_the_cause_is_gone(copied, undisturbed):
    run(copied.path, tiny())
    assert outcome(copied) == undisturbed
    assert not (copied.path / "failure").exists()
    assert copied.read_info()["error"] is None


def test_doctor_explains_it(failed):
    findings = {(f.name, f.ok): f for f in examine(failed[0])}
    said = [f.detail for f in examine(failed[0]) if f.name == "Numbers"]
    assert findings["Status", False].detail.startswith("failed: Not finite at train_step 5")
    assert said[0].startswith("At train_step 5, env_step 48, with learning rate 0.")
    assert "1 values of the batch's value are not finite." in said
    assert any(
        line.startswith("The outputs of all layers are finite, but these grad") for line in said
    )
    assert findings["Numbers", False].remedy.startswith(f"`ez resume {failed[0].path}` would")


@pytest.mark.slow
def test_a_rate_that_is_too_high_is_seen_in_the_weights(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with fails("EZ-RUN-NOT-FINITE", "train_step"):
        train(tiny("catch", *TOO_FAST), folder, Watcher())
    record = failure.read(folder)
    assert record["first_layer"]
    lines = failure.explain(record)
    assert any(line.startswith("The largest weight before that: ") for line in lines)
    assert f"The first layer whose output is not finite: {record['first_layer']}." in lines
    assert failure.remedy(record, folder).endswith("a lower optimiser.learning_rate.")


def test_rewards_that_are_too_large_are_named(failed):
    folder, _ = failed
    record = failure.read(folder)
    record["batch"]["value"]["max"] = 1e30
    assert "train on their sign" in failure.remedy(record, folder)


def test_targets_of_which_none_is_finite_are_explained_too(failed):
    record = failure.read(failed[0])
    record["batch"]["value"] = {"not_finite": 12, "min": None, "max": None}
    assert "12 values of the batch's value are not finite." in failure.explain(record)
    assert failure.remedy(record, failed[0])


def test_a_search_that_finds_no_numbers_stops_the_run(tmp_path, monkeypatch):
    take = Searcher.take

    def broken(searcher, network):
        take(searcher, network)
        with torch.no_grad():
            for prediction in searcher.network.prediction.of_role:
                prediction.policy[-1].bias.fill_(float("inf"))

    monkeypatch.setattr(Searcher, "take", broken)
    folder = RunFolder(tmp_path / "run")
    with fails("EZ-RUN-NOT-FINITE", "network") as caught:
        train(tiny(), folder, Watcher())
    assert re.search("[24] of [24] ", caught.value.message)
    assert failure.read(folder)["batch"] is None
    assert failure.explain(failure.read(folder))[0].startswith("At train_step ")


def test_a_second_failure_replaces_the_first(copied, monkeypatch):
    poisoned(monkeypatch, after=0, what=np.inf)
    with fails("EZ-RUN-NOT-FINITE", "train_step 1", "loss nan, value nan"):
        train(tiny(), copied, Watcher())
    assert not list(copied.path.glob(".tmp-*"))
    assert failure.read(copied)["batch"]["value"]["not_finite"] == 1
