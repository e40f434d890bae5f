"""Checksums of tables and files, and of the start of files that grow."""

import hashlib
import json
from pathlib import Path
from typing import Any

from ezcli.errors import RunError
from ezcli.files import (
    DAMAGED,
    LINES,
    TENSORS,
    opened,
    read,
)
from ezcli.runs.json_files import is_there

Seal = dict[str, Any]  # bytes: length of the sealed start of a file; sha256: its hash


def checksum(table: dict[str, Any]) -> str:
    """Hexadecimal SHA-256 of a table as JSON, independent of its layout."""
    text = json.dumps(table, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def seal(path: Path, whole_lines: bool = False) -> Seal:
    """Length and SHA-256 of a file at present; of empty content if it does not exist.

    Args:
      path: of the file.
      whole_lines: whether to leave out an incomplete last line.
    """
    content = read(path, LINES) if is_there(path) else b""
    if whole_lines:
        content = content[: content.rfind(b"\n") + 1]
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def holds(path: Path, sealed: Seal) -> bool:
    """Whether a file still begins with its sealed content."""
    try:
        content = read(path, LINES) if is_there(path) else b""
        start = content[: sealed["bytes"]]
        found = {"bytes": len(start), "sha256": hashlib.sha256(start).hexdigest()}
    except (OSError, RunError, KeyError, TypeError) as error:  # no file, or no seal
        if isinstance(error, OSError) and error.errno not in DAMAGED:
            raise
        return False
    return found == sealed


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with opened(path, TENSORS) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
