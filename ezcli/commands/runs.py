"""`ez runs`: lists, shows, compares and deletes runs."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

from ezcli import console
from ezcli.commands.find import find_run
from ezcli.config.run import RunConfig, differences
from ezcli.efficientzero.loss_terms import AUXILIARY_TERM, MEASURED_STEPS
from ezcli.errors import ConfigError, EzError, RunError, UnknownName
from ezcli.experiments import catalogue
from ezcli.experiments.catalogue import Entry, Progress, State
from ezcli.experiments.design import arm_label, arms_label, close
from ezcli.experiments.study import STUDIES, StudyFolder
from ezcli.files import draft_name
from ezcli.files import remove as remove_path
from ezcli.runs.cost import folder_bytes
from ezcli.runs.evaluations import is_number
from ezcli.runs.folder import EVALUATIONS, METRICS, RunFolder
from ezcli.runs.names import is_plain_name
from ezcli.words import counted, duration, ez_command, json_text, size

ID_DIGITS = 6
GAP = 2  # columns of a terminal between those of a table


class Row(NamedTuple):
    """A run with everything that the list shows."""

    entry: Entry
    config: RunConfig | None
    far: Progress
    memberships: list[tuple[str, str]]  # study and arm
    preset: str | None  # name or path
    seconds: float | None  # of training; None if a session did not record it

    @property
    def game(self) -> str:
        """The game or environment, if known."""
        return self.config.env_label if self.config else ""

    @property
    def game_text(self) -> str:
        """The same for a table, where a user's class may have the name of an Atari game."""
        return self.config.marked_label if self.config else ""

    @property
    def studies(self) -> list[str]:
        """The studies that the run belongs to."""
        return list(dict.fromkeys(study for study, _ in self.memberships))

    @property
    def arms(self) -> list[str]:
        """The arms that the run belongs to."""
        return list(dict.fromkeys(arm for _, arm in self.memberships))


def list_runs(
    runs_dir: Path,
    study: str | None,
    arm: str | None,
    game: str | None,
    state: str | None,
    sort: str,
    as_json: bool,
) -> None:
    """`ez runs`."""
    if sort not in SORTS:
        raise UnknownName("order", sort, SORTS)
    memberships = catalogue.studies_of(runs_dir)
    rows = [
        row_of(entry, catalogue.read_config(entry.path), memberships.get(entry.name, []))
        for entry in catalogue.scan(runs_dir)
    ]
    rows.sort(key=SORTS[sort])
    if study is not None and any(row.studies for row in rows):
        study = catalogue.find_study(runs_dir, study)
    rows = keep(rows, "study", study, lambda row: row.studies)
    rows = keep(rows, "arm", arm_called(arm, rows), lambda row: [*row.arms, " = ".join(row.arms)])
    rows = keep(rows, "game", game, lambda row: [row.game])
    if state is not None and state not in get_args(State):
        raise UnknownName("state", state, get_args(State))
    rows = [row for row in rows if state in (None, row.entry.state)]
    if as_json:
        console.write(json_text([as_data(row) for row in rows]))
    elif not rows:
        filtered = any(given is not None for given in (study, arm, game, state))
        none = "No run matches." if filtered else f"No run in {runs_dir} yet."
        console.show(f"{none} Start one: ez train --game pong")
    else:
        show_rows(rows)


def row_of(entry: Entry, config: RunConfig | None, memberships: list[tuple[str, str]]) -> Row:
    """Everything about one run; None for what its files do not contain."""
    folder = RunFolder(entry.path)
    try:
        preset, sessions = folder.read_info().get("preset"), folder.sessions()
    except EzError:
        preset, sessions = None, []
    seconds = [session.get("seconds") for session in sessions]
    known = [s for s in seconds if is_number(s)]
    return Row(
        entry,
        config,
        catalogue.progress(entry),
        memberships,
        preset if isinstance(preset, str) else None,
        sum(known) if known and len(known) == len(seconds) else None,
    )


def falling(value: float | None) -> tuple[bool, float]:
    """A sort key: large numbers first, unknown ones last."""
    return value is None, -(value or 0.0)


def share(row: Row) -> float | None:
    """The share of train_steps that are done; None if not known."""
    if row.config is None or row.entry.state == "damaged":
        return None
    if row.entry.state == "finished":
        return 1.0  # the last line of metrics may come before the last train_step
    return (row.far.train_steps or 0) / row.config.schedule.train_steps


# The orders of `ez runs --sort`. Equal runs are ordered by name.
SORTS: dict[str, Callable[[Row], Any]] = {
    "name": lambda row: row.entry.name,
    "game": lambda row: row.game,
    "state": lambda row: row.entry.state,
    "done": lambda row: falling(share(row)),
    "score": lambda row: falling(row.far.score),
    "time": lambda row: falling(row.seconds),
    "when": lambda row: falling(row.entry.updated.timestamp() if row.entry.updated else None),
}


