"""Completion of names of runs, studies, presets, ablations, games and settings.

The shell calls this at each press of Tab, so only what the names need is loaded. Folders of runs
and studies are listed, not read. Games come from the named sets.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from ezcli.errors import EzError


def run_names(runs_dir: Path) -> Iterable[str]:
    """Names of the folders that contain a run."""
    return (path.parent.name for path in runs_dir.glob("*/config.toml"))


def names_of_studies(runs_dir: Path) -> Iterable[str]:
    """Names of the folders that contain a study."""
    return (path.parent.name for path in runs_dir.glob("studies/*/study.json"))


def run_and_study_names(runs_dir: Path) -> Iterable[str]:
    """Names of runs and studies, for reports."""
    return [*names_of_studies(runs_dir), *run_names(runs_dir)]


def presets(_: Path) -> Iterable[str]:
    """Names of the presets in the package."""
    from ezcli.config.files import preset_names

    return preset_names()


def ablations(_: Path) -> Iterable[str]:
    """Names of the ablations in the package."""
    from ezcli.config.files import shipped_names

    return shipped_names("ablation")


def games(_: Path) -> Iterable[str]:
    """Games in the named sets; games of the default suite need no prefix."""
    from ezcli.envs.suites import DEFAULT, game_sets, suite_of_set

    for name, members in game_sets().items():
        suite = suite_of_set(name)
        prefix = "" if suite is DEFAULT else f"{suite.name}/"
        yield from (f"{prefix}{game}" for game in members)


def sets_of_games(_: Path) -> Iterable[str]:
    """Names of sets of games."""
    from ezcli.envs.suites import game_sets

    return game_sets()


def environments(_: Path) -> Iterable[str]:
    """Names of suites that `--env` accepts."""
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
    """The names with this start, sorted; empty if they cannot be read.

    Args:
      what: a key of `SOURCES`.
      start: as typed so far.
      runs_dir: folder of runs and studies.
    """
    try:
        return sorted({name for name in SOURCES[what](runs_dir) if name.startswith(start)})
    except (EzError, OSError):  # the command itself prints the reason
        return []
