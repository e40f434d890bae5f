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
from types import SimpleNamespace

import pytest

from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.runs import checkpoint, lock
from ezcli.runs.folder import RunFolder
from tests.failing import fails
from tests.waiting import wait_for


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Quick beats; patience enough for a thread that comes late."""
    monkeypatch.setattr(lock, "BEAT", 0.1)
    monkeypatch.setattr(lock, "GONE_AFTER", 60.0)


@pytest.fixture
def impatient(monkeypatch):
    """Where nobody lives who could come late."""
    monkeypatch.setattr(lock, "GONE_AFTER", 0.6)


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".lock"


@pytest.fixture
def named(path):
    """The file that names the holder."""
    return path.with_name(".lock-holder")


@pytest.fixture
def without_locks(monkeypatch):
    """A filesystem that knows none: only the holder's file tells."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


ELSEWHERE = {"host": "node3", "pid": 4711, "token": "x"}


@contextmanager
def living_elsewhere(named):
    """Another machine, whose kernel's locks are not seen here."""
    named.write_text(json.dumps(ELSEWHERE))
    done = threading.Event()

    def beat():
        while not done.wait(0.1):
            os.utime(named)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def taken(path):
    """Who has it; None if it can be had."""
    with lock.holding(path) as asked:
        return None if asked.us else asked.other


@pytest.mark.usefixtures("quick_refusal")
def test_one_at_a_time(path, named):
    with lock.holding(path) as asked:
        assert asked.us is not None
        assert not asked.is_lost
        assert lock.is_held(path)
        assert taken(path) == f" (process {os.getpid()} on {lock.socket.gethostname()})"
    assert not lock.is_held(path)
    assert not named.exists()
    assert taken(path) is None


def test_who_was_killed_here_holds_nothing(path, named):
    program = (
        "import os, sys; from pathlib import Path; from ezcli.runs import lock\n"
        "with lock.holding(Path(sys.argv[1])): os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == -9
    assert b"pid" in named.read_bytes()
    assert not lock.is_held(path)
    began = time.monotonic()
    assert taken(path) is None
    assert time.monotonic() - began < lock.GONE_AFTER


def test_who_lives_on_another_machine_holds_it(path, named):
    path.touch()
    with living_elsewhere(named):
        assert lock.is_held(path)
        assert taken(path) == " (process 4711 on node3)"
    assert json.loads(named.read_text()) == ELSEWHERE


@pytest.mark.usefixtures("impatient")
def test_who_died_on_another_machine_is_waited_for_and_followed(path, named, monkeypatch):
    said = []
    monkeypatch.setattr(lock, "say", said.append)
    monkeypatch.setattr(lock, "SETTLING", 0.0)
    named.write_text(json.dumps(ELSEWHERE))
    began = time.monotonic()
    with lock.holding(path) as asked:
        assert asked.us is not None
        assert time.monotonic() - began >= lock.GONE_AFTER
        (sentence,) = said
        assert sentence.endswith("for a sign of life (process 4711 on node3).")
        assert json.loads(named.read_text())["pid"] == os.getpid()


def test_whether_another_machine_holds_it_is_seen_from_the_files_time(path, named):
    path.touch()
    named.write_text(json.dumps(ELSEWHERE))
    assert lock.is_held(path)
    os.utime(named, (time.time() - 100, time.time() - 100))
    assert not lock.is_held(path)


def test_who_ends_while_it_is_watched_is_followed_at_once(path, named):
    named.write_text(json.dumps(ELSEWHERE))
    ending = threading.Timer(0.1, named.unlink)
    ending.start()
    began = time.monotonic()
    assert taken(path) is None
    assert time.monotonic() - began < lock.GONE_AFTER
    ending.join()


def test_the_files_time_moves_while_it_is_held(path, named):
    with lock.holding(path):
        before = named.stat().st_mtime_ns
        wait_for(lambda: named.stat().st_mtime_ns > before)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_filesystem_without_locks(path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock.holding(path) as asked:
        assert asked.us is not None
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


@pytest.mark.slow
@pytest.mark.usefixtures("without_locks")
@pytest.mark.parametrize("is_left_behind", [False, True])
def test_of_many_at_the_same_moment_one_has_it(path, named, is_left_behind, monkeypatch):
    """Each stands for a machine: nothing but the shared file tells them of each other."""
    if is_left_behind:  # by one that died, which all of them watch
        named.write_text(json.dumps(ELSEWHERE))
        let_all_write(monkeypatch)
    together, had, done = threading.Barrier(8), [], threading.Event()

    def start():
        together.wait()
        with lock.holding(path) as asked:
            if asked.us is not None:
                had.append(asked.us)
                done.wait()

    threads = [threading.Thread(target=start, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: had and sum(thread.is_alive() for thread in threads) <= 1)
        assert len(had) == 1
        assert sum(thread.is_alive() for thread in threads) == 1
    finally:
        done.set()
    for thread in threads:
        thread.join()
    assert not named.exists()


def let_all_write(monkeypatch):
    """All see the holder die before one has written, and wait until the last has, or gave up.

    For that they wait half a beat, which is seconds; here it is as long as it takes.
    """
    saw, mine, decided = threading.Barrier(8), threading.local(), []
    replace = os.replace

    def moves(*_):
        if not hasattr(mine, "saw_it_die"):
            mine.saw_it_die = True
            saw.wait()
            return False
        decided.append("somebody was quicker, and lives")
        return True

    def replacing(draft, path):
        replace(draft, path)
        decided.append("the last to write has it")

    waiting = SimpleNamespace(sleep=lambda _: wait_for(lambda: len(decided) >= 8))
    monkeypatch.setattr(lock, "moves", moves)
    monkeypatch.setattr(lock.os, "replace", replacing)
    monkeypatch.setattr(lock, "time", SimpleNamespace(**vars(time) | vars(waiting)))


def test_who_slept_too_long_has_lost_it(path, named, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 3600.0)
    with lock.holding(path) as asked:
        named.write_text(json.dumps(ELSEWHERE))  # another machine took it over
        assert asked.is_lost
        os.utime(named, (1, 1))
        monkeypatch.setattr(lock, "BEAT", 0.0)
        lock.beat(asked, threading.Event())  # it ends
        assert named.stat().st_mtime == 1  # we do not keep it alive for them
    assert json.loads(named.read_text()) == ELSEWHERE
    named.unlink()  # or took it over and ended
    with lock.holding(path) as asked:
        named.unlink()
        assert asked.is_lost


def test_a_lock_file_that_is_removed_meanwhile(path, monkeypatch):
    """By `ez runs rm`, between opening and locking: the lock on the old one keeps nobody out."""
    real, calls = lock.try_lock, []

    def try_lock(*arguments):
        if not calls:
            path.unlink()
        calls.append(path)
        return real(*arguments)

    monkeypatch.setattr(lock, "try_lock", try_lock)
    with lock.holding(path) as asked:
        assert asked.us is not None
        assert path.exists()
    assert len(calls) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"host": "a", "pid": Infinity, "token": "c"}',
        b"\xff",
    ],
)
def test_what_cannot_be_read_is_watched_like_a_stranger(path, named, content):
    """It may be in the middle of being written."""
    path.touch()
    named.write_bytes(content)
    began = time.monotonic()
    assert taken(path) is None
    assert time.monotonic() - began >= lock.GONE_AFTER


