import math
import subprocess
import sys

import pytest

from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve, use_env
from ezcli.envs.atari_suite import (
    ATARI_100K,
    AtariSettings,
    all_games,
    ends_as_in_the_benchmark,
    reference_scores,
)
from ezcli.envs.suites import check_env, check_game, landmarks_of, score_range_of
from tests.failing import fails


def atari(game: str = "pong", **changes: object) -> AtariSettings:
    tables = read_toml(preset_path("smoke"))["env"]
    return AtariSettings(**(tables | {"game": game} | changes))


def test_the_benchmark_has_26_games_all_known_and_all_scored():
    assert len(set(ATARI_100K)) == 26
    assert set(ATARI_100K) <= set(all_games())
    assert set(ATARI_100K) <= set(reference_scores())


def test_there_are_57_reference_games_and_the_human_beats_random():
    scores = reference_scores()
    assert len(scores) == 57
    assert all(human > random for random, human in scores.values())


def test_normalised_scores_against_hand_computed_ones():
    scores = reference_scores()
    assert scores["pong"].normalised(-20.7) == 0.0
    assert scores["pong"].normalised(14.6) == 1.0
    assert scores["breakout"].normalised(30.5 + 28.8) == pytest.approx(2.0)  # human + its lead
    assert scores["alien"].normalised(0.0) == pytest.approx(-227.8 / 6899.9)


def test_an_unknown_game_is_refused_with_the_nearest_name():
    check_game(atari("ms_pacman"))
    with fails("EZ-UNKNOWN-GAME", "'ms_pacmn'", "'ms_pacman'"):
        check_game(atari("ms_pacmn"))


def test_a_game_for_two_that_would_end_the_process_is_not_offered():
    assert "combat" not in all_games()


def test_scores_need_no_emulator():
    code = (
        "import sys, ezcli.envs.suites as s; s.SUITES['atari'].benchmark.references();"
        "assert not {'ale_py', 'numpy', 'torch', 'numba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def camel(rom):
    """A rom's name as Gymnasium writes it."""
    return "".join(word.capitalize() for word in rom.split("_"))


SPELLINGS = {
    "camel": camel,
    "gymnasium": lambda rom: f"ALE/{camel(rom)}-v5",
    "gymnasium ram": lambda rom: f"ALE/{camel(rom)}-ram-v5",
    "module": lambda rom: f"ale_py:ALE/{camel(rom)}-v5",
    "gym": lambda rom: f"{camel(rom)}NoFrameskip-v4",
    "gym ram": lambda rom: f"{camel(rom)}-ramDeterministic-v0",
    "gym plain": lambda rom: f"{camel(rom)}-v0",
    "dreamer": lambda rom: f"atari_{rom}",
    "upper case": str.upper,
    "hyphens": lambda rom: rom.replace("_", "-"),
    "spaces": lambda rom: rom.replace("_", " ").title(),
    "one word": lambda rom: rom.replace("_", ""),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_a_game_leads_to_it(spelling):
    for rom in all_games():
        name = SPELLINGS[spelling](rom)
        if name in all_games():  # one word in lower case
            check_game(atari(name))
            continue
        with fails("EZ-UNKNOWN-GAME", repr(name), repr(rom)):
            check_game(atari(name))
        with fails("EZ-ENV-IS-A-GAME", repr(name), f"--game {rom}"):
            check_env(name)


@pytest.mark.parametrize(
    ("name", "rom"),
    [
        ("Ms. Pac-Man", "ms_pacman"),
        ("Pac-Man", "pacman"),
        ("up'n down", "up_n_down"),
        ("Q*bert", "qbert"),
        ("H.E.R.O.", "hero"),
        ("Montezuma's Revenge", "montezuma_revenge"),
        ("Tic-Tac-Toe 3D", "tic_tac_toe_3d"),
        ("James Bond 007", "jamesbond"),
        ("Póng", "pong"),
    ],
)
def test_the_names_on_the_cartridge_lead_to_the_game(name, rom):
    with fails("EZ-UNKNOWN-GAME", repr(name), repr(rom)):
        check_game(atari(name))


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("catch", "--env catch"),
        ("KeyDoor", "--env keydoor"),
        ("my/game.py:Corridor", "--env my/game.py:Corridor"),
    ],
)
def test_what_is_no_game_leads_to_the_other_option(name, option):
    with fails("EZ-ENV-NOT-A-GAME", repr(name), option):
        check_game(atari(name))


def test_a_preset_of_another_environment_does_not_hide_what_is_no_game():
    tables = read_toml(preset_path("catch"))
    with fails("EZ-ENV-NOT-A-GAME", "'catch'", "--env catch"):
        use_env(tables, None, "catch")
    with fails("EZ-CONFIG-PRESET-ENV", "'catch'"):
        use_env(tables, None, "pong")


@pytest.mark.parametrize("name", ["catch", "keydoor"])
def test_random_play_and_the_maximum_are_scores_that_a_game_can_have(name):
    env = resolve(read_toml(preset_path(name))).env
    low, high = score_range_of(env)
    assert low <= min(landmarks_of(env).values()) < max(landmarks_of(env).values()) <= high
    assert score_range_of(atari("pong")) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("name", "code", "way_out"),
    [
        ("Catch", "EZ-UNKNOWN-ENVIRONMENT", "'catch'"),
        ("key-door", "EZ-UNKNOWN-ENVIRONMENT", "'keydoor'"),
        ("Atari", "EZ-UNKNOWN-ENVIRONMENT", "'atari'"),
        ("pongg", "EZ-ENV-IS-A-GAME", "--game pong"),
        ("game.py", "EZ-ENV-NO-CLASS-NAMED", "--env game.py:MyEnv"),
        ("Ünïcode", "EZ-UNKNOWN-ENVIRONMENT", "atari, catch, file.py:Class, gym:ID, keydoor"),
    ],
)
def test_a_name_that_is_no_environment_has_a_way_out(name, code, way_out):
    with fails(code, name, way_out):
        check_env(name)


@pytest.mark.parametrize(
    "name", ["atari", "catch", "keydoor", "game.py:Pong", "package.games:Hero"]
)
def test_environments_and_classes_are_taken(name):
    check_env(name)


@pytest.mark.parametrize(
    ("frame_skip", "cap", "length", "counts"),
    [
        (4, 27_000, 27_000, True),  # 108,000 frames
        (4, 27_000, 26_999, True),
        (4, 26_999, 26_999, False),  # cut off 4 frames before
        (4, 26_999, 26_998, True),  # over by itself
        (4, 30_000, 27_001, False),
        (2, 27_000, 27_000, False),  # 54,000 frames
        (2, 54_000, 54_000, True),
        (8, 13_500, 13_500, True),  # 108,000 frames
        (8, 13_500, 13_499, True),
        (8, 20_000, 20_000, False),  # 160,000 frames
        (8, 20_000, 13_500, True),
        (7, 15_428, 15_428, True),  # 107,996 frames: one more env_step would be too long
        (7, 15_427, 15_427, False),
        (7, 15_429, 15_429, False),  # 108,003
    ],
)
def test_the_cap_of_the_benchmark_counts_frames(frame_skip, cap, length, counts):
    assert ends_as_in_the_benchmark(atari(frame_skip=frame_skip), [9, length], cap) is counts
