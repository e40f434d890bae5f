"""The presets have the documented values."""

import pytest

from ezcli.config.files import preset_names, preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.config.tables import flat_items
from ezcli.efficientzero.learner import learning_rate

# EfficientZero as published: table 6 and appendix A.1 of arXiv:2111.00210, and what the authors'
# code adds. This is the specification: a preset that differs is wrong, not this table.
PUBLISHED = {
    "env.name": "atari",
    "env.frame_size": 96,
    "env.grayscale": False,
    "env.frame_skip": 4,
    "env.frame_stack": 4,
    "env.noop_max": 30,
    "env.life_loss_ends_episode": True,
    "env.sticky": 0.0,
    "env.full_action_set": False,
    "env.clip_rewards": True,
    "env.max_episode_steps": 12_000 // 4,
    "env.evaluation_max_episode_steps": 108_000 // 4,
    "components.consistency": True,
    "components.value_prefix": True,
    "components.off_policy_correction": True,
    "schedule.env_steps": 400_000 // 4,
    "schedule.random_env_steps": 2_000,
    "schedule.train_steps_per_env_step": 1.0,
    "schedule.acting_update_interval": 100,
    "schedule.target_update_interval": 200,
    "network.channels": 64,
    "network.downsamplings": 4,
    "network.latent_scaling": False,  # MuZero scales its latents; EfficientZero does not
    "network.action_encoding": "scalar",
    "network.head_channels": 16,
    "network.head_hidden": 32,
    "network.prefix_lstm": 512,
    "network.projection": 1024,
    "network.projection_bottleneck": 512,
    "network.batch_norm_momentum": 0.1,
    "network.norm": "batch-authors",  # the authors' code
    "network.representation": "convolutional",
    "value.discount": pytest.approx(0.997**4, rel=1e-11),
    "value.support": 300,
    "value.td_steps": 5,
    "value.td_age_fraction": 0.3,
    "value.value_source": "network",
    "value.bootstrap_truncated": False,
    "value.target": "td",
    "value.mixed_from": 0.4,  # EfficientZero V2, table 3; these four are not in use here
    "value.mixed_newest": 0.2,
    "value.gae_lambda": 0.95,
    "value.gae_steps": 15,
    "planning.acting": "puct",
    "planning.targets": "puct",
    "planning.evaluation": "puct",
    "gumbel.candidates": 8,  # EfficientZeroV2, table 3 and equation 19; not in use here
    "gumbel.candidates_rule": "fixed",
    "gumbel.c_visit": 50.0,
    "gumbel.c_scale": 0.1,
    "gumbel.scaling": "tree",
    "one_step.first_epsilon": 1.0,  # our own design; not in use here
    "one_step.last_epsilon": 0.05,
    "one_step.decay_fraction": 0.1,
    "one_step.evaluation_epsilon": 0.001,
    "search.num_simulations": 50,
    "search.pb_c_init": 1.25,
    "search.pb_c_base": 19652.0,
    "search.min_q_range": 0.01,
    "search.prefix_horizon": 5,
    "search.root_dirichlet_alpha": 0.3,
    "search.root_exploration_fraction": 0.25,
    "acting.num_envs": 4,
    "acting.temperatures": [1.0, 0.5, 0.25],
    "acting.temperature_until": [0.5, 0.75],
    "replay.priority_exponent": 0.6,
    "replay.importance_exponent": [0.4, 1.0],
    "replay.min_priority": 1e-6,
    "replay.new_priority": "max",
    "replay.weight_floor": 0.0,
    "replay.block_env_steps": 400,  # the authors' code
    "acting.random_phase": True,
    "network.action_embedding": 0,
    "network.head_activation": "relu",
    "reanalyse.ratio": 0.99,
    "loss.batch_size": 256,
    "loss.unroll_steps": 5,
    "loss.value_prefix_coefficient": 1.0,
    "loss.policy_coefficient": 1.0,
    "loss.value_coefficient": 0.25,
    "loss.consistency_coefficient": 2.0,
    "loss.auxiliary": "simsiam",
    "loss.latent_gradient": "whole",  # the authors' code
    "loss.augmentation": True,
    "loss.shift_pixels": 4,
    "loss.intensity_scale": 0.05,
    "optimiser.name": "sgd",
    "optimiser.learning_rate": 0.2,
    "optimiser.momentum": 0.9,
    "optimiser.weight_decay": 1e-4,
    "optimiser.warmup_fraction": 0.01,
    "optimiser.decay_factor": 0.1,
    "optimiser.max_gradient_norm": 5.0,
    "evaluation.episodes": 32,
}
# Ours to choose, or checked below: they decide no number of the algorithm.
OURS = {
    "seed",
    "env.game",
    "schedule.final_train_steps",
    "schedule.sample_ahead",
    "replay.capacity",
    "loss.auxiliary_momentum",
    "reanalyse.memoise",
    "reanalyse.roots_per_search",
    "optimiser.decayed_train_steps",
    "evaluation.interval",
    "evaluation.interval_episodes",
}
SECTIONS_BESIDE_THE_ALGORITHM = ("compute.", "record.", "start.")


