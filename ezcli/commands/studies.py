"""`ez study`: shows the state of studies, and cancels their jobs."""

from pathlib import Path
from typing import Any

from ezcli import console
from ezcli.errors import ConfigError, EzError
from ezcli.experiments import catalogue
from ezcli.experiments.design import FULL, arm_label, arms_label
from ezcli.experiments.launchers.cluster import queue_of, under_way
from ezcli.experiments.study import StudyFolder, plan, study_names
from ezcli.runs.folder import RunFolder
from ezcli.words import counted, ez_command, json_text


def study_status(name: str | None, runs_dir: Path, as_json: bool) -> None:
    """`ez study status`."""
    if name is None:
        list_studies(runs_dir, as_json)
        return
    name = catalogue.find_study(runs_dir, name)
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
                    arms_label(row["arms"]),
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
        console.show(f"Continue with: {folder.go_on}")


def jobs_of(folder: StudyFolder) -> dict[str, tuple[str | None, str]]:
    """State and job of each run of a study on a cluster: (state, job) by run.

    The state is None if the run's folder has newer information.
    """
    try:
        launcher = queue_of(folder.jobs)
    except ConfigError as error:  # this machine is not part of the cluster
        console.note(f"The queue cannot be read: {error.message}")
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
    name = catalogue.find_study(runs_dir, name)
    folder = StudyFolder(runs_dir, name)
    folder.study()  # refuses a damaged study
    launcher = queue_of(folder.jobs)
    left = under_way(launcher)
    if launcher is None or not left:
        console.show(f"The study {name} has no jobs in a queue.")
        return
    told = launcher.cancel(left, at_once=False)
    if told:
        console.show(
            f"Cancelled {counted(len(told), 'run')}. Those that have started save first. "
            f"Continue with: {folder.go_on}"
        )
    if len(told) < len(left):
        others = counted(len(left) - len(told), "run")
        raise EzError(
            "EZ-STUDY-NOT-CANCELLED",
            f"{others} of the study {name!r} could not be cancelled: their jobs have just ended, "
            "or belong to another user.",
            f"See their state: {ez_command('study status', name, runs_dir=folder.elsewhere)}",
        )


def list_studies(runs_dir: Path, as_json: bool) -> None:
    """Lists every study with its progress, and names studies that cannot be read."""
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
        rows.append((name, arms, len(names), states.count("finished")))
    if as_json:
        keys = ("study", "arms", "runs", "finished")
        found: list[dict[str, Any]] = [
            dict(zip(keys, (name, ", ".join(arms), *counts), strict=True))
            for name, arms, *counts in rows
        ]
        found += [{"study": name, "error": message} for name, message in wrong.items()]
        console.write(json_text(found))
    elif rows:
        console.show_table(
            ("study", "arms beside full", "runs", "finished"),
            [(name, "; ".join(map(arm_label, arms)), *counts) for name, arms, *counts in rows],
        )
    elif not wrong:
        console.show(f"No study in {runs_dir} yet. Start one: ez ablate --drop value-prefix")
    for name, message in wrong.items():
        console.note(f"The study {name} is left out: {message}")
