"""The two modes of the network over training: a table of means over all comparisons of each run.

    python -m benchmarks.norm_modes RUN... [-o benchmarks/results/NAME.md]

`ez report` shows the last comparison of a run; early in training, where one seed is all there is,
the mean over its comparisons varies less. Runs are folders, one row for each.
"""

import argparse
from pathlib import Path

import numpy as np

import ezcli

COLUMNS = {
    "modes_value_rmse_root": "root RMSE / std",
    "modes_value_bias_root": "root bias / std",
    "modes_value_correlation_root": "root correlation",
    "modes_value_rmse_last": "last RMSE / std",
    "modes_value_correlation_last": "last correlation",
    "modes_policy_variation_root": "root policy variation",
}


def row(path: Path) -> tuple[str, ...]:
    """Game, norm, comparisons and the mean of each column."""
    run = ezcli.load(path.name, path.parent)
    looks = [line for line in run.metrics if line["modes_value_rmse_root"] is not None]
    means = (f"{np.mean([look[name] for look in looks]):.2f}" for name in COLUMNS)
    game = run.settings.get("env.game") or run.settings["env.name"]
    steps = f"{looks[0]['train_steps']:,} to {looks[-1]['train_steps']:,}"
    return game, f"`{run.settings['network.norm']}`", steps, str(len(looks)), *means


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    head = ("game", "norm", "train_steps", "comparisons", *COLUMNS.values())
    rule = ("---", "---", *["---:"] * (len(head) - 2))
    table = [head, rule, *map(row, asked.runs)]
    text = "".join(f"| {' | '.join(cells)} |\n" for cells in table)
    print(text, end="")
    if asked.output:
        asked.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
