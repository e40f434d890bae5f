"""Finds groups of runs by names of studies, runs and folders, and lists missing and excluded runs.

A run counts with an evaluation of its last weights, by default the final one. A group contains
comparable runs: the cells of a study, or runs of one agent that differ only in seed and game. An
excluded run is listed with the reason.
"""

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path

from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve, use_env
from ezcli.config.run import differences
from ezcli.envs.suites import game_of
from ezcli.errors import ConfigError, EzError, ReportError, UnknownName
from ezcli.experiments import catalogue
from ezcli.experiments.design import FULL
from ezcli.experiments.study import STUDIES, CellRecord, StudyFolder, study_names
from ezcli.reports.comparable import (
    mixed,
    require_one_agent,
    require_one_environment,
    require_one_protocol,
    without_place,
)
from ezcli.reports.groups import FINAL, ArmScores, Group, Missing, Run
from ezcli.reports.run_scores import LATEST, evaluation_names, read_run
from ezcli.runs.folder import RunFolder
from ezcli.runs.names import is_plain_name


def collect(
    names: list[str], runs_dir: Path, evaluation: str = FINAL
) -> tuple[list[Group], list[str]]:
    """The requested groups, and sentences about excluded runs.

    Args:
      names: names of studies and runs, or paths of run folders and folders of runs; empty for
        everything in `runs_dir`.
      runs_dir: folder in which names are looked up.
      evaluation: the evaluation to report: its name, or `latest`.

    Raises:
      ConfigError: a name is nothing, or no run has an evaluation of this name.
      ReportError: named runs are not comparable.
    """
    groups, said = named_or_all(names, runs_dir, evaluation)
    if not any(group.runs for group in groups):
        folders = [runs_dir, *filter(Path.is_dir, map(Path, names))]
        runs = [entry.path for folder in folders for entry in catalogue.scan(folder)]
        known = {FINAL, LATEST, *itertools.chain.from_iterable(map(evaluation_names, runs))}
        if evaluation not in known:
            raise UnknownName("evaluation", evaluation, known)
    return groups, said


def named_or_all(
    names: list[str], runs_dir: Path, evaluation: str
) -> tuple[list[Group], list[str]]:
    """`collect` without requiring that a run has the evaluation."""
    if not names:
        return everything_in(runs_dir, evaluation)
    groups: list[Group] = []
    said: list[str] = []
    single: list[Path] = []
    for name in dict.fromkeys(names):
        found = look_up(name, runs_dir)
        if isinstance(found, StudyFolder):
            groups.append(of_study(found, evaluation))
        elif isinstance(found, RunFolder):
            single.append(found.path)
        elif found is not None:
            inside, more = everything_in(found, evaluation)
            if not inside and not more:
                raise ReportError(
                    "EZ-REPORT-NO-RUN",
                    f"There is no run in {name!r}.",
                    "Give a run, a study or a folder.",
                )
            groups += inside
            said += more
        else:
            raise ConfigError(
                "EZ-REPORT-NO-SUCH-NAME",
                f"There is no run, study or folder {name!r}.",
                "`ez runs` lists runs, `ez study status` lists studies.",
            )
    if single:
        agents, missing = of_agents(single, evaluation)
        if len(agents) > 1:
            raise mixed(agents)
        if not agents:
            raise ReportError(
                "EZ-REPORT-NO-SCORE",
                f"No score: {missing[0]}",
                "`ez runs show` prints the details of a run.",
            )
        require_one_environment(agents[0])
        require_one_protocol(agents[0])
        groups += agents
        said += missing
    return distinct(groups), list(dict.fromkeys(said))


def distinct(groups: Iterable[Group]) -> list[Group]:
    """Each group once, even if a study and its folder are both named."""
    first: dict[object, Group] = {}
    for group in groups:
        paths = frozenset(run.path.resolve() for run in group.runs)
        first.setdefault((group.kind, group.name, paths or group.go_on), group)
    return list(first.values())


def look_up(name: str, runs_dir: Path) -> StudyFolder | RunFolder | Path | None:
    """The study, run or folder with this name or path, if there is one.

    Raises:
      ConfigError: several names start with it.
    """
    path = Path(name).absolute()
    try:
        if is_plain_name(name) and (runs_dir / STUDIES / name / "study.json").is_file():
            return StudyFolder(runs_dir, name)
        for run in ((runs_dir / name).absolute(), path):
            if (run / "config.toml").is_file():
                return RunFolder(run)
        if (path / "study.json").is_file() and path.parent.name == STUDIES:
            return StudyFolder(path.parents[1], path.name)
        if path.is_dir():
            return path
    except OSError:  # longer than the limit of a path
        return None
    runs = [run.name for run in catalogue.runs_by_start(runs_dir, name)]
    studies = [study for study in study_names(runs_dir) if name and study.startswith(name)]
    catalogue.require_one(name, "runs and studies", [*studies, *runs])
    if studies:
        return StudyFolder(runs_dir, studies[0])
    return RunFolder(runs_dir / runs[0]) if runs else None


