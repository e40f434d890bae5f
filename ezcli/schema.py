"""The schema version of the files of runs and studies, and steps that update older files.

`config.toml`, a study's `preset.toml`, `run.json` and the manifest of a checkpoint have a number
`schema`. Files of version 0.1.0 have none, which means 0. To change what a table contains, raise
`SCHEMA` and add one step: a function from tables of the previous schema to tables of the new one. A
step for configs also receives users' presets, which have no schema, whichever version they were
written for. It must leave newer tables unchanged. A new setting with a neutral value needs no step
(CONTRIBUTING.md, "Add a setting").
"""

from collections.abc import Callable
from typing import Any, Literal

from ezcli.errors import ConfigError

Table = dict[str, Any]
Kind = Literal["config", "run", "manifest", "checkpoint"]
SCHEMA = 1


def name_compute_settings(tables: Table) -> Table:
    """0 to 1: adds two settings of `compute` that had defaults."""
    compute = tables.get("compute")
    if not isinstance(compute, dict):
        return tables
    had_defaults = {"search": "auto", "deterministic": False}
    missing = {key: value for key, value in had_defaults.items() if key not in compute}
    return tables | {"compute": compute | missing}


def list_blobs(manifest: Table) -> Table:
    """0 to 1: lists the frames' segments as blobs of the part `frames`."""
    if manifest.get("format") not in (1, 2):
        raise ValueError("neither a schema nor a known format")
    known = ("identity", "env_steps", "train_steps", "files")
    blobs = {f"frames/{one['file']}": one["sha256"] for one in manifest["segments"]}
    records = manifest.get("records", {})
    return {name: manifest[name] for name in known} | {"blobs": blobs, "records": records}


# Schema 0: the part that owns arrays with this prefix. Other arrays have the name of their part.
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
    """Turns unnamed rows of numbers, one per train_step, into a list for each named number."""
    if any(len(row) != len(STEP_METRICS) for row in rows):
        raise ValueError("a row of another width")
    return {name: [row[i] for row in rows] for i, name in enumerate(STEP_METRICS)}


def sort_by_part(checkpoint: Table) -> Table:
    """0 to 1: moves every array and value to the part that owns it."""
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


# For each kind of table, the step from each schema to the next, if anything changed.
STEPS: dict[Kind, dict[int, Callable[[Table], Table]]] = {
    "config": {0: name_compute_settings},
    "run": {},
    "manifest": {0: list_blobs},
    "checkpoint": {0: sort_by_part},  # the content of its files, see `runs.checkpoint.read_states`
}


def current(kind: Kind, table: Table, source: str) -> Table:
    """The table in the newest schema, without its number.

    Args:
      kind: of the table.
      table: as read; it is not modified.
      source: file to name in an error.

    Raises:
      ConfigError: its schema is from a later version of ezcli, or is not a valid number.
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
            f"{source} has schema {found}, but this version of ezcli reads at most {SCHEMA}.",
            "Install a newer version.",
        )
    for number in range(found, SCHEMA):
        step = STEPS[kind].get(number)
        rest = step(rest) if step else rest
    return rest
