"""Procgen: games that can be played again, levels for training and for evaluation, names."""

import ctypes
import hashlib
import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve, use_env
from ezcli.envs import procgen_suite
from ezcli.envs.make import make_env
from ezcli.envs.procgen_suite import GAMES, LEVELS, ProcgenSettings, missing
from ezcli.envs.suites import follows_rules, normalisation_of, reference_of
from ezcli.runs.evaluations import why_wrong
from tests.failing import check, fails
from tests.runs.helpers import TINY, interrupted, outcome, run

LACKS = missing()
needs_procgen = pytest.mark.skipif(
    LACKS is not None and not (os.environ.get("CI") and sys.platform == "linux"),
    reason=LACKS.what if LACKS else "",
)
SHORT = ["env.max_episode_steps=30", "env.evaluation_max_episode_steps=30"]


def settings(game="coinrun", **changes) -> ProcgenSettings:
    return ProcgenSettings.model_validate({"name": "procgen", "game": game} | changes)


def digest(env, seed, steps=400) -> str:
    """Of frames, rewards and ends of one game under actions that follow from the seed."""
    found = hashlib.sha256(env.reset(seed).tobytes())
    for action in np.random.default_rng(seed).integers(15, size=steps):
        step = env.step(int(action))
        found.update(step.frame.tobytes() + repr(step[1:]).encode())
        if step.is_game_over:
            break
    return found.hexdigest()


def digests(game: str, difficulty: str) -> list[str]:
    env = make_env(settings(game, difficulty=difficulty), evaluation=False)
    return [digest(env, seed) for seed in range(3)]


@needs_procgen
@pytest.mark.parametrize("difficulty", ["easy", "hard"])
@pytest.mark.parametrize("game", GAMES)
def test_a_game_is_a_function_of_seed_and_actions(game, difficulty):
    """Whatever was played before, and whatever other environments play meanwhile."""
    env, other = (make_env(settings(game, difficulty=difficulty), False) for _ in range(2))
    first = digest(env, 3)
    assert digest(env, 4) != first
    other.reset(5)
    for action in range(15):
        other.step(action)
    assert digest(env, 3) == first == digest(other, 3)


@needs_procgen
def test_a_game_of_dodgeball_after_many_others_is_the_same():
    """Within one environment of envpool it is another one from the second game on."""
    env = make_env(settings("dodgeball", difficulty="easy"), evaluation=False)
    seeds = range(30)
    assert [digest(env, seed, 100) for seed in seeds] == [digest(env, seed, 100) for seed in seeds]


