"""MinAtar: the published protocol, repeatable games, and how a game is named."""

import json
import sys

import numpy as np
import pytest

from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve, use_env
from ezcli.envs.make import make_env
from ezcli.envs.minatar_suite import GAMES, MinatarSettings
from ezcli.envs.suites import follows_rules, labels_of, placed_game
from tests.failing import check, fails

CHANNELS = {"asterix": 4, "breakout": 4, "freeway": 7, "seaquest": 10, "space_invaders": 6}
PRESET = read_toml(preset_path("minatar"))


def settings(game, **changes) -> MinatarSettings:
    env = resolve(use_env(PRESET, None, game)).env
    assert isinstance(env, MinatarSettings)
    return env.model_copy(update=changes)


def play(env, seed, actions):
    """Frames, rewards and ends of one game."""
    found = [(env.reset(seed), 0.0, False)]
    for action in actions:
        step = env.step(int(action))
        found.append((step.frame, step.reward, step.is_game_over))
        if step.is_game_over:
            break
    return found


def same(one, other):
    return len(one) == len(other) and all(
        np.array_equal(a[0], b[0]) and a[1:] == b[1:] for a, b in zip(one, other, strict=True)
    )


@pytest.fixture(params=GAMES)
def game(request):
    pytest.importorskip("minatar")
    return request.param


def test_a_game_is_a_function_of_seed_and_actions(game):
    env, other = (make_env(settings(game), evaluation=False) for _ in range(2))
    actions = np.random.default_rng(1).integers(6, size=300)
    first = play(env, 3, actions)
    play(env, 4, actions)  # what came before leaves nothing behind
    assert same(first, play(env, 3, actions))
    assert same(first, play(other, 3, actions))
    assert not same(first, play(other, 5, actions))


def test_frames_are_planes_of_cells(game):
    env = make_env(settings(game), evaluation=False)
    assert env.spec.frame_shape == (CHANNELS[game], 10, 10)
    assert len(env.spec.action_names) == 6
    frame = env.reset(0)
    assert set(np.unique(frame)) == {0, 255}
    assert env.spec.contract["minatar"] == "1.0.15"


def test_the_protocol_is_that_of_the_published_curves(game):
    made = settings(game)
    assert (made.sticky, made.ramping, made.frame_stack) == (0.1, True, 1)
    assert not made.clip_rewards


@pytest.mark.parametrize(
    ("changes", "length", "follows"),
    [
        ({}, 9_999, True),
        ({}, 10_000, False),
        ({"sticky": 0.25}, 5, False),
        ({"ramping": False}, 5, False),
    ],
)
def test_scores_under_other_rules_have_no_place_on_the_scale(changes, length, follows):
    assert follows_rules(settings("breakout", **changes), [5, length], 10_000) == follows


def test_sticky_actions_repeat_the_last_one():
    pytest.importorskip("minatar")
    never, always = (make_env(settings("breakout", sticky=p), evaluation=False) for p in (0.0, 1.0))
    moves = [1, 1, 1]  # left; the first last action is none
    assert not same(play(never, 0, moves), play(always, 0, moves))
    assert same(play(always, 0, moves), play(always, 0, [3, 3, 3]))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mean"), [("breakout", 0.5), ("space_invaders", 2.815)])
def test_random_play_scores_as_measured_elsewhere(name, mean):
    pytest.importorskip("minatar")
    env, rng, scores = make_env(settings(name), evaluation=True), np.random.default_rng(0), []
    for seed in range(600):
        scores.append(sum(r for _, r, _ in play(env, seed, rng.integers(6, size=5000))))
    error = np.std(scores) / len(scores) ** 0.5
    assert abs(np.mean(scores) - mean) < 4 * error


@pytest.mark.parametrize(
    ("env", "game", "expected"),
    [
        (None, "minatar/breakout", ("minatar", "breakout")),
        ("minatar", "minatar/breakout", ("minatar", "breakout")),
        ("minatar", "breakout", ("minatar", "breakout")),
        (None, "minatar-breakout", ("minatar", "breakout")),
        ("catch", "minatar-breakout", ("catch", "minatar-breakout")),
        (None, "gym-breakout", (None, "gym-breakout")),
        (None, "breakout", (None, "breakout")),
        (None, "ALE/Pong-v5", (None, "ALE/Pong-v5")),
        ("catch", "minatar/breakout", ("catch", "minatar/breakout")),
    ],
)
def test_a_game_may_name_its_suite(env, game, expected):
    assert placed_game(env, game) == expected


def test_a_game_means_the_labels_that_tables_print():
    known = ["breakout", "minatar-breakout", "procgen-coinrun", "procgen-coinrun-easy"]
    expected = {
        "breakout": ["breakout"],
        "atari/breakout": ["breakout"],
        "minatar/breakout": ["minatar-breakout"],
        "procgen/coinrun": ["procgen-coinrun", "procgen-coinrun-easy"],
        "procgen-coinrun": ["procgen-coinrun"],
        "procgen/coin": ["procgen/coin"],
        "pong": ["pong"],
    }
    assert {text: labels_of(text, known) for text in expected} == expected


@pytest.mark.parametrize("options", [["--game", "minatar/asterix"], ["--env", "minatar/asterix"]])
def test_a_game_is_named_with_its_suite(options, ez):
    code, out, _ = ez("config", "show", "--preset", "minatar", *options)
    assert code == 0
    assert 'game = "asterix"' in out


def test_a_game_that_names_its_suite_has_the_preset_of_the_suite(ez):
    code, out, _ = ez("cost", "--game", "minatar/asterix", "--no-measure", "--json")
    assert code == 0
    assert (json.loads(out)["preset"], json.loads(out)["game"]) == ("minatar", "minatar-asterix")


def test_five_games_make_a_study(ez):
    study = ["ablate", "--games", "minatar5", "--drop", "consistency", "--seeds", "2"]
    code, out, _ = ez(*study, "--dry-run", "--json")
    assert code == 0
    plan = json.loads(out)
    assert plan["games"] == list(GAMES)
    assert len(plan["runs"]) == 2 * 2 * len(GAMES)


def test_a_wrong_game_gets_the_nearest(ez):
    assert ez("config", "show", "--preset", "minatar", "--game", "minatar/breakuot")[0] == 2
    check(ez.error, "EZ-UNKNOWN-GAME", "breakuot", "'breakout'")


def test_a_preset_of_another_suite_is_refused(ez):
    assert ez("train", "--preset", "catch", "--game", "minatar/breakout")[0] == 2
    check(ez.error, "EZ-CONFIG-PRESET-ENV", "MinAtar", "--preset minatar")


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "minatar", None)
    with fails("EZ-ENV-NOT-INSTALLED", "ezcli[minatar]"):
        make_env(settings("breakout"), evaluation=False)
