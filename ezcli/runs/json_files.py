"""JSON files: one table, or a table in each line.

A last line cut short by a crash is ignored and then overwritten.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from ezcli.errors import RunError
from ezcli.files import (
    DAMAGED,
    LINES,
    TABLE,
    NotPlain,
    appending,
    read,
    require_plain,
    sync_folder,
)


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Appends a line to a JSON-lines file, replacing an incomplete last line."""
    append_lines(path, [line])


def append_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Appends lines to a JSON-lines file at once, replacing an incomplete last line."""
    with appending(path) as handle:
        size = handle.seek(0, os.SEEK_END)
        if size and not ends_line(handle):
            handle.seek(0)
            handle.truncate(handle.read().rfind(b"\n") + 1)
        handle.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        handle.flush()
        os.fsync(handle.fileno())  # before a checkpoint that refers to the line
    if not size:
        sync_folder(path.parent)  # and the new file's name


def read_lines(path: Path, without: str = "") -> list[dict[str, Any]]:
    """Reads a JSON-lines file, without an incomplete last line; empty if there is no file.

    Args:
      path: of the file.
      without: lines with this text are skipped without parsing; empty to read all.

    Raises:
      RunError: a line before the last is damaged, or the file cannot be read.
    """
    if not is_there(path):
        return []
    try:
        content = read(path, LINES)
    except OSError as error:
        raise RunError(
            "EZ-RUN-UNREADABLE", f"{str(path)!r} cannot be read: {error.strerror}."
        ) from error
    return lines_of(content, path, without=without)


def lines_of(
    content: bytes, path: Path, before: int = 0, without: str = ""
) -> list[dict[str, Any]]:
    """The JSON lines in `content`, without an incomplete last line.

    Args:
      content: content of the file `path`, or its end.
      path: path to name in an error.
      before: number of lines in the file before `content`.
      without: lines with this text are skipped; empty to skip none.

    Raises:
      RunError: a line before the last is damaged.
    """
    *lines, _torn = content.decode(errors="replace").split("\n")
    parsed = []
    for number, line in enumerate(lines, before + 1):
        if without and without in line:
            continue
        wrong = RunError(
            "EZ-RUN-DAMAGED",
            f"Line {number} of {str(path)!r} is damaged.",
            "Restore the file from a backup, or delete the line.",
        )
        try:
            parsed.append(json.loads(line))
        except (ValueError, RecursionError) as error:  # not JSON, or beyond Python's limits
            raise wrong from error
        if not isinstance(parsed[-1], dict):
            raise wrong
    return parsed


def read_table(path: Path) -> dict[str, Any]:
    """Reads a JSON file that contains a table.

    Raises:
      RunError: it cannot be read, or contains something else.
    """
    try:
        table: dict[str, Any] = json.loads(read(path, TABLE).decode())
    except (OSError, ValueError, RecursionError) as error:  # or beyond Python's limits
        if isinstance(error, OSError) and error.errno not in DAMAGED:
            raise RunError(
                "EZ-RUN-UNREADABLE", f"{str(path)!r} cannot be read: {error.strerror}."
            ) from error
        what = error.strerror if isinstance(error, OSError) else error
        raise damaged(path, str(what)) from error
    if not isinstance(table, dict):
        raise damaged(path, "it contains no table")
    return table


def is_there(path: Path) -> bool:
    """Whether the file exists.

    Raises:
      RunError: it is something else, such as a folder or a link.
    """
    try:
        require_plain(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except NotPlain as error:
        raise damaged(path, str(error.strerror)) from error
    return True


def damaged(path: Path, why: str) -> RunError:
    """The error about a file of a run that cannot be used."""
    hint = "Restore it from a backup, or train under another --name."
    if path.name == "run.json":
        hint = (
            "Restore it from a backup, or delete it: the run then continues without its earlier "
            "sessions."
        )
    return RunError("EZ-RUN-DAMAGED", f"{str(path)!r} is damaged: {why}.", hint)


def ends_line(handle: BinaryIO) -> bool:
    """Whether the last byte of a non-empty file ends a line."""
    handle.seek(-1, os.SEEK_END)
    return handle.read(1) == b"\n"
