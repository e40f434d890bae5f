"""Warnings before a study whose runs are too short to learn the game."""

import pytest

from ezcli.commands.study_length import too_short
from ezcli.config.resolve import with_changes
from ezcli.experiments.study import plan
from tests.reports.helpers import make_study, preset, write_run

GYM = "gym:CartPole-v1"


def planned(env_steps, *games, env="catch", name=None, drops=("value-prefix",)):
    study = make_study(drops, (), False, games, (0,), env, name or env, "mine")
    base = with_changes(study.base, {"schedule.env_steps": env_steps})
    return plan(study._replace(base=base), {})


def said(runs, runs_dir="runs"):
    names = [path.name for path in runs_dir.iterdir()] if runs_dir != "runs" else []
    return too_short(runs, runs_dir, names)


def write(runs_dir, *curve, env="catch", seed=0, status="finished", **changes):
    config = with_changes(preset(env), {"seed": seed, "schedule.env_steps": 3040} | changes)
    return write_run(
        runs_dir / f"{env}-{seed}", config, [curve[-1][1]], status, curve, preset_name=env
    )


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        (
            planned(2000),
            "catch: the preset catch had a mean return of 0.91 after 2,800 env_steps, and this "
            "study trains for 2,000.",
        ),
        (planned(2120), None),
        (planned(3600), None),
        (
            planned(4960, env="keydoor"),
            "keydoor: the preset keydoor had a mean return of 9.9 after 8,000 env_steps, and this "
            "study trains for 4,960.",
        ),
        (
            planned(20000, "pong", "qbert", env=None, name="atari-cpu"),
            "pong and qbert: scores of Atari 100k are published after 100,000 env_steps, and this "
            "study trains for 20,000.",
        ),
        (planned(100_000, "pong", env=None, name="atari100k"), None),
        (
            planned(100_000, "breakout", env="minatar"),
            "minatar-breakout: the first published agent is halfway from random play to best "
            "published at 5M frames after 1,000,000 env_steps, and this study trains for 100,000.",
        ),
    ],
)
def test_what_was_measured_or_published_tells(runs, expected):
    assert said(runs) == ([] if expected is None else [f"Too short? {expected}"])


def test_finished_runs_tell_before_what_was_measured(tmp_path):
    write(tmp_path, (500, -0.5), (1000, 0.3), (2000, 0.9))
    write(tmp_path, (1500, 0.3), seed=1)
    assert said(planned(720), tmp_path) == [
        "Too short? catch: finished runs here got halfway from random play to the maximum "
        "after 1,000 env_steps at the earliest, and this study trains for 720."
    ]
    assert said(planned(760), tmp_path) == []  # which the record calls too short


def test_runs_that_learnt_nothing_tell_too(tmp_path):
    write(tmp_path, (500, -0.5), (1000, 0.1))
    assert said(planned(3000), tmp_path) == [
        "Too short? catch: no run here got halfway from random play to the maximum (1 finished "
        "run "
        "of at most 3,040 env_steps), and this study trains for 3,000."
    ]
    assert said(planned(3600), tmp_path) == []  # longer than any of them


@pytest.mark.parametrize(
    "other", [{"env.rows": 8}, {"status": "failed"}, {"status": "damaged"}, {"env": "keydoor"}]
)
def test_runs_of_another_game_and_unfinished_ones_tell_nothing(tmp_path, other):
    path = write(tmp_path, (500, 0.9), **({} if other.get("status") == "damaged" else other))
    if other.get("status") == "damaged":
        (path / "evaluations.jsonl").write_text("{")
    assert "the preset catch" in said(planned(520), tmp_path)[0]


def test_a_game_without_known_scores_is_told_by_the_scores_of_its_runs(tmp_path):
    pytest.importorskip("gymnasium")
    write(tmp_path, (500, 20.0), (1000, 60.0), (2000, 100.0), env="gym-vector")
    runs = planned(720, env=GYM, name="gym-vector", drops=("consistency",))
    assert said(runs, tmp_path) == [
        f"Too short? {runs[0].config.env_label}: finished runs here got halfway from "
        "their lowest score to their highest after 1,000 env_steps at the earliest, and this "
        "study "
        "trains for 720."
    ]


def test_many_games_are_counted():
    games = ("pong", "qbert", "alien", "amidar", "assault", "asterix", "boxing")
    (sentence,) = said(planned(20000, *games, env=None, name="atari-cpu"))
    assert sentence.startswith("Too short? 7 games: scores of Atari 100k")
