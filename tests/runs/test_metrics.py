"""Lines of metrics: all columns, correct sums, no times."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from ezcli.efficientzero.components import rules_for
from ezcli.efficientzero.learner import STEP_METRICS
from ezcli.efficientzero.modes import MODES
from ezcli.efficientzero.planner import Plan
from ezcli.efficientzero.reanalyse import Work
from ezcli.efficientzero.recalibrate import BATCHES
from ezcli.envs.vector import FinishedGame
from ezcli.runs.compute import resolve_compute
from ezcli.runs.metrics import COLUMNS, MetricsWindow
from ezcli.runs.trainer import Trainer
from tests.runs.helpers import tiny


@pytest.fixture
def lines(finished):
    return finished.read("metrics.jsonl")


def test_every_line_has_exactly_the_columns(lines):
    assert all(list(line) == list(COLUMNS) for line in lines)
    assert all(COLUMNS.values())


def test_lines_come_at_their_interval(lines):
    """Every 3 train_steps, at the end of the cycle of 2 that passes them."""
    assert [line["train_steps"] for line in lines] == [4, 6, 10, 12]
    assert [line["env_steps"] for line in lines] == [40, 48, 56, 56]


def test_no_clock_is_among_the_metrics(finished, lines):
    timing = finished.read("timing.jsonl")
    clocks = set(timing[0]) - {"env_steps", "train_steps"}
    assert clocks >= {"seconds", "env_steps_per_second", "train_steps_per_second"}
    assert not clocks & set(COLUMNS)
    assert [line["train_steps"] for line in timing] == [line["train_steps"] for line in lines]


def test_numbers_are_finite_json(finished):
    text = (finished.path / "metrics.jsonl").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text


def test_the_memo_saves_work(lines):
    assert all(line["reanalyse_asked"] >= line["reanalyse_searched"] > 0 for line in lines)
    # 7 draws of 2 batches of 4 windows with 3 positions, terminal states among them.
    assert sum(line["reanalyse_asked"] for line in lines) < 7 * 2 * 4 * 3
    assert sum(line["reanalyse_asked"] for line in lines) > sum(
        line["reanalyse_searched"] for line in lines
    )


def test_games_and_scores(lines):
    """Every game of 4 rows is 3 env_steps long, and pays 1 or -1 at its end."""
    assert sum(line["games"] for line in lines) == 2 * (28 // 3)
    for line in lines:
        if line["games"] == 0:
            assert line["score"] is line["score_min"] is line["game_env_steps"] is None
        else:
            assert -1 <= line["score_min"] <= line["score"] <= line["score_max"] <= 1
            assert line["game_env_steps"] == 3


def test_what_does_not_happen_is_null(lines):
    assert lines[0]["search_depth"] >= 1
    assert lines[-1]["search_depth"] is None  # nobody acts any more
    assert lines[-1]["loss"] is not None


def filled(window):
    """The window after two games, two searches, two draws and two train_steps."""
    window.add_game(FinishedGame(3.0, 10))
    window.add_game(FinishedGame(-1.0, 20))
    for policy, value, depth in [([[0.5, 0.5]], 1.0, 3), ([[1.0, 0.0]], 2.0, 1)]:
        window.add_plan(
            Plan(
                policy=np.array(policy, np.float32),
                best=np.zeros(1, np.int64),
                value=np.array([value], np.float32),
                network_value=np.zeros(1, np.float32),
                depth=np.array([depth], np.int32),
                visits=np.zeros((1, 2), np.int32),
            )
        )
    window.add_work(Work(asked=9, searched=5, evaluated=2, depth=4.0, entropy=0.5))
    window.add_work(Work(asked=9, searched=0, evaluated=1, depth=float("nan"), entropy=1.0))
    numbers = np.arange(2 * len(STEP_METRICS), dtype=np.float32).reshape(2, -1)
    window.add_training(numbers, [3.0, 5.0], np.zeros(4, np.int64), rules_for(tiny()))
    return window


def line_of(window):
    replay = SimpleNamespace(env_steps=8, num_sampleable=5)
    return window.line(replay, SimpleNamespace(train_steps=2, settings=tiny()))


def test_a_line_by_hand():
    line = line_of(filled(MetricsWindow()))
    expected = {
        "env_steps": 8,
        "train_steps": 2,
        "games": 2,
        "score": 1.0,
        "score_min": -1.0,
        "score_max": 3.0,
        "game_env_steps": 15.0,
        "loss": 3.0,  # the mean of 0 and 6
        "gradient_norm": 8.0,
        "auxiliary_gradient": 4.0,
        "td_steps": 2.0,
        "search_depth": 2.0,
        "search_entropy": pytest.approx(np.log(2) / 2),
        "root_value": 1.5,
        "target_depth": 4.0,  # of the draw that searched
        "target_entropy": 0.75,
        "reanalyse_asked": 18,
        "reanalyse_searched": 5,
        "reanalyse_evaluated": 3,
        "replay_sampleable": 5,
    }
    assert {key: line[key] for key in expected} == expected


def test_an_empty_line():
    line = line_of(MetricsWindow())
    assert list(line) == list(COLUMNS)
    assert line["games"] == line["reanalyse_asked"] == 0
    assert line["loss"] is line["score"] is line["search_depth"] is None


def test_a_window_survives_json():
    window = filled(MetricsWindow())
    again = MetricsWindow()
    vars(again).update(json.loads(json.dumps(vars(window))))
    assert line_of(again) == line_of(window)


def test_a_state_from_before_a_loss_is_taken():
    """The loss has no numbers until the next train_step; those of the others stay."""
    window = filled(MetricsWindow())
    state, before = json.loads(json.dumps(window.state())), line_of(window)
    del state["training"]["consistency"]
    restored = MetricsWindow()
    restored.restore(state)
    assert line_of(restored) == before | {"consistency": None}


ANOTHER_LOSS = """
import json
from ezcli.efficientzero.loss_terms import LOSSES, Term
LOSSES["size"] = Term("size of latents", neutral=0.0)

