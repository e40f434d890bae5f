"""A run config as TOML, with or without comments."""

import re
from typing import Any

import tomli_w

from ezcli import schema
from ezcli.config.names import describe
from ezcli.config.run import RunConfig
from ezcli.efficientzero.squash import largest_value


def to_tables(config: RunConfig) -> dict[str, Any]:
    """The config as a file holds it, with the number of its schema."""
    return {"schema": schema.SCHEMA, **config.model_dump(mode="json")}


def to_toml(config: RunConfig) -> str:
    """The config as TOML, top-level values first."""
    return tomli_w.dumps(to_tables(config))


def to_commented_toml(config: RunConfig) -> str:
    """The config as TOML, each setting below a comment that says what it means."""
    lines, table = [], ""
    for line in to_toml(config).split("\n"):
        if line.startswith("["):
            table = line.strip("[]") + "."
        elif found := re.match(r"(\w+) = ", line):
            about = explained(table + found[1], config)
            lines += [f"# {about}"] if about else []
        lines.append(line)
    return "\n".join(lines)


def explained(key: str, config: RunConfig) -> str:
    """`describe`, with what follows from the value that the config has."""
    about = describe(key, config.env.name)
    if key == "value.support":
        about += f"; values of up to ±{largest_value(config.value.support):,.6g}"
    return about
