"""Configs: complete, strict, and honest about what is wrong with them."""

import copy
import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ezcli.config import (
    RunConfig,
    all_keys,
    describe,
    differences,
    explain,
    flat_items,
    flat_keys,
    parse_override,
    preset_names,
    preset_path,
    read_toml,
    resolve,
    to_commented_toml,
    to_toml,
    use_env,
)
from ezcli.envs.settings import AtariSettings, CatchSettings, CustomSettings, KeydoorSettings
from ezcli.errors import ConfigError, UnknownName

SMOKE = read_toml(preset_path("smoke"))


def smoke(*overrides):
    return resolve(SMOKE, overrides, source="here")


def tables_of(name, env=None):
    return use_env(read_toml(preset_path(name)), env, None)


def complaint(tables, *overrides):
    """The one sentence about what is wrong, and its hint."""
    with pytest.raises(ConfigError) as caught:
        resolve(tables, overrides, source="here")
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.message
    assert caught.value.message.endswith(".")
    return caught.value.message, caught.value.hint


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
    ("override", "message", "hint"),
    [
        ("search.num_simulation=5", "'search.num_simulation'", "'search.num_simulations'"),
        ("serach.num_simulations=5", "'serach.num_simulations'", "'search.num_simulations'"),
        ("num_simulations=5", "'num_simulations'", "'search.num_simulations'"),
        ("env.gamma=5", "'env.gamma'", "'value.discount'"),
        ("optimizer.lr=5", "'optimizer.lr'", "'optimiser.learning_rate'"),
        ("optimizer.learning_rate=5", "'optimizer.learning_rate'", "'optimiser.learning_rate'"),
        ("optimizer.name=adam", "'optimizer.name'", "'optimiser.name'"),
        ("optimizer.wd=5", "'optimizer.wd'", "'optimiser.weight_decay'"),
        ("network.lr=5", "'network.lr'", "'optimiser.learning_rate'"),
        ("lr=5", "'lr'", "'optimiser.learning_rate'"),
        ("bs=5", "'bs'", "'loss.batch_size'"),
        ("loss.BatchSize=5", "'loss.BatchSize'", "'loss.batch_size'"),
        ("reanalyze.ratio=1", "'reanalyze.ratio'", "'reanalyse.ratio'"),
        ("env.frameskip=5", "'env.frameskip'", "'env.frame_skip'"),
        ("optimizer.betas=5", "'optimizer.betas'", "Settings of optimiser: name, learning_rate"),
        ("compute.gpu=5", "'compute.gpu'", "Settings of compute: device, threads"),
        ("env.rows=5", "'env.rows'", "It is a setting of catch, not of atari."),
        ("sed=5", "'sed'", "'seed'"),
        ("zzz.qqq=5", "'zzz.qqq'", "Sections: env, components, schedule"),
        ("search=5", "'search'", ""),
        ("seed.x=5", "'seed.x'", "'seed'"),
    ],
)
def test_a_wrong_key_names_the_nearest(override, message, hint):
    said, way_out = complaint(SMOKE, override)
    assert said == f"Unknown setting {message}."
    assert hint in way_out


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.num_simulations=0", "= 0 is not allowed: input should be greater"),
        ("search.num_simulations=many", "= 'many' is not allowed: input should be a valid"),
        ("search.num_simulations=2.0", "= 2.0 is not allowed: input should be a valid int"),
        ("search.num_simulations=true", "= True is not allowed: input should be a valid"),
        ("value.discount=nan", "input should be a finite number"),
        ("value.discount=1.5", "input should be less than or equal to 1"),
        ("components.consistency=1", "input should be a valid boolean"),
        ("optimiser.name=rmsprop", "input should be 'sgd' or 'adam'"),
        ("value.value_source=oracle", "input should be 'network' or 'search'"),
        ("compute.precision=float16", "'auto', 'float32' or 'bfloat16'"),
        ("compute.device=gpu", "is auto, cpu, cuda, or cuda:1"),
        ("compute.device=cuda:123456789012", "is auto, cpu, cuda, or cuda:1"),
        ("seed=-1", "greater than or equal to 0"),
        ("seed=2147483648", "less than 2147483648"),
        ("seed=2024-01-01", "input should be a valid integer"),
        ("env.frame_size=8", "greater than or equal to 16"),
        ("network.channels=3", "input should be a multiple of 2"),
        ("replay.importance_exponent=[0.4, 'x']", "input should be a valid number"),
        ("acting.temperatures=[]", "it must have at least 1 value"),
        ("acting.temperatures=1.0", "it must be a list"),
    ],
)
def test_a_wrong_value_names_what_is_allowed(override, message):
    said, _ = complaint(SMOKE, override)
    assert said.startswith(override.partition("=")[0])
    assert message in said
    assert "in here" not in said  # it is not the preset's


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
    said, _ = complaint(SMOKE, f"{key}={value}")
    assert key.partition(".")[0] in said


