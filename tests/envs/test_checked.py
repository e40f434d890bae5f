"""Violations by an environment become sentences that name them and their game."""

from asyncio import CancelledError

import numpy as np
import pytest

from ezcli.envs.checked import Checked
from ezcli.envs.protocol import EnvSpec, Step
from ezcli.errors import ConfigError
from tests.failing import fails

FRAME = np.zeros((1, 1, 1), np.uint8)
SPEC = EnvSpec((1, 1, 1), ("noop", "act"), {"name": "bad"})


def nested(levels):
    """A list in a list, on so many levels."""
    inner = []
    for _ in range(levels - 1):
        inner = [inner]
    return inner


class Mute(Exception):
    """An error whose message raises."""

    def __str__(self):
        raise ValueError


def raising(error):
    """A function that raises, whatever it is asked."""

    def ask(*_):
        raise error

    return ask


class Bad:
    """An environment in which one thing is broken."""

    def __init__(self, first=FRAME, step=None, spec=SPEC) -> None:
        self.first, self.outcome, self.spec = first, step, spec

    def reset(self, seed):
        return self.first

    def step(self, action):
        return self.outcome


def checked(env, cap=100):
    return Checked(lambda: env, "Bad", cap)


def play_one(env):
    env.reset(7)
    return env.step(0)


def step(reward=0.0, episode=False, game=False, frame=FRAME):
    return Step(frame, reward, episode, game)


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ({"first": np.zeros((1, 9, 9), np.uint8)}, ["(1, 9, 9)", "(1, 1, 1)"]),
        ({"first": FRAME.astype(float)}, ["float64", "uint8"]),
        ({"first": (FRAME, {})}, ["tuple", "NumPy array"]),
        ({"step": step(frame=FRAME[0])}, ["(1, 1)", "(1, 1, 1)"]),
        ({"step": None}, ["NoneType", "`step`", "`Step`"]),
        ({"step": (FRAME, 0.0, False, {})}, ["tuple", "`step`", "`Step`"]),
        ({"step": step(float("nan"))}, ["reward nan"]),
        ({"step": step(float("-inf"))}, ["reward -inf"]),
        ({"step": step(None)}, ["reward None"]),
        ({"step": step("1")}, ["reward '1'"]),
        ({"step": step(np.ones(2))}, ["reward array([1., 1.])"]),
        ({"step": step(1e16)}, ["reward of 1e+16", "score of 1e+16"]),
        ({"step": step(10**5000)}, ["reward inf"]),
        ({"step": step(episode=None)}, ["None", "`is_episode_over`"]),
        ({"step": Step(FRAME, 0.0, True, True, 1)}, ["1", "`is_truncated`"]),
        ({"step": Step(FRAME, 0.0, True, False, True)}, ["truncated", "`is_game_over`"]),
        ({"step": step(game=np.ones(2))}, ["array([1., 1.])", "`is_game_over`"]),
        ({"step": step(game=True)}, ["`is_episode_over`"]),
    ],
)
def test_a_broken_contract_is_named_with_its_game(broken, named):
    with fails("EZ-ENV-CONTRACT", "'Bad'", "seed 7", "env_step ", *named):
        play_one(checked(Bad(**broken)))


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (None, ["`spec`", "`EnvSpec`"]),
        ({"frame_shape": (1, 1, 1)}, ["`spec`", "`EnvSpec`"]),
        (EnvSpec((9, 9), ("noop",), {}), ["frame_shape (9, 9)"]),
        (EnvSpec(9, ("noop",), {}), ["frame_shape 9", "C, H, W"]),
        (EnvSpec((1, 0, 9), ("noop",), {}), ["frame_shape (1, 0, 9)"]),
        (EnvSpec((1, 9.0, 9), ("noop",), {}), ["frame_shape (1, 9.0, 9)"]),
        (EnvSpec((1, 9, 9), (), {}), ["`action_names`"]),
        (EnvSpec((1, 9, 9), (1, 2), {}), ["action_names (1, 2)"]),
        (EnvSpec((1, 9, 9), "noop", {}), ["action_names 'noop'"]),
        (EnvSpec((1, 9, 9), ("noop",), {"rules": {1, 2}}), ["`contract`", "set"]),
        (EnvSpec((1, 9, 9), ("noop",), {"gravity": float("nan")}), ["`contract`", "float"]),
        (EnvSpec((1, 9, 9), ("noop",), {(1, 2): 3}), ["`contract`", "tuple"]),
        (EnvSpec((1, 9, 9), ("noop",), {1: 2, "1": 3}), ["`contract`", "'1'"]),
        (EnvSpec((1, 9, 9), ("noop",), {"a": [{True: 2, "true": 3}]}), ["`contract`", "'true'"]),
        (EnvSpec((1, 9, 9), ("noop",), None), ["`contract`", "dict"]),
        (EnvSpec((1, 9, 9), ("noop",), ["rules"]), ["`contract`", "dict"]),
        (EnvSpec((1, 9, 9), ("noop",), {"a": nested(11)}), ["`contract`", "10 levels"]),
        (EnvSpec((1, 9, 9), ("noop",), {"a": nested(100_000)}), ["`contract`", "recursion"]),
        (EnvSpec((1, 9, 9), ("noop",), {"a": "x" * 100_000}), ["`contract`", "100,000"]),
        (EnvSpec((1, 9, 9), ("x" * 101,), {}), ["action name", "100"]),
    ],
)
def test_a_broken_spec_is_named(spec, named):
    with fails("EZ-ENV-CONTRACT", "'Bad'", *named):
        checked(Bad(spec=spec))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no\n  board"),
        KeyError("x"),
        SystemExit(0),
        GeneratorExit(),
        CancelledError(),
        BaseExceptionGroup("two", [SystemExit(0)]),
        Mute(),
    ],
)
def test_whatever_an_environment_raises_is_its_own_defect(error):
    env = Bad()
    env.step = raising(error)
    guarded = checked(env)
    guarded.reset(3)
    with fails("EZ-ENV-FAILED", "`step`", type(error).__name__) as caught:
        guarded.step(1)
    assert "\n" not in caught.value.message
    assert caught.value.__cause__ is error


