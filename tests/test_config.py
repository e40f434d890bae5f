"""Configs: complete, strict, and with precise errors."""

import copy
import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ezcli.config.errors import explain
from ezcli.config.files import preset_names, preset_path, read_toml
from ezcli.config.names import all_keys, describe
from ezcli.config.overrides import parse_override
from ezcli.config.resolve import resolve, use_env, with_changes
from ezcli.config.run import RunConfig, differences
from ezcli.config.tables import flat_items, flat_keys
from ezcli.config.text import to_commented_toml, to_toml
from ezcli.envs.atari_suite import AtariSettings
from ezcli.envs.custom_suite import CustomSettings
from ezcli.envs.small_suites import CatchSettings, KeydoorSettings
from ezcli.errors import ConfigError
from tests.failing import fails

SMOKE = read_toml(preset_path("smoke"))
SOURCE = "smoke.toml"


def smoke(*overrides):
    return resolve(SMOKE, overrides, source=SOURCE)


def tables_of(name, env=None):
    return use_env(read_toml(preset_path(name)), env, None)


def refused(code, tables, *overrides, named=()):
    """The error that these tables are: one sentence that names all of `named`, and a hint."""
    with fails(code, *named) as caught:
        resolve(tables, overrides, source=SOURCE)
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.message
    assert caught.value.message.endswith(".")
    return caught.value


CONFIGS = [*[(name, None) for name in preset_names()], ("smoke", "catch"), ("smoke", "keydoor")]
CONFIGS += [("catch", "mine.py:Mine")]


@pytest.mark.parametrize(("name", "env"), CONFIGS)
def test_round_trip(name, env, tmp_path):
    config = resolve(tables_of(name, env))
    assert resolve(tomllib.loads(to_toml(config))) == config
    (tmp_path / "config.toml").write_text(to_toml(config))
    again = resolve(read_toml(tmp_path / "config.toml"))
    assert again == config
    assert again.identity == config.identity
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("override", "key", "way_out"),
    [
        ("search.num_simulation=5", "search.num_simulation", "'search.num_simulations'"),
        ("serach.num_simulations=5", "serach.num_simulations", "'search.num_simulations'"),
        ("num_simulations=5", "num_simulations", "'search.num_simulations'"),
        ("env.gamma=5", "env.gamma", "'value.discount'"),
        ("optimizer.lr=5", "optimizer.lr", "'optimiser.learning_rate'"),
        ("optimizer.learning_rate=5", "optimizer.learning_rate", "'optimiser.learning_rate'"),
        ("optimizer.name=adam", "optimizer.name", "'optimiser.name'"),
        ("optimizer.wd=5", "optimizer.wd", "'optimiser.weight_decay'"),
        ("network.lr=5", "network.lr", "'optimiser.learning_rate'"),
        ("lr=5", "lr", "'optimiser.learning_rate'"),
        ("bs=5", "bs", "'loss.batch_size'"),
        ("loss.BatchSize=5", "loss.BatchSize", "'loss.batch_size'"),
        ("reanalyze.ratio=1", "reanalyze.ratio", "'reanalyse.ratio'"),
        ("env.frameskip=5", "env.frameskip", "'env.frame_skip'"),
        ("optimizer.betas=5", "optimizer.betas", "name, learning_rate"),
        ("compute.gpu=5", "compute.gpu", "device, threads"),
        ("env.rows=5", "env.rows", "catch"),
        ("sed=5", "sed", "'seed'"),
        ("zzz.qqq=5", "zzz.qqq", "env, components, schedule"),
        ("search=5", "search", ""),
        ("seed.x=5", "seed.x", "'seed'"),
    ],
)
def test_a_wrong_key_names_the_nearest(override, key, way_out):
    error = refused("EZ-CONFIG-UNKNOWN-KEY", SMOKE, override, named=[repr(key)])
    assert way_out in error.hint


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("search.num_simulations=0", ["= 0", "greater"]),
        ("search.num_simulations=many", ["= 'many'", "integer"]),
        ("search.num_simulations=2.0", ["= 2.0", "integer"]),
        ("search.num_simulations=true", ["= True", "integer"]),
        ("value.discount=nan", ["= nan", "finite number"]),
        ("value.discount=1.5", ["= 1.5", "less than or equal to 1"]),
        ("components.consistency=1", ["= 1", "boolean"]),
        ("optimiser.name=rmsprop", ["= 'rmsprop'", "'sgd'", "'adam'"]),
        ("value.value_source=oracle", ["= 'oracle'", "'network'", "'search'"]),
        ("compute.precision=float16", ["= 'float16'", "'auto'", "'float32'", "'bfloat16'"]),
        ("compute.device=gpu", ["= 'gpu'", "auto", "cpu", "cuda", "cuda:1"]),
        ("compute.device=cuda:123456789012", ["= 'cuda:123456789012'", "auto", "cpu", "cuda:1"]),
        ("seed=-1", ["= -1", "equal to 0"]),
        ("seed=2147483648", ["2147483648"]),
        ("seed=2024-01-01", ["integer"]),
        ("env.frame_size=8", ["= 8", "16"]),
        ("network.channels=3", ["= 3", "multiple of 2"]),
        ("replay.importance_exponent=[0.4, 'x']", ["number"]),
        ("acting.temperatures=[]", ["= []", "1 value"]),
        ("acting.temperatures=1.0", ["= 1.0", "list"]),
    ],
)
def test_a_wrong_value_names_what_is_allowed(override, named):
    key = override.partition("=")[0]
    error = refused("EZ-CONFIG-VALUE", SMOKE, override, named=[key, *named])
    assert SOURCE not in error.message  # it is not the preset's


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("replay.importance_exponent", "[0.4]"),
        ("replay.importance_exponent", "[]"),
        ("replay.importance_exponent", "[1, 2, 3]"),
        ("seed", "9" * 5000),
        ("seed", "[" * 5000),
        ("seed", "1\nfoo = 2"),
        ("seed", "{a = 1}"),
        ("env.name", "5"),
        ("env.name", "nosuch"),
        ("env.name", "catch"),
    ],
)
def test_odd_values_are_complaints_too(key, value):
    with pytest.raises(ConfigError) as caught:
        smoke(f"{key}={value}")
    assert key.partition(".")[0] in caught.value.message


