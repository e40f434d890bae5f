"""A run config as TOML, with or without comments."""

from collections.abc import Iterator
from typing import Any

import tomli_w

from ezcli import schema
from ezcli.config.names import describe
from ezcli.config.run import RunConfig
from ezcli.efficientzero.squash import largest_value


def to_tables(config: RunConfig) -> dict[str, Any]:
    """The config as tables of a file, with its schema."""
    return {"schema": schema.SCHEMA, **config.model_dump(mode="json")}


def to_toml(config: RunConfig) -> str:
    """The config as TOML, top-level values first."""
    return tomli_w.dumps(to_tables(config))


def to_commented_toml(config: RunConfig) -> str:
    """The config as TOML, each setting below a comment with its meaning."""
    return "".join(commented(to_tables(config), config)).lstrip("\n")


def commented(tables: dict[str, Any], config: RunConfig, prefix: str = "") -> Iterator[str]:
    """Lines for each setting of a table, below its comment, and then for the tables in it.

    Args:
      tables: tables to write.
      config: the config that they are part of.
      prefix: the dotted key of the table, with a dot at its end; empty for the whole config.
    """
    inner = {name: value for name, value in tables.items() if isinstance(value, dict)}
    if prefix and (len(inner) < len(tables) or not tables):
        yield f"\n[{prefix[:-1]}]\n"
    for name, value in tables.items():
        if name not in inner:
            about = explained(prefix + name, config)
            yield f"# {about}\n" if about else ""
            yield tomli_w.dumps({name: value})
    for name, value in inner.items():
        yield from commented(value, config, f"{prefix}{name}.")


def explained(key: str, config: RunConfig) -> str:
    """`describe`, with a remark that depends on the value."""
    about = describe(key, config.env.name)
    if key == "value.support":
        about += f"; values of up to ±{largest_value(config.value.support):,.6g}"
    return about
