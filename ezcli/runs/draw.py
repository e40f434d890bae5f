"""Batches with their targets, drawn one cycle before they are used."""

from typing import NamedTuple

import numpy as np

from ezcli.config.run import RunConfig
from ezcli.efficientzero.batch import Targets, Window
from ezcli.efficientzero.learner import Learner
from ezcli.efficientzero.replay import ROUNDED_ONE, Replay
from ezcli.state import Layout, State, joined, parted, read_arrays, require


class Drawn(NamedTuple):
    """The batches of a cycle and their targets."""

    window: Window
    targets: Targets


class DrawAhead:
    """Batches that are drawn but not learnt yet, between two cycles.

    Args:
      config: of the run.
      replay: source of the batches.
      learner: consumer of the batches.
    """

    def __init__(self, config: RunConfig, replay: Replay, learner: Learner) -> None:
        self.config, self.replay, self.learner = config, replay, learner
        self.drawn: Drawn | None = None

    def state(self) -> State:
        """The arrays of the draw; empty if there is none."""
        if self.drawn is None:
            return {}
        return joined({name: part._asdict() for name, part in self.drawn._asdict().items()})

    def restore(self, state: State) -> None:
        """Raises CheckpointError: arrays of another draw, or rows that the replay does not have."""
        self.drawn = None
        if not state:
            return
        found = parted(read_arrays(self._layouts(), state), Drawn._fields)
        ahead = self.learner.train_steps + self.config.schedule.sample_ahead
        require(ahead <= self.config.schedule.train_steps, "it has more train_steps than the run")
        self.drawn = Drawn(Window(**found["window"]), Targets(**found["targets"]))

    def _layouts(self) -> dict[str, Layout]:
        """Layouts of all arrays; see `Window` and `Targets`."""
        drawn = self.config.loss.batch_size * self.config.schedule.sample_ahead
        unroll, ahead = self.replay.unroll_steps, self.replay.lookahead
        num_actions = self.replay.arrays.policy.shape[1]
        return {
            "window.rows": Layout(np.int64, (drawn, ahead + 1), 0, self.replay.rows - 1),
            "window.is_state": Layout(np.bool_, (drawn, ahead + 1)),
            "window.is_terminal": Layout(np.bool_, (drawn, ahead + 1)),
            "window.actions": Layout(np.int64, (drawn, unroll), 0, num_actions - 1),
            "window.rewards": Layout(np.float32, (drawn, ahead)),
            "window.age": Layout(np.int64, (drawn,), 0, self.replay.env_steps),
            "window.weights": Layout(np.float32, (drawn,), 0),
            "targets.value_prefix": Layout(np.float32, (drawn, unroll)),
            "targets.value": Layout(np.float32, (drawn, unroll + 1)),
            "targets.policy": Layout(np.float32, (drawn, unroll + 1, num_actions), 0, ROUNDED_ONE),
            "targets.has_policy": Layout(np.bool_, (drawn, unroll + 1)),
        }
