"""`ez cost`: from times of single pieces to a run, and what is printed."""

import json
import math
import warnings

import numpy as np
import pytest

from ezcli.bench import operations, pieces
from ezcli.bench.inputs import bench
from ezcli.bench.operations import Operations
from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve, with_changes
from ezcli.runs.compute import resolve_compute
from ezcli.runs.cost import (
    Pieces,
    Seconds,
    checkpoint_bytes,
    disk_of_run,
    folder_bytes,
    from_pieces,
    needs,
)
from ezcli.runs.evaluations import TRAINING_LEVELS
from ezcli.runs.folder import EVALUATIONS
from ezcli.runs.workload import Draws, evaluations
from ezcli.words import quantity
from tests.failing import check
from tests.runs.helpers import run, tiny

TIMES = Seconds(
    env_step=1.0, decision=2.0, search=10.0, evaluation=1.0, train_step=8.0, game_step=0.5
)
GAME = 20.0  # env_steps
SEARCHED, EVALUATED = np.array([[6.0, 0.0], [3.0, 1.0]]), np.array([[4.0, 0.0], [2.0, 0.0]])
ASKED = np.full((2, 2), 9.0)


@pytest.fixture
def config(monkeypatch):
    """A run of eight draws: two networks of two draws each stand for twice as many."""
    config = with_changes(tiny(), {"replay.capacity": 1000})
    schedule = config.schedule
    assert (schedule.env_steps_per_cycle, schedule.sample_ahead) == (8, 2)
    train_step = np.array([0, schedule.collecting_train_steps])  # the second no longer collects
    found = Draws(train_step, ASKED, SEARCHED, EVALUATED, times=2.0)
    monkeypatch.setattr("ezcli.runs.workload.draws", lambda config: found)
    return config


def measured(threads: int = 1, device_memory_bytes: int | None = None) -> Pieces:
    """Pieces of work on a machine of two cores, with frames of 4 x 3 pixels."""
    return Pieces(TIMES, threads, 2, 1000, device_memory_bytes, 12, 7, GAME)


def seconds_of(cycles: list[float], config) -> float:
    """A run of these cycles, each twice, after its random play, and its evaluations."""
    before = config.schedule.random_env_steps * TIMES.env_step
    return before + 2 * sum(cycles) + evaluation_seconds(config)


def evaluation_seconds(config) -> float:
    """The games of all evaluations."""
    games = sum(evaluations(config))
    assert games
    return games * GAME * TIMES.game_step


LEARNING, ACTING = 2 * 8.0, 8 * 3.0
REANALYSIS = [6 * 10 + 4.0, 0.0, 3 * 10 + 2.0, 10.0]


def test_one_thread_does_one_thing_after_the_other(config):
    found = from_pieces(config, measured())
    cycles = [LEARNING + a + r for a, r in zip([ACTING] * 2 + [0, 0], REANALYSIS, strict=True)]
    assert 3600 * found.hours == pytest.approx(seconds_of(cycles, config))
    shares = {
        "acting": 2 * 2 * ACTING,
        "reanalysis": 2 * sum(REANALYSIS),
        "learning": 2 * 4 * LEARNING,
        "evaluation": evaluation_seconds(config),
    }
    whole = sum(shares.values())
    assert found.shares == pytest.approx({k: part / whole for k, part in shares.items()})
    assert found.device_memory_bytes is None


def test_before_learning_a_run_may_decide_too(config):
    planned = with_changes(config, {"acting.random_phase": False})
    one, other = (from_pieces(each, measured()).hours for each in (config, planned))
    assert 3600 * (other - one) == pytest.approx(config.schedule.random_env_steps * TIMES.decision)


@pytest.mark.parametrize("threads", [2, 16])
def test_in_each_cycle_the_longest_of_what_is_waited_for_counts(config, threads):
    """Two cores, however many threads: all busy; collecting, then searching; or learning alone."""
    found = from_pieces(config, measured(threads))
    busy = [(LEARNING + ACTING) / 2 + 64, (LEARNING + ACTING) / 2, LEARNING / 2 + 32, 18]
    one_after_the_other = [ACTING + 64, ACTING, 32, 10]
    cycles = [max(LEARNING, b, o) for b, o in zip(busy, one_after_the_other, strict=True)]
    assert cycles == [88, 24, 40, 18]
    assert 3600 * found.hours == pytest.approx(seconds_of(cycles, config))
    reanalysis = 2 * 2 * sum(REANALYSIS)  # on both cores
    whole = reanalysis + 2 * (4 * LEARNING + 2 * ACTING) + evaluation_seconds(config)
    assert found.shares["reanalysis"] == pytest.approx(reanalysis / whole)


def test_a_gpu_does_one_thing_after_the_other_and_holds_the_frames(config):
    gpu, cpu = from_pieces(config, measured(8, 12345)), from_pieces(config, measured(1))
    assert gpu.hours == pytest.approx(cpu.hours)
    assert (gpu.memory_bytes, gpu.device_memory_bytes) == (1000, 12345)
    assert cpu.memory_bytes == 1000 + 1000 * 12
    assert gpu.disk_bytes == cpu.disk_bytes == 1000 * 12 + 2 * 7


def test_every_piece_of_work_takes_time(config):
    found = pieces.measured(bench(config, resolve_compute(config.compute), seconds=0.001))
    assert all(0 < taken < math.inf for taken in found.seconds)
    assert (found.frame_bytes, found.device_memory_bytes) == (12, None)
    assert 0 < from_pieces(config, found).hours < math.inf


