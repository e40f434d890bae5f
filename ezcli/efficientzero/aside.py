"""Work that a thread does beside its caller's, or the caller itself where no thread is free."""

from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

Result = TypeVar("Result")


def begin(work: Callable[[], Result], executor: Executor | None) -> Callable[[], Result]:
    """Hands `work` to an executor, and returns what asks for its result.

    Who asks before a thread has begun does the work at once: so a task may begin another on the
    executor that it runs on itself. Without an executor the work is done now.

    The result must not depend on whether `work` runs now, beside its caller, or when it is asked
    for.
    """
    if executor is None:
        result = work()
        return lambda: result
    future = executor.submit(work)

    def finish() -> Result:
        return work() if future.cancel() else future.result()

    return finish
