"""`ez ablate`: plans a study, and trains its unfinished runs."""

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
            named.record()  # before its launcher.toml is trusted
    cluster = cluster_of(execution.launcher, execution.cluster, saved, execution.asked)
    if execution.jobs is not None:
        cluster = cluster._replace(settings=cluster.settings.with_jobs(execution.jobs))
    asked, folder, said = study_from(options, runs_dir, cluster)
    if cluster.settings.is_here:
        check_devices(asked, execution, options.overrides, must_be_here=output == "train")
    elif execution.devices is not None:
        raise ConfigError(
            "EZ-LAUNCHER-OPTION", f"--devices has no effect with the launcher {cluster.name}."
        )
    if output != "train":
        study, added = folder.merge(asked)
        return carry_out(study, folder, [*said, *added], execution, cluster, output, quiet)
    with folder.lock():  # from reading to the end, so that no arm is lost
        study, added = folder.merge(asked)
        return carry_out(study, folder, [*said, *added], execution, cluster, output, quiet)


def whole_name(study: str, runs_dir: Path) -> str:
    """The whole name of a study, found by its start."""
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
    """Prints the plan of a study or its commands, or trains its unfinished runs."""
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
    """Prints a command for each run, for the user's own scheduler. It needs the run's folder.

    The commands work in any order and from any folder. No study is saved: `ez ablate` finds the
    runs by their identities.
    """
    for run in runs:
        prepare(RunFolder(runs_dir / run.name), run.config, {"preset": study.preset})
        verb = "--trust resume" if own_code(run.config.env) else "resume"
        verb = " ".join((verb, *tracking.options))
        console.write(ez_command(verb, (runs_dir / run.name).absolute()) + "\n")


def require_code(folder: RunFolder, config: RunConfig) -> None:
    """Refuses code that differs from the code recorded by a run of an older study.

    Raises:
      ConfigError: names the changed files.
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
    """Trains or submits the unfinished runs, and prints the state of the study."""
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
    folder.save(study, runs)  # seals the runs that were attempted
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
        wait = f", {outcome.num_waiting} wait for free places: repeat the command later"
        console.show(
            f"{under_way} of {len(runs)} runs are in "
            f"progress{wait if outcome.num_waiting else ''}. See their state: {look}"
        )
    elif not quiet:
        every = f"all {len(runs)} runs" if len(runs) > 1 else "the run"
        are = "are" if len(runs) > 1 else "is"
        console.show(f"Done: {every} of the study {study.name} {are} finished.\n")
        show_result(folder)
    return outcome.exit_code


def show_result(folder: StudyFolder) -> None:
    """Prints the scores of a finished study, differences between arms, and the report's command."""
    from ezcli.reports.choice import Choice
    from ezcli.reports.collect import of_study
    from ezcli.reports.report import brief

    try:
        console.show_report(brief(of_study(folder), Choice()))
    except EzError as error:
        console.tell(f"The results cannot be shown: {error}")
    more = ez_command("report", folder.name, output="report.html", runs_dir=folder.elsewhere)
    console.show(f"All tables and plots: {more}")


def refuse_queued(folder: StudyFolder, settings: LauncherSettings) -> None:
    """Refuses if runs of a study are in the queue of another launcher.

    Raises:
      Busy: runs are in a queue.
    """
    cancel = ez_command("study cancel", folder.name, runs_dir=folder.elsewhere)
    try:
        queued = under_way(queue_of(folder.jobs, besides=settings))
    except ConfigError as error:  # this machine is not part of the cluster
        raise Busy(
            "EZ-STUDY-QUEUED",
            f"Runs of the study {folder.name!r} were submitted to a cluster, and their end was "
            f"not recorded. {error.message}",
            f"On a machine of that cluster: {cancel}. If its queue is empty or the cluster no "
            f"longer exists, remove {str(folder.jobs)!r}.",
        ) from error
    if queued:
        raise Busy(
            "EZ-STUDY-QUEUED",
            f"{counted(len(queued), 'run')} of the study {folder.name!r} are in a queue.",
            f"Cancel them first: {cancel}",
        )
