import hashlib
import subprocess
import sys
from pathlib import Path

import ale_py
import cv2
import numpy as np
import pytest
from ale_py import roms

from ezcli.envs.atari import AtariEnv
from ezcli.envs.atari_suite import ATARI_100K, AtariSettings
from ezcli.envs.make import make_env
from tests.failing import fails


def settings_of(game: str = "pong", **changes: object) -> AtariSettings:
    values = {
        "name": "atari",
        "game": game,
        "frame_stack": 4,
        "clip_rewards": True,
        "max_episode_steps": 3000,
        "evaluation_max_episode_steps": 27000,
        "frame_size": 96,
        "grayscale": False,
        "frame_skip": 4,
        "noop_max": 30,
        "life_loss_ends_episode": True,
    }
    return AtariSettings(**(values | changes))


def make(game: str = "pong", evaluation: bool = False, **changes: object) -> AtariEnv:
    return AtariEnv(settings_of(game, **changes), evaluation)


def random_actions(env: AtariEnv, count: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(len(env.spec.action_names), size=count).tolist()


def digest(env: AtariEnv, seed: int, count: int) -> str:
    """One number for all frames, rewards and ends of a game of random actions."""
    seen = hashlib.sha256(env.reset(seed).tobytes())
    for action in random_actions(env, count):
        frame, *rest = env.step(action)
        seen.update(frame.tobytes() + repr(rest).encode())
        if rest[2]:
            break
    return seen.hexdigest()


class NaiveAtari:
    """The protocol once more, slowly, on a console of its own: every screen is kept."""

    def __init__(self, game: str, grayscale: bool) -> None:
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self.ale = ale_py.ALEInterface()
        self.ale.setFloat("repeat_action_probability", 0.0)
        self.ale.loadROM(roms.get_rom_path(game))
        self.ale.reset_game()
        self.paying_frames: set[int] = set()  # within a step, 0 to 3
        self.look = self.ale.getScreenGrayscale if grayscale else self.ale.getScreenRGB

    def step(self, action: int) -> tuple[np.ndarray, int]:
        screens, reward = [], 0
        for index in range(4):
            paid = self.ale.act(self.ale.getMinimalActionSet()[action])
            if paid:
                self.paying_frames.add(index)
            reward += paid
            screens.append(self.look())
        return self.resize(np.max(screens[-2:], axis=0)), reward

    def resize(self, screen: np.ndarray) -> np.ndarray:
        planes = screen[None] if screen.ndim == 2 else [screen[..., i] for i in range(3)]
        return np.stack([cv2.resize(p, (96, 96), interpolation=cv2.INTER_AREA) for p in planes])


@pytest.mark.parametrize("grayscale", [False, True])
def test_frames_and_rewards_are_those_of_a_naive_reference(grayscale):
    env = make("alien", noop_max=0, grayscale=grayscale)  # its objects flicker
    naive = NaiveAtari("alien", grayscale)
    first = env.reset(0)
    assert first.dtype == np.uint8
    assert first.shape == env.spec.frame_shape == (1 if grayscale else 3, 96, 96)
    assert np.array_equal(first, naive.resize(naive.look()))
    for action in random_actions(env, 100):
        step = env.step(action)
        frame, reward = naive.step(action)
        assert np.array_equal(step.frame, frame)
        assert step.reward == reward
    assert naive.paying_frames == {0, 1, 2, 3}  # so that no frame's reward could be lost unseen


def test_one_step_is_four_raw_frames_and_nothing_is_sticky():
    env = make(noop_max=0)
    env.reset(0)
    before = env._ale.getEpisodeFrameNumber()
    env.step(0)
    assert env._ale.getEpisodeFrameNumber() - before == 4
    assert env._ale.getFloat("repeat_action_probability") == 0.0
    assert env._ale.getInt("frame_skip") == 1


class Recorder:
    """A console that notes the actions that it is told."""

    def __init__(self, ale):
        self.ale, self.codes = ale, []

    def act(self, code):
        self.codes.append(code)
        return self.ale.act(code)

    def __getattr__(self, name):
        return getattr(self.ale, name)


def test_sticky_actions_hold_the_action_of_the_frame_before():
    """The rule of ALE: at each frame, with this probability, the old action once more."""
    env = make(noop_max=0, sticky=0.25)
    env._ale = Recorder(env._ale)
    env.reset(1)
    chosen = [2 + step % 2 for step in range(600)]  # another action at every step
    codes = [env._action_codes[action] for action in chosen]
    for action in chosen:
        env.step(action)
    held = np.array(env._ale.codes).reshape(-1, 4) != np.array(codes)[:, None]
    assert held[0, 0] == (env._ale.codes[0] == 0)  # a game starts from no action
    assert not (~held[:, :-1] & held[:, 1:]).any()  # once taken, it is held until the next step
    # A standard deviation of 600 steps is 0.018, 0.010 and 0.005.
    assert held.mean(0)[:3] == pytest.approx([1 / 4, 1 / 16, 1 / 64], abs=0.03)


def test_a_sticky_game_is_a_function_of_seed_and_actions_and_comes_back():
    env = make("breakout", sticky=0.25, noop_max=0)
    first = digest(env, 3, 120)
    assert digest(env, 4, 120) != first
    assert digest(env, 3, 120) == first
    assert digest(make("breakout", noop_max=0), 3, 120) != first


def test_the_full_action_set_has_18_actions_that_do_what_they_say():
    env = make("breakout", full_action_set=True, sticky=0.25)
    assert len(env.spec.action_names) == 18
    assert env.spec.action_names[:4] == ("noop", "fire", "up", "right")
    assert env.spec.contract["action_names"] == list(env.spec.action_names)
    assert env.spec.contract["action_set"] == "full"
    assert env.spec.contract["sticky_actions"] == 0.25
    minimal = make("breakout")
    env = make("breakout", full_action_set=True)
    assert np.array_equal(env.reset(0), minimal.reset(0))
    for name in ("fire", "right", "left", "right", "noop") * 4:
        ours, theirs = (e.step(e.spec.action_names.index(name)) for e in (env, minimal))
        assert np.array_equal(ours.frame, theirs.frame)


def test_noops_are_one_to_noop_max_raw_frames_all_of_them_possible():
    env = make(noop_max=30)
    assert {env._draw_noops(seed) for seed in range(1000)} == set(range(1, 31))
    env.reset(5)
    assert env._ale.getEpisodeFrameNumber() == env._draw_noops(5) > 1


def test_the_contract_says_what_the_task_is():
    contract = make("breakout").spec.contract
    assert contract == {
        "name": "atari",
        "game": "breakout",
        "ale_py": ale_py.__version__,
        "rom_md5": "f34f08e5eb96e500e851a80be3277a56",
        "frame_skip": 4,
        "frame_max_over": 2,
        "sticky_actions": 0.0,
        "frame_size": 96,
        "resize": "cv2.INTER_AREA",
        "colour": "rgb",
        "noop_max": 30,
        "noop_unit": "raw frames",
        "life_loss_ends_episode": True,
        "action_set": "minimal",
        "action_names": ["noop", "fire", "right", "left"],
        "max_episode_steps": 3000,
    }
    evaluated = make("breakout", evaluation=True, grayscale=True).spec.contract
    differences = {key for key in contract if contract[key] != evaluated[key]}
    assert differences == {"colour", "life_loss_ends_episode", "max_episode_steps"}


@pytest.mark.slow
@pytest.mark.parametrize("game", ATARI_100K)
def test_every_game_of_the_benchmark_loads_and_plays(game):
    env = make(game, noop_max=2)
    env.reset(1)
    assert env.step(0).frame.shape == (3, 96, 96)
    assert env.spec.action_names[0] == "noop"
    assert len(env.spec.action_names) <= 18


@pytest.mark.slow
def test_the_seed_decides_the_game_in_this_process_and_in_a_fresh_one():
    code = (
        "import sys; sys.path.insert(0, 'tests/envs'); from test_atari import digest, make;"
        "print(digest(make('assault'), 7, 60))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert other.stderr == ""  # the emulator's greeting is silenced
    here = digest(make("assault"), 7, 60)
    assert other.stdout == here + "\n"
    assert digest(make("assault"), 8, 60) != here


@pytest.mark.slow
@pytest.mark.parametrize("game", ["assault", "kung_fu_master"])
def test_a_game_knows_nothing_of_the_one_before(game):
    env = make(game, noop_max=0)
    first = digest(env, 3, 120)
    digest(env, 4, 50)
    assert digest(env, 3, 120) == first


def play_breakout(evaluation: bool, **changes: object) -> list[tuple[bool, bool]]:
    """Flags of each step of one game: the ball is served and then missed."""
    env = make("breakout", evaluation, **changes)
    env.reset(0)
    flags = []
    while not flags or not flags[-1][1]:
        flags.append(env.step(len(flags) % 2)[2:4])
    return flags


def test_a_lost_life_ends_the_episode_in_training_but_not_the_game():
    flags = play_breakout(evaluation=False)
    assert sum(is_episode_over for is_episode_over, _ in flags) == 5
    assert flags[-1] == (True, True)
    assert flags.count((True, False)) == 4


@pytest.mark.parametrize(("evaluation", "life_loss_ends_episode"), [(True, True), (False, False)])
def test_a_lost_life_is_nothing_elsewhere(evaluation, life_loss_ends_episode):
    flags = play_breakout(evaluation, life_loss_ends_episode=life_loss_ends_episode)
    assert flags.count((True, False)) == 0
    assert flags[-1] == (True, True)


@pytest.mark.parametrize(("evaluation", "cap"), [(False, 3), (True, 5)])
def test_the_cap_on_env_steps_ends_the_game_and_starts_anew_at_reset(evaluation, cap):
    settings = settings_of("pong", max_episode_steps=3, evaluation_max_episode_steps=5)
    env = make_env(settings, evaluation)
    for seed in range(2):
        env.reset(seed)
        steps = [env.step(0) for _ in range(cap)]
        assert [step.is_game_over for step in steps] == [False] * (cap - 1) + [True]
        assert [step.is_episode_over for step in steps] == [False] * (cap - 1) + [True]
        assert [step.is_truncated for step in steps] == [False] * (cap - 1) + [True]


def test_a_game_that_ends_within_a_step_is_not_played_on():
    env = make("breakout", evaluation=True, noop_max=0, frame_skip=200)
    env.reset(0)
    steps = [env.step(1)]
    while not steps[-1].is_game_over:
        steps.append(env.step(1))
    frames = env._ale.getEpisodeFrameNumber()
    assert (len(steps) - 1) * 200 < frames < len(steps) * 200
    assert steps[-1].frame.any()


def test_an_unknown_game_is_refused_with_the_nearest_name():
    with fails("EZ-UNKNOWN-GAME", "'pnog'", "'pong'"):
        make("pnog")
