"""Links, FIFOs and devices in place of files of a run or study: never followed, never blocking."""

import faulthandler
import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from ezcli import files
from ezcli.commands.studies import list_studies
from ezcli.errors import EzError
from ezcli.experiments import catalogue
from ezcli.experiments.study import StudyFolder, study_names
from ezcli.runs import lock
from ezcli.runs.examine import examine
from ezcli.runs.folder import RunFolder
from ezcli.runs.scoring import evaluate_run
from tests.failing import fails
from tests.runs.helpers import run, tiny

LIMIT = 120.0  # seconds after which a test that hangs is ended


@pytest.fixture(autouse=True)
def never_hangs():
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def socket_at(path):
    with socket.socket(socket.AF_UNIX) as made:
        folder = os.open(path.parent, os.O_RDONLY)
        made.bind(f"/proc/self/fd/{folder}/{path.name}")  # the path itself may be too long
        os.close(folder)


def loop(path):
    path.symlink_to(path.name)


def to_zero(path):
    path.symlink_to("/dev/zero")


def to_file(path):
    other = path.parent.parent / "mine"
    other.write_bytes(b"mine")
    path.symlink_to(other)


def huge(path):
    with path.open("wb") as handle:
        handle.truncate(files.TENSORS + 1)  # no bytes on the disk
    os.utime(path, (0, 0))


