"""Arms from options: the full agent is always included, each arm occurs once, names differ."""

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.config.run import differences
from ezcli.errors import ConfigError
from ezcli.experiments.ablations import ablation_names, load_ablation
from ezcli.experiments.design import FULL, MOST_DROPS, arm_label, arm_name, arms_of, slug
from tests.failing import fails

BASE = resolve(read_toml(preset_path("smoke")))
CATCH = resolve(read_toml(preset_path("catch")))
THREE = ["consistency", "value-prefix", "off-policy-correction"]
GOOD = 'title = "No thing"\nwhy = "Because."\n'


def design(*drops, vary=(), factorial=False, base=BASE):
    """Arms by name, and what is the same."""
    arms, same = arms_of(base, list(drops), list(vary), factorial)
    assert len({arm.name for arm in arms}) == len(arms)
    return {arm.name: arm.changes for arm in arms}, same


def ablation_file(folder, name, text):
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(GOOD + text)
    return str(path)


# ------------------------------------------------------------------ drops


def test_full_comes_first():
    arms, same = design("value-prefix", "root-noise")
    assert arms == {
        "full": {},
        "value-prefix": {"components.value_prefix": False},
        "root-noise": {"search.root_exploration_fraction": 0.0},
    }
    assert list(arms) == ["full", "value-prefix", "root-noise"]
    assert same == []


def test_full_alone():
    assert design() == ({"full": {}}, [])


def test_a_sum_is_one_arm_whatever_its_order():
    arms, same = design("value-prefix+consistency", "consistency+value-prefix")
    assert arms == {
        "full": {},
        "consistency+value-prefix": {
            "components.consistency": False,
            "components.value_prefix": False,
        },
    }
    assert same == []  # the same name: nothing to explain


def test_the_same_drop_twice_is_one_arm():
    once = design("consistency")
    assert design("consistency", "consistency") == once
    assert design("consistency+consistency") == once


def test_an_arm_remembers_what_was_dropped():
    arms, _ = arms_of(BASE, ["value-prefix+consistency"], [], False)
    assert [arm.drops for arm in arms] == [(), ("consistency", "value-prefix")]


def test_muzero_is_all_three_and_trained_once():
    arms, same = design("muzero", "+".join(THREE))
    assert list(arms) == ["full", "muzero"]
    assert same == [
        "The arm '− consistency − off policy correction − value prefix' is the same as 'MuZero', "
        "so it is trained once."
    ]
    arms, same = design("muzero", *THREE, factorial=True)
    assert len(arms) == 8
    assert "consistency+off-policy-correction+value-prefix" not in arms
    assert len(same) == 8  # all that `muzero` is added to, and the three together


def test_the_authors_switch_is_both_and_trained_once():
    _, same = design("consistency-authors", "consistency+augmentation")
    assert len(same) == 1


def test_ablations_that_come_to_the_same_in_a_preset_are_trained_once():
    arms, same = design("consistency", "consistency-authors", base=CATCH)
    assert list(arms) == ["full", "consistency"]
    assert same == [
        "The arm '− consistency and augmentation' is the same as '− consistency', "
        "so it is trained once."
    ]


def test_a_drop_that_changes_nothing_is_refused():
    named = "--drop augmentation", "loss.augmentation is False"
    with fails("EZ-ABLATION-CHANGES-NOTHING", *named):
        design("augmentation", base=CATCH)
    assert "augmentation" in design("augmentation")[0]


@pytest.mark.parametrize("drop", ["consistancy", "value-prefix+consistancy"])
def test_unknown_names_are_answered_with_the_nearest(drop):
    for drops in ([drop], ["root-noise", drop.split("+")[-1]]):
        with fails("EZ-UNKNOWN-ABLATION", "'consistancy'", "'consistency'"):
            design(*drops)


@pytest.mark.parametrize("drop", ["", "+", "consistency+", "+consistency"])
def test_empty_names_are_refused(drop):
    with fails("EZ-UNKNOWN-ABLATION", "''"):
        design(drop)


