"""Each check of `ez doctor` can fail or give advice, with a remedy."""

import shutil
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import numba
import pytest

from ezcli import doctor, jit
from ezcli.envs import atari_suite
from ezcli.envs.atari_suite import ATARI_100K
from ezcli.envs.suites import SUITES
from ezcli.runs.cost import Cost
from tests.runs.helpers import tiny

GIB = 2**30


def test_every_check_names_itself_once(tmp_path: Path) -> None:
    found = list(doctor.checks("smoke", tmp_path))
    of_suites = sum(suite.check is not None for suite in SUITES.values())
    assert len({check.name for check in found}) == len(found) == 7 + of_suites
    assert all(check.detail for check in found)
    assert all(check.remedy for check in found if not check.ok)


def test_this_machine_can_train(tmp_path: Path) -> None:
    assert [check for check in doctor.checks("smoke", tmp_path) if not check.ok] == []


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    list(doctor.checks("smoke", tmp_path / "a" / "runs"))
    assert list(tmp_path.iterdir()) == []


def test_needs_are_compared_and_named(tmp_path: Path) -> None:
    huge = Cost(None, 2**60, 2**60)
    found = {check.name: check for check in doctor.checks("huge", tmp_path, huge)}
    for name in ("Memory", "Disk"):
        assert not found[name].ok
        assert "preset huge needs 1073741824.0 GiB" in found[name].detail
        assert found[name].remedy


def test_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 2))
    check = doctor.python()
    assert not check.ok
    assert "PYTHON=python3.11" in check.remedy


@pytest.mark.parametrize(
    ("module", "look"),
    [
        ("torch", doctor.torch_device),
        ("numba", doctor.numba_cache),
        ("ale_py.roms", atari_suite.roms),
    ],
)
def test_a_needed_package_is_missing(module, look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    check = look()
    assert not check.ok
    assert "cannot be imported" in check.detail
    assert "make clean setup" in check.remedy


def test_a_gpu_that_torch_cannot_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    check = doctor.torch_device()
    assert check.ok
    assert "CPU" in check.detail
    assert "CUDA build" in check.remedy


@pytest.mark.parametrize(
    ("has_kernels", "detail", "remedy"),
    [(True, "search trees on it", ""), (False, "search trees on the CPU", "ezcli[cuda]")],
)
def test_a_gpu_is_named(
    has_kernels: bool, detail: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = namedtuple("Gpu", "name total_memory")("Fast Card", 80 * GIB)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda index: gpu)
    monkeypatch.setattr(doctor, "has_cuda_kernels", lambda: has_kernels)
    check = doctor.torch_device()
    assert check.ok
    assert f"CUDA on Fast Card (80.0 GiB), {detail}" in check.detail
    assert remedy in check.remedy
    assert bool(check.remedy) != has_kernels


@pytest.mark.parametrize("available", [True, False])
def test_numba_says_whether_it_has_kernels(
    available: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("numba.cuda.is_available", lambda: available)
    assert doctor.has_cuda_kernels() is available


def test_numba_cannot_write_its_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_to_cache(**options: object) -> Any:
        if "cache" in options:
            raise RuntimeError("cannot cache function: no locator available")
        return numba.njit(**options)

    monkeypatch.setattr("numba.config.DISABLE_JIT", 0)
    monkeypatch.setattr("ezcli.jit.njit", refuse_to_cache)
    check = doctor.numba_cache()
    assert check.ok
    assert "NUMBA_CACHE_DIR" in check.remedy


def test_damaged_files_of_the_cache_are_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("numba.config.DISABLE_JIT", 0)
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    assert doctor.numba_cache().remedy == ""
    folder = jit.cache_folder()
    assert folder is not None
    (folder / "kernels.1.nbc").write_bytes(b"x" * 99)
    check = doctor.numba_cache()
    assert check.ok
    assert "1 damaged file in the cache" in check.detail
    assert check.remedy == "The next run rebuilds them."


def test_numba_itself_reports_an_unwritable_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError

    monkeypatch.setattr("numba.config.DISABLE_JIT", 0)
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert "no writable cache folder" in doctor.numba_cache().detail


def test_numba_without_its_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    check = doctor.numba_cache()
    assert check.ok
    assert "NUMBA_DISABLE_JIT" in check.remedy


def test_roms_absent_or_damaged(monkeypatch, tmp_path: Path, capsys) -> None:
    from ale_py import roms

    monkeypatch.delenv("ALE_ROMS_DIR", raising=False)
    whole = {game: roms.get_rom_path(game).read_bytes() for game in ATARI_100K}
    for game, content in whole.items():
        (tmp_path / f"{game}.bin").write_bytes(content)
    (tmp_path / "pong.bin").write_bytes(b"damaged")
    (tmp_path / "alien.bin").unlink()
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))
    check = atari_suite.roms()
    assert not check.ok
    assert check.detail.endswith(": alien, pong")
    assert "Unset ALE_ROMS_DIR" in check.remedy
    assert capsys.readouterr().out == ""


