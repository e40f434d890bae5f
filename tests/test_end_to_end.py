"""The commands on real input: Atari from reset to score, and learning itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ezcli.config.files import preset_names

pytestmark = pytest.mark.slow


def ez(*arguments: str, cwd: Path) -> str:
    """Runs `ez` in a process of its own; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "ezcli", *arguments], cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("game", ["pong", "breakout", "ms_pacman"])
def test_smoke_runs_on_real_atari(game: str, tmp_path: Path) -> None:
    printed = ez("train", "--game", game, "--preset", "smoke", "--name", "run", cwd=tmp_path)
    assert "compiling" in printed
    run = tmp_path / "runs" / "run"
    info = json.loads((run / "run.json").read_text())
    assert info["status"] == "finished"
    assert info["environment"]["game"] == game
    assert info["environment"]["frame_skip"] == 4
    metrics = lines(run / "metrics.jsonl")
    assert metrics[-1]["env_steps"] == 200
    assert metrics[-1]["train_steps"] == 40
    (final,) = lines(run / "evaluations.jsonl")
    assert final["kind"] == "final"
    assert len(final["scores"]) == 4  # type: ignore[arg-type]
    assert final["human_normalised"] is None  # its games are cut off after 100 env_steps


@pytest.mark.parametrize("preset", preset_names())
def test_doctor_knows_every_preset(preset: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ezcli", "doctor", "--preset", preset],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert f"preset {preset}" in done.stdout
    assert not done.stderr


@pytest.mark.timeout(1500)
def test_catch_is_learned(tmp_path: Path) -> None:
    ez("train", "--env", "catch", "--quiet", "--name", "run", cwd=tmp_path)
    final = lines(tmp_path / "runs" / "run" / "evaluations.jsonl")[-1]
    assert final["kind"] == "final"
    assert final["mean"] >= 0.9  # type: ignore[operator]
