"""Selects the launcher and its settings: from options, a file, or the saved study."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w
from pydantic import ValidationError, create_model

from ezcli import trust
from ezcli.config.files import read_toml
from ezcli.errors import ConfigError, UnknownName, suggestion
from ezcli.experiments.launchers.local import LocalSettings
from ezcli.experiments.launchers.protocol import JobQueue, LauncherSettings
from ezcli.experiments.launchers.ray.settings import RaySettings
from ezcli.experiments.launchers.slurm.settings import SlurmSettings
from ezcli.settings import DoesNotFit, Settings, why

# All launchers. A new one is a module beside these and a line here.
LAUNCHERS: dict[str, type[LauncherSettings]] = {
    "local": LocalSettings,
    "slurm": SlurmSettings,
    "ray": RaySettings,
}
NAMES = tuple(LAUNCHERS)


class Tables(Settings):
    """The entries of a file for `--cluster`, or of `launcher.toml` in a study, besides tables."""

    launcher: str = "local"
    needs_file: bool = False  # in a study: it was submitted with settings that only a file may give


class Cluster(NamedTuple):
    """A launcher with its settings."""

    name: str = "local"
    settings: LauncherSettings = LocalSettings()
    needs_file: bool = False

    def to_toml(self) -> str:
        """The content of `launcher.toml`, without shell lines and options of programs.

        A study may come from somebody else, and its content must not become code (SECURITY.md).
        """
        table = self.settings.model_dump(mode="json", exclude_none=True)
        taken = [table.pop(key, None) for key in self.settings.only_by_file]
        needs_file = self.needs_file or any(taken)
        return tomli_w.dumps({"launcher": self.name, self.name: table, "needs_file": needs_file})


def cluster_of(
    launcher: str | None, file: Path | None, saved: Path | None, asked: Mapping[str, Any]
) -> Cluster:
    """The effective settings: options take precedence over the file, which precedes the study.

    Args:
      launcher: name, if given.
      file: value of `--cluster`, if given.
      saved: `launcher.toml` of the study, which may not exist; None for a study without a name.
      asked: settings of the launcher's table given as options.

    Raises:
      ConfigError: something is unknown or not allowed.
    """
    if launcher is not None and launcher not in NAMES:
        raise UnknownName("launcher", launcher, NAMES)
    source = file or (saved if saved and saved.is_file() else None)
    tables = read_toml(source) if source is not None else {}
    found = tables.get("launcher", "local")
    if not isinstance(found, str) or found not in NAMES:
        raise ConfigError(
            "EZ-LAUNCHER-UNKNOWN",
            f"Unknown launcher {found!r} in {str(source)!r}.",
            f"Available: {', '.join(NAMES)}.",
        )
    name = tables["launcher"] = launcher or found
    if source is not None and file is None:
        refuse_code(tables, name, needs_file=bool(tables.get("needs_file")))
    refuse_options(name, asked)
    if asked:
        table = tables.setdefault(name, {})
        tables[name] = {**table, **asked} if isinstance(table, dict) else table
    fields: dict[str, Any] = {key: (kind, kind()) for key, kind in LAUNCHERS.items()}
    try:
        whole = create_model("Tables", __base__=Tables, **fields).model_validate(tables)
    except ValidationError as error:
        first = error.errors()[0]
        keys = [str(part) for part in first["loc"]]
        rule = first.get("ctx", {}).get("error")
        if isinstance(rule, DoesNotFit):
            keys.append(next((key for key in rule.keys if key in asked), rule.keys[0]))
        if len(keys) > 1 and keys[1] in asked:
            where = f"--{keys[1].replace('_', '-')} {asked[keys[1]]!r}"
        else:
            where = " ".join(filter(None, [".".join(keys), f"of {str(source)!r}" * bool(source)]))
        if first["type"] == "extra_forbidden":
            kind = LAUNCHERS.get(keys[0]) if len(keys) > 1 else None
            known = kind.model_fields if kind else (*Tables.model_fields, *LAUNCHERS)
            raise ConfigError(
                "EZ-CONFIG-UNKNOWN-KEY",
                f"Unknown setting {where}.",
                suggestion(keys[-1], sorted(known)),
            ) from error
        raise ConfigError(
            "EZ-CONFIG-VALUE",
            f"{where}: {why(first)}.",
            "docs/reference/clusters.md lists all settings.",
        ) from error
    settings: LauncherSettings = getattr(whole, name)
    if settings.foreign_address is not None:
        key = trust.key(name, settings.foreign_address)
        if source is not None and file is None:
            what = f"{str(source)!r} names the cluster {settings.foreign_address!r}"
            trust.require(key, what, "connected to, and would run code that it sends")
        else:
            trust.remember(key)
    return Cluster(name, settings, whole.needs_file)


def refuse_options(name: str, asked: Mapping[str, Any]) -> None:
    """Refuses options that the launcher does not have.

    Raises:
      ConfigError: names the options.
    """
    unknown = [key for key in asked if key not in LAUNCHERS[name].model_fields]
    if unknown:
        options = ", ".join(f"--{key.replace('_', '-')}" for key in unknown)
        others = [
            other for other, kind in LAUNCHERS.items() if asked.keys() <= kind.model_fields.keys()
        ]
        raise ConfigError(
            "EZ-LAUNCHER-OPTION",
            f"The launcher {name} has no {options}.",
            f"Add --launcher {others[0]}." if others else "No launcher has all of these.",
        )


def refuse_code(tables: Mapping[str, Any], name: str, needs_file: bool) -> None:
    """Refuses settings that a study must not contain.

    Raises:
      ConfigError: names the settings and the option to use instead.
    """
    table, only_by_file = tables.get(name), LAUNCHERS[name].only_by_file
    has_code = isinstance(table, dict) and any(table.get(key) for key in only_by_file)
    if only_by_file and (needs_file or has_code):
        names = " or ".join(f"`{key}`" for key in only_by_file)
        raise ConfigError(
            "EZ-LAUNCHER-FILE-NEEDED",
            f"The study was submitted to {name} with {names}, which only --cluster may set.",
            "Add --cluster FILE with these settings.",
        )


def queue_of(jobs_dir: Path, besides: LauncherSettings | None = None) -> JobQueue | None:
    """The queue that still has uncollected runs of a study; None if there is none.

    Args:
      jobs_dir: folder of the launchers' ledgers.
      besides: settings of a launcher whose queue is ignored.

    Raises:
      ConfigError: this machine is not part of the cluster.
    """
    asked = (kind for kind in LAUNCHERS.values() if not isinstance(besides, kind))
    queues = (kind.queue(jobs_dir) for kind in asked)
    return next((queue for queue in queues if queue is not None), None)


def under_way(queue: JobQueue | None) -> list[str]:
    """The runs that are queued or running there."""
    if queue is None:
        return []
    return [run for run, state in queue.states().items() if state != "ended"]