def test_roms_of_the_package_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(game: str) -> None:
        raise FileNotFoundError

    monkeypatch.delenv("ALE_ROMS_DIR", raising=False)
    monkeypatch.setattr("ale_py.roms.get_rom_path", absent)
    check = atari_suite.roms()
    assert not check.ok
    assert "ale-py" in check.remedy


@pytest.mark.parametrize(("free", "ok"), [(2 * GIB, False), (4 * GIB, True), (None, True)])
def test_memory(free, ok, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "free_memory", lambda: free)
    check = doctor.memory(3 * GIB, "preset atari-cpu")
    assert check.ok == ok
    assert check.detail.endswith("preset atari-cpu needs 3.0 GiB")
    assert ("ez presets" in check.remedy) == (not ok)


def test_memory_of_a_container(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 600\ninactive_file 50\n")
    assert doctor.left_in_cgroup(tmp_path) == 350
    (tmp_path / "memory.max").write_text("max\n")
    assert doctor.left_in_cgroup(tmp_path) is None


def test_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = namedtuple("Usage", "total used free")(10 * GIB, 9 * GIB, GIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert doctor.disk(tmp_path, GIB, "a run").ok
    check = doctor.disk(tmp_path / "not" / "yet", GIB + 1, "a run")
    assert not check.ok
    assert "--runs-dir" in check.remedy


@pytest.fixture
def no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home without any key; returns the path of its netrc file."""
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".netrc"


def test_wandb_not_importable_is_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    check = doctor.wandb_login()
    assert check.ok
    assert "make clean setup" in check.remedy


def test_wandb_without_a_login(no_login: Path) -> None:
    check = doctor.wandb_login()
    assert check.ok
    assert "wandb login" in check.remedy


def test_wandb_key_is_never_shown(no_login: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "local-5ecret")
    check = doctor.wandb_login()
    assert "logged in" in check.detail
    assert check.remedy == ""
    assert "5ecret" not in "".join(map(str, check))


def test_wandb_netrc_counts_for_its_own_host(no_login: Path, monkeypatch) -> None:
    no_login.write_text("machine api.wandb.ai login user password 5ecret\n")
    no_login.chmod(0o600)
    assert doctor.has_wandb_login()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not doctor.has_wandb_login()


def test_runs_folder_will_be_made(tmp_path: Path) -> None:
    assert doctor.runs_folder(tmp_path / "runs").detail.endswith("runs (will be made)")


def test_runs_folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    check = doctor.runs_folder(tmp_path / "runs")
    assert not check.ok
    assert "--runs-dir" in check.remedy


def test_runs_folder_refuses_writing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(dir: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    check = doctor.runs_folder(tmp_path)
    assert not check.ok
    assert "Read-only file system" in check.detail


@pytest.mark.parametrize("error", [0.01, 0.5])
def test_a_gpu_is_compared_with_the_host(
    error: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny("catch", "compute.precision='bfloat16'", "compute.device='cpu'")
    monkeypatch.setattr(doctor, "has_gpu", lambda: True)
    monkeypatch.setattr("ezcli.runs.device_check.error_of", lambda *_: error)
    found = {check.name: check for check in doctor.checks("smoke", tmp_path, config=config)}
    check = found["GPU results"]
    assert check.ok
    assert bool(check.remedy) == (error > 0.1)
    assert ("0.01" in check.detail) == (error == 0.01)


def test_without_a_gpu_nothing_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "has_gpu", lambda: False)
    names = [check.name for check in doctor.checks("smoke", tmp_path, config=tiny())]
    assert "GPU results" not in names
