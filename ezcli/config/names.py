"""Names of settings: the complete list, descriptions, and suggestions for wrong names."""

from typing import Any, Literal, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from ezcli.config.run import RunConfig
from ezcli.config.tables import sections_of
from ezcli.envs.settings import EnvSettings
from ezcli.envs.suites import SUITES, AnyEnvSettings
from ezcli.errors import closest, letters

ANY_ENV: TypeAdapter[EnvSettings] = TypeAdapter(AnyEnvSettings)
# Names of settings in other projects that similarity and initials do not match.
SYNONYMS = {
    "buffersize": "capacity",
    "gamma": "discount",
    "nsteps": "td_steps",
    "replaysize": "capacity",
    "sims": "num_simulations",
    "timesteps": "env_steps",
    "totaltimesteps": "env_steps",
}


def describe(key: str, suite: object = None) -> str:
    """Unit and meaning of a setting; empty if it has no description.

    Args:
      key: dotted key.
      suite: name of the environment's suite, if several suites have a setting of this name.
    """
    field = field_of(key, suite)  # there is none if `key` is within a list
    return field.description or "" if field else ""


def choices(key: str, suite: object = None) -> tuple[Any, ...]:
    """All values of a boolean setting or a choice of names; otherwise empty."""
    field = field_of(key, suite)
    kind = field.annotation if field else None
    if kind is bool:
        return (False, True)
    return get_args(kind) if get_origin(kind) is Literal else ()


def field_of(key: str, suite: object = None) -> FieldInfo | None:
    """The field of a dotted key, if there is one; `suite` as in `describe`."""
    model: Any = RunConfig
    *sections, name = key.split(".")
    for section in sections:
        if section == "env":
            return env_fields(suite).get(name)
        model = model.model_fields[section].annotation
    found: dict[str, FieldInfo] = getattr(model, "model_fields", {})
    return found.get(name)


def env_fields(first: object = None) -> dict[str, FieldInfo]:
    """The settings of all environments by name. Those of the suite `first` take precedence."""
    suites = sorted(SUITES.values(), key=lambda suite: suite.name == first)
    return {name: field for suite in suites for name, field in suite.settings.model_fields.items()}


def optional_env_keys(tables: dict[str, Any]) -> list[str]:
    """Keys of the environment that have a default, so that tables may omit them."""
    try:
        env = ANY_ENV.validate_python(tables.get("env"))
    except ValidationError:
        return []
    return [f"env.{name}" for name in type(env).model_fields]


def optional_keys() -> list[str]:
    """Keys outside the environment that have a default, so that tables may omit them."""
    keys = []
    for section, field in RunConfig.model_fields.items():
        fields = getattr(field.annotation, "model_fields", {})
        keys += [f"{section}.{name}" for name, inner in fields.items() if not inner.is_required()]
    return keys


def nearest(key: str, allowed: list[str]) -> str:
    """A sentence with the valid key most similar to `key`, or with the settings of its section.

    Sections and names are compared separately. Names are also compared by initials and by their
    names in other projects: `optimizer.lr` is `optimiser.learning_rate`. Empty if nothing is
    similar.
    """
    section, _, name = key.rpartition(".")
    inside = {one: [k for k in allowed if k.startswith(f"{one}.")] for one in sections_of(allowed)}
    if key not in inside:
        names = dict.fromkeys(one.rpartition(".")[2] for one in allowed)
        several = (one for one in names if "_" in one)
        initials = {"".join(word[0] for word in one.split("_")): one for one in several}
        known = initials | SYNONYMS
        meant = known.get(letters(name)) or closest(name, names)
        of_name = {k.rpartition(".")[0]: k for k in allowed if k.rpartition(".")[2] == meant}
        if of_name:
            place = section if section in of_name else closest(section, of_name, cutoff=0)
            return f"Did you mean {of_name[place or min(of_name)]!r}?"
    meant = closest(section or name, [*inside, *(k for k in allowed if "." not in k)])
    if meant in inside:
        own = (k.rpartition(".")[2] for k in inside[meant])
        return f"Settings of {meant}: {', '.join(own)}."
    return f"Did you mean {meant!r}?" if meant else ""


def owner(key: str, tables: dict[str, Any]) -> str:
    """A sentence on the environment that has the setting, if the tables have another one."""
    env = tables.get("env")
    section, _, name = key.rpartition(".")
    owners = [own for own, suite in SUITES.items() if name in suite.settings.model_fields]
    if section != "env" or not owners or not isinstance(env, dict):
        return ""
    return f"It is a setting of {' and '.join(owners)}, not of {env.get('name')}."


def all_keys() -> list[str]:
    """All dotted keys that a config can have."""
    keys = ["seed", *(f"env.{name}" for name in env_fields())]
    for section, field in RunConfig.model_fields.items():
        if section not in ("seed", "env"):
            keys += [f"{section}.{name}" for name in field.annotation.model_fields]  # type: ignore[union-attr]
    return keys
