import json

import numpy as np
import pytest

from ezcli.envs.atari_suite import AtariSettings
from ezcli.envs.checked import Checked
from ezcli.envs.make import make_env
from ezcli.envs.protocol import EnvSpec, Step
from ezcli.envs.small_suites import CatchSettings
from ezcli.envs.vector import FinishedGame, VectorEnv
from tests.failing import fails

BREAKOUT = AtariSettings(
    name="atari",
    game="breakout",
    frame_stack=4,
    clip_rewards=True,
    max_episode_steps=3000,
    evaluation_max_episode_steps=3000,
    frame_size=48,
    grayscale=True,
    frame_skip=4,
    noop_max=30,
    life_loss_ends_episode=True,
)


class Script:
    """Plays back the same game always; its frame shows the number of steps since reset."""

    spec = EnvSpec((1, 1, 1), ("noop", "act"), {"name": "script"})

    def __init__(self, *outcomes: tuple[float, bool, bool]) -> None:
        self.outcomes = outcomes
        self.seeds: list[int] = []
        self.actions: list[int] = []
        self.canvas = np.zeros((1, 1, 1), np.uint8)  # drawn over, as a user's own might be

    def reset(self, seed: int) -> np.ndarray:
        self.seeds.append(seed)
        self.canvas[:] = 0
        return self.canvas

    def step(self, action: int) -> Step:
        self.actions.append(action)
        outcome = self.outcomes[self.canvas.item()]
        self.canvas += 1
        return Step(self.canvas, *outcome)


def checked(env: Script) -> Checked:
    return Checked(lambda: env, "Script", 10_000)


ON, LIFE_LOST, OVER = (False, False), (True, False), (True, True)


def script_of(*outcomes: tuple[float, tuple[bool, bool]]) -> Script:
    return Script(*((reward, *flags) for reward, flags in outcomes))


def started(env: Script, seed: int = 0) -> VectorEnv:
    vector = VectorEnv(lambda: checked(env), 1, np.random.default_rng(seed))
    vector.start()
    return vector


def test_a_game_that_ends_is_counted_and_followed_by_another():
    env = script_of((1.0, ON), (2.0, OVER))
    vector = started(env)
    (first,) = vector.step([1])
    assert first == (np.array([[[1]]]), 1.0, False, False, None, None)
    (last,) = vector.step([1])
    assert (last.frame.item(), last.reward, last.is_episode_over) == (2, 2.0, True)
    assert last.first_frame.item() == 0
    assert last.finished == FinishedGame(score=3.0, env_steps=2)
    assert len(env.seeds) == 2
    assert first.frame.item() == 1  # still: frames are copied at the door


def test_a_lost_life_is_followed_by_one_action_0_whose_reward_only_the_score_sees():
    env = script_of((1.0, LIFE_LOST), (10.0, ON), (100.0, OVER))
    vector = started(env)
    (lost,) = vector.step([1])
    assert (lost.frame.item(), lost.reward, lost.is_episode_over) == (1, 1.0, True)
    assert (lost.first_frame.item(), lost.finished) == (2, None)
    assert vector.state()["games"][0]["actions"] == [1, 0]
    (over,) = vector.step([1])
    assert over.finished == FinishedGame(score=111.0, env_steps=3)
    assert env.actions == [1, 0, 1]


def test_a_life_lost_within_that_action_begins_the_next_episode_all_the_same():
    vector = started(script_of((0.0, LIFE_LOST), (0.0, LIFE_LOST), (0.0, ON)))
    assert vector.step([1])[0].first_frame.item() == 2
    assert not vector.step([1])[0].is_episode_over


def test_a_game_that_ends_within_that_action_is_counted():
    env = script_of((1.0, LIFE_LOST), (10.0, OVER))
    (lost,) = started(env).step([1])
    assert (lost.frame.item(), lost.reward) == (1, 1.0)
    assert lost.finished == FinishedGame(score=11.0, env_steps=2)
    assert lost.first_frame.item() == 0
    assert len(env.seeds) == 2


def test_an_episode_that_a_time_limit_ends_says_so_and_one_that_a_lost_life_ends_does_not():
    vector = VectorEnv(
        lambda: Checked(lambda: script_of((0.0, ON), (0.0, LIFE_LOST), (0.0, ON)), "Script", 3),
        1,
        np.random.default_rng(0),
    )
    vector.start()
    arrivals = [vector.step([1])[0] for _ in range(2)]
    assert [arrival.is_truncated for arrival in arrivals] == [False, False]
    assert arrivals[-1].finished.env_steps == 3  # the one that leads to the next life is the last
    vector = VectorEnv(
        lambda: Checked(lambda: script_of((0.0, ON), (0.0, ON)), "Script", 2),
        1,
        np.random.default_rng(0),
    )
    vector.start()
    arrivals = [vector.step([1])[0] for _ in range(2)]
    assert [arrival.is_truncated for arrival in arrivals] == [False, True]


def test_seeds_are_drawn_in_the_order_of_the_environments():
    envs = [script_of((0.0, OVER)), script_of((0.0, ON), (0.0, OVER))]
    supply = iter(envs)
    vector = VectorEnv(lambda: checked(next(supply)), 2, np.random.default_rng(3))
    vector.start()
    vector.step([0, 0])
    vector.step([0, 0])
    drawn = [int(seed) for seed in np.random.default_rng(3).integers(2**31, size=5)]
    assert envs[0].seeds == [drawn[0], drawn[2], drawn[3]]
    assert envs[1].seeds == [drawn[1], drawn[4]]


