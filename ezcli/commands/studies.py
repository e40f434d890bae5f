"""`ez ablate` and `ez study`: from options to a plan, and from the plan to trained runs."""

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ezcli import console, doctor
from ezcli.commands.training import (
    build_config,
    default_preset,
    is_changed,
    on_device,
    playable_config,
    require_trusted,
    with_code,
)
from ezcli.config import RunConfig, parse_override, use_env, with_changes
from ezcli.envs.code import locate
from ezcli.envs.games import ATARI_100K, check_game
from ezcli.envs.settings import CustomSettings
from ezcli.errors import Busy, ConfigError, EzError, UnknownName
from ezcli.experiments import catalogue, estimate
from ezcli.experiments.design import FULL, Arm, arms_of, parse_values
from ezcli.experiments.handover import prepare
from ezcli.experiments.launchers.cluster import Cluster, cluster_of, queue_of, under_way
from ezcli.experiments.launchers.local import LocalSettings
from ezcli.experiments.launchers.protocol import LauncherSettings
from ezcli.experiments.study import (
    PlannedRun,
    Study,
    StudyFolder,
    default_name,
    plan,
    study_names,
)
from ezcli.runs.cost import finished_runs, is_alike, needs
from ezcli.runs.folder import RunFolder
from ezcli.words import counted, duration, ez_command, json_text, size

GAME_SETS = {"atari26": ATARI_100K}
SMALL_SEEDS, ATARI_SEEDS = 5, 3  # where --seeds is not given
BEGUN = ("running", "stalled", "interrupted", "killed", "failed", "damaged")


class Options(NamedTuple):
    """What `ez ablate` was asked for; None and empty stand for what was not given."""

    drop: list[str]
    vary: list[str]
    factorial: bool
    game: list[str]
    games: str | None
    env: str | None
    seeds: str | None
    preset: str | None
    overrides: list[str]
    study: str | None

    @property
    def names_arms(self) -> bool:
        """Whether any arm but the full agent was asked for."""
        return bool(self.drop or self.vary or self.factorial)

    @property
    def names_base(self) -> bool:
        """Whether the full agent was described."""
        return bool(self.env or self.preset or self.overrides)

    @property
    def names_games(self) -> bool:
        """Whether games were named."""
        return bool(self.game or self.games)


Output = Literal["train", "plan", "commands", "json"]


class Execution(NamedTuple):
    """How the runs are to be made, and where; None and empty stand for what was not given."""

    jobs: int | None
    devices: str | None
    launcher: str | None
    cluster: Path | None  # file with the settings of launchers
    asked: dict[str, Any]  # settings of the launcher's table
    waits: bool


def ablate(
    options: Options, runs_dir: Path, execution: Execution, output: Output, quiet: bool
) -> int:
    """`ez ablate`."""
    saved = None
    if options.study is not None:
        named = StudyFolder(runs_dir, options.study)
        saved = named.launcher_file
        if named.exists:
            named.record()  # before its launcher.toml is believed
    cluster = cluster_of(execution.launcher, execution.cluster, saved, execution.asked)
    if execution.jobs is not None:
        cluster = cluster._replace(settings=cluster.settings.with_jobs(execution.jobs))
    asked, folder, said = design(options, runs_dir, cluster)
    if cluster.settings.is_here:
        check_devices(asked, execution, options.overrides, must_be_here=output == "train")
    elif execution.devices is not None:
        raise ConfigError(
            "EZ-LAUNCHER-OPTION", f"--devices means nothing to the launcher {cluster.name}."
        )
    if output != "train":
        study, added = folder.merge(asked)
        return carry_out(study, folder, [*said, *added], execution, cluster, output, quiet)
    with folder.lock():  # from reading the study to the end, so that nobody's arms are lost
        study, added = folder.merge(asked)
        return carry_out(study, folder, [*said, *added], execution, cluster, output, quiet)


