import itertools

import numpy as np
import pytest

from ezcli.envs.keydoor import Keydoor, expected_returns
from ezcli.envs.make import make_env
from ezcli.envs.protocol import Step
from ezcli.envs.small_suites import KeydoorSettings
from ezcli.envs.suites import landmarks_of

STAY, UP, DOWN, LEFT, RIGHT = range(5)
AGENT, KEY, DOOR = range(3)


def make(delay: int = 3) -> Keydoor:
    return Keydoor(KeydoorSettings(name="keydoor", size=5, delay=delay), evaluation=False)


def place(frame: np.ndarray, plane: int) -> tuple[int, int]:
    ((row, column),) = np.argwhere(frame[plane])
    return int(row), int(column)


def walk(env: Keydoor, start: tuple[int, int], goal: tuple[int, int]) -> list[Step]:
    """Goes to `goal` by rows first, which must not be where it already stands."""
    down, right = goal[0] - start[0], goal[1] - start[1]
    moves = [DOWN if down > 0 else UP] * abs(down) + [RIGHT if right > 0 else LEFT] * abs(right)
    return [env.step(move) for move in moves]


def seed_with_everything_off_the_way(env: Keydoor) -> int:
    """Neither the door nor the key lies on a walk to the other, or to the key from the start."""
    for seed in range(1000):
        frame = env.reset(seed)
        (row, column), key, door = (place(frame, plane) for plane in (AGENT, KEY, DOOR))
        if row != key[0] and door[0] != key[0] and door[1] not in (key[1], column):
            return seed
    raise AssertionError("no such seed")


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_key_then_door_then_the_delay_then_the_reward_and_so_on(delay):
    env = make(delay)
    frame = env.reset(seed_with_everything_off_the_way(env))
    agent, key, door = (place(frame, plane) for plane in (AGENT, KEY, DOOR))
    assert frame.shape == (3, 5, 5)
    assert frame.dtype == np.uint8
    assert frame[(DOOR, *door)] == 255

    *_, at_key = walk(env, agent, key)
    assert place(at_key.frame, AGENT) == place(at_key.frame, KEY) == key
    assert at_key.reward == 0.0

    *under_way, at_door = walk(env, key, door)
    assert all(place(step.frame, KEY) == place(step.frame, AGENT) for step in under_way)
    later = [at_door] + [env.step(STAY) for _ in range(delay)]
    assert [step.reward for step in later] == [0.0] * delay + [1.0]
    assert [step.frame[(DOOR, *door)] for step in later] == [128] * delay + [255]
    assert all(place(step.frame, KEY) == key for step in later)  # back at once
    # The time left to the reward cannot be seen.
    assert all(np.array_equal(step.frame, at_door.frame) for step in later[:-1])

    back = walk(env, door, key) + walk(env, key, door) + [env.step(STAY) for _ in range(delay)]
    assert [step.reward for step in back] == [0.0] * (len(back) - 1) + [1.0]
    assert not any(step.is_episode_over or step.is_game_over for step in later + back)


def test_an_open_door_takes_no_key_and_its_delay_does_not_start_again():
    env = make(delay=40)
    frame = env.reset(seed_with_everything_off_the_way(env))
    agent, key, door = (place(frame, plane) for plane in (AGENT, KEY, DOOR))
    walk(env, agent, key)
    walk(env, key, door)
    again = walk(env, door, key) + walk(env, key, door)
    assert place(again[-1].frame, KEY) == door  # still carried
    waited = len(again)
    rest = [env.step(STAY) for _ in range(40 - waited)]
    assert [step.reward for step in rest] == [0.0] * (39 - waited) + [1.0]
    opened = env.step(STAY)  # with the key in hand, it opens as soon as it has shut
    assert opened.frame[(DOOR, *door)] == 128
    assert place(opened.frame, KEY) == key


def test_the_door_without_the_key_stays_shut():
    env = make()
    frame = env.reset(seed_with_everything_off_the_way(env))
    agent, key, door = (place(frame, plane) for plane in (AGENT, KEY, DOOR))
    *_, reached = [
        *walk(env, agent, (agent[0], door[1])),
        *walk(env, (agent[0], door[1]), door),
        env.step(STAY),
    ]
    assert place(reached.frame, AGENT) == door
    assert reached.frame[(DOOR, *door)] == 255
    assert place(reached.frame, KEY) == key


def test_walls_hold():
    env = make()
    env.reset(0)
    corner = [env.step(move) for move in [UP, LEFT] * 5][-1]
    assert place(corner.frame, AGENT) == (0, 0)
    corner = [env.step(move) for move in [DOWN, RIGHT] * 5][-1]
    assert place(corner.frame, AGENT) == (4, 4)


