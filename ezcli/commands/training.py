"""The commands that train, resume and evaluate one run.

PyTorch, Numba and the emulator are imported inside the functions that need them. An integer
returned is the exit code.
"""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ezcli import console
from ezcli.commands.config_options import (
    ConfigOptions,
    default_preset,
    playable_config,
    recorded,
    refuse_contradictions,
)
from ezcli.commands.find import default_name, find_run, new_code, place_of
from ezcli.config.resolve import resolve, with_changes
from ezcli.config.run import RunConfig
from ezcli.envs.suites import normalisation_of
from ezcli.errors import ConfigError, RunError
from ezcli.words import ez_command, json_text

if TYPE_CHECKING:
    from ezcli.runs.folder import RunFolder
    from ezcli.runs.trackers.protocol import Tracking


class Start(NamedTuple):
    """The options of `ez train` that describe the run; None or empty if not given."""

    game: str | None
    env: str | None
    preset: str | None
    seed: int | None
    device: str | None
    overrides: list[str]  # of `--set`
    extended: str | None  # the run given with `--from`
    at: int | None  # env_steps
    deterministic: bool


def described(
    start: Start, runs_dir: Path, has_gpus: bool | None, quiet: bool
) -> tuple[RunConfig, str, dict[str, Any]]:
    """The config of the described run, the preset in its name, and entries for `run.json`.

    Raises:
      EzError: an option is wrong, or contradicts another.
    """
    if start.deterministic:
        asked = {"compute.deterministic": ("--deterministic", True)}
        refuse_contradictions(asked, start.overrides)
    if start.extended is not None:
        from ezcli.commands.extension import extension

        for option in ("game", "env", "preset", "seed"):
            if getattr(start, option) is not None:
                raise ConfigError(
                    "EZ-OPTION-CONFLICT",
                    f"--{option} cannot be given with --from: it is taken from the run "
                    f"{start.extended!r}.",
                    "Leave out one of them.",
                )
        found = extension(start.extended, start.at, runs_dir, start.device, start.overrides)
        config, preset, origin = found
    elif start.at is not None:
        raise ConfigError("EZ-OPTION-CONFLICT", "--at needs --from.", "Add --from RUN.")
    else:
        because, game, env = "asked for", start.game, start.env
        if start.preset is not None:
            preset = start.preset
        else:
            preset, because = default_preset(env, game, start.device, has_gpus)
            if not quiet:
                console.show(f"Preset {preset}: {because}. Choose another with --preset.")
        options = ConfigOptions(preset, env, game, start.seed, start.device, start.overrides)
        config, origin = playable_config(options), {"preset": preset, "preset_because": because}
    if start.deterministic:
        config = with_changes(config, {"compute.deterministic": True}, source="--deterministic")
    return config, preset, origin


def train(
    start: Start,
    name: str | None,
    runs_dir: Path,
    tracking: "Tracking",
    quiet: bool,
    launcher: str | None,
    cluster_file: Path | None,
) -> int:
    """`ez train`."""
    from ezcli.experiments.launchers.cluster import cluster_of

    cluster = cluster_of(launcher, cluster_file, None, {})
    config, preset, origin = described(start, runs_dir, cluster.settings.has_gpus, quiet)
    path = place_of(config, runs_dir, name, default_name(config, preset))
    if name is None and path.name != default_name(config, preset) and not quiet:
        console.show(f"The run {path.name!r} already has this config.")
    said = "" if quiet or path.exists() else new_code(config, runs_dir)
    if said:
        console.show(said)
    if not cluster.settings.is_here:
        from ezcli.commands.submit import submit_run

        return submit_run(config, path, origin, cluster, tracking)
    return run_training(config, path, quiet, tracking, origin)


def resume(
    run: str,
    runs_dir: Path,
    device: str | None,
    threads: int | None,
    tracking: "Tracking",
    quiet: bool,
) -> int:
    """`ez resume`."""
    from ezcli.runs.folder import RunFolder

    path = find_run(run, runs_dir)
    config = recorded(RunFolder(path), device)
    if threads is not None:
        config = with_changes(config, {"compute.threads": threads}, source="--threads")
    return run_training(config, path, quiet, tracking, {})


