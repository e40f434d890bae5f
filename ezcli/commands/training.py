"""The commands about one run at a time, and about this machine.

PyTorch, Numba and the emulator are imported inside the functions that need them. A function that
returns an integer returns the exit code.
"""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ezcli import console, trust
from ezcli.config.files import is_file, preset_names, preset_path, read_toml
from ezcli.config.overrides import parse_override
from ezcli.config.resolve import resolve, use_env, with_changes
from ezcli.config.run import RunConfig, name_start
from ezcli.config.text import to_commented_toml, to_tables, to_toml
from ezcli.envs.code import absolute, code_of, locate
from ezcli.envs.suite import OwnCode
from ezcli.envs.suites import DEFAULT, SUITES, check_env, check_game, env_tables, own_code, suite_of
from ezcli.errors import ConfigError, EzError, RunError, UnknownName
from ezcli.experiments import catalogue
from ezcli.words import ez_command, json_text, shell_word, spelt_out

if TYPE_CHECKING:
    from ezcli.runs.folder import RunFolder
    from ezcli.runs.tracking import WandbMode


def train(
    game: str | None,
    env: str | None,
    preset: str | None,
    seed: int | None,
    device: str | None,
    name: str | None,
    runs_dir: Path,
    overrides: list[str] | None,
    wandb: str | None,
    quiet: bool,
    deterministic: bool,
    launcher: str | None,
    cluster_file: Path | None,
) -> int:
    """`ez train`."""
    from ezcli.experiments.launchers.cluster import cluster_of

    cluster = cluster_of(launcher, cluster_file, None, {})
    because = "asked for"
    if preset is None:
        preset, because = default_preset(env, device, cluster.settings.has_gpus)
        if not quiet:
            console.show(f"Preset {preset}: {because}. Choose another with --preset.")
    if deterministic:
        refuse_contradictions({"compute.deterministic": ("--deterministic", True)}, overrides)
    config = playable_config(preset, env, game, seed, device, overrides)
    if deterministic:
        config = with_changes(config, {"compute.deterministic": True}, source="--deterministic")
    path = place_of(config, runs_dir, name, default_name(config, preset))
    if name is None and path.name != default_name(config, preset) and not quiet:
        console.show(f"The run {path.name!r} has this config already: going on with it.")
    origin = {"preset": preset, "preset_because": because}
    if not cluster.settings.is_here:
        from ezcli.commands.submit import submit_run

        if wandb is not None:
            raise ConfigError(
                "EZ-LAUNCHER-OPTION", f"--wandb means nothing to the launcher {cluster.name}."
            )
        return submit_run(config, path, origin, cluster)
    return run_training(config, path, quiet, wandb, origin)


def resume(
    run: str,
    runs_dir: Path,
    device: str | None,
    threads: int | None,
    wandb: str | None,
    quiet: bool,
) -> int:
    """`ez resume`."""
    from ezcli.runs.folder import RunFolder

    path = find_run(run, runs_dir)
    config = recorded(RunFolder(path), device)
    if threads is not None:
        config = with_changes(config, {"compute.threads": threads}, source="--threads")
    return run_training(config, path, quiet, wandb, {})


def evaluate(
    run: str, episodes: int | None, runs_dir: Path, device: str | None, as_json: bool
) -> None:
    """`ez evaluate`."""
    from ezcli.runs.evaluations import describe_evaluation
    from ezcli.runs.folder import RunFolder
    from ezcli.runs.scoring import evaluate_run

    folder = RunFolder(find_run(run, runs_dir))
    line = evaluate_run(folder, recorded(folder, device), episodes, console.note)
    if as_json:
        console.write(json_text(line))
    else:
        console.show(describe_evaluation(line))


def presets(as_json: bool) -> None:
    """`ez presets`."""
    fields = ("preset", "what for", "env_steps", "train_steps")
    rows = [(name, *preset_facts(name)) for name in preset_names()]
    if as_json:
        found = [dict(zip(("name", "about", *fields[2:]), row, strict=True)) for row in rows]
        console.write(json_text(found))
    else:
        console.show_table(fields, [(*row[:2], f"{row[2]:,}", f"{row[3]:,}") for row in rows])


