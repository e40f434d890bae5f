"""The files of runs as rows: dicts with the same keys in each table.

Values are numbers, strings, booleans, or None if unknown.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ezcli.config.tables import flat_items
from ezcli.reports.formats import safe_in_csv
from ezcli.runs.evaluations import changes_text, name_of, why_wrong
from ezcli.runs.folder import EVALUATIONS, METRICS, RunFolder
from ezcli.runs.json_files import damaged

Rows = list[dict[str, Any]]


def metric_rows(folder: RunFolder) -> Rows:
    """A row for each line of `metrics.jsonl`.

    Raises:
      RunError: the file is damaged.
    """
    return even(folder.read(METRICS))


def evaluation_rows(folder: RunFolder) -> Rows:
    """A row for each evaluation, without the scores of its games.

    Raises:
      RunError: the file is damaged.
    """
    rows = []
    for line in evaluations(folder):
        protocol = line["protocol"]
        own = {k: v for k, v in line.items() if not isinstance(v, dict | list)}
        own = {"kind": own.pop("kind"), "name": name_of(line)} | own
        played = {key: value for key, value in protocol.items() if key not in ("seed", "changes")}
        changes = changes_text(protocol.get("changes", {}))
        seed = {"evaluation_seed": protocol.get("seed", 0)}
        rows.append(own | played | seed | {"changes": changes})
    return even(rows)


def game_rows(folder: RunFolder) -> Rows:
    """A row for each game of each evaluation: its raw score and its length in env_steps.

    Raises:
      RunError: the file is damaged.
    """
    return [
        {
            "kind": line["kind"],
            "name": name_of(line),
            "env_steps": line["env_steps"],
            "train_steps": line.get("train_steps"),
            "game_number": number,
            "score": score,
            "game_env_steps": length,
        }
        for line in evaluations(folder)
        for number, (score, length) in enumerate(
            zip(line["scores"], line["game_env_steps"], strict=True)
        )
    ]


def evaluations(folder: RunFolder) -> list[dict[str, Any]]:
    """Reads the lines of `evaluations.jsonl`.

    Raises:
      RunError: the file is damaged.
    """
    lines = folder.read(EVALUATIONS)
    for line in lines:
        if wrong := why_wrong(line):
            raise damaged(folder.path / EVALUATIONS, wrong)
    return lines


def setting_columns(folder: RunFolder) -> dict[str, Any]:
    """Every setting of a run, by its dotted key."""
    return {key: plain(value) for key, value in flat_items(folder.config().model_dump(mode="json"))}


def plain(value: Any) -> Any:
    """A value for a cell; lists and tables as JSON."""
    return json.dumps(value) if isinstance(value, list | tuple | dict) else value


def even(rows: Iterable[Mapping[str, Any]]) -> Rows:
    """Gives all rows the same keys, in order of appearance, with None for missing values."""
    rows = list(rows)
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return [{key: plain(row.get(key)) for key in keys} for row in rows]


def as_csv(rows: Rows) -> bytes:
    """The rows as CSV with a header; None becomes an empty field."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(rows[0] if rows else ())
    for row in rows:
        cells = (safe_in_csv(v) if isinstance(v, str) else v for v in row.values())
        writer.writerow("" if cell is None else cell for cell in cells)
    return stream.getvalue().encode()


def as_parquet(rows: Rows) -> bytes:
    """The rows as a Parquet file. A column with several types contains JSON.

    Raises:
      ImportError: pyarrow is not installed.
    """
    import pyarrow
    from pyarrow import parquet

    columns = {key: one_type([row[key] for row in rows]) for key in (rows[0] if rows else ())}
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table(columns), sink)
    return bytes(sink.getvalue().to_pybytes())


def one_type(values: list[Any]) -> list[Any]:
    """Values of one type for a column."""
    types = {type(value) for value in values if value is not None}
    if types <= {int, float} and len(types) == 2:
        return [None if value is None else float(value) for value in values]
    if len(types) > 1:
        return [None if value is None else json.dumps(value) for value in values]
    return values
