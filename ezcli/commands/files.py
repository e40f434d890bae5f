"""Output files of commands, at paths given by the user."""

from pathlib import Path

from ezcli import console
from ezcli.errors import ConfigError, RunError
from ezcli.files import write_atomically


def save(path: Path, content: bytes) -> None:
    """Writes a file completely or not at all.

    Raises:
      EzError: it cannot be written.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):  # /dev/null would be replaced
        raise ConfigError(
            "EZ-PATH-NOT-A-FILE", f"{str(path)!r} is not a plain file.", "Choose another path."
        )
    try:
        write_atomically(path, content)
    except OSError as error:
        raise cannot_write(path, error) from error


def require_place(path: Path | None) -> None:
    """Refuses a file whose folder does not exist, before any work is done.

    Raises:
      ConfigError: names the folder.
    """
    if path is not None and not path.parent.is_dir():
        raise ConfigError(
            "EZ-PATH-NO-FOLDER", f"There is no folder {str(path.parent)!r}.", "Create it first."
        )


def save_and_tell(path: Path, text: str) -> None:
    """Saves a file, and reports it on standard error."""
    save(path, text.encode())
    console.note(f"Wrote {path}.")


def cannot_write(path: Path, error: OSError) -> RunError:
    """The error about a file or folder that cannot be written."""
    return RunError(
        "EZ-PATH-NOT-WRITABLE",
        f"{str(path)!r} cannot be written: {error.strerror}.",
        "Choose another path.",
    )
