"""Waiting for another process or thread."""

import time
from collections.abc import Callable

PATIENCE = 600.0  # seconds after which something hangs; it bounds nothing else


def wait_for(found: Callable[[], object]) -> None:
    """Until `found()` is true, looked at often in the beginning.

    Raises:
      TimeoutError: it did not come true.
    """
    deadline, pause = time.monotonic() + PATIENCE, 0.003
    while not found():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not come in {PATIENCE:.0f} s")
        time.sleep(pause)
        pause = min(0.1, 1.2 * pause)
