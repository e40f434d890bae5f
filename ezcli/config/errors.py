"""Errors in a config, as one sentence with the nearest allowed values."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tomli_w
from pydantic import ValidationError

from ezcli.config.names import all_keys, choices, describe, nearest, owner
from ezcli.config.overrides import set_value
from ezcli.config.run import RunConfig
from ezcli.config.tables import flat_items, json_copy, short
from ezcli.errors import ConfigError
from ezcli.settings import DoesNotFit, why

REACH = 500  # integers tried on each side of a value


def explain(
    error: ValidationError, source: str, tables: dict[str, Any], given: Mapping[str, str]
) -> ConfigError:
    """Turns Pydantic's first error into one sentence. Unknown keys come before all others.

    Args:
      error: the errors.
      source: file or option to name.
      tables: the validated tables.
      given: dotted keys whose values do not come from `source`, and the option to name instead;
        empty for an option that contains the key, such as `--set`.
    """
    complaints = error.errors()
    first = next((e for e in complaints if e["type"] == "extra_forbidden"), complaints[0])
    place = [str(part) for part in first["loc"]]
    rule = first.get("ctx", {}).get("error")
    if isinstance(rule, DoesNotFit):
        return explain_rule(rule, place, source, tables, given)
    key = ".".join(place)
    where = origin(key, source, given)
    if first["type"] == "extra_forbidden":
        near = nearest(key, [*RunConfig.model_fields, *all_keys()])
        return ConfigError(
            "EZ-CONFIG-UNKNOWN-KEY", f"Unknown setting {key!r}{where}.", owner(key, tables) or near
        )
    if first["type"] == "missing":
        env = tables.get("env")
        meaning = describe(key, env.get("name") if isinstance(env, dict) else None)
        about = f"It is: {meaning}. " if meaning else ""
        way_out = f"{about}A complete preset: ez config show --preset catch"
        return ConfigError("EZ-CONFIG-MISSING-KEY", f"{key!r} is missing{where}.", way_out)
    value = "" if isinstance(first["input"], dict) else f" = {short(first['input'])}"
    return ConfigError("EZ-CONFIG-VALUE", f"{key}{value}{where} is not allowed: {why(first)}.")


def explain_rule(
    rule: DoesNotFit,
    place: list[str],
    source: str,
    tables: dict[str, Any],
    given: Mapping[str, str],
) -> ConfigError:
    """Turns a broken rule into one sentence about the settings that options gave.

    If no option gave any, the sentence is about the setting that the rule names first.
    """
    keys = [".".join([*place, key]) for key in rule.keys]
    blamed = [key for key in keys if key in given] or keys[:1]
    values = dict(flat_items(tables))
    shown = (
        f"{key}{f' = {short(values[key])}' if key in values else ''}{origin(key, source, given)}"
        for key in blamed
    )
    verb = "is" if len(blamed) == 1 else "are"
    likely = {".".join([*place, key]): list(some) for key, some in rule.near.items()}
    way_out = ""
    for key in dict.fromkeys([*blamed, *keys]):
        if fit := values_that_fit(tables, key, likely.get(key, ())):
            way_out = f"Nearest allowed: {key} = {' or '.join(map(as_toml, fit))}."
            break
    return ConfigError(
        "EZ-CONFIG-COMBINATION", f"{' and '.join(shown)} {verb} not allowed: {rule}.", way_out
    )


def origin(key: str, source: str, given: Mapping[str, str]) -> str:
    """Where the value of a dotted key comes from, as part of a sentence."""
    own = [option for laid, option in given.items() if key == laid or key.startswith(f"{laid}.")]
    where = own[0] if own else source
    return f" in {where}" if where else ""


def values_that_fit(tables: dict[str, Any], key: str, likely: Iterable[Any]) -> list[Any]:
    """The nearest values of one setting that make the tables valid.

    If other settings are wrong too, these values only satisfy the rules of this one.

    Args:
      tables: tables of a config that is not allowed.
      key: dotted key of a setting.
      likely: values to try first.

    Returns:
      For a number, the nearest value below and the nearest above, if any; otherwise one value or
      none.
    """
    env = tables.get("env")
    suite = env.get("name") if isinstance(env, dict) else None
    for whole in (True, False):
        found = nearest_values(tables, key, [*likely, *choices(key, suite)], whole)
        if found:
            return found
    return []


def nearest_values(
    tables: dict[str, Any], key: str, likely: Iterable[Any], whole: bool
) -> list[Any]:
    """`values_that_fit`, where `whole` requires all tables to be valid."""
    value = dict(flat_items(tables)).get(key)

    def fit(candidate: Any) -> bool:
        return fits(tables, key, candidate, whole)

    if isinstance(value, bool) or not isinstance(value, int | float):
        return [one for one in likely if one != value and fit(one)][:1]
    nearest_first = sorted(likely, key=lambda candidate: abs(candidate - value))
    found = []
    for sign in (-1, 1):
        near = [one for one in nearest_first if (one - value) * sign > 0]
        if isinstance(value, int):
            near = sorted(
                [*near, *(value + sign * n for n in range(1, REACH + 1))], reverse=sign < 0
            )
        one = next(filter(fit, near), None)
        if one is None and isinstance(value, int):
            one = bound(value, sign, fit)
        found += [] if one is None else [one]
    return found


def bound(value: int, sign: int, fit: Callable[[int], bool]) -> int | None:
    """The fitting integer nearest to `value` on one side, if all beyond it fit up to a limit."""
    away = [value + 2**n if sign > 0 else value >> n for n in range(32)]
    reach = next(filter(fit, away), None)
    if reach is None:
        return None
    within = range(value, reach, sign)
    return value + sign * bisect_left(within, True, key=fit)


def fits(tables: dict[str, Any], key: str, value: Any, whole: bool = True) -> bool:
    """Whether the tables are valid with another value of one setting.

    Args:
      tables: tables of a config that is not allowed.
      key: dotted key of a setting.
      value: value to try.
      whole: whether all tables must be valid; otherwise only that setting must be.
    """
    changed = json_copy(tables)
    set_value(changed, key, value)
    try:
        RunConfig.model_validate(changed)
    except ValidationError as error:
        return not (whole or any(key in concerned(complaint) for complaint in error.errors()))
    return True


def concerned(complaint: Mapping[str, Any]) -> list[str]:
    """The dotted keys of the settings that an error is about."""
    place = [str(part) for part in complaint["loc"]]
    rule = complaint.get("ctx", {}).get("error")
    keys = rule.keys if isinstance(rule, DoesNotFit) else ()
    return [".".join([*place, key]) for key in keys] or [".".join(place)]


def as_toml(value: Any) -> str:
    """A value in TOML syntax for `--set` or a file, on one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    return tomli_w.dumps({"": value}).partition(" = ")[2].strip()
