"""The context of a process that trains a run: reporter, clock, stop requests."""

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
    """The progress of a run since the previous event."""

    env_steps: int  # in total
    train_steps: int  # in total
    metrics: dict[str, Any] | None  # a line of `metrics.jsonl`, if one is complete
    evaluations: tuple[dict[str, Any], ...]  # lines of `evaluations.jsonl`


class Reporter(Protocol):
    """Receives the progress of a run. It never raises; `lost_output` reports failed output."""

    @property
    def lost_output(self) -> Exception | None:
        """The error that ended output, after which the run saves and ends."""

    def say(self, text: str) -> None:
        """Prints a line."""

    def progress(self, event: Event, config: RunConfig, rates: Rates) -> None:
        """Shows the state after a cycle."""

    def quiet_while(self, what: str, is_announced: bool = True) -> AbstractContextManager[Told]:
        """Covers a long step without events, such as an evaluation.

        Args:
          what: description of the step.
          is_announced: whether a log gets its start and duration.

        Returns:
          A context with a function to call with the progress of an evaluation.
        """


class StopRequest:
    """Set by a signal or lost output. The run then saves and ends as soon as possible."""

    # Ctrl-C, termination, a closed terminal, and signals of schedulers before a time limit.
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
    """Data shared by the functions that train a run."""

    folder: RunFolder
    reporter: Reporter
    stop: StopRequest
    watchdog: Watchdog
    trackers: Trackers
