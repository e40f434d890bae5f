"""The commands of `ez`. Parsing and nothing else: each command calls one function.

PyTorch, Numba and the emulator are imported inside the commands that need them, so that `ez --help`
answers at once.
"""

import json
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from ezcli import __version__, console
from ezcli.config import (
    RunConfig,
    preset_names,
    preset_path,
    read_toml,
    resolve,
    to_toml,
    use_env,
)
from ezcli.errors import ConfigError, EzError, UnknownName

app = typer.Typer(
    help="Train EfficientZero on Atari 100k, and report what you measured.",
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
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing; the run folder says it all.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Run = Annotated[str, typer.Argument(help="Name of a run in the runs folder, or path of its folder.")]

RUNS = Path("runs")


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Train EfficientZero on Atari 100k, and report what you measured."""
    if version:
        console.show(__version__)
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
    reporter = console.QuietReporter() if quiet else console.TerminalReporter()
    why = "asked for"
    if preset is None:
        preset, why = default_preset(env, device)
        reporter.say(f"Preset {preset}: {why}. Choose another with --preset.")
    config = build_config(preset, env, game, seed, device, overrides)
    from ezcli.runs.folder import run_path

    path = run_path(runs_dir, name or default_name(config, preset, overrides))
    run_training(config, path, reporter, wandb, {"preset": preset, "preset_because": why})


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
    from ezcli.runs.folder import RunFolder

    path = find_run(run, runs_dir)
    config = RunFolder(path).config()
    if device is not None:
        config = resolve(config.model_dump(), [f"compute.device={device!r}"], source="--device")
    reporter = console.QuietReporter() if quiet else console.TerminalReporter()
    run_training(config, path, reporter, wandb, {})


@app.command()
def evaluate(
    run: Run,
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Episodes to play; the run's own number if not given.")
    ] = None,
    runs_dir: RunsDir = RUNS,
    device: Device = None,
    json_: Json = False,
) -> None:
    """Play whole games with a run's last weights; add the scores to the run.

    Example: ez evaluate pong-atari-cpu-seed0 --episodes 32
    """
    from ezcli.runs.folder import RunFolder
    from ezcli.runs.train import describe_evaluation, evaluate_run

    line = evaluate_run(RunFolder(find_run(run, runs_dir)), episodes, device)
    console.write(json.dumps(line, indent=2) + "\n") if json_ else console.show(
        describe_evaluation(line)
    )


@app.command()
def presets(json_: Json = False) -> None:
    """List the presets.

    Example: ez presets
    """
    rows = [(name, *preset_facts(name)) for name in preset_names()]
    if json_:
        fields = ("name", "about", "env_steps", "train_steps")
        console.write(json.dumps([dict(zip(fields, row, strict=True)) for row in rows]) + "\n")
    else:
        columns = ("preset", "what for", "env_steps", "train_steps")
        shown = [(name, about, f"{env:,}", f"{steps:,}") for name, about, env, steps in rows]
        console.show_table(columns, shown)


@config_app.command("show")
def config_show(
    preset: Annotated[str, typer.Option(help="Name of a preset, or path of a TOML file.")],
    game: Game = None,
    env: Environment = None,
    seed: Seed = None,
    overrides: Overrides = None,
    json_: Json = False,
) -> None:
    """Print a config with everything resolved.

    Example: ez config show --preset atari100k --game breakout --set search.num_simulations=25
    """
    config = build_config(preset, env, game, seed, None, overrides)
    if json_:
        console.write(config.model_dump_json(indent=2) + "\n")
    else:
        console.write(f"# identity {config.identity}\n{to_toml(config)}")


@app.command()
def doctor(
    preset: Annotated[str, typer.Option(help="Preset whose needs are checked.")] = "atari-cpu",
    runs_dir: RunsDir = RUNS,
) -> None:
    """Check that this machine can train: packages, roms, memory, disk.

    Example: ez doctor --preset atari100k
    """
    from ezcli import doctor as examination

    config = resolve(read_toml(preset_path(preset)), source=preset)
    memory, disk = examination.needs(config)
    is_fit = True
    for check in examination.checks(preset, runs_dir, memory, disk):
        console.show_check(check.name, check.ok, check.detail, check.remedy)
        is_fit = is_fit and check.ok
    if not is_fit:
        raise typer.Exit(1)


def main() -> None:
    """Runs a command; the one place where errors become sentences and exit codes."""
    try:
        app()
    except EzError as error:
        if "--debug" in sys.argv:
            raise
        console.show_error(error)
        sys.exit(error.exit_code)


def build_config(
    preset: str,
    env: str | None,
    game: str | None,
    seed: int | None,
    device: str | None,
    overrides: list[str] | None,
) -> RunConfig:
    """The preset with the options laid over it, in the order of the parameters."""
    tables = use_env(read_toml(preset_path(preset)), env, game)
    options = [f"seed={seed}"] if seed is not None else []
    options += [f"compute.device={device!r}"] if device is not None else []
    config = resolve(tables, [*options, *(overrides or [])], source=f"preset {preset!r}")
    check_env(config)
    return config


def check_env(config: RunConfig) -> None:
    """Refuses a game that the emulator does not have."""
    if config.env.name == "atari":
        from ezcli.envs.games import check_game

        check_game(config.env.game)


def default_preset(env: str | None, device: str | None) -> tuple[str, str]:
    """The preset for who names none, and why."""
    if env not in (None, "atari"):
        return "catch", f"it fits small games such as {env!r}"
    if device == "cpu":
        return "atari-cpu", "it fits a CPU, as --device asks for"
    import torch

    if torch.cuda.is_available():
        return "atari100k", f"there is a GPU, {torch.cuda.get_device_name()}"
    return "atari-cpu", "there is no GPU, and atari100k would take weeks"


def default_name(config: RunConfig, preset: str, overrides: list[str] | None) -> str:
    """Such as `pong-atari-cpu-seed0`; changed settings add the start of the config's identity."""
    env = config.env
    what = env.game if env.name == "atari" else env.name
    if env.name == "custom":
        what = env.target.rpartition(":")[2].lower()
    changed = f"-{config.identity[:6]}" if overrides else ""
    return f"{what}-{Path(preset).stem}-seed{config.seed}{changed}"


def run_training(
    config: RunConfig,
    path: Path,
    reporter: console.TerminalReporter,
    wandb: str | None,
    origin: dict[str, str],
) -> None:
    """Trains, and turns a stop into words and an exit code."""
    if wandb not in (None, "offline", "online"):
        raise ConfigError(f"--wandb {wandb!r} is not allowed.", "Use offline or online.")
    from ezcli.runs.folder import RunFolder
    from ezcli.runs.train import train as train_run

    reporter.say(f"Run {path} (identity {config.identity}).")
    with reporter.running():
        stopped_by = train_run(config, RunFolder(path), reporter, wandb, origin)
    if stopped_by is not None:
        console.show(f"Stopped by {stopped_by.name} and saved. Go on with: ez resume {path}")
        raise typer.Exit(130 if stopped_by is signal.SIGINT else 75)
    reporter.say(f"Done: {path}")


def find_run(run: str, runs_dir: Path) -> Path:
    """The folder of a run given by name or by path."""
    named, direct = runs_dir / run, Path(run)
    for path in (named, direct):
        if (path / "config.toml").is_file():
            return path
    known = sorted(path.parent.name for path in runs_dir.glob("*/config.toml"))
    if not known:
        raise ConfigError(f"There is no run {run!r}.", f"{str(runs_dir)!r} holds none yet.")
    raise UnknownName("run", run, known)


def preset_facts(name: str) -> tuple[str, int, int]:
    """What a preset is for, from the first comment of its file; env_steps and train_steps."""
    path = preset_path(name)
    config = resolve(read_toml(path), source=name)
    about = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        about.append(line.removeprefix("#").strip())
    sentence = " ".join(about).partition(". ")[0].rstrip(".")
    return sentence, config.schedule.env_steps, config.schedule.train_steps
