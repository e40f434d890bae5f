"""Lines of `metrics.jsonl`, each with statistics since the line before.

A line is a function of config and seed. Times are in `timing.jsonl`.
"""

import copy
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import FailFast, Field

from ezcli.efficientzero.components import Rules
from ezcli.efficientzero.learner import STEP_METRICS, Learner, learning_rate
from ezcli.efficientzero.loss_terms import LOSSES, MEASURED_EVERY, MEASURED_STEPS
from ezcli.efficientzero.modes import MODES
from ezcli.efficientzero.planner import Plan
from ezcli.efficientzero.policy import mean_entropy
from ezcli.efficientzero.reanalyse import Work
from ezcli.efficientzero.replay import Replay
from ezcli.envs.vector import FinishedGame
from ezcli.state import Number, State, Table, read_table, rows_of

COLUMNS = {
    "env_steps": "actions taken in the run so far",
    "train_steps": "gradient steps so far",
    "games": "games finished since the last line",
    "score": "mean raw score of these games; null if there are none",
    "score_min": "lowest raw score of these games",
    "score_max": "highest raw score of these games",
    "game_env_steps": "mean length of these games, env_steps",
    "loss": "total loss: mean over the batch, divided by unroll_steps",
    **{
        name: f"{term.about}, summed over positions, mean over batches"
        for name, term in LOSSES.items()
    },
    "gradient_norm": "norm of the gradient before clipping, mean",
    "auxiliary_gradient": "norm of the gradient of the weighted auxiliary loss at the encoder, "
    f"mean over every {MEASURED_EVERY}th of the first {MEASURED_STEPS} "
    "train_steps; null later",
    "learning_rate": "learning rate of the last train_step",
    "td_steps": "mean steps before the bootstrap",
    "search_depth": "mean depth of the deepest node while acting, env_steps",
    "search_entropy": "mean entropy of the visits while acting, nats; null without a search",
    "root_value": "mean value of the root while acting",
    "target_depth": "like search_depth, in reanalysis",
    "target_entropy": "like search_entropy, of the policy targets; null if there are none",
    "reanalyse_asked": "policy targets that needed a search",
    "reanalyse_searched": "states searched for them; the others were cached",
    "reanalyse_evaluated": "states evaluated without a search",
    "replay_sampleable": "states that can be drawn",
    **MODES,
}


class WindowState(Table):
    """The state of a `MetricsWindow`."""

    games: rows_of(2)  # type: ignore[valid-type]
    training: dict[Literal[STEP_METRICS], Annotated[list[Number], FailFast()]]  # type: ignore[valid-type]
    td_steps: Annotated[list[Number], FailFast()]
    acting: rows_of(3, may_be_nan=2)  # type: ignore[valid-type]
    work: rows_of(5, may_be_nan=2)  # type: ignore[valid-type]
    auxiliary_gradient: Annotated[list[Number], FailFast()] = Field(default=[])
    modes: rows_of(len(MODES), may_be_nan=len(MODES)) = Field(default=[])  # type: ignore[valid-type]


class MetricsWindow:
    """Data since the last line, as rows of plain numbers."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Clears the data after a line."""
        self.games: list[list[float]] = []  # score, env_steps
        self.training: dict[str, list[float]] = {name: [] for name in STEP_METRICS}
        self.auxiliary_gradient: list[float] = []  # of train_steps in which it was measured
        self.td_steps: list[float] = []
        self.acting: list[list[float]] = []  # depth, entropy (NaN without a policy), root value
        self.work: list[list[float]] = []  # requested, searched, evaluated, depth, entropy
        self.modes: list[list[float]] = []  # MODES; NaN if nothing varies

    def state(self) -> State:
        """The data of each kind, for JSON."""
        return copy.deepcopy(vars(self))

    def restore(self, state: State) -> None:
        """Restores a state, also from before a loss was added, which then has no data.

        Raises:
          CheckpointError: other kinds of rows or losses, or rows of another width.
        """
        found = read_table(WindowState, state).model_dump()
        vars(self).update(found)
        self.training = {name: found["training"].get(name, []) for name in STEP_METRICS}

    def add_game(self, game: FinishedGame) -> None:
        """Adds a finished game."""
        self.games.append([game.score, float(game.env_steps)])

    def add_plan(self, plan: Plan) -> None:
        """Adds a plan made while acting."""
        entropy = mean_entropy(plan.policy)
        self.acting.append([float(plan.depth.mean()), entropy, float(plan.value.mean())])

    def add_work(self, work: Work) -> None:
        """Adds the amount of work for the targets of a draw."""
        self.work.append([float(number) for number in work])

    def add_training(
        self,
        numbers: np.ndarray,
        auxiliary_gradients: list[float],
        age: np.ndarray,
        rules: Rules,
    ) -> None:
        """Adds n train_steps.

        Args:
          numbers: [n, len(STEP_METRICS)].
          auxiliary_gradients: norms of the train_steps in which they were measured.
          age: [n * B] env_steps, age of the states in the batches.
          rules: of the run.
        """
        self.auxiliary_gradient += auxiliary_gradients
        for name, values in zip(STEP_METRICS, numbers.T, strict=True):
            self.training[name] += values.astype(float).tolist()
        self.td_steps.append(float(rules.td_steps(age).mean()))

    def add_modes(self, compared: dict[str, float]) -> None:
        """Adds a comparison of the network's modes."""
        numbers = np.array([compared[name] for name in MODES])
        self.modes.append(np.where(np.isfinite(numbers), numbers, np.nan).tolist())

    def line(self, replay: Replay, learner: Learner) -> dict[str, Any]:
        """A line with all of COLUMNS; null means no data."""
        scores, lengths = columns(self.games, 2)
        depth, entropy, value = columns(self.acting, 3)
        asked, searched, evaluated, target_depth, target_entropy = columns(self.work, 5)
        modes = columns(self.modes, len(MODES))
        line = {
            "env_steps": replay.env_steps,
            "train_steps": learner.train_steps,
            "games": len(scores),
            "score": mean(scores),
            "score_min": float(scores.min()) if len(scores) else None,
            "score_max": float(scores.max()) if len(scores) else None,
            "game_env_steps": mean(lengths),
            **{name: mean(np.array(values)) for name, values in self.training.items()},
            "auxiliary_gradient": mean(np.array(self.auxiliary_gradient)),
            "learning_rate": learning_rate(max(0, learner.train_steps - 1), learner.settings),
            "td_steps": mean(np.array(self.td_steps)),
            "search_depth": mean(depth),
            "search_entropy": mean(entropy[np.isfinite(entropy)]),
            "root_value": mean(value),
            "target_depth": mean(target_depth[np.isfinite(target_depth)]),
            "target_entropy": mean(target_entropy[np.isfinite(target_entropy)]),
            "reanalyse_asked": int(asked.sum()),
            "reanalyse_searched": int(searched.sum()),
            "reanalyse_evaluated": int(evaluated.sum()),
            "replay_sampleable": replay.num_sampleable,
            **{name: mean(v[np.isfinite(v)]) for name, v in zip(MODES, modes, strict=True)},
        }
        assert line.keys() == COLUMNS.keys()
        return line


def columns(rows: list[list[float]], width: int) -> np.ndarray:
    """Transposes rows into columns [width, n], even if there are no rows."""
    return np.array(rows, np.float64).reshape(-1, width).T


def mean(values: np.ndarray) -> float | None:
    """The mean; None without values."""
    return float(values.mean()) if len(values) else None
