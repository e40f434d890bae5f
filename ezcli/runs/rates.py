"""Rates of a run, and its time left."""

import time
from typing import Any, NamedTuple

from ezcli.runs.folder import TIMING, RunFolder
from ezcli.runs.trainer import Event, Trainer


class Rates(NamedTuple):
    """Rates over about the last half minute."""

    env_steps_per_second: float
    train_steps_per_second: float
    seconds_left: float | None


class Clock:
    """Computes recent rates and the time left."""

    WINDOW = 30.0  # seconds

    def __init__(self, trainer: Trainer, folder: RunFolder) -> None:
        self.schedule = trainer.config.schedule
        self.began = time.monotonic()
        lines = folder.read(TIMING)
        seconds = lines[-1].get("seconds") if lines else None
        self.before = seconds if isinstance(seconds, float) else 0.0  # seconds of earlier sessions
        start = (self.began, trainer.replay.env_steps, trainer.learner.train_steps)
        self.marks = [start]

    def rates(self, event: Event) -> Rates:
        """Updates the rates with an event."""
        self.marks.append((time.monotonic(), event.env_steps, event.train_steps))
        while len(self.marks) > 2 and self.marks[-1][0] - self.marks[1][0] > self.WINDOW:
            self.marks.pop(0)
        (t0, env0, train0), (t1, env1, train1) = self.marks[0], self.marks[-1]
        seconds = max(t1 - t0, 1e-9)
        env_rate, train_rate = (env1 - env0) / seconds, (train1 - train0) / seconds
        left = (self.schedule.train_steps - train1) / train_rate if train_rate else None
        return Rates(env_rate, train_rate, left)

    def line(self, event: Event, rates: Rates) -> dict[str, Any]:
        """A line of `timing.jsonl`."""
        return {
            "env_steps": event.env_steps,
            "train_steps": event.train_steps,
            "seconds": round(self.before + time.monotonic() - self.began, 3),
            "env_steps_per_second": round(rates.env_steps_per_second, 3),
            "train_steps_per_second": round(rates.train_steps_per_second, 3),
        }
