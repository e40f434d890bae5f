"""Files of a run: torn lines, names, atomic writes, locks."""

import json
import os
import stat
from pathlib import Path

import pytest

from ezcli.files import write_atomically
from ezcli.runs import folder as module
from ezcli.runs import lock
from ezcli.runs.folder import RunFolder
from ezcli.runs.names import run_path
from tests.failing import fails
from tests.runs.helpers import contents, tiny

LINES = [{"train_steps": 1, "x": 0.1}, {"train_steps": 2, "x": None}, {"train_steps": 3, "x": "ü"}]
FILE = "metrics.jsonl"


@pytest.fixture
def folder(tmp_path):
    """A run with three lines of metrics."""
    made = RunFolder(tmp_path / "run")
    made.create(tiny())
    for line in LINES:
        made.append(FILE, line)
    return made


def tear(folder, size=4):
    """Cuts the file within its last line, as a crash does."""
    path = folder.path / FILE
    path.write_bytes(path.read_bytes()[:-size])


def test_lines_come_back_as_they_went(folder):
    assert folder.read(FILE) == LINES
    assert folder.read("nothing.jsonl") == []


@pytest.mark.parametrize("size", [1, 4, 20], ids=lambda size: f"{size} bytes")
def test_a_torn_last_line_is_ignored_then_overwritten(folder, size):
    tear(folder, size)
    assert folder.read(FILE) == LINES[:2]
    folder.append(FILE, {"train_steps": 4})
    assert folder.read(FILE) == [*LINES[:2], {"train_steps": 4}]
    assert (folder.path / FILE).read_bytes().count(b"\n") == 3


def test_a_line_torn_within_a_character_is_ignored(folder):
    with (folder.path / FILE).open("ab") as file:
        file.write('{"x": "ü'.encode()[:-1])
    assert folder.read(FILE) == LINES


def test_a_first_line_that_is_torn_is_overwritten(folder):
    (folder.path / FILE).write_bytes(b'{"a"')
    assert folder.read(FILE) == []
    folder.append(FILE, LINES[0])
    assert folder.read(FILE) == LINES[:1]


@pytest.mark.parametrize("damage", ['{"train_steps": 2, "x"', "", "[1", "nonsense"])
def test_a_damaged_line_before_the_last_is_refused(folder, damage):
    lines = [json.dumps(LINES[0]), damage, json.dumps(LINES[2])]
    (folder.path / FILE).write_text("\n".join(lines) + "\n")
    with fails("EZ-RUN-DAMAGED", "Line 2", f"{FILE}'"):
        folder.read(FILE)


def test_lines_that_are_kept_do_not_change(folder):
    before = (folder.path / FILE).read_bytes().splitlines(keepends=True)
    tear(folder)
    folder.keep_lines(FILE, 0, lambda line: line["train_steps"] != 1)
    assert (folder.path / FILE).read_bytes() == before[1]
    folder.keep_lines("nothing.jsonl", 0, lambda line: True)
    assert not (folder.path / "nothing.jsonl").exists()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/a", ".hidden", "a\nb", "a\\b", "a\0b", "a/", "../"]
)
def test_a_name_that_is_not_a_plain_folder_is_refused(name, tmp_path):
    with fails("EZ-RUN-NAME", repr(name)):
        run_path(tmp_path, name)


@pytest.mark.parametrize("name", ["pong", "pong-atari-cpu-seed0", "a b", "a..b", "1.0", "ü", "a:b"])
def test_a_plain_name_is_a_folder_among_the_runs(name, tmp_path):
    assert run_path(tmp_path, name) == tmp_path / name


def test_an_atomic_write_replaces_the_file(tmp_path):
    path = tmp_path / "file"
    for content in (b"old", b"new"):
        write_atomically(path, content)
        assert contents(tmp_path) == {"file": content}


def test_a_written_file_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "plain").touch()
    write_atomically(tmp_path / "file", b"")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "file")}
    assert len(modes) == 1


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(step, tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(OSError, match="No space"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    write_atomically(path, b"newer")
    assert contents(tmp_path) == {"file": b"newer"}  # and nothing of the failure stays


def test_a_config_comes_back(folder):
    assert folder.exists
    assert folder.config() == tiny()


def test_without_a_run_it_says_so(tmp_path):
    missing = RunFolder(tmp_path / "nothing")
    assert not missing.exists
    with fails("EZ-RUN-MISSING", str(missing.path)):
        missing.config()
    assert not missing.path.exists()


def test_a_folder_with_something_else_is_not_taken(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with fails("EZ-RUN-NOT-A-RUN", str(tmp_path), "--name"):
        RunFolder(tmp_path).create(tiny())
    assert contents(tmp_path) == {"thesis.tex": b"x"}


def test_the_difference_is_told(folder):
    folder.require_same(tiny("catch", "compute.threads=2"))
    differing = ["seed: 0 there, 5 now", "value.td_steps: 2 there, 3 now"]
    with fails("EZ-RUN-OTHER-CONFIG", *differing, "--name"):
        folder.require_same(tiny("catch", "seed=5", "value.td_steps=3"))


def test_info_is_kept_up_to_date(folder):
    assert folder.read_info() == {}
    folder.update_info(status="running", started=1)
    folder.update_info(status="finished")
    assert folder.read_info() == {"status": "finished", "started": 1}
    (folder.path / "run.json").write_text("{")
    with fails("EZ-RUN-DAMAGED", "run.json'"):
        folder.read_info()


@pytest.mark.usefixtures("quick_refusal")
def test_one_at_a_time(folder):
    with folder.lock():
        with fails("EZ-RUN-BUSY", repr(folder.name)), folder.lock():
            pass
        assert folder.read(FILE) == LINES  # reading needs no lock
    with folder.lock():
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with fails("EZ-RUN-NOT-WRITABLE", "run'"), RunFolder(tmp_path / "run").lock():
        pass


def test_a_file_in_the_place_of_the_runs(tmp_path):
    (tmp_path / "runs").touch()
    path = tmp_path / "runs" / "x"
    with fails("EZ-RUN-NOT-WRITABLE", str(path), "--runs-dir"), RunFolder(path).lock():
        pass


# ------------------------------------------------------------------ while a run is at work


def test_a_draft_that_is_renamed_just_now_leads_nowhere(folder, monkeypatch):
    iterdir, draft = Path.iterdir, folder.path / ".tmp-run.json"
    draft.touch()

    def renamed(path):
        listed = list(iterdir(path))
        if draft.exists():
            draft.rename(folder.path / "run.json")
        return iter(listed)

    monkeypatch.setattr(Path, "iterdir", renamed)
    with folder.lock():
        assert not draft.exists()


def test_a_folder_taken_away_just_now_is_no_damage(folder, monkeypatch):
    folder.update_info(status="running")
    read_table = module.read_table

    def taken(path):
        folder.path.rename(folder.path.with_name("aside"))
        return read_table(path)

    monkeypatch.setattr(module, "read_table", taken)
    assert folder.read_info() == {}


def test_a_folder_taken_away_just_now_was_not_taken_over(folder, monkeypatch):
    aside = folder.path.with_name("aside")
    with folder.lock(), monkeypatch.context() as patch:
        patch.setattr(lock.Lock, "is_lost", property(lambda _: bool(folder.path.rename(aside))))
        folder.require_lock()
    assert aside.exists()