def carry_out(
    study: Study,
    folder: StudyFolder,
    said: list[str],
    execution: Execution,
    cluster: Cluster,
    output: Output,
    quiet: bool,
) -> int:
    """Shows the plan of a study, or its commands, or trains what is left of it."""
    runs_dir = folder.runs_dir
    existing = catalogue.by_identity(runs_dir)
    runs = plan(study, existing)
    for run in runs:
        require_code(RunFolder(runs_dir / run.name), run.config)
    states = {run.name: run_state(runs_dir, run) for run in runs}
    left = [run for run in runs if states[run.name] != "finished"]
    if output == "commands":
        print_commands(study, left, runs_dir)
        return 0
    jobs, why_jobs = number_of_jobs(execution, cluster, study.base, len(left))
    if output == "json" or not quiet:
        cost = cost_of(study, left, runs_dir, existing, jobs, cluster)
        if output == "json":
            shown = plan_as_json(study, folder, runs, states, cost)
            console.write(json_text(shown))
        else:
            for sentence in said:
                console.tell(sentence)
            show_plan(study, runs, states, cost, f"{jobs} ({why_jobs})")
    if output != "train":
        return 0
    return execute(study, folder, runs, jobs, execution, cluster, quiet)


def print_commands(study: Study, runs: list[PlannedRun], runs_dir: Path) -> None:
    """Prints a command for each run, for a scheduler of the user's; it needs the run's folder.

    The commands work in any order and from any folder. No study is saved: `ez ablate` finds the
    runs by their identities.
    """
    for run in runs:
        prepare(RunFolder(runs_dir / run.name), run.config, {"preset": study.preset})
        verb = "--trust resume" if run.config.env.name == "custom" else "resume"
        console.write(ez_command(verb, (runs_dir / run.name).absolute()) + "\n")


def design(
    options: Options, runs_dir: Path, cluster: Cluster
) -> tuple[Study, StudyFolder, list[str]]:
    """The study asked for, where it is saved, and sentences about it."""
    saved = None
    if options.study is not None:
        folder = StudyFolder(runs_dir, options.study)
        if folder.exists:
            saved = folder.study()
    names_any = options.names_arms or options.names_base or options.names_games or options.seeds
    if saved is None and not names_any:
        if options.study is not None:
            raise UnknownName("study", options.study, study_names(runs_dir))
        raise ConfigError(
            "EZ-STUDY-NO-ARMS",
            "Nothing to ablate was named.",
            "Try --drop value-prefix; `ez ablations` lists what can be dropped.",
        )
    said: list[str] = []
    if saved is not None and not options.names_base:
        preset, base, games = saved.preset, with_code(saved.base, is_recorded=True), saved.games
        if isinstance(base.env, CustomSettings):
            what = f"The study {options.study!r} names the code {base.env.target!r}"
            require_trusted(base.env.target, base.env.code, what)
        if options.names_games:
            games = games_of(options)
            for game in games:
                use_env(base.model_dump(mode="json"), None, game)
                check_game(game)
    else:
        preset, base, games = base_of(options, said, cluster)
    if saved is not None and not options.names_arms:
        arms: tuple[Arm, ...] = saved.arms
    else:
        found, same = arms_of(base, options.drop, options.vary, options.factorial)
        arms = tuple(found)
        said += same
    if saved is not None and options.seeds is None:
        seeds = saved.seeds
    else:
        seeds = seeds_of(options.seeds, base)
    name = options.study or default_name(base, preset, games, arms)
    if options.study is None and is_changed(base, preset):
        name += f"-{base.identity[:6]}"
    asked = Study(name, preset, base, arms, games, seeds)
    return asked, StudyFolder(runs_dir, name), said


def base_of(
    options: Options, said: list[str], cluster: Cluster
) -> tuple[str, RunConfig, tuple[str, ...]]:
    """The preset's name, the full agent's config and the games."""
    if any(override.partition("=")[0].strip() == "seed" for override in options.overrides):
        raise ConfigError(
            "EZ-STUDY-SET-SEED", "--set seed means nothing here.", "Use --seeds 0,3,7."
        )
    for text in options.vary:
        varied, _, values = (part.strip() for part in text.partition("="))
        for override in options.overrides:
            key, value = parse_override(override)
            if key == varied and value not in parse_values(text, values):
                raise ConfigError(
                    "EZ-STUDY-SET-AND-VARY",
                    f"--set {override} is none of the values of --vary {text}.",
                    "Leave out --set, or put its value into --vary.",
                )
    games = games_of(options)
    preset, env = options.preset, options.env
    if preset is None:
        preset, because = default_preset(env, None, cluster.settings.has_gpus)
        if not games and env is None and preset == "atari-cpu":
            preset, because = "catch", "there is no GPU, and it learns in minutes"
        said.append(f"Preset {preset}: {because}. Choose another with --preset.")
    base = playable_config(preset, env, games[0] if games else None, None, None, options.overrides)
    for game in games[1:]:
        build_config(preset, env, game, None, None, options.overrides)
    if base.env.name == "atari" and not games:
        games = (base.env.game,)
        said.append(f"Game {games[0]}: the preset's. Choose others with --game or --games atari26.")
    return preset, base, games


