"""The code of a user's environment: its file, and the user's files that it imports.

Nothing is executed: imports are read from the source. Modules of Python, of installed packages and
of ezcli do not count, nor do files that the code reads as data. Any change to the bytes of a file
counts, including comments. For `module:Class`, the installed version counts too.
"""

import ast
import hashlib
import importlib.metadata
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import NamedTuple

from ezcli.errors import ConfigError

DIGITS = 16  # hexadecimal digits of a SHA-256
INSTALLED = {"site-packages", "dist-packages"}  # folders of installed packages
NOT_OWN = sys.stdlib_module_names | {"ezcli"}

Code = Mapping[str, str]  # by name of a file, relative to the folder of imports


class OtherCode(ConfigError):
    """Code that differs from the recorded code."""


class Source(NamedTuple):
    """A file of code."""

    module: str  # dotted; empty for the file of `file.py:Class`
    path: Path
    is_package: bool

    @property
    def name(self) -> str:
        """The name, such as `game.py`, `lib/__init__.py`."""
        parts = self.module.split(".") if self.is_package else self.module.split(".")[:-1]
        return "/".join((*filter(None, parts), self.path.name))


def module_name(name: str) -> str:
    """The dotted name of a module, from the name of its file."""
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def is_file_target(target: str) -> bool:
    """Whether the target is `file.py:Class`, not `module:Class`."""
    return target.rpartition(":")[0].endswith(".py")


def folder_of(target: str) -> Path:
    """The folder in which modules beside the environment are looked up, after all others."""
    return Path(target.rpartition(":")[0]).parent if is_file_target(target) else Path()


def absolute(target: str) -> str:
    """The target with an absolute path. A module's target is unchanged."""
    whole = os.path.abspath(target) if is_file_target(target) else target
    return target if ":" in whole.rpartition(":")[0] else whole


def code_of(target: str) -> dict[str, str]:
    """The start of the SHA-256 of every file of an environment's code, by name of the file.

    Args:
      target: `file.py:Class` or `module:Class`.

    Raises:
      ConfigError: there is no such file or module, or it cannot be read.
    """
    folder, package = folder_of(target), ""
    place = target.rpartition(":")[0]
    if is_file_target(target):
        if not Path(place).is_file():
            raise no_file(place)
        waiting = [Source("", Path(place), is_package=False)]
    else:
        package = place.partition(".")[0]
        waiting = list(own_sources(place, folder, package))
        if not waiting or waiting[-1].module != place:
            raise no_module(place)
    found: dict[str, str] = {}
    while waiting:
        source = waiting.pop()
        if source.name in found:
            continue
        try:
            content = source.path.read_bytes()
        except OSError as error:
            raise ConfigError(
                "EZ-ENV-UNREADABLE", f"{str(source.path)!r} cannot be read: {error.strerror}."
            ) from error
        found[source.name] = hashlib.sha256(content).hexdigest()[:DIGITS]
        if source.path.suffix == ".py":
            for name in imports(content, source):
                waiting += own_sources(name, folder, package)
    return dict(sorted((found | versions(package)).items()))


def versions(package: str) -> dict[str, str]:
    """The versions of the distributions that installed a package."""
    if not package:
        return {}
    names = importlib.metadata.packages_distributions().get(package, ())
    return {f"{name} (version)": importlib.metadata.version(name) for name in names}


def imports(content: bytes, source: Source) -> Iterator[str]:
    """Dotted names of a file's imports, including names that may be submodules."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # shown when the file is executed
            tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # loading it will show the error
        return
    package = source.module.split(".")[: None if source.is_package else -1]
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(level=0):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            case ast.ImportFrom() if node.level <= len(package):
                start = package[: len(package) - node.level + 1]
                parts = [*start, *filter(None, [node.module])]
                yield from (".".join((*parts, alias.name)) for alias in node.names)
            case ast.Call(args=[ast.Constant(value=str(name)), *_]):
                called = ast.unparse(node.func).rpartition(".")[2]
                if called in ("import_module", "__import__"):
                    yield name


def own_sources(name: str, folder: Path, package: str) -> Iterator[Source]:
    """The user's files that `import name` executes, a package before its modules.

    Args:
      name: dotted name; the search ends at a part that is not a module.
      folder: searched after all other folders.
      package: counts as the user's anywhere; may be empty.
    """
    top = name.partition(".")[0]
    if top in NOT_OWN and top != package:
        return
    locations: list[str] | None = None
    whole = ""
    for part in name.split("."):
        whole = f"{whole}.{part}".lstrip(".")
        if whole == top:
            spec = top_spec(top, folder)
            if spec is None or not (top == package or is_own(spec, folder)):
                return
        else:
            spec = PathFinder.find_spec(whole, locations)
        if spec is None:
            return
        if spec.origin is not None and Path(spec.origin).is_file():
            is_package = spec.submodule_search_locations is not None
            yield Source(whole, Path(spec.origin), is_package)
        if spec.submodule_search_locations is None:
            return
        locations = list(spec.submodule_search_locations)


def top_spec(name: str, folder: Path) -> ModuleSpec | None:
    """The spec of a module found by `import name`, if any."""
    for finder in sys.meta_path:
        spec = finder.find_spec(name, None)
        if spec is not None:
            return spec
    return PathFinder.find_spec(name, [str(folder.absolute())])


def is_own(spec: ModuleSpec, folder: Path) -> bool:
    """Whether a module is the user's, not an installed one."""
    first = spec.origin or next(iter(spec.submodule_search_locations or ()), "")
    path, here = Path(first), folder.absolute()
    inside = path.relative_to(here) if path.is_relative_to(here) else path
    return bool(first) and not INSTALLED & set(inside.parts)


def locate(target: str, code: Code) -> str:
    """The target to load: at its recorded path, or with the same name in the current folder.

    Args:
      target: as recorded.
      code: as recorded; empty if not known.

    Raises:
      OtherCode: names the changed files.
      ConfigError: it does not exist, or cannot be read.
    """
    candidates = [target]
    if is_file_target(target):
        candidates.append(os.path.basename(target))
        candidates = [one for one in candidates if Path(one.rpartition(":")[0]).is_file()]
    if not candidates:
        raise no_file(target.rpartition(":")[0])
    if not code:
        return candidates[0]
    found = {candidate: code_of(candidate) for candidate in candidates}
    for candidate, now in found.items():
        if now == code:
            return candidate
    first = candidates[0]
    raise OtherCode(
        "EZ-ENV-OTHER-CODE",
        f"The code of {first!r} differs from the recorded code: {changes(code, found[first])}.",
        "Restore it, or train the new code under another name.",
    )


def changes(before: Code, now: Code) -> str:
    """The files that differ, in words."""
    said = []
    for name in sorted(before.keys() | now.keys()):
        if name not in now:
            said.append(f"{name} is missing or no longer imported")
        elif name not in before:
            said.append(f"{name} is new")
        elif before[name] != now[name]:
            said.append(f"{name} changed (from {before[name]} to {now[name]})")
    return "; ".join(said)


def no_file(place: str) -> ConfigError:
    """The error about a missing file."""
    return ConfigError(
        "EZ-ENV-NO-FILE",
        f"There is no file {place!r}.",
        f"Give your environment as `file.py:Class`, relative to the folder {str(Path.cwd())!r}.",
    )


def no_module(place: str) -> ConfigError:
    """The error about a missing module."""
    return ConfigError(
        "EZ-ENV-NO-MODULE",
        f"There is no module {place!r}.",
        "Install it, or give a file instead: `path/file.py:Class`.",
    )