RULES = [
    (["schedule.sample_ahead=3"], "acting_update_interval must be a multiple of sample_ahead = 3"),
    (["schedule.target_update_interval=12"], "target_update_interval must be a multiple"),
    (["schedule.final_train_steps=12"], "final_train_steps must be a multiple"),
    (["schedule.train_steps_per_env_step=0.3"], "train_steps_per_env_step must divide"),
    (["schedule.train_steps_per_env_step=1e-308"], "schedule.train_steps_per_env_step"),
    (["schedule.train_steps_per_env_step=1e308"], "schedule.train_steps_per_env_step"),
    (["value.td_age_fraction=1e308"], "value.td_age_fraction"),
    (["replay.importance_exponent=[0.4, 1e308]"], "less than or equal to 1"),
    (["replay.priority_exponent=1e308"], "less than or equal to 2"),
    (["replay.min_priority=1e-308"], "greater than or equal to 0.0000"),
    (["replay.min_priority=1e308"], "less than or equal to 1"),
    (["loss.intensity_scale=1e308"], "less than or equal to 2147483648"),
    (["search.pb_c_base=5e-324"], "greater than or equal to 0.0000"),
    (["search.pb_c_init=1e308"], "less than or equal to 2147483648"),
    (["search.root_dirichlet_alpha=1e308"], "less than or equal to 2147483648"),
    (["schedule.final_train_steps=0", "schedule.random_env_steps=200"], "needs train_steps"),
    (["schedule.env_steps=210"], "env_steps must be a multiple of 20"),
    (["schedule.random_env_steps=220"], "random_env_steps cannot exceed env_steps"),
    (["acting.num_envs=3"], "= 20 must be a multiple of acting.num_envs"),
    (["acting.temperatures=[1.0]"], "one value more than temperature_until"),
    (["acting.temperature_until=[0.75, 0.5]"], "temperature_until must rise within 0 and 1"),
    (["acting.temperature_until=[0.75, 1.5]"], "temperature_until must rise within 0 and 1"),
    (["acting.temperatures=[1.0, 0.5, 0.0]"], "input should be greater than 0"),
]


@pytest.mark.parametrize(("overrides", "message"), RULES)
def test_settings_that_do_not_fit_together(overrides, message):
    said, _ = complaint(SMOKE, *overrides)
    assert message in said
    assert said.startswith(overrides[0].partition("=")[0])  # the option, not the preset
    assert "in here" not in said


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
    said, way_out = complaint(SMOKE, *overrides)
    assert said.startswith(f"{key} = ")
    assert way_out == f"Nearest allowed: {key} = {' or '.join(map(repr, values))}."
    for value in values:
        smoke(f"{key}={value}", *overrides[1:])


