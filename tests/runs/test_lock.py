"""Locks, on this machine and between machines that share a filesystem."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from ezcli.errors import RunError
from ezcli.runs import lock
from ezcli.runs.folder import RunFolder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.1)
    monkeypatch.setattr(lock, "PATIENCE", 0.6)


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".lock"


@contextmanager
def living_elsewhere(path):
    """Another machine, whose kernel's locks are not seen here."""
    path.write_text(json.dumps({"host": "node3", "pid": 4711}))
    done = threading.Event()

    def beat():
        while not done.wait(0.1):
            os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def taken(path):
    with lock.holding(path) as other:
        return other


def test_one_at_a_time(path):
    with lock.holding(path) as other:
        assert other is None
        assert lock.is_held(path)
        assert taken(path) == f" (process {os.getpid()} on {lock.socket.gethostname()})"
    assert not lock.is_held(path)
    assert path.read_bytes() == b""
    assert taken(path) is None


def test_who_was_killed_here_holds_nothing(path):
    program = (
        "import os, sys; from pathlib import Path; from ezcli.runs import lock\n"
        "with lock.holding(Path(sys.argv[1])): os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == -9
    assert b"pid" in path.read_bytes()
    assert not lock.is_held(path)
    began = time.monotonic()
    assert taken(path) is None
    assert time.monotonic() - began < lock.PATIENCE


def test_who_lives_on_another_machine_holds_it(path):
    with living_elsewhere(path):
        assert lock.is_held(path)
        assert taken(path) == " (process 4711 on node3)"
    assert json.loads(path.read_text())["host"] == "node3"


def test_who_died_on_another_machine_is_waited_for_and_followed(path):
    path.write_text(json.dumps({"host": "node3", "pid": 4711}))
    began = time.monotonic()
    with lock.holding(path) as other:
        assert other is None
        assert time.monotonic() - began >= lock.PATIENCE
        assert json.loads(path.read_text())["pid"] == os.getpid()
    path.write_text(json.dumps({"host": "node3", "pid": 4711}))
    assert lock.is_held(path)
    os.utime(path, (time.time() - 1, time.time() - 1))
    assert not lock.is_held(path)


def test_the_files_time_moves_while_it_is_held(path):
    with lock.holding(path):
        before = path.stat().st_mtime_ns
        time.sleep(0.3)
        assert path.stat().st_mtime_ns > before


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_filesystem_without_locks(path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock.holding(path) as other:
        assert other is None
        assert lock.is_held(path)
        assert taken(path) is not None
    assert taken(path) is None
    assert not lock.is_held(path)


def test_another_error_of_the_kernel_is_not_taken_for_a_lock(path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="broken"):
        taken(path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"host": 1}', b'{"host": "a", "pid": "b"}', b"\xff"]
)
def test_what_cannot_be_read_names_nobody(path, content):
    path.write_bytes(content)
    assert not lock.is_held(path)
    assert taken(path) is None


def test_a_server_that_does_not_answer_for_once(path, monkeypatch):
    with lock.holding(path):
        monkeypatch.setattr(os, "utime", lambda *_: (_ for _ in ()).throw(OSError("stale")))
        time.sleep(0.3)
    assert taken(path) is None


def test_a_run_that_another_machine_trains_is_refused(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    with (
        living_elsewhere(folder.path / ".lock"),
        pytest.raises(RunError, match=r"working on the run 'run' \(process 4711 on node3\)"),
        folder.lock(),
    ):
        pass