# ------------------------------------------------------------------ users' files


def test_two_files_that_contradict_each_other(tmp_path):
    few = ablation_file(tmp_path, "few", "[search]\nnum_simulations = 2")
    many = ablation_file(tmp_path, "many", "[search]\nnum_simulations = 8")
    with fails("EZ-ABLATION-CONFLICT", "'few'", "'many'", "search.num_simulations", "2", "8"):
        design(f"{few}+{many}")
    with fails("EZ-ABLATION-CONFLICT", "'few'", "'many'"):
        design(few, many, factorial=True)
    assert list(design(few, many)[0]) == ["full", "few", "many"]


def test_two_files_of_the_same_name_are_not_mixed_up(tmp_path):
    one = ablation_file(tmp_path / "a", "mine", "[search]\nnum_simulations = 2")
    other = ablation_file(tmp_path / "b", "mine", "[search]\nnum_simulations = 8")
    with fails("EZ-STUDY-ARM-NAMES", "'mine'"):
        design(one, other)


def test_no_file_can_pass_for_the_full_agent(tmp_path):
    path = ablation_file(tmp_path, "full", "[search]\nnum_simulations = 2")
    with fails("EZ-STUDY-ARM-NAMES", "'full'"):
        design(path)
    arms, _ = design(path, vary=["value.td_steps=1"])
    assert arms["full"] == {}
    assert set(arms) == {"full", "value.td_steps=1", "full,value.td_steps=1"}


def test_a_file_with_our_name_and_other_changes(tmp_path):
    path = ablation_file(tmp_path, "consistency", "[search]\nnum_simulations = 2")
    with fails("EZ-STUDY-ARM-NAMES", "'consistency'"):
        design("consistency", path)


def test_a_file_beside_ours_with_the_same_changes_is_the_same_arm(tmp_path):
    path = ablation_file(tmp_path, "mine", "[components]\nconsistency = false")
    arms, same = design("consistency", path)
    assert list(arms) == ["full", "consistency"]
    assert len(same) == 1


def test_a_value_that_a_setting_cannot_have_is_refused(tmp_path):
    for value in ("'no'", "1"):  # which equals True
        path = ablation_file(tmp_path, "mine", f"[components]\nconsistency = {value}")
        with fails("EZ-CONFIG-VALUE", f"components.consistency = {value}"):
            design(path)


# ------------------------------------------------------------------ factorial


@pytest.mark.parametrize("drops", [THREE[:1], THREE[:2], THREE])
def test_factorial_is_every_subset(drops):
    arms, same = design(*drops, factorial=True)
    switches = {f"components.{drop.replace('-', '_')}" for drop in drops}
    assert len(arms) == 2 ** len(drops)
    assert {frozenset(changes) for changes in arms.values()} == {
        frozenset(subset)
        for n in range(len(drops) + 1)
        for subset in itertools.combinations(switches, n)
    }
    assert next(iter(arms)) == FULL
    assert same == []


def test_what_factorial_refuses(tmp_path):
    many = [f"a{n}" for n in range(MOST_DROPS + 1)]
    for drops, named in [
        (["a+b"], "'a+b'"),
        ([], "--drop"),
        (["muzero", "muzero"], "--drop muzero"),
        (many, "128 arms"),
    ]:
        with fails("EZ-STUDY-FACTORIAL", "--factorial", named):
            design(*drops, factorial=True)
    plus = ablation_file(tmp_path / "c++", "mine", "[components]\nconsistency = false")
    assert list(design(plus, factorial=True)[0]) == ["full", "mine"]


