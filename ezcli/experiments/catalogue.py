"""The runs in a runs folder, with their progress and state."""

import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from ezcli.config.run import RunConfig
from ezcli.errors import ConfigError, EzError, UnknownName
from ezcli.experiments.study import StudyFolder, study_names
from ezcli.files import DAMAGED, LINES, folders_with, opened
from ezcli.runs.evaluations import OWN, is_number
from ezcli.runs.folder import CONFIG, EVALUATIONS, METRICS, STALLED, TIMING, RunFolder

State = Literal[
    "new", "running", "stalled", "interrupted", "killed", "failed", "finished", "damaged"
]
SEVERAL = 5  # most names listed in a sentence
TAIL_BYTES = 65536  # enough for several lines of any of the files


class Progress(NamedTuple):
    """The progress of a run; None if not recorded."""

    env_steps: int | None
    train_steps: int | None
    train_steps_per_second: float | None
    score: float | None  # score of the newest evaluation or, before the first, of the newest games
    score_kind: str | None  # final, interim, manual, or training


class Entry(NamedTuple):
    """A run folder."""

    name: str
    path: Path
    state: State
    identity: str | None  # None if not known
    updated: datetime | None  # when its files last changed, local time


def scan(runs_dir: Path) -> Iterator[Entry]:
    """Every run in a runs folder, by name."""
    for path in folders_with(runs_dir, CONFIG):
        yield entry(path)


def entry(path: Path) -> Entry:
    """Reads one run folder."""
    folder = RunFolder(path)
    return Entry(path.name, path, state(folder), identity(folder), updated(path))


def state(folder: RunFolder) -> State:
    """The state of a run.

    `stalled`: a process works on it, without progress for minutes. `killed`: its status is running,
    but no process works on it. `damaged`: a file was changed or is missing.
    """
    if not folder.is_locked:
        try:
            said = folder.require_sound()
        except (EzError, OSError):  # or a file without permission to read
            said = "damaged"
        # otherwise a process has begun to change the files
        if said != "damaged" or not folder.is_locked:
            return cast("State", "killed" if said == "running" else said)
    return "stalled" if (folder.path / STALLED).is_file() and is_running(folder) else "running"


def is_running(folder: RunFolder) -> bool:
    """Whether the status in `run.json` is running."""
    try:
        return folder.read_info().get("status") == "running"
    except EzError:
        return False


def identity(folder: RunFolder) -> str | None:
    """Hash of the run's config, from `run.json` or else from the config itself."""
    try:
        said = folder.read_info().get("identity")
        return said if isinstance(said, str) else folder.config().identity
    except EzError:
        return None


def by_identity(runs_dir: Path) -> dict[str, str]:
    """Names of runs by identity. Of two with the same identity, the finished one is listed."""
    found: dict[str, str] = {}
    for run in sorted(scan(runs_dir), key=lambda run: run.state != "finished"):
        if run.identity is not None and run.state != "damaged":
            found.setdefault(run.identity, run.name)
    return found


def by_start(runs_dir: Path, text: str) -> Path | None:
    """The run whose name or identity starts with `text`, if there is one.

    An identity needs 4 digits.

    Raises:
      ConfigError: several runs match.
    """
    found = runs_by_start(runs_dir, text)
    require_one(text, "runs", [run.name for run in found])
    return found[0].path if found else None


def runs_by_start(runs_dir: Path, text: str) -> list[Entry]:
    """The runs whose name or identity starts with `text`. An identity needs 4 digits."""
    is_id = re.fullmatch(r"[0-9a-f]{4,12}", text) is not None
    return [
        run
        for run in (scan(runs_dir) if text else ())
        if run.name.startswith(text) or (is_id and (run.identity or "").startswith(text))
    ]


def find_study(runs_dir: Path, text: str) -> str:
    """The name of the study whose name is, or starts with, `text`.

    Raises:
      ConfigError: no study or several studies match.
    """
    names = study_names(runs_dir)
    found = [text] if text in names else [name for name in names if text and name.startswith(text)]
    require_one(text, "studies", found)
    if not found:
        raise UnknownName("study", text, names)
    return found[0]


def require_one(text: str, what: str, found: list[str]) -> None:
    """Refuses a text that several names start with.

    Args:
      text: the start of the names.
      what: kind of thing they name, in the plural.
      found: the names.

    Raises:
      ConfigError: lists the names.
    """
    if len(found) > 1:
        shown = ", ".join(found[:SEVERAL])
        more = f" and {len(found) - SEVERAL} more" if len(found) > SEVERAL else ""
        raise ConfigError(
            "EZ-RUN-AMBIGUOUS",
            f"Several {what} start with {text!r}: {shown}{more}.",
            "Give the whole name.",
        )


def progress(entry: Entry) -> Progress:
    """The progress of a run, from the ends of its files; empty for a damaged run."""
    if entry.state == "damaged":
        return Progress(None, None, None, None, None)
    path = entry.path
    timing, metrics = last_line(path / TIMING), last_line(path / METRICS)
    evaluation = last_line(path / EVALUATIONS, lambda line: line.get("kind") in OWN)
    score, kind = number(evaluation, "mean"), evaluation.get("kind")
    if score is None and number(metrics, "score") is not None:
        score, kind = number(metrics, "score"), "training"
    env_steps, train_steps = number(metrics, "env_steps"), number(metrics, "train_steps")
    return Progress(
        None if env_steps is None else int(env_steps),
        None if train_steps is None else int(train_steps),
        number(timing, "train_steps_per_second"),
        score,
        kind if isinstance(kind, str) else None,
    )


def number(line: dict[str, Any], key: str) -> float | None:
    """A number in a line; None if it is not finite."""
    value = line.get(key)
    return value if is_number(value) else None


def last_line(
    path: Path, counts: Callable[[dict[str, Any]], bool] = lambda _: True
) -> dict[str, Any]:
    """The last complete line of a JSON-lines file that `counts`; empty if there is none."""
    try:
        with opened(path, LINES) as handle:
            handle.seek(0, 2)
            handle.seek(max(0, handle.tell() - TAIL_BYTES))
            *lines, _torn = handle.read(TAIL_BYTES).split(b"\n")
    except OSError as error:
        if error.errno in DAMAGED:
            return {}
        raise
    for text in reversed(lines):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):  # not JSON, or beyond Python's limits
            return {}
        if not isinstance(line, dict):
            return {}
        if counts(line):
            return line
    return {}


def updated(path: Path) -> datetime | None:
    """When the run's files last changed, local time."""
    files = [path / name for name in ("run.json", TIMING, EVALUATIONS, "config.toml")]
    times = [file.lstat().st_mtime for file in files if os.path.lexists(file)]
    return datetime.fromtimestamp(max(times)).astimezone() if times else None


def studies_of(runs_dir: Path) -> dict[str, list[tuple[str, str]]]:
    """(study, arm) by run, for all readable studies."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name in study_names(runs_dir):
        try:
            record = StudyFolder(runs_dir, name).record()
        except EzError:
            continue
        for cell in record.cells:
            membership = (name, cell.arm)
            memberships = found.setdefault(cell.run, [])
            if membership not in memberships:
                memberships.append(membership)
    return found


def read_config(path: Path) -> RunConfig | None:
    """A run's config, or None if it cannot be read."""
    try:
        return RunFolder(path).config()
    except EzError:
        return None
