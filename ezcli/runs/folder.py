"""The files of a run.

    runs/<name>/
    ├── config.toml         every setting of the run, resolved
    ├── run.json            identity, environment contract, status; versions and device by session
    ├── metrics.jsonl       metrics of training; a function of config and seed (columns: `metrics`)
    ├── timing.jsonl        times: env_steps, train_steps, seconds, and rates
    ├── evaluations.jsonl   raw scores with their protocols
    ├── frames/             the frames in the replay, compressed without loss, each written once
    ├── checkpoints/        the newest checkpoints (two by default), with checksums
    ├── failure/            only after a value that was not finite: the data that led to it
    └── stalled.txt         while a run stalls, or if it ended stalled: the stack of each thread

The JSON lines are authoritative. A last line cut short by a crash is ignored and then overwritten.

`run.json` ends with its own checksum. While no process trains, it also seals the config and the
JSON lines by length and SHA-256, so that any changed digit of a score is detected. Lines after the
sealed bytes are allowed. A run from before there were seals is accepted without them.
"""

import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ezcli import schema
from ezcli.config.files import read_toml
from ezcli.config.resolve import as_before, resolve
from ezcli.config.run import RunConfig, differences_text
from ezcli.config.text import to_toml
from ezcli.errors import Busy, ConfigError, RunError
from ezcli.files import ABSENT, LINES, is_draft, not_plain, read, remove, write_atomically
from ezcli.runs import lock
from ezcli.runs.json_files import append_line, damaged, is_there, lines_of, read_lines, read_table
from ezcli.runs.seals import Seal, checksum, holds, seal

METRICS, TIMING, EVALUATIONS = "metrics.jsonl", "timing.jsonl", "evaluations.jsonl"
RECORDS = (METRICS, TIMING, EVALUATIONS)
CONFIG = "config.toml"
STATUSES = ("new", "running", "interrupted", "failed", "finished")  # allowed in run.json
STALLED = "stalled.txt"


