"""Finds the folder of a run, or chooses it for a new run."""

from pathlib import Path

from ezcli.config.files import is_file, preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.config.run import RunConfig, differences, name_start
from ezcli.envs.code import changes
from ezcli.envs.suites import own_code, suite_of
from ezcli.errors import ConfigError, EzError, UnknownName
from ezcli.experiments import catalogue
from ezcli.words import ez_command

ARCHIVE = ".zip"  # of `ez export`


def default_name(config: RunConfig, preset: str) -> str:
    """Default name such as `pong-atari-cpu-seed0`.

    With changed settings it ends in the start of the identity.
    """
    changed = f"-{config.identity[:6]}" if is_changed(config, preset) else ""
    return f"{name_start(config.env_label, preset)}-seed{config.seed}{changed}"


def is_changed(config: RunConfig, preset: str) -> bool:
    """Whether a config differs from its preset in more than game and seed."""
    if config.start.agent:
        return True  # and the preset may no longer exist
    env, tables = config.env, read_toml(preset_path(preset))
    played = {name: getattr(env, name) for name in suite_of(env).played}
    if tables["env"].get("name") != env.name:
        tables["env"] = {"name": env.name, **played}
    laid_over = {"seed": config.seed, **{f"env.{name}": value for name, value in played.items()}}
    try:
        plain = resolve(tables, changes=laid_over)
    except ConfigError:  # the preset is not valid without the changes
        return True
    return plain.identity != config.identity


def place_of(config: RunConfig, runs_dir: Path, name: str | None, default: str) -> Path:
    """The folder for a config: that of an existing run with an equal config, or a new one.

    Args:
      config: of the run.
      runs_dir: folder of all runs.
      name: name of the folder, if given.
      default: name of the folder otherwise.

    Raises:
      ConfigError: a name was given, but the run exists under another name.
    """
    from ezcli.runs.folder import RunFolder
    from ezcli.runs.names import run_path

    folder = RunFolder(run_path(runs_dir, default if name is None else name))
    if folder.exists:
        try:
            folder.require_same(config)
        except EzError:
            if name is not None:
                return folder.path  # it names the difference
        else:
            return folder.path
    equal = catalogue.by_identity(runs_dir).get(config.identity)
    if equal is None:
        return folder.path
    if name is None:
        return runs_dir / equal
    state = catalogue.entry(runs_dir / equal).state
    if state == "finished":
        way_out = f"Or show it: {ez_command('runs show', runs_dir / equal)}"
    else:
        way_out = f"Or continue it: {ez_command('resume', runs_dir / equal)}"
    raise ConfigError(
        "EZ-RUN-EQUAL",
        f"The run {equal!r} already has this config; it is {state}.",
        f"To train it again, choose another --runs-dir. {way_out}",
    )


def new_code(config: RunConfig, runs_dir: Path) -> str:
    """A sentence on changed code of a user's environment, if nothing else changed.

    It names the changes since the newest run that differs in nothing else. Empty if there is no
    such run. No run has the config already.
    """
    own, found = own_code(config.env), []
    for entry in catalogue.scan(runs_dir) if own is not None else ():
        there = catalogue.read_config(entry.path)
        if there is None or own_code(there.env) is None:
            continue
        if all(key.startswith("env.code.") for key in differences(there, config)):
            found.append((entry, there))
    if own is None or not found:
        return ""
    entry, there = max(found, key=lambda pair: (pair[0].updated is not None, pair[0].updated))
    before = own_code(there.env)
    assert before is not None
    return f"New code since the run {entry.name!r}: {changes(before.code, own.code)}."


def find_run(run: str, runs_dir: Path) -> Path:
    """The folder of a run, found by name, path, or the start of its name or identity.

    A file made by `ez export` is unpacked into the runs folder first.

    Raises:
      ConfigError: no run or several runs match.
      RunError: the file is not an archive, or another run has its name.
    """
    named, direct = runs_dir / run, Path(run)
    for path in (named, direct):
        if any(is_file(path / file) for file in ("config.toml", "run.json")):
            return path
    if direct.suffix == ARCHIVE and is_file(direct):
        return unpacked(direct, runs_dir)
    found = catalogue.by_start(runs_dir, run)
    if found is not None:
        return found
    known = sorted(path.parent.name for path in runs_dir.glob("*/config.toml"))
    if not known:
        raise ConfigError(
            "EZ-RUN-MISSING",
            f"There is no run {run!r}.",
            f"{str(runs_dir)!r} contains no runs yet.",
        )
    raise UnknownName("run", run, known)


def unpacked(archive: Path, runs_dir: Path) -> Path:
    """Unpacks the run of an archive unless it exists, and reports it on standard error."""
    from ezcli import console
    from ezcli.runs.archive import unpack

    path, is_new = unpack(archive, runs_dir)
    if is_new:
        console.note(f"Unpacked {archive} to {path}.")
    return path
