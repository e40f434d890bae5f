"""Where compiled kernels lie, and that one process compiles while others wait."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from numba import config

from ezcli import jit

WARM_UP = """
from ezcli.efficientzero import kernels
from ezcli.runs.compute import warm_up_search
warm_up_search()
stats = [k.stats for k in vars(kernels).values() if hasattr(k, "stats")]
print(sum(sum(s.cache_misses.values()) for s in stats))
"""


@pytest.fixture
def no_given_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", "")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("sys.platform", "linux")


def of_this_cpu(base: Path) -> bool:
    folder = jit.cache_folder()
    return folder is not None and folder.parent == base and folder.name != ""


@pytest.mark.usefixtures("no_given_folder")
def test_the_cache_lies_in_the_users_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert of_this_cpu(Path("/home/ada/.cache/ezcli"))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the specification says to ignore
    assert of_this_cpu(Path("/home/ada/.cache/ezcli"))
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch/ada")
    assert of_this_cpu(Path("/scratch/ada/ezcli"))
    monkeypatch.setattr(config, "CACHE_DIR", "/local")
    assert of_this_cpu(Path("/local"))


@pytest.mark.usefixtures("no_given_folder")
def test_on_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setenv("HOME", "/Users/ada")
    assert of_this_cpu(Path("/Users/ada/Library/Caches/ezcli"))


@pytest.mark.usefixtures("no_given_folder")
def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert jit.cache_folder() is None
    with jit.one_at_a_time():
        pass


def test_each_model_of_cpu_has_its_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    before = jit.cache_folder()
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_name", lambda: "znver9")
    other = jit.cache_folder()
    assert before is not None
    assert other is not None
    assert before.parent == other.parent
    assert before.name.rpartition("-")[2] == other.name.rpartition("-")[2]
    assert other.name.startswith("znver9-")


def test_without_a_folder_to_keep_them_in_kernels_compile_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def njit(cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function 'one': no locator available for file 'x'")
        return lambda function: (function, options)

    monkeypatch.setattr(jit, "njit", njit)
    assert jit.kernel(max) == (max, {"nogil": True})


def test_numbas_own_setting_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config, "DISABLE_JIT", 0)
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    compiled = jit.kernel(lambda: None)
    assert str(tmp_path) == config.CACHE_DIR
    assert Path(compiled.stats.cache_path).is_relative_to(jit.cache_folder() or "")


def test_one_waits_for_the_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    entered = threading.Event()

    def enter() -> None:
        with jit.one_at_a_time():
            entered.set()

    with jit.one_at_a_time():
        other = threading.Thread(target=enter)
        other.start()
        assert not entered.wait(0.3)
    assert entered.wait(100)
    other.join()


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(jit, "PATIENCE", 0.2)
    began = time.monotonic()
    with jit.one_at_a_time(), jit.one_at_a_time():
        assert 0.2 <= time.monotonic() - began < 100


def test_where_there_are_no_locks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(fcntl, "flock", refuse)
    with jit.one_at_a_time(), jit.one_at_a_time():
        pass


def test_an_error_within_is_not_swallowed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    with pytest.raises(OSError, match="mine"), jit.one_at_a_time():
        raise OSError("mine")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_of_16_that_start_at_once_one_compiles(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DISABLE_JIT": "0"}

    def start(_: int) -> int:
        command = [sys.executable, "-c", WARM_UP]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return int(done.stdout)

    with ThreadPoolExecutor(16) as threads:
        misses = sorted(threads.map(start, range(16)))
    assert misses[:15] == [0] * 15
    assert misses[15] > 0
