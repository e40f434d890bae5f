"""The checks of `ez doctor`: everything outside this package that a training run needs.

Nothing here prints, touches the network, or leaves a file behind. A check fails only if training
could not run. If something is only missing or slow, the check passes and gives advice.
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
    """Checks this machine, and yields the result of each check.

    Args:
      preset_name: the preset that `needs` belongs to, if there is one.
      runs_dir: the folder of all runs; it need not exist.
      needs: memory and disk of a whole run in bytes, if known.
      config: its network is tested on the GPU, if there is one.
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
    """Checks that ezcli supports the interpreter."""
    ok = sys.version_info >= OLDEST_PYTHON
    oldest = ".".join(map(str, OLDEST_PYTHON))
    remedy = f"Use Python {oldest} or newer: `make clean setup PYTHON=python{oldest}`."
    return Check("Python", ok, platform.python_version(), "" if ok else remedy)


def torch_device() -> Check:
    """Checks that PyTorch can be imported, and names the device that `ez train` would use."""
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
    with contextlib.suppress(ImportError, OSError):  # the check of Numba has the details
        from numba import cuda

        return bool(cuda.is_available())
    return False


def has_gpu() -> bool:
    """Whether PyTorch can be imported and finds a GPU."""
    with contextlib.suppress(ImportError, OSError):  # `torch_device` has the details
        import torch

        return torch.cuda.is_available()
    return False


def device_results(config: RunConfig) -> Check:
    """Checks that the GPU computes the same as the CPU; see `runs.device_check`."""
    from ezcli.runs.compute import resolve_compute
    from ezcli.runs.device_check import checked

    _, record, failures = checked(resolve_compute(config.compute), config)
    found = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in (record or {}).items())
    remedy = "Update the driver and the CUDA packages, or set compute.search = cpu."
    if failures:
        return Check("GPU results", True, " ".join(failures), remedy)
    return Check("GPU results", True, f"as on the CPU ({found or 'nothing to compare'})", "")


def numba_cache() -> Check:
    """Checks that Numba can be imported and has a folder for compiled code."""
    try:
        import numba
    except (ImportError, OSError) as error:
        return Check("Numba", False, f"cannot be imported: {error}", REINSTALL)
    detail = f"{numba.__version__}, {numba.config.NUMBA_NUM_THREADS} threads"
    if numba.config.DISABLE_JIT:
        remedy = "Unset NUMBA_DISABLE_JIT: without the compiler, the search is far too slow."
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
        return Check("Numba", True, detail, "The next run rebuilds them.")
    if cache is None:  # Numba found no writable folder
        remedy = (
            "Every start compiles again. Set NUMBA_CACHE_DIR to a folder that you may write to."
        )
        return Check("Numba", True, f"{detail}, no writable cache folder", remedy)
    return Check("Numba", True, f"{detail}, cache in {cache}", "")


def _nothing() -> None:
    """Makes Numba choose a cache folder. Never compiled."""


def memory(needed: int, needing: str) -> Check:
    """Checks that `needed` bytes of memory are free, considering limits of a container or job."""
    free = free_memory()
    if free is None:
        return Check("Memory", True, f"free memory is not known; {need(needing, needed)}", "")
    ok = free >= needed
    remedy = "Close other programs, ask for more memory, or use a smaller preset (`ez presets`)."
    detail = f"{in_gib(free)} free; {need(needing, needed)}"
    return Check("Memory", ok, detail, "" if ok else remedy)


def disk(runs_dir: Path, needed: int, needing: str) -> Check:
    """Checks that `needed` bytes of disk are free for `runs_dir`."""
    free = shutil.disk_usage(existing(runs_dir)).free
    ok = free >= needed
    detail = f"{in_gib(free)} free for {runs_dir}; {need(needing, needed)}"
    remedy = "Free some space, or choose a folder on another disk with --runs-dir."
    return Check("Disk", ok, detail, "" if ok else remedy)


def wandb_login() -> Check:
    """Checks Weights & Biases, which is optional: whether a login exists, without reading it."""
    name = "Weights & Biases"
    try:
        import wandb
    except Exception as error:  # optional: its failure must not stop the other checks
        return Check(name, True, f"off: cannot be imported ({error})", f"For --wandb: {REINSTALL}")
    if has_wandb_login():
        return Check(name, True, f"{wandb.__version__}, logged in", "")
    detail = f"{wandb.__version__}, not logged in: --wandb offline works"
    return Check(name, True, detail, "For --wandb online, run `wandb login`.")


def runs_folder(runs_dir: Path) -> Check:
    """Checks that a file can be written in the folder of runs, or where it would be made."""
    folder = existing(runs_dir)
    remedy = "Choose a folder that you may write to with --runs-dir."
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return Check("Runs", False, f"cannot write to {folder}: {error.strerror}", remedy)
    detail = str(runs_dir.absolute()) + ("" if folder == runs_dir else " (will be made)")
    return Check("Runs", True, detail, "")


def free_memory() -> int | None:
    """Bytes of memory free for a new process; None if the system does not report them."""
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
    except (OSError, ValueError):  # there is no such group, or its limit is "max"
        return None
    reclaimable = sum(int(x.split()[1]) for x in rows if x.startswith("inactive_file "))
    return max(0, limit - used + reclaimable)


def has_wandb_login() -> bool:
    """Whether wandb would find a key in the environment or in a netrc file for its host."""
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
    """The folder itself or, if it does not exist, its nearest existing parent."""
    return next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))


def in_gib(size: int) -> str:
    """Formats bytes as GiB."""
    return f"{size / 2**30:.1f} GiB"


def need(needing: str, size: int) -> str:
    """Formats the need for memory or disk as a clause."""
    return f"{needing} needs {in_gib(size)}" if size else f"what {needing} needs is not known"
