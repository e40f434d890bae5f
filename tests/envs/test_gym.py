"""Environments of Gymnasium: observations, ends of games, and refused spaces."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from ezcli.commands.config_options import default_preset
from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve, use_env
from ezcli.envs import gym, gym_spaces
from ezcli.envs.gym_suite import GYM, GymSettings
from ezcli.envs.make import make_env
from ezcli.envs.suites import check_env, check_game, env_tables, own_code
from ezcli.runs.playable import require_playable, require_repeating
from tests.failing import fails

# Registered by the module itself, as a user's would; `{...}` is filled in.
MODULE = """
import gymnasium
import numpy as np
from gymnasium import spaces


class Line(gymnasium.Env):
    observation_space = spaces.{space}
    action_space = spaces.{actions}
    action_names = ["left", "right"]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.start = 0, int(self.np_random.integers(100))
        return self.seen(), {{}}

    def seen(self):
        return {seen}

    def step(self, action):
        self.steps += 1
        self.taken = action
        return self.seen(), np.float32(action), {terminated}, {truncated}, {{}}


gymnasium.register("Line-v0", entry_point=Line)
"""
PLAIN = {
    "space": "Box(0, 255, (4, 4, 3), np.uint8)",
    "actions": "Discrete(2, start=5)",
    "seen": "np.full((4, 4, 3), self.start + self.steps, np.uint8)",
    "terminated": "self.steps == 3",
    "truncated": "False",
}
CRAFTER = """
import crafter
import crafter.engine
import gymnasium
import numpy as np
from gymnasium import spaces


class InOrder(dict):
    \"\"\"A set in the order of insertion; Crafter draws from sets, whose order is by address.\"\"\"

    def __init__(self, members=()):
        super().__init__(dict.fromkeys(members))

    def add(self, one):
        self[one] = None

    def remove(self, one):
        del self[one]


crafter.engine.set = InOrder


class Crafter(gymnasium.Env):
    observation_space = spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = spaces.Discrete(17)

    def reset(self, *, seed=None, options=None):
        self.world = crafter.Env(seed=seed)
        return self.world.reset(), {}

    def step(self, action):
        seen, reward, done, info = self.world.step(action)
        return seen, reward, done and not info["discount"], done and info["discount"] > 0, {}


gymnasium.register("Crafter-v1", entry_point=Crafter)
"""


@pytest.fixture(autouse=True)
def forgotten():
    """What a test registers is gone after it."""
    yield
    for env_id in ("Line-v0", "Crafter-v1"):
        gymnasium.registry.pop(env_id, None)


def settings(target, **others):
    return GymSettings(name="gym", target=target, **others)


def line(tmp_path, **changes):
    """The environment of a user's own module, with other parts."""
    text = MODULE.format_map({**PLAIN, **changes})
    file = tmp_path / "lines.py"
    file.write_text(text)
    return settings(f"{file}:Line-v0")


IDS = [
    ("CartPole-v1", (1, 1, 4), "float32", 2),
    ("Acrobot-v1", (1, 1, 6), "float32", 3),
    ("MountainCar-v0", (1, 1, 2), "float32", 3),
    ("MiniGrid-DoorKey-5x5-v0", (3, 7, 7), "uint8", 7),
    ("MiniGrid-Empty-5x5-v0", (3, 7, 7), "uint8", 7),
    ("BabyAI-GoToObj-v0", (3, 7, 7), "uint8", 7),
    ("MinAtar/Breakout-v1", (4, 10, 10), "uint8", 3),
    ("MinAtar/Seaquest-v0", (10, 10, 10), "uint8", 6),
    ("ALE/Pong-v5", (3, 210, 160), "uint8", 6),
    ("PongNoFrameskip-v4", (3, 210, 160), "uint8", 6),
]


@pytest.mark.slow
@pytest.mark.parametrize(("env_id", "shape", "frame_type", "actions"), IDS)
def test_ids_of_four_packages_play_and_repeat_themselves(env_id, shape, frame_type, actions):
    chosen = settings(env_id)
    one, other = (make_env(chosen, evaluation) for evaluation in (False, True))
    assert (one.spec.frame_shape, one.spec.frame_type) == (shape, frame_type)
    assert len(one.spec.action_names) == actions
    require_repeating(one, other, 200)
    assert one.spec.contract["id"] == env_id
    assert {"gymnasium (version)"} < set(one.spec.contract["versions"]) or actions < 4