@needs_procgen
@pytest.mark.slow
def test_another_process_plays_the_same_games():
    code = (
        "from tests.envs.test_procgen import *\n"
        "print([digests(game, d) for game in GAMES for d in ('easy', 'hard')])"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    here = [digests(game, d) for game in GAMES for d in ("easy", "hard")]
    assert there.stdout.strip().splitlines()[-1] == repr(here)


@needs_procgen
def test_a_level_is_that_of_procgen():
    """The first game of an environment of many levels, and ours on the level that it tells."""
    import envpool

    whole = envpool.make("CoinrunHard-v0", env_type="gymnasium", num_envs=1, seed=9, num_levels=0)
    frames, info = whole.reset()
    level = int(info["level_seed"][0])
    env = make_env(settings(levels=1, start_level=level), evaluation=False)
    assert np.array_equal(env.reset(0), frames[0])


@needs_procgen
def test_time_limits_of_the_games_are_told_from_their_ends():
    env = make_env(settings("maze"), evaluation=False)
    env.reset(0)
    steps = [env.step(4) for _ in range(500)]
    assert not any(step.is_game_over for step in steps[:-1])
    assert (steps[-1].is_game_over, steps[-1].is_truncated) == (True, True)
    env = make_env(settings("bigfish"), evaluation=False)
    env.reset(0)
    while not (last := env.step(4)).is_game_over:
        pass
    assert not last.is_truncated
    assert env.env_steps < 1000


@needs_procgen
def test_frames_actions_and_contract():
    env = make_env(settings(levels=7, start_level=2), evaluation=False)
    assert env.spec.frame_shape == (3, 64, 64)
    assert len(set(env.spec.action_names)) == 15
    contract = env.spec.contract
    assert (contract["levels"], contract["start_level"], contract["difficulty"]) == (7, 2, "hard")
    assert contract["envpool"]


@needs_procgen
def test_training_meets_its_levels_and_evaluation_only_others():
    def levels_of(evaluation, **changes):
        env = make_env(settings(levels=5, start_level=10, **changes), evaluation).env
        return {env.level_of(seed) for seed in range(300)}

    training = set(range(10, 15))
    assert levels_of(False) == training
    assert levels_of(True, evaluation_levels="training") == training
    unseen = levels_of(True)
    assert len(unseen) == 300
    assert not unseen & training


@needs_procgen
def test_unseen_levels_lie_on_both_sides(monkeypatch):
    monkeypatch.setattr("ezcli.envs.procgen.LEVELS", 20)
    env = make_env(settings(levels=5, start_level=10), evaluation=True).env
    assert {env.level_of(seed) for seed in range(500)} == set(range(20)) - set(range(10, 15))
    every = make_env(settings(), evaluation=True).env
    assert {every.level_of(seed) for seed in range(500)} == set(range(20))


def tiny(*overrides):
    tables = use_env(read_toml(preset_path("smoke")), "procgen", "coinrun")
    return resolve(tables, [*TINY, *SHORT, "env.levels=3", *overrides])


@needs_procgen
def test_a_run_is_scored_on_unseen_levels_and_on_those_of_its_training(tmp_path):
    folder = run(tmp_path / "run", tiny("evaluation.interval=0"))
    final, seen = folder.read("evaluations.jsonl")
    assert (final["kind"], seen["kind"]) == ("final", "training-levels")
    assert [why_wrong(line) for line in (final, seen)] == ["", ""]


@needs_procgen
@pytest.mark.slow
@pytest.mark.parametrize("stop", [4, 7])
def test_a_run_goes_on_exactly_after_a_stop(stop, tmp_path):
    whole = outcome(run(tmp_path / "whole", tiny()))
    assert interrupted(tmp_path / "stopped", tiny(), stop) == whole


def test_scores_are_put_on_the_scale_of_their_difficulty():
    """Cobbe et al. (2020), appendix C."""
    hard, easy = (settings("starpilot", difficulty=one) for one in ("hard", "easy"))
    assert reference_of(hard).normalised(35) == reference_of(easy).normalised(64) == 1
    assert reference_of(hard).normalised(1.5) == reference_of(easy).normalised(2.5) == 0
    assert normalisation_of(hard).name == "Procgen-normalised"
    assert normalisation_of(hard).key == "procgen_normalised"
    assert len(procgen_suite.references()) == 32


def test_a_game_cut_off_before_its_own_limit_is_not_comparable():
    assert follows_rules(settings(), [1000], 6000)
    assert follows_rules(settings(), [100], 200)
    assert not follows_rules(settings(), [200], 200)
    assert not follows_rules(settings("bigfish"), [1000], 1000)
    assert follows_rules(settings("maze"), [500], 500)


@pytest.mark.parametrize("options", [["--game", "procgen/maze"], ["--env", "procgen/maze"]])
def test_a_game_is_named_with_its_suite(options, ez):
    code, out, _ = ez("config", "show", "--preset", "procgen", *options)
    assert code == 0
    assert 'game = "maze"' in out


@pytest.mark.parametrize("name", ["procgen/coinrum", "procgen/CoinrunHard-v0"])
def test_a_wrong_game_gets_the_nearest(name, ez):
    assert ez("config", "show", "--preset", "procgen", "--game", name)[0] == 2
    check(ez.error, "EZ-UNKNOWN-GAME", "'coinrun'")


def test_levels_that_there_are_not_are_refused():
    with fails("EZ-CONFIG-COMBINATION", "env.start_level must be 0"):
        tiny("env.levels=0", "env.start_level=3")
    with fails("EZ-CONFIG-COMBINATION", f"at most {LEVELS - 4}"):
        tiny("env.start_level=3", f"env.levels={LEVELS}")
    assert tiny("env.start_level=3", f"env.levels={LEVELS - 4}").env
    with fails("EZ-CONFIG-VALUE", "env.difficulty", "'easy'", "'hard'"):
        tiny("env.difficulty=extreme")


def test_difficulties_have_labels_of_their_own():
    labels = [procgen_suite.label(settings(difficulty=one)) for one in ("hard", "easy")]
    assert labels == ["procgen-coinrun", "procgen-coinrun-easy"]


def refused_load(name, *args, **kwargs):
    raise OSError(f"{name}: cannot open shared object file")


def test_what_is_missing_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(ctypes, "CDLL", refused_load)
    with fails("EZ-ENV-NOT-INSTALLED", "libQt5Gui.so.5", "apt-get install libqt5gui5"):
        make_env(settings(), evaluation=False)
    found = procgen_suite.installed()
    assert found.ok
    assert "libqt5gui5" in found.remedy
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with fails("EZ-ENV-NOT-INSTALLED", "envpool is not installed", "ezcli[procgen]"):
        make_env(settings(), evaluation=False)
    monkeypatch.setattr(sys, "platform", "darwin")
    with fails("EZ-ENV-NOT-INSTALLED", "Linux"):
        make_env(settings(), evaluation=False)
