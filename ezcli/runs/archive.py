"""Exported runs: the run's folder with only the network, as a folder or in one file.

    NAME.zip
    ├── README.md           a model card
    ├── config.toml, run.json, metrics.jsonl, timing.jsonl, evaluations.jsonl
    ├── checkpoints/step-N-N/   manifest.json, state.json, weights.safetensors
    └── checksums.json      SHA-256 of each file above

An archive may come from anybody. Nothing in it is executed. Only files with these names and within
their size limits are read. We write them ourselves, so that no name can lead to another path.
"""

import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ezcli.errors import RunError
from ezcli.files import (
    GIB,
    LINES,
    MIB,
    SETTINGS,
    TABLE,
    create,
    draft_folder_of,
    draft_of,
    opened,
    read,
)
from ezcli.runs import checkpoint
from ezcli.runs.folder import CONFIG, RECORDS, RunFolder
from ezcli.runs.json_files import is_there
from ezcli.runs.names import run_path
from ezcli.runs.seals import sha256

CARD, CHECKSUMS, INFO = "README.md", "checksums.json", "run.json"
STEP = r"checkpoints/step-\d{9,12}-\d{9,12}/"
# Allowed files in an archive, and their size limits in bytes. Large files are read in pieces.
MOST = {
    CARD: MIB,
    re.escape(CONFIG): SETTINGS,
    INFO: TABLE,
    CHECKSUMS: MIB,
    **{re.escape(file): GIB // 2 for file in RECORDS},
    f"{STEP}(manifest|state)[.]json": TABLE,
    f"{STEP}weights[.]safetensors": 4 * GIB,
}
MOST_FILES = 20
# Exceptions of the standard library for damaged ZIP files, unsupported versions, and names that are
# not UTF-8 (ValueError).
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError)
ENCRYPTED = 1
PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
EPOCH = (1980, 1, 1, 0, 0, 0)  # date of every file: equal runs give equal archives


def lay_out(folder: RunFolder, card: str, into: Path) -> None:
    """Writes the shareable files of a run into a new folder, which is also a run folder.

    Args:
      folder: of the run.
      card: model card in Markdown.
      into: an empty folder.

    Raises:
      EzError: the run has no intact checkpoint, is damaged, or is being trained.
    """
    with folder.lock():
        folder.require_whole(CONFIG, *RECORDS)
        for file in (CONFIG, *RECORDS):
            if is_there(folder.path / file):
                create(into / file, read(folder.path / file, LINES))
        checkpoint.copy_weights(folder, into / "checkpoints")
        info = folder.read_info()
    copy = RunFolder(into)
    copy.update_info(**info | {"exported": True, "seals": copy.seals()})
    create(into / CARD, card.encode())
    create(into / CHECKSUMS, json.dumps(sums(into), indent=1).encode())


def sums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder except the checksums, by path."""
    return {
        str(path.relative_to(folder)): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != CHECKSUMS
    }


def pack(folder: Path, archive: Path) -> None:
    """Packs a folder into one file. Equal contents give equal bytes."""
    with draft_of(archive) as (_, handle), zipfile.ZipFile(handle, "w") as file:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            member = zipfile.ZipInfo(str(path.relative_to(folder)), EPOCH)
            member.external_attr = 0o644 << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            with opened(path, 4 * GIB) as source, file.open(member, "w", force_zip64=True) as out:
                while piece := source.read(MIB):
                    out.write(piece)


def unpack(archive: Path, runs_dir: Path) -> tuple[Path, bool]:
    """Unpacks an archive into a run, unless it exists.

    Returns:
      Its folder, and whether it is new.

    Raises:
      RunError: the file is not an archive or is damaged, or another run has the name.
    """
    with opened(archive, 8 * GIB, follow=True) as handle, zip_file(handle, archive) as file:
        members = members_of(file, archive)
        info = parsed(content(file, members[INFO], archive), archive)
        name = info.get("name") if isinstance(info, dict) else None
        if not isinstance(name, str):
            raise no_archive(archive, f"{INFO} contains no name of a run")
        path = run_path(runs_dir, name)
        checksums = content(file, members[CHECKSUMS], archive)
        if RunFolder(path).exists:
            require_equal(path, checksums, archive)
            return path, False
        runs_dir.mkdir(parents=True, exist_ok=True)
        with draft_folder_of(path) as draft:
            for member in members.values():
                write(file, member, draft / member.filename, archive)
            if parsed(checksums, archive) != sums(draft):
                raise no_archive(archive, f"a file does not match {CHECKSUMS}")
        return path, True


def zip_file(handle: IO[bytes], archive: Path) -> zipfile.ZipFile:
    """Opens the ZIP file in an open file.

    Raises:
      RunError: it is damaged, or not a ZIP file.
    """
    try:
        return zipfile.ZipFile(handle)
    except BROKEN as error:
        raise no_archive(archive, str(error)) from error


def parsed(content: bytes, archive: Path) -> Any:
    """Parses a JSON file of an archive.

    Raises:
      RunError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise no_archive(archive, str(error)) from error


