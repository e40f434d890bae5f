"""Each switch changes one rule, and is read in one place."""

import ast
import inspect
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

import ezcli
from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.efficientzero.auxiliary import authors_consistency, no_auxiliary
from ezcli.efficientzero.components import PLANNERS, Rules, planners_for, rules_for
from ezcli.efficientzero.hyperparameters import Components
from ezcli.efficientzero.network import Network
from tests.efficientzero.helpers import filled_replay, make_network, tiny

PACKAGE = Path(ezcli.__file__).parent
AGES = np.array([0, 29_999, 30_000, 59_999, 60_000, 119_999, 120_000, 10**6])
RULE_OF = {
    "consistency": "auxiliary_loss",
    "value_prefix": "prefix_horizon",
    "off_policy_correction": "td_steps",
}


def rules_without(*switches):
    """The rules of `atari100k` without these components."""
    overrides = [f"components.{switch}=false" for switch in switches]
    return rules_for(resolve(read_toml(preset_path("atari100k")), overrides))


def values(rules):
    """The rules as things that can be compared."""
    found = rules._asdict()
    del found["value_rule"]  # it follows from `td_steps`: see the test of it
    del found["recalibrates"]  # it follows from `network.norm`
    return found | {"td_steps": rules.td_steps(AGES).tolist()}


def test_there_is_a_rule_for_every_component():
    assert set(RULE_OF) == set(Components.model_fields)
    assert {*RULE_OF.values(), "target_momentum", "value_rule", "recalibrates"} == set(
        Rules._fields
    )


def test_the_full_algorithm():
    assert values(rules_without()) == {
        "auxiliary_loss": authors_consistency,
        "target_momentum": 0.0,
        "prefix_horizon": 5,
        "td_steps": [5, 5, 4, 4, 3, 2, 1, 1],
    }


def test_muzero_reanalyse():
    assert values(rules_without(*RULE_OF)) == {
        "auxiliary_loss": no_auxiliary,
        "target_momentum": 0.0,
        "prefix_horizon": 1,
        "td_steps": [5] * len(AGES),
    }


@pytest.mark.parametrize("others_off", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("switch", RULE_OF)
def test_each_switch_changes_its_own_rule_and_no_other(switch, others_off):
    others = [name for name in RULE_OF if name != switch]
    others = list(itertools.compress(others, others_off))
    before, after = values(rules_without(*others)), values(rules_without(*others, switch))
    assert {name for name in before if before[name] != after[name]} == {RULE_OF[switch]}


def test_the_age_that_costs_a_step_follows_the_length_of_the_run():
    rules = rules_for(tiny("schedule.env_steps=400", "value.td_age_fraction=0.25"))
    assert rules.td_steps(np.array([0, 99, 100, 199, 200, 400])).tolist() == [5, 5, 4, 4, 3, 1]


@pytest.mark.parametrize("correction", ["true", "false"])
@pytest.mark.parametrize("source", ["network", "search"])
def test_values_are_taken_where_the_returns_bootstrap(correction, source):
    config = tiny(f"components.off_policy_correction={correction}", f"value.value_source={source}")
    rules = rules_for(config)
    window = filled_replay(config)[0].sample(10, np.full(1, 0.4), np.random.default_rng(0))
    steps = rules.td_steps(window.age)
    assert len(set(steps)) > 1 or correction == "false"
    ends = window.is_state.sum(1) - 1  # the state after the last action, or the window's last
    unroll = range(config.loss.unroll_steps + 1)
    expected = [[min(k + n, end) for k in unroll] for n, end in zip(steps, ends, strict=True)]
    sources = rules.value_rule.sources(window, np.zeros(len(window.rows), np.int64))
    assert sources.positions.tolist() == expected
    assert sources.by_search.tolist() == [source == "search"] * len(window.rows)


def test_rules_keep_the_type_of_the_ages():
    for switches in ((), ("off_policy_correction",)):
        assert rules_without(*switches).td_steps(AGES).dtype == np.int64


@pytest.mark.parametrize("folder", ["efficientzero", "envs", "runs"])
def test_only_components_reads_the_switches(folder):
    readers = set()
    for path in (PACKAGE / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.attr] if isinstance(node, ast.Attribute) else []
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "getattr":
                names = [a.value for a in node.args[1:] if isinstance(a, ast.Constant)]
            if {"components", "off_policy_correction"} & set(names):
                readers.add(path.name)
    assert readers == ({"components.py"} if folder == "efficientzero" else set())


def test_every_arm_starts_with_the_same_weights():
    assert "components" not in inspect.signature(Network).parameters
    full = make_network(tiny()).state_dict()
    for switch in RULE_OF:
        arm = make_network(tiny(f"components.{switch}=false")).state_dict()
        assert arm.keys() == full.keys()
        assert all(torch.equal(arm[name], full[name]) for name in full)


def test_each_purpose_has_the_planner_that_the_settings_name():
    names = {"acting": "gumbel", "targets": "one-step", "evaluation": "puct"}
    found = planners_for(tiny(*(f"planning.{key}={name}" for key, name in names.items())), 3)
    for purpose, name in names.items():
        assert type(getattr(found, purpose)) is PLANNERS[name]
    same = planners_for(tiny(), 3)
    assert same.acting is same.targets is same.evaluation
