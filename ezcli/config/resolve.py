"""Builds a run config from a preset and options."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ezcli import schema
from ezcli.config.errors import explain
from ezcli.config.overrides import parse_override, set_value
from ezcli.config.run import RunConfig
from ezcli.config.tables import json_copy
from ezcli.envs.suites import SUITES, env_tables, own_code, require_game, suite_with_games
from ezcli.errors import ConfigError


def as_before(config: RunConfig, there: RunConfig) -> RunConfig:
    """The config without the code of its environment, if `there` does not record its code either.

    Args:
      config: the config of a command.
      there: the config of the run or study that the command names.
    """
    new, old = own_code(config.env), own_code(there.env)
    if new is None or old is None:
        return config
    if old.code or Path(new.target).name != Path(old.target).name:
        return config
    return with_changes(config, {"env.code": {}, "env.target": old.target})


def resolve(
    tables: dict[str, Any],
    overrides: Iterable[str] = (),
    source: str = "",
    changes: Mapping[str, Any] | None = None,
    given: Mapping[str, str] | None = None,
) -> RunConfig:
    """Validates `tables` after applying `key=value` overrides.

    Args:
      tables: as in a preset; they are not modified.
      overrides: such as `search.num_simulations=25`. Values have TOML syntax; a bare word is a
        string.
      source: file or option to name in an error.
      changes: values by dotted key, applied last.
      given: the option that gave a value of `tables` or `changes`, by dotted key. Errors name it
        instead of `source`.

    Raises:
      ConfigError: a key, type or range is wrong. The message names the nearest valid key.
    """
    merged = schema.current("config", json_copy(tables), source or "the config")
    for override in overrides:
        key, value = parse_override(override)
        if key == "env.name":
            raise ConfigError(
                "EZ-CONFIG-SET-ENV-NAME", "--set cannot change env.name.", "Use --env or --game."
            )
        set_value(merged, key, value)
    for key, value in (changes or {}).items():
        set_value(merged, key, value)
    laid_over = {parse_override(override)[0]: "" for override in overrides}
    try:
        return RunConfig.model_validate(merged)
    except ValidationError as error:
        laid_over |= dict.fromkeys(changes or {}, source) | dict(given or {})
        raise explain(error, source, merged, laid_over) from error


def use_env(tables: dict[str, Any], env: str | None, game: str | None) -> dict[str, Any]:
    """The tables with another environment.

    Args:
      tables: tables of a preset; they are not modified.
      env: as in `--env`: the name of a suite, or a user's `file.py:Class`.
      game: as in `--game`; implies a suite with games.

    Raises:
      ConfigError: the options contradict each other or the preset.
    """
    tables = json_copy(tables)
    own = tables.get("env")
    if not isinstance(own, dict) or not isinstance(own.get("name"), str):
        raise ConfigError(
            "EZ-CONFIG-NO-ENV",
            "The preset names no environment.",
            "Add a section env with a name.",
        )
    if not env and not game:
        return tables
    asked = env_tables(env) if env else {"name": suite_with_games(own["name"]).name}
    suite = SUITES[asked["name"]]
    if game and not suite.games:
        raise ConfigError(
            "EZ-OPTION-CONFLICT",
            f"--game names a game, but the environment {env!r} has none.",
            "Leave out one of --env and --game.",
        )
    if game:
        require_game(suite, game)
    if asked["name"] == own["name"] and suite.games:
        tables["env"] |= asked
    elif asked != {"name": own["name"]}:
        if suite.presets:
            *others, last = suite.presets
            fitting = f"{', '.join(others)} or {last}" if others else last
            raise ConfigError(
                "EZ-CONFIG-PRESET-ENV",
                f"This preset is for {own['name']!r}, not for {suite.title}.",
                f"Use --preset {fitting}.",
            )
        tables["env"] = asked
    if game:
        tables["env"]["game"] = game
    return tables


def with_changes(config: RunConfig, changes: Mapping[str, Any], source: str = "") -> RunConfig:
    """The config with other values, by dotted key; errors as in `resolve`."""
    return resolve(config.model_dump(mode="json"), source=source, changes=changes)
