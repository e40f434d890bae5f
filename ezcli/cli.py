"""The commands of `ez`: their options and help, and nothing else.

The commands themselves are in `ezcli.commands`. They are imported when they are called, so that `ez
--help` is fast.
"""

import contextlib
import errno
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ezcli import __version__
from ezcli.errors import ConfigError, EzError, MachineError, OutputError
from ezcli.words import json_text

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(
    help="Show and save run configs.\n\nExample: ez config show --preset atari100k",
    no_args_is_help=True,
)
app.add_typer(config_app, name="config")
ablations_app = typer.Typer()
app.add_typer(ablations_app, name="ablations")
study_app = typer.Typer(
    help="Show studies, or cancel their jobs.\n\nExample: ez study status", no_args_is_help=True
)
app.add_typer(study_app, name="study")
runs_app = typer.Typer()
app.add_typer(runs_app, name="runs")


def possible(path: Path | None) -> Path | None:
    """Refuses a path that the file system does not allow."""
    try:
        if path is not None:
            path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(
            "EZ-PATH-INVALID", f"{str(path)!r} is not a valid path: {why}."
        ) from error
    return path


def folder(path: Path) -> Path:
    """Refuses a path that exists and is not a folder."""
    possible(path)
    if path.exists() and not path.is_dir():
        raise ConfigError(
            "EZ-PATH-NOT-A-FOLDER",
            f"{str(path)!r} is not a folder.",
            "Name the folder of all runs.",
        )
    return path


def reserve_output(context: typer.Context, is_asked: bool) -> bool:
    """Keeps standard output for the command alone, if another program reads it."""
    if is_asked and not context.resilient_parsing:  # while a shell completes
        from ezcli import console

        context.with_resource(console.output.reserve())
    return is_asked


def completing(what: str) -> Callable[[typer.Context, str], list[str]]:
    """Returns the function that completes names of runs, presets and so on when Tab is pressed."""

    def names(context: typer.Context, incomplete: str) -> list[str]:
        from ezcli.commands.completion import complete

        return complete(what, incomplete, context.params.get("runs_dir") or RUNS)

    return names


Game = Annotated[
    str | None,
    typer.Option(
        help="Game: pong, minatar/breakout, procgen/coinrun.", autocompletion=completing("game")
    ),
]
Environment = Annotated[
    str | None,
    typer.Option(
        "--env",
        help="atari, catch, keydoor, gym:ID, or your own file.py:Class.",
        autocompletion=completing("environment"),
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="PRESET",
        help="Name (`ez presets`) or path of a TOML file. Default: chosen by game and device.",
        autocompletion=completing("preset"),
    ),
]
Seed = Annotated[int | None, typer.Option(help="Seed of all random numbers.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Games = Annotated[
    list[str] | None,
    typer.Option(
        "--game",
        metavar="GAME",
        help="Game, as in `ez train`. Repeatable.",
        autocompletion=completing("game"),
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting: search.num_simulations=25. Repeatable.",
        autocompletion=completing("setting"),
    ),
]
RunsDir = Annotated[Path, typer.Option(callback=folder, help="Folder of all runs.")]
Wandb = Annotated[str | None, typer.Option(help="offline or online: log to Weights & Biases too.")]
WandbProject = Annotated[
    str | None,
    typer.Option(metavar="[ENTITY/]PROJECT", help="Project in Weights & Biases. Default: ezcli."),
]
TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Log for TensorBoard too, into the run's folder.")
]
MLflow = Annotated[
    bool, typer.Option("--mlflow", help="Log to the MLflow server of MLFLOW_TRACKING_URI too.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only how to continue after a stop.")]
