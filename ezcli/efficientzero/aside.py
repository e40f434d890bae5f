"""Work for another thread, done by the caller if no thread is free."""

from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

Result = TypeVar("Result")


def begin(work: Callable[[], Result], executor: Executor | None) -> Callable[[], Result]:
    """Hands `work` to an executor, and returns a function that waits for its result.

    If no thread has started the work when its result is requested, the caller does it at once. So a
    task may begin another on the executor that it runs on. Without an executor the work is done
    now.

    The result must not depend on when and in which thread `work` runs.
    """
    if executor is None:
        result = work()
        return lambda: result
    future = executor.submit(work)

    def finish() -> Result:
        return work() if future.cancel() else future.result()

    return finish
