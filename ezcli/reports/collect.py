"""Run folders to scores: which runs may stand in one table, and what is missing.

A run counts with the final evaluation of its last weights. A group is what may be compared: the
cells of a study, or runs of one agent that differ in seed and game only. A run that does not count
is named with the reason.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from ezcli.config import (
    RunConfig,
    decisive,
    differences,
    preset_path,
    read_toml,
    resolve,
    use_env,
    with_changes,
)
from ezcli.envs.games import ends_as_in_the_benchmark, human_normalised, reference_scores
from ezcli.errors import ConfigError, EzError, ReportError
from ezcli.experiments import catalogue
from ezcli.experiments.design import FULL
from ezcli.experiments.study import STUDIES, CellRecord, StudyFolder, study_names
from ezcli.runs.folder import EVALUATIONS, RunFolder, is_number, is_plain_name, why_wrong


class Point(NamedTuple):
    """A score on the way."""

    env_steps: int
    score: float  # mean over the evaluation's episodes


INSTALLED = ("ale_py", "rom_md5")  # entries of a contract that follow from no setting


class Run(NamedTuple):
    """A finished run, as far as tables and plots need it."""

    name: str
    path: Path
    config: RunConfig
    score: float  # raw, mean over the episodes of the final evaluation
    episodes: int
    curve: tuple[Point, ...]  # evaluations on the way and at the end
    preset: str  # name or path, as the user gave it
    contract: dict[str, Any]  # what the environment said it is
    sessions: tuple[dict[str, Any], ...]  # versions and device of each process that trained it
    seconds: float | None  # of training; None if a session did not say
    code: Mapping[str, str] = MappingProxyType({})  # of an environment of one's own, if it is known
    is_whole: bool = True  # whether the final games of Atari ended as the benchmark has them end

    @property
    def game(self) -> str:
        """What was played."""
        return self.config.env_label

    @property
    def has_human_score(self) -> bool:
        """Whether the run's score can be human-normalised."""
        is_known = self.config.env.name == "atari" and self.game in reference_scores()
        return is_known and self.is_whole

    def normalised(self, score: float) -> float:
        """A raw score of this run's game, human-normalised."""
        return human_normalised(self.game, score)


class Missing(NamedTuple):
    """A run that was wanted and has no score."""

    name: str
    arm: str
    game: str
    seed: int
    why: str


class ArmScores(NamedTuple):
    """The runs of one arm."""

    name: str
    drops: tuple[str, ...]
    changes: dict[str, Any]  # settings that differ from the full agent's, by dotted key
    runs: dict[str, dict[int, Run]]  # by game and seed

    @property
    def games(self) -> list[str]:
        """Games with a score, by name."""
        return sorted(self.runs)


class Group(NamedTuple):
    """Runs that may stand in one table."""

    name: str  # of the study, or what the runs have in common
    kind: Literal["study", "agent"]
    base: RunConfig  # the full agent; its seed and game are one run's
    arms: tuple[ArmScores, ...]
    games: tuple[str, ...]  # all that were wanted, by name
    missing: tuple[Missing, ...]
    go_on: str = ""  # the command that trains what is missing
    preset: str = ""  # of a study: its runs were trained from a copy

    @property
    def runs(self) -> list[Run]:
        """Every run, each once."""
        every = [run for arm in self.arms for seeds in arm.runs.values() for run in seeds.values()]
        return list({run.path: run for run in every}.values())

    @property
    def human_games(self) -> set[str]:
        """Games where every score can be human-normalised."""
        runs = self.runs
        return {run.game for run in runs} - {run.game for run in runs if not run.has_human_score}


def collect(names: list[str], runs_dir: Path) -> tuple[list[Group], list[str]]:
    """The groups that the user asked for, and sentences about runs that are left out.

    Args:
      names: of studies and runs, or paths of run folders and of folders of runs; empty for all that
        is in `runs_dir`.
      runs_dir: where names are looked for.

    Raises:
      ConfigError: a name is nothing.
      ReportError: runs that were named do not belong together.
    """
    if not names:
        return everything_in(runs_dir)
    groups: list[Group] = []
    said: list[str] = []
    single: list[Path] = []
    for name in dict.fromkeys(names):
        found = look_up(name, runs_dir)
        if isinstance(found, StudyFolder):
            groups.append(of_study(found))
        elif isinstance(found, RunFolder):
            single.append(found.path)
        elif found is not None:
            inside, more = everything_in(found)
            if not inside and not more:
                raise ReportError(
                    "EZ-REPORT-NO-RUN",
                    f"There is no run in {name!r}.",
                    "Name a run, a study or a folder.",
                )
            groups += inside
            said += more
        else:
            raise ConfigError(
                "EZ-REPORT-NO-SUCH-NAME",
                f"{name!r} is no run, no study and no folder.",
                "`ez runs` lists runs, `ez study status` lists studies.",
            )
    if single:
        agents, missing = of_agents(single)
        if len(agents) > 1:
            raise mixed(agents)
        if not agents:
            raise ReportError(
                "EZ-REPORT-NO-SCORE",
                f"No score: {missing[0]}",
                "`ez runs show` says more of a run.",
            )
        require_one_environment(agents[0])
        groups += agents
        said += missing
    return distinct(groups), list(dict.fromkeys(said))