Launcher = Annotated[str | None, typer.Option(help="Where to run: local, slurm or ray.")]
ClusterFile = Annotated[
    Path | None,
    typer.Option(
        callback=possible, help="TOML file with `launcher` and its table, such as [slurm]."
    ),
]
Partition = Annotated[str | None, typer.Option(help="SLURM: partition.")]
Account = Annotated[str | None, typer.Option(help="SLURM: account.")]
Constraint = Annotated[
    str | None, typer.Option(help="SLURM: features of the node, such as a100|h100.")
]
Gpus = Annotated[
    str | None, typer.Option(help="GPUs per SLURM job (1, a100:1, 0) or per Ray run (0.5).")
]
Cpus = Annotated[int | None, typer.Option(min=1, help="Cores per SLURM job or per Ray run.")]
Memory = Annotated[str | None, typer.Option(help="SLURM: memory per job, such as 16G.")]
Time = Annotated[
    str | None,
    typer.Option(
        help="SLURM: time limit per job, such as 12:00:00. Runs save before it and "
        "continue in the next job."
    ),
]
RunsPerGpu = Annotated[int | None, typer.Option(min=1, help="Runs at the same time on one GPU.")]
Wait = Annotated[bool, typer.Option("--wait", help="SLURM: wait until all runs have ended.")]
Json = Annotated[bool, typer.Option("--json", callback=reserve_output, help="Print JSON.")]
Run = Annotated[
    str,
    typer.Argument(
        help="Name or id of a run (`ez runs`), a unique prefix of either, or the path of its "
        "folder.",
        autocompletion=completing("run"),
    ),
]

RUNS = Path("runs")


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show codes and tracebacks of errors.")
    ] = False,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Trust all code and clusters that runs and studies refer to."),
    ] = False,
) -> None:
    """Train EfficientZero on Atari 100k, and report what you measured.

    First steps: ez doctor, then ez train --env catch
    """
    if version:
        typer.echo(__version__)
        raise typer.Exit
    from ezcli import console
    from ezcli import trust as trusting
    from ezcli.runs import lock

    lock.say = console.note
    trusting.is_everything_trusted = trust
    trusting.confirm = console.ask if os.isatty(0) and os.isatty(1) else None


@app.command(no_args_is_help=True)
def train(
    game: Game = None,
    env: Environment = None,
    preset: Preset = None,
    extended: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Start a new run from the newest checkpoint of this run.",
            autocompletion=completing("run"),
        ),
    ] = None,
    at: Annotated[
        int | None,
        typer.Option(min=1, help="With --from: the newest checkpoint up to this env_step."),
    ] = None,
    seed: Seed = None,
    device: Device = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Reproduce the same bits on a GPU, more slowly.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Name of the run's folder.")] = None,
    runs_dir: RunsDir = RUNS,
    overrides: Overrides = None,
    wandb: Wandb = None,
    wandb_project: WandbProject = None,
    tensorboard: TensorBoard = False,
    mlflow: MLflow = False,
    launcher: Launcher = None,
    cluster: ClusterFile = None,
    quiet: Quiet = False,
) -> None:
    """Train an agent. Repeat the command to continue a stopped run.

    Example: ez train --game pong

    Example: ez train --from pong-atari100k-seed0 --set schedule.env_steps=200000
    """
    from ezcli.commands import training
    from ezcli.runs.trackers.protocol import Tracking

    start = training.Start(
        game, env, preset, seed, device, overrides or [], extended, at, deterministic
    )
    tracking = Tracking(wandb, wandb_project, tensorboard, mlflow)
    raise typer.Exit(training.train(start, name, runs_dir, tracking, quiet, launcher, cluster))


@app.command()
def resume(
    run: Run,
    runs_dir: RunsDir = RUNS,
    device: Device = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Searches at the same time. Results do not depend on it."),
    ] = None,
    wandb: Wandb = None,
    wandb_project: WandbProject = None,
    tensorboard: TensorBoard = False,
    mlflow: MLflow = False,
    quiet: Quiet = False,
) -> None:
    """Resume a run, or start a planned one.

    Example: ez resume pong-atari-cpu-seed0
    """
    from ezcli.commands import training
    from ezcli.runs.trackers.protocol import Tracking

    tracking = Tracking(wandb, wandb_project, tensorboard, mlflow)
    raise typer.Exit(training.resume(run, runs_dir, device, threads, tracking, quiet))


