"""The search trees beside mctx's (PyPI), in one process and one run: ns per root and simulation.

    python benchmarks/peers.py [--seconds 2] [-o benchmarks/results/peers.json]

Both search with 50 simulations and no network, once with pUCT and once with Gumbel's sequential
halving over 8 actions: policies and values come from a table. mctx is compiled for the CPU and uses
all cores; ours runs in one thread and in one for each core, as in `ez bench tree`.
"""

import argparse
import json
from itertools import product
from pathlib import Path

import jax
import mctx
import numpy as np
import torch
from jax import numpy as jnp

from ezcli.bench.inputs import side_by_side
from ezcli.bench.parts import TREE_ACTIONS, TREE_ROOTS, TREE_RULES, TREE_SIMULATIONS, tree_work
from ezcli.bench.timing import timed
from ezcli.efficientzero.tree import Constants, GumbelConstants
from ezcli.runs.compute import num_cores
from ezcli.runs.provenance import device_name, version

TABLE = 512  # rows of policies and values; states share them


def mctx_work(constants: Constants, roots: int, actions: int):
    """A whole search by mctx under the same rule, compiled."""
    rng = np.random.default_rng(0)
    logits = jnp.log(jnp.array(rng.dirichlet(np.full(actions, 0.3), size=TABLE) + 1e-8))
    values = jnp.array(rng.normal(size=TABLE))

    def recurrent(_params, _key, action, state):
        state = (state * 31 + action + 1) % TABLE
        ones = jnp.ones(roots)
        output = mctx.RecurrentFnOutput(
            reward=0.1 * values[(state + 7) % TABLE],
            discount=0.988 * ones,
            prior_logits=logits[state],
            value=values[state],
        )
        return output, state

    def search(key):
        state = jnp.arange(roots) % TABLE
        root = mctx.RootFnOutput(prior_logits=logits[state], value=values[state], embedding=state)
        if isinstance(constants, GumbelConstants):
            policy = mctx.gumbel_muzero_policy(
                None,
                key,
                root,
                recurrent,
                TREE_SIMULATIONS,
                max_num_considered_actions=constants.candidates,
            )
        else:
            policy = mctx.muzero_policy(
                None, key, root, recurrent, TREE_SIMULATIONS, dirichlet_fraction=0.0
            )
        return policy.action_weights

    compiled, key = jax.jit(search), jax.random.key(0)
    return lambda: compiled(key).block_until_ready()


def main() -> None:
    """Measures every shape and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    cores, rows = num_cores(), []
    for (rule, constants), actions, roots in product(TREE_RULES.items(), TREE_ACTIONS, TREE_ROOTS):
        ours = tree_work(constants, roots, actions)
        contestants = {
            "ezcli, 1 thread": (ours, 1),
            f"ezcli, {cores} threads": (side_by_side(ours, cores), cores),
            f"mctx, {cores} cores": (mctx_work(constants, roots, actions), 1),
        }
        for name, (work, searches) in contestants.items():
            taken = timed(work, options.seconds)
            scale = 1e9 / (searches * roots * TREE_SIMULATIONS)
            median, low, high = (scale * seconds for seconds in taken[:3])
            who = f"{name}{rule}"
            print(f"{roots:5} roots {actions:3} actions  {who:26} {median:9,.0f} ns", flush=True)
            rows.append(
                {
                    "roots": roots,
                    "actions": actions,
                    "who": who,
                    "median": median,
                    "low": low,
                    "high": high,
                    "repeats": taken.repeats,
                }
            )
    if options.output:
        packages = {name: version(name) for name in ("mctx", "jax", "numba", "numpy")}
        machine = {
            "device_name": device_name(torch.device("cpu")),
            "cores": cores,
            "packages": packages,
        }
        text = json.dumps({**machine, "unit": "ns/simulation", "results": rows}, indent=2)
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
