"""Counts each part of a run's work by arithmetic on its config, without measurements."""

import math
from typing import NamedTuple

import numpy as np

from ezcli.config.run import RunConfig
from ezcli.efficientzero.batch import Window
from ezcli.efficientzero.components import PLANNERS, rules_for

MOST_NETWORKS = 10_000  # most target networks computed separately
MOST_DRAWS = 1_000_000  # memory limit for all these networks


class Draws(NamedTuple):
    """The work of the draws of a run, [networks, draws], for each target network in order.

    A draw makes the targets of `sample_ahead` train_steps.
    """

    train_step: np.ndarray  # [networks] train_step in the middle of each network's use
    asked: np.ndarray  # policy targets that need a search
    searched: np.ndarray  # searches made for them
    evaluated: np.ndarray  # states that the network evaluates without a search
    times: float  # number of draws represented by each entry


class Amounts(NamedTuple):
    """Counts of a whole run, without evaluations."""

    decisions: float  # searches that choose an action
    asked: float  # as in `Draws`
    searched: float
    evaluated: float
    train_steps: float


def draws(config: RunConfig) -> Draws:
    """Counts the work of each draw of a run.

    With `reanalyse.memoise` a target network searches each state once. The number of distinct
    states in batches is computed as for uniform draws: w windows of k states miss a share exp(-w k
    / N) of N states. Ends of episodes and priorities make it smaller.
    """
    schedule, loss, ahead = config.schedule, config.loss, config.schedule.sample_ahead
    networks = math.ceil(schedule.train_steps / schedule.target_update_interval)
    shown = min(networks, MOST_NETWORKS)  # in a very long run some represent all
    train_step = (np.arange(shown) + 0.5) * schedule.train_steps / max(shown, 1)
    per_network = min(schedule.target_update_interval, schedule.train_steps) // ahead
    draw = np.linspace(0, per_network - 1, min(per_network, MOST_DRAWS // max(shown, 1)))
    states = states_at(config, train_step)[:, None]
    positions = loss.unroll_steps + 1
    chosen = ahead * round(config.reanalyse.ratio * loss.batch_size)  # windows that are searched
    if not PLANNERS[config.planning.targets].gives_policies:
        chosen = 0
    windows = ahead * loss.batch_size
    beyond, by_search = values_at(config, train_step, states)
    asked = np.full((shown, len(draw)), float(chosen * positions))
    # How often a draw uses each state: for a policy, and for a policy or a bootstrap.
    by_policy, by_any = (
        chosen * positions / states,
        (chosen * beyond + windows * positions) / states,
    )
    unnamed = np.exp(-by_any * draw)  # searched by earlier draws
    if config.reanalyse.memoise:
        # If searches give all values, and if they give only policies.
        for_both = -np.expm1(-by_any) * unnamed * states
        for_policies = -np.expm1(-by_policy) * np.exp(-by_policy * draw) * states
    else:
        for_both, for_policies = asked + windows * positions, asked
    searched = np.where(by_search, for_both, for_policies)
    evaluated = (np.exp(-by_policy) - np.exp(-by_any)) * unnamed * states
    evaluated = np.where(by_search, 0.0, evaluated)
    times = schedule.train_steps / ahead / max(asked.size, 1)
    return Draws(train_step, asked, searched, evaluated, times)


def values_at(
    config: RunConfig, train_step: np.ndarray, states: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Values needed for targets at each train_step [networks] with `states` [networks, 1].

    Returns:
      [networks, 1]: states beyond the unroll whose values a window needs, mean over all ages.
      [networks, 1] bool: whether searches give all values.
    """
    rule, unroll = rules_for(config).value_rule, config.loss.unroll_steps
    beyond, by_search = np.empty(states.shape), np.empty(states.shape, np.bool_)
    for number, step in enumerate(train_step):
        ages = (states[number] * np.linspace(0, 1, num=100)).astype(np.int64)
        window = endless_window(ages, unroll, config.lookahead)
        sources = rule.sources(window, np.full(len(ages), step))
        beyond[number] = (sources.positions > unroll).sum(1).mean()
        by_search[number] = sources.by_search.all()
    return beyond, by_search


def endless_window(age: np.ndarray, unroll_steps: int, lookahead: int) -> Window:
    """Windows with these ages [n] in an endless episode, without a replay."""
    shape = len(age), lookahead + 1
    return Window(
        rows=np.zeros(shape, np.int64),
        is_state=np.ones(shape, np.bool_),
        is_terminal=np.zeros(shape, np.bool_),
        actions=np.zeros((len(age), unroll_steps), np.int64),
        rewards=np.zeros((len(age), lookahead), np.float32),
        age=age,
        weights=np.ones(len(age), np.float32),
    )


def amounts(config: RunConfig) -> Amounts:
    """Counts the decisions, searches for targets and train_steps of a whole run."""
    found = draws(config)
    return Amounts(
        decisions=config.schedule.env_steps - config.random_play,
        asked=float(found.times * found.asked.sum()),
        searched=float(found.times * found.searched.sum()),
        evaluated=float(found.times * found.evaluated.sum()),
        train_steps=config.schedule.train_steps,
    )


class Evaluations(NamedTuple):
    """Numbers of games in the evaluations of a run."""

    interim_games: int
    final_games: int  # at the end, on the levels of evaluation
    # at the end, on the levels of training, if evaluation has separate levels
    training_level_games: int


def evaluations(config: RunConfig) -> Evaluations:
    """Counts the games of evaluations. Their length depends on the agent."""
    played, train_steps = config.evaluation, config.schedule.train_steps
    on_the_way = (train_steps - 1) // played.interval if played.interval else 0
    again = played.episodes if config.env.has_unseen_levels else 0
    return Evaluations(on_the_way * played.interval_episodes, played.episodes, again)


def states_at(config: RunConfig, train_step: np.ndarray) -> np.ndarray:
    """Approximate number of states that can be drawn at a train_step.

    States about to be overwritten are not counted.
    """
    schedule, envs = config.schedule, config.acting.num_envs
    collected = schedule.random_env_steps + train_step / schedule.train_steps_per_env_step
    kept = config.replay.capacity - envs * config.guard_rows(config.env.frame_stack)
    return np.minimum(collected, min(schedule.env_steps, kept))