@app.command()
def evaluate(
    run: Run,
    episodes: Annotated[
        int | None,
        typer.Option(min=1, help="Episodes to play. Default: as in the final evaluation."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of the games; 0 repeats those of the final evaluation."),
    ] = None,
    planner: Annotated[
        str | None, typer.Option(help="puct, gumbel or one-step. Default: the run's planner.")
    ] = None,
    simulations: Annotated[
        int | None,
        typer.Option(min=1, help="Simulations per search. Default: as in the run."),
    ] = None,
    sticky: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help="Probability that a frame repeats the last action. Default: as in the run.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name for `ez report --evaluation`. Default: made from the options."),
    ] = None,
    runs_dir: RunsDir = RUNS,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Evaluate a run's last weights, and save the scores.

    The run's final score does not change. Report the new scores with: ez report --evaluation NAME

    Example: ez evaluate pong-atari-cpu-seed0 --episodes 100 --seed 1

    Example: ez evaluate pong-atari-cpu-seed0 --sticky 0.25
    """
    from ezcli.commands import training

    asked = training.Asked(episodes, seed, planner, simulations, sticky)
    training.evaluate(run, asked, name, runs_dir, device, as_json)


@app.command()
def watch(
    run: Run,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            callback=possible,
            help="FILE.mp4 or FILE.gif. Default: watch-seedN.mp4 in the run's folder.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the game.")] = 0,
    max_steps: Annotated[
        int | None,
        typer.Option(
            min=1, help="Limit of env_steps. Default: as in an evaluation; 500 for a GIF."
        ),
    ] = None,
    fps: Annotated[
        int | None,
        typer.Option(min=1, max=50, help="env_steps per second. Default: Atari's own speed."),
    ] = None,
    runs_dir: RunsDir = RUNS,
    device: Device = None,
) -> None:
    """Film a whole game, with the agent's search beside it.

    Ctrl-C ends the game and saves the film so far.

    Example: ez watch pong-atari-cpu-seed0 -o pong.mp4
    """
    from ezcli.commands import watch

    raise typer.Exit(watch.watch(run, output, seed, max_steps, fps, runs_dir, device))


@app.command()
def ablate(
    drop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Ablation to drop, by name or path; a+b drops both. Repeatable.",
            autocompletion=completing("ablation"),
        ),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUES",
            help="Setting to sweep: search.num_simulations=8,16,50. Repeatable.",
            autocompletion=completing("setting"),
        ),
    ] = None,
    factorial: Annotated[
        bool, typer.Option("--factorial", help="Train every subset of the drops.")
    ] = False,
    game: Games = None,
    games: Annotated[
        str | None,
        typer.Option(
            help="Set of games: atari26, atari57, minatar5 or procgen16.",
            autocompletion=completing("set of games"),
        ),
    ] = None,
    env: Environment = None,
    seeds: Annotated[
        str | None, typer.Option(help="5 for seeds 0 to 4, or 0,3,7. [default: 5, or 3 on Atari]")
    ] = None,
    preset: Preset = None,
    overrides: Overrides = None,
    study: Annotated[
        str | None,
        typer.Option(help="Name of the study's folder.", autocompletion=completing("study")),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Runs at the same time. Default: as many as cores and memory allow."
        ),
    ] = None,
    devices: Annotated[
        str | None, typer.Option(help="Devices for the runs, such as cuda:0,cuda:1.")
    ] = None,
    launcher: Launcher = None,
    cluster: ClusterFile = None,
    partition: Partition = None,
    account: Account = None,
    constraint: Constraint = None,
    gpus: Gpus = None,
    cpus: Cpus = None,
    memory: Memory = None,
    time: Time = None,
    runs_per_gpu: RunsPerGpu = None,
    wait: Wait = False,
    wandb: Wandb = None,
    wandb_project: WandbProject = None,
    tensorboard: TensorBoard = False,
    mlflow: MLflow = False,
    runs_dir: RunsDir = RUNS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan only.")] = False,
    print_commands: Annotated[
        bool,
        typer.Option(
            "--print-commands",
            callback=reserve_output,
            help="Prepare the runs, and print a command for each.",
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", callback=reserve_output, help="Print the plan only, as JSON."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train with and without parts of the agent, seed by seed.

    The full agent is always trained too. Without --drop and --vary, only the full agent is trained,
    for example on --games atari26. Existing runs are not trained again. Continue a study with the
    same command, or with: ez ablate --study NAME

    Example: ez ablate --drop value-prefix --env catch --seeds 5
    """
    from ezcli.commands import ablate as command
    from ezcli.commands.jobs import Execution
    from ezcli.commands.study_options import Options
    from ezcli.runs.trackers.protocol import Tracking

    if print_commands and (dry_run or as_json):
        raise ConfigError(
            "EZ-OPTION-CONFLICT", "Use --print-commands without --dry-run and --json."
        )
    output: command.Output = (
        "json" if as_json else "plan" if dry_run else "commands" if print_commands else "train"
    )
    options = Options(
        drop or [],
        vary or [],
        factorial,
        game or [],
        games,
        env,
        seeds,
        preset,
        overrides or [],
        study,
    )
    given = {
        "partition": partition,
        "account": account,
        "constraint": constraint,
        "gpus": gpus,
        "cpus": cpus,
        "memory": memory,
        "time": time,
        "runs_per_gpu": runs_per_gpu,
    }
    asked = {name: value for name, value in given.items() if value is not None}
    execution = Execution(
        jobs,
        devices,
        launcher,
        cluster,
        asked,
        wait,
        Tracking(wandb, wandb_project, tensorboard, mlflow),
    )
    raise typer.Exit(command.ablate(options, runs_dir, execution, output, quiet))