def games_of(options: Options) -> tuple[str, ...]:
    """The roms that were named, each once."""
    named = list(options.game)
    if options.games is not None:
        if options.games not in GAME_SETS:
            raise UnknownName("set of games", options.games, GAME_SETS)
        named += GAME_SETS[options.games]
    return tuple(dict.fromkeys(named))


def seeds_of(text: str | None, base: RunConfig) -> tuple[int, ...]:
    """`5` is 0 to 4; `0,3,7` are those.

    Raises:
      ConfigError: it is neither.
    """
    if text is None:
        return tuple(range(ATARI_SEEDS if base.env.name == "atari" else SMALL_SEEDS))
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 1 and parts[-1] == "":
        parts.pop()
    if not all(part.isdecimal() and len(part) < 11 and int(part) < 2**31 for part in parts):
        raise ConfigError(
            "EZ-STUDY-SEEDS", f"--seeds {text!r} is not allowed.", "Use 5 for 0 to 4, or 0,3,7."
        )
    if "," not in text:
        if not 1 <= int(text) <= 1000:
            raise ConfigError(
                "EZ-STUDY-SEEDS",
                f"--seeds {text!r} is not allowed.",
                "Use a number from 1 to 1000, or the seeds themselves: 0,3,7.",
            )
        return tuple(range(int(text)))
    return tuple(dict.fromkeys(map(int, parts)))