def test_the_least_replay_is_said_with_the_options_that_need_it():
    said, way_out = complaint(SMOKE, "replay.capacity=10")
    smoke(f"replay.capacity={said.rpartition('at least ')[2].split()[0]}")
    assert way_out.startswith("Nearest allowed: replay.capacity = ")
    said, _ = complaint(SMOKE, "value.td_steps=1000", "search.num_simulations=3")
    assert said.startswith("value.td_steps = 1000 is not allowed: replay.capacity must be")
    said, _ = complaint(SMOKE, "replay.capacity=10", "value.td_steps=9")
    assert said.startswith("replay.capacity = 10 and value.td_steps = 9 are not allowed: ")


def test_a_preset_that_does_not_fit_is_blamed_itself():
    tables = copy.deepcopy(SMOKE)
    tables["schedule"]["env_steps"] = 210
    said, way_out = complaint(tables, "search.num_simulations=3")
    assert said.startswith("schedule.env_steps = 210 in here is not allowed: env_steps must be")
    assert "200 or 220" in way_out


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
            said = str(explain(error, "here", wrong, {})).replace(key, "")
            assert not TECHNICAL.search(said), said


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        (
            lambda t: t["search"].pop("num_simulations"),
            "'search.num_simulations' is missing",
            "net",
        ),
        (lambda t: t.pop("search"), "'search' is missing", ""),
        (lambda t: t.pop("seed"), "'seed' is missing", ""),
        (lambda t: t["env"].pop("game"), "'env.game' is missing", "rom name"),
        (lambda t: t.update(serach=t.pop("search")), "Unknown setting 'serach'", "'search'"),
        (lambda t: t.update(serach={}), "Unknown setting 'serach'", "'search'"),
        (lambda t: t.update(atari={}), "Unknown setting 'atari'", ""),
        (lambda t: t["env"].update(rows=3), "Unknown setting 'env.rows'", "a setting of catch"),
        (lambda t: t["loss"].update(batchsize=3), "'loss.batchsize'", "'loss.batch_size'"),
        (lambda t: t.update(search=3), "search = 3 in here is not allowed", ""),
        (lambda t: t.update(env="pong"), "env = 'pong' in here is not allowed", ""),
        (lambda t: t.update(env={}), "env in here is not allowed", ""),
        (lambda t: t["env"].update(name="nosuch"), "'atari', 'catch', 'keydoor', 'custom'", ""),
    ],
)
def test_wrong_tables(change, message, hint):
    tables = copy.deepcopy(SMOKE)
    change(tables)
    said, way_out = complaint(tables)
    assert message in said
    assert hint in way_out


@pytest.mark.parametrize("tables", [{}, {"env": 3}, {"env": {}}, {"env": {"name": 3}}])
@pytest.mark.parametrize("env", [None, "catch", "a.py:B"])
def test_a_preset_without_an_environment(tables, env):
    with pytest.raises(ConfigError, match="names no environment"):
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
    said, _ = complaint(SMOKE, override)
    assert "is not of the form section.key=value" in said
    assert repr(override) in said


def test_later_overrides_win():
    assert smoke("seed=1", "seed=2").seed == 2


def test_an_optional_setting_of_the_environment_can_be_set():
    tables = use_env(SMOKE, "keydoor", None)
    assert resolve(tables, ["env.delay=5"]).env.delay == 5
    assert "'env.rows'" in complaint(tables, "env.rows=5")[0]


@pytest.mark.parametrize(
    ("preset", "env", "game", "message"),
    [
        ("smoke", "catch", "pong", "--game names an Atari game, but the environment is 'catch'"),
        ("smoke", "a.py:B", "pong", "--game names an Atari game"),
        ("catch", "atari", None, "This preset is for 'catch', not for Atari"),
        ("catch", None, "pong", "This preset is for 'catch', not for Atari"),
        ("smoke", "keydor", None, "Unknown environment 'keydor'"),
        ("smoke", "", "pong", None),
    ],
)
def test_options_that_do_not_fit(preset, env, game, message):
    tables = read_toml(preset_path(preset))
    if message is None:
        assert use_env(tables, env, game)["env"]["game"] == game
        return
    with pytest.raises(ConfigError) as caught:
        use_env(tables, env, game)
    assert message in caught.value.message


