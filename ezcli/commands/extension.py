"""`ez train --from`: the config of a run that extends another run, and its start."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ezcli.commands.config_options import recorded
from ezcli.commands.find import find_run
from ezcli.config.overrides import parse_override
from ezcli.config.resolve import resolve, with_changes
from ezcli.config.run import RunConfig
from ezcli.errors import CheckpointError, ConfigError
from ezcli.words import counted

# Settings that may differ from those of the extended run, because its checkpoint does not depend on
# them. The name of a section includes all its settings.
MAY_CHANGE = (
    "schedule.env_steps",
    "schedule.final_train_steps",
    "acting.temperatures",
    "acting.temperature_until",
    "search",
    "optimiser.learning_rate",
    "optimiser.weight_decay",
    "optimiser.decayed_train_steps",
    "optimiser.decay_factor",
    "optimiser.max_gradient_norm",
    "evaluation",
    "compute",
    "record",
)


class Extension(NamedTuple):
    """A run that will start from a checkpoint."""

    config: RunConfig
    preset: str  # of the extended run
    origin: dict[str, Any]  # entries for `run.json`


def extension(
    run: str, at: int | None, runs_dir: Path, device: str | None, overrides: Sequence[str]
) -> Extension:
    """The run described by `ez train --from`.

    Args:
      run: name, id or path of the run to extend.
      at: env_steps; the newest checkpoint up to there is used; None for the newest of all.
      runs_dir: folder of all runs.
      device: as for `--device`.
      overrides: of `--set`.

    Raises:
      EzError: there is no such run or checkpoint, or a setting may not differ from the run's.
    """
    from ezcli.runs.folder import RunFolder

    folder = RunFolder(find_run(run, runs_dir))
    there = recorded(folder, device)
    for override in overrides:
        require_changeable(parse_override(override)[0], folder.name)
    manifest = checkpoint_at(folder, at)
    start = {name: manifest[name] for name in ("env_steps", "train_steps")}
    source, tables = f"the run {folder.name!r}", there.model_dump(mode="json")
    tables["start"] = {}
    config = resolve(tables, overrides, source=source)
    schedule = config.schedule
    if start["train_steps"] >= schedule.train_steps or start["env_steps"] > schedule.env_steps:
        raise ConfigError(
            "EZ-RUN-START-LENGTH",
            f"The new run would not go beyond its start: the checkpoint of {folder.name!r} was "
            f"made after {start['env_steps']:,} of {schedule.env_steps:,} env_steps and "
            f"{start['train_steps']:,} of {schedule.train_steps:,} train_steps.",
            f"Make it longer: --set schedule.env_steps={2 * schedule.env_steps}",
        )
    changes = {f"start.{name}": steps for name, steps in start.items()}
    config = with_changes(config, changes | {"start.agent": there.agent_identity})
    said = folder.read_info().get("preset")
    preset = said if isinstance(said, str) else folder.name
    origin = {
        "preset": preset,
        "preset_because": f"{source} has it",
        "started_from": {
            "run": folder.name,
            "path": str(folder.path.absolute()),
            "identity": there.identity,
            "checkpoint": manifest["name"],
            **start,
        },
    }
    return Extension(config, preset, origin)


def require_changeable(key: str, run: str) -> None:
    """Refuses a setting that the content of a checkpoint depends on.

    Raises:
      ConfigError: names the settings that may change.
    """
    if not any(key == one or key.startswith(f"{one}.") for one in MAY_CHANGE):
        raise ConfigError(
            "EZ-RUN-START-SETTING",
            f"{key} cannot change in a run that starts from a checkpoint of {run!r}.",
            f"These can: {', '.join(MAY_CHANGE)}. To change others, start a new run without "
            "--from.",
        )


def checkpoint_at(folder: Any, at: int | None) -> dict[str, Any]:
    """The manifest of a run's newest complete checkpoint up to `at` env_steps, and its name.

    Raises:
      CheckpointError: there is no such checkpoint.
    """
    from ezcli.runs.checkpoint import checkpoint_paths, newest, read_manifest

    paths = checkpoint_paths(folder)
    if at is None:
        found, _ = newest(folder)
        name = None if found is None else found.path.name
    else:
        upto = [path.name for path in paths if read_manifest(path)["env_steps"] <= at]
        name = upto[-1] if upto else None
    if name is None:
        kept = [f"{read_manifest(path)['env_steps']:,}" for path in paths]
        raise CheckpointError(
            "EZ-CHECKPOINT-NONE",
            f"The run {folder.name!r} has no checkpoint"
            + ("." if at is None else f" up to env_step {at:,}."),
            f"It has {counted(len(kept), 'checkpoint')}, at env_step {', '.join(kept)}."
            if kept
            else "A run saves its first checkpoint after record.checkpoint_minutes.",
        )
    return {"name": name, **read_manifest(folder.checkpoints / name)}
