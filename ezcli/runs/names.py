"""Names of runs and studies."""

from pathlib import Path

from ezcli.errors import ConfigError

NAMES = "Use a short name without '/' that does not begin with a dot."  # way out of a wrong one
LONGEST_NAME = 200  # bytes of UTF-8; files have names that are somewhat longer


def run_path(runs_dir: Path, name: str) -> Path:
    """The folder of the run `name`; a name is one plain path component.

    Raises:
      ConfigError: it is not.
    """
    if not is_plain_name(name):
        raise ConfigError("EZ-RUN-NAME", f"{name!r} cannot name a run.", NAMES)
    return runs_dir / name


def is_plain_name(name: str) -> bool:
    """Whether a name is one path component that is not hidden; `studies` is a folder of its own."""
    return (
        name.isprintable()  # so that it can be shown, and written as UTF-8
        and 0 < len(name.encode()) <= LONGEST_NAME
        and name != "studies"
        and not name.startswith(".")
        and not any(c in name for c in "/\\")
    )
