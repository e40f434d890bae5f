"""How cost grows with each setting: one `ez bench` for each value, one after the other.

    python benchmarks/growth.py [--preset atari-cpu] [-o benchmarks/results/growth.json]

A value that a curve leaves alone is the preset's. Runs side by side are measured with one thread
each, and their train_steps/s are added up.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

EZ = [sys.executable, "-m", "ezcli"]
RUNS = (1, 2, 3)  # side by side


class Curve(NamedTuple):
    """One setting, its values, and which figure of which part is read."""

    setting: str
    values: tuple[str, ...]
    part: str
    figure: str  # begins so


SEARCH, STEP = "64 roots, 1 thread", "train_step"
CURVES = (
    Curve("search.num_simulations", ("4", "8", "16", "32", "64", "128"), "search", SEARCH),
    Curve("env.game", ("freeway", "breakout", "pong", "kung_fu_master", "alien"), "search", SEARCH),
    Curve("network.channels", ("16", "32", "64", "128"), "search", SEARCH),
    Curve("network.channels", ("16", "32", "64", "128"), "learner", STEP),
    Curve("loss.batch_size", ("8", "16", "32", "64", "128"), "learner", STEP),
    Curve("replay.capacity", ("10000", "30000", "100000"), "replay", "draw and gather"),
)


def command(part: str, preset: str, seconds: float, *settings: str) -> list[str]:
    """`ez bench` of one part."""
    sets = [word for setting in settings for word in ("--set", setting)]
    game = [] if any(s.startswith("env.game") for s in settings) else ["--game", "pong"]
    chosen = ["--preset", preset, "--seconds", str(seconds), "--json", *game, *sets]
    return [*EZ, "bench", part, *chosen]


def measured(curve: Curve, value: str, preset: str, seconds: float) -> list[dict[str, Any]]:
    """The figures at one value of the curve's setting."""
    asked = command(curve.part, preset, seconds, f"{curve.setting}={value}")
    done = subprocess.run(asked, check=True, capture_output=True, text=True)
    results = json.loads(done.stdout)["results"]
    return [r for r in results if r["what"].startswith(curve.figure)]


def side_by_side(number: int, preset: str, seconds: float) -> float:
    """train_steps/s of so many runs together."""
    asked = command("run", preset, seconds, "compute.threads=1")
    started = [subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) for _ in range(number)]
    outputs = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit("A run failed.")
    results = [result for output in outputs for result in json.loads(output)["results"]]
    return float(sum(r["value"] for r in results if r["unit"] == "train_steps/s"))


def main() -> None:
    """Measures every curve and prints a line for each value."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="atari-cpu")
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []

    def note(setting: str, value: str, figure: dict[str, Any]) -> None:
        rows.append({"setting": setting, "at": value, **figure})
        print(
            f"{setting:24} {value:>14}  {figure['what']:36} {figure['value']:11,.1f} "
            f"{figure['unit']}",
            flush=True,
        )

    for curve in CURVES:
        for value in curve.values:
            for figure in measured(curve, value, options.preset, options.seconds):
                note(curve.setting, value, figure)
    for number in RUNS:
        rate = side_by_side(number, options.preset, options.seconds)
        together = {"part": "run", "what": "together", "value": rate, "unit": "train_steps/s"}
        note("runs side by side", str(number), together)
    if options.output:
        machine = subprocess.run(
            [*EZ, "bench", "tree", "--seconds", "0.01", "--json"],
            check=True,
            capture_output=True,
            text=True,
        )
        about = {k: v for k, v in json.loads(machine.stdout).items() if k != "results"}
        about["preset"] = options.preset
        text = json.dumps({**about, "results": rows}, indent=2)
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
