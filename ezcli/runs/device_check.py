"""Before a run computes on a GPU: does the GPU compute what it should on this machine?

A fault of a driver, a toolkit or a kernel would show only as a poor score days later. Where all
agrees the check changes no result; otherwise the run computes in the slower way that is right.
"""

import math
from typing import Any, NamedTuple

from ezcli.config.run import RunConfig
from ezcli.efficientzero.components import rules_for
from ezcli.efficientzero.folded import fold
from ezcli.efficientzero.search import gumbel_constants, puct_constants
from ezcli.efficientzero.self_check import (
    error_of,
    misplaced_visits,
    observations_for,
    opinionated,
)
from ezcli.envs.make import make_env
from ezcli.runs.compute import Compute
from ezcli.runs.trainer import make_network

MOST_MISPLACED = 0.05  # of the visits; what rounding may do to a few near ties
LARGEST_ERROR = 0.1  # of bfloat16, which rounds each number by up to 0.004 of it


class Checked(NamedTuple):
    """What a run computes with after the check."""

    compute: Compute  # as asked, or without what failed
    record: dict[str, Any] | None  # for `run.json`; None: there was nothing to check
    said: list[str]  # a sentence for each failure


def checked(compute: Compute, config: RunConfig) -> Checked:
    """Compares searches on the device with searches on the host, and bfloat16 with float32.

    Args:
      compute: as the settings ask for it.
      config: of the run; the network and the searches are its own.

    Raises:
      EzError: the environment is not there.
    """
    record: dict[str, Any] = {}
    said: list[str] = []
    if compute.search != "cuda" and compute.precision == "float32":
        return Checked(compute, None, said)
    spec = make_env(config.env, evaluation=True).spec
    num_actions = len(spec.action_names)
    made = make_network(config, spec.frame_shape, num_actions).to(compute.device)
    network = opinionated(made)
    channels, height, width = spec.frame_shape
    seen = observations_for(network, (channels * config.env.frame_stack, height, width))
    if compute.precision != "float32":
        error = error_of(network, compute.precision, seen)
        is_finite = math.isfinite(error)
        record["precision_error"] = round(error, 5) if is_finite else "not finite"
        if not is_finite or error > LARGEST_ERROR:
            far = f"{error:.0%} away from float32" if is_finite else "not finite"
            said.append(
                f"On {compute.device}, outputs in {compute.precision} are {far} (allowed: "
                f"{LARGEST_ERROR:.0%} away), so this run computes in float32."
            )
            compute = compute._replace(precision="float32")
    if compute.search == "cuda":
        horizon = rules_for(config).prefix_horizon
        folded = fold(network, compute.precision)
        for name, constants in (
            ("puct", puct_constants(config, horizon)),
            ("gumbel", gumbel_constants(config, horizon, num_actions)),
        ):
            misplaced = misplaced_visits(folded, constants, seen)
            record[f"{name}_misplaced_visits"] = round(misplaced, 5)
            if misplaced > MOST_MISPLACED:
                said.append(
                    f"On {compute.device}, {name} searches put {misplaced:.0%} of their visits "
                    f"elsewhere than the host does (allowed: {MOST_MISPLACED:.0%}), so the search "
                    "trees of this run stay on the host."
                )
                compute = compute._replace(search="cpu")
    return Checked(compute, record, said)
