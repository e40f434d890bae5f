"""Checks, before a run uses a GPU, that the GPU computes correctly on this machine.

A fault of a driver, a toolkit or a kernel would only appear as a poor score days later. If
everything agrees, the check does not affect results. Otherwise the run uses the slower, correct
way.
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

MOST_MISPLACED = 0.05  # share of visits, allowing for rounding at a few near ties
LARGEST_ERROR = 0.1  # relative error of bfloat16, which rounds each number by up to 0.4 %


class Checked(NamedTuple):
    """The device and precision of a run after the check."""

    compute: Compute  # as requested, or without what failed
    record: dict[str, Any] | None  # for `run.json`; None if there was nothing to check
    said: list[str]  # a sentence for each failure


def checked(compute: Compute, config: RunConfig) -> Checked:
    """Compares searches on the device with searches on the CPU, and bfloat16 with float32.

    Args:
      compute: as in the settings.
      config: of the run, for its network and searches.

    Raises:
      EzError: the environment is not available.
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
                f"{LARGEST_ERROR:.0%}), so this run computes in float32."
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
                    f"On {compute.device}, {misplaced:.0%} of the visits of {name} searches "
                    f"differ from those on the CPU (allowed: {MOST_MISPLACED:.0%}), so this run "
                    "has its search trees on the CPU."
                )
                compute = compute._replace(search="cpu")
    return Checked(compute, record, said)
