"""The errors that a user can cause, each with a way out.

The boundary in `ezcli.cli.run` shows `message` and `hint` as sentences and exits with `exit_code`.
Any other exception is a bug in ezcli and keeps its traceback.

An error is identified by its code, which never changes. `--debug` and `--json` print it. The
wording may change: `tests/errors.txt` lists all sentences with their codes.
"""

import difflib
import unicodedata
from collections.abc import Iterable


class EzError(Exception):
    """An error that the user can fix.

    Args:
      code: `EZ-AREA-WHAT`. Errors that a caller would handle in the same way share a code.
      message: one sentence that names the thing and what is wrong with it.
      hint: the way out; can be empty.
    """

    exit_code = 1

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()

    def as_json(self) -> dict[str, str]:
        """The error for programs: `code`, `message` and `hint`."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class ConfigError(EzError):
    """A setting, option or file that cannot be used."""

    exit_code = 2


class UnknownName(ConfigError):
    """A name that is not one of the allowed ones; its code is `EZ-UNKNOWN-` and the kind.

    Args:
      kind: kind of thing that the name should refer to.
      name: the given name.
      allowed: the existing names.
      essence: the part of `name` to compare with them; all of it if empty.
    """

    def __init__(self, kind: str, name: str, allowed: Iterable[str], essence: str = "") -> None:
        names = sorted(allowed)
        code = f"EZ-UNKNOWN-{kind.upper().replace(' ', '-')}"
        hint = suggestion(essence or name, names)
        super().__init__(code, f"Unknown {kind} {name!r}.", hint)


class EnvError(EzError):
    """An environment that breaks its contract (`ezcli.envs.protocol`)."""


class RunError(EzError):
    """A run that cannot continue, or its folder."""


class Busy(RunError):
    """A run or study that another process is working on."""

    exit_code = 3


class NotFinite(RunError):
    """A loss, gradient or value that is not finite, so that later results would be meaningless."""


class CheckpointError(RunError):
    """A checkpoint that is damaged, incomplete or from another run."""


class MachineError(EzError):
    """A file or folder that the operating system does not let us use."""


class OutputError(EzError):
    """Standard output cannot be written."""


class ReportError(EzError):
    """There is nothing to report, or runs cannot be compared in one table."""


LEAST_START = 3  # least letters of a name that is completed to a longer one


def suggestion(name: str, allowed: list[str]) -> str:
    """Suggests the nearest allowed name, and lists up to 30 of them."""
    if not allowed:
        return "None exists yet."
    near = closest(name, allowed)
    guess = f"Did you mean {near!r}? " if near else ""
    shown = ", ".join(allowed[:30]) + (", …" if len(allowed) > 30 else "")
    return f"{guess}Available: {shown}."


def closest(name: str, allowed: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The allowed name most similar to `name`. Case, accents and punctuation do not count.

    The start of a name is completed.

    Args:
      name: the given name.
      allowed: the existing names; the first of equally similar ones is returned.
      cutoff: the least similarity, between 0 and 1, where 1 means the same letters and digits.
    """
    by_letters = {letters(one): one for one in reversed(list(allowed))}
    wanted = letters(name)
    longer = [one for one in by_letters if one.startswith(wanted)]
    if longer and len(wanted) >= LEAST_START:
        return by_letters[min(longer, key=len)]
    near = difflib.get_close_matches(wanted, by_letters, n=1, cutoff=cutoff)
    return by_letters[near[0]] if near else None


def letters(name: str) -> str:
    """The lower-case letters and digits of a name: equal for `MsPacman` and `ms_pacman`."""
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    return "".join(filter(str.isalnum, decomposed))
