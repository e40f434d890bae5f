"""Names that a shell completes: of runs, studies, presets, ablations, games and settings.

A shell asks at each press of Tab, so nothing here loads more than the names need: runs and studies
are folders that are listed, not read, and games come from the sets that have a name.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from ezcli.errors import EzError


def run_names(runs_dir: Path) -> Iterable[str]:
    """Names of the folders that hold a run."""
    return (path.parent.name for path in runs_dir.glob("*/config.toml"))


def names_of_studies(runs_dir: Path) -> Iterable[str]:
    """Names of the folders that hold a study."""
    return (path.parent.name for path in runs_dir.glob("studies/*/study.json"))


def run_and_study_names(runs_dir: Path) -> Iterable[str]:
    """Both, for reports."""
    return [*names_of_studies(runs_dir), *run_names(runs_dir)]


def presets(_: Path) -> Iterable[str]:
    """Names of the presets that came with the package."""
    from ezcli.config.files import preset_names

    return preset_names()


def ablations(_: Path) -> Iterable[str]:
    """Names of the ablations that came with the package."""
    from ezcli.config.files import shipped_names

    return shipped_names("ablation")


def games(_: Path) -> Iterable[str]:
    """Games in the sets that have a name; those of the default suite need no prefix."""
    from ezcli.envs.suites import DEFAULT, game_sets, suite_of_set

    for name, members in game_sets().items():
        suite = suite_of_set(name)
        prefix = "" if suite is DEFAULT else f"{suite.name}/"
        yield from (f"{prefix}{game}" for game in members)


def sets_of_games(_: Path) -> Iterable[str]:
    """Sets of games that have a name."""
    from ezcli.envs.suites import game_sets

    return game_sets()


def environments(_: Path) -> Iterable[str]:
    """Suites that go by their names."""
    from ezcli.envs.suites import SUITES

    return (suite.name for suite in SUITES.values() if not suite.takes)


def settings(_: Path) -> Iterable[str]:
    """The start `section.key=` of every setting."""
    from ezcli.config.names import all_keys

    return (f"{key}=" for key in all_keys())


SOURCES: dict[str, Callable[[Path], Iterable[str]]] = {
    "ablation": ablations,
    "environment": environments,
    "game": games,
    "preset": presets,
    "run": run_names,
    "run or study": run_and_study_names,
    "set of games": sets_of_games,
    "setting": settings,
    "study": names_of_studies,
}


def complete(what: str, start: str, runs_dir: Path) -> list[str]:
    """The names that begin so, sorted. Where they cannot be read there are none.

    Args:
      what: a key of `SOURCES`.
      start: as typed so far.
      runs_dir: where runs and studies are.
    """
    try:
        return sorted({name for name in SOURCES[what](runs_dir) if name.startswith(start)})
    except (EzError, OSError):  # the command itself says why
        return []