RULES = [  # what does not fit together, and what its error names besides
    (["schedule.sample_ahead=3"], ["acting_update_interval", "sample_ahead = 3"]),
    (["schedule.target_update_interval=12"], ["target_update_interval", "multiple"]),
    (["schedule.final_train_steps=12"], ["final_train_steps", "multiple"]),
    (["schedule.train_steps_per_env_step=0.3"], ["train_steps_per_env_step", "divide"]),
    (["schedule.final_train_steps=0", "schedule.random_env_steps=200"], ["train_steps"]),
    (["schedule.env_steps=210"], ["env_steps", "20"]),
    (["schedule.random_env_steps=220"], ["random_env_steps", "env_steps"]),
    (["acting.num_envs=3"], ["= 20 ", "acting.num_envs"]),
    (["acting.temperatures=[1.0]"], ["temperature_until"]),
    (["acting.temperature_until=[0.75, 0.5]"], ["temperature_until", "0 and 1"]),
    (["acting.temperature_until=[0.75, 1.5]"], ["temperature_until", "0 and 1"]),
]
BOUNDS = [  # a value beyond its bound, and what its error names
    ("schedule.train_steps_per_env_step=1e-308", ""),
    ("schedule.train_steps_per_env_step=1e308", ""),
    ("value.td_age_fraction=1e308", ""),
    ("replay.importance_exponent=[0.4, 1e308]", "1"),
    ("replay.priority_exponent=1e308", "2"),
    ("replay.min_priority=1e-308", "0.0000"),
    ("replay.min_priority=1e308", "1"),
    ("loss.intensity_scale=1e308", "2147483648"),
    ("search.pb_c_base=5e-324", "0.0000"),
    ("search.pb_c_init=1e308", "2147483648"),
    ("search.root_dirichlet_alpha=1e308", "2147483648"),
    ("acting.temperatures=[1.0, 0.5, 0.0]", "greater than 0"),
]


@pytest.mark.parametrize(("overrides", "named"), RULES)
def test_settings_that_do_not_fit_together(overrides, named):
    key = overrides[0].partition("=")[0]  # the option, not the preset
    error = refused("EZ-CONFIG-COMBINATION", SMOKE, *overrides, named=[f"{key} = ", *named])
    assert SOURCE not in error.message


