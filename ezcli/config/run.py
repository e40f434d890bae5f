"""The run config: all settings that determine a run's result, from TOML files and overrides.

A preset is a complete TOML file, and nothing is adjusted after loading. `RunConfig.identity` is a
hash of the settings that determine the result, so two runs with the same identity have the same
result.
"""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from ezcli.config.tables import flat_items
from ezcli.efficientzero.hyperparameters import Hyperparameters
from ezcli.envs.suites import AnyEnvSettings, own_code, suite_of
from ezcli.settings import DoesNotFit, Near, Settings, divisors, multiples

UNIDENTIFIED = {"compute", "record"}  # sections that do not affect the result


class EvaluationSettings(Settings):
    """Playing greedily, without noise, for raw scores (appendix A.1)."""

    episodes: int = Field(
        ge=1, description="episodes of the final evaluation, and of `ez evaluate`"
    )
    interval: int = Field(ge=0, description="train_steps between interim evaluations; 0: none")
    interval_episodes: int = Field(
        ge=1, description="episodes of interim evaluations, with the length limit of training"
    )


class ComputeSettings(Settings):
    """Device, threads and precision; not part of a run's identity."""

    device: str = Field(description="auto, cpu, cuda, cuda:1")
    threads: int = Field(ge=0, description="searches at the same time; 0: one per CPU core")
    search: Literal["auto", "cpu", "cuda"] = Field(
        description="device of the search trees; auto is the network's device, or cpu without "
        "ezcli[cuda]",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        description="precision of the network; auto is bfloat16 on CUDA and float32 on the CPU"
    )
    deterministic: bool = Field(
        description="reproduce the same bits on the same GPU, at some loss of speed; on a CPU "
        "results always repeat",
    )

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,2})?", device):
            raise ValueError("a device is auto, cpu, cuda, or one GPU such as cuda:1")
        return device


class RecordSettings(Settings):
    """Metrics and checkpoints; not part of a run's identity."""

    metrics_interval: int = Field(ge=1, description="train_steps averaged in each line of metrics")
    checkpoint_minutes: float = Field(ge=0, description="minutes between checkpoints")
    keep_checkpoints: int = Field(
        default=2,
        ge=2,  # the second newest replaces a damaged newest one
        json_schema_extra={"neutral": 2},
        description="number of newest checkpoints to keep",
    )
    keep_interval: int = Field(
        default=0,
        ge=0,
        json_schema_extra={"neutral": 0},
        description="train_steps between checkpoints that are never deleted; 0: none",
    )

    def keeps(self, train_steps: int) -> bool:
        """Whether the checkpoint after `train_steps` is never deleted."""
        return bool(self.keep_interval and train_steps and train_steps % self.keep_interval == 0)


class StartSettings(Settings):
    """The checkpoint that a run started from. Without one, the run started with new weights.

    `agent`, with the run's own seed and game, identifies the run of the checkpoint.
    """

    agent: str = Field(
        default="",
        json_schema_extra={"neutral": ""},
        description="hash of all settings of the checkpoint's run except seed and game; empty: "
        "the run started with new weights",
    )
    env_steps: int = Field(
        default=0, ge=0, json_schema_extra={"neutral": 0}, description="env_steps of the checkpoint"
    )
    train_steps: int = Field(
        default=0,
        ge=0,
        json_schema_extra={"neutral": 0},
        description="train_steps of the checkpoint",
    )