@app.command(no_args_is_help=True)
def tune(
    space: Annotated[
        Path,
        typer.Option(callback=possible, help="TOML file of settings with ranges or choices."),
    ],
    trials: Annotated[
        int, typer.Option(min=1, help="Trials in total, including earlier ones.")
    ] = 40,
    game: Game = None,
    env: Environment = None,
    preset: Preset = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the trials: 1000 or more. [default: 1000]")
    ] = None,
    device: Device = None,
    overrides: Overrides = None,
    study: Annotated[str | None, typer.Option(help="Name of the study's folder.")] = None,
    runs_dir: RunsDir = RUNS,
    quiet: Quiet = False,
) -> None:
    """Search for better settings, and save the best as a preset.

    Each trial is a run. A trial is stopped early if an interim score is below the median. Repeat
    the command to continue. Example of a line in the space file: "optimiser.learning_rate" = {low =
    0.01, high = 0.3, log = true}

    Example: ez tune --env catch --space space.toml --trials 20
    """
    from ezcli.commands import tune
    from ezcli.commands.config_options import ConfigOptions

    options = ConfigOptions(preset or "", env, game, seed, device, overrides or ())
    raise typer.Exit(tune.tune(options, space, trials, study, runs_dir, quiet))


@study_app.command("status")
def study_status(
    study: Annotated[
        str | None,
        typer.Argument(
            help="Name of a study. Default: all studies.", autocompletion=completing("study")
        ),
    ] = None,
    runs_dir: RunsDir = RUNS,
    as_json: Json = False,
) -> None:
    """Show which runs of a study are missing.

    Example: ez study status catch-value-prefix
    """
    from ezcli.commands import studies

    studies.study_status(study, runs_dir, as_json)


@study_app.command("cancel")
def study_cancel(
    study: Annotated[
        str, typer.Argument(help="Name of a study.", autocompletion=completing("study"))
    ],
    runs_dir: RunsDir = RUNS,
) -> None:
    """Cancel a study's queued and running jobs. Runs save first.

    Example: ez study cancel catch-value-prefix
    """
    from ezcli.commands import studies

    studies.study_cancel(study, runs_dir)