@pytest.mark.parametrize(("override", "bound"), BOUNDS)
def test_numbers_have_bounds(override, bound):
    key = override.partition("=")[0]
    error = refused("EZ-CONFIG-VALUE", SMOKE, override, named=[key])
    assert bound in error.message.replace(override.partition("=")[2], "")
    assert SOURCE not in error.message


@pytest.mark.parametrize(
    ("overrides", "values"),
    [
        (["schedule.env_steps=210"], (200, 220)),
        (["schedule.sample_ahead=3"], (2, 5)),
        (["schedule.target_update_interval=12"], (10, 15)),
        (["schedule.random_env_steps=220"], (200,)),
        (["schedule.train_steps_per_env_step=0.24"], (0.125, 0.25)),
        (["acting.num_envs=3"], (2, 4)),
        (["evaluation.interval=7"], (5, 10)),
        (["search.num_simulations=2147483648"], (2147483647,)),
        (["schedule.env_steps=210", "optimiser.momentum=0.5"], (200, 220)),
    ],
)
def test_the_nearest_values_that_fit_are_allowed(overrides, values):
    key = overrides[0].partition("=")[0]
    error = refused("EZ-CONFIG-COMBINATION", SMOKE, *overrides, named=[f"{key} = "])
    assert f"{key} = {' or '.join(map(repr, values))}" in error.hint
    for value in values:
        smoke(f"{key}={value}", *overrides[1:])


def test_the_least_replay_is_said_with_the_options_that_need_it():
    code = "EZ-CONFIG-COMBINATION"
    error = refused(code, SMOKE, "replay.capacity=10", named=["replay.capacity = 10"])
    least = max(map(int, re.findall(r"\d+", error.message)))
    smoke(f"replay.capacity={least}")
    assert f"replay.capacity = {least}" in error.hint
    options = ["value.td_steps=1000", "search.num_simulations=3"]
    error = refused(code, SMOKE, *options, named=["value.td_steps = 1000", "replay.capacity"])
    assert "num_simulations" not in error.message
    named = ["replay.capacity = 10", "value.td_steps = 9"]
    refused(code, SMOKE, "replay.capacity=10", "value.td_steps=9", named=named)


def test_a_preset_that_does_not_fit_is_blamed_itself():
    tables = copy.deepcopy(SMOKE)
    tables["schedule"]["env_steps"] = 210
    named = [f"schedule.env_steps = 210 in {SOURCE}", "200 or 220"]
    refused("EZ-CONFIG-COMBINATION", tables, "search.num_simulations=3", named=named)


TECHNICAL = re.compile(r"pattern|discriminator|tag|extract|dictionary|instance|tuple|\^|\\")


@pytest.mark.parametrize("env", [None, "catch", "mine.py:Mine"])
@pytest.mark.parametrize("value", [None, True, -1, "x", [], ["x"], {}, {"x": 1}], ids=repr)
def test_no_complaint_is_in_terms_of_python(value, env):
    tables = resolve(use_env(SMOKE, env, None)).model_dump(mode="json")
    for key in [*RunConfig.model_fields, *flat_keys(tables)]:
        wrong = copy.deepcopy(tables)
        *section, name = key.split(".")
        (wrong[section[0]] if section else wrong)[name] = value
        try:
            RunConfig.model_validate(wrong)
        except ValidationError as error:
            said = str(explain(error, SOURCE, wrong, {})).replace(key, "")
            assert not TECHNICAL.search(said), said


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        (
            lambda t: t["search"].pop("num_simulations"),
            "MISSING-KEY",
            ["'search.num_simulations'", "network"],
        ),
        (lambda t: t.pop("search"), "MISSING-KEY", ["'search'"]),
        (lambda t: t.pop("seed"), "MISSING-KEY", ["'seed'"]),
        (lambda t: t["env"].pop("game"), "MISSING-KEY", ["'env.game'", "rom name"]),
        (
            lambda t: t.update(serach=t.pop("search")),
            "UNKNOWN-KEY",
            ["'serach'", "'search'"],
        ),
        (lambda t: t.update(serach={}), "UNKNOWN-KEY", ["'serach'", "'search'"]),
        (lambda t: t.update(atari={}), "UNKNOWN-KEY", ["'atari'"]),
        (lambda t: t["env"].update(rows=3), "UNKNOWN-KEY", ["'env.rows'", "catch"]),
        (
            lambda t: t["loss"].update(batchsize=3),
            "UNKNOWN-KEY",
            ["'loss.batchsize'", "'loss.batch_size'"],
        ),
        (lambda t: t.update(search=3), "VALUE", ["search = 3"]),
        (lambda t: t.update(env="pong"), "VALUE", ["env = 'pong'"]),
        (lambda t: t.update(env={}), "VALUE", ["env"]),
        (
            lambda t: t["env"].update(name="nosuch"),
            "VALUE",
            ["'atari', 'catch', 'keydoor', 'minatar', 'procgen', 'gym', 'custom'"],
        ),
    ],
)
def test_wrong_tables(change, code, named):
    tables = copy.deepcopy(SMOKE)
    change(tables)
    refused(f"EZ-CONFIG-{code}", tables, named=[SOURCE, *named])


