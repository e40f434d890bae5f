import subprocess
import sys

import pytest

from ezcli.envs.atari import AtariEnv
from ezcli.envs.atari_suite import AtariSettings
from ezcli.envs.catch import Catch
from ezcli.envs.custom_suite import CustomSettings
from ezcli.envs.keydoor import Keydoor
from ezcli.envs.make import make_env
from ezcli.envs.small_suites import CatchSettings, KeydoorSettings
from tests.failing import fails

PONG = AtariSettings(
    name="atari",
    game="pong",
    frame_stack=4,
    clip_rewards=True,
    max_episode_steps=5,
    evaluation_max_episode_steps=9,
    frame_size=84,
    grayscale=True,
    frame_skip=4,
    noop_max=0,
    life_loss_ends_episode=True,
)

COUNTER = """
from __future__ import annotations
from dataclasses import dataclass
import numpy as np
from ezcli.envs.protocol import EnvSpec, Step

@dataclass
class Room:
    limit: int

class Counter:
    def __init__(self, settings, evaluation):
        self.room = Room(settings.evaluation_max_episode_steps if evaluation else 1)
        self.spec = EnvSpec((1, 2, 2), ("stay",), {"name": "counter"})

    def reset(self, seed):
        return np.zeros((1, 2, 2), np.uint8)

    def step(self, action):
        return Step(np.zeros((1, 2, 2), np.uint8), 0.0, True, True)

class Other: ...
"""


def custom(target: str) -> CustomSettings:
    return CustomSettings(name="custom", target=target, evaluation_max_episode_steps=7)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (PONG, AtariEnv),
        (CatchSettings(name="catch", max_episode_steps=5), Catch),
        (KeydoorSettings(name="keydoor", max_episode_steps=5), Keydoor),
    ],
)
@pytest.mark.parametrize("evaluation", [False, True])
def test_settings_choose_the_environment_and_evaluation_its_cap(settings, expected, evaluation):
    env = make_env(settings, evaluation)
    assert type(env.env) is expected
    cap = settings.evaluation_max_episode_steps if evaluation else settings.max_episode_steps
    assert env.spec.contract["name"] == settings.name
    assert env.spec.contract["max_episode_steps"] == cap


def test_a_class_from_a_file(tmp_path):
    file = tmp_path / "random.py"  # must not hide the standard library's
    file.write_text(COUNTER)
    env = make_env(custom(f"{file}:Counter"), evaluation=True)
    assert env.spec.contract == {"name": "counter"}
    assert env.env.room.limit == 7
    assert make_env(custom(f"{file}:Counter"), evaluation=False).env.room.limit == 1
    assert sys.modules.get("random") is None or hasattr(sys.modules["random"], "shuffle")


def test_a_class_from_a_module(tmp_path, monkeypatch):
    (tmp_path / "my_counter_env.py").write_text(COUNTER)
    monkeypatch.syspath_prepend(tmp_path)
    env = make_env(custom("my_counter_env:Counter"), evaluation=True)
    assert env.spec.action_names == ("stay",)


def test_a_missing_file_is_named(tmp_path):
    with fails("EZ-ENV-NO-FILE", "absent.py'", "`file.py:Class`"):
        make_env(custom(f"{tmp_path / 'absent.py'}:Counter"), evaluation=False)


def test_a_missing_class_is_named_with_the_nearest_one_of_the_file(tmp_path):
    file = tmp_path / "my_env.py"
    file.write_text(COUNTER)
    with fails("EZ-ENV-NO-CLASS", "'Count'", str(file), "'Counter'", "Counter, Other, Room"):
        make_env(custom(f"{file}:Count"), evaluation=False)


def test_a_file_without_a_class_is_told_so(tmp_path):
    file = tmp_path / "empty.py"
    file.write_text("Counter = 3\n")
    with fails("EZ-ENV-NO-CLASS", "'Counter'", str(file)) as caught:
        make_env(custom(f"{file}:Counter"), evaluation=False)
    assert "Available" not in caught.value.hint


@pytest.mark.parametrize("module", ["no_such_module", "no_such.module", "ezcli.no_such_module"])
def test_a_missing_module_is_named(module):
    with fails("EZ-ENV-NO-MODULE", repr(module)):
        make_env(custom(f"{module}:Counter"), evaluation=False)


def test_what_a_users_module_fails_to_import_is_named(tmp_path, monkeypatch):
    (tmp_path / "my_broken_env.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with fails("EZ-ENV-NOT-LOADED", "'my_broken_env'", "'no_such_dependency'"):
        make_env(custom("my_broken_env:Counter"), evaluation=False)


def test_no_emulator_is_loaded_before_it_is_asked_for():
    code = (
        "import sys; from ezcli.envs.make import make_env;"
        "from ezcli.envs.small_suites import CatchSettings;"
        "make_env(CatchSettings(name='catch'), False);"
        "assert not {'ale_py', 'torch', 'numba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