def arm_called(text: str | None, rows: Iterable[Row]) -> str | None:
    """The name of the arm or arms that a table shows as `text`; otherwise the text itself."""
    shown = {close(arms_label(arms)): " = ".join(arms) for row in rows for arms in names_of(row)}
    return None if text is None else shown.get(close(text), text)


def names_of(row: Row) -> list[list[str]]:
    """The names of a run's arms, each alone and all together."""
    return [*([arm] for arm in row.arms), row.arms]


def keep(rows: list[Row], what: str, wanted: str | None, of: Any) -> list[Row]:
    """The rows for which `of` contains `wanted`.

    Raises:
      UnknownName: no row contains it.
    """
    if wanted is None:
        return rows
    known = {value for row in rows for value in of(row) if value}
    if rows and not known:
        raise ConfigError(
            "EZ-RUNS-FILTER-EMPTY",
            f"No run here belongs to any {what}.",
            f"Leave out --{what} {wanted}.",
        )
    if known and wanted not in known:
        raise UnknownName(what, wanted, known)
    return [row for row in rows if wanted in of(row)]


def show_rows(rows: list[Row]) -> None:
    """Prints the table, with the columns in which runs differ, and names if there is space.

    The id is the start of the identity, and every command accepts it in place of the name. A run
    without an id of its own is shown by its name.
    """
    starts = [(row.entry.identity or "")[:ID_DIGITS] for row in rows]
    ids = [
        own if own and starts.count(own) == 1 else row.entry.name
        for own, row in zip(starts, rows, strict=True)
    ]
    arm, arms = "arm", [arms_label(row.arms) for row in rows]
    if any(arms) and not all(arms):  # a run without a study has its name there, without the id
        arm, names = "arm or run", [row.entry.name for row in rows]
        named = zip(arms, names, ids, strict=True)
        arms = [
            label or ("" if own == name else name.removesuffix(f"-{own}"))
            for label, name, own in named
        ]
    columns: dict[str, list[str]] = {
        "id": ids,
        "study": [", ".join(row.studies) for row in rows],
        arm: arms,
        "game": [row.game_text for row in rows],
        "seed": [str(row.config.seed) if row.config else "" for row in rows],
        "state": [row.entry.state for row in rows],
        "done": [done(row) for row in rows],
        "score": ["" if row.far.score is None else f"{row.far.score:.2f}" for row in rows],
        "preset": [preset_name(row) for row in rows],
        "time": ["" if row.seconds is None else duration(row.seconds) for row in rows],
        "when": [f"{row.entry.updated:%m-%d %H:%M}" if row.entry.updated else "" for row in rows],
    }
    for name in ("study", arm, "game", "preset"):  # same in all rows: at most once
        values = set(columns[name])
        if len(values) == 1:
            del columns[name]
            value = values.pop()
            if value:
                console.show(f"{name}: {value}")
    names = [row.entry.name for row in rows]
    if names != columns["id"] and fits(columns | {"name": names}):
        columns["name"] = names
    for name in ("when", "preset", "time", "study", "done"):
        if not fits(columns):
            columns.pop(name, None)
    console.show_table(columns, zip(*columns.values(), strict=True), whole=("id", "game", "state"))


def preset_name(row: Row) -> str:
    """The name of the preset; for a run of a study the preset of the study, not its frozen copy."""
    if row.preset is None:
        return ""
    folder = Path(row.preset).parent
    if folder.parent.name != STUDIES or folder.name not in row.studies:
        return Path(row.preset).stem
    return Path(preset_of_study(row.entry.path.parent, folder.name)).stem


@cache
def preset_of_study(runs_dir: Path, study: str) -> str:
    """The name of a study's preset; empty if the study cannot be read."""
    try:
        return StudyFolder(runs_dir, study).record().preset
    except EzError:
        return ""


def fits(columns: Mapping[str, list[str]]) -> bool:
    """Whether a table fits the width of the terminal."""
    widths = [max(map(len, (name, *cells))) for name, cells in columns.items()]
    return sum(widths) + GAP * (len(widths) - 1) <= console.out.width


def done(row: Row) -> str:
    """The share of train_steps that are done."""
    found = share(row)
    return "" if found is None else f"{found:.0%}"


