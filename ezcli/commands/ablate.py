"""`ez ablate`: plans a study, and trains what is left of it."""

from pathlib import Path
from typing import Literal

from ezcli import console
from ezcli.commands.jobs import Execution, check_devices, devices_of, number_of_jobs, threads_of
from ezcli.commands.study_length import too_short
from ezcli.commands.study_options import Options, study_from
from ezcli.commands.study_plan import cost_of, plan_as_json, run_state, show_plan
from ezcli.config.run import RunConfig
from ezcli.envs.code import locate
from ezcli.envs.suites import own_code
from ezcli.errors import Busy, ConfigError, EzError
from ezcli.experiments import catalogue
from ezcli.experiments.handover import prepare
from ezcli.experiments.launchers.cluster import Cluster, cluster_of, queue_of, under_way
from ezcli.experiments.launchers.protocol import LauncherSettings
from ezcli.experiments.study import PlannedRun, Study, StudyFolder, plan
from ezcli.runs.folder import RunFolder
from ezcli.runs.trackers.protocol import Tracking
from ezcli.runs.tracking import require_trackers
from ezcli.words import counted, ez_command, json_text

Output = Literal["train", "plan", "commands", "json"]


def ablate(
    options: Options, runs_dir: Path, execution: Execution, output: Output, quiet: bool
) -> int:
    """`ez ablate`."""
    require_trackers(execution.tracking)
    saved = None
    if options.study is not None:
        name = options.study if options.names_any else whole_name(options.study, runs_dir)
        options, named = options._replace(study=name), StudyFolder(runs_dir, name)
        saved = named.launcher_file
        if named.exists:
            named.record()  # before its launcher.toml is believed
    cluster = cluster_of(execution.launcher, execution.cluster, saved, execution.asked)
    if execution.jobs is not None:
        cluster = cluster._replace(settings=cluster.settings.with_jobs(execution.jobs))
    asked, folder, said = study_from(options, runs_dir, cluster)
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


def whole_name(study: str, runs_dir: Path) -> str:
    """The name of the study to continue; the start of it is enough."""
    return study if StudyFolder(runs_dir, study).exists else catalogue.find_study(runs_dir, study)


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
        print_commands(study, left, runs_dir, execution.tracking)
        return 0
    jobs, why_jobs = number_of_jobs(execution, cluster, study.base, len(left))
    if output == "json" or not quiet:
        cost = cost_of(study, left, runs_dir, existing, jobs, cluster)
        if output == "json":
            shown = plan_as_json(study, runs, states, cost)
            console.write(json_text(shown))
        else:
            for sentence in said:
                console.tell(sentence)
            show_plan(study, runs, states, cost, f"{jobs} ({why_jobs})")
            for sentence in too_short(left, runs_dir, existing.values()):
                console.tell(sentence)
    if output != "train":
        return 0
    return execute(study, folder, runs, jobs, execution, cluster, quiet)


def print_commands(
    study: Study, runs: list[PlannedRun], runs_dir: Path, tracking: Tracking
) -> None:
    """Prints a command for each run, for a scheduler of the user's; it needs the run's folder.

    The commands work in any order and from any folder. No study is saved: `ez ablate` finds the
    runs by their identities.
    """
    for run in runs:
        prepare(RunFolder(runs_dir / run.name), run.config, {"preset": study.preset})
        verb = "--trust resume" if own_code(run.config.env) else "resume"
        verb = " ".join((verb, *tracking.options))
        console.write(ez_command(verb, (runs_dir / run.name).absolute()) + "\n")


def require_code(folder: RunFolder, config: RunConfig) -> None:
    """Refuses code that is not what a run of an older study noted; its config holds none.

    Raises:
      ConfigError: with the files that changed.
    """
    own = own_code(config.env)
    if own is not None and not own.code and folder.exists:
        locate(own.target, folder.noted_code())


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
        outcome = Scheduler(
            folder, runs, launcher, threads, reporter, waits, execution.tracking
        ).run()
    folder.save(study, runs)  # seals what was attempted
    go_on = f"Continue with: {folder.go_on}"
    if outcome.stopped_by is not None:
        others = "its jobs keep running" if launcher.outlives else "the others saved what they had"
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
        every = f"all {len(runs)} runs" if len(runs) > 1 else "the run"
        are = "are" if len(runs) > 1 else "is"
        console.show(f"Done: {every} of the study {study.name} {are} finished.\n")
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
