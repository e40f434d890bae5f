"""Settings that only the training loop uses."""

import numpy as np
import pytest

from ezcli.runs.compute import resolve_compute
from ezcli.runs.trainer import Trainer
from tests.failing import fails
from tests.runs.helpers import tiny


def after_first_cycle(*overrides):
    """A trainer that has played 8 of the 16 env_steps that come before learning."""
    config = tiny("catch", *overrides)
    trainer = Trainer(config, resolve_compute(config.compute))
    next(trainer.events())
    assert (trainer.env_steps, trainer.train_steps) == (8, 0)
    return trainer


@pytest.mark.parametrize(("random_phase", "plans"), [("true", 0), ("false", 4)])
def test_before_learning_it_plays_uniformly_or_plans(random_phase, plans):
    trainer = after_first_cycle(f"acting.random_phase={random_phase}")
    assert len(trainer.metrics.acting) == plans  # 4 times two environments at once
    played = trainer.replay.arrays.collected_at > 0
    policies = trainer.replay.arrays.policy[played]
    assert np.allclose(policies, 1 / trainer.num_actions) == (plans == 0)


def test_the_replay_is_told_what_the_acting_network_said(monkeypatch):
    told = []
    trainer = after_first_cycle("acting.random_phase=false", "replay.new_priority='error'")
    plan = trainer.planners.acting.plan

    def opinionated(network, observations, draws):
        made = plan(network, observations, draws)
        values = np.arange(len(made.best), dtype=np.float32) + len(told) + 1
        told.extend(values.tolist())
        return made._replace(network_value=values)

    monkeypatch.setattr(trainer.planners.acting, "plan", opinionated)
    rows = [trainer.replay.newest_row(env) for env in range(2)]
    next(trainer.events())
    assert trainer.replay.values[rows].tolist() == told[:2] == [1.0, 2.0]


LONG_GAMES = "env.rows=30"  # 29 env_steps each


def test_with_blocks_random_play_lasts_until_enough_may_be_drawn():
    config = tiny("catch", LONG_GAMES, "replay.block_env_steps=10")
    trainer, seen = Trainer(config, resolve_compute(config.compute)), []
    for event in trainer.events():
        may_be_drawn, drawn = trainer.replay.num_sampleable, trainer.ahead.drawn
        seen.append((event.env_steps, may_be_drawn, bool(trainer.metrics.acting), bool(drawn)))
    assert seen[2:6] == [
        (24, 0, False, False),  # without blocks it plans from 16 on
        (32, 0, False, False),
        (40, 20, False, False),  # 10 states of each of two games
        (48, 20, True, True),
    ]
    assert trainer.train_steps == config.schedule.train_steps == 14


def test_nothing_to_learn_from_names_the_blocks():
    config = tiny("catch", LONG_GAMES, "replay.block_env_steps=20")
    trainer = Trainer(config, resolve_compute(config.compute))
    with fails(
        "EZ-RUN-NOTHING-TO-LEARN",
        "56 env_steps",
        "40 env_steps after it was collected",
        "replay.block_env_steps=0",
    ):
        list(trainer.events())
    assert trainer.env_steps == config.schedule.env_steps


def test_the_importance_exponent_goes_from_its_first_to_its_last_value(monkeypatch):
    config = tiny("catch", "replay.importance_exponent=[0.4, 1.0]")
    trainer, drawn = Trainer(config, resolve_compute(config.compute)), []
    sample = trainer.replay.sample

    def noted(batch_size, exponents, rng):
        drawn.extend(exponents.tolist())
        return sample(batch_size, exponents, rng)

    monkeypatch.setattr(trainer.replay, "sample", noted)
    list(trainer.events())
    steps = config.schedule.train_steps
    assert drawn == pytest.approx([0.4 + 0.6 * step / steps for step in range(steps)])
