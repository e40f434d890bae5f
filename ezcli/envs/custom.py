"""Loads a user's class from its file or module."""

import importlib
import importlib.util
import os
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from ezcli.envs.checked import SHOWS, guarded
from ezcli.envs.code import (
    Code,
    code_of,
    folder_of,
    is_file_target,
    locate,
    module_name,
    no_module,
)
from ezcli.envs.restored import restored
from ezcli.errors import ConfigError, EnvError, suggestion

BESIDE: list[str] = []  # the folder of the user's environment, at the end of `sys.path`


def load_class(target: str, code: Code) -> type:
    """Loads the class `module:Class` or `path/file.py:Class`.

    Args:
      target: as recorded, or as given by the user.
      code: as recorded; empty if not known.

    Raises:
      EzError: it does not exist, differs from the recorded code, or cannot be loaded.
    """
    place, name = target.rsplit(":", 1)
    module = load_module(target, code)
    found = getattr(module, name, None)
    if not isinstance(found, type):
        own = sorted(
            key
            for key, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__
        )
        hint = suggestion(name, own) if own else "It defines no class."
        raise ConfigError("EZ-ENV-NO-CLASS", f"There is no class {name!r} in {place!r}.", hint)
    return found


def load_module(target: str, code: Code) -> ModuleType:
    """Loads the module of `module:Class` or `path/file.py:Class`; arguments and errors as above."""
    return _load(target, tuple(code.items()), os.getcwd())


@cache
def _load(target: str, code: tuple[tuple[str, str], ...], _folder: str) -> ModuleType:
    """Executes a user's code once per process, for any number of environments.

    Args:
      target: as recorded, or as given by the user.
      code: as recorded.
      _folder: folder to which the target is relative.
    """
    found = locate(target, dict(code))
    place = found.rpartition(":")[0]
    _look_beside(found)
    # Bytecode is considered current if size and second of the source match, so none is written.
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    return _load_file(Path(place)) if is_file_target(found) else _load_module(place)


def _look_beside(target: str) -> None:
    """Adds the folder of a user's environment to the end of the import path.

    The user's modules that were imported for another environment are unloaded.
    """
    sys.path[:] = [folder for folder in sys.path if folder not in BESIDE]
    BESIDE[:] = {str(folder_of(target).absolute())} - {*sys.path}
    sys.path += BESIDE
    for module in {module_name(name) for name in code_of(target)} & sys.modules.keys():
        del sys.modules[module]


def _load_file(path: Path) -> ModuleType:
    module_name = f"ezcli_custom_{path.stem}"  # prefixed: `random.py` must not hide `random`
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # before it runs: dataclasses look themselves up there
    with (
        guarded(
            lambda told: EnvError(
                "EZ-ENV-NOT-LOADED", f"{str(path)!r} cannot be loaded: {told}.", SHOWS
            )
        ),
        restored(),
    ):
        spec.loader.exec_module(module)
    return module


def _load_module(name: str) -> ModuleType:
    with (
        guarded(
            lambda told: EnvError(
                "EZ-ENV-NOT-LOADED", f"Module {name!r} cannot be loaded: {told}.", SHOWS
            )
        ),
        restored(),
    ):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # the missing module is imported by the user's module
    raise no_module(name)
