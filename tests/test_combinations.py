"""Contradictory settings: the error names the given one, and suggests values."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import ezcli
from ezcli.config.errors import concerned
from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.errors import ConfigError
from ezcli.settings import DoesNotFit
from tests.failing import check, fails

PACKAGE = Path(ezcli.__file__).parent
LAUNCHERS = PACKAGE / "experiments" / "launchers"  # their settings are not of a config
# By preset: overrides that break one rule, the one that the error is about first.
CASES = {
    "smoke": (
        "search.num_simulations=2147483648",
        "schedule.acting_update_interval=7",
        "schedule.target_update_interval=12",
        "schedule.final_train_steps=12",
        "schedule.sample_ahead=3",
        "schedule.train_steps_per_env_step=0.3",
        "schedule.env_steps=210",
        "schedule.env_steps=20",
        "schedule.random_env_steps=220",
        "schedule.final_train_steps=0 schedule.random_env_steps=200",
        "schedule.final_train_steps=0 schedule.random_env_steps=200 schedule.env_steps=200",
        "acting.temperatures=[1.0]",
        "acting.temperatures=[1.0,0.5,0.4,0.3,0.2]",
        "acting.temperature_until=[0.5]",
        "acting.temperature_until=[0.75,0.5]",
        "acting.temperature_until=[0.75,1.5]",
        "acting.num_envs=3",
        "replay.capacity=10",
        "value.td_steps=1000",
        "value.td_steps=100000",
        "loss.unroll_steps=100000",
        "replay.block_env_steps=100000",
        "env.frame_stack=100000",
        "evaluation.interval=7",
        "record.keep_interval=7",
        "schedule.sample_ahead=4 schedule.acting_update_interval=4 "
        "schedule.target_update_interval=4 schedule.final_train_steps=4 evaluation.interval=6",
        "start.train_steps=1000",
        "start.env_steps=1000",
        "schedule.env_steps=100 start.env_steps=140",
    ),
    "atari100k": (
        "schedule.env_steps=11",
        "schedule.env_steps=400",
        "schedule.final_train_steps=10",
        "schedule.train_steps_per_env_step=0.03125",
        "schedule.sample_ahead=3000",
        "acting.num_envs=7",
        "network.representation=mlp",
        "network.representation=mlp network.downsamplings=0",
        "network.downsamplings=1 network.representation=mlp",
        "loss.augmentation=true network.representation=mlp network.downsamplings=0",
        "schedule.final_train_steps=10 schedule.env_steps=13",
        "schedule.final_train_steps=10 schedule.env_steps=400",
        "schedule.final_train_steps=10 evaluation.interval=7 acting.num_envs=7",
    ),
    "keydoor": ("env.levels=100", "env.levels=56"),
    "procgen": (
        "env.levels=2147483647",
        "env.start_level=2147483646",
        "env.start_level=5 env.levels=0",
    ),
}


def tables_of(preset):
    return read_toml(preset_path(preset))


def raised():
    """Where a model refuses settings that exclude each other: file and line."""
    return {
        (path.relative_to(PACKAGE).as_posix(), node.lineno)
        for path in PACKAGE.rglob("*.py")
        if not path.is_relative_to(LAUNCHERS)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Raise)
        and getattr(getattr(node.exc, "func", 0), "id", "") == "DoesNotFit"
    }


def rule_of(error):
    """Where the rule was raised that the error is about: file and line."""
    rule = error.__cause__.errors()[0]["ctx"]["error"]
    assert isinstance(rule, DoesNotFit)
    trace = rule.__traceback__
    path = Path(trace.tb_frame.f_code.co_filename).relative_to(PACKAGE)
    return path.as_posix(), trace.tb_lineno


@cache
def refusal(preset, overrides):
    """The error that a preset with these overrides is."""
    with fails("EZ-CONFIG-COMBINATION") as caught:
        resolve(tables_of(preset), overrides, source="the preset")
    return caught.value


def complained_of(preset, overrides):
    """The settings that the first complaint about a preset with these overrides names."""
    try:
        resolve(tables_of(preset), overrides)
    except ConfigError as error:
        return concerned(error.__cause__.errors()[0])
    return []


ALL = [(preset, tuple(case.split())) for preset, cases in CASES.items() for case in cases]


@pytest.mark.parametrize(("preset", "overrides"), ALL)
def test_the_setting_that_was_given_gets_its_nearest_values(preset, overrides):
    key = overrides[0].partition("=")[0]
    error = refusal(preset, overrides)
    check(error, "EZ-CONFIG-COMBINATION", f"{key} = ")
    assert "the preset" not in error.message
    offered = re.fullmatch(r"Nearest allowed: ([\w.]+) = (.*)\.", error.hint)
    assert offered, f"{error} has no nearest value"
    assert offered[1] == key
    for value in offered[2].split(" or "):
        assert key not in complained_of(preset, [f"{key}={value}", *overrides[1:]])


def test_every_rule_has_a_case():
    assert {rule_of(refusal(*case)) for case in ALL} == raised()