@pytest.mark.parametrize("tables", [{}, {"env": 3}, {"env": {}}, {"env": {"name": 3}}])
@pytest.mark.parametrize("env", [None, "catch", "a.py:B"])
def test_a_preset_without_an_environment(tables, env):
    with fails("EZ-CONFIG-NO-ENV"):
        use_env(tables, env, None)


def test_tables_are_not_changed():
    before = copy.deepcopy(SMOKE)
    smoke("search.num_simulations=3", "env.game=breakout")
    use_env(SMOKE, None, "breakout")
    use_env(SMOKE, "catch", None)
    assert before == SMOKE


@pytest.mark.parametrize(
    ("override", "parsed"),
    [
        ("a=1", ("a", 1)),
        (" a.b = 1.5 ", ("a.b", 1.5)),
        ("a=1e-3", ("a", 1e-3)),
        ("a=true", ("a", True)),
        ("a=[1, 2.5]", ("a", [1, 2.5])),
        ("a=word", ("a", "word")),
        ("a='1'", ("a", "1")),
        ('a="x=y"', ("a", "x=y")),
        ("a=my file.py:Class", ("a", "my file.py:Class")),
        ("a=1\nb = 2", ("a", "1\nb = 2")),
    ],
)
def test_overrides_are_typed_as_in_toml(override, parsed):
    found = parse_override(override)
    assert found == parsed
    assert type(found[1]) is type(parsed[1])


@pytest.mark.parametrize("override", ["", "seed", "=3", "seed=", " = ", "seed 3"])
def test_an_override_is_a_key_and_a_value(override):
    refused("EZ-CONFIG-SET-FORM", SMOKE, override, named=[repr(override), "section.key=value"])


def test_later_overrides_win():
    assert smoke("seed=1", "seed=2").seed == 2


def test_an_optional_setting_of_the_environment_can_be_set():
    tables = use_env(SMOKE, "keydoor", None)
    assert resolve(tables, ["env.delay=5"]).env.delay == 5
    refused("EZ-CONFIG-UNKNOWN-KEY", tables, "env.rows=5", named=["'env.rows'"])


@pytest.mark.parametrize(
    ("preset", "env", "game", "code", "named"),
    [
        ("smoke", "catch", "pong", "EZ-OPTION-CONFLICT", "'catch'"),
        ("smoke", "a.py:B", "pong", "EZ-OPTION-CONFLICT", "'a.py:B'"),
        ("catch", "atari", None, "EZ-CONFIG-PRESET-ENV", "'catch'"),
        ("catch", None, "pong", "EZ-CONFIG-PRESET-ENV", "'catch'"),
        ("smoke", "keydor", None, "EZ-UNKNOWN-ENVIRONMENT", "'keydor'"),
    ],
)
def test_options_that_do_not_fit(preset, env, game, code, named):
    with fails(code, named):
        use_env(read_toml(preset_path(preset)), env, game)


def test_an_empty_environment_is_that_of_the_preset():
    assert use_env(SMOKE, "", "pong")["env"]["game"] == "pong"


def test_a_users_own_environment():
    config = resolve(use_env(SMOKE, "rooms.py:Room", None))
    assert (config.env.name, config.env.target) == ("custom", "rooms.py:Room")
    again = use_env(config.model_dump(), "other.py:Room", None)
    assert resolve(again).env.target == "other.py:Room"
    for target in ("rooms.py:", ":Room", "rooms.py:1x", "a:b:c", "a:b/game.py:C", "game.py::C"):
        named = ["env.target", "file.py:Class"]
        refused("EZ-CONFIG-VALUE", use_env(SMOKE, target, None), named=named)
    assert resolve(use_env(SMOKE, "Ü.py:Ünïcode", None)).env.target == "Ü.py:Ünïcode"


