"""Ray: the resources of a run, and copies of folders."""

import sys
from pathlib import Path

import pytest

from ezcli.errors import Busy
from ezcli.experiments.launchers.cluster import cluster_of
from ezcli.experiments.launchers.ray import transport
from ezcli.experiments.launchers.ray.driver import DriverActor
from ezcli.experiments.launchers.ray.launcher import connect
from ezcli.experiments.launchers.ray.settings import RaySettings
from ezcli.runs.folder import RunFolder
from tests.failing import fails


def test_workers_of_ray_do_not_search_the_current_folder(monkeypatch, tmp_path):
    ray_module = pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    began = []

    def init(**_):
        began.append(Path.cwd())
        raise ConnectionError

    monkeypatch.setattr(ray_module, "init", init)
    with fails("EZ-RAY-NO-CLUSTER", repr(RaySettings().address)):
        connect(RaySettings())
    assert began == [Path("/")]
    assert Path.cwd() == tmp_path


def test_a_share_of_a_core_and_of_a_kind_of_ones_own_may_be_any(tmp_path):
    (tmp_path / "mine.toml").write_text('launcher = "ray"\nray.resources.slot = 1.5')
    place = cluster_of(None, tmp_path / "mine.toml", None, {"cpus": "1.5", "gpus": "0.5"}).settings
    assert place.needs == {"CPU": 1.5, "GPU": 0.5, "slot": 1.5}
    assert place.threads == 1


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_run_that_comes_back_takes_the_place_of_what_was_there(
    tmp_path, monkeypatch, can_exchange, is_there
):
    if not can_exchange:
        monkeypatch.setattr(transport, "exchanged", lambda *_: False)
    folder, draft = tmp_path / "run", tmp_path / ".incoming-run"
    if is_there:
        folder.mkdir()
        (folder / "old").touch()
        (folder / "jobs").mkdir()
    (draft / "run").mkdir(parents=True)
    (draft / "run" / "new").touch()
    transport.replace(draft, folder)
    assert {path.name for path in folder.iterdir()} == {"new"} | ({"jobs"} if is_there else set())
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """The actor of a run that trains elsewhere, and what came back of it."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "there" / "run"
    (run / "frames").mkdir(parents=True)
    (run / "config.toml").touch()
    found = DriverActor(str(tmp_path))
    assert found.hold("run", "runs/run") is None
    return found, transport.pack(run)


@pytest.mark.usefixtures("quick_refusal")
def test_a_run_that_trains_away_is_held_here(driver):
    found, packed = driver
    folder = RunFolder(Path("runs/run"))
    assert folder.is_locked
    with pytest.raises(Busy), folder.lock():
        pass
    assert found.store(packed, "run", goes_on=True) is None
    assert folder.exists
    assert folder.is_locked
    found.forget("run")
    assert not folder.is_locked
    assert folder.exists


def test_a_lock_survives_a_folder_that_could_not_be_replaced(driver, monkeypatch):
    found, packed = driver
    monkeypatch.setattr(transport, "exchanged", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        found.store(packed, "run", goes_on=True)
    assert RunFolder(Path("runs/run")).is_locked


@pytest.mark.usefixtures("quick_refusal")
def test_somebody_who_took_the_run_in_between_is_named(driver, monkeypatch):
    found, packed = driver
    replace = transport.replace

    def replaced(draft, folder):
        replace(draft, folder)
        monkeypatch.setattr(found, "other", RunFolder(folder).lock(), raising=False)
        found.other.__enter__()

    monkeypatch.setattr(transport, "replace", replaced)
    said = found.store(packed, "run", goes_on=True)
    assert "Another process is working on the run 'run'" in said
    found.other.__exit__(None, None, None)


@pytest.mark.skipif(sys.platform != "linux", reason="folders are exchanged on Linux")
def test_two_folders_change_places_in_one_step(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / f"of {folder.name}").touch()
    assert transport.exchanged(one, other)
    assert (other / "of one").exists()
    assert not transport.exchanged(one, tmp_path / "nothing")