# ------------------------------------------------------------------ sweeps


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("search.num_simulations=8,16", [8, 16]),
        (" search.num_simulations = 8 , 16 ", [8, 16]),
        ("search.num_simulations=8", [8]),
        ("search.num_simulations=8,16,", [8, 16]),
        ("optimiser.learning_rate=0.1,1e-3", [0.1, 0.001]),
        ("optimiser.learning_rate=1", [1.0]),
        ("optimiser.name=adam", ["adam"]),
        ('optimiser.name="adam"', ["adam"]),
        ('network.action_encoding="one-hot",scalar', ["one-hot"]),
        ("network.action_encoding=one-hot", ["one-hot"]),
        ("components.consistency=false", [False]),
        ("replay.importance_exponent=[1.0,1.0],[0.5,1.0]", [[1.0, 1.0], [0.5, 1.0]]),
        ("acting.temperatures=[1.0,0.5,0.5]", [[1.0, 0.5, 0.5]]),
    ],
)
def test_values_are_written_as_in_toml(text, values):
    arms, same = design(vary=[text])
    key = text.partition("=")[0].strip()
    assert list(arms.values()) == [{}, *({key: value} for value in values)]  # full first
    assert same == []
    for changes in arms.values():
        assert all(type(changes[k]) is type(values[0]) for k in changes)


@pytest.mark.parametrize(
    "text", ["components.consistency=true,false", "optimiser.name=sgd,adam", "value.td_steps=3,5"]
)
def test_the_value_of_the_preset_is_the_full_agent(text):
    arms, same = design(vary=[text])
    assert len(arms) == 2
    assert next(iter(arms)) == "full"
    assert same == []


def test_a_sweep_is_crossed_with_a_drop():
    arms, _ = design("value-prefix", vary=["schedule.env_steps=160,180"])
    off = {"components.value_prefix": False}
    assert arms == {
        "full": {},
        "schedule.env_steps=160": {"schedule.env_steps": 160},
        "schedule.env_steps=180": {"schedule.env_steps": 180},
        "value-prefix,schedule.env_steps=160": {"schedule.env_steps": 160} | off,
        "value-prefix,schedule.env_steps=180": {"schedule.env_steps": 180} | off,
    }


def test_budgets_of_the_published_preset():
    base = resolve(read_toml(preset_path("atari100k")))
    arms, _ = design("value-prefix", vary=["schedule.env_steps=25000,50000,100000"], base=base)
    assert len(arms) == 6
    assert arms["value-prefix"] == {"components.value_prefix": False}


def test_two_sweeps_are_crossed():
    arms, _ = design(vary=["value.td_steps=1,5", "search.num_simulations=2,4"])
    assert set(arms) == {
        "full",
        "value.td_steps=1",
        "search.num_simulations=2",
        "search.num_simulations=2,value.td_steps=1",
    }


def test_values_written_differently_are_one_arm():
    arms, same = design(vary=["optimiser.learning_rate=1,1.0,0.2"])
    assert list(arms) == ["full", "optimiser.learning_rate=1.0"]
    assert same == []


def test_two_ways_to_drop_the_auxiliary_loss_are_one_arm():
    arms, same = design("consistency", vary=["loss.auxiliary=simsiam,none"])
    assert arms == {"full": {}, "loss.auxiliary=none": {"loss.auxiliary": "none"}}
    assert len(same) == 2
    assert "'− consistency' is the same as 'loss.auxiliary=none'" in same[0]


def test_what_has_no_auxiliary_loss_cannot_drop_it():
    base = resolve(CATCH.model_dump(mode="json"), ["loss.auxiliary=none"])
    with fails("EZ-ABLATION-CHANGES-NOTHING", "no auxiliary loss"):
        design("consistency", base=base)
    sweep = design(vary=["components.consistency=false", "loss.batch_size=64,128"], base=base)[0]
    assert "full" in sweep


