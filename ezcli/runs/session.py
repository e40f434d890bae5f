"""What one process that trains a run has besides the trainer."""

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any, NamedTuple, Protocol

from ezcli.config.run import RunConfig
from ezcli.runs.evaluate import Told
from ezcli.runs.folder import RunFolder
from ezcli.runs.rates import Rates
from ezcli.runs.stall import Watchdog
from ezcli.runs.tracking import Trackers
from ezcli.runs.trainer import Event


class RunEvent(NamedTuple):
    """What a run has done since the event before."""

    env_steps: int  # in all
    train_steps: int  # in all
    metrics: dict[str, Any] | None  # a line of `metrics.jsonl`, when one is complete
    evaluations: tuple[dict[str, Any], ...]  # lines of `evaluations.jsonl`


class Reporter(Protocol):
    """Where a run reports its progress. It raises nothing; `lost_output` tells of failed output."""

    @property
    def lost_output(self) -> Exception | None:
        """Why output is lost; the run then saves and ends."""

    def say(self, text: str) -> None:
        """One line that stays."""

    def progress(self, event: Event, config: RunConfig, rates: Rates) -> None:
        """The state after a cycle."""

    def quiet_while(self, what: str, is_announced: bool = True) -> AbstractContextManager[Told]:
        """Something long without events, such as an evaluation.

        Args:
          what: it is.
          is_announced: whether a log says that it begins, and how long it took.

        Returns:
          A context that gives a function to tell how far an evaluation is.
        """


class StopRequest:
    """Set by a signal or lost output; the run saves and ends at the next moment that allows it."""

    # Ctrl-C, a polite end, a closed terminal; and what schedulers send before a time limit.
    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

    def __init__(self, reporter: Reporter | None = None) -> None:
        self.signal: signal.Signals | None = None
        self.reporter = reporter

    def __bool__(self) -> bool:
        is_lost = self.reporter is not None and self.reporter.lost_output is not None
        return self.signal is not None or is_lost

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catches the signals; a second Ctrl-C ends the process at once."""

        def request(number: int, _frame: FrameType | None) -> None:
            self.signal = signal.Signals(number)
            signal.signal(signal.SIGINT, signal.default_int_handler)

        before = {
            number: signal.signal(number, request)
            for number in self.SIGNALS
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN  # nohup
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Session(NamedTuple):
    """What the functions that train a run share."""

    folder: RunFolder
    reporter: Reporter
    stop: StopRequest
    watchdog: Watchdog
    trackers: Trackers