class Asked(NamedTuple):
    """The options of `ez evaluate` on how to play; None for the value of the final evaluation."""

    episodes: int | None = None
    seed: int | None = None
    planner: str | None = None
    simulations: int | None = None
    sticky: float | None = None


# The settings that options of `ez evaluate` change, by option.
CHANGED_BY = {
    "planner": "planning.evaluation",
    "simulations": "search.num_simulations",
    "sticky": "env.sticky",
}


def evaluate(
    run: str, asked: Asked, name: str | None, runs_dir: Path, device: str | None, as_json: bool
) -> None:
    """`ez evaluate`. Without a name, the evaluation is named after its options."""
    from ezcli.efficientzero.components import PLANNERS
    from ezcli.runs.evaluate import final_protocol
    from ezcli.runs.evaluations import describe_evaluation
    from ezcli.runs.folder import RunFolder
    from ezcli.runs.scoring import evaluate_run

    folder = RunFolder(find_run(run, runs_dir))
    config = recorded(folder, device)
    given = {option: value for option, value in asked._asdict().items() if value is not None}
    if name is None:
        name = ",".join(f"{option}={value}" for option, value in given.items())
    changes = {key: given[option] for option, key in CHANGED_BY.items() if option in given}
    named = {key: f"--{option}" for option, key in CHANGED_BY.items()}
    # an error names the option
    resolve(config.model_dump(mode="json"), changes=changes, given=named)
    planner = changes.get("planning.evaluation", config.planning.evaluation)
    if asked.simulations is not None and not PLANNERS[planner].searches:
        raise ConfigError(
            "EZ-OPTION-CONFLICT",
            f"--simulations has no effect with the planner {planner!r}, which does not search.",
            "Leave it out, or choose another --planner.",
        )
    protocol = final_protocol(config, asked.episodes, asked.seed or 0, changes)
    with console.evaluating(f"Evaluating {folder.name}") as tell:
        line = evaluate_run(folder, config, protocol, name, console.note, tell)
    if as_json:
        console.write(json_text(line))
    else:
        console.show(describe_evaluation(line, normalisation_of(config.env)))


def run_training(
    config: RunConfig,
    path: Path,
    quiet: bool,
    tracking: "Tracking",
    origin: dict[str, Any],
) -> int:
    """Trains, reports a stop, and returns the exit code."""
    from ezcli.runs.folder import RunFolder
    from ezcli.runs.train import train as train_run

    folder = RunFolder(path)
    reporter = console.QuietReporter() if quiet else console.TerminalReporter()
    reporter.say(f"Run {path} (identity {config.identity}).")
    with reporter.running():
        stopped_by = train_run(config, folder, reporter, tracking, origin)
    if reporter.lost_output is not None:
        raise reporter.lost_output
    if stopped_by is None:
        scores = scores_on_the_way(folder)
        if scores:
            reporter.say(f"Interim scores: {', '.join(f'{score:.2f}' for score in scores)}.")
        reporter.say(f"Done. Watch it: {ez_command('watch', path)}")
        table = ez_command("report", path, plots="plots" if scores else None)
        reporter.say(f"Tables{' and plots' if scores else ''}: {table}")
        return 0
    go_on = f"Continue with: {ez_command('resume', path)}"
    console.show(f"Stopped by {stopped_by.name} and saved. {go_on}")
    return 130 if stopped_by is signal.SIGINT else 75


def scores_on_the_way(folder: "RunFolder") -> list[float]:
    """Means of the run's interim evaluations; empty if they are damaged, which training reports."""
    from ezcli.runs.evaluations import is_number
    from ezcli.runs.folder import EVALUATIONS

    try:
        interim = [line for line in folder.read(EVALUATIONS) if line.get("kind") == "interim"]
    except RunError:
        return []
    return [line["mean"] for line in interim if is_number(line.get("mean"))]