def everything_in(runs_dir: Path, evaluation: str = FINAL) -> tuple[list[Group], list[str]]:
    """Every study, and a group for each agent of the other runs."""
    groups: list[Group] = []
    said: list[str] = []
    for name in study_names(runs_dir):
        try:
            groups.append(of_study(StudyFolder(runs_dir, name), evaluation))
        except EzError as error:
            said.append(f"The study {name} is left out: {error.message}")
    in_studies = [run for group in groups for run in group.runs]
    named = {run.path.name for run in in_studies}
    named |= {missing.name for group in groups for missing in group.missing}
    loose = [entry.path for entry in catalogue.scan(runs_dir) if entry.name not in named]
    agents, missing = of_agents(loose, evaluation, in_studies)
    said += missing
    for agent in agents:
        try:
            require_one_environment(agent)
            require_one_protocol(agent)
            groups.append(agent)
        except ReportError as error:
            said.append(f"The runs of {agent.name} are left out: {error.message}")
    return groups, said


def of_study(folder: StudyFolder, evaluation: str = FINAL) -> Group:
    """The cells of a study, with and without a score.

    Raises:
      EzError: the study cannot be read, or a run does not match it.
    """
    record, study = folder.record(), folder.study()
    there = catalogue.by_identity(folder.runs_dir)
    arms = {arm.name: ArmScores(arm.name, arm.drops, arm.changes, {}) for arm in study.arms}
    read: dict[str, Run | str] = {}
    missing = []
    for cell in record.cells:
        if cell.identity not in read:
            name = there.get(cell.identity, cell.run)
            read[cell.identity] = read_cell(folder.runs_dir / name, cell, evaluation)
        found = read[cell.identity]
        require_place(folder.name, arms, cell, found)
        if isinstance(found, str):
            missing.append(Missing(cell.run, cell.arm, cell.env, cell.seed, found))
        else:
            arms[cell.arm].runs.setdefault(cell.env, {})[cell.seed] = found
    games = tuple(sorted({cell.env for cell in record.cells}))
    group = Group(
        folder.name,
        "study",
        study.base,
        tuple(arms.values()),
        games,
        tuple(missing),
        folder.go_on,
        study.preset,
    )
    for arm in group.arms:
        require_one_agent(group, arm)
    require_one_environment(group)
    require_one_protocol(group)
    return group


def read_cell(path: Path, cell: CellRecord, evaluation: str) -> Run | str:
    """The scores of a study's run, or the reason why it has none."""
    folder = RunFolder(path)
    if not folder.exists or catalogue.identity(folder) not in (cell.identity, None):
        return "it has not started"
    return read_run(path, evaluation)


def require_place(
    study: str, arms: Mapping[str, ArmScores], cell: CellRecord, found: Run | str
) -> None:
    """Refuses a cell with an unknown arm, or whose run has another game or seed.

    Raises:
      ReportError: `study.json` was changed.
    """
    hint = "Its study.json was changed. Restore it."
    if cell.arm not in arms:
        raise ReportError(
            "EZ-REPORT-NO-SUCH-NAME",
            f"The study {study!r} has runs of the arm {cell.arm!r}, but no such arm.",
            hint,
        )
    if isinstance(found, Run) and (found.game, found.config.seed) != (cell.env, cell.seed):
        raise ReportError(
            "EZ-REPORT-STUDY-RUN",
            f"The study {study!r} lists the run {found.name!r} as {cell.env} with seed "
            f"{cell.seed}, but it is {found.game} with seed {found.config.seed}.",
            hint,
        )


def of_agents(
    paths: Iterable[Path], evaluation: str, known: Iterable[Run] = ()
) -> tuple[list[Group], list[str]]:
    """Runs grouped by agent, and sentences about excluded runs.

    Args:
      paths: of run folders.
      evaluation: the evaluation to report.
      known: runs that already count, so that their copies are excluded.
    """
    first = {run.config.identity: run for run in known}
    by_agent: dict[str, dict[str, dict[int, Run]]] = {}
    said = []
    for path in dict.fromkeys(paths):
        found = read_run(path, evaluation)
        if isinstance(found, str):
            said.append(f"{path.name} is left out: {found}.")
            continue
        same = first.setdefault(found.config.identity, found)
        if same is not found:
            said.append(f"{path.name} is left out: it is the same run as {same.name}.")
            continue
        agent = without_place(found.config).identity
        by_agent.setdefault(agent, {}).setdefault(found.game, {})[found.config.seed] = found
    groups = []
    for runs in by_agent.values():
        games = tuple(sorted(runs))
        some = next(iter(runs[games[0]].values()))
        arm = ArmScores(FULL, (), {}, runs)
        groups.append(Group(agent_name(some), "agent", some.config, (arm,), games, ()))
    return groups, said


def agent_name(run: Run) -> str:
    """The preset of a run and its changes, such as `atari-cpu, search.num_simulations=8`."""
    preset = run.preset
    try:
        tables = read_toml(preset_path(preset))
        config = resolve(use_env(tables, None, game_of(run.config.env)))
    except (EzError, OSError):
        return run.name.rpartition("-seed")[0] or run.name  # the user's file no longer exists
    found = differences(without_place(config), without_place(run.config))
    if type(config.env) is not type(run.config.env):
        found = {key: pair for key, pair in found.items() if not key.startswith("env.")}
        preset = f"{run.config.marked_label} with {preset}"
    changed = [f"{key}={value}" for key, (_, value) in found.items()]
    more = [f"{len(changed) - 3} more changed"] if len(changed) > 3 else []
    path = Path(preset)
    if path.name == "preset.toml" and path.parent.parent.name == STUDIES:
        preset = path.parent.name  # the study's copy of it
    elif preset.endswith(".toml"):
        preset = path.stem
    return ", ".join([preset, *changed[:3], *more])
