"""The command and environment of a run's process."""

import pytest

from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve, use_env
from ezcli.experiments.catalogue import state
from ezcli.experiments.handover import PROGRAM, Task, environment, prepare
from ezcli.experiments.study import plan
from ezcli.runs.folder import RunFolder
from tests.experiments.helpers import make_study
from tests.failing import fails
from tests.runs.helpers import contents, tiny


def test_a_folder_holds_exactly_its_run(tmp_path):
    base = resolve(use_env(read_toml(preset_path("smoke")), None, "pong"))
    temperatures = ["acting.temperatures=[1.0,0.5,0.125]"]
    study = make_study(["value-prefix", "augmentation"], vary=temperatures, base=base)
    for run in plan(study._replace(games=("pong", "breakout")), {}):
        folder = RunFolder(tmp_path / run.name)
        prepare(folder, run.config, {"preset": "smoke"})
        assert folder.config() == run.config
        assert (state(folder), folder.read_info()["preset"]) == ("new", "smoke")


def test_a_planned_run_whose_config_changed_is_damaged(tmp_path):
    folder = RunFolder(tmp_path / "run")
    prepare(folder, tiny(), {})
    path = folder.path / "config.toml"
    path.write_text(path.read_text().replace("seed = 0", "seed = 1"))
    assert state(folder) == "damaged"
    with fails("EZ-RUN-DAMAGED", str(path)):
        prepare(folder, tiny(), {})


def test_a_folder_that_is_there_stays_as_it_is(tmp_path):
    folder = RunFolder(tmp_path / "run")
    prepare(folder, tiny(), {"preset": "smoke"})
    before = contents(tmp_path)
    prepare(folder, tiny("catch", "compute.threads=3"), {"preset": "other"})
    assert contents(tmp_path) == before
    with fails("EZ-RUN-OTHER-CONFIG", "value.discount"):
        prepare(folder, tiny("catch", "value.discount=0.5"), {})
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("quick_refusal")
def test_a_folder_that_another_process_holds_is_left_to_it(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.lock(), fails("EZ-RUN-BUSY", "run"):
        prepare(RunFolder(folder.path), tiny(), {})
    assert not folder.exists


def test_a_process_is_given_its_folder_and_what_belongs_to_the_machine(tmp_path):
    task = Task("run", tmp_path / "run", tmp_path / "log", threads=2)
    folder = ["--trust", "resume", str(tmp_path / "run"), "--quiet", "--threads", "2"]
    assert list(task.command) == [*PROGRAM, *folder]
    assert list(task._replace(device="cuda:1").command) == [*PROGRAM, *folder, "--device", "cuda:1"]
    assert list(task._replace(options=("--tensorboard",)).command)[-1] == "--tensorboard"


def test_a_users_own_variables_go_before_those_of_a_task(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_JOB_TYPE", "mine")
    variables = (("WANDB_RUN_GROUP", "study"), ("WANDB_JOB_TYPE", "arm"))
    found = environment(Task("run", tmp_path, tmp_path / "log", 1, variables=variables))
    assert found["WANDB_RUN_GROUP"] == "study"
    assert found["WANDB_JOB_TYPE"] == "mine"