def distinct(groups: Iterable[Group]) -> list[Group]:
    """Each group once, though a study may be named and lie in a folder that is named too."""
    first: dict[object, Group] = {}
    for group in groups:
        paths = frozenset(run.path.resolve() for run in group.runs)
        first.setdefault((group.kind, group.name, paths or group.go_on), group)
    return list(first.values())


def look_up(name: str, runs_dir: Path) -> StudyFolder | RunFolder | Path | None:
    """The study, the run or the folder of them that a name or path stands for, if there is one."""
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
        found = catalogue.by_start(runs_dir, name)
        return RunFolder(found) if found is not None else None
    except OSError:  # longer than a path may be
        return None


def everything_in(runs_dir: Path) -> tuple[list[Group], list[str]]:
    """Every study, and the runs that are in none, one group for each agent."""
    groups: list[Group] = []
    said: list[str] = []
    for name in study_names(runs_dir):
        try:
            groups.append(of_study(StudyFolder(runs_dir, name)))
        except EzError as error:
            said.append(f"The study {name} is left out: {error.message}")
    in_studies = [run for group in groups for run in group.runs]
    named = {run.path.name for run in in_studies}
    named |= {missing.name for group in groups for missing in group.missing}
    loose = [entry.path for entry in catalogue.scan(runs_dir) if entry.name not in named]
    agents, missing = of_agents(loose, in_studies)
    said += missing
    for agent in agents:
        try:
            require_one_environment(agent)
            groups.append(agent)
        except ReportError as error:
            said.append(f"The runs of {agent.name} are left out: {error.message}")
    return groups, said


def of_study(folder: StudyFolder) -> Group:
    """The cells of a study: those with a score, and those without.

    Raises:
      EzError: the study cannot be read, or a run is not what the study says it is.
    """
    record, study = folder.record(), folder.study()
    there = catalogue.by_identity(folder.runs_dir)
    arms = {arm.name: ArmScores(arm.name, arm.drops, arm.changes, {}) for arm in study.arms}
    read: dict[str, Run | str] = {}
    missing = []
    for cell in record.cells:
        if cell.identity not in read:
            name = there.get(cell.identity, cell.run)
            read[cell.identity] = read_cell(folder.runs_dir / name, cell)
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
    return group


def read_cell(path: Path, cell: CellRecord) -> Run | str:
    """The scores of a study's run, or why it has none; a folder may hold another run since."""
    folder = RunFolder(path)
    if not folder.exists or catalogue.identity(folder) not in (cell.identity, None):
        return "it was not started"
    return read_run(path)


def require_place(
    study: str, arms: Mapping[str, ArmScores], cell: CellRecord, found: Run | str
) -> None:
    """Refuses a cell whose arm is none of the study's, or whose run is of another game or seed.

    Raises:
      ReportError: `study.json` was changed.
    """
    hint = "Its study.json was changed: put it back."
    if cell.arm not in arms:
        raise ReportError(
            "EZ-REPORT-NO-SUCH-NAME",
            f"The study {study!r} has no arm {cell.arm!r} but runs of it.",
            hint,
        )
    if isinstance(found, Run) and (found.game, found.config.seed) != (cell.env, cell.seed):
        raise ReportError(
            "EZ-REPORT-STUDY-RUN",
            f"The study {study!r} has the run {found.name!r} as {cell.env} with seed {cell.seed}, "
            f"but it is {found.game} with seed {found.config.seed}.",
            hint,
        )


