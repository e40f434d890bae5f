"""Permission to execute code or connect to clusters that came from somebody else.

A run or study from elsewhere can name a Python file to execute or a cluster to connect to. Whatever
the user names on a command line is trusted from then on. `remember` stores its SHA-256 in a file of
the user, so that continuing one's own runs asks nothing. Code of an environment is identified by
its content, not by its path.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from ezcli.errors import ConfigError

# Asks the user. `cli` sets it if there is a terminal. Without one the answer is no.
confirm: Callable[[str], bool] | None = None
# `ez --trust`: everything is trusted in this process, and remembered.
is_everything_trusted = False


def code(target: str, content: Mapping[str, str]) -> str:
    """The key of an environment's code: its class and the checksums of its files."""
    return key("code", target.rpartition(":")[2], sorted(content.items()))


def key(kind: str, *what: object) -> str:
    """The hexadecimal SHA-256 that identifies something in the user's file."""
    return hashlib.sha256(json.dumps([kind, *what]).encode()).hexdigest()


def remember(key: str) -> None:
    """Trusts something from now on. If the file cannot be written, only for this process."""
    path = trusted_file()
    if path is None or key in known(path):
        return
    with suppress(OSError):  # a read-only home: the user is asked again
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("a", encoding="ascii") as file:
            file.write(f"{key}\n")


def require(key: str, what: str, risk: str) -> None:
    """Returns if something is trusted or the user agrees.

    Args:
      key: identifies the thing.
      what: the start of a sentence about it, such as `The run 'x' names the Python file
        '/tmp/game.py'`.
      risk: what would happen, such as `executed`.

    Raises:
      ConfigError: the user declined, or could not be asked.
    """
    path = trusted_file()
    if path is not None and key in known(path):
        return
    if not is_everything_trusted:
        sentence = f"{what}, which you have not trusted before: it would be {risk}."
        if confirm is None or not confirm(f"{sentence} Do you trust it?"):
            raise ConfigError(
                "EZ-TRUST-NEEDED",
                sentence,
                "If you trust it, repeat the command with `ez --trust` in place of `ez`.",
            )
    remember(key)


def trusted_file() -> Path | None:
    """The user's file of trusted keys; None for a user without a home.

    Source: XDG Base Directory Specification 0.8.
    """
    home, given = os.path.expanduser("~"), os.environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(given):
        return Path(given) / "ezcli" / "trusted"
    return Path(home) / ".local" / "state" / "ezcli" / "trusted" if os.path.isabs(home) else None


def known(path: Path) -> set[str]:
    """The keys in the user's file; empty if it cannot be read."""
    with suppress(OSError, UnicodeDecodeError):
        return set(path.read_text(encoding="ascii").split())
    return set()
