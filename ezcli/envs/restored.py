"""Restores settings of the process that a user's code may change.

A user's file may set the default dtype of PyTorch, the current folder or the handler of a signal.
The setting applies to its own code until it returns. Then the previous values are restored, so that
results of a run do not depend on it.
"""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
STREAMS = {"stdin": 0, "stdout": 1, "stderr": 2}
Setting = tuple[Callable[[], Any], Callable[[Any], Any]]  # getter and setter


@contextmanager
def restored_quickly() -> Iterator[None]:
    """Restores settings that affect numbers and paths, in a few microseconds for every env_step."""
    folder, torch = os.getcwd(), sys.modules.get("torch")
    before = quick_settings(torch) if torch else None
    with np.errstate():
        try:
            yield
        finally:
            if torch is not None and quick_settings(torch) != before:
                dtype, grad, threads = before  # type: ignore[misc]
                torch.set_default_dtype(dtype)
                torch.set_grad_enabled(grad)
                torch.set_num_threads(threads)
            if os.getcwd() != folder:
                os.chdir(folder)


def quick_settings(torch: ModuleType) -> tuple[Any, bool, int]:
    """Default dtype, whether gradients are recorded, threads of an operation."""
    return torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()


@contextmanager
def restored() -> Iterator[None]:
    """Restores all settings of `restored_quickly`, and streams, signals and rarer settings."""
    was_loaded = "torch" in sys.modules
    before = [(read, put, read()) for read, put in settings()]
    streams = {name: getattr(sys, name) for name in STREAMS}
    kept = {number: os.dup(number) for number in STREAMS.values()}
    try:
        with restored_quickly():
            yield
    finally:
        for read, put, value in before:
            if read() != value:
                put(value)
        if not was_loaded and "torch" in sys.modules:
            forget(sys.modules["torch"])
        for number, copy in kept.items():
            if not is_same_file(number, copy):
                os.dup2(copy, number)
            os.close(copy)
        for name, stream in streams.items():
            setattr(sys, name, reopened(stream, STREAMS[name]))


def settings() -> Iterator[Setting]:
    """Settings that are rarely changed."""
    yield lambda: list(warnings.filters), put_filters
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            yield lambda number=number: signal.getsignal(number), handler_of(number)  # type: ignore[misc]
    torch = sys.modules.get("torch")
    if torch is not None:
        yield torch.get_default_device, lambda device: put_device(torch, device)
        yield torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
        yield torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms
        for place in (torch.backends.mkldnn, torch.backends.cudnn):
            yield lambda place=place: place.enabled, flag_of(place)  # type: ignore[misc]


def put_filters(filters: list[Any]) -> None:
    """Sets the warning filters."""
    warnings.resetwarnings()
    warnings.filters[:] = filters  # type: ignore[index]


def handler_of(number: signal.Signals) -> Callable[[Any], None]:
    """Sets the handler of a signal. A handler installed by C cannot be restored."""

    def put(handler: Any) -> None:
        if handler is not None:
            signal.signal(number, handler)

    return put


def flag_of(place: Any) -> Callable[[bool], None]:
    """Sets whether PyTorch uses a library."""
    return lambda value: setattr(place, "enabled", value)


def put_device(torch: ModuleType, device: Any) -> None:
    """Sets PyTorch's default device."""
    torch.set_default_device(None if device.type == "cpu" else device)


def forget(torch: ModuleType) -> None:
    """Resets PyTorch to the settings of a new process, if a user's code imported it first."""
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    torch.set_float32_matmul_precision("highest")
    if torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(False)
    torch.set_default_device(None)


def is_same_file(one: int, other: int) -> bool:
    """Whether two descriptors refer to the same file."""
    try:
        return os.path.sameopenfile(one, other)
    except OSError:  # it was closed
        return False


def reopened(stream: Any, number: int) -> Any:
    """The stream, or a new one with its descriptor if it was closed.

    A stream in memory stays closed.
    """
    if stream is None or not stream.closed or not hasattr(stream, "name"):
        return stream
    mode = "r" if number == 0 else "w"
    return open(number, mode, encoding=stream.encoding, errors=stream.errors, closefd=False)
