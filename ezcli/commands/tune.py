"""`ez tune`: searches settings by trials, each of which is a run."""

import signal
from collections.abc import Iterable, Mapping
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ezcli import console
from ezcli.commands.config_options import ConfigOptions, default_preset, playable_config
from ezcli.commands.files import save
from ezcli.commands.find import place_of
from ezcli.config.resolve import with_changes
from ezcli.config.run import RunConfig
from ezcli.config.text import to_toml
from ezcli.errors import ConfigError, NotFinite
from ezcli.experiments.study import StudyFolder
from ezcli.experiments.tuning import BEST, FIRST_SEED, Space, best_preset, open_study, read_space
from ezcli.runs.folder import EVALUATIONS, RunFolder
from ezcli.words import counted, ez_command, spelt_out

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

    from ezcli.runs.session import StopRequest

RUN, ERROR = "run", "error"  # keys of a trial's attributes
SHOWN = 5  # of the best trials


class Tuning(NamedTuple):
    """What all trials share."""

    base: RunConfig
    space: Space
    study: "Study"
    folder: StudyFolder
    quiet: bool

    def say(self, text: str) -> None:
        """Prints a line, unless quiet."""
        if not self.quiet:
            console.show(text)


def tune(
    options: ConfigOptions,
    space_file: Path,
    trials: int,
    name: str | None,
    runs_dir: Path,
    quiet: bool,
) -> int:
    """`ez tune`. Without a preset, it is chosen by game and device."""
    if find_spec("optuna") is None:
        raise ConfigError(
            "EZ-OPTION-NO-PACKAGE",
            "ez tune needs the package 'optuna', which is not installed.",
            "Install it: pip install 'ezcli[tune]'",
        )
    if options.seed is not None and options.seed < FIRST_SEED:
        raise ConfigError(
            "EZ-TUNE-SEED",
            f"--seed {options.seed} is not allowed: seeds below {FIRST_SEED} are reserved for "
            "the runs that you report.",
            f"Use {FIRST_SEED} or more.",
        )
    if not options.preset:
        preset, because = default_preset(options.env, options.game, options.device)
        options = options._replace(preset=preset)
        if not quiet:
            console.show(f"Preset {preset}: {because}. Choose another with --preset.")
    base = playable_config(options._replace(seed=options.seed or FIRST_SEED))
    space = read_space(space_file, base)
    folder = StudyFolder(runs_dir, name or f"tune-{base.env_label.replace('/', '-')}")
    if folder.exists:
        raise ConfigError(
            "EZ-TUNE-OTHER-STUDY",
            f"{folder.name!r} is a study of `ez ablate`.",
            "Choose another --study.",
        )
    study = open_study(folder.path, base, space)
    tuning = Tuning(base, space, study, folder, quiet)
    if not base.evaluation.interval:
        tuning.say(
            "No trial is stopped early, because evaluation.interval is 0. Set it for "
            "interim scores."
        )
    take_up(tuning)
    stopped_by = None
    while stopped_by is None and (left := trials - num_done(study)) > 0:
        tuning.say(f"{counted(left, 'trial')} of {trials} left.")
        stopped_by = try_one(tuning)
    if stopped_by is not None:
        console.show(f"Stopped by {stopped_by.name} and saved. Repeat the command to continue.")
        return 130 if stopped_by is signal.SIGINT else 75
    return conclude(tuning)


def num_done(study: "Study") -> int:
    """Number of trials that ended without being stopped."""
    ended = ("COMPLETE", "PRUNED")
    return sum(t.state.name in ended or ERROR in t.user_attrs for t in study.trials)


def take_up(tuning: Tuning) -> None:
    """Queues stopped trials first. Their runs continue from their checkpoints."""
    from optuna.trial import TrialState

    study, runs_dir = tuning.study, tuning.folder.runs_dir
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        run = trial.user_attrs.get(RUN)
        if run is not None and RunFolder(runs_dir / run).is_locked:
            continue  # another command runs it
        study.tell(trial.number, state=TrialState.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params)


