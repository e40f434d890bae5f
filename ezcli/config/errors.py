"""What is wrong with a config, as one sentence with the nearest values that are allowed."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from ezcli.config.names import all_keys, describe, nearest, owner
from ezcli.config.overrides import set_value
from ezcli.config.run import RunConfig
from ezcli.config.tables import flat_items, json_copy, short
from ezcli.errors import ConfigError
from ezcli.settings import DoesNotFit, why

REACH = 500  # integers each side of a value that are tried instead of it


def explain(
    error: ValidationError, source: str, tables: dict[str, Any], given: Mapping[str, str]
) -> ConfigError:
    """Pydantic's first complaint as one sentence; that of a key too many before all others.

    Args:
      error: the complaints.
      source: file or option to name.
      tables: what was validated.
      given: dotted keys whose values do not come from `source`, and the option to name instead;
        empty for one that says the key itself, such as `--set`.
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
        about = f"That is: {meaning}. " if meaning else ""
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
    """Settings that exclude each other as one sentence about those that an option gave.

    Where no option gave any, it is about the setting that the rule names first.
    """
    keys = [".".join([*place, key]) for key in rule.keys]
    blamed = [key for key in keys if key in given] or keys[:1]
    values = dict(flat_items(tables))
    shown = (
        f"{key}{f' = {short(values[key])}' if key in values else ''}{origin(key, source, given)}"
        for key in blamed
    )
    verb = "is" if len(blamed) == 1 else "are"
    fit = values_that_fit(tables, blamed[0], rule.values if blamed[0] == keys[0] else ())
    near = f"Nearest allowed: {blamed[0]} = {' or '.join(map(repr, fit))}." if fit else ""
    return ConfigError(
        "EZ-CONFIG-COMBINATION", f"{' and '.join(shown)} {verb} not allowed: {rule}.", near
    )


def origin(key: str, source: str, given: Mapping[str, str]) -> str:
    """Where the value of a dotted key comes from, as it stands in a sentence."""
    own = [option for laid, option in given.items() if key == laid or key.startswith(f"{laid}.")]
    where = own[0] if own else source
    return f" in {where}" if where else ""


def values_that_fit(tables: dict[str, Any], key: str, likely: Iterable[float]) -> list[float]:
    """The nearest values of one setting, below and above, with which the tables are a config.

    Args:
      tables: of a config that is not allowed.
      key: dotted, of a setting.
      likely: values to try; for an integer, those within `REACH` are tried too.
    """
    value = dict(flat_items(tables)).get(key)
    if not isinstance(value, int | float):
        return []
    nearest_first = sorted(likely, key=lambda candidate: abs(candidate - value))
    if isinstance(value, int):
        nearest_first += (value + sign * n for n in range(1, REACH + 1) for sign in (-1, 1))
    below = (candidate for candidate in nearest_first if candidate < value)
    above = (candidate for candidate in nearest_first if candidate > value)
    found = (next((one for one in side if fits(tables, key, one)), None) for side in (below, above))
    return [one for one in found if one is not None]


def fits(tables: dict[str, Any], key: str, value: float) -> bool:
    """Whether the tables are a config with another value of one setting."""
    changed = json_copy(tables)
    set_value(changed, key, value)
    try:
        RunConfig.model_validate(changed)
    except ValidationError:
        return False
    return True
