"""Every number of a config at its limits and beyond gives a config or an EzError."""

import math
import sys
import tomllib
import warnings

import pytest

from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve, with_changes
from ezcli.config.tables import flat_items
from ezcli.config.text import to_commented_toml, to_toml
from ezcli.errors import EzError, NotFinite
from ezcli.runs.workload import amounts
from tests.runs.helpers import run, tiny

LARGEST = 2**31 - 1
LIMITS = [0, 1, LARGEST, 0.0, 1.0, float(2**31), 1 / 2**31, math.nextafter(1, 0), 1e-38, 1e38, 2.0]
BEYOND = [-1, -1.0, 5e-324, 1e-308, 1e308, sys.float_info.max, 2**31, math.inf, math.nan]
ALIGNED = [value for ahead in (2, 4, 5, 8, 10, 20) for value in (LARGEST // ahead * ahead, ahead)]


def numeric(preset):
    """(config, key, value) for each number of a preset."""
    config = resolve(read_toml(preset_path(preset)))
    for key, value in flat_items(config.model_dump(mode="json")):
        if type(value) in (int, float) or isinstance(value, list):
            yield config, key, value


def variants(value, number):
    """The setting with another number; of a list in all its places, and in each."""
    if not isinstance(value, list):
        return [number]
    ones = [[*value[:i], number, *value[i + 1 :]] for i in range(len(value))]
    return [[number] * len(value), *ones]


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["smoke", "catch", "atari100k"])
def test_a_number_at_its_limits_gives_a_config_or_a_sentence(preset):
    configs, refused = 0, 0
    for config, key, value in numeric(preset):
        for number in dict.fromkeys([*LIMITS, *BEYOND, *ALIGNED]):
            for changed in variants(value, number):
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    try:
                        found = with_changes(config, {key: changed})
                    except EzError as error:
                        assert key.rpartition(".")[2] in f"{error.message}", key  # noqa: PT017
                        refused += 1
                        continue
                    assert resolve(tomllib.loads(to_toml(found))).identity == found.identity
                    assert to_commented_toml(found)
                    assert found.schedule.train_steps > 0
                    assert found.schedule.env_steps_per_cycle > 0
                    assert all(map(math.isfinite, amounts(found))), (key, changed)
                    configs += 1
    assert configs > 300
    assert refused > 300


EXTREME = {
    "acting.temperatures": [[5e-324] * 3, [1e308] * 3],
    "loss.consistency_coefficient": [1e308],
    "loss.intensity_scale": [2.0**31],
    "loss.policy_coefficient": [1e308],
    "loss.shift_pixels": [LARGEST],
    "loss.value_coefficient": [1e308],
    "network.batch_norm_momentum": [5e-324, 1.0],
    "optimiser.decay_factor": [5e-324],
    "optimiser.learning_rate": [5e-324, 1e308],
    "optimiser.max_gradient_norm": [5e-324, 1e308],
    "optimiser.momentum": [math.nextafter(1, 0)],
    "optimiser.warmup_fraction": [5e-324, 1.0],
    "optimiser.weight_decay": [1e308],
    "record.checkpoint_minutes": [5e-324, 1e308],
    "replay.importance_exponent": [[0.0, 0.0], [1.0, 1.0]],
    "replay.min_priority": [1e-38, 1e38],
    "replay.priority_exponent": [0.0, 2.0],
    "schedule.target_update_interval": [LARGEST // 2 * 2],
    "search.min_q_range": [5e-324, 1e308],
    "search.pb_c_base": [1 / 2**31, 1e308],
    "search.pb_c_init": [0.0, 2.0**31],
    "search.root_dirichlet_alpha": [1 / 2**31, 2.0**31],
    "value.discount": [5e-324, 1.0],
    "value.td_age_fraction": [5e-324, 2.0**31],
}
# Weights of replay from one end of float64 to the other.
TOGETHER = {
    "replay.priority_exponent": 2.0,
    "replay.importance_exponent": [1.0, 1.0],
    "loss.augmentation": True,
}
CASES = [{key: value} for key, values in EXTREME.items() for value in values]
CASES += [TOGETHER | {"replay.min_priority": value} for value in (1e-38, 1e38)]
CASES += [
    {"loss.auxiliary": "spr", "loss.auxiliary_momentum": momentum}
    for momentum in (5e-324, math.nextafter(1, 0))
]
CASES += [
    {"loss.auxiliary": name, "loss.consistency_coefficient": 1e308}
    for name in ("contrastive", "reconstruction")
]
CASES += [{"optimiser.name": "adam", "optimiser.learning_rate": rate} for rate in (5e-324, 1e308)]


@pytest.mark.slow
@pytest.mark.parametrize("changes", CASES, ids=str)
def test_a_run_with_extreme_settings_ends_well_or_says_which_number_is_not_finite(
    changes, tmp_path
):
    config = with_changes(tiny("catch", "loss.augmentation=true"), changes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            folder = run(tmp_path / "run", config)
        except NotFinite:
            return
    assert folder.read_info()["status"] == "finished"
