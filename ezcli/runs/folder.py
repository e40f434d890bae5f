"""What a run leaves on disk.

    runs/<name>/
    ├── config.toml         every setting of the run, resolved
    ├── run.json            identity, environment contract, status; versions and device by session
    ├── metrics.jsonl       what was learnt; a function of config and seed (columns: `metrics`)
    ├── timing.jsonl        clocks: env_steps, train_steps, seconds, and rates
    ├── evaluations.jsonl   raw scores, each with the protocol it was played under
    ├── frames/             those of the states in the replay, without loss, each written once
    ├── checkpoints/        the newest, two unless more are asked for, complete, with checksums
    ├── failure/            only after a value that was not finite: what led to it
    └── stalled.txt         while nothing moves, or if it ended so: where it stood still

JSON lines are the truth. A last line torn by a crash is ignored and then overwritten.

`run.json` ends with a checksum of itself. While no process trains, it also seals the config and the
JSON lines: their length and SHA-256, so that no digit of a score changes unseen. What comes after
the sealed bytes is allowed; a run from before there were seals is taken as it is.
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
STATUSES = ("new", "running", "interrupted", "failed", "finished")  # that run.json may say
STALLED = "stalled.txt"


class RunFolder:
    """The files of one run. Nothing is created before `create`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: lock.Lock | None = None

    @property
    def name(self) -> str:
        """The run's name: that of its folder."""
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
        """Whether a run was ever started here."""
        config = self.path / CONFIG
        return os.path.lexists(config) and not config.is_dir()

    def create(self, config: RunConfig) -> None:
        """Makes the folder and writes the config, or what is missing of them.

        Raises:
          RunError: something else is there.
        """
        is_new = not self.exists
        if is_new and os.path.lexists(self.path) and not is_left_over(self.path):
            raise RunError(
                "EZ-RUN-NOT-A-RUN",
                f"{str(self.path)!r} exists and is not a run.",
                "Choose another --name.",
            )
        self.make_folders()
        if is_new:
            write_atomically(self.path / CONFIG, to_toml(config).encode())

    def make_folders(self) -> None:
        """Makes the folders for checkpoints and frames, where they are missing.

        Raises:
          RunError: something else is in their place.
        """
        for folder in (self.checkpoints, self.frames):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except FileExistsError as error:
                raise RunError(
                    "EZ-PATH-NOT-A-FOLDER", f"{str(folder)!r} is no folder.", "Move it away."
                ) from error

    def config(self) -> RunConfig:
        """The config that the run was started with.

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
        """The code of the environment, where `config.toml` is older than the record of it."""
        found = self.read_info().get("code") or {}
        if not isinstance(found, dict) or not all(isinstance(d, str) for d in found.values()):
            raise damaged(self.path / "run.json", "its code is no table of checksums")
        return found

    def require_same(self, config: RunConfig) -> RunConfig:
        """The config as the run has it; refuses another one under the same name.

        Raises:
          ConfigError: with the settings that differ.
        """
        there = self.config()
        config = as_before(config, there)
        differing = differences_text(there, config)
        if differing:
            raise ConfigError(
                "EZ-RUN-OTHER-CONFIG",
                f"The run {self.name!r} exists with another config ({differing}).",
                "Choose another --name, or repeat its settings.",
            )
        return config

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes from this run as long as it is held.

        Raises:
          RunError: another process holds it, or the folder cannot be written or leads elsewhere.
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
                remove(left)  # by a process that was killed
            try:
                yield
            finally:
                self._lock = None

    def require_lock(self) -> None:
        """Refuses to go on if another process took ours for gone, such as after a long sleep.

        Raises:
          Busy: it works on the run now.
        """
        if self._lock is not None and self._lock.is_lost and self.exists:
            raise Busy(
                "EZ-RUN-TAKEN-OVER",
                f"Another process took over the run {self.name!r} while this one slept.",
                "If none did, and somebody removed .lock-holder, repeat the command.",
            )

    @property
    def is_locked(self) -> bool:
        """Whether a process is working on this run now."""
        return lock.is_held(self.path / ".lock")

    def read_info(self) -> dict[str, Any]:
        """The contents of `run.json`, without its checksum; empty before it is written.

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
            return {}  # somebody took the folder away just now
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
        """How the run stands, as `run.json` says; `new` before it says anything.

        Raises:
          RunError: it is damaged, or missing although the run was trained.
        """
        path = self.path / "run.json"
        said = self.read_info().get("status", "new")
        if said not in STATUSES:
            raise damaged(path, f"its status is {said!r}")
        if said == "new" and self.has_results:
            raise damaged(path, "it says nothing of this run, which was trained")
        return str(said)

    @property
    def has_results(self) -> bool:
        """Whether the run has a checkpoint, or any line of what it has learnt or scored."""
        there = [self.path / file for file in RECORDS if is_there(self.path / file)]
        has_lines = any(path.lstat().st_size for path in there)
        return has_lines or (self.checkpoints.is_dir() and any(self.checkpoints.iterdir()))

    def require_sound(self) -> str:
        """The status of a run whose files are those that it wrote; checkpoints are not looked at.

        Raises:
          RunError: a file is not; it is named.
        """
        self.require_whole(CONFIG, *RECORDS)
        return self.status()

    def sessions(self) -> list[dict[str, Any]]:
        """What `run.json` says of the processes that trained the run.

        Raises:
          RunError: it is damaged.
        """
        found = self.read_info().get("sessions", [])
        if not isinstance(found, list) or not all(isinstance(s, dict) for s in found):
            raise damaged(self.path / "run.json", "its sessions are no list of tables")
        return found

    def seals(self, files: Iterable[str] = (CONFIG, *RECORDS)) -> dict[str, Seal]:
        """Length and SHA-256 of files as they are now."""
        return {file: seal(self.path / file) for file in files}

    def broken_seals(self, files: Iterable[str] = (CONFIG, *RECORDS)) -> list[str]:
        """Those of the files that are not what `run.json` sealed.

        Raises:
          RunError: `run.json` itself is damaged.
        """
        sealed = self.read_info().get("seals", {})
        if not isinstance(sealed, dict):
            raise damaged(self.path / "run.json", "its seals are no table")
        there = [file for file in files if file in sealed]
        return [file for file in there if not holds(self.path / file, sealed[file])]

    def require_whole(self, *files: str) -> None:
        """Refuses files that are not what `run.json` sealed.

        Raises:
          RunError: naming the first one.
        """
        for file in self.broken_seals(files):
            raise damaged(self.path / file, "it is not what run.json says the run wrote")

    def append(self, file: str, line: dict[str, Any]) -> None:
        """Adds a line to one of the JSON-lines files, in place of a torn last one."""
        self.require_lock()
        append_line(self.path / file, line)

    def read(self, file: str) -> list[dict[str, Any]]:
        """The lines of one of the JSON-lines files, without a torn last one.

        Raises:
          RunError: it is not what was sealed, or a line before the last is damaged.
        """
        self.require_whole(file)
        return read_lines(self.path / file)

    def keep_lines(
        self, file: str, start: int, keep: Callable[[dict[str, Any]], bool] | None
    ) -> None:
        """Rewrites one of the JSON-lines files.

        Args:
          file: its name.
          start: bytes that stay as they are; they end a line.
          keep: says which of the lines after those stay; None drops them all.

        Raises:
          RunError: a line is damaged of which `keep` is to say whether it stays.
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
    """Refuses folders that are links, or hold any: through them files elsewhere would change.

    Raises:
      RunError: naming the link.
    """
    for folder in folders:
        inside = folder.iterdir() if folder.is_dir() and not folder.is_symlink() else ()
        for path in (folder, *inside):
            try:
                mode = path.lstat().st_mode
            except OSError as error:  # not made yet, or renamed by the run at work
                if error.errno in ABSENT:
                    continue
                raise
            wrong = None if stat.S_ISDIR(mode) else not_plain(path, mode)
            if wrong:
                raise RunError(
                    "EZ-RUN-LINK",
                    f"{str(path)!r} is not written to: {wrong.strerror}.",
                    "Put what it leads to in its place, or keep all runs elsewhere: --runs-dir.",
                )


def is_left_over(path: Path) -> bool:
    """Whether a folder holds no more than a start or a deletion that was cut short leaves."""
    own = {"checkpoints", "frames"}
    names = [entry.name for entry in path.iterdir()] if path.is_dir() else ["?"]
    return all(n in own or n.startswith(".lock") or is_draft(n, CONFIG) for n in names)
