"""Overrides of settings: `--set section.key=value`."""

import tomllib
from typing import Any

from ezcli.config.names import nearest, optional_env_keys, optional_keys, owner
from ezcli.config.tables import flat_keys, is_deep, sections_of
from ezcli.errors import ConfigError


def parse_override(override: str) -> tuple[str, Any]:
    """Splits `key=value`."""
    key, equals, text = override.partition("=")
    key, text = key.strip(), text.strip()
    if not (equals and key and text):
        raise ConfigError(
            "EZ-CONFIG-SET-FORM", f"--set {override!r} is not of the form section.key=value."
        )
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # not TOML, or beyond Python's limits
        return key, text
    value = parsed["value"] if len(parsed) == 1 else text
    if is_deep(value):
        raise ConfigError("EZ-CONFIG-NESTED", f"--set {key} is nested too deeply.")
    return key, value


def set_value(tables: dict[str, Any], key: str, value: Any) -> None:
    """Sets the dotted `key` in nested `tables`. The key must exist there or be allowed there."""
    allowed = [key for key in flat_keys(tables) if not key.startswith("env.code.")]
    allowed += [*optional_keys(), *optional_env_keys(tables)]
    if key not in allowed:
        hint = owner(key, tables) or nearest(key, allowed)
        hint = hint or f"Sections: {', '.join(sections_of(allowed))}."
        raise ConfigError("EZ-CONFIG-UNKNOWN-KEY", f"Unknown setting {key!r}.", hint)
    *sections_of_key, name = key.split(".")
    table = tables
    for section in sections_of_key:
        table = table.setdefault(section, {})
    table[name] = value
