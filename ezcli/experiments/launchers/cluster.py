"""Which launcher, and what it asks for: from options, a file, or the study's last time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import tomli_w
from pydantic import Field, ValidationError

from ezcli.config import read_toml
from ezcli.errors import ConfigError, UnknownName
from ezcli.experiments.launchers.ray import RaySettings
from ezcli.experiments.launchers.slurm import SlurmSettings
from ezcli.settings import Settings

Name = Literal["local", "slurm", "ray"]
NAMES: tuple[str, ...] = get_args(Name)


class LocalSettings(Settings):
    """The table `[local]`: how this machine's devices are shared."""

    runs_per_gpu: Annotated[int, Field(ge=1)] = 1  # runs side by side on each device


class Cluster(Settings):
    """A file for `--cluster`; also `launcher.toml` in a study that was sent somewhere."""

    launcher: Name = "local"
    local: LocalSettings = LocalSettings()
    slurm: SlurmSettings = SlurmSettings()
    ray: RaySettings = RaySettings()
    needs_file: bool = False  # in a study: it was sent with lines that only a file may give

    @property
    def has_gpus(self) -> bool | None:
        """Whether runs there get a GPU; None if they run here."""
        known = {"slurm": self.slurm.has_gpus, "ray": self.ray.has_gpus}
        return known.get(self.launcher)

    @property
    def threads(self) -> int | None:
        """Searches side by side in each run, by what it asks for; None if it runs here."""
        shares = {"slurm": self.slurm.cpus // self.slurm.runs_per_job, "ray": int(self.ray.cpus)}
        return max(1, shares[self.launcher]) if self.launcher in shares else None

    def with_parallel(self, jobs: int | None) -> Self:
        """The same with so many jobs of an array at a time, where there are arrays."""
        if jobs is None or self.launcher != "slurm":
            return self
        return self.model_copy(update={"slurm": self.slurm.model_copy(update={"parallel": jobs})})

    def to_toml(self) -> str:
        """For `launcher.toml`: without lines of shell and options of sbatch.

        A study may come from somebody else, and what it says must not become code (SECURITY.md).
        """
        tables = self.model_dump(mode="json", exclude_none=True)
        kept = {"launcher": self.launcher, self.launcher: tables.get(self.launcher, {})}
        taken = [kept[self.launcher].pop(key, None) for key in ("setup", "extra")]
        return tomli_w.dumps({**kept, "needs_file": self.needs_file or any(taken)})


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
    is_from_study = source is not None and file is None
    if is_from_study and name != "local" and (tables.get("needs_file") or has_code(tables)):
        raise ConfigError(
            f"The study was sent to {name} with `setup` or `extra`, which only --cluster may give.",
            "Add --cluster FILE with them.",
        )
    if asked:
        if name == "local" and not asked.keys() <= LocalSettings.model_fields.keys():
            options = ", ".join(
                f"--{key.replace('_', '-')}"
                for key in asked
                if key not in LocalSettings.model_fields
            )
            raise ConfigError(f"The launcher local has no {options}.", "Add --launcher slurm.")
        table = tables.setdefault(name, {})
        tables[name] = {**table, **asked} if isinstance(table, dict) else table
    try:
        return Cluster.model_validate(tables)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        what = first["msg"].removeprefix("Value error, ")
        if len(place) > 1 and place[1] in asked:
            where = f"--{place[1].replace('_', '-')} {asked[place[1]]!r}"
        else:
            where = " ".join(filter(None, [".".join(place), f"of {str(source)!r}" * bool(source)]))
        raise ConfigError(f"{where}: {what}.", "CLUSTERS.md lists what there is.") from error


def has_code(tables: Mapping[str, Any]) -> bool:
    """Whether a file holds lines of shell or options of sbatch."""
    found = [table for table in tables.values() if isinstance(table, dict)]
    return any(table.get("setup") or table.get("extra") for table in found)
