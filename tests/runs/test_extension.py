"""A run that starts from a checkpoint of another one, and checkpoints that are kept."""

import json
import shutil
from pathlib import Path

import pytest

from ezcli.commands.extension import MAY_CHANGE, extension
from ezcli.config.names import all_keys
from ezcli.config.run import differences
from ezcli.experiments.handover import prepare
from ezcli.files import remove
from ezcli.runs import checkpoint
from ezcli.runs.cost import finished_runs
from ezcli.runs.folder import RunFolder
from ezcli.runs.train import train
from tests.failing import check, fails
from tests.runs.helpers import Watcher, contents, make_old, outcome, run, tiny

LONGER = "schedule.env_steps=88"  # 4 cycles more: 8 train_steps


def extended(path, runs_dir, *stops, at=None, source="source", settings=(LONGER,)):
    """The run at `path` that extends another, stopped after each number of events and resumed."""
    asked = extension(source, at, runs_dir, None, list(settings))
    folder = RunFolder(path)
    prepare(folder, asked.config, asked.origin)
    for stop in (*stops, None):
        train(folder.config(), folder, Watcher(stop))
    assert folder.read_info()["status"] == "finished"
    return folder


@pytest.fixture
def runs_dir(tmp_path, finished):
    shutil.copytree(finished.path, tmp_path / "runs" / "source")
    return tmp_path / "runs"


def test_a_run_goes_on_from_the_checkpoint_of_another(runs_dir):
    before = contents(runs_dir / "source")
    folder = extended(runs_dir / "more", runs_dir)
    assert contents(runs_dir / "source") == before
    config, source = folder.config(), RunFolder(runs_dir / "source")
    end = {"env_steps": 56, "train_steps": 14}
    assert config.start.model_dump() == {"agent": tiny().agent_identity, **end}
    assert folder.read_info()["started_from"] == {
        "run": "source",
        "path": str(runs_dir / "source"),
        "identity": tiny().identity,
        "checkpoint": "step-000000056-000000014",
        **end,
    }
    metrics, past = folder.read("metrics.jsonl"), source.read("metrics.jsonl")
    assert metrics[: len(past)] == past
    assert (metrics[-1]["env_steps"], metrics[-1]["train_steps"]) == (88, 22)
    kinds = [(line["kind"], line["train_steps"]) for line in folder.read("evaluations.jsonl")]
    assert kinds == [("interim", 6), ("interim", 12), ("interim", 18), ("final", 22)]
    assert checkpoint.checkpoint_paths(folder)[-1].name == "step-000000088-000000022"
    assert {file.name for file in source.frames.iterdir()} < {
        file.name for file in folder.frames.iterdir()
    }


@pytest.mark.slow
def test_an_extended_run_resumes_exactly(runs_dir, tmp_path):
    whole = outcome(extended(tmp_path / "whole", runs_dir))
    assert outcome(extended(tmp_path / "parts", runs_dir, 1, 2, 1)) == whole


@pytest.mark.slow
def test_a_run_can_start_where_another_was_and_end_as_that(tmp_path, finished):
    run(tmp_path / "source", tiny("catch", "record.keep_interval=2"))
    settings = ("record.keep_interval=0",)
    folder = extended(tmp_path / "again", tmp_path, at=40, settings=settings)
    assert folder.config().start.env_steps == 40
    assert outcome(folder) == outcome(finished)  # nothing but the start differs
    assert folder.config().identity != tiny().identity


@pytest.mark.slow
def test_extended_runs_can_be_extended_and_told_apart(runs_dir):
    extended(runs_dir / "more", runs_dir)
    settings = ("schedule.env_steps=120",)
    folder = extended(runs_dir / "most", runs_dir, source="more", settings=settings)
    direct = extension("source", None, runs_dir, None, settings).config
    assert set(differences(direct, folder.config())) == {
        "start.agent",
        "start.env_steps",
        "start.train_steps",
    }
    assert finished_runs(runs_dir, ["more", "most"]) == []  # they say nothing of whole runs
    assert len(finished_runs(runs_dir, ["source"])) == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_a_run_of_an_older_version_can_be_extended(runs_dir, number):
    make_old(RunFolder(runs_dir / "source"), number)
    assert extended(runs_dir / "more", runs_dir).read_info()["status"] == "finished"


def test_seeds_of_an_extended_agent_are_one_agent(runs_dir):
    one = extension("source", None, runs_dir, None, [LONGER]).config
    assert one.agent_identity == one.model_copy(update={"seed": 5}).agent_identity
    assert one.identity != one.model_copy(update={"seed": 5}).identity