@app.command()
def report(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Studies, runs, or folders of them. Default: all runs.",
            autocompletion=completing("run or study"),
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Published agents to compare with, such as efficientzero,bbf."),
    ] = None,
    games: Annotated[str | None, typer.Option(help="Only these games: pong,breakout,...")] = None,
    arms: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ARMS",
            help="Show only the full agent and this arm, by its name in the tables. Repeatable.",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="terminal, markdown, csv, json, latex or html."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", callback=possible, help="Write to this file instead."),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option("--plots", callback=possible, help="Draw plots into this folder."),
    ] = None,
    plot_types: Annotated[
        str, typer.Option("--plot-types", help="File types, separated by commas: png, svg, pdf.")
    ] = "png",
    resamples: Annotated[
        int, typer.Option(min=100, max=10_000_000, help="Bootstrap resamples per interval.")
    ] = 50_000,
    evaluation: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Scores to report: final; latest, the newest of final and ez evaluate; or the "
            "name of an evaluation.",
        ),
    ] = "final",
    runs_dir: RunsDir = RUNS,
) -> None:
    """Make tables and plots of scores, with intervals.

    Published scores are added and marked. If there is no run, only published scores are printed.

    Example: ez report catch-value-prefix -o report.html --plots plots
    """
    from ezcli.commands import report

    options = report.Options(
        names or [], against, games, arms or [], resamples, evaluation, runs_dir
    )
    report.report(options, form, output, plots, plot_types)


@app.command(no_args_is_help=True)
def export(
    run: Run,
    form: Annotated[
        str,
        typer.Option(
            "--format", help="zip, or hub for a folder to upload to the Hugging Face Hub."
        ),
    ] = "zip",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            callback=possible,
            help="File or folder to write. Default: named after the run.",
        ),
    ] = None,
    runs_dir: RunsDir = RUNS,
) -> None:
    """Pack a run for another machine: settings, scores, network.

    On the other machine, give the file to ez watch or ez evaluate instead of a run's name.

    Example: ez export pong-atari-cpu-seed0 -o pong.zip
    """
    from ezcli.commands import archives

    archives.export(run, form, output, runs_dir)


@app.command(no_args_is_help=True)
def plot(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Names, ids or paths of runs to draw.",
            autocompletion=completing("run"),
        ),
    ],
    metric: Annotated[
        str,
        typer.Option(
            metavar="METRICS",
            help="Columns of metrics.jsonl, separated by commas, or `evaluation` for mean scores "
            "of evaluations.",
        ),
    ] = "score,evaluation,loss",
    axis: Annotated[str, typer.Option("--x", help="train_steps or env_steps.")] = "train_steps",
    output: Annotated[
        Path,
        typer.Option("-o", "--output", callback=possible, help="FILE.png, .svg or .pdf to write."),
    ] = Path("metrics.png"),
    runs_dir: RunsDir = RUNS,
) -> None:
    """Draw learning curves: losses, scores and other metrics.

    Example: ez plot pong-atari-cpu-seed0 --metric loss,score -o curves.png
    """
    from ezcli.commands import export

    export.plot(names, metric, axis, output, runs_dir)