def test_what_reset_and_the_constructor_raise_is_named_too():
    env = Bad()
    env.reset = raising(RuntimeError())
    with fails("EZ-ENV-FAILED", "`reset`", "RuntimeError", "seed 3", "env_step 0"):
        checked(env).reset(3)
    with fails("EZ-ENV-FAILED", "constructor", "TypeError: no settings"):
        Checked(raising(TypeError("no settings")), "Bad", 1)


def test_a_spec_that_raises_is_named():
    class Unready:
        spec = property(raising(ValueError("no board")))

    with fails("EZ-ENV-FAILED", "`spec`", "ValueError: no board"):
        checked(Unready())


def test_numpy_integers_are_sizes():
    env = Bad(spec=EnvSpec((1, np.int64(1), 1), ("noop",), {}))
    assert checked(env).spec.frame_shape == (1, 1, 1)


def test_our_own_errors_pass_as_they_are():
    own = ConfigError("EZ-UNKNOWN-GAME", "no such game")
    with fails("EZ-UNKNOWN-GAME") as caught:
        Checked(raising(own), "Bad", 1)
    assert caught.value is own


def test_a_game_that_never_ends_is_cut():
    env = checked(Bad(step=step(1.0)), cap=3)
    for _ in range(2):  # in every game
        env.reset(0)
        ended = [env.step(0)[2:] for _ in range(3)]
        assert ended == [(False, False, False), (False, False, False), (True, True, True)]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((False, False), (True, True, True)),
        ((True, False), (True, True, False)),  # a lost life ended the episode, the cap the game
        ((True, True), (True, True, False)),
        ((True, True, True), (True, True, True)),
    ],
)
def test_only_what_has_not_ended_is_truncated_by_the_cap(flags, expected):
    env = checked(Bad(step=Step(FRAME, 0.0, *flags)), cap=1)
    env.reset(0)
    assert env.step(0)[2:] == expected


def test_a_time_limit_of_the_environments_own_is_handed_on():
    env = checked(Bad(step=Step(FRAME, 0.0, True, True, is_truncated=True)))
    env.reset(0)
    assert env.step(0).is_truncated


@pytest.mark.parametrize("reward", [1, True, np.float32(1), np.int8(1), 1e15, -1e15])
def test_every_kind_of_number_is_a_reward(reward):
    env = checked(Bad(step=step(reward)))
    env.reset(0)
    assert env.step(0).reward == float(reward)


@pytest.mark.parametrize("action", [2, -1])
def test_an_action_that_there_is_not_is_our_own_mistake(action):
    env = checked(Bad(step=step()))
    env.reset(0)
    with pytest.raises(AssertionError, match="there is no action"):
        env.step(action)


def test_ctrl_c_in_an_environment_stays_a_stop():
    env = Bad()
    env.reset = raising(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        checked(env).reset(3)


def test_a_contract_is_what_its_json_says():
    spec = SPEC._replace(contract={10: 1, 9: (2, 3), None: True})
    assert checked(Bad(spec=spec)).spec.contract == {"10": 1, "9": [2, 3], "null": True}


def test_the_score_of_a_game_has_the_bound_of_reports():
    env = checked(Bad(step=step(6e14)))
    env.reset(0)
    env.step(1)
    with fails("EZ-ENV-CONTRACT", "score of 1.2e+15"):
        env.step(1)
    env.reset(1)
    env.step(1)


def test_answers_that_compute_what_they_show_are_named():
    class Frame(np.ndarray):
        def copy(self, *_):
            raise ValueError

    class Odd(Step):
        is_game_over = property(raising(ValueError("gone")))

    class Incomparable(float):
        __gt__ = __ne__ = __abs__ = raising(ValueError())

    plain = checked(Bad(FRAME.view(Frame), step(Incomparable(2)))).reset(0)
    assert type(plain) is np.ndarray
    env = checked(Bad(step=step(Incomparable(2))))
    env.reset(0)
    assert type(env.step(1).reward) is float
    env = checked(Bad(step=Odd(*step(1))))
    env.reset(0)
    with fails("EZ-ENV-FAILED", "`step`", "ValueError: gone"):
        env.step(1)
