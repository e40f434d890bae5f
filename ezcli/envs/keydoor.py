"""Keydoor: carry the key to the door, repeatedly. The reward comes some steps later.

The frame shows that the door is open, but not since when. So the step of the reward is hard to
predict, but the sum of the next rewards is not. This is the case for which EfficientZero has its
value prefix (section 4.2).
"""

import numpy as np

from ezcli.envs.protocol import EnvSpec, Step
from ezcli.envs.small_suites import KeydoorSettings

MOVES = {"stay": (0, 0), "up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
MOST_WORK = 100_000_000  # most sums of rewards in `expected_returns`, about one second


class Keydoor:
    """A square room with an agent, a key and a door. A move into a wall has no effect.

    The door consumes the key, which reappears at its first cell, and stays open until the reward. A
    game never ends by itself. The three planes of a frame are agent, key and door. A carried key is
    drawn on the agent's cell, an open door at half brightness.
    """

    def __init__(self, settings: KeydoorSettings, evaluation: bool) -> None:
        self.settings = settings
        self.size = settings.size
        self.delay = settings.delay
        self.spec = EnvSpec(
            frame_shape=(3, self.size, self.size),
            action_names=tuple(MOVES),
            contract={
                "name": "keydoor",
                "size": self.size,
                "delay": self.delay,
                "reward": "+1 `delay` env_steps after each time that the key opens the door",
                "max_episode_steps": settings.cap(evaluation),
                **({"levels": settings.levels} if settings.levels else {}),
            },
        )
        self.level_set = settings.level_set(evaluation)
        self.training_levels = training_levels(settings.levels, settings.num_levels)
        self.agent = self.key = self.door = (0, 0)  # row, column
        self.has_key = False
        self.num_steps = 0
        self.opened_at: int | None = None  # env_step at which it opened; None while closed

    def reset(self, seed: int) -> np.ndarray:
        """Places agent and key on two different cells; the door is always in the middle.

        The seed selects a level of training or evaluation.
        """
        middle = self.size // 2
        self.door = (middle, middle)
        cells = [divmod(cell, self.size) for cell in range(self.size**2)]
        cells.remove(self.door)
        self.agent, self.key = (cells[i] for i in self._starts(np.random.default_rng(seed)))
        self.has_key = False
        self.num_steps = 0
        self.opened_at = None
        return self._frame()

    def step(self, action: int) -> Step:
        """Moves the agent, which picks up the key and opens a closed door by stepping on them."""
        self.num_steps += 1
        (row, column), (down, right) = self.agent, tuple(MOVES.values())[action]
        last = self.size - 1
        self.agent = (min(max(row + down, 0), last), min(max(column + right, 0), last))
        self.has_key = self.has_key or self.agent == self.key
        if self.has_key and self.agent == self.door and self.opened_at is None:
            self.has_key, self.opened_at = False, self.num_steps
        is_paid = self.opened_at is not None and self.num_steps == self.opened_at + self.delay
        if is_paid:
            self.opened_at = None
        return Step(self._frame(), float(is_paid), is_episode_over=False, is_game_over=False)

    def _starts(self, rng: np.random.Generator) -> tuple[int, int]:
        """The cells of agent and key, numbered without the door's cell."""
        cells = self.size**2 - 1
        if self.level_set == "all":
            agent, key = rng.permutation(cells)[:2]
            return int(agent), int(key)
        if self.level_set == "training":
            level = self.training_levels[int(rng.integers(len(self.training_levels)))]
        else:
            level = int(rng.integers(self.settings.num_levels))
            while level in self.training_levels:
                level = int(rng.integers(self.settings.num_levels))
        return cells_of(level, cells)

    def _frame(self) -> np.ndarray:
        frame = np.zeros(self.spec.frame_shape, np.uint8)
        key = self.agent if self.has_key else self.key
        frame[(0, *self.agent)] = 255
        frame[(1, *key)] = 255
        frame[(2, *self.door)] = 255 if self.opened_at is None else 128
        return frame


def expected_returns(settings: KeydoorSettings) -> tuple[float, float] | None:
    """Exact mean return of an evaluated game with random actions and with the best actions.

    The best actions depend on when the door opened, which the frame does not show. None for rooms
    so large that this would take seconds.
    """
    size, delay, cells = settings.size, settings.delay, settings.size**2
    steps, states = settings.cap(evaluation=True), cells * 2 * (delay + 1)
    if cells * states * steps * len(MOVES) > MOST_WORK:
        return None
    known, chosen = training_levels(settings.levels, settings.num_levels), settings.level_set(True)
    levels = set(known if chosen == "training" else range(settings.num_levels))
    levels -= set(known if chosen == "unseen" else ())
    starts = [cells_of(level, cells - 1) for level in sorted(levels)]
    door = (size // 2) * size + size // 2
    agent, has_key, until = (part.ravel() for part in np.indices((cells, 2, delay + 1)))
    row, column = np.divmod(agent, size)
    random_total = best_total = 0.0
    for key in sorted({key for _, key in starts}):
        key_cell = key + (key >= door)
        following, rewards = [], []
        for down, right in MOVES.values():
            there = np.clip(row + down, 0, size - 1) * size + np.clip(column + right, 0, size - 1)
            holds = (has_key == 1) | (there == key_cell)
            opens = holds & (there == door) & (until == 0)
            left = np.where(opens, delay, np.maximum(until - 1, 0))
            pays = (opens & (delay == 0)) | (until == 1)
            following.append((there * 2 + (holds & ~opens)) * (delay + 1) + left)
            rewards.append(pays.astype(float))
        following_states, reward = np.array(following), np.array(rewards)
        random, best = np.zeros(states), np.zeros(states)
        for _ in range(steps):
            random = (reward + random[following_states]).mean(0)
            best = (reward + best[following_states]).max(0)
        for start in (agent for agent, where in starts if where == key):
            state = (start + (start >= door)) * 2 * (delay + 1)
            random_total += float(random[state])
            best_total += float(best[state])
    return random_total / len(starts), best_total / len(starts)


def cells_of(level: int, cells: int) -> tuple[int, int]:
    """The cells of agent and key in a level, out of `cells` cells without the door's."""
    agent, key = divmod(level, cells - 1)
    return agent, key + (key >= agent)


def training_levels(count: int, among: int) -> list[int]:
    """The levels of training: the same in every run, and a subset of those for a larger count."""
    rng, found = np.random.default_rng(0), dict[int, None]()
    while len(found) < count:
        found[int(rng.integers(among))] = None
    return list(found)
