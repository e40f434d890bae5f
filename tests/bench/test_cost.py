"""`ez cost`: from times of single pieces to a run, and what is printed."""

import json

import pytest
import torch

from ezcli.bench import cost
from ezcli.bench.cost import Seconds
from ezcli.bench.inputs import bench
from ezcli.bench.operations import Amounts
from ezcli.config import with_changes
from ezcli.runs.compute import resolve_compute
from ezcli.words import quantity
from tests.runs.helpers import tiny

TIMES = Seconds(env_step=1.0, decision=2.0, search=10.0, evaluation=1.0, train_step=36.0)
OFTEN = Amounts(decisions=90, asked=1000, searched=60, evaluated=40, train_steps=100)


@pytest.fixture(scope="module")
def at():
    config = with_changes(tiny(), {"schedule.env_steps": 104, "replay.capacity": 1000})
    return bench(config, resolve_compute(config.compute), seconds=0.001)


def on(at, threads: int = 1, device: str = "cpu"):
    return at._replace(compute=at.compute._replace(threads=threads, device=torch.device(device)))


def test_one_thread_does_one_thing_after_the_other(at):
    found = cost.cost(on(at), TIMES, OFTEN)
    acting, reanalysis, learning = 104 + 180, 640, 3600
    assert found.hours == pytest.approx((acting + reanalysis + learning) / 3600)
    assert found.shares == pytest.approx(
        {"acting": 284 / 4524, "reanalysis": 640 / 4524, "learning": 3600 / 4524}
    )
    assert found.device_memory_bytes is None


def test_threads_share_the_rest_until_learning_alone_fills_one(at):
    two = cost.cost(on(at, threads=2), TIMES, OFTEN)
    assert two.hours == pytest.approx(3600 / 3600)  # learning, more than half of all
    quick = TIMES._replace(train_step=4.0)
    two = cost.cost(on(at, threads=2), quick, OFTEN)
    assert two.hours == pytest.approx(((284 + 400) / 2 + 640) / 3600)
    assert two.shares["reanalysis"] == pytest.approx(1280 / (284 + 1280 + 400))


def test_a_gpu_does_one_thing_after_the_other_and_holds_the_frames(at, monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 12345)
    monkeypatch.setattr(cost, "peak_memory", lambda: 1000)
    gpu, cpu = (cost.cost(on(at, 8, device), TIMES, OFTEN) for device in ("cuda", "cpu"))
    assert gpu.hours == pytest.approx(4524 / 3600)
    assert (gpu.memory_bytes, gpu.device_memory_bytes) == (1000, 12345)
    assert cpu.memory_bytes == 1000 + 1000 * 12  # frames of 4 x 3 pixels


def test_every_piece_of_work_takes_time(at):
    times, whole = cost.measured(at)
    assert all(0 < taken < 10 for taken in times)
    assert 0 < whole.hours < 1
    assert whole.disk_bytes > 0


COST = ("cost", "--preset", "smoke", "--env", "catch", "--device", "cpu")


def test_what_is_printed(ez, monkeypatch):
    monkeypatch.setattr(cost, "seconds", lambda at: TIMES)
    code, out, err = ez(*COST, "--price-per-hour", "2", "--watts", "500")
    assert code == 0
    assert err.startswith("Timing a search and a train_step on ")
    hours = json.loads(ez(*COST, "--json")[1])["hours"]
    lines = {line.split("  ")[0]: line for line in out.splitlines()}
    assert f"{2 * hours:.2f}" in lines["price"]
    assert f"{hours / 2:.3g} kWh" in lines["energy"]
    assert {"time", "memory", "disk", "train_step", "whole"} <= lines.keys()
    assert "GPU memory" not in lines
    assert max(map(len, out.splitlines())) <= 80 or "A run makes" in out


def test_nothing_is_timed_that_was_not_asked_for(ez, monkeypatch):
    monkeypatch.setattr(cost, "seconds", None)  # calling it would fail
    code, out, err = ez(*COST, "--no-measure")
    assert (code, err) == (0, "")
    assert "A run on" not in out
    found = json.loads(ez(*COST, "--no-measure", "--json")[1])
    assert "hours" not in found
    assert found["parameters"]["whole"] == sum(found["parameters"].values()) / 2
    assert found["macs"]["run"] == pytest.approx(sum(found["macs_of_run"].values()))


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
