"""Nested tables, as in TOML files."""

import reprlib
from collections.abc import Iterable, Iterator
from typing import Any

DEEPEST = 16  # levels of nested tables


def is_deep(value: Any) -> bool:
    """Whether tables are nested deeper than in any config."""
    layer = [value]
    for _ in range(DEEPEST):
        layer = [inner for table in layer if isinstance(table, dict) for inner in table.values()]
    return bool(layer)


def flat_items(tables: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested tables."""
    for name, value in tables.items():
        if isinstance(value, dict):
            yield from flat_items(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def flat_keys(tables: dict[str, Any]) -> Iterator[str]:
    """Dotted keys of nested tables."""
    return (key for key, _ in flat_items(tables))


def sections_of(keys: Iterable[str]) -> list[str]:
    """The sections in dotted keys, each once."""
    return list(dict.fromkeys(key.rpartition(".")[0] for key in keys if "." in key))


def short(value: Any) -> str:
    """A value, shortened for a sentence."""
    shortening = reprlib.Repr()
    shortening.maxstring = shortening.maxother = 200  # characters
    try:
        return shortening.repr(value)
    except ValueError:  # more digits than Python prints
        return "a number of thousands of digits"


def json_copy(tables: dict[str, Any]) -> dict[str, Any]:
    """A deep copy of tables that came from TOML."""
    return {k: json_copy(v) if isinstance(v, dict) else v for k, v in tables.items()}
