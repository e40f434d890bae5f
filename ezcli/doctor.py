"""What `ez doctor` looks at: everything outside this package that a training run needs.

Nothing here prints, touches the network, or leaves a file behind. A check is not ok only where
training could not run; what is merely missing or slow is ok and says how to do better.
"""

import contextlib
import netrc
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from ezcli.config.run import RunConfig
from ezcli.envs.suite import REINSTALL, Check
from ezcli.envs.suites import SUITES
from ezcli.runs.cost import Cost
from ezcli.words import counted

OLDEST_PYTHON = (3, 11)


def checks(
    preset_name: str | None,
    runs_dir: Path,
    needs: Cost | None = None,
    config: RunConfig | None = None,
) -> Iterator[Check]:
    """Examines this machine, one check after the other.

    Args:
      preset_name: the preset whose needs are given; None if no preset is meant.
      runs_dir: the folder that runs are written to; it need not exist.
      needs: memory and disk of a whole run, if they are known.
      config: of a run whose network is tried on the GPU, if there is one.
    """
    needing = f"preset {preset_name}" if preset_name else "a run"
    needed_memory, needed_disk = (needs.memory_bytes, needs.disk_bytes) if needs else (0, 0)
    yield python()
    yield torch_device()
    yield numba_cache()
    if config is not None and has_gpu():
        yield device_results(config)
    for suite in SUITES.values():
        if suite.check is not None:
            yield suite.check()
    yield memory(needed_memory, needing)
    yield disk(runs_dir, needed_disk, needing)
    yield wandb_login()
    yield runs_folder(runs_dir)


def python() -> Check:
    """The interpreter is one that ezcli supports."""
    ok = sys.version_info >= OLDEST_PYTHON
    oldest = ".".join(map(str, OLDEST_PYTHON))
    remedy = f"Use Python {oldest} or newer: `make clean setup PYTHON=python{oldest}`."
    return Check("Python", ok, platform.python_version(), "" if ok else remedy)