def members_of(file: zipfile.ZipFile, archive: Path) -> dict[str, zipfile.ZipInfo]:
    """The files of an archive, by name.

    Raises:
      RunError: there are unknown files, or a required one is missing.
    """
    members: dict[str, zipfile.ZipInfo] = {}
    for member in file.infolist():
        if limit(member.filename) is None or member.filename in members:
            raise no_archive(
                archive, f"it contains {member.filename[:200]!r}, which is not allowed"
            )
        if member.compress_type not in PLAIN or member.flag_bits & ENCRYPTED:
            raise no_archive(
                archive, f"{member.filename!r} is encrypted, or compressed by another method"
            )
        members[member.filename] = member
        if len(members) > MOST_FILES:
            raise no_archive(archive, "it contains too many files")
    for needed in (CONFIG, INFO, CHECKSUMS):
        if needed not in members:
            raise no_archive(archive, f"it contains no {needed}")
    return members


def limit(name: str) -> int | None:
    """Size limit of a file in an archive, in bytes; None if a run has no such file."""
    return next((most for pattern, most in MOST.items() if re.fullmatch(pattern, name)), None)


def content(file: zipfile.ZipFile, member: zipfile.ZipInfo, archive: Path) -> bytes:
    """Reads a small file of an archive.

    Raises:
      RunError: it is damaged or too large.
    """
    return b"".join(pieces(file, member, archive))


def write(file: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, archive: Path) -> None:
    """Copies a file of an archive to a new file.

    Raises:
      RunError: it is damaged or too large.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as out:
        for piece in pieces(file, member, archive):
            out.write(piece)


def pieces(file: zipfile.ZipFile, member: zipfile.ZipInfo, archive: Path) -> Iterator[bytes]:
    """The content of a file in pieces, without relying on the size in the archive.

    Raises:
      RunError: it is damaged, or above its size limit.
    """
    left = limit(member.filename) or 0
    try:
        with file.open(member) as source:
            while piece := source.read(MIB):
                left -= len(piece)
                if left < 0:
                    raise no_archive(archive, f"{member.filename!r} is too large")
                yield piece
    except BROKEN as error:
        raise no_archive(archive, str(error)) from error


def require_equal(path: Path, checksums: bytes, archive: Path) -> None:
    """Refuses an archive if another run has its name.

    Raises:
      RunError: the run was not made from this archive.
    """
    there = path / CHECKSUMS
    if not is_there(there) or read(there, MIB) != checksums:
        raise RunError(
            "EZ-ARCHIVE-NAME-TAKEN",
            f"{str(path.parent)!r} already has another run {path.name!r}, which was not made "
            f"from {str(archive)!r}.",
            "Choose another --runs-dir.",
        )


def no_archive(archive: Path, why: str) -> RunError:
    """The error about a file that is not an archive of a run."""
    return RunError(
        "EZ-ARCHIVE-DAMAGED",
        f"{str(archive)!r} is not an archive of a run: {why}.",
        "Export the run again: ez export RUN",
    )
