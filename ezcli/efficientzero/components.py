"""The three components of EfficientZero, the effect of removing each, and the planners.

Only this module reads the switches and lists the planners. It turns them into plain values and
functions, so the rest of the algorithm has no branch on them. Every arm builds the same network, so
the same seed gives every arm the same initial weights. An ablation leaves a part unused.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from ezcli.efficientzero.auxiliary import (
    AuxiliaryLoss,
    authors_consistency,
    contrastive,
    cosine_consistency,
    no_auxiliary,
    reconstruction,
)
from ezcli.efficientzero.batch import Window
from ezcli.efficientzero.decoder import DECODERS
from ezcli.efficientzero.gumbel import Gumbel
from ezcli.efficientzero.hyperparameters import Hyperparameters
from ezcli.efficientzero.network import Network
from ezcli.efficientzero.one_step import OneStep
from ezcli.efficientzero.planner import Planner
from ezcli.efficientzero.puct import Puct
from ezcli.efficientzero.targets import (
    ValueRule,
    aged_td_steps,
    gae_rule,
    mixed_steps,
    returns_rule,
)

PLANNERS: dict[str, type[Planner]] = {
    "puct": Puct,
    "gumbel": Gumbel,
    "one-step": OneStep,
}


class Auxiliary(NamedTuple):
    """An auxiliary loss, and the modules that it needs."""

    loss: AuxiliaryLoss
    by_average: bool = False  # targets come from a moving average
    decodes: bool = False  # it needs a decoder


AUXILIARY = {
    "simsiam": Auxiliary(cosine_consistency),
    "spr": Auxiliary(cosine_consistency, by_average=True),
    "contrastive": Auxiliary(contrastive),
    "reconstruction": Auxiliary(reconstruction, decodes=True),
    "none": Auxiliary(no_auxiliary),
}


class Planners(NamedTuple):
    """The planners for the three purposes of a plan."""

    acting: Planner  # chooses actions while collecting
    targets: Planner  # computes policy and value targets
    evaluation: Planner  # chooses actions in evaluations


class Rules(NamedTuple):
    """The resolved switches: a field for each component, and values that follow from them."""

    auxiliary_loss: AuxiliaryLoss  # section 4.1
    # momentum of the moving average for its targets; 0: targets come from the network
    target_momentum: float
    prefix_horizon: int  # section 4.2; env_steps; with 1 a prefix is a reward
    td_steps: Callable[[np.ndarray], np.ndarray]  # section 4.3; age in env_steps [B] -> td_steps
    value_rule: ValueRule  # how value targets are computed from these steps
    recalibrates: bool  # running statistics are recomputed for each copy


def rules_for(settings: Hyperparameters) -> Rules:
    """Resolves the switches and settings of the full algorithm."""
    components, value = settings.components, settings.value
    age_per_step = max(1, round(value.td_age_fraction * settings.schedule.env_steps))

    def aged(age: np.ndarray) -> np.ndarray:
        return aged_td_steps(age, value.td_steps, age_per_step)

    def constant(age: np.ndarray) -> np.ndarray:
        return np.full_like(age, value.td_steps)

    td_steps = aged if components.off_policy_correction else constant
    auxiliary = auxiliary_of(settings)
    return Rules(
        auxiliary_loss=auxiliary.loss,
        target_momentum=settings.loss.auxiliary_momentum if auxiliary.by_average else 0.0,
        prefix_horizon=settings.search.prefix_horizon if components.value_prefix else 1,
        td_steps=td_steps,
        value_rule=value_rule(settings, td_steps),
        recalibrates=settings.network.norm == "batch-recalibrated",
    )


def value_rule(
    settings: Hyperparameters, td_steps: Callable[[np.ndarray], np.ndarray]
) -> ValueRule:
    """The rule for value targets. `td_steps` gives the steps of returns from ages."""
    value, schedule, unroll = settings.value, settings.schedule, settings.loss.unroll_steps
    by_search = value.value_source == "search"

    def of_returns(window: Window, train_steps: np.ndarray) -> np.ndarray:
        return td_steps(window.age)

    def of_searches(window: Window, train_steps: np.ndarray) -> np.ndarray:
        return np.zeros_like(window.age)

    if value.target == "gae":
        return gae_rule(unroll, value.gae_steps, value.discount, value.gae_lambda, by_search)
    budget = schedule.env_steps * schedule.train_steps_per_env_step
    steps = {
        "td": of_returns,
        "search": of_searches,
        "mixed": mixed_steps(
            td_steps,
            first_train_step=round(value.mixed_from * budget),
            newest=round(value.mixed_newest * schedule.env_steps),
        ),
    }
    return returns_rule(unroll, steps[value.target], value.discount, by_search)


def auxiliary_of(settings: Hyperparameters) -> Auxiliary:
    """The loss that `loss.auxiliary` names, unless `components.consistency` drops it."""
    found = AUXILIARY[settings.loss.auxiliary if settings.components.consistency else "none"]
    if settings.network.norm == "batch-authors" and found.loss is cosine_consistency:
        return found._replace(loss=authors_consistency)
    return found


def add_decoder(
    network: Network, settings: Hyperparameters, frame_shape: tuple[int, int, int], seed: int
) -> None:
    """Adds the decoder that `loss.auxiliary` needs to a network, even if the loss is dropped.

    Args:
      network: with its initial weights, which do not change.
      settings: settings of the run.
      frame_shape: (C, H, W) of one frame.
      seed: seed of the decoder's initial weights.
    """
    if AUXILIARY[settings.loss.auxiliary].decodes:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network.decoder = DECODERS[settings.network.representation](
                settings.network, frame_shape
            )
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def planners_for(settings: Hyperparameters, num_actions: int) -> Planners:
    """The planners of a run. Purposes with the same planner share one object."""
    horizon = rules_for(settings).prefix_horizon
    chosen = settings.planning.model_dump()
    made = {name: PLANNERS[name](settings, horizon, num_actions) for name in set(chosen.values())}
    return Planners(**{purpose: made[name] for purpose, name in chosen.items()})