def load(name):
    return resolve(read_toml(preset_path(name)), source=name)


@pytest.fixture
def published():
    return load("atari100k")


@pytest.mark.parametrize("key", PUBLISHED)
def test_atari100k_is_as_published(key, published):
    assert dict(flat_items(published.model_dump(mode="json")))[key] == PUBLISHED[key]


def test_every_number_of_atari100k_is_accounted_for(published):
    keys = {
        key
        for key, _ in flat_items(published.model_dump(mode="json"))
        if not key.startswith(SECTIONS_BESIDE_THE_ALGORITHM)
    }
    assert keys == PUBLISHED.keys() | OURS


def test_atari100k_learns_120_000_train_steps(published):
    assert published.schedule.train_steps == 120_000
    collecting = published.schedule.env_steps - published.schedule.random_env_steps
    assert collecting * published.schedule.train_steps_per_env_step == 98_000


def test_atari100k_keeps_every_state(published):
    assert published.replay.capacity >= published.schedule.env_steps


@pytest.mark.parametrize(
    ("train_step", "rate"),
    [
        (0, 0.0),
        (600, 0.1),
        (1_199, 0.2 * 1_199 / 1_200),
        (1_200, 0.2),
        (99_999, 0.2),
        (100_000, 0.02),
        (119_999, 0.02),
    ],
)
def test_learning_rate_of_atari100k(train_step, rate, published):
    assert learning_rate(train_step, published) == pytest.approx(rate, rel=1e-12)


OF_SUITES = {"catch": "catch", "gym-vector": "gym", "keydoor": "keydoor", "minatar": "minatar"}
OF_SUITES |= {"procgen": "procgen"}


def test_the_presets():
    assert set(preset_names()) == {
        *("atari-cpu", "atari-cpu-v2", "atari100k", "efficientzero-v2", "smoke", "spr-control"),
        *OF_SUITES,
    }


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_complete_and_means_what_it_says(name):
    tables = read_toml(preset_path(name))
    config = load(name)
    assert tables == config.model_dump(mode="json", exclude_unset=True)
    assert config.env.name == OF_SUITES.get(name, "atari")
    assert preset_path(name).read_text().startswith("# ")


@pytest.mark.parametrize("name", preset_names())
def test_no_setting_is_without_effect(name):
    """Rounding leaves nothing of the budget over, and intervals fall on ends of cycles."""
    config = load(name)
    schedule = config.schedule
    assert schedule.random_env_steps % schedule.env_steps_per_cycle == 0
    assert schedule.train_steps == round(
        (schedule.env_steps - schedule.random_env_steps) * schedule.train_steps_per_env_step
        + schedule.final_train_steps
    )
    assert config.optimiser.decayed_train_steps < schedule.train_steps
    assert config.evaluation.interval % schedule.sample_ahead == 0
    assert config.record.metrics_interval % schedule.sample_ahead == 0


@pytest.mark.parametrize("name", preset_names())
def test_the_replay_of_a_preset_can_be_sampled(name):
    """Each stream holds what is about to be overwritten, and more."""
    config = load(name)
    rows = config.replay.capacity // config.acting.num_envs
    guarded = 4 * config.schedule.env_steps_per_cycle // config.acting.num_envs
    lookahead = config.loss.unroll_steps + config.value.td_steps
    assert rows > 2 * (guarded + config.env.frame_stack + lookahead)


def test_atari_cpu_differs_from_atari100k_only_in_size():
    """The same protocol, and the same algorithm but for what only the authors' code does."""
    small, large = (
        dict(flat_items(load(name).model_dump(mode="json"))) for name in ("atari-cpu", "atari100k")
    )
    assert small.keys() == large.keys()
    assert {key for key in small if small[key] != large[key]} <= {
        "env.frame_size",
        "env.grayscale",
        *(key for key in small if key.startswith(("network.", "schedule.", "optimiser.", "eval"))),
        "value.support",
        "search.num_simulations",
        "replay.capacity",
        "replay.block_env_steps",
        "reanalyse.roots_per_search",
        "loss.batch_size",
        "loss.latent_gradient",
        "loss.shift_pixels",
        "record.metrics_interval",
    }