from ezcli.efficientzero import loss
loss.TERMS["size"] = lambda seen: 7 + 0 * seen.outputs[0].latent.flatten(1).sum(1)

from ezcli.config.resolve import with_changes
from ezcli.config.text import to_commented_toml
from ezcli.runs.compute import resolve_compute
from ezcli.runs.metrics import COLUMNS
from ezcli.runs.trainer import Trainer
from tests.runs.helpers import tiny

events = {}
for weight in (0.0, 1.0):
    config = with_changes(tiny(), {"loss.size_coefficient": weight})
    trainer = Trainer(config, resolve_compute(config.compute))
    lines = (event.metrics for event in trainer.events() if event.metrics)
    events[config.identity] = next(lines)
explained = to_commented_toml(config)
print(json.dumps([events, COLUMNS["size"], explained]))
"""


@pytest.mark.slow
def test_a_loss_is_an_entry_and_a_function():
    """Its coefficient, its column and what is said of both follow; as neutral it changes no run."""
    program = [sys.executable, "-c", ANOTHER_LOSS]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    events, column, explained = json.loads(done.stdout)
    neutral, other = events.values()
    assert next(iter(events)) == tiny().identity not in list(events)[1:]
    assert neutral["size"] == other["size"] == 7
    assert other["loss"] == pytest.approx(neutral["loss"] + 7 / tiny().loss.unroll_steps)
    assert column.startswith("size of latents, ")
    assert "# weight of the size of latents\nsize_coefficient = 1.0\n" in explained


def test_the_modes_are_compared_as_often_as_scores_are(lines):
    """Every 6 train_steps; a line without a comparison has none of its numbers."""
    measured = [
        line["train_steps"] for line in lines if line["modes_policy_variation_root"] is not None
    ]
    assert measured == [6, 12]
    for line in lines:
        numbers = [line[name] for name in MODES]
        assert (line["train_steps"] in measured) or numbers == [None] * len(MODES)
    assert 0 < lines[-1]["modes_policy_variation_last"] < 1


@pytest.mark.slow
def test_recalibrated_statistics_are_fresh_wherever_they_are_read():
    """Before each copy and each score; the weights' first gradient steps stay as they were."""
    found = {}
    for norm in ("batch", "batch-recalibrated"):
        config = tiny("catch", f"network.norm={norm}")
        trainer = Trainer(config, resolve_compute(config.compute))
        lines = [event.metrics for event in trainer.events() if event.metrics]
        found[norm] = lines, trainer.copies.networks["acting"].state_dict()
    (plain, _), (lines, copied) = found.values()
    measured = [name for name in MODES if "rmse" in name or "variation" in name]
    assert all(lines[-1][name] != plain[-1][name] for name in measured)
    passes = {int(n) for name, n in copied.items() if name.endswith("tracked")}
    assert {BATCHES, tiny().loss.unroll_steps * BATCHES} <= passes  # of h, of g
    assert lines[0]["loss"] == plain[0]["loss"]


def test_a_comparison_that_means_nothing_is_null():
    window = MetricsWindow()
    window.add_modes(dict.fromkeys(MODES, np.inf) | {"modes_value_bias_root": 0.5})
    line = line_of(window)
    assert [name for name in MODES if line[name] is not None] == ["modes_value_bias_root"]
    assert line["modes_value_bias_root"] == 0.5
