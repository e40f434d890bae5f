import subprocess
import sys

import pytest

from ezcli.envs.games import (
    ATARI_100K,
    all_games,
    check_game,
    human_normalised,
    reference_scores,
)
from ezcli.errors import UnknownName


def test_the_benchmark_has_26_games_all_known_and_all_scored():
    assert len(set(ATARI_100K)) == 26
    assert set(ATARI_100K) <= set(all_games())
    assert set(ATARI_100K) <= set(reference_scores())


def test_there_are_57_reference_games_and_the_human_beats_random():
    scores = reference_scores()
    assert len(scores) == 57
    assert all(human > random for random, human in scores.values())


def test_normalised_scores_against_hand_computed_ones():
    assert human_normalised("pong", -20.7) == 0.0
    assert human_normalised("pong", 14.6) == 1.0
    assert human_normalised("breakout", 30.5 + 28.8) == pytest.approx(2.0)  # human + its lead
    assert human_normalised("alien", 0.0) == pytest.approx(-227.8 / 6899.9)


def test_a_game_without_a_human_score_is_named():
    with pytest.raises(UnknownName, match="human score 'adventure'"):
        human_normalised("adventure", 1.0)


def test_an_unknown_game_is_refused_with_the_nearest_name():
    check_game("ms_pacman")
    with pytest.raises(UnknownName, match=r"Unknown game 'ms_pacmn'\. Did you mean 'ms_pacman'"):
        check_game("ms_pacmn")


def test_a_game_for_two_that_would_end_the_process_is_not_offered():
    assert "combat" not in all_games()


def test_scores_need_no_emulator():
    code = (
        "import sys, ezcli.envs.games as g; g.human_normalised('pong', 0);"
        "assert not {'ale_py', 'cv2', 'torch', 'numba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