def number_of_jobs(
    execution: Execution, cluster: Cluster, base: RunConfig, left: int
) -> tuple[int, str]:
    """Runs side by side, and why so many."""
    asked = cluster.settings.runs_at_once or execution.jobs
    if asked is not None:
        return asked, "as asked"
    if not isinstance(cluster.settings, LocalSettings):
        return max(1, left), "as many as the cluster gives"
    devices, share = devices_of(execution), cluster.settings.runs_per_gpu
    each = "one" if share == 1 else str(share)
    if devices:
        return share * len(devices), f"{each} for each device"
    if base.compute.device != "cpu":
        import torch

        if torch.cuda.is_available():
            return share, f"{each} for the GPU; --devices names more"
    if "runs_per_gpu" in execution.asked:
        raise ConfigError(
            "EZ-STUDY-NO-GPU", "--runs-per-gpu means nothing without a GPU.", "Use --jobs."
        )
    from ezcli.runs.compute import num_cores

    free = doctor.free_memory()
    fit = max(1, free // needs(base).memory_bytes) if free is not None else num_cores()
    jobs = max(1, min(num_cores(), fit, left))
    return jobs, "what cores and free memory hold" if left else "nothing is left to run"


def devices_of(execution: Execution) -> list[str]:
    """The devices that were named.

    Raises:
      ConfigError: none was, between the commas.
    """
    if execution.devices is None:
        return []
    devices = [device.strip() for device in execution.devices.split(",")]
    if "" in devices:
        raise ConfigError(
            "EZ-STUDY-DEVICES",
            f"--devices {execution.devices!r} is not allowed.",
            "Use cuda:0,cuda:1.",
        )
    return devices


def require_code(folder: RunFolder, config: RunConfig) -> None:
    """Refuses code that is not what a run of an older study noted; its config holds none.

    Raises:
      ConfigError: with the files that changed.
    """
    env = config.env
    if isinstance(env, CustomSettings) and not env.code and folder.exists:
        locate(env.target, folder.noted_code())


def check_devices(
    study: Study, execution: Execution, overrides: list[str], must_be_here: bool
) -> None:
    """Refuses devices that are none, and those that this machine lacks.

    Raises:
      ConfigError: it names the device.
    """
    devices = devices_of(execution)
    given = [o for o in overrides if parse_override(o)[0] == "compute.device"]
    if devices and given:
        raise ConfigError(
            "EZ-OPTION-CONFLICT",
            f"--devices {execution.devices} and --set {given[0]} both name devices.",
            "Leave out one of them.",
        )
    for device in devices or [study.base.compute.device]:
        config = on_device(study.base, device)
        if must_be_here:
            from ezcli.runs.compute import resolve_compute

            resolve_compute(config.compute)


def run_state(runs_dir: Path, run: PlannedRun) -> str:
    """How a planned run stands; `new` before it has a folder."""
    folder = RunFolder(runs_dir / run.name)
    return catalogue.state(folder) if folder.exists else "new"


def threads_of(study: Study, jobs: int, cluster: Cluster) -> int:
    """Threads of each run: those asked for, or its share of the cores."""
    from ezcli.runs.compute import num_cores

    return study.base.compute.threads or cluster.settings.threads or max(1, num_cores() // jobs)


def cost_of(
    study: Study,
    left: list[PlannedRun],
    runs_dir: Path,
    existing: dict[str, str],
    jobs: int,
    cluster: Cluster,
) -> estimate.Total:
    """What the runs that are left will cost; times a run's pieces of work if no run here tells."""
    evidence = finished_runs(runs_dir, existing.values())
    source = f"From {len(evidence)} finished runs here"
    if left and not any(is_alike(run.config, study.base) for run in evidence):
        if not cluster.settings.is_here:
            return estimate.total(left, [], jobs, "No run like these has finished here yet.")
        threads = threads_of(study, jobs, cluster)
        found = estimate.measure(with_changes(study.base, {"compute.threads": threads}))
        if found is None:
            slow = f"Timing a run took more than {estimate.MEASURING_SECONDS:.0f} s, or was killed."
            return estimate.total(left, [], jobs, slow)
        evidence = [found]
        source = "From a search and a train_step timed just now, evaluations not counted"
    return estimate.total(left, evidence, jobs, f"{source}; runs side by side slow each other.")


def show_plan(
    study: Study,
    runs: list[PlannedRun],
    states: dict[str, str],
    cost: estimate.Total,
    jobs: str,
) -> None:
    """The plan, as it is shown before anything runs."""
    sizes = [(len(study.arms), "arm"), (len(study.games), "game"), (len(study.seeds), "seed")]
    product = " x ".join(counted(*part) for part in sizes if part != (0, "game"))
    console.tell(f"Study {study.name}: {product}, {counted(len(runs), 'run')}.")
    rows = []
    for arm in study.arms:
        own = [states[run.name] for run in runs if any(c.arm == arm.name for c in run.cells)]
        counts = (own.count("finished"), sum(s in BEGUN for s in own), own.count("new"))
        rows.append((arm.name, differences_text(arm), *counts))
    console.show_table(("arm", "differs from the full agent in", "finished", "begun", "new"), rows)
    console.tell(f"Seeds {', '.join(map(str, study.seeds))}; runs side by side: {jobs}.")
    console.tell(cost_text(cost))


def differences_text(arm: Arm) -> str:
    """What an arm changes, in a cell of a table."""
    changes = ", ".join(f"{key} = {json.dumps(value)}" for key, value in arm.changes.items())
    return changes or "nothing"


def cost_text(cost: estimate.Total) -> str:
    """What is left, in a sentence."""
    if cost.run_hours is None:
        return f"Hours, memory and disk are not known. {cost.source}"
    if not cost.run_hours:
        return "Nothing is left to run."
    scaled = f" ({cost.num_scaled} scaled from other settings)" if cost.num_scaled else ""
    alone, together = (duration(3600 * (h or 0)) for h in (cost.run_hours, cost.hours))
    memory, disk = (size(count or 0) for count in (cost.memory_bytes, cost.disk_bytes))
    return (
        f"Left: about {alone} of training{scaled}, {together} side by side; {memory} of "
        f"memory, {disk} of disk. {cost.source}"
    )


def plan_as_json(
    study: Study,
    folder: StudyFolder,
    runs: list[PlannedRun],
    states: dict[str, str],
    cost: estimate.Total,
) -> dict[str, Any]:
    """The plan for programs."""
    return {
        "study": study.name,
        "preset": study.preset,
        "games": list(study.games),
        "seeds": list(study.seeds),
        "arms": [arm._asdict() for arm in study.arms],
        "runs": [
            {
                "name": run.name,
                "identity": run.config.identity,
                "state": states[run.name],
                "cells": [{"arm": c.arm, "env": c.env, "seed": c.seed} for c in run.cells],
            }
            for run in runs
        ],
        "estimate": cost._asdict(),
    }


def execute(
    study: Study,
    folder: StudyFolder,
    runs: list[PlannedRun],
    jobs: int,
    execution: Execution,
    cluster: Cluster,
    quiet: bool,
) -> int:
    """Trains what is left, or hands it over, and says how the study stands."""
    from ezcli.experiments.schedule import Scheduler

    slots = jobs if cluster.settings.is_here else execution.jobs
    refuse_queued(folder, cluster.settings)
    launcher = cluster.settings.launcher(folder.jobs, slots, devices_of(execution))
    folder.save_launcher(cluster.to_toml())
    folder.save(study, runs)
    threads = threads_of(study, jobs, cluster)
    waits = execution.waits or not launcher.outlives
    reporter = console.StudyReporter(folder.runs_dir, quiet)
    with reporter.running():
        outcome = Scheduler(folder, runs, launcher, threads, reporter, waits).run()
    folder.save(study, runs)  # seals what was attempted
    go_on = f"Go on with: {folder.go_on}"
    if outcome.stopped_by is not None:
        others = "its jobs go on" if launcher.outlives else "the others saved what they had"
        console.show(
            f"Stopped by {outcome.stopped_by.name}: {len(outcome.finished)} of {len(runs)} runs "
            f"are finished, {others}. {go_on}"
        )
    elif outcome.failed:
        names = ", ".join(run.name for run in outcome.failed)
        console.show(
            f"{len(outcome.failed)} of {len(runs)} runs failed: {names}. What they printed is in "
            f"{folder.logs}. {go_on}"
        )
    elif outcome.cancelled:
        console.show(f"{len(outcome.cancelled)} of {len(runs)} runs were cancelled. {go_on}")
    elif outcome.left:
        look = ez_command("study status", study.name, runs_dir=folder.elsewhere)
        under_way = len(outcome.left) - outcome.num_waiting
        wait = f", {outcome.num_waiting} wait for room: repeat the command then"
        console.show(
            f"{under_way} of {len(runs)} runs are under way{wait if outcome.num_waiting else ''}. "
            f"See how they stand: {look}"
        )
    elif not quiet:
        console.show(f"Done: all {len(runs)} runs of the study {study.name} are finished.\n")
        show_result(folder)
    return outcome.exit_code


def show_result(folder: StudyFolder) -> None:
    """The scores of a finished study and how the arms differ, and the command of the report."""
    from ezcli.reports.choice import Choice
    from ezcli.reports.collect import of_study
    from ezcli.reports.report import brief

    try:
        console.show_report(brief(of_study(folder), Choice()))
    except EzError as error:
        console.tell(f"There is no table of the results: {error}")
    more = ez_command("report", folder.name, output="report.html", runs_dir=folder.elsewhere)
    console.show(f"All tables and plots: {more}")


def refuse_queued(folder: StudyFolder, settings: LauncherSettings) -> None:
    """Refuses while runs of a study are in the queue of another launcher.

    Raises:
      Busy: they are.
    """
    cancel = ez_command("study cancel", folder.name, runs_dir=folder.elsewhere)
    try:
        queued = under_way(queue_of(folder.jobs, besides=settings))
    except ConfigError as error:  # this is no machine of the cluster
        raise Busy(
            "EZ-STUDY-QUEUED",
            f"Runs of the study {folder.name!r} were sent to a cluster, and nobody looked how they "
            f"ended. {error.message}",
            f"If nothing is in its queue, or it is gone, remove {str(folder.jobs)!r}. Otherwise, "
            f"on a machine of that cluster: {cancel}",
        ) from error
    if queued:
        raise Busy(
            "EZ-STUDY-QUEUED",
            f"{counted(len(queued), 'run')} of the study {folder.name!r} are in a queue.",
            f"Cancel them first: {cancel}",
        )


def study_status(name: str | None, runs_dir: Path, as_json: bool) -> None:
    """`ez study status`."""
    if name is None:
        list_studies(runs_dir, as_json)
        return
    if name not in study_names(runs_dir):
        raise UnknownName("study", name, study_names(runs_dir))
    folder = StudyFolder(runs_dir, name)
    study = folder.study()
    runs = plan(study, catalogue.by_identity(runs_dir))
    jobs = jobs_of(folder)
    rows = []
    for run in runs:
        entry = catalogue.entry(runs_dir / run.name)
        progress = catalogue.progress(entry)
        cell = run.cells[0]
        state, job = jobs.get(run.name, (None, None))
        found = entry.state
        is_under_way = state in ("queued", "running")
        folder_knows = found in ("finished", "stalled", "damaged")
        folder_knows |= found == "running" and not is_under_way
        row: dict[str, Any] = {
            "run": run.name,
            "arms": [c.arm for c in run.cells],
            "env": cell.env,
            "seed": cell.seed,
            "state": found if state is None or folder_knows else state,
            "job": None if folder_knows and not is_under_way else job,
            "train_steps": progress.train_steps,
            "total_train_steps": run.config.schedule.train_steps,
            "score": progress.score,
        }
        rows.append(row)
    if as_json:
        console.write(json_text({"study": name, "runs": rows}))
        return
    missing = [row for row in rows if row["state"] != "finished"]
    console.show(f"Study {name}: {len(rows) - len(missing)} of {len(rows)} runs are finished.")
    if missing:
        console.show_table(
            ("arm", "game", "seed", "state", "done", "score"),
            [
                (
                    " = ".join(row["arms"]),
                    row["env"],
                    row["seed"],
                    row["state"] + (f" (job {row['job']})" if row["job"] else ""),
                    ""
                    if row["state"] == "damaged"
                    else f"{(row['train_steps'] or 0) / row['total_train_steps']:.0%}",
                    "" if row["score"] is None else f"{row['score']:.2f}",
                )
                for row in missing
            ],
        )
        console.show(f"Go on with: {folder.go_on}")


def jobs_of(folder: StudyFolder) -> dict[str, tuple[str | None, str]]:
    """How the jobs of a study stand that was sent to a cluster: (state, job) by run.

    The state is None where the run's folder knows better.
    """
    try:
        launcher = queue_of(folder.jobs)
    except ConfigError as error:  # this is no machine of the cluster
        console.note(f"The queue was not asked: {error.message}")
        return {}
    if launcher is None:
        return {}
    found = dict[str, tuple[str | None, str]]()
    for run, (job, state, fate) in launcher.overview().items():
        said = state if fate is None else None if fate.exit_code == 0 else fate.cause
        found[run] = (said, job)
    return found


def study_cancel(name: str, runs_dir: Path) -> None:
    """`ez study cancel`."""
    if name not in study_names(runs_dir):
        raise UnknownName("study", name, study_names(runs_dir))
    folder = StudyFolder(runs_dir, name)
    folder.study()  # refuses a damaged one
    launcher = queue_of(folder.jobs)
    left = under_way(launcher)
    if launcher is None or not left:
        console.show(f"The study {name} has nothing in a queue.")
        return
    told = launcher.cancel(left, at_once=False)
    if told:
        console.show(
            f"Cancelled {counted(len(told), 'run')}; what runs saves first. "
            f"Go on with: {folder.go_on}"
        )
    if len(told) < len(left):
        others = counted(len(left) - len(told), "run")
        raise EzError(
            "EZ-STUDY-NOT-CANCELLED",
            f"{others} of the study {name!r} could not be cancelled: their jobs have just ended, "
            "or are another user's.",
            f"See how they stand: {ez_command('study status', name, runs_dir=folder.elsewhere)}",
        )


def list_studies(runs_dir: Path, as_json: bool) -> None:
    """Every study, and how far it is; one that cannot be read does not keep the others back."""
    rows = []
    wrong: dict[str, str] = {}
    for name in study_names(runs_dir):
        try:
            record = StudyFolder(runs_dir, name).record()
        except EzError as error:
            wrong[name] = error.message
            continue
        names = {cell.run for cell in record.cells}
        states = [catalogue.state(RunFolder(runs_dir / run)) for run in names]
        arms = [arm.name for arm in record.arms if arm.name != FULL]
        rows.append((name, ", ".join(arms), len(names), states.count("finished")))
    if as_json:
        keys = ("study", "arms", "runs", "finished")
        found: list[dict[str, Any]] = [dict(zip(keys, row, strict=True)) for row in rows]
        found += [{"study": name, "error": message} for name, message in wrong.items()]
        console.write(json_text(found))
    elif rows:
        console.show_table(("study", "arms beside full", "runs", "finished"), rows)
    elif not wrong:
        console.show(f"No study in {runs_dir} yet. Start one: ez ablate --drop value-prefix")
    for name, message in wrong.items():
        console.note(f"The study {name} is left out: {message}")