@pytest.mark.parametrize("does_live", [False, True])
def test_a_server_that_keeps_the_lock_of_a_machine(path, named, monkeypatch, does_live):
    """As NFS does for one that lost power, until it is up again."""
    path.touch()
    monkeypatch.setattr(lock, "try_lock", lambda *_: False)
    named.write_text(json.dumps(ELSEWHERE))
    if does_live:
        with living_elsewhere(named):
            assert lock.is_held(path)
            assert taken(path) == " (process 4711 on node3)"
    else:
        os.utime(named, (time.time() - 100, time.time() - 100))
        assert not lock.is_held(path)
        monkeypatch.setattr(lock, "GONE_AFTER", 0.6)
        assert taken(path) is None


def test_a_full_disk_leaves_no_name_behind(path, named, monkeypatch):
    def fail(_):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="full"):
            taken(path)
    assert not named.exists()
    assert taken(path) is None


def test_a_server_that_does_not_answer_for_once(path, monkeypatch):
    asked = []

    def fail(*_):
        asked.append("utime")
        raise OSError(errno.ESTALE, "stale")

    with lock.holding(path):
        monkeypatch.setattr(os, "utime", fail)
        wait_for(lambda: len(asked) > 1)
    assert taken(path) is None


def test_a_run_that_another_machine_trains_is_refused(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    with (
        living_elsewhere(folder.path / ".lock-holder"),
        fails("EZ-RUN-BUSY", "'run'", "process 4711 on node3"),
        folder.lock(),
    ):
        pass


def test_a_run_that_was_taken_over_is_written_no_more(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.lock():
        folder.create(resolve(read_toml(preset_path("smoke"))))
        folder.append("metrics.jsonl", {"loss": 1.0})
        (folder.path / ".lock-holder").write_text(json.dumps(ELSEWHERE))
        before = {path: path.read_bytes() for path in folder.path.iterdir() if path.is_file()}
        for write in (
            lambda: folder.append("metrics.jsonl", {"loss": 2.0}),
            lambda: folder.update_info(status="finished"),
            lambda: checkpoint.save(None, folder),
        ):
            with fails("EZ-RUN-TAKEN-OVER", "'run'"):
                write()
    assert {path: path.read_bytes() for path in before} == before


def test_a_fork_of_the_holder_neither_keeps_its_lock_nor_writes(tmp_path):
    reader, writer = os.pipe()
    stay, leave = os.pipe()
    with lock.holding(tmp_path / ".lock") as held:
        child = os.fork()
        if not child:
            os.close(leave)
            os.write(writer, b"1" if held.is_lost else b"0")
            os.read(stay, 1)  # until its parent has closed the other end
            os._exit(0)
        assert os.read(reader, 1) == b"1"
        assert not held.is_lost
    with (tmp_path / ".lock").open("ab") as handle:
        assert lock.try_lock(handle, fcntl.LOCK_EX)
    os.close(leave)
    os.waitpid(child, 0)
    for end in (reader, writer, stay):
        os.close(end)
