"""`ez bench`: timing, its parts on a tiny run, and its output."""

import json
import math
import time
from types import SimpleNamespace

import numpy as np
import pytest

from ezcli.bench import inputs, parts, timing
from ezcli.bench.cycles import FirstCycles, first_cycles
from ezcli.bench.timing import Timing, timed
from ezcli.commands import bench as command
from ezcli.runs.compute import resolve_compute
from ezcli.runs.cost import Cost
from tests.failing import check
from tests.runs.helpers import tiny

NUM_CORES = 2


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few shapes, and no training."""
    monkeypatch.setattr(parts, "TREE_ROOTS", (3,))
    monkeypatch.setattr(parts, "TREE_ACTIONS", (2,))
    monkeypatch.setattr(parts, "SEARCH_ROOTS", (2,))
    monkeypatch.setattr(parts, "ENVIRONMENTS", (1, 3))
    monkeypatch.setattr(parts, "num_cores", lambda: NUM_CORES)
    measured = FirstCycles(12.0, 2**30, 6)
    monkeypatch.setattr(parts, "first_cycles", lambda config, budget: measured)
    monkeypatch.setattr(parts, "measured", lambda at: None)
    monkeypatch.setattr(parts, "from_pieces", lambda config, pieces: Cost(2.0, 2**30, 2**20))


@pytest.fixture(scope="module")
def at():
    config = tiny()
    return inputs.bench(config, resolve_compute(config.compute), seconds=0.001)


def test_work_is_timed_often_enough_and_once_for_nothing():
    calls = []
    found = timed(lambda: calls.append(time.sleep(0.002)), budget=0.0, least=4)
    assert (found.repeats, len(calls)) == (4, 5)
    assert 0.002 <= found.low <= found.median <= found.high


def test_the_budget_is_spent(monkeypatch):
    now = [0.0]

    def work():
        now[0] += 0.25

    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    assert timed(work, budget=1.0, least=2) == Timing(0.25, 0.25, 0.25, 4)


def test_rates_shrink_with_time_and_durations_grow():
    taken = Timing(2.0, 1.0, 4.0, 5)
    assert parts.rate("p", "w", taken, 8, "/s")[2:5] == (4.0, 2.0, 8.0)
    assert parts.result("p", "w", taken, 1e3, "ms")[2:5] == (2000.0, 1000.0, 4000.0)


@pytest.mark.parametrize(
    "part",
    [pytest.param(p, marks=pytest.mark.slow) if p == "learner" else p for p in parts.PARTS],
)
def test_every_part_gives_figures_with_names_of_their_own(at, part):
    found = list(parts.PARTS[part](at))
    assert {result.part for result in found} == {part}
    names = [(result.what, result.unit) for result in found]
    assert names
    assert len(set(names)) == len(names)
    assert all(math.isfinite(result.value) for result in found)
    if part == "learner":  # a train_step is the sum of its parts
        *pieces, whole = found
        assert sum(piece.value for piece in pieces) == pytest.approx(whole.value)


def test_a_rate_counts_simulations_of_every_thread(at, monkeypatch):
    second = Timing(1.0, 1.0, 1.0, 5)
    monkeypatch.setattr(parts, "timed", lambda work, seconds: second)
    simulations = at.config.search.num_simulations
    assert [r.value for r in parts.search(at)] == [2 * simulations][: at.compute.threads]
    assert [round(r.value) for r in parts.tree(at)] == [
        round(1e9 / (3 * 50)),
        round(1e9 / (NUM_CORES * 3 * 50)),
    ] * len(parts.TREE_RULES)
    assert [r.value for r in parts.environment(at)] == [32, 96]


@pytest.mark.slow
def test_first_cycles_are_those_that_learn_but_for_two():
    """A run so short that all of it is measured."""
    found = first_cycles(tiny(), budget=math.inf)
    assert found.cycles == 7 - 1 - 2  # without their start
    assert found.train_steps_per_second > 0
    assert found.memory_bytes > 2**27


@pytest.mark.slow
def test_a_budget_ends_the_first_cycles():
    assert first_cycles(tiny("catch", "schedule.env_steps=8000"), budget=0.0).cycles == 1


def test_a_filled_replay_holds_whole_episodes(at):
    replay = inputs.Replay(at.config, 3, at.config.env.frame_stack)
    frames = inputs.FrameStore(replay.rows, at.spec.frame_shape, at.compute.device)
    inputs.fill(replay, frames, at.spec, replay.rows // 2, np.random.default_rng(0))
    assert replay.length.sum() >= replay.rows // 2
    assert replay.num_sampleable > 0


def test_the_names_of_parts_are_known_before_anything_is_loaded():
    assert tuple(parts.PARTS) == command.PART_NAMES


BENCH = ["bench", "tree", "run", "--preset", "catch", "--env", "catch", "--seconds", "0.01"]


def test_the_table(ez):
    code, out, err = ez(*BENCH)
    assert code == 0
    assert "3 roots, 2 actions, 1 thread" in out
    assert "ns/simulation" in out
    assert "training" in out
    assert err.splitlines() == ["Measuring tree ...", "Measuring run ..."]


def test_a_result_is_kept_and_compared_with(ez, tmp_path):
    assert ez(*BENCH, "-o", "one.json")[0] == 0
    kept = json.loads((tmp_path / "one.json").read_text())
    assert kept["device_name"]
    assert kept["results"][-1]["unit"] == "h"
    for result in kept["results"]:
        result["value"] /= 2
    (tmp_path / "half.json").write_text(json.dumps(kept))
    code, out, _ = ez(*BENCH, "--against", "half.json")
    (line,) = [line for line in out.splitlines() if " h " in line]
    assert (code, line.split()[-1]) == (0, "2.00")
    assert "Ratio to:" in out


def test_json_is_all_that_is_printed(ez):
    code, out, err = ez(*BENCH, "--json")
    assert (code, err) == (0, "")
    assert {result["part"] for result in json.loads(out)["results"]} == {"tree", "run"}


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (["speed"], "EZ-UNKNOWN-PART"),
        (["--against", "none.json"], "EZ-BENCH-NO-FILE"),
        (["--against", "list.json"], "EZ-BENCH-NOT-A-RESULT"),
        (["--against", "hollow.json"], "EZ-BENCH-NOT-A-RESULT"),
        (["--preset", "none"], "EZ-UNKNOWN-PRESET"),
    ],
)
def test_what_cannot_be_done_is_said_before_measuring(ez, tmp_path, more, error):
    about = dict.fromkeys(("device_name", "preset", "game", "measured"), "x")
    hollow = {**about, "results": [{"part": "tree", "what": "x", "unit": "ns", "value": "fast"}]}
    (tmp_path / "hollow.json").write_text(json.dumps(hollow))
    (tmp_path / "list.json").write_text("[1]")
    code, out, err = ez(*BENCH, *more)
    assert (code, out) == (2, "")
    check(ez.error, error, repr(more[-1]))
    assert "Measuring" not in err


def test_a_file_that_cannot_be_written(ez):
    assert ez(*BENCH, "-o", "no/such/folder.json")[0] == 2
    check(ez.error, "EZ-PATH-NO-FOLDER", "'no/such'")