def as_data(row: Row) -> dict[str, Any]:
    """A run as JSON values."""
    entry, far = row.entry, row.far
    return {
        "name": entry.name,
        "path": str(entry.path),
        "studies": [{"study": study, "arm": arm} for study, arm in row.memberships],
        "game": row.game or None,
        "environment": row.config.env.name if row.config else None,
        "preset": row.preset,
        "seed": row.config.seed if row.config else None,
        "state": entry.state,
        "env_steps": far.env_steps,
        "train_steps": far.train_steps,
        "total_train_steps": row.config.schedule.train_steps if row.config else None,
        "train_steps_per_second": far.train_steps_per_second,
        "score": far.score,
        "score_kind": far.score_kind,
        "updated": entry.updated.isoformat(timespec="seconds") if entry.updated else None,
        "identity": entry.identity,
    }


def show(run: str, runs_dir: Path, as_json: bool) -> None:
    """`ez runs show`."""
    path = find_run(run, runs_dir)
    folder, entry = RunFolder(path), catalogue.entry(path)
    if entry.state == "damaged":
        folder.require_sound()  # raises an error that names the file
    memberships = catalogue.studies_of(path.parent).get(path.name, [])
    row = row_of(entry, folder.config(), memberships)
    info = folder.read_info()
    sessions = folder.sessions()
    known = [s["seconds"] for s in sessions if is_number(s.get("seconds"))]
    memory = [s["peak_memory_bytes"] for s in sessions if is_number(s.get("peak_memory_bytes"))]
    facts = as_data(row) | {
        "started": info.get("started"),
        "started_from": info.get("started_from"),
        "ended": info.get("ended"),
        "sessions": len(sessions),
        "seconds": sum(known) if len(known) == len(sessions) and sessions else None,
        "peak_memory_bytes": max(memory, default=0),
        "disk_bytes": folder_bytes(path),
        "auxiliary_gradient": auxiliary_gradient(folder),
        "device": sessions[-1].get("device_name") if sessions else None,
        "versions": sessions[-1].get("packages") if sessions else None,
        "evaluations": [
            {k: line.get(k) for k in ("kind", "env_steps", "mean", "standard_error")}
            | ({"name": line["name"]} if "name" in line else {})
            for line in folder.read(EVALUATIONS)
        ],
    }
    if as_json:
        console.write(json_text(facts))
        return
    console.show_table(("", ""), fact_rows(row, facts))
    if facts["evaluations"]:
        console.show_table(
            ("evaluation", "env_steps", "mean", "standard error"),
            [
                (
                    e.get("name", e["kind"]),
                    number(e["env_steps"], ",.0f"),
                    number(e["mean"]),
                    number(e["standard_error"]),
                )
                for e in facts["evaluations"]
            ],
        )
    if entry.state not in ("finished", "running", "stalled"):
        if entry.state == "failed":
            console.show(f"Why it stopped: {ez_command('doctor', path)}")
        go_on = "Start it with" if entry.state == "new" else "Continue with"
        console.show(f"{go_on}: {ez_command('resume', path)}")


def fact_rows(row: Row, facts: dict[str, Any]) -> list[tuple[str, str]]:
    """The facts about a run, one row each."""
    memberships = ", ".join(f"{arm_label(arm)} in {study}" for study, arm in row.memberships)
    total, seconds = facts["total_train_steps"], facts["seconds"]
    versions = facts["versions"] if isinstance(facts["versions"], dict) else {}
    rows = [
        ("run", facts["path"]),
        ("state", facts["state"]),
        ("arm", memberships),
        ("game", row.game_text),
        ("seed", str(facts["seed"])),
        ("identity", facts["identity"] or ""),
        ("train_steps", f"{facts['train_steps'] or 0:,} of {total:,}"),
        ("started from", start_text(facts["started_from"])),
        ("started", facts["started"] or ""),
        ("ended", facts["ended"] or ""),
        ("training took", "" if seconds is None else duration(seconds)),
        ("most memory", size(facts["peak_memory_bytes"]) if facts["peak_memory_bytes"] else ""),
        ("on disk", size(facts["disk_bytes"])),
        ("auxiliary gradient", auxiliary_text(row, facts["auxiliary_gradient"])),
        ("device", facts["device"] or ""),
        ("versions", ", ".join(f"{k} {v}" for k, v in versions.items() if v)),
    ]
    return [(name, value) for name, value in rows if value]


def start_text(start: Any) -> str:
    """The run and checkpoint that a run started from; empty if it started with new weights."""
    return f"{start.get('checkpoint')} of {start.get('path')}" if isinstance(start, dict) else ""


def auxiliary_gradient(folder: RunFolder) -> float | None:
    """The norm of the auxiliary gradient, averaged over the train_steps that measured it."""
    weighted, before = 0.0, 0
    for line in folder.read(METRICS):
        norm, train_steps = line.get("auxiliary_gradient"), line.get("train_steps")
        if not (is_number(norm) and isinstance(train_steps, int) and before < MEASURED_STEPS):
            break
        until = min(train_steps, MEASURED_STEPS)
        weighted, before = weighted + norm * (until - before), until
    return weighted / before if before else None


