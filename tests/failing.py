"""Assertions on errors: the code and the named thing, never the wording."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ezcli.errors import EzError


@contextmanager
def fails(code: str, *named: str) -> Iterator[pytest.ExceptionInfo[EzError]]:
    """Passes where an error with this code is raised that names all of these.

    Args:
      code: of the error, whole.
      named: what its message or its way out must hold: a setting, a file, a value.
    """
    with pytest.raises(EzError) as caught:
        yield caught
    check(caught.value, code, *named)


def check(error: EzError | None, code: str, *named: str) -> None:
    """Fails unless the error has this code and names all of these."""
    assert error is not None, f"nothing failed with {code}"
    assert error.code == code, f"{error.code}: {error}"
    missing = [one for one in named if one not in str(error)]
    assert not missing, f"{error} does not name {missing}"
