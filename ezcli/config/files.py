"""Files of settings: presets and ablations of the package or the user, some with a checksum."""

import hashlib
import tomllib
from pathlib import Path
from typing import Any

from ezcli.config.tables import is_deep
from ezcli.errors import ConfigError, UnknownName
from ezcli.files import SETTINGS, read

SHIPPED = (Path(__file__).parents[1], Path(__file__).parents[2])  # installed; in a checkout
SEAL = "# sha256 of the lines below: "  # begins a file that ez wrote and nobody should edit


def preset_names() -> list[str]:
    """Names of the presets in the package."""
    return shipped_names("preset")


def preset_path(preset: str) -> Path:
    """The file of a preset: by name in the package, or by path.

    Raises:
      ConfigError: there is no such preset.
    """
    return shipped_path("preset", preset)


def shipped_names(kind: str) -> list[str]:
    """Names of the presets or ablations in the package; `kind` is the singular."""
    return sorted({path.stem for root in SHIPPED for path in (root / f"{kind}s").glob("*.toml")})


def shipped_path(kind: str, name: str) -> Path:
    """The file of a preset or an ablation: by name in the package, or by path.

    Raises:
      ConfigError: there is no such file.
    """
    if name.endswith(".toml"):
        if not is_file(Path(name)):
            raise ConfigError(
                "EZ-CONFIG-NO-FILE",
                f"There is no file {name!r}.",
                f"Give the {kind}'s name or its path.",
            )
        return Path(name)
    for root in SHIPPED:
        path = root / f"{kind}s" / f"{name}.toml"
        if is_file(path):
            return path
    raise UnknownName(kind, name, shipped_names(kind))


def with_seal(text: str) -> str:
    """The text of a TOML file below a comment with its checksum, which `read_toml` verifies."""
    return f"{SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def require_seal(content: bytes, path: Path) -> None:
    """Refuses a file whose first line is a checksum that does not match.

    Raises:
      ConfigError: names the file.
    """
    first, _, below = content.partition(b"\n")
    if not first.startswith(SEAL.encode()):
        return
    if first[len(SEAL) :] != hashlib.sha256(below).hexdigest().encode():
        raise ConfigError(
            "EZ-CONFIG-CHANGED",
            f"{str(path)!r} is damaged: it was changed after ez wrote it.",
            "Restore it from a backup. To edit a copy, delete its first line, which is the "
            "checksum.",
        )


def read_toml(path: Path, follow: bool = True) -> dict[str, Any]:
    """The tables of a TOML file.

    Args:
      path: path of the file.
      follow: whether to follow a link, as for files that the user named.

    Raises:
      ConfigError: it cannot be read, is not TOML, or does not match its checksum.
    """
    try:
        content = read(path, SETTINGS, follow)
        require_seal(content, path)
        tables = tomllib.loads(content.decode())
    except OSError as error:
        raise ConfigError(
            "EZ-CONFIG-UNREADABLE", f"{str(path)!r} cannot be read: {error.strerror}."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            "EZ-CONFIG-UNREADABLE", f"{str(path)!r} cannot be read: {error}."
        ) from error
    except (ValueError, RecursionError) as error:  # not TOML, or beyond Python's limits
        raise ConfigError(
            "EZ-CONFIG-NOT-TOML", f"{str(path)!r} is not valid TOML: {error}."
        ) from error
    if is_deep(tables):
        raise ConfigError(
            "EZ-CONFIG-NESTED", f"{str(path)!r} is not a config: its tables are nested too deeply."
        )
    return tables


def is_file(path: Path) -> bool:
    """Whether there is a plain file. A name may have any length."""
    try:
        return path.is_file()
    except OSError:
        return False
