"""Copies a run's folder between machines that share no files."""

import ctypes
import io
import os
import shutil
import time
import zipfile
from pathlib import Path

from ezcli.experiments.launchers.protocol import JOBS

MAX_PACKING_ATTEMPTS = 20  # attempts, because a run may change while its folder is packed


def pack(run: Path) -> bytes:
    """A run's folder as a zip archive, with its name.

    A run may train at the same time. It is packed again if a file disappeared or its newest
    checkpoint changed, so that the archive contains that checkpoint and everything the run wrote
    before.

    Raises:
      OSError: it kept changing.
    """
    for attempt in range(MAX_PACKING_ATTEMPTS):
        before = newest(run)
        memory = io.BytesIO()
        try:
            with zipfile.ZipFile(memory, "w") as archive:
                for file in files_of(run):
                    archive.writestr(str(file.relative_to(run.parent)), file.read_bytes())
        except FileNotFoundError:
            if attempt == MAX_PACKING_ATTEMPTS - 1:
                raise
        else:
            if newest(run) == before:
                return memory.getvalue()
        time.sleep(0.1)
    raise OSError(f"{run} changed {MAX_PACKING_ATTEMPTS} times while it was being packed")


def newest(run: Path) -> str:
    """Name of a run's newest checkpoint; empty if it has none."""
    return max((path.name for path in run.glob("checkpoints/step-*")), default="")


def files_of(run: Path) -> list[Path]:
    """The files of a run's folder except locks, jobs and drafts."""
    found = sorted(f for f in run.rglob("*") if f.is_file() and not f.is_symlink())
    drafts = (".tmp-", ".lock")
    return [
        file
        for file in found
        if not any(part.startswith(drafts) for part in file.relative_to(run).parts)
        and file.relative_to(run).parts[0] != JOBS
    ]


def unpack(packed: bytes, folder: Path) -> None:
    """Unpacks an archive into a new folder, and writes nothing outside it."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(folder)


def replace(draft: Path, folder: Path) -> None:
    """Replaces `folder` atomically with the one folder in `draft`.

    If the system cannot exchange two folders atomically, the old folder is in `draft` for an
    instant. Records of jobs are kept.
    """
    (inner,) = draft.iterdir()
    if (folder / JOBS).exists():
        (folder / JOBS).rename(inner / JOBS)
    if folder.exists() and not exchanged(inner, folder):
        old = draft / f".outgoing-{folder.name}"
        folder.rename(old)
    if not folder.exists():
        inner.rename(folder)
    shutil.rmtree(draft, ignore_errors=True)  # on NFS a file exists as long as it is open


def exchanged(one: Path, other: Path) -> bool:
    """Exchanges two folders atomically; False if this system or filesystem cannot."""
    at_cwd, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of linux/fs.h
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    paths = (os.fsencode(one), os.fsencode(other))
    return rename is not None and rename(at_cwd, paths[0], at_cwd, paths[1], exchange) == 0
