"""Files of JSON: one table, or a table in each line.

A last line that a crash has torn is ignored, and then overwritten.
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
    """Adds a line to a JSON-lines file, in place of a torn last one."""
    append_lines(path, [line])


def append_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Adds lines to a JSON-lines file at once, in place of a torn last one."""
    with appending(path) as handle:
        size = handle.seek(0, os.SEEK_END)
        if size and not ends_line(handle):
            handle.seek(0)
            handle.truncate(handle.read().rfind(b"\n") + 1)
        handle.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        handle.flush()
        os.fsync(handle.fileno())  # before a checkpoint that says the line is there
    if not size:
        sync_folder(path.parent)  # likewise the new file's name


def read_lines(path: Path, without: str = "") -> list[dict[str, Any]]:
    """The lines of a JSON-lines file, without a torn last one; none if there is no file.

    Args:
      path: of the file.
      without: lines with this text are left out, and are not parsed; empty: all are read.

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
    """The JSON lines in `content`, without a torn last one.

    Args:
      content: of the file `path`, or its end.
      path: to name in an error.
      before: lines of the file that come before `content`.
      without: lines with this text are left out; empty: none.

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
            "Put the file back from a copy, or delete the line.",
        )
        try:
            parsed.append(json.loads(line))
        except (ValueError, RecursionError) as error:  # no JSON, or beyond what Python reads
            raise wrong from error
        if not isinstance(parsed[-1], dict):
            raise wrong
    return parsed


def read_table(path: Path) -> dict[str, Any]:
    """The contents of a file of JSON that holds a table.

    Raises:
      RunError: it cannot be read, or holds something else.
    """
    try:
        table: dict[str, Any] = json.loads(read(path, TABLE).decode())
    except (OSError, ValueError, RecursionError) as error:  # or beyond what Python reads
        if isinstance(error, OSError) and error.errno not in DAMAGED:
            raise RunError(
                "EZ-RUN-UNREADABLE", f"{str(path)!r} cannot be read: {error.strerror}."
            ) from error
        what = error.strerror if isinstance(error, OSError) else error
        raise damaged(path, str(what)) from error
    if not isinstance(table, dict):
        raise damaged(path, "it holds no table")
    return table


def is_there(path: Path) -> bool:
    """Whether there is such a file.

    Raises:
      RunError: there is something else, such as a folder or a link.
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
    hint = "Put it back from a copy, or train under another --name."
    if path.name == "run.json":
        hint = (
            "Put it back from a copy, or delete it: the run then continues without its earlier "
            "sessions."
        )
    return RunError("EZ-RUN-DAMAGED", f"{str(path)!r} is damaged: {why}.", hint)


def ends_line(handle: BinaryIO) -> bool:
    """Whether the last byte of a file that is not empty ends a line."""
    handle.seek(-1, os.SEEK_END)
    return handle.read(1) == b"\n"