def test_a_users_own_environment():
    config = resolve(use_env(SMOKE, "rooms.py:Room", None))
    assert (config.env.name, config.env.target) == ("custom", "rooms.py:Room")
    again = use_env(config.model_dump(), "other.py:Room", None)
    assert resolve(again).env.target == "other.py:Room"
    for target in ("rooms.py:", ":Room", "rooms.py:1x", "a:b:c", "a:b/game.py:C", "game.py::C"):
        said, _ = complaint(use_env(SMOKE, target, None))
        assert said.startswith("env.target")
        assert "one colon and a class: file.py:Class" in said
    assert resolve(use_env(SMOKE, "Ü.py:Ünïcode", None)).env.target == "Ü.py:Ünïcode"


def test_files_that_are_none(tmp_path):
    with pytest.raises(UnknownName) as caught:
        preset_path("atari100")
    assert "Did you mean 'atari100k'?" in caught.value.hint
    with pytest.raises(ConfigError, match="There is no file"):
        preset_path(str(tmp_path / "nothing.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigError, match="There is no file"):
        preset_path(str(tmp_path / "folder.toml"))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_toml(tmp_path / "folder.toml")
    for content, message in [
        (b"seed = ", "is not valid TOML"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"<html>", "is not valid TOML"),
    ]:
        (tmp_path / "mine.toml").write_bytes(content)
        assert preset_path(str(tmp_path / "mine.toml")) == tmp_path / "mine.toml"
        with pytest.raises(ConfigError, match=message):
            read_toml(tmp_path / "mine.toml")


def other(key, value):
    """Another value for a setting, such that the config stays valid."""
    special = {
        "env.game": "breakout",
        "env.target": "other.py:Mine",
        "schedule.env_steps": value * 2 if isinstance(value, int) else value,
        "schedule.random_env_steps": 100,
        "schedule.train_steps_per_env_step": 0.125,
        "schedule.sample_ahead": 10,
        "network.channels": 16,
        "network.action_encoding": "one-hot",
        "network.norm": "layer",
        "acting.num_envs": 2,
        "acting.temperatures": [1.0, 0.5, 0.125],
        "acting.temperature_until": [0.25, 0.75],
        "replay.importance_exponent": [0.5, 1.0],
        "optimiser.name": "adam",
        "value.value_source": "search",
        "compute.device": "cpu",
        "compute.search": "cpu",
        "evaluation.interval": 10,
        "compute.precision": "float32",
        "gumbel.candidates_rule": "by-actions",
        "gumbel.scaling": "node",
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


def every_setting():
    """(tables, key, another value), for all settings of all environments."""
    seen = set()
    for env in (None, "catch", "keydoor", "mine.py:Mine"):
        tables = use_env(SMOKE, env, None)
        for key, value in flat_items(resolve(tables).model_dump(mode="json")):
            if key.startswith("planning."):  # a single planner: there is no other value
                continue
            if key not in seen and key != "env.name":
                seen.add(key)
                yield pytest.param(tables, key, other(key, value), id=key)


def test_every_setting_is_among_those():
    assert {param.id for param in every_setting()} == {
        key
        for key in all_keys()
        if key not in ("env.name", "env.code") and not key.startswith("planning.")
    }


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


@pytest.mark.parametrize("env", [None, "catch", "keydoor", "mine.py:Mine"])
def test_every_environment_has_the_limits_of_all(env):
    for key in ("frame_stack", "max_episode_steps", "evaluation_max_episode_steps"):
        said, _ = complaint(use_env(SMOKE, env, None), f"env.{key}=0")
        assert f"env.{key} = 0 is not allowed: input should be greater" in said


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