@pytest.mark.parametrize(("rows", "length"), [(4, 3), (200, 100)])
def test_a_game_lasts_until_its_end_or_its_cap(rows, length):
    config = tiny("catch", f"env.rows={rows}")
    assert config.env.evaluation_max_episode_steps == 100
    at = bench(config, resolve_compute(config.compute), seconds=0.1)
    assert pieces.game_env_steps(at) == pytest.approx(length, rel=0.2)


def test_what_was_not_measured_is_not_underestimated():
    """The paper's network has 8,350,312 parameters; `benchmarks/memory.py` measured 8.2 GiB."""
    config = resolve(read_toml(preset_path("atari100k")))
    found = needs(config)
    assert found.hours is None
    assert 8.2 < found.memory_bytes / 2**30 < 9
    assert found.disk_bytes > disk_of_run(config, 96**2, checkpoint_bytes(config, 8_350_312, 18))


@pytest.mark.slow
def test_a_checkpoint_is_as_large_as_said(tmp_path):
    config = tiny("keydoor", "replay.capacity=3000")
    folder = run(tmp_path / "run", config)
    at = bench(config, resolve_compute(config.compute), 0.1)
    parameters = operations.num_parameters(at.network)
    expected = checkpoint_bytes(config, parameters, len(at.spec.action_names))
    checkpoints = [p for p in (folder.path / "checkpoints").iterdir() if p.is_dir()]
    kept = folder_bytes(folder.path / "checkpoints") / len(checkpoints)
    assert kept == pytest.approx(expected, rel=0.2)


def test_few_states_with_a_long_lookahead_can_be_drawn():
    config = with_changes(tiny(), {"value.td_steps": 60, "replay.capacity": 4000})
    at = bench(config, resolve_compute(config.compute), seconds=0.001)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pieces.train_step_of(at)()


COST = ("cost", "--preset", "smoke", "--env", "catch", "--device", "cpu")


@pytest.fixture
def counted_at_once(monkeypatch):
    """PyTorch's counter takes a second."""
    monkeypatch.setattr(operations, "operations", lambda *_: Operations(10, 20, 50, 70_000))


@pytest.mark.usefixtures("counted_at_once")
def test_what_is_printed(ez, monkeypatch):
    monkeypatch.setattr(pieces, "seconds", lambda at: TIMES)
    code, out, err = ez(*COST, "--price-per-hour", "2", "--watts", "500")
    assert code == 0
    assert err.startswith("Timing a search and a train_step on ")
    hours = json.loads(ez(*COST, "--json")[1])["hours"]
    lines = {line.split("  ")[0]: line for line in out.splitlines()}
    assert f"{2 * hours:.3g}" in lines["price"]
    assert "evaluation " in lines["time"]
    assert f"{hours / 2:.3g} kWh" in lines["energy"]
    assert {"time", "memory", "disk", "train_step", "total"} <= lines.keys()
    assert "GPU memory" not in lines
    prose = ("A run makes", "Games of evaluations")
    tables = [line for line in out.splitlines() if not line.startswith(prose)]
    assert max(map(len, tables)) <= 80


@pytest.mark.usefixtures("counted_at_once")
def test_nothing_is_timed_that_was_not_asked_for(ez, monkeypatch):
    monkeypatch.setattr(pieces, "seconds", None)  # calling it would fail
    code, out, err = ez(*COST, "--no-measure")
    assert (code, err) == (0, "")
    assert "A run on" not in out
    found = json.loads(ez(*COST, "--no-measure", "--json")[1])
    assert "hours" not in found
    assert found["parameters"]["total"] == sum(found["parameters"].values()) / 2
    assert found["macs"]["run"] == pytest.approx(sum(found["macs_of_run"].values()))


@pytest.mark.parametrize("interval", [0, 2, 6])
@pytest.mark.parametrize("levels", [0, 5])
def test_evaluations_are_those_that_a_run_plays(interval, levels, tmp_path):
    size = "env.size=3" if levels else "env.size=4"
    config = tiny("keydoor", size, f"env.levels={levels}", f"evaluation.interval={interval}")
    played = {"interim": 0, "final": 0, TRAINING_LEVELS: 0}
    for line in run(tmp_path / "run", config).read(EVALUATIONS):
        played[line["kind"]] += line["protocol"]["episodes"]
    assert evaluations(config) == tuple(played.values())


@pytest.mark.usefixtures("counted_at_once")
def test_the_second_evaluation_is_named(ez):
    options = ("cost", "--env", "keydoor", "--no-measure")
    seen = "100 at the end and 100 on the levels of training."
    for levels in (0, 20):
        out = ez(*options, "--set", f"env.levels={levels}")[1]
        assert (seen in " ".join(out.split())) == bool(levels)


def test_a_run_that_learns_nothing_is_refused(ez):
    sets = ("--set", "schedule.random_env_steps=3600", "--set", "schedule.final_train_steps=0")
    assert ez("cost", "--env", "catch", *sets, "--no-measure")[0] == 2
    check(ez.error, "EZ-CONFIG-COMBINATION", "train_steps")


@pytest.mark.parametrize("option", ["--price-per-hour", "--watts"])
def test_energy_and_money_need_the_hours(ez, option):
    assert ez(*COST, option, "2", "--no-measure")[0] == 2
    check(ez.error, "EZ-COST-NEEDS-HOURS", option, "--no-measure")


@pytest.mark.parametrize("option", ["--price-per-hour", "--watts"])
@pytest.mark.parametrize("rate", ["-1", "nan", "inf"])
def test_a_rate_is_a_number_and_no_less_than_nothing(ez, option, rate):
    code, _, err = ez(*COST, option, rate)
    assert code == 2
    assert option in err


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (1e3, "1.00 k"), (999_600, "1.00 M"), (151.4e6, "151 M")],
)
def test_quantities_have_three_digits(count, text):
    assert quantity(count) == text
