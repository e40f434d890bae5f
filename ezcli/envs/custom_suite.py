"""Users' own classes as a suite: settings and names."""

from typing import Any, Literal

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


class CustomSettings(EnvSettings):
    """A user's class: `module:Class` or `file.py:Class`."""

    name: Literal["custom"]
    target: str = Field(description="`file.py:Class`")
    code: dict[str, str] = Field(
        default={},
        json_schema_extra={"neutral": {}},
        description="start of the SHA-256 of each file of its code; empty: not known",
    )
    frame_stack: FrameStack = 1
    clip_rewards: ClipRewards = False
    max_episode_steps: MaxEpisodeSteps = 1000
    evaluation_max_episode_steps: EvaluationMaxEpisodeSteps = 1000

    @field_validator("target")
    @classmethod
    def _names_a_class(cls, target: str) -> str:
        place, _, name = target.rpartition(":")
        if not place or ":" in place or not name.isidentifier():
            raise ValueError("it must be a file or module, a colon and a class: file.py:Class")
        return target


def _builder(settings: CustomSettings) -> type:
    from ezcli.envs.custom import load_class

    return load_class(settings.target, settings.code)


def _tables(text: str) -> dict[str, Any] | None:
    """The table `env` for `file.py:Class`.

    Raises:
      ConfigError: it is a file without a class.
    """
    if text.endswith(".py"):
        raise ConfigError(
            "EZ-ENV-NO-CLASS-NAMED", f"{text!r} contains no class.", f"Add it: --env {text}:MyEnv"
        )
    return {"name": CUSTOM.name, "target": text} if ":" in text else None


CUSTOM = Suite(
    name="custom",
    settings=CustomSettings,
    builder=_builder,
    title="environments of your own",
    preset=DefaultPreset(
        "catch",
        "catch",
        "the default for environments of your own, for frames of few pixels",
    ),
    label=lambda env: env.target.rpartition(":")[2].lower(),
    mark=" (custom)",  # a class can have the same name as a game
    takes="file.py:Class",
    tables=_tables,
    played=("target", "code"),
    own_code=lambda env: OwnCode(env.target, env.code),
)
