"""Every error a user can cause, with the way out.

The boundary in `ezcli.cli.main` shows `message` and `hint` as sentences and exits with `exit_code`;
any other exception is a defect of ours and keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class EzError(Exception):
    """Something the user can mend.

    Args:
      message: one sentence that names the thing and what is wrong with it.
      hint: the way out; may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class ConfigError(EzError):
    """A setting, option or file that cannot be used as it stands."""

    exit_code = 2


class UnknownName(ConfigError):
    """A name that is not one of the allowed ones."""

    def __init__(self, kind: str, name: str, allowed: Iterable[str]) -> None:
        names = sorted(allowed)
        super().__init__(f"Unknown {kind} {name!r}.", suggestion(name, names))


class EnvError(EzError):
    """An environment that breaks its contract (`ezcli.envs.protocol`)."""


class RunError(EzError):
    """A run folder or a run that cannot go on."""


class Busy(RunError):
    """A run or study that another process works on."""

    exit_code = 3


class NotFinite(RunError):
    """A loss, gradient or value that is no number: nothing that follows would mean anything."""


class CheckpointError(RunError):
    """A checkpoint that is damaged, incomplete or from another run."""


class MachineError(EzError):
    """A file or folder that the machine does not let us use."""


class OutputError(EzError):
    """Standard output cannot be written."""


class ReportError(EzError):
    """Nothing to report, or runs that do not belong in one table."""


def suggestion(name: str, allowed: list[str]) -> str:
    """The nearest allowed name, then all of them while they fit in a sentence."""
    if not allowed:
        return "There is none yet."
    near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    shown = ", ".join(allowed[:30]) + (", …" if len(allowed) > 30 else "")
    return f"{guess}Available: {shown}."
