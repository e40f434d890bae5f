"""Every error a user can cause, with the way out.

The boundary in `ezcli.cli.run` shows `message` and `hint` as sentences and exits with `exit_code`.
Any other exception is a defect of ours and keeps its traceback.

An error is known by its code, which never changes and which `--debug` and `--json` print. Its
sentences may change: `tests/errors.txt` holds them all, beside their codes.
"""

import difflib
import unicodedata
from collections.abc import Iterable


class EzError(Exception):
    """Something the user can mend.

    Args:
      code: `EZ-AREA-WHAT`; several errors share it where a caller would treat them alike.
      message: one sentence that names the thing and what is wrong with it.
      hint: the way out; may be empty.
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
    """A setting, option or file that cannot be used as it stands."""

    exit_code = 2


class UnknownName(ConfigError):
    """A name that is not one of the allowed ones; its code is `EZ-UNKNOWN-` and the kind.

    Args:
      kind: what the name should have named.
      name: as it was given.
      allowed: the names that there are.
      essence: the part of `name` that is compared with them; all of it if not given.
    """

    def __init__(self, kind: str, name: str, allowed: Iterable[str], essence: str = "") -> None:
        names = sorted(allowed)
        code = f"EZ-UNKNOWN-{kind.upper().replace(' ', '-')}"
        hint = suggestion(essence or name, names)
        super().__init__(code, f"Unknown {kind} {name!r}.", hint)


class EnvError(EzError):
    """An environment that breaks its contract (`ezcli.envs.protocol`)."""


class RunError(EzError):
    """A run folder or a run that cannot go on."""


class Busy(RunError):
    """A run or study that another process works on."""

    exit_code = 3


class NotFinite(RunError):
    """A loss, gradient or value that is not finite: nothing computed from it has a meaning."""


class CheckpointError(RunError):
    """A checkpoint that is damaged, incomplete or from another run."""


class MachineError(EzError):
    """A file or folder that the machine does not let us use."""


class OutputError(EzError):
    """Standard output cannot be written."""


class ReportError(EzError):
    """Nothing to report, or runs that do not belong in one table."""


LEAST_START = 3  # letters of a name that is taken for the start of a longer one


def suggestion(name: str, allowed: list[str]) -> str:
    """The nearest allowed name, then all of them while they fit in a sentence."""
    if not allowed:
        return "There is none yet."
    near = closest(name, allowed)
    guess = f"Did you mean {near!r}? " if near else ""
    shown = ", ".join(allowed[:30]) + (", …" if len(allowed) > 30 else "")
    return f"{guess}Available: {shown}."


def closest(name: str, allowed: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The allowed name that is most like `name`, whatever its case, accents and punctuation.

    A name that was cut short is completed.

    Args:
      name: as it was given.
      allowed: the names that there are; the first of equally good ones is taken.
      cutoff: the least likeness, between 0 and 1, where 1 is the same letters and digits.
    """
    by_letters = {letters(one): one for one in reversed(list(allowed))}
    wanted = letters(name)
    longer = [one for one in by_letters if one.startswith(wanted)]
    if longer and len(wanted) >= LEAST_START:
        return by_letters[min(longer, key=len)]
    near = difflib.get_close_matches(wanted, by_letters, n=1, cutoff=cutoff)
    return by_letters[near[0]] if near else None


def letters(name: str) -> str:
    """The lower-case letters and the digits of a name: `MsPacman` and `ms_pacman` are one."""
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    return "".join(filter(str.isalnum, decomposed))
