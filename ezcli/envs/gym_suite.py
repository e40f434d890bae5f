"""Gymnasium as a suite: any installed environment, by its id."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from ezcli.envs.settings import (
    ClipRewards,
    EnvSettings,
    EvaluationMaxEpisodeSteps,
    FrameStack,
    MaxEpisodeSteps,
)
from ezcli.envs.suite import DefaultPreset, OwnCode, Suite
from ezcli.errors import ConfigError

if TYPE_CHECKING:
    from ezcli.envs.protocol import EnvSpec

PREFIX = "gym:"
AN_ID = re.compile(r"(?:[\w.-]+(?:\.py)?:)?(?:[\w:.-]+/)?[\w:.-]+-v\d+")
SMALL_IMAGE = 32  # pixels along the longer side


class GymSettings(EnvSettings):
    """An environment of Gymnasium: its id, optionally after the module that registers it."""

    name: Literal["gym"]
    target: str = Field(description="Gymnasium's id, or `module:id`")
    code: dict[str, str] = Field(
        default={},
        json_schema_extra={"neutral": {}},
        description="start of the SHA-256 of each file of its code; empty: not known",
    )
    observation_key: str = Field(
        default="", description="entry of a Dict observation; empty: its only image"
    )
    channel_axis: Literal["auto", "first", "last"] = Field(
        default="auto",
        description="axis of channels of an image; auto: the shortest, the last of equal ones",
    )
    frame_stack: FrameStack = 1
    clip_rewards: ClipRewards = False
    max_episode_steps: MaxEpisodeSteps = 10_000
    evaluation_max_episode_steps: EvaluationMaxEpisodeSteps = 10_000

    @field_validator("target")
    @classmethod
    def _names_an_id(cls, target: str) -> str:
        module, colon, env_id = target.rpartition(":")
        if not env_id or (colon and not module) or ":" in module:
            raise ValueError("it must be an id, or a module, a colon and an id: module:CartPole-v1")
        return target

    @property
    def env_id(self) -> str:
        """The id without the module."""
        return self.target.rpartition(":")[2]

    @property
    def module(self) -> str:
        """The module or file that registers the id; empty for an installed package."""
        return self.target.rpartition(":")[0]


def _builder(settings: GymSettings) -> type:
    from ezcli.envs.gym import GymEnv

    # The name of the environment in errors.
    return type(settings.env_id, (GymEnv,), {})


def _tables(text: str) -> dict[str, Any] | None:
    """The table `env` for `gym:ID`.

    Raises:
      ConfigError: it is an id without the prefix `gym:`.
    """
    if text.startswith(PREFIX):
        return {"name": GYM.name, "target": text.removeprefix(PREFIX)}
    if AN_ID.fullmatch(text):
        raise ConfigError(
            "EZ-ENV-IS-AN-ID",
            f"{text!r} is not an environment of ezcli.",
            f"For the environment of Gymnasium: --env {PREFIX}{text}",
        )
    return None


def _label(settings: GymSettings) -> str:
    """The id in lower case, without its namespace."""
    return re.sub(r"[^a-z0-9_.-]", "-", settings.env_id.rpartition("/")[2].lower())


def _preset(table: Mapping[str, Any]) -> DefaultPreset:
    """The preset that suits the observations."""
    spec = _shown(GymSettings.model_validate(dict(table)))
    if spec.frame_type == "float32":
        return DefaultPreset("gym-vector", "gym-vector", "its observations are vectors")
    if max(spec.frame_shape[1:]) <= SMALL_IMAGE:
        return DefaultPreset("keydoor", "keydoor", "its images have few pixels")
    return DefaultPreset("atari100k", "atari-cpu")


def _shown(settings: GymSettings) -> "EnvSpec":
    """The spaces of the environment."""
    from ezcli.envs.checked import Checked

    build = _builder(settings)
    return Checked(lambda: build(settings, False), build.__name__, settings.cap(False)).spec


def _require(settings: GymSettings) -> None:
    """Refuses an id that cannot be played, without importing a user's module."""
    if not settings.module:
        _shown(settings)


def _advice(settings: GymSettings) -> list[str]:
    from ezcli.envs.gym import advice

    return advice(settings)


GYM = Suite(
    name="gym",
    settings=GymSettings,
    builder=_builder,
    title="Gymnasium",
    preset=DefaultPreset("gym-vector", "gym-vector", "its observations are vectors"),
    preset_of=_preset,
    label=_label,
    mark=" (Gymnasium)",
    takes="gym:ID",
    prefix=PREFIX,
    tables=_tables,
    require=_require,
    played=("target", "code"),
    own_code=lambda env: OwnCode(env.target, env.code) if env.module else None,
    installed=("versions",),
    frame_bytes=lambda env: 16_384,
    fps=lambda env: 15,
    tried_steps=100,
    advice=_advice,
)
