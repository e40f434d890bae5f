"""Names of runs and studies."""

from pathlib import Path

from ezcli.errors import ConfigError

NAMES = "Use a short name without '/' that does not begin with a dot."  # hint for an invalid name
LONGEST_NAME = 200  # bytes of UTF-8; names of files are somewhat longer


def run_path(runs_dir: Path, name: str) -> Path:
    """The folder of the run `name`. A name is one plain path component.

    Raises:
      ConfigError: the name is not allowed.
    """
    if not is_plain_name(name):
        raise ConfigError("EZ-RUN-NAME", f"{name!r} is not allowed as the name of a run.", NAMES)
    return runs_dir / name


def is_plain_name(name: str) -> bool:
    """Whether a name is one path component, not hidden, and not the reserved `studies`."""
    return (
        name.isprintable()  # so that it can be printed and written as UTF-8
        and 0 < len(name.encode()) <= LONGEST_NAME
        and name != "studies"
        and not name.startswith(".")
        and not any(c in name for c in "/\\")
    )