def test_a_sweep_of_what_is_dropped_is_refused():
    named = "--vary components.value_prefix", "--drop value-prefix"
    with fails("EZ-STUDY-VARY-TWICE", *named):
        design("value-prefix", vary=["components.value_prefix=true,false"])


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ("search.num_simulation=8", "CONFIG-UNKNOWN-KEY", "'search.num_simulations'"),
        ("num_simulations=8", "CONFIG-UNKNOWN-KEY", "'search.num_simulations'"),
        ("search.num_simulations", "STUDY-VARY-FORM", "'search.num_simulations'"),
        ("search.num_simulations=", "STUDY-VARY-FORM", "'search.num_simulations='"),
        ("search.num_simulations= , ", "STUDY-VARY-FORM", "'search.num_simulations= , '"),
        ("", "CONFIG-UNKNOWN-KEY", "''"),
        ("=8", "CONFIG-UNKNOWN-KEY", "''"),
        ("search=8", "CONFIG-UNKNOWN-KEY", "'search'"),
        ("seed=1,2", "ABLATION-TASK", "--seeds"),
        ("env.name=catch", "ABLATION-TASK", "env.name"),
        ("env.game=pong,breakout", "ABLATION-TASK", "env.game"),
        (
            "env.evaluation_max_episode_steps=8,9",
            "ABLATION-TASK",
            "--set env.evaluation_max",
        ),
        ("compute.threads=1,2", "ABLATION-NO-RESULT", "compute.threads"),
        ("record.metrics_interval=1", "ABLATION-NO-RESULT", "record.metrics_interval"),
        ("search.num_simulations=few", "CONFIG-VALUE", "search.num_simulations = 'few'"),
        ("search.num_simulations=0", "CONFIG-VALUE", "search.num_simulations = 0"),
        (
            "search.num_simulations=4.0",
            "CONFIG-VALUE",
            "search.num_simulations = 4.0",
        ),  # equals the preset's 4
        ("search.num_simulations=2020-01-01", "CONFIG-VALUE", "search.num_simulations = "),
        ("search.num_simulations=" + "9" * 5000, "CONFIG-VALUE", "search.num_simulations = "),
        ("value.td_age_fraction=nan", "CONFIG-VALUE", "value.td_age_fraction = nan"),
        ("env.frame_stack=true", "CONFIG-VALUE", "env.frame_stack = True"),
        ("acting.temperatures=1.0", "CONFIG-VALUE", "acting.temperatures = 1.0"),
        ("acting.num_envs=3", "CONFIG-COMBINATION", "acting.num_envs"),
        ("env.rows=5", "CONFIG-UNKNOWN-KEY", "'env.rows'"),
    ],
)
def test_what_a_sweep_refuses(text, code, named):
    with fails(f"EZ-{code}", named):
        design(vary=[text])


def test_nothing_is_explained_twice():
    _, same = design(
        "consistency-authors",
        "consistency+augmentation",
        "augmentation+consistency",
        vary=["value.td_steps=5,5"],
    )
    assert len(same) == 1


def test_a_setting_is_swept_once():
    with fails("EZ-STUDY-VARY-TWICE", "value.td_steps"):
        design(vary=["value.td_steps=1", "value.td_steps=3"])


# ------------------------------------------------------------------ names


def test_names_of_arms():
    assert arm_name((), {}) == "full"
    assert arm_name(("a", "b"), {}) == "a+b"
    assert arm_name((), {"optimiser.name": "adam"}) == "optimiser.name=adam"
    assert arm_name(("a",), {"x.z": 0.5, "x.b": [1.0, True]}) == "a,x.b=[1.0, true],x.z=0.5"


@settings(deadline=None)
@given(st.text())
def test_a_slug_can_be_part_of_any_file_name(name):
    assert re.fullmatch(r"[A-Za-z0-9.+=_-]{0,60}", slug(name))
    assert bool(slug(name)) == bool(name)


def test_slugs_keep_what_is_readable():
    assert slug("consistency+value-prefix") == "consistency+value-prefix"
    assert slug("a,acting.temperatures=[1.0, 0.5]") == "a-acting.temperatures=-1.0-0.5-"


# ------------------------------------------------------------------ any design