ODD = {
    "folder": Path.mkdir,
    "FIFO": os.mkfifo,
    "socket": socket_at,
    "loop": loop,
    "device": to_zero,
    "link": to_file,
    "huge": huge,
}
odd = pytest.mark.parametrize("make", ODD.values(), ids=ODD)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run, not to be changed."""
    return run(tmp_path_factory.mktemp("stopped") / "run", tiny()).path


@pytest.fixture
def copied(stopped, tmp_path):
    """A run to be harmed."""
    return RunFolder(shutil.copytree(stopped, tmp_path / "run"))


def put(make, path):
    files.remove(path)
    make(path)


def said_of(function, *arguments):
    """What an `EzError` or an error of the system says, or None; anything else is a failure."""
    try:
        function(*arguments)
    except (EzError, OSError) as error:
        return str(error)
    return None


# ------------------------------------------------------------------ opening


@odd
def test_only_a_plain_file_is_opened(make, tmp_path):
    path = tmp_path / "file"
    make(path)
    with pytest.raises(files.NotPlain) as caught:
        files.read(path, files.TABLE)
    assert caught.value.errno in files.DAMAGED
    assert str(caught.value.filename) == str(path)
    if make is not huge:
        with pytest.raises(files.NotPlain):
            files.appending(path)
        before = (tmp_path.parent / "mine").read_bytes() if make is to_file else None
        with pytest.raises(FileExistsError):
            files.created(path)
        assert before is None or (tmp_path.parent / "mine").read_bytes() == before


@pytest.mark.parametrize("make", [os.mkfifo, to_zero], ids=["FIFO", "device"])
def test_what_the_user_names_may_be_a_link_but_only_to_a_plain_file(make, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    assert files.read(tmp_path / "link", 1, follow=True) == b"x"
    make(tmp_path / "odd")
    with pytest.raises(files.NotPlain, match="not a plain file"):
        files.read(tmp_path / "odd", 1, follow=True)


def test_a_file_has_at_most_so_many_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"123")
    assert files.read(tmp_path / "file", 3) == b"123"
    with pytest.raises(files.NotPlain, match="larger than 2 bytes"):
        files.read(tmp_path / "file", 2)


# ------------------------------------------------------------------ drafts


def test_a_draft_is_new_and_its_name_cannot_be_foreseen(tmp_path, monkeypatch):
    mine, path = tmp_path / "mine", tmp_path / "report.html"
    mine.write_bytes(b"mine")
    (tmp_path / ".tmp-report.html").symlink_to(mine)
    names = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (names.append(a.name), replace(a, b)))
    for content in (b"one", b"two"):
        files.write_atomically(path, content)
        assert path.read_bytes() == content
    assert len(set(names)) == 2
    assert mine.read_bytes() == b"mine"
    assert {entry.name for entry in tmp_path.iterdir()} == {"mine", "report.html"}


def test_the_draft_of_a_killed_writer_is_removed_and_that_of_a_live_one_stays(tmp_path):
    path = tmp_path / "file"
    killed = files.draft_name(path)
    killed.write_bytes(b"half")
    other = files.draft_name(tmp_path / "another")
    other.write_bytes(b"half")
    with files.draft_of(path) as (live, handle):
        assert not killed.exists()
        files.write_atomically(path, b"quicker")
        assert live.exists()
        handle.write(b"last")
    assert path.read_bytes() == b"last"
    assert {entry.name for entry in tmp_path.iterdir()} == {"file", other.name}


def test_a_draft_that_fails_is_removed(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.draft_of(tmp_path / "file"):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), files.draft_folder_of(tmp_path / "folder"):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ locks


@odd
@pytest.mark.parametrize("file", [".lock", ".lock-holder"])
def test_whatever_is_in_the_place_of_a_lock_one_run_is_named_and_listings_go_on(file, make, copied):
    (copied.path / ".lock").touch()
    put(make, copied.path / file)
    (found,) = catalogue.scan(copied.path.parent)
    assert found.state == "finished"
    if make is not huge:  # nobody reads it
        code = "EZ-RUN-NOT-WRITABLE" if make is Path.mkdir else "EZ-RUN-LINK"
        with fails(code, f"/run/{file}'"), copied.lock():
            pass


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"x" * 5000])
def test_a_holder_cut_short_by_a_crash_is_not_waited_for(content, copied, monkeypatch):
    monkeypatch.setattr(lock, "SETTLING", 0.1)
    monkeypatch.setattr(lock, "GONE_AFTER", LIMIT * 10)
    (copied.path / ".lock-holder").write_bytes(content)
    with copied.lock():
        assert copied.is_locked
    assert not (copied.path / ".lock-holder").exists()


def test_asking_removes_what_a_killed_process_of_this_machine_left(copied):
    (copied.path / ".lock").touch()
    named = copied.path / ".lock-holder"
    holder = {"host": socket.gethostname(), "pid": 1, "token": "x"}
    named.write_text(json.dumps(holder))
    assert not copied.is_locked
    assert not named.exists()
    named.write_text(json.dumps(holder | {"host": "elsewhere"}))
    assert copied.is_locked  # its time is new, and its lock may not reach us
    assert named.exists()


# ------------------------------------------------------------------ runs and studies


@odd
@pytest.mark.parametrize(
    "file",
    ["config.toml", "run.json", "metrics.jsonl", "evaluations.jsonl", "frames", "checkpoints"],
)
def test_whatever_is_in_a_runs_files_is_said(file, make, copied):
    path = copied.path / file
    if file in ("frames", "checkpoints"):
        inside = sorted(path.iterdir())[-1]
        path = inside if file == "frames" else inside / "state.json"
    put(make, path)
    list(catalogue.scan(copied.path.parent))
    said_of(catalogue.progress, catalogue.entry(copied.path))
    said_of(examine, copied)
    said = said_of(lambda: evaluate_run(copied, copied.config()))
    if file not in ("frames", "checkpoints", "metrics.jsonl"):
        assert said


@odd
@pytest.mark.parametrize("file", ["study.json", "preset.toml"])
def test_whatever_is_in_a_studys_files_is_said_and_the_others_are_listed(
    file, make, tmp_path, capsys
):
    folder = StudyFolder(tmp_path, "bad")
    folder.path.mkdir(parents=True)
    record = {"name": "bad", "ezcli": "0", "preset": "p", "games": [], "seeds": [0], "arms": []}
    (folder.path / "study.json").write_text(json.dumps(record | {"cells": []}))
    shutil.copytree(folder.path, folder.path.with_name("good"))
    shutil.copytree(folder.path, folder.path.with_name(".hidden"))
    put(make, folder.path / file)
    assert study_names(tmp_path) == ["bad", "good"]
    assert said_of(folder.study)
    list_studies(tmp_path, as_json=True)
    shown = {row["study"]: row for row in json.loads(capsys.readouterr().out)}
    assert shown["good"]["runs"] == 0
    assert ("error" in shown["bad"]) == (file == "study.json")