@pytest.mark.slow
def test_a_fifth_package_comes_by_a_module_that_registers_it(tmp_path):
    (tmp_path / "my_crafter.py").write_text(CRAFTER)
    chosen = settings(f"{tmp_path / 'my_crafter.py'}:Crafter-v1")
    one, other = (make_env(chosen, False) for _ in range(2))
    assert one.spec.frame_shape == (3, 64, 64)
    require_repeating(one, other, 60)


def test_the_module_of_an_id_is_the_users_code(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_lines.py").write_text(MODULE.format_map(PLAIN))
    chosen = settings("my_lines:Line-v0")
    assert own_code(chosen).target == "my_lines:Line-v0"
    assert own_code(settings("CartPole-v1")) is None
    env = make_env(chosen, False)
    assert env.spec.action_names == ("left", "right")
    assert env.name == "Line-v0"
    with fails("EZ-ENV-NO-MODULE", "'no_such_module'"):
        make_env(settings("no_such_module:Line-v0"), False)


def test_actions_frames_and_rewards_are_the_environments(tmp_path):
    env = make_env(line(tmp_path), False)
    first = env.reset(7)
    assert first.shape == (3, 4, 4)
    step = env.step(1)
    assert (env.env.env.unwrapped.taken, step.reward) == (6, 6.0)  # the first action is 5
    assert step.frame[0, 0, 0] == first[0, 0, 0] + 1


@pytest.mark.parametrize(
    ("terminated", "truncated", "ends"),
    [
        ("self.steps == 3", "False", (True, True, False)),
        ("False", "self.steps == 3", (True, True, True)),
        ("self.steps == 3", "self.steps == 3", (True, True, False)),
        ("np.bool_(self.steps == 3)", "np.bool_(False)", (True, True, False)),
        ("False", "False", (False, False, False)),
    ],
)
def test_a_game_that_is_terminated_is_not_one_that_is_truncated(
    tmp_path, terminated, truncated, ends
):
    env = make_env(line(tmp_path, terminated=terminated, truncated=truncated), False)
    env.reset(0)
    steps = [env.step(0) for _ in range(3)]
    assert not any(step.is_episode_over or step.is_truncated for step in steps[:2])
    assert steps[2][2:] == ends


@pytest.mark.slow
def test_the_time_limit_of_gymnasium_truncates():
    env, played = make_env(settings("MountainCar-v0"), False), 1
    env.reset(0)
    while not (step := env.step(0)).is_game_over:
        played += 1
    assert (played, step.is_truncated) == (200, True)


@pytest.mark.parametrize(
    ("space", "seen", "key", "frame"),
    [
        (
            "Box(0, 255, (2, 3, 1), np.uint8)",
            np.arange(6).reshape(2, 3, 1),
            "",
            [[[0, 1, 2], [3, 4, 5]]],
        ),
        ("Box(0, 1, (2, 3), bool)", np.eye(2, 3, dtype=bool), "", [[[255, 0, 0], [0, 255, 0]]]),
        ("Box(-1, 3, (1, 2), np.float32)", np.array([[-1.0, 1]]), "", [[[0, 128]]]),
        ("Box(-2, 2, (3,), np.float32)", np.array([-2.0, 0, 1]), "", [[[-1, 0, 0.5]]]),
        ("Box(0, 255, (2,), np.uint8)", np.array([0, 255]), "", [[[-1, 1]]]),
        ("Box(-np.inf, np.inf, (2,))", np.array([0, np.e - 1]), "", [[[0, 1]]]),
        (
            "Dict(a=spaces.Discrete(3), b=spaces.Box(0, 9, (2,)), c=spaces.Box(0, 255, (1, 2)))",
            {"a": 1, "b": np.zeros(2), "c": np.array([[255, 0]])},
            "",
            [[[255, 0]]],
        ),
        (
            "Dict(a=spaces.Box(0, 255, (1, 2), np.uint8), b=spaces.Box(0, 255, (1, 2), np.uint8))",
            {"a": np.array([[1, 2]]), "b": np.array([[3, 4]])},
            "b",
            [[[3, 4]]],
        ),
    ],
)
def test_observations_become_frames(space, seen, key, frame):
    found = gym_spaces.view_of(eval(f"spaces.{space}"), "Line-v0", key, "auto")
    made = found.frame(seen if isinstance(seen, dict) else seen.astype("float32"))
    assert made.shape == found.frame_shape
    np.testing.assert_allclose(made, frame, atol=1e-6)


def test_a_uint8_image_is_left_as_it_is():
    view = gym_spaces.view_of(spaces.Box(0, 10, (2, 2, 3), np.uint8), "Line-v0", "", "auto")
    seen = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert view.frame(seen).dtype == np.uint8
    np.testing.assert_array_equal(view.frame(seen), seen.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("shape", "axis", "frame_shape", "recorded"),
    [
        ((7, 7, 3), "auto", (3, 7, 7), "last"),
        ((3, 64, 48), "auto", (3, 64, 48), "first"),
        ((10, 10, 10), "auto", (10, 10, 10), "last"),
        ((2, 5, 1), "auto", (1, 2, 5), "last"),
        ((4, 9, 9), "last", (9, 4, 9), "last"),
        ((9, 9, 4), "first", (9, 9, 4), "first"),
    ],
)
def test_the_channels_are_found_and_recorded(shape, axis, frame_shape, recorded):
    view = gym_spaces.view_of(spaces.Box(0, 255, shape, np.uint8), "Line-v0", "", axis)
    assert (view.frame_shape, view.contract()["channel_axis"]) == (frame_shape, recorded)


@pytest.mark.parametrize(
    ("space", "wrapper"),
    [
        ("Discrete(4)", "FlattenObservation"),
        ("MultiDiscrete([2, 3])", "FlattenObservation"),
        ("Tuple((spaces.Discrete(2), spaces.Discrete(3)))", "FlattenObservation"),
        ("Dict(a=spaces.Discrete(2))", "FlattenObservation"),
        ("Text(5)", "TransformObservation"),
        ("Box(0, 1, (2, 3, 4, 5))", "ReshapeObservation"),
        ("Box(0, 1, ())", "FlattenObservation"),
        ("Box(-np.inf, np.inf, (4, 4))", "TransformObservation"),
    ],
)
def test_a_space_without_a_way_names_the_wrapper_that_makes_one(space, wrapper):
    with fails("EZ-ENV-SPACE", "'Line-v0'", f"gymnasium.wrappers.{wrapper}"):
        gym_spaces.view_of(eval(f"spaces.{space}"), "Line-v0", "", "auto")
    assert hasattr(gymnasium.wrappers, wrapper)


@pytest.mark.parametrize(
    ("actions", "wrapper"),
    [("Box(-1, 1, (1,))", "DiscretizeAction"), ("MultiBinary(3)", "TransformAction")],
)
def test_actions_that_are_not_discrete_name_the_wrapper(tmp_path, actions, wrapper):
    with fails("EZ-ENV-SPACE", "'Line-v0'", f"gymnasium.wrappers.{wrapper}"):
        make_env(line(tmp_path, actions=actions), False)
    assert hasattr(gymnasium.wrappers, wrapper)


def test_a_wrong_key_of_a_dict_has_a_way_out():
    two = spaces.Dict(left=spaces.Box(0, 1, (2, 2)), right=spaces.Box(0, 1, (2, 2)))
    with fails("EZ-UNKNOWN-OBSERVATION-KEY", "'rigt'", "'right'"):
        gym_spaces.view_of(two, "Line-v0", "rigt", "auto")
    with fails("EZ-ENV-OBSERVATION-KEY", "left, right", "env.observation_key=left"):
        gym_spaces.view_of(two, "Line-v0", "", "auto")
    with fails("EZ-ENV-NO-DICT", "env.observation_key", "'image'"):
        gym_spaces.view_of(spaces.Box(0, 1, (2,)), "Line-v0", "image", "auto")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("CarPole-v1", "'CartPole-v1'"),
        ("CartPole", "'CartPole-v1'"),
        ("CartPole-v9", "'CartPole-v1'"),
        ("MiniGrid-DoorKey-5x6-v0", "'MiniGrid-DoorKey-"),
        ("MinAtar/Brekout-v1", "'MinAtar/Breakout-v1'"),
        ("ALE/Pog-v5", "'ALE/Pong-v5'"),
        ("", "gym:MODULE:ID"),
        ("qqqqqqqqqqqq", "gym:MODULE:ID"),
    ],
)
def test_a_bad_id_gets_the_nearest_one(name, near):
    if not name:
        with fails("EZ-CONFIG-VALUE", "env.target"):
            resolve(use_env(read_toml(preset_path("catch")), "gym:", None))
        return
    config = resolve(use_env(read_toml(preset_path("catch")), f"gym:{name}", None))
    with fails("EZ-UNKNOWN-ID-OF-GYMNASIUM", repr(name), near):
        check_game(config.env)


