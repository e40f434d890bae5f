"""The version of the files of runs and studies, and how older ones become those of today.

`config.toml`, a study's `preset.toml`, `run.json` and the manifest of a checkpoint carry the number
`schema`. Files of version 0.1.0 carry none, which is 0. To change what a table holds, raise
`SCHEMA` and add one step: a function from tables of the schema before to tables of the new one. A
step for a config also gets presets of users, which carry no number, whatever they were written for:
it must leave alone what is new already. A new setting with a neutral value needs no step
(CONTRIBUTING.md, "Add a setting").
"""

from collections.abc import Callable
from typing import Any, Literal

from ezcli.errors import ConfigError

Table = dict[str, Any]
Kind = Literal["config", "run", "manifest", "checkpoint"]
SCHEMA = 1


def name_compute_settings(tables: Table) -> Table:
    """0 to 1: two settings of `compute` are written out, which had defaults."""
    compute = tables.get("compute")
    if not isinstance(compute, dict):
        return tables
    had_defaults = {"search": "auto", "deterministic": False}
    missing = {key: value for key, value in had_defaults.items() if key not in compute}
    return tables | {"compute": compute | missing}


def list_blobs(manifest: Table) -> Table:
    """0 to 1: the frames' segments are blobs of the part `frames`, as any part may have them."""
    if manifest.get("format") not in (1, 2):
        raise ValueError("neither a schema nor a known format")
    known = ("identity", "env_steps", "train_steps", "files")
    blobs = {f"frames/{one['file']}": one["sha256"] for one in manifest["segments"]}
    records = manifest.get("records", {})
    return {name: manifest[name] for name in known} | {"blobs": blobs, "records": records}


# Of schema 0: which part owns the arrays whose name begins so; the part has the name of the others.
OWNERS = {
    "acting": "copies",
    "target": "copies",
    "upcoming": "copies",
    "optimiser": "learner",
    "memo": "reanalyser",
    "length": "replay",
    "window": "draw",
    "targets": "draw",
}


STEP_METRICS = ("loss", "value_prefix", "policy", "value", "consistency", "gradient_norm")


def by_name(rows: list[list[float]]) -> dict[str, list[float]]:
    """Rows of numbers of train_steps as a list of each number; the rows had no names."""
    if any(len(row) != len(STEP_METRICS) for row in rows):
        raise ValueError("a row of another width")
    return {name: [row[i] for row in rows] for i, name in enumerate(STEP_METRICS)}


def sort_by_part(checkpoint: Table) -> Table:
    """0 to 1: every array and value is with the part that owns it."""
    manifest, state, files = (checkpoint[name] for name in ("manifest", "state", "arrays"))
    arrays: Table = {"weights": files["weights"]}
    for key, array in (files["networks"] | files["replay"]).items():
        first, _, rest = key.partition(".")
        name = rest if first in ("replay", "memo") else key
        arrays.setdefault(OWNERS.get(first, first), {})[name] = array
    pieces = {one["file"].removesuffix(".zst"): one["pieces"] for one in manifest["segments"]}
    values = {
        "learner": {"train_steps": manifest["train_steps"]},
        "replay": {"env_steps": manifest["env_steps"]},
        "frames": {"pieces": pieces},
        "draw": {},
        "weights": {},
        "copies": {},
        "reanalyser": {},
        "metrics": state["metrics"] | {"training": by_name(state["metrics"]["training"])},
        "streams": state["streams"],
        "environments": {"games": [{"seed": s, "actions": a} for s, a in state["games"]]},
    }
    return {"state": values, "arrays": arrays}


# By kind of table: the step from each schema to the next; none where nothing changed.
STEPS: dict[Kind, dict[int, Callable[[Table], Table]]] = {
    "config": {0: name_compute_settings},
    "run": {},
    "manifest": {0: list_blobs},
    "checkpoint": {0: sort_by_part},  # content of its files, see `runs.checkpoint.read_states`
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