def play(vector: VectorEnv, actions: np.ndarray) -> list[tuple[object, ...]]:
    """Everything that arrives, in a form that == can compare."""
    return [
        (
            arrival.frame.tobytes(),
            arrival.reward,
            arrival.is_episode_over,
            None if arrival.first_frame is None else arrival.first_frame.tobytes(),
            arrival.finished,
        )
        for row in actions
        for arrival in vector.step(row)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "num_envs", "before", "after"),
    [
        (CatchSettings(name="catch"), 3, 41, 60),
        (BREAKOUT, 1, 70, 150),
    ],
    ids=["catch", "breakout"],
)
def test_a_restored_vector_goes_on_exactly(settings, num_envs, before, after):
    def make() -> Checked:
        return make_env(settings, evaluation=False)

    rng = np.random.default_rng(5)
    vector = VectorEnv(make, num_envs, rng)
    num_actions = len(vector.spec.action_names)
    actions = np.random.default_rng(0).integers(num_actions, size=(before + after, num_envs))
    vector.start()
    lived = play(vector, actions[: before - 1])
    arrivals = vector.step(actions[before - 1])
    newest = [a.frame if a.first_frame is None else a.first_frame for a in arrivals]
    assert any(over for _, _, over, _, _ in lived)
    state = json.loads(json.dumps(vector.state()))
    rng_state = rng.bit_generator.state
    expected = play(vector, actions[before:])
    assert any(finished for *_, finished in expected)  # scores that began before the save

    other_rng = np.random.default_rng(99)
    restored = VectorEnv(make, num_envs, other_rng)
    restored.restore(state)
    restored.require_frames(newest)
    other_rng.bit_generator.state = rng_state
    assert play(restored, actions[before:]) == expected

    rng.bit_generator.state = rng_state  # and over a game that is running
    vector.restore(state)
    vector.require_frames(newest)
    assert play(vector, actions[before:]) == expected


@pytest.mark.slow
def test_breakout_lives_in_training_make_one_game():
    vector = VectorEnv(lambda: make_env(BREAKOUT, evaluation=False), 1, np.random.default_rng(1))
    vector.start()
    rng, arrivals = np.random.default_rng(1), []
    while not arrivals or arrivals[-1].finished is None:
        arrivals += vector.step([int(rng.integers(4))])
    finished = arrivals[-1].finished
    assert sum(arrival.is_episode_over for arrival in arrivals) == 5
    assert finished.env_steps == len(arrivals) + 4  # one action 0 between two lives
    assert finished.score >= sum(arrival.reward for arrival in arrivals)


def test_a_save_is_not_changed_by_what_follows():
    vector = started(script_of((0.0, ON), (0.0, ON)))
    saved = vector.state()
    vector.step([1])
    assert saved["games"][0]["actions"] == []


def log_of(*actions):
    """The state of one environment."""
    return {"games": [{"seed": 0, "actions": list(actions)}]}


def test_a_log_that_does_not_replay_is_an_environment_that_is_not_a_function_of_its_seed():
    vector = started(script_of((0.0, OVER)))
    with fails("EZ-ENV-NOT-REPEATABLE", "1 of 2"):
        vector.restore(log_of(1, 1))


def test_a_log_that_replays_to_another_frame_is_another_game():
    vector = started(script_of((0.0, ON), (0.0, ON)))
    vector.restore(log_of(1))
    vector.require_frames([np.ones((1, 1, 1), np.uint8)])
    with fails("EZ-ENV-NOT-REPEATABLE", "frame"):
        vector.require_frames([np.zeros((1, 1, 1), np.uint8)])


@pytest.mark.parametrize(
    ("state", "named"),
    [
        ({"games": []}, "0 games"),
        ({"games": [{"seed": -1, "actions": []}]}, "games.0.seed"),
        ({"games": [{"seed": 0, "actions": [2]}]}, "games.0"),
        ({"games": [{"seed": 0, "actions": [0] * 4}]}, "games.0"),
    ],
)
def test_a_log_of_other_environments_is_refused_before_it_is_played(state, named):
    env = script_of((0.0, ON))
    vector = VectorEnv(lambda: checked(env), 1, np.random.default_rng(0), longest=3)
    with fails("EZ-CHECKPOINT-CONTENT", named):
        vector.restore(state)
    assert not env.actions


def test_environments_that_differ_are_not_stepped_together():
    other = script_of((0.0, ON))
    other.spec = EnvSpec((1, 1, 1), ("noop",), {})
    supply = iter([script_of((0.0, ON)), other])
    with fails("EZ-ENV-CONTRACT", "action_names"):
        VectorEnv(lambda: checked(next(supply)), 2, np.random.default_rng(0))


@pytest.mark.parametrize("actions", [[], [0, 0], [2], [-1]])
def test_actions_that_do_not_fit_are_our_own_mistake(actions):
    vector = started(script_of((0.0, ON)))
    with pytest.raises(AssertionError):
        vector.step(actions)
