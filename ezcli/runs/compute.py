"""The device, precision and threads of a run."""

import ctypes
import os
import platform
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np  # before PyTorch, which suppresses an interrupt of NumPy's import
import torch

from ezcli.config.run import ComputeSettings
from ezcli.errors import ConfigError
from ezcli.jit import one_at_a_time, remarks

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


class Compute(NamedTuple):
    """The settings resolved against this machine."""

    device: torch.device
    precision: str  # float32 or bfloat16
    search: str  # device of the search trees: cpu or cuda
    threads: int  # searches at the same time


def resolve_compute(settings: ComputeSettings) -> Compute:
    """Selects the device, and configures PyTorch's use of the CPU.

    Each PyTorch operation runs on one CPU thread. With more, sums would be split differently, and
    results would depend on the number of threads. The other cores run searches in parallel.

    Raises:
      ConfigError: the requested device is not available.
    """
    name = settings.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "EZ-COMPUTE-NO-GPU",
            f"compute.device = {name!r}, but PyTorch finds no GPU.",
            "Use cpu or auto.",
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            "EZ-COMPUTE-FEW-GPUS",
            f"compute.device = {name!r}, but the last GPU is cuda:{torch.cuda.device_count() - 1}.",
            "Use cpu or auto.",
        )
    precision = settings.precision
    if precision == "auto":
        precision = "bfloat16" if device.type == "cuda" else "float32"
    torch.set_num_threads(1)
    keep_freed_memory()
    if settings.deterministic and device.type == "cuda":
        make_deterministic()
    search = settings.search
    if search == "auto":
        search = "cuda" if device.type == "cuda" and has_cuda_kernels() else "cpu"
    if search == "cuda" and device.type != "cuda":
        raise ConfigError(
            "EZ-COMPUTE-SEARCH",
            f"compute.search = 'cuda', but compute.device is {name!r}.",
            "Use auto or cpu.",
        )
    if search == "cuda" and not has_cuda_kernels():
        raise ConfigError(
            "EZ-COMPUTE-NO-CUDA",
            "compute.search = 'cuda', but Numba finds no CUDA toolkit.",
            "Install ezcli[cuda], or use auto or cpu.",
        )
    return Compute(device, precision, search, settings.threads or num_cores())


def make_deterministic() -> None:
    """Makes PyTorch deterministic on a GPU; operations without such an implementation fail.

    Must be called before the first operation on the GPU. Source: PyTorch's notes on
    reproducibility.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False


def has_cuda_kernels() -> bool:
    """Whether Numba can compile for the GPU."""
    from numba import cuda  # lazy: it searches for the driver

    return bool(cuda.is_available())


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory instead of returning it to the system.

    A train_step repeatedly frees and allocates the same large tensors. Otherwise the system would
    clear all their pages each time.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)  # least bytes of a separate memory mapping
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)  # free bytes above which the heap shrinks


def num_cores() -> int:
    """CPU cores that this process may use; all cores if the system does not report it."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def warm_up_search() -> list[str]:
    """Compiles the search's kernels, or loads what a process compiled before.

    If many processes start at once, one compiles and the others wait (`ezcli.jit`). Returns
    sentences about an unusable cache.
    """
    from ezcli.efficientzero.gumbel import decision
    from ezcli.efficientzero.search import Evaluation, search
    from ezcli.efficientzero.tree import GumbelConstants, PuctConstants

    root = Evaluation(*(np.zeros(shape, np.float32) for shape in (1, (1, 2), 1)))
    puct = PuctConstants(1, 0.99, 1.25, 19652.0, 0.01, 5)
    gumbel = GumbelConstants(1, 0.99, 8, 50.0, 0.1, False, 0.01, 5)
    with one_at_a_time():
        for constants in (puct, gumbel):
            tree = search(root, lambda *_: root, constants, np.zeros(1, np.int64))
        decision(tree, gumbel)
    return remarks()


def make_executor(threads: int) -> Executor:
    """An executor with `threads` threads. With one, tasks run immediately in the caller's thread.

    PyTorch sets the number of threads of an operation separately for each calling thread.
    """
    if threads == 1:
        return Immediate()
    return ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))


class Immediate(Executor):
    """An executor without threads: `submit` returns after the task is done."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Calls `fn`. Its exceptions are raised here, not by the future."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future