def torch_device() -> Check:
    """PyTorch loads; the device that `ez train` would take."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library does not load
        return Check("PyTorch", False, f"cannot be imported: {error}", REINSTALL)
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        detail = f"{torch.__version__}, CUDA on {gpu.name} ({in_gib(gpu.total_memory)})"
        if has_cuda_kernels():
            return Check("PyTorch", True, f"{detail}, search trees on it", "")
        remedy = "For search trees on the GPU too, install the extra `ezcli[cuda]` (README.md)."
        return Check("PyTorch", True, f"{detail}, search trees on the CPU", remedy)
    detail = f"{torch.__version__}, no CUDA device: runs on the CPU"
    detail += f" with {torch.get_num_threads()} threads"
    if shutil.which("nvidia-smi") is None:
        return Check("PyTorch", True, detail, "")
    remedy = "If this machine has an NVIDIA GPU, install a CUDA build of PyTorch for its driver."
    return Check("PyTorch", True, detail, remedy)


def has_cuda_kernels() -> bool:
    """Whether Numba loads and can compile for the GPU."""
    with contextlib.suppress(ImportError, OSError):  # the check of Numba says more
        from numba import cuda

        return bool(cuda.is_available())
    return False


def has_gpu() -> bool:
    """Whether PyTorch loads and sees a GPU."""
    with contextlib.suppress(ImportError, OSError):  # `torch_device` says more
        import torch

        return torch.cuda.is_available()
    return False


def device_results(config: RunConfig) -> Check:
    """The GPU computes what the host does; see `runs.device_check`."""
    from ezcli.runs.compute import resolve_compute
    from ezcli.runs.device_check import checked

    _, record, failures = checked(resolve_compute(config.compute), config)
    found = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in (record or {}).items())
    remedy = "Update the driver and the CUDA packages, or set compute.search = cpu."
    if failures:
        return Check("GPU results", True, " ".join(failures), remedy)
    return Check("GPU results", True, f"as on the host ({found or 'nothing to compare'})", "")


def numba_cache() -> Check:
    """Numba loads, and finds a folder for what it has compiled."""
    try:
        import numba
    except (ImportError, OSError) as error:
        return Check("Numba", False, f"cannot be imported: {error}", REINSTALL)
    detail = f"{numba.__version__}, {numba.config.NUMBA_NUM_THREADS} threads"
    if numba.config.DISABLE_JIT:
        remedy = "Unset NUMBA_DISABLE_JIT: without its compiler the search is far too slow."
        return Check("Numba", True, f"{detail}, compiler off", remedy)
    from ezcli import jit

    cache = jit.kernel(_nothing).stats.cache_path
    unusable = jit.remarks()
    if unusable:
        return Check("Numba", True, f"{detail}, no cache", unusable[0])
    damaged = jit.damaged_files()
    if damaged:
        where = str(jit.cache_folder())
        detail = f"{detail}, {counted(len(damaged), 'damaged file')} in the cache {where!r}"
        return Check("Numba", True, detail, "The next run makes them anew.")
    if cache is None:  # no folder that Numba tries can be written to
        remedy = "Set NUMBA_CACHE_DIR to a folder that you may write to: each start compiles anew."
        return Check("Numba", True, f"{detail}, no writable cache folder", remedy)
    return Check("Numba", True, f"{detail}, cache in {cache}", "")


def _nothing() -> None:
    """For Numba to find a cache folder for; never compiled."""


def memory(needed: int, needing: str) -> Check:
    """Free main memory, within the limits of a container or batch job, against `needed` bytes."""
    free = free_memory()
    if free is None:
        return Check("Memory", True, f"cannot be read here; {need(needing, needed)}", "")
    ok = free >= needed
    remedy = "Close other programs, ask for more memory, or take a smaller preset (`ez presets`)."
    detail = f"{in_gib(free)} free; {need(needing, needed)}"
    return Check("Memory", ok, detail, "" if ok else remedy)


def disk(runs_dir: Path, needed: int, needing: str) -> Check:
    """Free space where `runs_dir` is, or would be, against `needed` bytes."""
    free = shutil.disk_usage(existing(runs_dir)).free
    ok = free >= needed
    detail = f"{in_gib(free)} free for {runs_dir}; {need(needing, needed)}"
    remedy = "Free some space, or name a folder on another disk with --runs-dir."
    return Check("Disk", ok, detail, "" if ok else remedy)


def wandb_login() -> Check:
    """Weights & Biases, which no run needs; whether a login exists, never what it is."""
    name = "Weights & Biases"
    try:
        import wandb
    except Exception as error:  # optional: whatever is wrong with it must not stop the doctor
        return Check(name, True, f"off: cannot be imported ({error})", f"For --wandb: {REINSTALL}")
    if has_wandb_login():
        return Check(name, True, f"{wandb.__version__}, logged in", "")
    detail = f"{wandb.__version__}, not logged in: --wandb offline works"
    return Check(name, True, detail, "For --wandb online, run `wandb login`.")


def runs_folder(runs_dir: Path) -> Check:
    """A file can be written where runs go, or where their folder would be made."""
    folder = existing(runs_dir)
    remedy = "Name a folder that you may write to with --runs-dir."
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return Check("Runs", False, f"cannot write to {folder}: {error.strerror}", remedy)
    detail = str(runs_dir.absolute()) + ("" if folder == runs_dir else " (will be made)")
    return Check("Runs", True, detail, "")


def free_memory() -> int | None:
    """Bytes that a new process may use, or None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        group = Path("/proc/self/cgroup").read_text().rpartition("0::")[2].strip()
    except OSError:
        return None
    available = next((int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvail")), None)
    root = Path("/sys/fs/cgroup")
    folders = [root / group.strip("/"), *(root / group.strip("/")).parents]
    limits = [left_in_cgroup(folder) for folder in folders if folder.is_relative_to(root)]
    return min((x for x in (available, *limits) if x is not None), default=None)


def left_in_cgroup(folder: Path) -> int | None:
    """Bytes below the limit of a Linux control group (version 2); None if it has no limit."""
    try:
        limit = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        rows = (folder / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # no such group, or its limit is "max"
        return None
    reclaimable = sum(int(x.split()[1]) for x in rows if x.startswith("inactive_file "))
    return max(0, limit - used + reclaimable)


def has_wandb_login() -> bool:
    """Whether wandb would find a key: in the environment, or in a netrc file for its host."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    named = os.environ.get("NETRC")
    files = [Path(named)] if named else [Path.home() / x for x in (".netrc", "_netrc")]
    for file in files:
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            if host in netrc.netrc(file).hosts:
                return True
    return False


def existing(folder: Path) -> Path:
    """The folder itself or, if it does not exist, the nearest one above it that does."""
    return next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))


def in_gib(size: int) -> str:
    """Bytes as GiB, for reading."""
    return f"{size / 2**30:.1f} GiB"


def need(needing: str, size: int) -> str:
    """What is needed, as a clause."""
    return f"{needing} needs {in_gib(size)}" if size else f"the need of {needing} is not known"