def test_files_that_are_none(tmp_path):
    with fails("EZ-UNKNOWN-PRESET", "'atari100'", "'atari100k'"):
        preset_path("atari100")
    with fails("EZ-CONFIG-NO-FILE", "nothing.toml'"):
        preset_path(str(tmp_path / "nothing.toml"))
    (tmp_path / "folder.toml").mkdir()
    with fails("EZ-CONFIG-NO-FILE", "folder.toml'"):
        preset_path(str(tmp_path / "folder.toml"))
    with fails("EZ-CONFIG-UNREADABLE", "folder.toml'"):
        read_toml(tmp_path / "folder.toml")
    for content, code in [
        (b"seed = ", "EZ-CONFIG-NOT-TOML"),
        (b"\xff\xfe\x00", "EZ-CONFIG-UNREADABLE"),
        (b"<html>", "EZ-CONFIG-NOT-TOML"),
    ]:
        (tmp_path / "mine.toml").write_bytes(content)
        assert preset_path(str(tmp_path / "mine.toml")) == tmp_path / "mine.toml"
        with fails(code, "mine.toml'"):
            read_toml(tmp_path / "mine.toml")


def other(key, value):
    """Another value for a setting, such that the config stays valid."""
    special = {
        "env.game": "breakout",
        "env.target": "other.py:Mine",
        "env.evaluation_levels": "training",
        "schedule.env_steps": value * 2 if isinstance(value, int) else value,
        "schedule.random_env_steps": 100,
        "schedule.train_steps_per_env_step": 0.125,
        "schedule.sample_ahead": 10,
        "network.channels": 16,
        "network.action_encoding": "one-hot",
        "network.norm": "layer",
        "env.observation_key": "image",
        "env.channel_axis": "first",
        "network.representation": "mlp",
        "planning.acting": "gumbel",
        "planning.targets": "gumbel",
        "planning.evaluation": "gumbel",
        "acting.num_envs": 2,
        "acting.temperatures": [1.0, 0.5, 0.125],
        "acting.temperature_until": [0.25, 0.75],
        "replay.importance_exponent": [0.5, 1.0],
        "loss.auxiliary": "spr",
        "loss.latent_gradient": "whole",
        "optimiser.name": "adam",
        "value.value_source": "search",
        "value.target": "mixed",
        "replay.new_priority": "error",
        "network.head_activation": "elu",
        "compute.device": "cpu",
        "compute.search": "cpu",
        "evaluation.interval": 10,
        "record.keep_interval": 10,
        "start.agent": "0123456789ab",
        "compute.precision": "float32",
        "gumbel.candidates_rule": "by-actions",
        "gumbel.scaling": "node",
        "env.difficulty": "easy",
    }
    if key in special:
        return special[key]
    if isinstance(value, bool):
        return not value
    if key.startswith("schedule."):
        return value * 2
    if isinstance(value, int):
        return value + 1 if key != "network.downsamplings" else value - 1
    return value * 0.5 if value else 0.5


# What another value of a setting needs of others.
FIT = {
    "network.representation": ("network.downsamplings=0", "loss.augmentation=false"),
    "env.start_level": ("env.levels=3",),
}


def every_setting():
    """(tables, key, another value), for all settings of all environments."""
    seen = set()
    minatar = read_toml(preset_path("minatar"))
    names = (None, "catch", "keydoor", "procgen/maze", "gym:CartPole-v1", "mine.py:Mine")
    start = [use_env(SMOKE, env, None) for env in names]
    for tables in (*start, SMOKE | {"env": minatar["env"]}):
        for key, value in flat_items(resolve(tables).model_dump(mode="json")):
            if key not in seen and key != "env.name":
                seen.add(key)
                fit = FIT.get(key, ())
                base = resolve(tables, fit).model_dump(mode="json") if fit else tables
                yield pytest.param(base, key, other(key, value), id=key)


def test_every_setting_is_among_those():
    assert {param.id for param in every_setting()} == set(all_keys()) - {"env.name", "env.code"}


