"""The three components of EfficientZero, what removing each one means, and who plans.

This is the only module that reads the switches and names the planners. It turns them into plain
values and functions, so the rest of the algorithm has no branch on them. The network is built the
same in every arm, so the same seed gives every arm the same first weights: an ablation is not using
a part, never not building it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ezcli.efficientzero.gumbel import Gumbel
from ezcli.efficientzero.hyperparameters import Hyperparameters
from ezcli.efficientzero.loss import (
    AuxiliaryLoss,
    authors_consistency,
    cosine_consistency,
    no_consistency,
)
from ezcli.efficientzero.planner import Planner
from ezcli.efficientzero.puct import Puct
from ezcli.efficientzero.targets import ValueRule, aged_td_steps, td_rule

PLANNERS: dict[str, Callable[[Hyperparameters, int, int], Planner]] = {
    "puct": Puct,
    "gumbel": Gumbel,
}


class Planners(NamedTuple):
    """Who plans, for each of the three purposes that a plan has."""

    acting: Planner  # chooses actions while collecting
    targets: Planner  # gives policies and values to learn from
    evaluation: Planner  # chooses actions for a score


class Rules(NamedTuple):
    """What the switches come to: a field for each component, and what follows from them."""

    auxiliary_loss: AuxiliaryLoss  # section 4.1
    prefix_horizon: int  # section 4.2; env_steps, at 1 a prefix is a reward
    td_steps: Callable[[np.ndarray], np.ndarray]  # section 4.3; age in env_steps [B] -> td_steps
    value_rule: ValueRule  # how value targets follow from these steps


def rules_for(settings: Hyperparameters) -> Rules:
    """Resolves the switches against the numbers of the full algorithm."""
    components, value = settings.components, settings.value
    age_per_step = max(1, round(value.td_age_fraction * settings.schedule.env_steps))

    def aged(age: np.ndarray) -> np.ndarray:
        return aged_td_steps(age, value.td_steps, age_per_step)

    def constant(age: np.ndarray) -> np.ndarray:
        return np.full_like(age, value.td_steps)

    td_steps = aged if components.off_policy_correction else constant
    by_search = value.value_source == "search"
    return Rules(
        auxiliary_loss=auxiliary_loss(settings),
        prefix_horizon=settings.search.prefix_horizon if components.value_prefix else 1,
        td_steps=td_steps,
        value_rule=td_rule(settings.loss.unroll_steps, td_steps, value.discount, by_search),
    )


def auxiliary_loss(settings: Hyperparameters) -> AuxiliaryLoss:
    """What learns the latents beside the other losses."""
    if not settings.components.consistency:
        return no_consistency
    return authors_consistency if settings.network.norm == "batch-authors" else cosine_consistency


def planners_for(settings: Hyperparameters, num_actions: int) -> Planners:
    """The planners of a run; one serves all purposes that name it."""
    horizon = rules_for(settings).prefix_horizon
    chosen = settings.planning.model_dump()
    made = {name: PLANNERS[name](settings, horizon, num_actions) for name in set(chosen.values())}
    return Planners(**{purpose: made[name] for purpose, name in chosen.items()})