def config_show(
    preset: str,
    game: str | None,
    env: str | None,
    seed: int | None,
    overrides: list[str] | None,
    explain: bool,
    as_json: bool,
) -> None:
    """`ez config show`."""
    if explain and as_json:
        raise ConfigError("EZ-OPTION-CONFLICT", "Use only one of --explain and --json.")
    config = build_config(preset, env, game, seed, None, overrides)
    if as_json:
        console.write(json_text(to_tables(config)))
    else:
        text = to_commented_toml(config) if explain else to_toml(config)
        console.write(f"# identity {config.identity}\n{spelt_out(text)}")


def doctor(run: str | None, preset: str, runs_dir: Path) -> int:
    """`ez doctor`, of the machine or of a run."""
    if run is not None:
        return examine_run(find_run(run, runs_dir))
    from ezcli import doctor as examination
    from ezcli.runs.cost import needs

    found = needs(resolve(read_toml(preset_path(preset)), source=preset))
    is_fit = True
    for check in examination.checks(preset, runs_dir, found):
        console.show_check(check.name, check.ok, check.detail, check.remedy)
        is_fit = is_fit and check.ok
    return 0 if is_fit else 1


def examine_run(path: Path) -> int:
    """`ez doctor RUN`."""
    from ezcli.runs.examine import examine
    from ezcli.runs.folder import RunFolder

    is_whole, said = True, set[str]()
    for finding in examine(RunFolder(path)):
        if finding.ok or finding.detail not in said:  # one file may be why several cannot be read
            console.show_check(finding.name, finding.ok, finding.detail, finding.remedy)
        said.add(finding.detail)
        is_whole = is_whole and finding.ok
    return 0 if is_whole else 1


def on_device(config: RunConfig, device: str | None) -> RunConfig:
    """The config with another device, if one is given."""
    if device is None:
        return config
    return with_changes(config, {"compute.device": device}, source="--device")


def build_config(
    preset: str,
    env: str | None,
    game: str | None,
    seed: int | None,
    device: str | None,
    overrides: list[str] | None,
) -> RunConfig:
    """The preset with the options laid over it, in the order of the parameters."""
    asked: dict[str, tuple[str, object]] = {
        "seed": ("--seed", seed),
        "compute.device": ("--device", device),
        "env.game": ("--game", game),
    }
    if env is not None:
        check_env(env)
        played = {name: value for name, value in env_tables(env).items() if name != "name"}
        asked |= {f"env.{name}": ("--env", value) for name, value in played.items()}
    refuse_contradictions(asked, overrides)
    tables = use_env(read_toml(preset_path(preset)), env, game)
    options = [f"seed={seed}"] if seed is not None else []
    options += [f"compute.device={device!r}"] if device is not None else []
    given = {} if env is None else {"env": "--env"}
    laid_over = [*options, *(overrides or [])]
    config = resolve(tables, laid_over, source=f"preset {preset!r}", given=given)
    check_game(config.env)
    named = {parse_override(override)[0] for override in overrides or ()}
    is_recorded = "code" in tables["env"] and "env.target" not in named
    return with_code(config, is_recorded or "env.code" in named)


def refuse_contradictions(
    options: Mapping[str, tuple[str, object]], overrides: list[str] | None
) -> None:
    """Refuses settings that are given twice, with different values.

    Args:
      options: the option that gives a setting and its value, by dotted key; None: it was not given.
      overrides: of `--set`.

    Raises:
      ConfigError: naming both.
    """
    given = {key: (f"{name} {value}", value) for key, (name, value) in options.items()}
    for override in overrides or ():
        key, value = parse_override(override)
        again = f"--set {shell_word(override)}"
        source, other = given.setdefault(key, (again, value))
        if other is None:
            given[key] = (again, value)
        elif (other, type(other) is bool) != (value, type(value) is bool):
            raise ConfigError(
                "EZ-OPTION-CONFLICT",
                f"{source} and {again} give two values of {key}.",
                "Leave out one of them.",
            )