class RunConfig(Hyperparameters):
    """All settings of one run, as in `config.toml` in its folder."""

    seed: int = Field(ge=0, lt=2**31, description="seed of all random numbers")
    env: AnyEnvSettings
    evaluation: EvaluationSettings
    compute: ComputeSettings
    record: RecordSettings
    start: StartSettings = Field(default=StartSettings(), json_schema_extra={"neutral": {}})

    @model_validator(mode="after")
    def _replay_holds_enough(self) -> Self:
        waiting = max(self.lookahead, self.replay.waiting(self.lookahead))
        per_stream = self.guard_rows(self.env.frame_stack) + waiting + 1
        least = per_stream * self.acting.num_envs
        if self.replay.capacity < least:
            block = self.replay.block_env_steps
            given = f"replay.block_env_steps = {block}" if block else "these settings"
            raise DoesNotFit(
                f"replay.capacity must be at least {least} with {given}",
                "replay.capacity",
                "acting.num_envs",
                "loss.unroll_steps",
                "value.td_steps",
                "value.gae_steps",
                "replay.block_env_steps",
                "schedule.sample_ahead",
                "schedule.train_steps_per_env_step",
                "env.frame_stack",
                near={
                    "replay.capacity": [least],
                    "schedule.train_steps_per_env_step": self.schedule.rates,
                },
            )
        return self

    @model_validator(mode="after")
    def _vectors_are_not_augmented(self) -> Self:
        if self.network.representation == "mlp" and self.loss.augmentation:
            rule = 'network.representation = "mlp" needs loss.augmentation = false'
            raise DoesNotFit(rule, "loss.augmentation", "network.representation")
        return self

    @model_validator(mode="after")
    def _something_is_learnt(self) -> Self:
        if not self.schedule.train_steps:
            raise DoesNotFit(
                "a run needs train_steps: raise schedule.env_steps or schedule.final_train_steps",
                "schedule.final_train_steps",
                "schedule.env_steps",
                "schedule.random_env_steps",
                "schedule.train_steps_per_env_step",
                "schedule.sample_ahead",
                near=self._longer_schedules(1),
            )
        return self

    @model_validator(mode="after")
    def _evaluations_fall_between_cycles(self) -> Self:
        if self.evaluation.interval % self.schedule.sample_ahead:
            ahead = self.schedule.sample_ahead
            raise DoesNotFit(
                f"evaluation.interval must be a multiple of schedule.sample_ahead = {ahead}",
                "evaluation.interval",
                "schedule.sample_ahead",
                near={
                    "evaluation.interval": multiples(ahead, self.evaluation.interval),
                    "schedule.sample_ahead": divisors(self.evaluation.interval),
                },
            )
        return self

    @model_validator(mode="after")
    def _checkpoints_fall_between_cycles(self) -> Self:
        if self.record.keep_interval % self.schedule.sample_ahead:
            ahead = self.schedule.sample_ahead
            raise DoesNotFit(
                f"record.keep_interval must be a multiple of schedule.sample_ahead = {ahead}",
                "record.keep_interval",
                "schedule.sample_ahead",
                near={
                    "record.keep_interval": multiples(ahead, self.record.keep_interval),
                    "schedule.sample_ahead": divisors(self.record.keep_interval),
                },
            )
        return self

    @model_validator(mode="after")
    def _goes_beyond_its_start(self) -> Self:
        start, schedule = self.start, self.schedule
        if start.train_steps >= schedule.train_steps or start.env_steps > schedule.env_steps:
            raise DoesNotFit(
                f"the run starts from a checkpoint after {start.env_steps:,} env_steps and "
                f"{start.train_steps:,} train_steps, and must go beyond it",
                "schedule.env_steps",
                "schedule.final_train_steps",
                "start.env_steps",
                "start.train_steps",
                near=self._longer_schedules(start.train_steps + 1, start.env_steps),
            )
        return self

    def _longer_schedules(self, train_steps: int, env_steps: int = 0) -> Near:
        """Values of settings of the schedule with which a run has at least this length."""
        schedule = self.schedule
        cycle, ahead = schedule.env_steps_per_cycle, schedule.sample_ahead
        missing = math.ceil((train_steps - schedule.train_steps) / ahead)  # cycles
        longer = max(schedule.env_steps + missing * cycle, math.ceil(env_steps / cycle) * cycle)
        return {
            "schedule.env_steps": [longer],
            "schedule.final_train_steps": [schedule.final_train_steps + missing * ahead],
            "schedule.train_steps_per_env_step": schedule.rates,
        }

    @property
    def env_label(self) -> str:
        """The game, environment or user's class, for names and tables."""
        return suite_of(self.env).label(self.env)

    @property
    def marked_label(self) -> str:
        """The same for a table, marked so that it cannot be confused with another suite's game."""
        return self.env_label + suite_of(self.env).mark

    @property
    def identity(self) -> str:
        """Hash of all settings that determine the result, 12 hexadecimal digits.

        `compute`, `record` and settings with their neutral value (`ezcli.settings.Settings`) do not
        enter it. Equivalent configs have the same identity (`one_form`).
        """
        config = one_form(self)
        return short_hash(without_neutral(config, decisive(config)))

    @property
    def agent_identity(self) -> str:
        """The same without seed and game: equal for runs of one agent."""
        config = one_form(self)
        return short_hash(without_neutral(config, settings_of_agent(config)))


def short_hash(tables: dict[str, Any]) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of tables."""
    canonical = json.dumps(tables, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def one_form(config: RunConfig) -> RunConfig:
    """The canonical form of a config, equal for all configs that train the same agent.

    Without an auxiliary loss, `loss.auxiliary` has no effect: "none" and `components.consistency =
    false`, as in version 0.1.0, are the same agent.
    """
    if config.components.consistency and config.loss.auxiliary != "none":
        return config
    dropped = config.components.model_copy(update={"consistency": False})
    loss = config.loss.model_copy(update={"auxiliary": "simsiam"})
    return config.model_copy(update={"components": dropped, "loss": loss})


def decisive(config: RunConfig) -> dict[str, Any]:
    """The tables of all settings that determine a run's result.

    If the code of a user's environment is recorded, the folder of its file has no effect.
    """
    tables = config.model_dump(mode="json", exclude=UNIDENTIFIED)
    own = own_code(config.env)
    if own is not None and own.code:
        tables["env"]["target"] = Path(own.target).name
    return tables


def settings_of_agent(config: RunConfig) -> dict[str, Any]:
    """The settings that determine a run's result, without seed and game."""
    tables = decisive(one_form(config))
    del tables["seed"]
    tables["env"].pop("game", None)
    return tables


def without_neutral(model: BaseModel, tables: dict[str, Any]) -> dict[str, Any]:
    """The model's `tables` without fields and sections that have their neutral value."""
    kept = {}
    for name, value in tables.items():
        inner = getattr(model, name)
        shown = without_neutral(inner, value) if isinstance(inner, BaseModel) else value
        extra = type(model).model_fields[name].json_schema_extra
        if not (isinstance(extra, dict) and "neutral" in extra and shown == extra["neutral"]):
            kept[name] = shown
    return kept


def name_start(label: str, preset: str) -> str:
    """The start of names of runs and studies: the game and the preset, once if equal."""
    stem = Path(preset).stem
    return label if label == stem else f"{label}-{stem}"


def differences(one: RunConfig, other: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Settings whose values differ, by dotted key, without `compute` and `record`."""
    left, right = (dict(flat_items(decisive(config))) for config in (one, other))
    keys = sorted(left.keys() | right.keys())
    return {k: (left.get(k), right.get(k)) for k in keys if left.get(k) != right.get(k)}


def differences_text(there: RunConfig, now: RunConfig) -> str:
    """The settings that differ, with both values; empty if all are equal."""
    found = differences(there, now).items()
    return "; ".join(f"{in_words(key)}: {old!r} there, {new!r} now" for key, (old, new) in found)


def in_words(key: str) -> str:
    """Name of a setting in a sentence; the code of an environment is named by its file."""
    file = key.removeprefix("env.code.")
    return key if file == key else f"code of {file}"