SINGLE = st.sampled_from(ablation_names())
SUM = st.lists(SINGLE, min_size=1, max_size=3).map("+".join)
DROPS = st.one_of(
    st.tuples(st.lists(SUM, max_size=3), st.just(False)),
    st.tuples(st.lists(SINGLE, min_size=1, max_size=3, unique=True), st.just(True)),
)
SWEEPS = {
    "search.num_simulations": ["2", "4", "8"],
    "optimiser.learning_rate": ["0.2", "1", "1.0", "2e-1"],
    "optimiser.name": ["sgd", "adam", '"adam"'],
    "acting.temperatures": ["[1.0, 0.5, 0.25]", "[1, 1, 1]", "[1.0, 1.0, 1.0]"],
    "components.value_prefix": ["true", "false"],
}


@st.composite
def sweeps(draw):
    keys = draw(st.lists(st.sampled_from(sorted(SWEEPS)), max_size=2, unique=True))
    chosen = [draw(st.lists(st.sampled_from(SWEEPS[k]), min_size=1, max_size=3)) for k in keys]
    return [f"{key}={','.join(values)}" for key, values in zip(keys, chosen, strict=True)]


def changes_nothing(base, name):
    """Whether a part of this sum of ablations is dropped already."""
    tables, parts = base.model_dump(mode="json"), name.split("+")
    changes = [load_ablation(part).changes for part in parts]
    return any(not differences(base, resolve(tables, changes=c)) for c in changes)


@settings(max_examples=40, deadline=None)
@given(DROPS, sweeps(), st.sampled_from(["smoke", "catch"]))
def test_every_accepted_design_is_sound(drops, vary, preset):
    names, factorial = drops
    base = {"smoke": BASE, "catch": CATCH}[preset]
    try:
        arms, same = arms_of(base, names, vary, factorial)
    except ConfigError:
        asked = {key for n in names for a in n.split("+") for key in load_ablation(a).changes}
        swept = {text.partition("=")[0] for text in vary}
        assert asked & swept or any(changes_nothing(base, n) for n in names)
        return
    assert [arm.name for arm in arms if not arm.changes] == ["full"]
    assert arms[0].name == "full"
    assert len({arm.name for arm in arms}) == len(arms)
    tables = base.model_dump(mode="json")
    resolved = [resolve(tables, changes=arm.changes) for arm in arms]
    assert len({config.identity for config in resolved}) == len(arms)
    for arm, config in zip(arms, resolved, strict=True):
        assert {k: v for k, (_, v) in differences(base, config).items()} == arm.changes
    assert len(set(same)) == len(same)
    assert not any(
        f"The arm '{arm_label(arm.name)}'" in sentence for arm in arms for sentence in same
    )


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("full", "full"),
        ("value-prefix", "− value prefix"),
        ("muzero", "MuZero"),
        ("muzero+root-noise", "MuZero − root noise"),
        ("off-policy-correction", "− off policy correction"),
        ("consistency+value-prefix", "− consistency − value prefix"),
        ("search.num_simulations=8", "search.num_simulations=8"),
        ("a-b,search.num_simulations=8,x.y=[1, 2]", "− a b, search.num_simulations=8,x.y=[1, 2]"),
    ],
)
def test_a_label_says_what_is_dropped(name, label):
    assert arm_label(name) == label


def test_no_two_arms_of_ours_have_one_label():
    names = ["+".join(pair) for pair in itertools.combinations(ablation_names(), 2)]
    names += [FULL, *ablation_names()]
    assert len({arm_label(name) for name in names}) == len(names)


@pytest.mark.parametrize("drops", [[], ["value-prefix"]])
@pytest.mark.parametrize("key", ["schedule.sample_ahead", "schedule.env_steps", "acting.num_envs"])
def test_a_value_that_does_not_fit_blames_vary(drops, key):
    base = resolve(read_toml(preset_path("smoke")))
    with fails("EZ-CONFIG-COMBINATION", f"{key} = 33 in --vary") as caught:
        arms_of(base, drops, [f"{key}=33"], factorial=False)
    assert f"{key} = " in caught.value.hint
