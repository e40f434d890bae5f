import itertools

import numpy as np
import pytest

from ezcli.envs.catch import Catch
from ezcli.envs.make import make_env
from ezcli.envs.small_suites import CatchSettings
from ezcli.envs.suites import landmarks_of

STAY, LEFT, RIGHT = range(3)


def board(frame: np.ndarray) -> list[str]:
    return ["".join("#" if pixel == 255 else "." for pixel in row) for row in frame[0]]


def seed_with_ball_in(env: Catch, column: int) -> int:
    return next(seed for seed in range(1000) if env.reset(seed)[0, 0, column] == 255)


@pytest.fixture
def env() -> Catch:
    return Catch(CatchSettings(name="catch", rows=4, columns=5), evaluation=False)


def test_a_game_frame_by_frame(env):
    env.reset(seed_with_ball_in(env, 4))
    first = env.reset(seed_with_ball_in(env, 4))
    assert first.dtype == np.uint8
    assert set(np.unique(first)) == {0, 255}
    assert board(first) == ["....#", ".....", ".....", "..#.."]
    assert board(env.step(RIGHT).frame) == [".....", "....#", ".....", "...#."]
    middle = env.step(RIGHT)
    assert board(middle.frame) == [".....", ".....", "....#", "....#"]
    assert (middle.reward, middle.is_episode_over, middle.is_game_over) == (0.0, False, False)
    last = env.step(RIGHT)  # into the wall
    assert board(last.frame) == [".....", ".....", ".....", "....#"]
    assert (last.reward, last.is_episode_over, last.is_game_over) == (1.0, True, True)


def test_a_missed_ball_costs_one(env):
    env.reset(seed_with_ball_in(env, 4))
    rewards = [env.step(action).reward for action in (LEFT, STAY, STAY)]
    assert rewards == [0.0, 0.0, -1.0]


def test_the_seed_alone_places_the_ball_in_every_column(env):
    columns = [int(env.reset(seed)[0, 0].argmax()) for seed in range(50)]
    assert set(columns) == set(range(5))
    assert columns == [int(env.reset(seed)[0, 0].argmax()) for seed in range(50)]


@pytest.mark.parametrize(("evaluation", "env_steps"), [(False, 2), (True, 1)])
def test_the_cap_ends_the_game_without_a_reward(evaluation, env_steps):
    settings = CatchSettings(
        name="catch", rows=10, max_episode_steps=2, evaluation_max_episode_steps=1
    )
    env = make_env(settings, evaluation)
    env.reset(0)
    steps = [env.step(STAY) for _ in range(env_steps)]
    assert [step.is_game_over for step in steps] == [False] * (env_steps - 1) + [True]
    assert steps[-1].reward == 0.0


@pytest.mark.parametrize(("rows", "columns"), [(4, 5), (3, 6), (3, 8)])
def test_the_landmarks_are_the_mean_and_the_best_of_all_games(rows, columns):
    settings = CatchSettings(name="catch", rows=rows, columns=columns)
    env = Catch(settings, evaluation=True)
    returns = np.zeros((columns, 3 ** (rows - 1)))
    for column in range(columns):
        seed = seed_with_ball_in(env, column)
        for index, actions in enumerate(itertools.product(range(3), repeat=rows - 1)):
            env.reset(seed)
            returns[column, index] = sum(env.step(action).reward for action in actions)
    found = landmarks_of(settings)
    assert list(found) == ["random play", "maximum"]
    assert list(found.values()) == pytest.approx([returns.mean(), returns.max(axis=1).mean()])


def test_without_a_landing_there_are_no_landmarks():
    assert landmarks_of(CatchSettings(name="catch", evaluation_max_episode_steps=8)) == {}