def test_what_cannot_be_played_is_refused_before_a_study_is_written():
    config = resolve(use_env(read_toml(preset_path("catch")), "gym:Pendulum-v1", None))
    with fails("EZ-ENV-SPACE", "'Pendulum-v1'"):
        check_game(config.env)
    other = resolve(use_env(read_toml(preset_path("catch")), "gym:no_module:Line-v0", None))
    check_game(other.env)  # nobody has said that its code is trusted


def test_a_missing_package_gets_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(gym, "find_spec", lambda name: None)
    for env_id, command in {
        "MiniGrid-None-v0": "pip install minigrid",
        "ALE/None-v5": "pip install ale-py",
        "MinAtar/None-v1": "pip install 'ezcli[minatar]'",
    }.items():
        with fails("EZ-ENV-DEPENDENCY", env_id, command):
            gym.spec_of(settings(env_id))
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.delitem(sys.modules, "ezcli.envs.gym_spaces")  # loaded by nothing before
    monkeypatch.delattr("ezcli.envs.gym_spaces")
    with fails("EZ-ENV-DEPENDENCY", "Gymnasium", "pip install 'ezcli[gymnasium]'"):
        make_env(settings("CartPole-v1"), False)


def test_what_an_environment_needs_itself_is_said_as_gymnasium_says_it():
    try:
        import Box2D  # noqa: F401
    except ImportError:
        with fails("EZ-ENV-DEPENDENCY", "'LunarLander-v3'", "pip install"):
            make_env(settings("LunarLander-v3"), False)


