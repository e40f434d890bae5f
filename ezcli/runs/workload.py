"""How often a whole run does each piece of its work: arithmetic on its config, without a clock."""

import math
from typing import NamedTuple

import numpy as np

from ezcli.config.run import RunConfig
from ezcli.efficientzero.components import rules_for

MOST_NETWORKS = 10_000  # target networks that are looked at one by one
MOST_DRAWS = 1_000_000  # of all these networks together


class Draws(NamedTuple):
    """What the draws of a run have to do, [networks, draws]: of each target network, in order.

    A draw makes the targets of `sample_ahead` train_steps.
    """

    train_step: np.ndarray  # [networks] in the middle of each network's
    asked: np.ndarray  # policy targets that a search must give
    searched: np.ndarray  # searches made for them
    evaluated: np.ndarray  # states whose value the network must say without a search
    times: float  # draws of the run for each of these


class Amounts(NamedTuple):
    """How often a whole run does each; its evaluations are not counted."""

    decisions: float  # searches that choose an action
    asked: float  # as in `Draws`
    searched: float
    evaluated: float
    train_steps: float


def draws(config: RunConfig) -> Draws:
    """What each draw of a run has to do.

    With `reanalyse.memoise` a target network searches each state once. How many states the batches
    name is taken as if windows were drawn uniformly: w windows of k states leave a share of
    exp(-w k / N) of N states untouched. Ends of episodes and priorities make it fewer.
    """
    schedule, loss, ahead = config.schedule, config.loss, config.schedule.sample_ahead
    networks = math.ceil(schedule.train_steps / schedule.target_update_interval)
    shown = min(networks, MOST_NETWORKS)  # of a very long run some stand for all
    train_step = (np.arange(shown) + 0.5) * schedule.train_steps / max(shown, 1)
    per_network = min(schedule.target_update_interval, schedule.train_steps) // ahead
    draw = np.linspace(0, per_network - 1, min(per_network, MOST_DRAWS // max(shown, 1)))
    states = states_at(config, train_step)[:, None]
    positions = loss.unroll_steps + 1
    chosen = ahead * round(config.reanalyse.ratio * loss.batch_size)  # windows that are searched
    windows = ahead * loss.batch_size
    td_steps = rules_for(config).td_steps
    ages = (states * np.linspace(0, 1, num=100)).astype(np.int64)
    beyond = np.minimum(td_steps(ages), positions).mean(1, keepdims=True)
    asked = np.full((shown, len(draw)), float(chosen * positions))
    # How often a draw names each state: for a policy, and for a policy or a bootstrap.
    by_policy, by_any = (
        chosen * positions / states,
        (chosen * beyond + windows * positions) / states,
    )
    unnamed = np.exp(-by_any * draw)  # by the draws before
    if config.value.value_source == "search":
        searched = -np.expm1(-by_any) * unnamed * states
        if not config.reanalyse.memoise:
            searched = asked + windows * positions
        evaluated = np.zeros_like(asked)
    else:
        searched = -np.expm1(-by_policy) * np.exp(-by_policy * draw) * states
        if not config.reanalyse.memoise:
            searched = asked
        evaluated = (np.exp(-by_policy) - np.exp(-by_any)) * unnamed * states
    times = schedule.train_steps / ahead / max(asked.size, 1)
    return Draws(train_step, asked, searched, evaluated, times)


def amounts(config: RunConfig) -> Amounts:
    """How often a whole run decides, searches for targets, and learns."""
    found = draws(config)
    return Amounts(
        decisions=config.schedule.env_steps - config.schedule.random_env_steps,
        asked=float(found.times * found.asked.sum()),
        searched=float(found.times * found.searched.sum()),
        evaluated=float(found.times * found.evaluated.sum()),
        train_steps=config.schedule.train_steps,
    )


def states_at(config: RunConfig, train_step: np.ndarray) -> np.ndarray:
    """About how many states can be drawn by then; those about to be overwritten cannot."""
    schedule, envs = config.schedule, config.acting.num_envs
    collected = schedule.random_env_steps + train_step / schedule.train_steps_per_env_step
    kept = config.replay.capacity - envs * config.guard_rows(config.env.frame_stack)
    return np.minimum(collected, min(schedule.env_steps, kept))