@pytest.mark.parametrize(("tables", "key", "value"), list(every_setting()))
def test_what_decides_the_result_is_in_the_identity(tables, key, value):
    before = resolve(tables)
    changed = copy.deepcopy(before.model_dump(mode="json"))
    *section, name = key.split(".")
    (changed[section[0]] if section else changed)[name] = value
    after = resolve(changed)
    assert after != before
    if key.startswith(("compute.", "record.")):
        assert after.identity == before.identity
        assert differences(before, after) == {}
    else:
        assert after.identity != before.identity
        assert differences(before, after).keys() == {key}


def test_environments_differ_in_identity():
    configs = [resolve(use_env(SMOKE, env, None)) for env in (None, "catch", "keydoor")]
    assert len({config.identity for config in configs}) == 3


def test_an_identity_is_twelve_digits_and_always_the_same():
    assert smoke().identity == smoke("compute.threads=7").identity
    assert re.fullmatch(r"[0-9a-f]{12}", smoke().identity)


def test_differences_by_key():
    one, two = smoke(), smoke("seed=1", "search.num_simulations=5", "compute.threads=9")
    assert differences(one, two) == {"seed": (0, 1), "search.num_simulations": (4, 5)}
    assert differences(one, one) == {}
    catch = resolve(use_env(SMOKE, "catch", None))
    found = differences(one, catch)
    assert found["env.game"] == ("pong", None)
    assert found["env.rows"] == (None, 10)


def test_a_config_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        smoke().seed = 3


@pytest.mark.parametrize("key", all_keys())
def test_every_setting_says_what_it_means(key):
    assert describe(key) or key in ("env.name", "optimiser.name")
    assert describe("value.td_steps").startswith("env_steps before the bootstrap")


@pytest.mark.parametrize("model", [AtariSettings, CatchSettings, KeydoorSettings, CustomSettings])
def test_so_does_every_setting_of_every_environment(model):
    undescribed = [name for name, field in model.model_fields.items() if not field.description]
    assert undescribed == ["name"]


def test_an_explained_config_says_what_its_support_holds():
    for support, most in ((10, "117.43"), (300, "58,705.6")):
        explained = to_commented_toml(smoke(f"value.support={support}")).split("\n")
        about = explained[explained.index(f"support = {support}") - 1]
        assert about.endswith(f"squash; values of up to ±{most}")


def test_an_explained_config_is_the_same_whatever_a_path_holds():
    config = resolve(use_env(SMOKE, "a\u2028\x85b.py:Mine", None))
    assert resolve(tomllib.loads(to_commented_toml(config))) == config


def test_an_explained_config_keeps_names_of_files_that_toml_quotes():
    config = resolve(use_env(SMOKE, "a b.py:Mine", None))
    own = {"a b.py": "0" * 64, "dotted.name": "1" * 64}
    config = with_changes(config, {"env.code": own})
    assert tomllib.loads(to_commented_toml(config)) == tomllib.loads(to_toml(config))


@pytest.mark.parametrize("env", [None, "catch", "keydoor", "mine.py:Mine"])
def test_every_environment_has_the_limits_of_all(env):
    for key in ("frame_stack", "max_episode_steps", "evaluation_max_episode_steps"):
        tables = use_env(SMOKE, env, None)
        refused("EZ-CONFIG-VALUE", tables, f"env.{key}=0", named=[f"env.{key} = 0", "greater"])


KEYS = st.one_of(st.sampled_from(all_keys()), st.text(max_size=12))
VALUES = st.one_of(
    st.text(max_size=12),
    st.integers().map(str),
    st.floats().map(str),
    st.lists(st.floats(0, 1), max_size=3).map(str),
    st.sampled_from(["true", "false", "cpu", "catch", "'", '"""', "{a=1}", "[[1]]", "1979-05-27"]),
)


@given(override=st.one_of(st.builds("{}={}".format, KEYS, VALUES), st.text(max_size=30)))
@hypothesis_settings(max_examples=200, deadline=None)
def test_no_override_raises_anything_else(override):
    try:
        config = resolve(SMOKE, [override])
    except ConfigError as error:
        assert error.message  # noqa: PT017 - most overrides are wrong, and that is fine
    else:
        assert resolve(tomllib.loads(to_toml(config))) == config
