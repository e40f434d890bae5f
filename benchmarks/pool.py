"""One table of an agent's scores in several reports, for runs whose folders are no longer together.

    python -m benchmarks.pool atari-cpu atari-cpu-seed-2 -o benchmarks/results/atari-cpu-pooled.md

Each name is that of a JSON file of `ez report` in benchmarks/results. All runs must be of one arm,
and each game and seed of one run. Intervals are those of `ez report`: Student's t over the runs of
a game.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ezcli.envs.atari_suite import reference_scores
from ezcli.reports.formats import markdown_table
from ezcli.reports.tables import Cell, Table, interval

RESULTS = Path(__file__).parent / "results"
DIGITS = 3  # of human-normalised scores


def runs_of(names: Sequence[str]) -> dict[str, dict[int, dict[str, Any]]]:
    """The runs of the reports by game and seed.

    Raises:
      ValueError: they are of several arms, or two are of one game and seed.
    """
    reports = [json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")) for name in names]
    runs = [run for report in reports for section in report["sections"] for run in section["runs"]]
    if len({run["arm"] for run in runs}) != 1:
        raise ValueError("the reports are of several arms")
    found = defaultdict[str, dict[int, dict[str, Any]]](dict)
    for run in runs:
        if run["seed"] in found[run["game"]]:
            raise ValueError(f"{run['game']} with seed {run['seed']} is there twice")
        found[run["game"]][run["seed"]] = run
    return found


def pooled(names: Sequence[str]) -> str:
    """The table, as markdown."""
    found = runs_of(names)
    seeds = sorted({seed for runs in found.values() for seed in runs})
    rows: list[tuple[Cell, ...]] = []
    for game, runs in sorted(found.items()):
        each = [f"{runs[seed]['score']:,.0f}" if seed in runs else "–" for seed in seeds]
        random = f"{reference_scores()[game].zero:,.0f}" if game in reference_scores() else None
        known = (run.get("human_normalised") for run in runs.values())
        normal = [score for score in known if score is not None]
        human = interval(normal, DIGITS) if len(normal) == len(runs) else None
        rows.append((game, *each, interval([r["score"] for r in runs.values()]), random, human))
    columns = ("game", *(f"seed {seed}" for seed in seeds))
    columns += ("mean", "random play", "human-normalised")
    return "\n".join(markdown_table(Table("pooled", "Every run", columns, tuple(rows)))) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    options.output.write_text(pooled(options.names), encoding="utf-8")