def auxiliary_text(row: Row, norm: float | None) -> str:
    """The norm of the auxiliary gradient, with its loss and weight."""
    if norm is None or row.config is None:
        return ""
    loss = row.config.loss
    coefficient = getattr(loss, f"{AUXILIARY_TERM}_coefficient")
    weight = f"{coefficient:g} x {loss.auxiliary}"
    return f"{norm:.3g}, norm into the encoder of {weight} at the start"


def number(value: object, style: str = ".2f") -> str:
    """A number in a cell; empty if it is not finite."""
    return format(value, style) if is_number(value) else ""


def diff(one: str, other: str, runs_dir: Path, as_json: bool) -> None:
    """`ez runs diff`."""
    paths = [find_run(name, runs_dir) for name in (one, other)]
    differing = differences(*(RunFolder(path).config() for path in paths))
    if as_json:
        shown = {key: {"one": a, "other": b} for key, (a, b) in differing.items()}
        console.write(json_text(shown))
    elif not differing:
        console.show("The two configs are the same: equal results on the same machine.")
    else:
        rows = [(key, json.dumps(a), json.dumps(b)) for key, (a, b) in differing.items()]
        console.show_table(("setting", paths[0].name, paths[1].name), rows)


def remove(names: list[str], runs_dir: Path, yes: bool) -> int:
    """`ez runs rm`; returns 1 if the user declined."""
    for left in drafts(runs_dir):  # left by an `ez runs rm` that was killed
        with suppress(FileNotFoundError):  # its process, or another one, is still deleting it
            delete(left)
            shutil.rmtree(left)
    paths = list(dict.fromkeys(removable(name, runs_dir) for name in names))
    memberships = catalogue.studies_of(runs_dir)
    for path in paths:
        needed = sorted({study for study, _ in memberships.get(path.name, [])})
        by = f", needed by {', '.join(needed)}" if needed else ""
        console.show(f"{path} ({size(folder_bytes(path))}{by})")
    runs = counted(len(paths), "run")
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError(
                "EZ-RUNS-NOT-CONFIRMED",
                "There is no terminal to confirm the deletion.",
                "Add --yes to delete without asking.",
            )
        if not console.ask(f"Delete {runs}?"):
            console.show("Nothing was deleted.")
            return 1
    for path in paths:
        with RunFolder(path).lock():
            gone = draft_name(path)  # at once: a half-deleted run is not a run
            os.replace(path, gone)
            delete(gone)
        with suppress(FileNotFoundError):  # another `ez runs rm` deletes it too
            shutil.rmtree(gone)
    console.show(f"Deleted {runs}.")
    return 0


DELETED = r"\.tmp-.+-[0-9a-f]{16}"  # the pattern of `draft_name` for a run that is being deleted


def drafts(runs_dir: Path) -> list[Path]:
    """Runs that were only partly deleted by `ez runs rm`."""
    inside = runs_dir.iterdir() if runs_dir.is_dir() else ()
    found = [path for path in inside if re.fullmatch(DELETED, path.name) and path.is_dir()]
    return [path for path in found if not path.is_symlink() and not RunFolder(path).is_locked]


def delete(path: Path) -> None:
    """Deletes a run's folder except its lock, which NFS keeps while it is open."""
    for inside in path.iterdir():
        if not inside.name.startswith(".lock"):
            remove_path(inside)


def removable(name: str, runs_dir: Path) -> Path:
    """The folder of a run, if it may be deleted.

    Raises:
      EzError: the name does not belong to a run in the runs folder, or a process is working on it.
    """
    path = runs_dir / name
    if not is_plain_name(name):
        raise ConfigError(
            "EZ-RUN-NAME", f"{name!r} is not the name of a run.", "`ez runs` lists the names."
        )
    if not path.is_symlink() and not (path / "config.toml").is_file():
        found = catalogue.by_start(runs_dir, name)
        if found is None:
            raise UnknownName("run", name, run_names(runs_dir))
        path = found
    if path.is_symlink():
        raise ConfigError(
            "EZ-RUN-LINK", f"{str(path)!r} is a link.", "Delete the link and its target by hand."
        )
    if RunFolder(path).is_locked:
        raise RunError("EZ-RUN-BUSY", f"A process is working on {path.name!r}.", "Stop it first.")
    return path


def run_names(runs_dir: Path) -> Iterable[str]:
    """Names of the runs in a runs folder."""
    return [entry.name for entry in catalogue.scan(runs_dir)]