def with_code(config: RunConfig, is_recorded: bool) -> RunConfig:
    """The config with the code of an environment of one's own as it is now.

    Args:
      config: of any environment.
      is_recorded: whether it says already which code it is of, or that this is not known.

    Raises:
      ConfigError: the code is not there, or is not what was recorded.
    """
    own = own_code(config.env)
    if own is None:
        return config
    if is_recorded:
        locate(own.target, own.code)
        return config
    return with_changes(
        config, {"env.target": absolute(own.target), "env.code": code_of(own.target)}
    )


def recorded(folder: "RunFolder", device: str | None) -> RunConfig:
    """The config of a run, with another device if one is given; its code is still what it was.

    Raises:
      EzError: the run is damaged, or the code of its environment changed.
    """
    config = on_device(folder.config(), device)
    own = own_code(config.env)
    if own is not None:
        code = own.code or folder.noted_code()
        found = OwnCode(locate(own.target, code), code)
        require_trusted(found, f"The run {folder.name!r} names the code {found.target!r}")
    return config


def playable_config(
    preset: str,
    env: str | None,
    game: str | None,
    seed: int | None,
    device: str | None,
    overrides: list[str] | None,
) -> RunConfig:
    """`build_config` of what will be played: code that the preset alone names needs a yes.

    Raises:
      ConfigError: nobody trusts it.
    """
    config = build_config(preset, env, game, seed, device, overrides)
    own = own_code(config.env)
    if own is not None:
        named = {parse_override(override)[0] for override in overrides or ()}
        if env is not None or "env.target" in named:
            trust.remember(trust.code(own.target, own.code or code_of(own.target)))
        else:
            require_trusted(own, f"The preset {preset!r} names the code {own.target!r}")
    return config


def require_trusted(own: OwnCode, what: str) -> None:
    """Asks before the code of an environment is executed that no command line named.

    Raises:
      ConfigError: nobody trusts it.
    """
    trust.require(trust.code(own.target, own.code or code_of(own.target)), what, "executed")


def default_preset(
    env: str | None, device: str | None, has_gpus: bool | None = None
) -> tuple[str, str]:
    """The preset for who names none, and why.

    Args:
      env: as for `--env`.
      device: as for `--device`.
      has_gpus: whether the machine that will train has any; None if that is here.

    Raises:
      ConfigError: `--env` does not take that name.
    """
    suite = DEFAULT
    if env is not None:
        check_env(env)
        suite = SUITES[env_tables(env)["name"]]
    gpu, cpu, because = suite.preset
    if because:
        return cpu, because
    if device == "cpu":
        return cpu, "it fits a CPU, as --device asks for"
    if has_gpus is not None:
        return gpu if has_gpus else cpu, f"the jobs get {'a' if has_gpus else 'no'} GPU"
    import torch

    if torch.cuda.is_available():
        return gpu, f"there is a GPU, {torch.cuda.get_device_name()}"
    return cpu, f"there is no GPU, for which {gpu} is made"


def default_name(config: RunConfig, preset: str) -> str:
    """Such as `pong-atari-cpu-seed0`; changed settings add the start of the config's identity."""
    changed = f"-{config.identity[:6]}" if is_changed(config, preset) else ""
    return f"{name_start(config.env_label, preset)}-seed{config.seed}{changed}"


def is_changed(config: RunConfig, preset: str) -> bool:
    """Whether a config decides more than what the preset does on that game, under that seed."""
    env, tables = config.env, read_toml(preset_path(preset))
    played = {name: getattr(env, name) for name in suite_of(env).played}
    if tables["env"].get("name") != env.name:
        tables["env"] = {"name": env.name, **played}
    changes = {"seed": config.seed, **{f"env.{name}": value for name, value in played.items()}}
    try:
        plain = resolve(tables, changes=changes)
    except ConfigError:  # the preset is none without what was changed
        return True
    return plain.identity != config.identity