def of_agents(paths: Iterable[Path], known: Iterable[Run] = ()) -> tuple[list[Group], list[str]]:
    """Runs grouped by agent, and sentences about those that do not count.

    Args:
      paths: of run folders.
      known: runs that count already, so that no copy of them does.
    """
    first = {run.config.identity: run for run in known}
    by_agent: dict[str, dict[str, dict[int, Run]]] = {}
    said = []
    for path in dict.fromkeys(paths):
        found = read_run(path)
        if isinstance(found, str):
            said.append(f"{path.name} is left out: {found}.")
            continue
        same = first.setdefault(found.config.identity, found)
        if same is not found:
            said.append(f"{path.name} is left out: {same.name} is the same run.")
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


def read_run(path: Path) -> Run | str:
    """A run's scores, or why it has none that count."""
    folder = RunFolder(path)
    state = catalogue.state(folder)
    if state == "damaged":
        return f"it is damaged{why_damaged(folder)}"
    if state != "finished":
        return "it failed" if state == "failed" else f"it is {state}"
    try:
        config, info, lines = folder.config(), folder.read_info(), folder.read(EVALUATIONS)
    except (EzError, OSError) as error:
        return f"it is damaged ({error})"
    wrong = why_info_is_wrong(info, config)
    if wrong:
        return wrong
    finals = [line for line in lines if line.get("kind") == "final"]
    if not finals:
        return "it has no final evaluation"
    for line in lines:
        wrong = why_wrong(line)
        if wrong:
            return f"an evaluation of it is damaged ({wrong})"
    final = finals[-1]
    if any(line["scores"] != final["scores"] for line in finals):
        return "it has several final evaluations, and they differ"
    differing = protocol_differs(config, final["protocol"])
    if differing:
        return f"its final evaluation was not played by the protocol of its config ({differing})"
    sessions = info.get("sessions", [])
    seconds = [session.get("seconds") for session in sessions]
    known = [s for s in seconds if is_number(s)]
    return Run(
        path.name,
        path,
        config,
        float(final["mean"]),
        len(final["scores"]),
        tuple(Point(x["env_steps"], float(x["mean"])) for x in lines if x["kind"] != "manual"),
        str(info.get("preset") or path.name),
        info.get("environment", {}),
        tuple(sessions),
        sum(known) if known and len(known) == len(seconds) else None,
        (config.env.code if config.env.name == "custom" else {}) or noted_code(info),
        has_benchmark_length(config, final),
    )


def why_damaged(folder: RunFolder) -> str:
    """What is wrong with the files of a run, in brackets; empty if they have just been mended."""
    try:
        folder.require_sound()
    except EzError as error:
        return f" ({error.message.rstrip('.')})"
    except OSError as error:
        return f" ({error})"
    return ""


def has_benchmark_length(config: RunConfig, line: Mapping[str, Any]) -> bool:
    """Whether the games of an evaluation ended as those of the benchmark; true without one.

    What the line says of its human-normalised score is not read: earlier versions counted
    env_steps where the benchmark counts frames.
    """
    if config.env.name != "atari":
        return True
    cap = config.env.evaluation_max_episode_steps
    return ends_as_in_the_benchmark(line["game_env_steps"], cap, config.env.frame_skip)


def noted_code(info: Mapping[str, Any]) -> dict[str, str]:
    """The code that `run.json` names where the config names none: that of version 0.1.0."""
    code = info.get("code")
    return code if isinstance(code, dict) else {}


def why_info_is_wrong(info: Mapping[str, Any], config: RunConfig) -> str:
    """What is wrong with the contents of `run.json`; empty if nothing is."""
    sessions = info.get("sessions", [])
    if not isinstance(sessions, list) or not all(isinstance(s, dict) for s in sessions):
        return "its run.json is damaged (sessions are no list of tables)"
    if not isinstance(info.get("environment", {}), dict):
        return "its run.json is damaged (environment is no table)"
    said = info.get("identity", config.identity)
    if said != config.identity:
        return f"its config.toml was changed (identity {config.identity}, its run.json says {said})"
    return ""


def protocol_differs(config: RunConfig, protocol: Mapping[str, Any]) -> str:
    """How a final evaluation was played other than its config says; empty if it was not."""
    wanted = {
        "episodes": config.evaluation.episodes,
        "max_env_steps": config.env.evaluation_max_episode_steps,
        "num_simulations": config.search.num_simulations,
    }
    return "; ".join(
        f"{key} {protocol.get(key)!r}, its config says {value!r}"
        for key, value in wanted.items()
        if protocol.get(key) != value
    )


def without_place(config: RunConfig) -> RunConfig:
    """The config under seed 0 and, on Atari, one game: equal for runs of one agent."""
    place: dict[str, Any] = {"seed": 0}
    if config.env.name == "atari":
        place["env.game"] = "pong"
    return with_changes(config, place)