def test_an_environment_that_does_not_repeat_itself_is_refused_before_training(tmp_path):
    seen = "np.random.randint(0, 256, (4, 4, 3)).astype(np.uint8)"
    tables = read_toml(preset_path("catch"))
    chosen = line(tmp_path, seen=seen)
    config = resolve(tables | {"env": chosen.model_dump()})
    with fails("EZ-ENV-NOT-REPEATABLE", "'Line-v0'"):
        require_playable(config)


def test_nothing_of_a_game_reaches_the_next(tmp_path):
    """MinAtar keeps its last action: with a sticky one the next game depends on it."""
    kept = "np.full((4, 4, 3), getattr(self, 'taken', 9) + self.steps, np.uint8)"
    env = make_env(line(tmp_path, seen=kept), False)
    first = env.reset(3)
    env.step(1)
    np.testing.assert_array_equal(env.reset(3), first)


def test_names_of_environments():
    check_env("gym:CartPole-v1")
    check_env("gym:ALE/Pong-v5")  # not taken for the game
    assert env_tables("gym:a.b:Line-v0") == {"name": "gym", "target": "a.b:Line-v0"}
    for name in ("CartPole-v1", "MiniGrid-Empty-5x5-v0", "lines:Line-v0"):
        with fails("EZ-ENV-IS-AN-ID", repr(name), f"--env gym:{name}"):
            check_env(name)
    with fails("EZ-ENV-IS-A-GAME", "--game pong"):
        check_env("ALE/Pong-v5")
    assert GYM.label(settings("MinAtar/SpaceInvaders-v1")) == "spaceinvaders-v1"
    assert GYM.label(settings("a.b:Line-v0")) == "line-v0"


def test_the_preset_follows_from_what_is_seen(tmp_path):
    assert default_preset("gym:CartPole-v1", None, "cpu")[0] == "gym-vector"
    assert default_preset("gym:MinAtar/Breakout-v1", None, "cpu")[0] == "keydoor"
    large = line(tmp_path, space="Box(0, 255, (40, 40, 3), np.uint8)")
    assert default_preset(f"gym:{large.target}", None, "cpu")[0] == "atari-cpu"


@pytest.mark.parametrize(
    ("env_id", "said"),
    [
        ("ALE/MsPacman-v5", ["--game ms_pacman", "4 frames", "probability 0.25"]),
        ("MsPacman-v0", ["--game ms_pacman", "a random number of frames", "probability 0.25"]),
        ("MsPacmanNoFrameskip-v4", ["--game ms_pacman", "1 frame ", "probability 0,"]),
    ],
)
def test_an_id_of_ale_says_that_it_is_not_the_benchmark(env_id, said):
    (sentence,) = gym.advice(settings(env_id))
    assert [part for part in said if part not in sentence] == []
    assert gym.advice(settings("CartPole-v1")) == []


def test_gymnasium_is_not_loaded_for_other_environments():
    code = (
        "import sys; from ezcli.envs.make import make_env; from ezcli.envs.suites import SUITES;"
        "from ezcli.commands.config_options import ConfigOptions, build_config;"
        "make_env(build_config(ConfigOptions('catch')).env, False);"
        "assert 'gymnasium' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