def place_of(config: RunConfig, runs_dir: Path, name: str | None, default: str) -> Path:
    """The folder of the run that a config asks for: that of an equal run, wherever it is.

    Args:
      config: of the run.
      runs_dir: where an equal run is looked for.
      name: of the folder, if one was given.
      default: its name otherwise.

    Raises:
      ConfigError: a name was given, and the run is there under another one.
    """
    from ezcli.runs.folder import RunFolder
    from ezcli.runs.names import run_path

    folder = RunFolder(run_path(runs_dir, default if name is None else name))
    if folder.exists:
        try:
            folder.require_same(config)
        except EzError:
            if name is not None:
                return folder.path  # which says what differs
        else:
            return folder.path
    equal = catalogue.by_identity(runs_dir).get(config.identity)
    if equal is None:
        return folder.path
    if name is None:
        return runs_dir / equal
    go_on, state = ez_command("resume", runs_dir / equal), catalogue.entry(runs_dir / equal).state
    raise ConfigError(
        "EZ-RUN-EQUAL",
        f"The run {equal!r} has this config already; it is {state}.",
        f"Go on with it: {go_on}. To train it once more, choose another --runs-dir.",
    )


def run_training(
    config: RunConfig,
    path: Path,
    quiet: bool,
    wandb: str | None,
    origin: dict[str, str],
) -> int:
    """Trains, and turns a stop into words and an exit code."""
    if wandb not in (None, "offline", "online"):
        raise ConfigError(
            "EZ-OPTION-WANDB", f"--wandb {wandb!r} is not allowed.", "Use offline or online."
        )
    from ezcli.runs.folder import RunFolder
    from ezcli.runs.train import train as train_run

    folder = RunFolder(path)
    reporter = console.QuietReporter() if quiet else console.TerminalReporter()
    reporter.say(f"Run {path} (identity {config.identity}).")
    with reporter.running():
        stopped_by = train_run(config, folder, reporter, cast("WandbMode | None", wandb), origin)
    if reporter.lost_output is not None:
        raise reporter.lost_output
    if stopped_by is None:
        scores = scores_on_the_way(folder)
        if scores:
            reporter.say(f"Scores on the way: {', '.join(f'{score:.2f}' for score in scores)}.")
        table = ez_command("report", path, plots="plots" if scores else None)
        reporter.say(f"Done. See more: {ez_command('watch', path)}, or {table}")
        return 0
    go_on = f"Go on with: {ez_command('resume', path)}"
    console.show(f"Stopped by {stopped_by.name} and saved. {go_on}")
    return 130 if stopped_by is signal.SIGINT else 75


def scores_on_the_way(folder: "RunFolder") -> list[float]:
    """Means of the run's interim evaluations; none if they are damaged, which training has said."""
    from ezcli.runs.evaluations import is_number
    from ezcli.runs.folder import EVALUATIONS

    try:
        interim = [line for line in folder.read(EVALUATIONS) if line.get("kind") == "interim"]
    except RunError:
        return []
    return [line["mean"] for line in interim if is_number(line.get("mean"))]


def find_run(run: str, runs_dir: Path) -> Path:
    """The folder of a run given by name, by path, or by the start of its name or identity.

    Raises:
      ConfigError: no run is that, or several are.
    """
    named, direct = runs_dir / run, Path(run)
    for path in (named, direct):
        if any(is_file(path / file) for file in ("config.toml", "run.json")):
            return path
    found = catalogue.by_start(runs_dir, run)
    if found is not None:
        return found
    known = sorted(path.parent.name for path in runs_dir.glob("*/config.toml"))
    if not known:
        raise ConfigError(
            "EZ-RUN-MISSING", f"There is no run {run!r}.", f"{str(runs_dir)!r} holds none yet."
        )
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