def require_one_agent(group: Group, arm: ArmScores) -> None:
    """Refuses an arm whose runs differ from the full agent in more than the arm says.

    Raises:
      ReportError: with the difference.
    """
    expected = with_changes(group.base, arm.changes)
    for seeds in arm.runs.values():
        for run in seeds.values():
            if placeless(run.config) != placeless(expected):
                found = differences(without_place(expected), without_place(run.config))
                raise ReportError(
                    "EZ-REPORT-OTHER-ARM",
                    f"The run {run.name!r} is no {arm.name!r} of {group.name!r}: it differs in "
                    f"more ({pairs_text(found)}).",
                    "Its config.toml was changed, or the study's: put it back, or delete the run.",
                )


def placeless(config: RunConfig) -> dict[str, Any]:
    """All that decides a run's result but its seed and Atari game."""
    tables = decisive(config)
    del tables["seed"]
    tables["env"].pop("game", None)
    return tables


def pairs_text(differing: Mapping[str, tuple[Any, Any]]) -> str:
    """Settings with both of their values."""
    return "; ".join(f"{key}: {a!r} / {b!r}" for key, (a, b) in differing.items())


def require_one_environment(group: Group) -> None:
    """Refuses runs of one game whose environments differ in more than their settings declare.

    A contract follows from the settings and from what is installed. Runs with equal settings must
    have equal contracts; those of arms that change the environment need only the same emulator.

    Raises:
      ReportError: with the difference.
    """
    require_one_code(group)
    first: dict[tuple[str, str], Run] = {}
    for run in group.runs:
        settings = json.dumps(run.config.env.model_dump(mode="json"), sort_keys=True)
        keys = {*run.contract, *first.setdefault((run.game, settings), run).contract}
        for other, compared in (
            (first[run.game, settings], keys),
            (first.setdefault((run.game, ""), run), INSTALLED),
        ):
            differing = {
                key: (other.contract.get(key), run.contract.get(key))
                for key in sorted(compared)
                if other.contract.get(key) != run.contract.get(key)
            }
            if not differing:
                continue
            raise ReportError(
                "EZ-REPORT-OTHER-ENV",
                f"The runs {other.name!r} and {run.name!r} were not played in the same environment "
                f"({pairs_text(differing)}).",
                "Report them one by one.",
            )


def require_one_code(group: Group) -> None:
    """Refuses runs whose environments are of different code, as far as it is known.

    Raises:
      ReportError: with the files that differ.
    """
    known = [run for run in group.runs if run.code]
    for run in known[1:]:
        files = {*run.code.items()} ^ {*known[0].code.items()}
        if files:
            names = ", ".join(sorted({name for name, _ in files}))
            raise ReportError(
                "EZ-REPORT-OTHER-CODE",
                f"The code of the environment differs between the runs {known[0].name!r} and "
                f"{run.name!r} ({names}).",
                "Report them one by one.",
            )


def mixed(agents: list[Group]) -> ReportError:
    """The error about named runs of several agents."""
    one, other = (group.runs[0] for group in agents[:2])
    found = differences(without_place(one.config), without_place(other.config))
    return ReportError(
        "EZ-REPORT-OTHER-AGENT",
        f"The runs {one.name!r} and {other.name!r} are not of one agent ({pairs_text(found)}).",
        "Report them one by one; what is to be compared belongs into a study (`ez ablate`).",
    )


def agent_name(run: Run) -> str:
    """Such as `atari-cpu` or `atari-cpu, search.num_simulations=8`: its preset and what differs."""
    preset = run.preset
    try:
        tables = read_toml(preset_path(preset))
        config = resolve(
            use_env(tables, None, run.game if run.config.env.name == "atari" else None)
        )
    except (EzError, OSError):
        return run.name.rpartition("-seed")[0] or run.name  # the user's file is not there any more
    found = differences(without_place(config), without_place(run.config))
    if config.env.name != run.config.env.name:
        found = {key: pair for key, pair in found.items() if not key.startswith("env.")}
        label = f"{run.game} (custom)" if run.config.env.name == "custom" else run.game
        preset = f"{label} with {preset}"
    changed = [f"{key}={value}" for key, (_, value) in found.items()]
    more = [f"{len(changed) - 3} more changed"] if len(changed) > 3 else []
    path = Path(preset)
    if path.name == "preset.toml" and path.parent.parent.name == STUDIES:
        preset = path.parent.name  # the study's copy of it
    elif preset.endswith(".toml"):
        preset = path.stem
    return ", ".join([preset, *changed[:3], *more])
