"""The version of the files of runs and studies, and how older ones become those of today.

`config.toml`, a study's `preset.toml` and `run.json` carry the number `schema`. Files of version
0.1.0 carry none, which is 0. To change what a table holds, raise `SCHEMA` and add one step: a
function from tables of the schema before to tables of the new one. A step also gets presets of
users, which carry no number, whatever they were written for: it must leave alone what is new
already. A new setting with a neutral value needs no step (CONTRIBUTING.md, "Add a setting").
"""

from collections.abc import Callable
from typing import Any, Literal

from ezcli.errors import ConfigError

Table = dict[str, Any]
Kind = Literal["config", "run"]
SCHEMA = 1


def name_compute_settings(tables: Table) -> Table:
    """0 to 1: two settings of `compute` are written out, which had defaults."""
    compute = tables.get("compute")
    if not isinstance(compute, dict):
        return tables
    had_defaults = {"search": "auto", "deterministic": False}
    missing = {key: value for key, value in had_defaults.items() if key not in compute}
    return tables | {"compute": compute | missing}


# By kind of table: the step from each schema to the next; none where nothing changed.
STEPS: dict[Kind, dict[int, Callable[[Table], Table]]] = {
    "config": {0: name_compute_settings},
    "run": {},
}


def current(kind: Kind, table: Table, source: str) -> Table:
    """The table as the newest schema has it, without its number.

    Args:
      kind: of the table.
      table: as read; not changed.
      source: file to name in an error.

    Raises:
      ConfigError: its number is of a later version of ezcli, or is not one.
    """
    rest = {key: value for key, value in table.items() if key != "schema"}
    found = table.get("schema", 0)
    if type(found) is not int or found < 0:
        raise ConfigError(
            "EZ-SCHEMA-VALUE", f"schema = {found!r} in {source} is not a number from 0 to {SCHEMA}."
        )
    if found > SCHEMA:
        raise ConfigError(
            "EZ-SCHEMA-NEWER",
            f"{source} has schema {found}, and this version of ezcli reads up to {SCHEMA}.",
            "Install a newer version.",
        )
    for number in range(found, SCHEMA):
        step = STEPS[kind].get(number)
        rest = step(rest) if step else rest
    return rest