@app.command()
def bench(
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Any of tree, search, environment, replay, learner, run. Default: all."
        ),
    ] = None,
    preset: Preset = None,
    env: Environment = None,
    game: Game = None,
    device: Device = None,
    overrides: Overrides = None,
    seconds: Annotated[float, typer.Option(min=0.01, help="Seconds per measurement.")] = 1.0,
    against: Annotated[
        Path | None,
        typer.Option(callback=possible, help="Earlier result to compare with. Ratios are printed."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", callback=possible, help="Write the result to this file, as JSON."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure how fast each part of a run is on this machine.

    Example: ez bench tree search --preset atari-cpu -o result.json
    """
    from ezcli.commands import bench

    bench.bench(
        parts or [], preset, env, game, device, overrides, seconds, against, output, as_json
    )


@app.command()
def cost(
    game: Game = None,
    env: Environment = None,
    preset: Preset = None,
    device: Device = None,
    overrides: Overrides = None,
    price_per_hour: Annotated[
        float | None, typer.Option(min=0, help="Price of this machine per hour, in any currency.")
    ] = None,
    watts: Annotated[
        float | None, typer.Option(min=0, help="Power of this machine during training, in watts.")
    ] = None,
    measure: Annotated[
        bool,
        typer.Option(help="Time a search and a train_step to estimate hours."),
    ] = True,
    as_json: Json = False,
) -> None:
    """Estimate a run's cost: operations, hours, memory, money.

    Example: ez cost --game pong --preset atari100k --price-per-hour 2.50
    """
    from ezcli.commands import cost

    cost.cost(preset, env, game, device, overrides, price_per_hour, watts, measure, as_json)


@ablations_app.callback(invoke_without_command=True)
def ablations(context: typer.Context, as_json: Json = False) -> None:
    """List the ablations.

    Example: ez ablations
    """
    if context.invoked_subcommand is None:
        from ezcli.commands import ablations

        ablations.list_ablations(as_json)


@ablations_app.command("show")
def ablations_show(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of an ablation, path of a file, or a+b.",
            autocompletion=completing("ablation"),
        ),
    ],
    preset: Annotated[
        str,
        typer.Option(
            metavar="PRESET",
            help="Name or path of the preset that it changes.",
            autocompletion=completing("preset"),
        ),
    ] = "atari100k",
    as_json: Json = False,
) -> None:
    """Print what an ablation changes, and its published effect.

    Example: ez ablations show value-prefix --preset atari100k
    """
    from ezcli.commands import ablations

    ablations.show(name, preset, as_json)


@runs_app.callback(invoke_without_command=True)
def runs(
    context: typer.Context,
    study: Annotated[
        str | None,
        typer.Option(help="Only runs of this study.", autocompletion=completing("study")),
    ] = None,
    arm: Annotated[str | None, typer.Option(help="Only runs of this arm.")] = None,
    game: Annotated[
        str | None, typer.Option(help="Only runs on this game.", autocompletion=completing("game"))
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            metavar="STATE",
            help="new, running, stalled, interrupted, killed, failed, finished or damaged.",
        ),
    ] = None,
    sort: Annotated[
        str,
        typer.Option(
            metavar="ORDER",
            help="name, game, state, done, score, time or when. Largest numbers come first.",
        ),
    ] = "name",
    runs_dir: RunsDir = RUNS,
    as_json: Json = False,
) -> None:
    """List the runs.

    Example: ez runs --state finished
    """
    if context.invoked_subcommand is None:
        from ezcli.commands import runs

        runs.list_runs(runs_dir, study, arm, game, state, sort, as_json)


@runs_app.command("show")
def runs_show(run: Run, runs_dir: RunsDir = RUNS, as_json: Json = False) -> None:
    """Print everything about a run.

    Example: ez runs show pong-atari-cpu-seed0
    """
    from ezcli.commands import runs

    runs.show(run, runs_dir, as_json)


@runs_app.command("diff")
def runs_diff(
    one: Run,
    other: Annotated[
        str, typer.Argument(help="The run to compare with.", autocompletion=completing("run"))
    ],
    runs_dir: RunsDir = RUNS,
    as_json: Json = False,
) -> None:
    """Print the settings in which two runs differ.

    Example: ez runs diff pong-atari-cpu-seed0 pong-atari-cpu-seed1
    """
    from ezcli.commands import runs

    runs.diff(one, other, runs_dir, as_json)


@runs_app.command("export")
def runs_export(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names, ids or paths of runs. Default: all.", autocompletion=completing("run")
        ),
    ] = None,
    table: Annotated[
        str,
        typer.Option(
            help="Table to export, a row for each run, line of metrics, evaluation or game: "
            "runs, metrics, evaluations, games."
        ),
    ] = "runs",
    form: Annotated[
        str | None,
        typer.Option("--format", help="csv or parquet. Default: by the suffix of the file."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", callback=possible, help="Write to this file instead."),
    ] = None,
    runs_dir: RunsDir = RUNS,
) -> None:
    """Export settings, metrics and scores of runs.

    Example: ez runs export --table metrics -o metrics.csv
    """
    from ezcli.commands import export

    export.export(names or [], table, form, output, runs_dir)


@runs_app.command("rm")
def runs_rm(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Names or ids of runs in the runs folder.", autocompletion=completing("run")
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    runs_dir: RunsDir = RUNS,
) -> None:
    """Delete runs, after asking.

    Example: ez runs rm pong-smoke-seed0
    """
    from ezcli.commands import runs

    raise typer.Exit(runs.remove(names, runs_dir, yes))


@app.command()
def presets(as_json: Json = False) -> None:
    """List the presets.

    Example: ez presets
    """
    from ezcli.commands import configs

    configs.presets(as_json)


@config_app.command("show")
def config_show(
    preset: Annotated[
        str,
        typer.Option(
            help="Name of a preset, or path of a TOML file.", autocompletion=completing("preset")
        ),
    ],
    game: Game = None,
    env: Environment = None,
    seed: Seed = None,
    overrides: Overrides = None,
    explain: Annotated[bool, typer.Option("--explain", help="Explain each setting.")] = False,
    as_json: Json = False,
) -> None:
    """Print a config with every setting resolved.

    Example: ez config show --preset atari100k --game breakout --explain
    """
    from ezcli.commands import configs

    configs.config_show(preset, game, env, seed, overrides, explain, as_json)


@config_app.command("save")
def config_save(
    run: Annotated[
        str, typer.Option("--from", metavar="RUN", help="Name, id or path of the run to copy.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", callback=possible, help="Path of the new preset, ending in .toml."
        ),
    ],
    runs_dir: RunsDir = RUNS,
) -> None:
    """Save the settings of a run as a new preset.

    Example: ez config save --from catch-catch-seed0 -o mine.toml
    """
    from ezcli.commands import configs

    configs.config_save(run, output, runs_dir)


@app.command()
def doctor(
    run: Annotated[
        str | None,
        typer.Argument(
            help="Name, id or path of a run: check its files, and report why it stopped.",
            autocompletion=completing("run"),
        ),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(help="Preset to check the machine for.", autocompletion=completing("preset")),
    ] = "atari-cpu",
    runs_dir: RunsDir = RUNS,
    as_json: Json = False,
) -> None:
    """Check that this machine can train, or that a run is intact.

    Example: ez doctor --preset atari100k
    """
    from ezcli.commands import examination

    raise typer.Exit(examination.doctor(run, preset, runs_dir, as_json))


THREADS_END_WITHIN = 3.0  # seconds for the threads of an environment to end after a command

# Errors of the operating system that any command can meet.
MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE),
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE),
}


def main() -> None:
    """Runs a command, then ends the process."""
    ours, code = set(threading.enumerate()), 1
    try:
        run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    finally:
        if left_behind(ours):
            threading.Thread(target=leave, args=(code, ours), daemon=True).start()


def left_behind(ours: set[threading.Thread]) -> list[str]:
    """Returns the names of threads that keep Python from exiting.

    An environment may have started threads that never end.

    Args:
      ours: threads to leave out.
    """
    return [one.name for one in threading.enumerate() if one not in ours and not one.daemon]


def leave(code: int, ours: set[threading.Thread]) -> None:
    """Ends the process with this exit code if it has not ended by itself after a while.

    Called in a thread of its own while Python waits.
    """
    time.sleep(THREADS_END_WITHIN)
    names = left_behind(ours)
    if not names:
        return
    from ezcli import console

    console.note(f"Exiting although these threads still run: {', '.join(names)}.")
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
    os._exit(code)


def run() -> None:
    """Runs a command; the one place where errors become sentences and exit codes."""
    open_standard_files()
    try:
        app()
    except KeyboardInterrupt:  # before any command could catch it
        sys.exit(130)
    except EzError as error:
        end_with(error)
    except OSError as error:
        if error.errno not in MACHINE:
            raise
        what = "A file or standard output" if error.filename is None else repr(str(error.filename))
        end_with(MachineError("EZ-MACHINE-FILE", f"{what} cannot be used: {error.strerror}."))


def end_with(error: EzError) -> NoReturn:
    """Prints an error and ends the process. Must be called while the error is handled."""
    from ezcli import console

    debug = "--debug" in sys.argv
    if debug:
        traceback.print_exc()
    console.show_error(error, with_code=debug)
    if "--json" in sys.argv and not isinstance(error, OutputError):
        with contextlib.suppress(OutputError):  # already printed on standard error
            console.write(json_text({"error": error.as_json()}))
    sys.exit(error.exit_code)


def open_standard_files() -> None:
    """Opens closed standard streams as the null device.

    Otherwise the next file opened gets the free descriptor, and output of a library is written into
    it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
