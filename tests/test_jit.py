"""The folder of compiled kernels, and waiting while another process compiles."""

import fcntl
import importlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

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
    monkeypatch.setattr(jit, "COMPILING_SECONDS", 0.2)
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


# ------------------------------------------------------------------ files that cannot be used


SOURCE = "def answer(x):\n    return x + 41\n"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, int]]:
    """Compiles a source anew: (its answer to 1, how many signatures came from the cache)."""
    monkeypatch.setattr(config, "DISABLE_JIT", 0)
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))
    jit.remarks()

    def compile_and_call(source: str = SOURCE) -> tuple[int, int]:
        path = tmp_path / "answer.py"
        if not path.exists() or path.read_text() != source:
            path.write_text(source)
        found: dict[str, Any] = {}
        exec(compile(source, str(path), "exec"), found)
        function = jit.kernel(found["answer"])
        return function(1), sum(function.stats.cache_hits.values())

    return compile_and_call


def kept(kind: str) -> Path:
    """The one file of the cache that is an index (`nbi`) or code (`nbc`)."""
    folder = jit.cache_folder()
    assert folder is not None
    (found,) = folder.rglob(f"*.{kind}")
    return found


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "cut in its sums": lambda path: path.write_bytes(path.read_bytes()[:40]),
    "empty": lambda path: path.write_bytes(b""),
    "one bit": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"),
    "a folder": as_folder,
}


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_said_once_and_compiled_anew(
    kind: str, damage: str, compiled: Callable[..., tuple[int, int]]
) -> None:
    assert compiled() == (42, 0)
    assert compiled() == (42, 1)
    assert jit.remarks() == []
    path = kept(kind)
    assert jit.damaged_files() == []
    DAMAGES[damage](path)
    assert jit.damaged_files() == [path]
    assert compiled() == (42, 0)
    said = jit.remarks()
    assert said
    assert len(said) == 1 or damage == "a folder"  # which can be neither read nor written
    assert all(str(path.parent) in sentence for sentence in said)
    if damage != "a folder":  # which somebody has to take away
        assert compiled() == (42, 1)
        assert jit.remarks() == []


def test_code_of_another_source_is_not_unpickled(
    compiled: Callable[..., tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A type may have been renamed since, and then unpickling would fail."""
    assert compiled() == (42, 0)

    def refuse(content: bytes) -> object:
        raise AssertionError("unpickled")

    with monkeypatch.context() as patch:
        patch.setattr("pickle.loads", refuse)
        assert compiled(SOURCE.replace("41", "43")) == (44, 0)
        patch.setattr(jit.numba, "__version__", "0.0.1")
        assert compiled(SOURCE.replace("41", "43")) == (44, 0)
    assert jit.remarks() == []


@pytest.mark.parametrize(
    ("file", "old", "new", "answer"),
    [
        ("inner_kernels", "41", "42", 1043),
        ("constants", "1000", "2000", 2042),
        ("tuples", "one: int\n    other: int", "other: int\n    one: int", 1042),
    ],
)
def test_code_is_compiled_anew_when_a_file_that_it_uses_changes(
    file: str, old: str, new: str, answer: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Numba itself looks at the file of the outermost kernel alone."""
    monkeypatch.setattr(config, "DISABLE_JIT", 0)
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    head = "from ezcli.jit import kernel\n"
    sources = {
        "constants": "BASE = 1000\n",
        "tuples": "from typing import NamedTuple\n"
        "class Pair(NamedTuple):\n    one: int\n    other: int\n",
        "inner_kernels": f"{head}@kernel\ndef inner(x):\n    return x + 41\n",
        "outer_kernels": f"{head}from constants import BASE\nfrom inner_kernels import inner\n"
        "from tuples import Pair\n"
        "@kernel\ndef outer(pair: Pair | None):\n    return later(pair.one)\n"
        "@kernel\ndef later(x):\n    return BASE + inner(x)\n",  # after its use, as in ours
    }

    def call() -> tuple[int, int]:
        for name, source in sources.items():
            sys.modules.pop(name, None)
            path = tmp_path / f"{name}.py"
            if not path.exists() or path.read_text() != source:
                path.write_text(source)
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        importlib.invalidate_caches()
        outer = importlib.import_module("outer_kernels")
        found = outer.outer(outer.Pair(one=1, other=7))
        return found, sum(outer.outer.stats.cache_hits.values())

    assert call() == (1042, 0)
    assert call() == (1042, 1)
    sources[file] = sources[file].replace(old, new)
    assert call() == (answer, 0)


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_folder_that_others_could_write_to_is_emptied_and_closed(
    mode: int, compiled: Callable[..., tuple[int, int]]
) -> None:
    compiled()
    folder = jit.cache_folder()
    assert folder is not None
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(mode)
    (folder / "link").symlink_to("/")
    assert compiled() == (42, 0)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not (folder / "link").is_symlink()
    assert compiled() == (42, 1)


def test_a_folder_of_somebody_else_is_not_used(
    compiled: Callable[..., tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiled() == (42, 0)
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    real = Path.lstat
    monkeypatch.setattr(
        Path, "lstat", lambda path: os.stat_result((*real(path)[:4], 4712, *real(path)[5:]))
    )
    assert compiled() == (42, 0)
    (said,) = jit.remarks()
    assert "can write to the cache folder" in said
    assert str(jit.cache_folder()) in said


@pytest.mark.parametrize(("mode", "is_used"), [(0o755, True), (0o777, False), (0o1777, False)])
def test_a_folder_of_root_is_used_where_only_root_may_write(
    mode: int, is_used: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(mode)
    found = folder.lstat()
    as_root = os.stat_result((*found[:4], 0, *found[5:]))  # st_uid
    monkeypatch.setattr(Path, "lstat", lambda _path: as_root)
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    assert jit.is_made_private(folder) is is_used


def test_a_link_in_its_place_is_not_used(compiled: Callable[..., tuple[int, int]]) -> None:
    folder = jit.cache_folder()
    assert folder is not None
    folder.parent.mkdir()
    (folder.parent / "elsewhere").mkdir()
    folder.symlink_to("elsewhere")
    assert compiled() == (42, 0)
    assert len(jit.remarks()) == 1
    assert list(folder.iterdir()) == []


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