class RunFolder:
    """The files of one run. Nothing is created before `create`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: lock.Lock | None = None

    @property
    def name(self) -> str:
        """The run's name, which is the name of its folder."""
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def frames(self) -> Path:
        """Folder of the frames, which the checkpoints share."""
        return self.path / "frames"

    @property
    def exists(self) -> bool:
        """Whether there is a run here."""
        config = self.path / CONFIG
        return os.path.lexists(config) and not config.is_dir()

    def create(self, config: RunConfig) -> None:
        """Creates the folder and writes the config, as far as they are missing.

        Raises:
          RunError: the path is something else.
        """
        is_new = not self.exists
        if is_new and os.path.lexists(self.path) and not is_left_over(self.path):
            raise RunError(
                "EZ-RUN-NOT-A-RUN",
                f"{str(self.path)!r} exists but is not a run.",
                "Choose another --name.",
            )
        self.make_folders()
        if is_new:
            write_atomically(self.path / CONFIG, to_toml(config).encode())

    def make_folders(self) -> None:
        """Creates the folders for checkpoints and frames, if they are missing.

        Raises:
          RunError: their paths are something else.
        """
        for folder in (self.checkpoints, self.frames):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except FileExistsError as error:
                raise RunError(
                    "EZ-PATH-NOT-A-FOLDER", f"{str(folder)!r} is not a folder.", "Move it away."
                ) from error

    def config(self) -> RunConfig:
        """The config of the run.

        Raises:
          EzError: there is no run here, or its config is damaged.
        """
        if not self.exists:
            if self.read_info():
                raise damaged(self.path / CONFIG, "it is missing")
            raise RunError(
                "EZ-RUN-MISSING",
                f"There is no run in {str(self.path)!r}.",
                "`ez train` starts one.",
            )
        self.require_whole(CONFIG)
        path = self.path / CONFIG
        return resolve(read_toml(path, follow=False), source=str(path))

    def noted_code(self) -> dict[str, str]:
        """The recorded code of the environment, if `config.toml` is too old to contain it."""
        found = self.read_info().get("code") or {}
        if not isinstance(found, dict) or not all(isinstance(d, str) for d in found.values()):
            raise damaged(self.path / "run.json", "its code is not a table of checksums")
        return found

    def require_same(self, config: RunConfig) -> RunConfig:
        """Returns the run's version of the config, and refuses a different config.

        Raises:
          ConfigError: names the settings that differ.
        """
        there = self.config()
        config = as_before(config, there)
        differing = differences_text(there, config)
        if differing:
            raise ConfigError(
                "EZ-RUN-OTHER-CONFIG",
                f"The run {self.name!r} exists with another config ({differing}).",
                "Choose another --name, or use the same settings.",
            )
        return config

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Locks the run while the context is open.

        Raises:
          RunError: another process has locked it, or the folder cannot be written or is a link.
        """
        refuse_links(self.path, self.checkpoints, self.frames)
        with ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                asked = stack.enter_context(lock.holding(self.path / ".lock"))
            except OSError as error:
                raise RunError(
                    "EZ-RUN-NOT-WRITABLE",
                    f"{str(error.filename or self.path)!r} cannot be written: {error.strerror}.",
                    "Choose another --name or --runs-dir.",
                ) from error
            if asked.us is None:
                raise Busy(
                    "EZ-RUN-BUSY",
                    f"Another process is working on the run {self.name!r}{asked.other}.",
                    "Wait for it, stop it, or choose another --name.",
                )
            self._lock = asked
            for left in [path for path in self.path.iterdir() if is_draft(path.name)]:
                remove(left)  # left by a process that was killed
            try:
                yield
            finally:
                self._lock = None

    def require_lock(self) -> None:
        """Refuses if another process took over the run, for example while this one was suspended.

        Raises:
          Busy: another process has the run.
        """
        if self._lock is not None and self._lock.is_lost and self.exists:
            raise Busy(
                "EZ-RUN-TAKEN-OVER",
                f"Another process took over the run {self.name!r} while this process was "
                "suspended.",
                "If the file .lock-holder was removed by hand, repeat the command.",
            )

    @property
    def is_locked(self) -> bool:
        """Whether a process is working on this run now."""
        return lock.is_held(self.path / ".lock")

    def read_info(self) -> dict[str, Any]:
        """Reads `run.json` without its checksum; empty before it is written.

        Raises:
          RunError: it is damaged.
        """
        path = self.path / "run.json"
        if not is_there(path):
            return {}
        try:
            info = read_table(path)
        except RunError:
            if is_there(path):
                raise
            return {}  # the folder was removed just now
        said = info.pop("sha256", None)
        if said not in (None, checksum(info)):
            raise damaged(path, "its checksum differs")
        return schema.current("run", info, repr(str(path)))

    def update_info(self, **entries: Any) -> None:
        """Sets entries of `run.json`."""
        self.require_lock()
        info = {"schema": schema.SCHEMA, **self.read_info(), **entries}
        text = json.dumps(info | {"sha256": checksum(info)}, indent=2) + "\n"
        write_atomically(self.path / "run.json", text.encode())

    def status(self) -> str:
        """The status in `run.json`; `new` if there is none.

        Raises:
          RunError: it is damaged, or missing although the run was trained.
        """
        path = self.path / "run.json"
        said = self.read_info().get("status", "new")
        if said not in STATUSES:
            raise damaged(path, f"its status is {said!r}")
        if said == "new" and self.has_results:
            raise damaged(path, "it is empty although the run was trained")
        return str(said)

    @property
    def has_results(self) -> bool:
        """Whether the run has a checkpoint, or a line of metrics or scores."""
        there = [self.path / file for file in RECORDS if is_there(self.path / file)]
        has_lines = any(path.lstat().st_size for path in there)
        return has_lines or (self.checkpoints.is_dir() and any(self.checkpoints.iterdir()))

    def require_sound(self) -> str:
        """The status of a run, after verifying its files except checkpoints.

        Raises:
          RunError: names a file that was changed.
        """
        self.require_whole(CONFIG, *RECORDS)
        return self.status()

    def sessions(self) -> list[dict[str, Any]]:
        """The sessions in `run.json`: the processes that trained the run.

        Raises:
          RunError: it is damaged.
        """
        found = self.read_info().get("sessions", [])
        if not isinstance(found, list) or not all(isinstance(s, dict) for s in found):
            raise damaged(self.path / "run.json", "its sessions are not a list of tables")
        return found

    def seals(self, files: Iterable[str] = (CONFIG, *RECORDS)) -> dict[str, Seal]:
        """Length and SHA-256 of files at present."""
        return {file: seal(self.path / file) for file in files}

    def broken_seals(self, files: Iterable[str] = (CONFIG, *RECORDS)) -> list[str]:
        """The files that do not match their seals in `run.json`.

        Raises:
          RunError: `run.json` itself is damaged.
        """
        sealed = self.read_info().get("seals", {})
        if not isinstance(sealed, dict):
            raise damaged(self.path / "run.json", "its seals are not a table")
        there = [file for file in files if file in sealed]
        return [file for file in there if not holds(self.path / file, sealed[file])]

    def require_whole(self, *files: str) -> None:
        """Refuses files that do not match their seals in `run.json`.

        Raises:
          RunError: names the first one.
        """
        for file in self.broken_seals(files):
            raise damaged(self.path / file, "it does not match its checksum in run.json")

    def append(self, file: str, line: dict[str, Any]) -> None:
        """Appends a line to a JSON-lines file, replacing an incomplete last line."""
        self.require_lock()
        append_line(self.path / file, line)

    def read(self, file: str) -> list[dict[str, Any]]:
        """Reads a JSON-lines file, without an incomplete last line.

        Raises:
          RunError: it does not match its seal, or a line before the last is damaged.
        """
        self.require_whole(file)
        return read_lines(self.path / file)

    def keep_lines(
        self, file: str, start: int, keep: Callable[[dict[str, Any]], bool] | None
    ) -> None:
        """Rewrites one of the JSON-lines files.

        Args:
          file: its name.
          start: bytes at the start that are kept; they end with a line.
          keep: selects later lines to keep; None drops them all.

        Raises:
          RunError: a line that `keep` must judge is damaged.
        """
        path = self.path / file
        if not is_there(path):
            return
        content = read(path, LINES)
        kept = content[:start]
        if keep is not None:
            lines = lines_of(content[start:], path, kept.count(b"\n"))
            kept += "".join(json.dumps(line) + "\n" for line in lines if keep(line)).encode()
        write_atomically(path, kept)


def refuse_links(*folders: Path) -> None:
    """Refuses folders that are or contain links, through which other files would change.

    Raises:
      RunError: names the link.
    """
    for folder in folders:
        inside = folder.iterdir() if folder.is_dir() and not folder.is_symlink() else ()
        for path in (folder, *inside):
            try:
                mode = path.lstat().st_mode
            except OSError as error:  # not created yet, or renamed by a running process
                if error.errno in ABSENT:
                    continue
                raise
            wrong = None if stat.S_ISDIR(mode) else not_plain(path, mode)
            if wrong:
                raise RunError(
                    "EZ-RUN-LINK",
                    f"{str(path)!r} is not safe to write to: {wrong.strerror}.",
                    "Replace it with its target, or use another --runs-dir.",
                )


def is_left_over(path: Path) -> bool:
    """Whether a folder contains only the remains of an interrupted start or deletion."""
    own = {"checkpoints", "frames"}
    names = [entry.name for entry in path.iterdir()] if path.is_dir() else ["?"]
    return all(n in own or n.startswith(".lock") or is_draft(n, CONFIG) for n in names)