def test_a_start_that_is_not_there_is_refused(runs_dir, tmp_path):
    asked = extension("source", None, runs_dir, None, [LONGER])
    folder = RunFolder(tmp_path / "elsewhere" / "more")
    prepare(folder, asked.config, asked.origin)
    moved = (runs_dir / "source").rename(tmp_path / "moved")
    with fails("EZ-RUN-START", "'more'", str(runs_dir / "source")):
        train(asked.config, folder, Watcher())
    shutil.copytree(moved, tmp_path / "elsewhere" / "source")  # beside the run
    remove(tmp_path / "elsewhere" / "source" / "frames")
    with fails("EZ-CHECKPOINT-INCOMPLETE"):
        train(asked.config, folder, Watcher())
    shutil.rmtree(tmp_path / "elsewhere" / "source")
    run(tmp_path / "elsewhere" / "source", tiny("catch", "loss.batch_size=5"))
    with fails("EZ-RUN-START", "'source'", "another checkpoint"):
        train(asked.config, folder, Watcher())
    other = RunFolder(tmp_path / "unsaid")
    prepare(other, asked.config, {})
    with fails("EZ-RUN-START", "run.json"):
        train(asked.config, other, Watcher())


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        (["--from", "source"], "EZ-RUN-START-LENGTH", ("14 of 14", "schedule.env_steps=112")),
        (["--from", "source", "--seed", "3"], "EZ-OPTION-CONFLICT", ("--seed", "--from")),
        (["--from", "source", "--preset", "catch"], "EZ-OPTION-CONFLICT", ("--preset", "--from")),
        (["--at", "5"], "EZ-OPTION-CONFLICT", ("--at", "--from")),
        (["--from", "nothing"], "EZ-UNKNOWN-RUN", ("'nothing'", "source")),
        (["--from", "source", "--at", "9"], "EZ-CHECKPOINT-NONE", ("env_step 9", "56")),
        (
            ["--from", "source", "--set", "network.channels=8"],
            "EZ-RUN-START-SETTING",
            ("network.channels", "schedule.env_steps"),
        ),
    ],
)
def test_what_does_not_fit_is_refused(ez, runs_dir, options, code, named, monkeypatch):
    monkeypatch.chdir(runs_dir.parent)
    before = contents(runs_dir)
    assert ez("train", *options)[0] in (1, 2)
    check(ez.error, code, *named)
    assert contents(runs_dir) == before


def test_settings_that_may_change_exist():
    keys = all_keys()
    assert [one for one in MAY_CHANGE if not any(f"{k}.".startswith(f"{one}.") for k in keys)] == []


def test_ez_train_from(ez, runs_dir, monkeypatch):
    monkeypatch.chdir(runs_dir.parent)
    command = ["train", "--from", "sour", "--set", LONGER, "--quiet"]
    assert ez(*command)[0] == 0
    (made,) = (path for path in Path("runs").iterdir() if path.name != "source")
    assert json.loads(ez("runs", "show", made.name, "--json")[1])["started_from"]["run"] == "source"
    assert "step-000000056-000000014 of" in ez("runs", "show", made.name)[1]
    before = contents(runs_dir)
    assert ez(*command)[0] == 0  # finished already
    assert contents(runs_dir) == before
    config = str(made / "config.toml")
    assert ez("train", "--preset", config)[0] == 2
    check(ez.error, "EZ-CONFIG-START", config, "--from")


def test_checkpoints_that_are_kept(tmp_path):
    def steps(*settings):
        name = "-".join(settings) or "none"
        config = tiny("catch", "record.checkpoint_minutes=0", *settings)
        folder = run(tmp_path / name, config)
        assert checkpoint.newest(folder)[1] == []
        return folder, [checkpoint.train_steps_of(p) for p in checkpoint.checkpoint_paths(folder)]

    assert steps()[1] == [12, 14]
    assert steps("record.keep_checkpoints=4")[1] == [8, 10, 12, 14]
    folder, found = steps("record.keep_interval=4")
    assert found == [4, 8, 12, 14]
    for path in checkpoint.checkpoint_paths(folder):
        checkpoint.verified(path, folder)
    with fails("EZ-CONFIG-COMBINATION", "record.keep_interval = 3"):
        tiny("catch", "record.keep_interval=3")


def test_kept_checkpoints_are_saved_when_they_are_due(tmp_path):
    folder = run(tmp_path / "run", tiny("catch", "record.keep_interval=6"))
    found = [checkpoint.train_steps_of(p) for p in checkpoint.checkpoint_paths(folder)]
    assert found == [6, 12, 14]