def try_one(tuning: Tuning) -> signal.Signals | None:
    """Runs one trial; returns the signal that stopped it, if any."""
    from optuna.trial import TrialState

    from ezcli.runs.session import StopRequest

    study = tuning.study
    trial = study.ask()
    values = {key: found.suggest(trial, key) for key, found in tuning.space.items()}
    reporter = console.QuietReporter() if tuning.quiet else console.TerminalReporter()
    stop = StopRequest(reporter)
    try:
        config = with_changes(tuning.base, values, source=f"trial {trial.number}")
        default = f"{tuning.folder.name}-{config.identity[:6]}"
        folder = RunFolder(place_of(config, tuning.folder.runs_dir, None, default))
        trial.set_user_attr(RUN, folder.name)
        text = ", ".join(f"{key}={shown(value)}" for key, value in values.items())
        tuning.say(f"Trial {trial.number}: {text} ({folder.path})")
        with reporter.running():
            is_pruned = train(trial, config, folder, reporter, stop)
    except (ConfigError, NotFinite) as error:  # contradictory values, or divergence
        trial.set_user_attr(ERROR, error.message)
        study.tell(trial, state=TrialState.FAIL)
        tuning.say(f"Trial {trial.number} failed: {error.message}")
        return None
    if reporter.lost_output is not None:
        raise reporter.lost_output
    if stop.signal is not None:
        return stop.signal
    if is_pruned:
        study.tell(trial, state=TrialState.PRUNED)
        tuning.say(
            f"Trial {trial.number} stopped early: its score is below the median of the others."
        )
        return None
    (score,) = [line["mean"] for line in folder.read(EVALUATIONS) if line["kind"] == "final"]
    study.tell(trial, score)
    tuning.say(f"Trial {trial.number}: score {score:.2f}. Best so far: {study.best_value:.2f}.")
    return None


def train(
    trial: "Trial",
    config: RunConfig,
    folder: RunFolder,
    reporter: "console.TerminalReporter",
    stop: "StopRequest",
) -> bool:
    """Trains the run of a trial; returns whether it was stopped early, and then saves it."""
    from ezcli.runs.train import training

    is_finished = folder.exists and folder.status() == "finished"
    reported: set[int] = set()

    def is_poor(lines: Iterable[Mapping[str, Any]]) -> bool:
        """Reports interim scores, and returns whether they are too low to continue."""
        for line in lines:
            if line["kind"] == "interim" and line["train_steps"] not in reported:
                reported.add(line["train_steps"])
                trial.report(line["mean"], line["train_steps"])
        return trial.should_prune()

    if folder.exists and is_poor(folder.read(EVALUATIONS)) and not is_finished:
        return True
    with closing(training(config, folder, reporter, stop)) as events:
        return any(is_poor(event.evaluations) for event in events)


def conclude(tuning: Tuning) -> int:
    """Writes the preset of the best trial, prints how to measure it, and returns the exit code."""
    study, folder = tuning.study, tuning.folder
    done = sorted((t for t in study.trials if t.state.name == "COMPLETE"), key=score, reverse=True)
    if not done:
        console.show("No trial has a score: all failed or were stopped early. Try a smaller space.")
        return 1
    rows = [
        (str(t.number), f"{score(t):.2f}", *(shown(t.params[key]) for key in tuning.space))
        for t in done[:SHOWN]
    ]
    states = [t.state.name for t in study.trials]
    failed = sum(ERROR in t.user_attrs for t in study.trials)
    console.show(
        f"{counted(len(done), 'trial')} with a score, {states.count('PRUNED')} stopped early, "
        f"{failed} failed. The best:"
    )
    console.show_table(("trial", "score", *tuning.space), rows)
    config, about = best_preset(tuning.base, study)
    path = folder.path / BEST
    comment = "".join(f"# {console.harmless(line)}\n" for line in about.splitlines())
    save(path, (comment + spelt_out(to_toml(config))).encode())
    console.show(f"The best is the preset {path}.")
    measure = ez_command("ablate", preset=path, seeds="5", runs_dir=folder.elsewhere)
    console.show(
        f"It was selected by its score on seed {tuning.base.seed}, which is therefore biased. "
        f"Measure it on other seeds: {measure}"
    )
    return 0


def shown(value: Any) -> str:
    """A setting in a line or a cell."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def score(trial: "FrozenTrial") -> float:
    """The score of a finished trial."""
    assert trial.value is not None
    return trial.value
