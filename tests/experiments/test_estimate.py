"""The estimated cost of a study: its evidence, and no estimate without evidence."""

import math
import os
import subprocess

import pytest

from ezcli.config.resolve import with_changes
from ezcli.experiments import estimate
from ezcli.experiments.estimate import measure, total
from ezcli.experiments.study import plan
from ezcli.runs.cost import Cost, Finished, finished_runs, folder_bytes, is_alike
from ezcli.runs.folder import RunFolder
from tests.experiments.helpers import make_study
from tests.failing import fails
from tests.runs.helpers import run, tiny


def runs(drops=("value-prefix",), seeds=(0,), vary=()):
    return plan(make_study(drops, seeds, vary), {})


def evidence(*overrides, hours=1.0, memory=100, disk=10):
    return Finished(tiny("catch", *overrides), Cost(hours, memory, disk))


def test_runs_of_the_same_settings_tell_whatever_their_seed():
    full = [r for r in runs(seeds=(0, 1, 2)) if r.arms == "full"]
    told = [evidence("seed=7"), evidence("seed=8", hours=3.0, memory=300)]
    cost = total(full, told, 1, "here")
    assert (cost.run_hours, cost.hours, cost.memory_bytes) == (6.0, 6.0, 300)
    assert (cost.disk_bytes, cost.num_scaled, cost.source) == (30, 0, "here")


def test_side_by_side_is_shorter_but_not_shorter_than_one_run():
    full = [r for r in runs(seeds=(0, 1, 2)) if r.arms == "full"]
    told = [evidence()]
    assert total(full, told, 2, "").hours == 1.5
    assert total(full, told, 2, "").memory_bytes == 200
    assert total(full, told, 9, "").hours == 1.0


def test_an_arm_that_was_not_measured_is_scaled_by_its_train_steps():
    varied = [r for r in runs((), vary=["schedule.final_train_steps=34"]) if r.arms != "full"]
    (arm,) = varied
    cost = total(varied, [evidence()], 1, "")
    full = tiny().schedule.train_steps
    assert cost.run_hours == pytest.approx(arm.config.schedule.train_steps / full)
    assert cost.num_scaled == 1


def test_the_nearest_run_stands_in():
    arm = [r for r in runs(["value-prefix+consistency"]) if r.arms != "full"]
    near = evidence("components.value_prefix=false", hours=2.0)
    assert total(arm, [evidence(), near], 1, "").run_hours == 2.0


def test_a_smaller_network_does_not_stand_in_for_one_that_is_alike():
    arm = [r for r in runs() if r.arms != "full"]
    small = evidence("components.value_prefix=false", "network.channels=2", hours=0.1)
    assert total(arm, [small, evidence()], 1, "").run_hours == 1.0
    assert is_alike(tiny(), tiny("catch", "seed=3", "components.consistency=false"))
    assert not is_alike(tiny(), tiny("catch", "network.channels=2"))
    assert not is_alike(tiny(), tiny("keydoor"))


def test_nothing_measured_nothing_claimed():
    cost = total(runs(), [], 2, "because")
    assert cost == (None, None, None, None, 0, "because")


def test_nothing_left_costs_nothing():
    assert total([], [], 2, "").run_hours == 0


@pytest.mark.slow
def test_finished_runs_are_evidence_and_no_others(tmp_path):
    folder = run(tmp_path / "done", tiny())
    (found,) = finished_runs(tmp_path, ["done"])
    session = folder.read_info()["sessions"][0]
    assert found.config == tiny()
    assert found.cost.hours == session["seconds"] / 3600 > 0
    assert found.cost.memory_bytes == session["peak_memory_bytes"] > 2**27
    assert found.cost.disk_bytes > 1000
    folder.update_info(sessions=[session, {k: session[k] for k in ("started",)}])
    assert finished_runs(tmp_path, ["done"]) == []  # one of the sessions was killed
    folder.update_info(sessions=[session], status="interrupted")
    assert finished_runs(tmp_path, ["done"]) == []
    (tmp_path / "done" / "run.json").write_text("{")
    assert finished_runs(tmp_path, ["done", "not-there"]) == []
    assert RunFolder(tmp_path / "not-there").exists is False


def test_what_a_run_removes_meanwhile_takes_no_room(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "here").write_bytes(bytes(300))
    (tmp_path / "loop").symlink_to("loop")
    links = folder_bytes(tmp_path) - 300
    assert links == len("loop")
    walk = os.walk
    monkeypatch.setattr(
        os, "walk", lambda path: ((at, below, [*names, "gone"]) for at, below, names in walk(path))
    )
    assert folder_bytes(tmp_path) == 300 + links


@pytest.mark.slow
def test_a_measurement_is_a_process_of_its_own(monkeypatch):
    monkeypatch.setattr(estimate, "MEASURING_SECONDS", 800)
    asked = tiny()
    found = measure(asked)
    assert found is not None
    assert found.config == asked
    assert 0 < found.cost.hours < math.inf
    assert found.cost.memory_bytes > 2**27
    assert found.cost.disk_bytes > 1000
    monkeypatch.setattr(estimate, "MEASURING_SECONDS", 0.01)
    assert measure(asked) is None


def test_a_measurement_that_was_killed_tells_nothing(monkeypatch):
    killed = subprocess.CompletedProcess([], returncode=-9)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: killed)
    assert measure(tiny()) is None


@pytest.mark.slow
def test_a_measurement_that_fails_says_why():
    nowhere = with_changes(tiny(), {"compute.device": "cuda:99"})
    with fails("EZ-COST-NOT-MEASURED", "cuda:99"):
        measure(nowhere)
