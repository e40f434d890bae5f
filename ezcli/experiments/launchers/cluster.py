"""Which launcher, and what it asks for: from options, a file, or the study's last time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import tomli_w
from pydantic import ValidationError

from ezcli.config import read_toml
from ezcli.errors import ConfigError, UnknownName
from ezcli.experiments.launchers.ray import RaySettings
from ezcli.experiments.launchers.slurm import SlurmSettings
from ezcli.settings import Settings

Name = Literal["local", "slurm", "ray"]
NAMES: tuple[str, ...] = get_args(Name)


class Cluster(Settings):
    """A file for `--cluster`; also `launcher.toml` in a study that was sent somewhere."""

    launcher: Name = "local"
    slurm: SlurmSettings = SlurmSettings()
    ray: RaySettings = RaySettings()

    @property
    def has_gpus(self) -> bool | None:
        """Whether runs there get a GPU; None if they run here."""
        known = {"slurm": self.slurm.has_gpus, "ray": self.ray.has_gpus}
        return known.get(self.launcher)

    @property
    def threads(self) -> int | None:
        """Searches side by side in each run, by what it asks for; None if it runs here."""
        shares = {"slurm": self.slurm.cpus // self.slurm.runs_per_gpu, "ray": int(self.ray.cpus)}
        return max(1, shares[self.launcher]) if self.launcher in shares else None

    def to_toml(self) -> str:
        """As a file for `--cluster`, with the table of its launcher."""
        chosen = {"launcher", self.launcher}
        return tomli_w.dumps(self.model_dump(mode="json", include=chosen, exclude_none=True))


def cluster_of(
    launcher: str | None, file: Path | None, saved: Path | None, asked: Mapping[str, Any]
) -> Cluster:
    """The settings in force: options before the file, the file before the study's last time.

    Args:
      launcher: name, if one was given.
      file: of `--cluster`, if one was given.
      saved: `launcher.toml` of the study, which need not be there; None for a study without name.
      asked: settings of the launcher's table that were given as options.

    Raises:
      ConfigError: something is unknown or not allowed.
    """
    if launcher is not None and launcher not in NAMES:
        raise UnknownName("launcher", launcher, NAMES)
    source = file or (saved if saved and saved.is_file() else None)
    tables = read_toml(source) if source is not None else {}
    if launcher is not None:
        tables["launcher"] = launcher
    name = tables.get("launcher", "local")
    if asked:
        if name == "local":
            options = ", ".join(f"--{key.replace('_', '-')}" for key in asked)
            raise ConfigError(f"The launcher local has no {options}.", "Add --launcher slurm.")
        table = tables.setdefault(name, {})
        tables[name] = {**table, **asked} if isinstance(table, dict) else table
    try:
        return Cluster.model_validate(tables)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        what = first["msg"].removeprefix("Value error, ")
        given = "the options" if source is None or asked else repr(str(source))
        raise ConfigError(
            f"{where} of {given}: {what}.", "`ez ablate --help` lists them."
        ) from error
