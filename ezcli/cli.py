"""The commands of `ez`: their options and help, and nothing else.

What a command does is in `ezcli.commands`, imported when it is called, so that `ez --help` answers
at once.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ezcli import __version__
from ezcli.errors import EzError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Look at run configs.", no_args_is_help=True)
app.add_typer(config_app, name="config")

Game = Annotated[str | None, typer.Option(help="Atari game, by rom name: pong, ms_pacman, ...")]
Environment = Annotated[
    str | None, typer.Option("--env", help="atari, catch, keydoor, or your own file.py:Class.")
]
Preset = Annotated[str | None, typer.Option(help="Name of a preset, or path of a TOML file.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting: --set search.num_simulations=25. Repeatable."),
]
RunsDir = Annotated[Path, typer.Option(help="Folder of all runs.")]
Wandb = Annotated[str | None, typer.Option(help="offline or online: log to Weights & Biases too.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="Print nothing but how to go on after a stop.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Run = Annotated[
    str, typer.Argument(help="Name of a run in the runs folder, or path of its folder.")
]

RUNS = Path("runs")


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Train EfficientZero on Atari 100k, and report what you measured."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def train(
    game: Game = None,
    env: Environment = None,
    preset: Preset = None,
    seed: Seed = None,
    device: Device = None,
    name: Annotated[str | None, typer.Option(help="Name of the run's folder.")] = None,
    runs_dir: RunsDir = RUNS,
    overrides: Overrides = None,
    wandb: Wandb = None,
    quiet: Quiet = False,
) -> None:
    """Train an agent. The same command again goes on where it stopped.

    Example: ez train --game pong
    """
    from ezcli.commands import training

    raise typer.Exit(
        training.train(game, env, preset, seed, device, name, runs_dir, overrides, wandb, quiet)
    )


@app.command()
def resume(
    run: Run,
    runs_dir: RunsDir = RUNS,
    device: Device = None,
    wandb: Wandb = None,
    quiet: Quiet = False,
) -> None:
    """Go on with a run that stopped, exactly where it was.

    Example: ez resume pong-atari-cpu-seed0
    """
    from ezcli.commands import training

    raise typer.Exit(training.resume(run, runs_dir, device, wandb, quiet))


@app.command()
def evaluate(
    run: Run,
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Episodes to play; the run's own number if not given.")
    ] = None,
    runs_dir: RunsDir = RUNS,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Play whole games with a run's last weights; add the scores to the run.

    Example: ez evaluate pong-atari-cpu-seed0 --episodes 32
    """
    from ezcli.commands import training

    training.evaluate(run, episodes, runs_dir, device, as_json)


@app.command()
def presets(as_json: Json = False) -> None:
    """List the presets.

    Example: ez presets
    """
    from ezcli.commands import training

    training.presets(as_json)


@config_app.command("show")
def config_show(
    preset: Annotated[str, typer.Option(help="Name of a preset, or path of a TOML file.")],
    game: Game = None,
    env: Environment = None,
    seed: Seed = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Print a config with everything resolved.

    Example: ez config show --preset atari100k --game breakout --set search.num_simulations=25
    """
    from ezcli.commands import training

    training.config_show(preset, game, env, seed, overrides, as_json)


@app.command()
def doctor(
    preset: Annotated[str, typer.Option(help="Preset whose needs are checked.")] = "atari-cpu",
    runs_dir: RunsDir = RUNS,
) -> None:
    """Check that this machine can train: packages, roms, memory, disk.

    Example: ez doctor --preset atari100k
    """
    from ezcli.commands import training

    raise typer.Exit(training.doctor(preset, runs_dir))


def main() -> None:
    """Runs a command; the one place where errors become sentences and exit codes."""
    try:
        app()
    except EzError as error:
        if "--debug" in sys.argv:
            raise
        from ezcli import console

        console.show_error(error)
        sys.exit(error.exit_code)
