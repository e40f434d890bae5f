"""Files of earlier versions stay readable, and later ones are refused."""

import json
import tarfile
from pathlib import Path

import pytest

from ezcli import schema
from ezcli.config.files import preset_names, preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.config.text import to_toml
from ezcli.runs.folder import RunFolder
from tests.failing import fails
from tests.runs.helpers import tiny

ARCHIVE = Path(__file__).parent / "data" / "v0.1.0.tar.xz"  # a stopped run, and a study of two arms
STOPPED = "60ed950ff746"  # identity of the stopped run, as 0.1.0 computed it


def older(tables):
    """The tables as 0.1.0 could have had them."""
    compute = {k: v for k, v in tables["compute"].items() if k not in ("search", "deterministic")}
    return {k: v for k, v in tables.items() if k != "schema"} | {"compute": compute}


@pytest.mark.parametrize("name", preset_names())
def test_tables_of_every_schema_are_the_same_config(name):
    config = resolve(read_toml(preset_path(name)))
    tables = config.model_dump(mode="json")
    for number in range(schema.SCHEMA + 1):
        old = older(tables) if number == 0 else tables
        assert resolve({"schema": number, **old}) == config
    assert resolve(older(tables)) == config


def test_what_is_written_carries_the_number(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create(tiny())
    folder.update_info(status="new")
    assert (folder.path / "config.toml").read_text().startswith(f"schema = {schema.SCHEMA}\n")
    assert json.loads((folder.path / "run.json").read_text())["schema"] == schema.SCHEMA
    assert folder.read_info() == {"status": "new"}
    assert folder.config() == tiny()
    assert to_toml(tiny()) == (folder.path / "config.toml").read_text()


@pytest.mark.parametrize("kind", ["config", "run"])
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (schema.SCHEMA + 1, "EZ-SCHEMA-NEWER"),
        (99, "EZ-SCHEMA-NEWER"),
        *[(number, "EZ-SCHEMA-VALUE") for number in (-1, "1", 1.0, True)],
    ],
)
def test_a_number_that_is_none_of_ours_is_refused(kind, number, code):
    with fails(code, "schema", "'runs/x/config.toml'", str(schema.SCHEMA)):
        schema.current(kind, {"schema": number}, "'runs/x/config.toml'")


def test_steps_run_in_order_from_where_a_table_is(monkeypatch):
    monkeypatch.setattr(schema, "SCHEMA", 3)
    steps = {0: lambda t: t | {"seen": [0]}, 2: lambda t: t | {"seen": [*t.get("seen", ()), 2]}}
    monkeypatch.setitem(schema.STEPS, "config", steps)
    assert schema.current("config", {}, "x") == {"seen": [0, 2]}
    assert schema.current("config", {"schema": 1}, "x") == {"seen": [2]}
    assert schema.current("config", {"schema": 3, "a": 1}, "x") == {"a": 1}


def test_a_step_leaves_alone_what_is_new_already():
    new = {"compute": {"search": "cpu", "deterministic": True}}
    assert schema.current("config", new, "x") == new


# ------------------------------------------------------------------ a folder of 0.1.0


@pytest.fixture
def old_runs(ez, tmp_path):
    """The runs folder of 0.1.0, in the current folder."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "runs"


def test_its_identities_are_those_of_today(old_runs):
    stopped = RunFolder(old_runs / "stopped")
    assert stopped.read_info()["identity"] == stopped.config().identity == STOPPED
    names = json.loads((old_runs / "studies" / "pair" / "study.json").read_text())["cells"]
    for cell in names:
        folder = RunFolder(old_runs / cell["run"])
        assert folder.config().identity == cell["identity"]


def test_it_is_listed_reported_and_whole(ez, old_runs):
    code, out, _ = ez("runs", "--json")
    states = {run["name"]: run["state"] for run in json.loads(out)}
    assert code == 0
    assert sorted(states.values()) == ["finished"] * 4 + ["interrupted"]
    code, out, err = ez("study", "status", "pair")
    assert (code, "4 of 4 runs are finished" in out) == (0, True), err
    code, out, err = ez("report", "pair", "--format", "json")
    assert code == 0, err
    (section,) = json.loads(out)["sections"]
    assert len(section["runs"]) == 4
    for name in states:
        assert ez("doctor", name)[0] == 0, name


@pytest.mark.slow
def test_it_is_resumed_and_evaluated(ez, old_runs):
    code, _, err = ez("resume", "stopped", "--quiet")
    assert code == 0, err
    assert RunFolder(old_runs / "stopped").read_info()["status"] == "finished"
    code, out, err = ez("evaluate", "stopped", "--json")
    assert code == 0, err
    final, manual = RunFolder(old_runs / "stopped").read("evaluations.jsonl")[-2:]
    assert (final["kind"], manual["kind"]) == ("final", "manual")
    assert json.loads(out)["scores"] == manual["scores"] == final["scores"]


@pytest.mark.slow
def test_its_study_goes_on_with_more_seeds(ez, old_runs):
    code, out, err = ez("ablate", "--study", "pair", "--seeds", "3", "--jobs", "1")
    assert code == 0, err
    assert "New in the study: seeds 2." in out
    code, out, err = ez("report", "pair", "--format", "json")
    assert len(json.loads(out)["sections"][0]["runs"]) == 6, err
