"""Settings resolved against the machine."""

import errno
import os
import threading

import pytest
import torch
from zstandard import ZstdError

from ezcli.config.run import ComputeSettings
from ezcli.runs import compute
from ezcli.runs.compute import Immediate, make_executor, resolve_compute
from ezcli.runs.machine_errors import memory_errors
from tests.failing import fails
from tests.runs.helpers import outcome, run, tiny


def settings(device="cpu", threads=1, precision="auto", search="auto", deterministic=False):
    return ComputeSettings(
        device=device,
        threads=threads,
        precision=precision,
        search=search,
        deterministic=deterministic,
    )


@pytest.fixture
def gpus(monkeypatch):
    """Makes PyTorch believe in a number of GPUs."""

    def set_number(number):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)

    return set_number


@pytest.mark.parametrize(
    ("number", "device", "precision", "expected"),
    [
        (0, "auto", "auto", ("cpu", "float32")),
        (0, "cpu", "bfloat16", ("cpu", "bfloat16")),
        (2, "auto", "auto", ("cuda", "bfloat16")),
        (2, "cpu", "auto", ("cpu", "float32")),
        (2, "cuda:1", "float32", ("cuda:1", "float32")),
    ],
)
def test_device_and_precision(number, device, precision, expected, gpus):
    gpus(number)
    found = resolve_compute(settings(device, 1, precision))
    assert (str(found.device), found.precision) == expected


@pytest.mark.parametrize(
    ("number", "device", "code", "named"),
    [
        (0, "cuda", "EZ-COMPUTE-NO-GPU", "PyTorch"),
        (0, "cuda:1", "EZ-COMPUTE-NO-GPU", "PyTorch"),
        (1, "cuda:1", "EZ-COMPUTE-FEW-GPUS", "cuda:0"),
    ],
)
def test_a_device_that_is_not_there(number, device, code, named, gpus):
    gpus(number)
    with fails(code, "compute.device", repr(device), named):
        resolve_compute(settings(device))


@pytest.mark.parametrize(
    ("device", "asked", "has_kernels", "found"),
    [
        ("cpu", "auto", True, "cpu"),
        ("cuda", "auto", True, "cuda"),
        ("cuda", "auto", False, "cpu"),
        ("cuda", "cpu", True, "cpu"),
        ("cuda", "cuda", True, "cuda"),
    ],
)
def test_where_the_trees_lie(device, asked, has_kernels, found, gpus, monkeypatch):
    gpus(1)
    monkeypatch.setattr(compute, "has_cuda_kernels", lambda: has_kernels)
    assert resolve_compute(settings(device, search=asked)).search == found


@pytest.mark.parametrize(
    ("device", "code", "named"),
    [
        ("cpu", "EZ-COMPUTE-SEARCH", ["compute.device", "'cpu'", "auto or cpu"]),
        ("cuda", "EZ-COMPUTE-NO-CUDA", ["ezcli[cuda]"]),
    ],
)
def test_trees_that_cannot_lie_there(device, code, named, gpus, monkeypatch):
    gpus(1)
    monkeypatch.setattr(compute, "has_cuda_kernels", lambda: False)
    with fails(code, "compute.search", "'cuda'", *named):
        resolve_compute(settings(device, search="cuda"))


def test_pytorch_uses_one_thread_and_searches_the_rest():
    torch.set_num_threads(2)
    assert resolve_compute(settings(threads=0)).threads == len(os.sched_getaffinity(0))
    assert torch.get_num_threads() == 1
    assert resolve_compute(settings(threads=3)).threads == 3


def test_threads_where_the_system_does_not_say(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert resolve_compute(settings(threads=0)).threads == 6


def test_one_thread_is_the_callers():
    with make_executor(1) as executor:
        assert isinstance(executor, Immediate)
        assert executor.submit(threading.get_ident).result() == threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            executor.submit(lambda: 1 / 0)


def test_more_threads_work_side_by_side():
    barrier = threading.Barrier(2, timeout=100)
    with make_executor(2) as executor:
        for future in [executor.submit(barrier.wait) for _ in range(2)]:
            assert future.result() in (0, 1)


@pytest.mark.parametrize(("device", "expected"), [("cuda", True), ("cpu", False)])
def test_deterministic_is_for_the_gpu(device, expected, gpus, monkeypatch):
    gpus(1)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    try:
        resolve_compute(settings(device).model_copy(update={"deterministic": True}))
        assert torch.are_deterministic_algorithms_enabled() is expected
        assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) is expected
        assert torch.backends.cudnn.benchmark is not expected
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = True


@pytest.mark.slow
def test_a_run_has_no_operation_that_pytorch_calls_nondeterministic(undisturbed, tmp_path):
    """Those that it refuses on a CPU too; the others wait for a GPU."""
    torch.use_deterministic_algorithms(True)
    try:
        assert outcome(run(tmp_path / "run", tiny())) == undisturbed
    finally:
        torch.use_deterministic_algorithms(False)


# ------------------------------------------------------------------ memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("could not create a primitive"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        SystemError("error return without exception set"),
        ZstdError("zstd compress error: Allocation error : not enough memory"),
        torch.OutOfMemoryError("CUDA out of memory."),
    ],
    ids=repr,
)
def test_exhausted_memory_is_a_sentence(error):
    with fails("EZ-RUN-MEMORY", "replay.capacity") as caught, memory_errors("go on."):
        raise error
    assert caught.value.message.startswith("GPU") == isinstance(error, torch.OutOfMemoryError)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("shapes differ"), OSError(errno.ENOENT, "gone"), ZstdError("wrong magic")],
    ids=repr,
)
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, memory_errors("go on."):
        raise error
    assert caught.value is error
