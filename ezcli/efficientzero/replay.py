"""Prioritised replay of states (Schaul et al. 2016), which can be drawn once their targets exist.

Each of the E environments writes its own stream of rows, one row per state, including terminal
states. Streams are ring buffers: at capacity, new states overwrite the oldest. Neighbours in time
are neighbours in the stream, so windows and frame stacks are index arithmetic. Shapes: R rows, n
sampled positions, K unroll steps, A actions, L as in `Window`.
"""

import numpy as np

from ezcli.efficientzero.batch import Window
from ezcli.efficientzero.frames import frames_back
from ezcli.efficientzero.hyperparameters import Hyperparameters
from ezcli.efficientzero.replay_arrays import empty_arrays
from ezcli.efficientzero.targets import return_errors
from ezcli.state import (
    Count,
    Layout,
    State,
    Table,
    read_arrays,
    read_table,
    require,
    require_in_range,
    split,
)

ROUNDED_ONE = 1.001  # upper bound of a probability, with room for rounding


class ReplayCounts(Table):
    """The state of a `Replay` without its arrays."""

    env_steps: Count


class Replay:
    """The states of a run. Their frames are in a `FrameStore` with the same rows."""

    def __init__(self, settings: Hyperparameters, num_actions: int, frame_stack: int) -> None:
        envs = settings.acting.num_envs
        self.stream_rows = settings.replay.capacity // envs
        rows = envs * self.stream_rows
        self.settings, self.schedule = settings.replay, settings.schedule
        self.frame_stack = frame_stack
        self.unroll_steps = settings.loss.unroll_steps
        self.lookahead = settings.lookahead
        self.guard_rows = settings.guard_rows(frame_stack)
        self.arrays = empty_arrays(rows, num_actions)
        # [R] bool, a time limit ended the episode; empty if that is not distinguished
        self.is_truncated = np.zeros(rows * settings.value.bootstrap_truncated, np.bool_)
        # [R] float32, value by the acting network; empty if it is not needed
        self.values = np.zeros(rows * (settings.replay.new_priority != "max"), np.float32)
        self.discount = settings.value.discount
        self.td_steps = min(settings.value.td_steps, settings.value.lookahead)
        self.length = np.zeros(envs, np.int64)  # states written to each stream
        self.env_steps = 0  # actions recorded

    def state(self) -> State:
        """All arrays, the length of each stream, and the env_steps."""
        state = {**self.arrays._asdict(), "length": self.length, "env_steps": self.env_steps}
        optional = {"is_truncated": self.is_truncated, "values": self.values}
        return state | {name: array for name, array in optional.items() if array.size}

    def restore(self, state: State) -> None:
        """Raises CheckpointError: other arrays, or values that this replay cannot contain."""
        counts, arrays = split(state)
        env_steps, envs = read_table(ReplayCounts, counts).env_steps, len(self.length)
        require(env_steps <= self.schedule.env_steps, f"{env_steps} env_steps are too many")
        ranges = {
            "action": (0, self.arrays.policy.shape[1] - 1),
            "policy": (0, ROUNDED_ONE),
            "age_in_episode": (0, env_steps),
            "collected_at": (0, env_steps),
            "state_id": (-1,),
            "weight": (0,),
            "length": (1,),
        }
        own = split(self.state())[1]
        layouts = {name: Layout.of(own[name], *ranges.get(name, ())) for name in own}
        found = read_arrays(layouts, arrays)
        states = sum(found["length"].tolist())  # Python integers, which do not overflow
        fits = env_steps + envs <= states <= 2 * env_steps + envs
        require(fits, f"'length' does not fit {env_steps} env_steps")
        require_in_range("state_id", found["state_id"], -1, states)
        has_state = found["state_id"] > 0
        require(has_state[found["weight"] > 0].all(), "'weight' refers to missing states")
        for name, array in found.items():
            own[name][...] = array
        self.env_steps = env_steps

    @property
    def rows(self) -> int:
        """R, summed over all streams."""
        return len(self.arrays.state_id)

    @property
    def num_sampleable(self) -> int:
        """Number of states that can be drawn."""
        return int(np.count_nonzero(self.arrays.weight))

    @property
    def filled(self) -> int:
        """The quantity that `schedule.random_env_steps` counts (`ReplaySettings.filled`)."""
        newest = [self.newest_row(env) for env in range(len(self.length))]
        ages = self.arrays.age_in_episode[newest].tolist()
        return self.settings.filled(self.env_steps, ages, self.lookahead)

    def newest_row(self, env: int) -> int:
        """Row of the newest state in the stream of `env`."""
        return env * self.stream_rows + int(self.length[env] - 1) % self.stream_rows

    def begin_episode(self, env: int) -> int:
        """Adds the first state of an episode, and returns the row for its frame."""
        return self._append(env, age_in_episode=0, is_terminal=False)

    def add(
        self,
        env: int,
        action: int,
        reward: float,
        policy: np.ndarray,
        is_episode_over: bool,
        is_truncated: bool = False,
        value: float = 0.0,
    ) -> int:
        """Records the action taken in the newest state of `env`.

        `value` is the acting network's value of the state, which is 0 before training. Returns the
        row for the next frame.
        """
        row, arrays = self.newest_row(env), self.arrays
        arrays.action[row], arrays.reward[row], arrays.policy[row] = action, reward, policy
        self.values[row : row + 1] = value  # no effect on an empty array
        self.env_steps += 1
        arrays.collected_at[row] = self.env_steps
        age = int(arrays.age_in_episode[row]) + 1
        reached = self._append(env, age, is_episode_over)
        self.is_truncated[reached : reached + 1] = is_truncated  # no effect on an empty array
        before, now = (self.settings.drawable(a, self.lookahead) for a in (age - 1, age))
        back = age - np.arange(before, age if is_episode_over else now)
        ready = self.shift(np.full(len(back), reached), -back)
        arrays.weight[ready] = self._first_weights(ready)
        return reached

    def _first_weights(self, rows: np.ndarray) -> np.ndarray | float:
        """Initial weights of states that can be drawn from now on."""
        largest: float = self.arrays.weight.max() or 1.0
        if self.settings.new_priority == "max":
            return largest
        after, arrays = self.shift(rows[:, None], np.arange(self.td_steps + 1)), self.arrays
        known = self.values[after], arrays.reward[after], arrays.is_terminal[after]
        errors = return_errors(*known, self.discount)
        own = (errors + self.settings.min_priority) ** self.settings.priority_exponent
        return own if self.settings.new_priority == "error" else max(largest, own.max(initial=0))

    def shift(self, rows: np.ndarray, by: np.ndarray) -> np.ndarray:
        """Rows `by` states later in the same stream."""
        position = (rows % self.stream_rows + by) % self.stream_rows
        return rows // self.stream_rows * self.stream_rows + position

    def stack_rows(self, rows: np.ndarray) -> np.ndarray:
        """Rows [..., T] of the frames stacked for each of `rows` [...], oldest first."""
        back = frames_back(self.arrays.age_in_episode[rows], self.frame_stack)
        return self.shift(rows[..., None], -back)

    def sample(
        self, batch_size: int, importance_exponents: np.ndarray, rng: np.random.Generator
    ) -> Window:
        """Draws one batch for each entry of `importance_exponents`, and returns them as one window.

        P(i) = p_i^alpha / sum_j p_j^alpha;  w_i = (n P(i))^-beta / max_batch (n P(j))^-beta, where
        p is a priority, n counts the states, and alpha and beta are the exponents.
        """
        cumulative = self.arrays.weight.cumsum()
        total = cumulative[-1]
        points = rng.random(batch_size * len(importance_exponents)) * total
        last = np.searchsorted(cumulative, total)  # rounding may reach the total
        rows = np.minimum(np.searchsorted(cumulative, points, side="right"), last)
        scaled = self.num_sampleable * self.arrays.weight[rows] / total
        weights = scaled.reshape(-1, batch_size) ** -importance_exponents[:, None]
        weights = np.maximum(weights / weights.max(1, keepdims=True), self.settings.weight_floor)
        return self.window(rows, weights.reshape(-1).astype(np.float32), rng)

    def window(self, rows: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Window:
        """The window after each of `rows` [n], up to the end of its episode."""
        arrays, steps = self.arrays, np.arange(self.lookahead + 1)
        is_terminal = arrays.is_terminal[self.shift(rows[:, None], steps)]
        ended_before = np.cumsum(is_terminal, 1) - is_terminal
        is_state = ended_before == 0
        following = self.shift(rows[:, None], np.minimum(steps, is_state.sum(1)[:, None] - 1))
        has_action = is_state & ~is_terminal
        is_truncated = self.is_truncated[following] if self.is_truncated.size else np.False_
        num_actions = arrays.policy.shape[1]
        filler = rng.integers(num_actions, size=(len(rows), self.unroll_steps))
        within = slice(0, self.unroll_steps)
        return Window(
            rows=following,
            is_state=is_state,
            is_terminal=is_state & is_terminal & ~is_truncated,
            actions=np.where(has_action[:, within], arrays.action[following[:, within]], filler),
            rewards=np.where(has_action, arrays.reward[following], 0)[:, :-1].astype(np.float32),
            age=self.env_steps - arrays.collected_at[rows],
            weights=weights,
        )

    def update_priorities(self, rows: np.ndarray, errors: np.ndarray) -> None:
        """Sets priorities of `rows` [n] to |value - target| [n]; a repeated row gets its last."""
        priority = errors + self.settings.min_priority
        may_be_drawn = self.arrays.weight[rows] > 0  # otherwise about to be overwritten
        scaled = priority**self.settings.priority_exponent
        self.arrays.weight[rows[may_be_drawn]] = scaled[may_be_drawn]

    def _append(self, env: int, age_in_episode: int, is_terminal: bool) -> int:
        self.length[env] += 1
        row, arrays = self.newest_row(env), self.arrays
        arrays.weight[self.shift(np.full(self.guard_rows, row), np.arange(self.guard_rows))] = 0
        arrays.state_id[row] = self.length.sum()
        arrays.is_terminal[row], arrays.age_in_episode[row] = is_terminal, age_in_episode
        return row
