"""What a run leaves on disk.

    runs/<name>/
    ├── config.toml         every setting of the run, resolved
    ├── run.json            identity, environment contract, status; versions and device by session
    ├── metrics.jsonl       what was learnt; a function of config and seed (columns: README)
    ├── timing.jsonl        clocks: env_steps, train_steps, seconds, and rates
    ├── evaluations.jsonl   raw scores, each with the protocol it was played under
    ├── frames/             every frame seen, compressed without loss, append-only
    └── checkpoints/        the last two, each complete and with checksums

JSON lines are the truth. A last line torn by a crash is ignored and then overwritten.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from ezcli.config import RunConfig, differences_text, read_toml, resolve, to_toml
from ezcli.errors import ConfigError, RunError

METRICS, TIMING, EVALUATIONS = "metrics.jsonl", "timing.jsonl", "evaluations.jsonl"


class RunFolder:
    """The files of one run. Nothing is created before `create`."""

    def __init__(self, path: Path) -> None:
        self.path = path

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
        return (self.path / "config.toml").is_file()

    def create(self, config: RunConfig) -> None:
        """Makes the folder and writes the config, or what is missing of them.

        Raises:
          RunError: something else is there.
        """
        own = {".lock", "checkpoints", "frames", ".tmp-config.toml"}  # of a start cut short
        is_new = not self.exists
        if is_new and self.path.exists() and {entry.name for entry in self.path.iterdir()} - own:
            raise RunError(f"{str(self.path)!r} exists and is not a run.", "Choose another --name.")
        for folder in (self.checkpoints, self.frames):
            folder.mkdir(parents=True, exist_ok=True)
        if is_new:
            write_atomically(self.path / "config.toml", to_toml(config).encode())

    def config(self) -> RunConfig:
        """The config that the run was started with.

        Raises:
          RunError: there is no run here.
        """
        if not self.exists:
            raise RunError(f"There is no run in {str(self.path)!r}.", "`ez train` starts one.")
        path = self.path / "config.toml"
        return resolve(read_toml(path), source=str(path))

    def require_same(self, config: RunConfig) -> None:
        """Refuses another config under the same name.

        Raises:
          ConfigError: with the settings that differ.
        """
        differing = differences_text(self.config(), config)
        if differing:
            raise ConfigError(
                f"The run {self.name!r} exists with another config ({differing}).",
                "Choose another --name, or repeat its settings.",
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes from this run as long as it is held.

        Raises:
          RunError: another process holds it, or the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = (self.path / ".lock").open("a")
        except OSError as error:
            raise RunError(
                f"{str(self.path)!r} cannot be written: {error.strerror}.", "Choose --runs-dir."
            ) from error
        with handle:
            if not acquire(handle):
                raise RunError(
                    f"Another process is working on the run {self.name!r}.",
                    "Wait for it, stop it, or choose another --name.",
                )
            yield

    @property
    def is_locked(self) -> bool:
        """Whether a process is working on this run now."""
        return is_locked(self.path / ".lock")

    def read_info(self) -> dict[str, Any]:
        """The contents of `run.json`; empty before it is written."""
        path = self.path / "run.json"
        if not path.is_file():
            return {}
        try:
            info: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:  # no JSON, or beyond what Python reads
            raise RunError(f"{str(path)!r} is damaged: {error}.") from error
        if not isinstance(info, dict):
            raise RunError(f"{str(path)!r} is damaged: it holds no table.")
        return info

    def update_info(self, **entries: Any) -> None:
        """Sets entries of `run.json`."""
        info = self.read_info() | entries
        text = json.dumps(info, indent=2, ensure_ascii=False) + "\n"
        write_atomically(self.path / "run.json", text.encode())

    def append(self, file: str, line: dict[str, Any]) -> None:
        """Adds a line to one of the JSON-lines files, in place of a torn last one."""
        append_line(self.path / file, line)

    def read(self, file: str) -> list[dict[str, Any]]:
        """The lines of one of the JSON-lines files, without a torn last one.

        Raises:
          RunError: a line before the last is damaged.
        """
        return read_lines(self.path / file)

    def keep_lines(self, file: str, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Rewrites one of the JSON-lines files with the lines that `keep` accepts."""
        if (self.path / file).is_file():
            kept = [json.dumps(line) + "\n" for line in self.read(file) if keep(line)]
            write_atomically(self.path / file, "".join(kept).encode())


def run_path(runs_dir: Path, name: str) -> Path:
    """The folder of the run `name`; a name is one plain path component.

    Raises:
      ConfigError: it is not.
    """
    if not is_plain_name(name):
        raise ConfigError(f"{name!r} cannot name a run.", "Use letters, digits, '-', '_' and '.'.")
    return runs_dir / name


def is_plain_name(name: str) -> bool:
    """Whether a name is one path component that is not hidden; `studies` is a folder of its own."""
    return (
        name not in ("", "studies")
        and not name.startswith(".")
        and not any(c in name for c in "/\\\0\n")
    )


def acquire(handle: IO[Any], patience: float = 1.0) -> bool:
    """Takes the lock on an open file; False if another process holds it.

    `is_locked` holds a lock for an instant; the patience, in seconds, outlasts it.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock on this file; asking holds it for an instant."""
    if not path.is_file():
        return False
    with path.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Adds a line to a JSON-lines file, in place of a torn last one."""
    with path.open("ab+") as handle:
        size = handle.seek(0, os.SEEK_END)
        if size and not ends_line(handle):
            handle.seek(0)
            handle.truncate(handle.read().rfind(b"\n") + 1)
        handle.write(json.dumps(line).encode() + b"\n")
        handle.flush()
        os.fsync(handle.fileno())  # before a checkpoint that says the line is there
    if not size:
        sync_folder(path.parent)  # likewise the new file's name


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSON-lines file, without a torn last one; none if there is no file.

    Raises:
      RunError: a line before the last is damaged.
    """
    if not path.is_file():
        return []
    *lines, _torn = path.read_text(encoding="utf-8", errors="replace").split("\n")
    parsed = []
    for number, line in enumerate(lines):
        damaged = RunError(f"Line {number + 1} of {str(path)!r} is damaged.")
        try:
            parsed.append(json.loads(line))
        except (ValueError, RecursionError) as error:  # no JSON, or beyond what Python reads
            raise damaged from error
        if not isinstance(parsed[-1], dict):
            raise damaged
    return parsed


def ends_line(handle: BinaryIO) -> bool:
    """Whether the last byte of a file that is not empty ends a line."""
    handle.seek(-1, os.SEEK_END)
    return handle.read(1) == b"\n"


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that a crash leaves the old one or the new one, never half of either."""
    draft = path.with_name(f".tmp-{path.name}")
    try:
        with draft.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(draft, path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Makes renames within a folder last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
