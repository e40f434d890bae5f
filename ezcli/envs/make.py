"""Settings -> environment. Emulators and users' files are loaded only when they are asked for."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from ezcli.envs.checked import SHOWS, Checked, guarded
from ezcli.envs.settings import (
    AnyEnvSettings,
    AtariSettings,
    CatchSettings,
    CustomSettings,
    KeydoorSettings,
)
from ezcli.errors import ConfigError, EnvError, suggestion


def make_env(settings: AnyEnvSettings, evaluation: bool) -> Checked:
    """Builds one environment, under the rules of training or those of evaluation.

    Raises:
      EzError: there is none, or it breaks its contract.
    """
    build = builder(settings)
    cap = settings.evaluation_max_episode_steps if evaluation else settings.max_episode_steps
    return Checked(lambda: build(settings, evaluation), build.__name__, cap)


def builder(settings: AnyEnvSettings) -> type:
    """The class of the environment."""
    match settings:
        case AtariSettings():
            from ezcli.envs.atari import AtariEnv

            return AtariEnv
        case CatchSettings():
            from ezcli.envs.catch import Catch

            return Catch
        case KeydoorSettings():
            from ezcli.envs.keydoor import Keydoor

            return Keydoor
        case CustomSettings():
            return load_class(settings.target)


def load_class(target: str) -> type:
    """The class that `module:Class` or `path/file.py:Class` names."""
    place, name = target.rsplit(":", 1)
    module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    found = getattr(module, name, None)
    if not isinstance(found, type):
        own = sorted(
            key
            for key, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__
        )
        hint = suggestion(name, own) if own else "It defines no class."
        raise ConfigError(f"There is no class {name!r} in {place!r}.", hint)
    return found


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(
            f"There is no file {str(path)!r}.",
            f"Name your environment as `file.py:Class`, from the folder {str(Path.cwd())!r}.",
        )
    module_name = f"ezcli_custom_{path.stem}"  # prefixed: `random.py` must not hide `random`
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # before it runs: dataclasses look themselves up there
    with guarded(lambda told: EnvError(f"{str(path)!r} cannot be loaded: {told}.", SHOWS)):
        spec.loader.exec_module(module)
    return module


def _load_module(name: str) -> ModuleType:
    with guarded(lambda told: EnvError(f"Module {name!r} cannot be loaded: {told}.", SHOWS)):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # it is what the user's module itself imports
    raise ConfigError(
        f"There is no module {name!r}.",
        "Install it, or give a file instead: `path/file.py:Class`.",
    )
