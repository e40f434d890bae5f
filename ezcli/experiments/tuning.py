"""A search over settings: the space, and the records of trials.

    runs/studies/<name>/
    ├── trials.jsonl   Optuna's journal
    └── best.toml      the preset with the settings of the best trial

A space is a TOML file with a table for each setting, by its dotted key:

    "optimiser.learning_rate" = {low = 0.001, high = 0.1, log = true}
    "search.num_simulations" = {low = 8, high = 64, step = 8}
    "network.norm" = {choices = ["batch", "group"]}
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError, model_validator

from ezcli.config.files import read_toml
from ezcli.config.resolve import with_changes
from ezcli.config.run import RunConfig
from ezcli.errors import ConfigError
from ezcli.runs.seals import checksum
from ezcli.settings import Settings, why

if TYPE_CHECKING:
    from optuna import Study, Trial

JOURNAL, BEST = "trials.jsonl", "best.toml"
FIRST_SEED = 1000  # first seed of tuning; lower seeds are reserved for reported runs
BOUNDS = ("low", "high")
WAY_OUT = "Use {low = 0.001, high = 0.1, log = true} or {choices = [1, 2]}."


class Range(Settings):
    """The values of one setting: choices, or numbers between two inclusive bounds."""

    low: int | float | None = None
    high: int | float | None = None
    step: int | float | None = None
    log: bool = False
    choices: list[bool | int | float | str] | None = None

    @model_validator(mode="after")
    def _is_one_kind(self) -> "Range":
        numbers = self.low is not None and self.high is not None
        if numbers == (self.choices is not None):
            raise ValueError("it needs either low and high, or choices")
        if self.choices is not None and (len(self.choices) < 2 or self.step or self.log):
            raise ValueError("it needs at least two choices, without step and log")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low must be below high")
        if self.log and (self.step or (self.low is not None and self.low <= 0)):
            raise ValueError("log needs a low above 0, and no step")
        if self.step is not None and self.step <= 0:
            raise ValueError("step must be above 0")
        return self

    def suggest(self, trial: "Trial", key: str) -> Any:
        """Draws the value of a trial; an integer if both bounds are integers."""
        if self.choices is not None:
            return trial.suggest_categorical(key, self.choices)
        low, high, step = self.low, self.high, self.step
        assert low is not None
        assert high is not None
        if isinstance(low, int) and isinstance(high, int):
            return trial.suggest_int(key, low, high, step=int(step or 1), log=self.log)
        return trial.suggest_float(key, low, high, step=step, log=self.log)

    @property
    def extremes(self) -> list[Any]:
        """Values to validate: all choices, or both bounds."""
        return self.choices if self.choices is not None else [self.low, self.high]


Space = dict[str, Range]


def read_space(path: Path, base: RunConfig) -> Space:
    """Reads a space. Every bound and choice must be an allowed value of the setting.

    Raises:
      ConfigError: names the setting.
    """
    space: Space = {}
    for key, table in ranges_in(read_toml(path)).items():
        try:
            space[key] = Range.model_validate(table)
        except ValidationError as error:
            raise ConfigError(
                "EZ-TUNE-SPACE",
                f"The range of {key!r} in {str(path)!r} is not allowed: {why(error.errors()[0])}.",
                WAY_OUT,
            ) from error
        for value in space[key].extremes:
            with_changes(base, {key: value}, source=f"{str(path)!r}")
    if not space:
        raise ConfigError("EZ-TUNE-SPACE", f"{str(path)!r} contains no setting.", WAY_OUT)
    for key in ("seed", "evaluation.interval"):
        if key in space:
            raise ConfigError(
                "EZ-TUNE-SPACE",
                f"{key} in {str(path)!r} cannot be tuned.",
                "Leave it out.",
            )
    return space


def ranges_in(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The ranges by dotted key, from nested tables or quoted keys."""
    found: dict[str, Any] = {}
    for name, value in tables.items():
        if isinstance(value, dict) and not value.keys() & Range.model_fields.keys():
            found |= ranges_in(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def open_study(folder: Path, base: RunConfig, space: Space) -> "Study":
    """Opens Optuna's study in a folder, or creates it.

    Raises:
      ConfigError: it was started with another base or space.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    study = optuna.create_study(
        storage=storage, study_name=folder.name, direction="maximize", load_if_exists=True
    )
    study.sampler = optuna.samplers.TPESampler(seed=base.seed + len(study.trials))
    study.pruner = optuna.pruners.MedianPruner()
    tables = {key: found.model_dump(mode="json") for key, found in space.items()}
    asked = {"identity": base.identity, "space": checksum(tables)}
    begun = study.user_attrs.get("asked", asked)
    if begun != asked:
        what = "base config" if begun["identity"] != base.identity else "space"
        raise ConfigError(
            "EZ-TUNE-OTHER-STUDY",
            f"{folder.name!r} was started with another {what}.",
            "Repeat the command that started it, or choose another --study.",
        )
    study.set_user_attr("asked", asked)
    return study


def best_preset(base: RunConfig, study: "Study") -> tuple[RunConfig, str]:
    """The config of the best trial with the seed of the base, and a comment on its source."""
    best = study.best_trial
    config = with_changes(base, {**best.params, "seed": 0})
    changes = ", ".join(f"{key} = {json.dumps(value)}" for key, value in best.params.items())
    return config, (
        f"Trial {best.number} of {len(study.trials)} of {study.study_name}: {changes}.\n"
        f"Selected by its score on seed {base.seed}, {best.value:.2f}, which is biased: measure "
        "it on other seeds."
    )