@pytest.mark.parametrize(("evaluation", "env_steps"), [(False, 7), (True, 9)])
def test_only_the_cap_ends_a_game(evaluation, env_steps):
    settings = KeydoorSettings(name="keydoor", max_episode_steps=7, evaluation_max_episode_steps=9)
    env = make_env(settings, evaluation)
    for seed in range(2):
        env.reset(seed)
        steps = [env.step(STAY) for _ in range(env_steps)]
        assert [step.is_truncated for step in steps] == [False] * (env_steps - 1) + [True]
        assert [step.is_episode_over for step in steps] == [step.is_game_over for step in steps]
        assert sum(step.reward for step in steps) == 0.0


def test_the_seed_alone_makes_the_room_and_its_things_never_share_a_cell():
    rooms = [make().reset(seed) for seed in range(200)]
    assert all(len({place(room, plane) for plane in range(3)}) == 3 for room in rooms)
    assert {place(room, DOOR) for room in rooms} == {(2, 2)}
    for plane in (AGENT, KEY):
        assert len({place(room, plane) for room in rooms}) == 24
    assert all(np.array_equal(room, make().reset(seed)) for seed, room in enumerate(rooms))


def test_reset_forgets_the_game_before():
    env, fresh = make(delay=2), make(delay=2)
    frame = env.reset(seed_with_everything_off_the_way(env))
    agent, key, door = (place(frame, plane) for plane in (AGENT, KEY, DOOR))
    walk(env, agent, key)
    walk(env, key, door)
    walk(env, door, key)  # the door has paid, or is open, and the key is in hand
    assert np.array_equal(env.reset(3), fresh.reset(3))
    for move in [STAY, UP, LEFT, DOWN] * 12:
        ours, theirs = env.step(move), fresh.step(move)
        assert np.array_equal(ours.frame, theirs.frame)
        assert ours[1:] == theirs[1:]


def rooms_of(levels: int, evaluation: bool, **changes: str) -> set[bytes]:
    settings = KeydoorSettings(name="keydoor", size=3, levels=levels, **changes)
    env = Keydoor(settings, evaluation)
    return {env.reset(seed).tobytes() for seed in range(600)}


def test_training_meets_some_levels_and_evaluation_only_others():
    """A room of 3 x 3 cells has 8 x 7 levels."""
    every = rooms_of(0, False)
    assert len(every) == 56
    assert rooms_of(0, True) == every
    for levels in (1, 20, 55):
        training, unseen = rooms_of(levels, False), rooms_of(levels, True)
        assert len(training) == levels
        assert not training & unseen
        assert training | unseen == every
        assert rooms_of(levels, True, evaluation_levels="training") == training
        assert rooms_of(levels, False, evaluation_levels="training") == training
    assert rooms_of(5, False) < rooms_of(20, False)  # more levels are these and others


def test_the_contract_names_levels_only_where_they_are_limited():
    limited = Keydoor(KeydoorSettings(name="keydoor", levels=5), evaluation=True)
    assert limited.spec.contract["levels"] == 5
    assert "levels" not in make().spec.contract


@pytest.mark.parametrize(("delay", "chosen"), [(0, "unseen"), (1, "training"), (2, "unseen")])
def test_the_expected_returns_are_those_of_all_games(delay, chosen):
    """Every sequence of actions on every level, played."""
    levels = 53 if chosen == "unseen" else 3
    settings = KeydoorSettings(
        name="keydoor",
        delay=delay,
        levels=levels,
        evaluation_levels=chosen,
        evaluation_max_episode_steps=5,
    )
    env = Keydoor(settings, evaluation=True)
    seeds: dict[bytes, int] = {}
    for seed in range(200):
        seeds.setdefault(env.reset(seed).tobytes(), seed)
    assert len(seeds) == 3
    returns = np.zeros((3, 5**5))
    for level, seed in enumerate(seeds.values()):
        for index, actions in enumerate(itertools.product(range(5), repeat=5)):
            env.reset(seed)
            returns[level, index] = sum(env.step(action).reward for action in actions)
    assert returns.max() > 0
    expected = returns.mean(), returns.max(axis=1).mean()
    assert expected_returns(settings) == pytest.approx(expected)


def test_the_expected_returns_of_a_large_room_are_not_computed():
    settings = KeydoorSettings(name="keydoor", size=40)
    assert expected_returns(settings) is None
    assert landmarks_of(settings) == {}
