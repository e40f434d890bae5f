"""Builds a run config from the options of a command."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ezcli import trust
from ezcli.config.files import preset_path, read_toml
from ezcli.config.overrides import parse_override
from ezcli.config.resolve import resolve, use_env, with_changes
from ezcli.config.run import RunConfig
from ezcli.envs.code import absolute, code_of, locate
from ezcli.envs.suite import OwnCode
from ezcli.envs.suites import (
    DEFAULT,
    SUITES,
    check_env,
    check_game,
    env_tables,
    own_code,
    placed_game,
)
from ezcli.errors import ConfigError
from ezcli.words import shell_word

if TYPE_CHECKING:
    from ezcli.runs.folder import RunFolder


def on_device(config: RunConfig, device: str | None) -> RunConfig:
    """The config with this device, if one is given."""
    if device is None:
        return config
    return with_changes(config, {"compute.device": device}, source="--device")


class ConfigOptions(NamedTuple):
    """The options that choose a config, in the order in which they are applied to the preset."""

    preset: str
    env: str | None = None
    game: str | None = None
    seed: int | None = None
    device: str | None = None
    overrides: Sequence[str] = ()  # of `--set`


def build_config(options: ConfigOptions) -> RunConfig:
    """Applies the options to the preset.

    Raises:
      ConfigError: an option is wrong, or contradicts another.
    """
    preset, env, game, seed, device, overrides = options
    if game is not None:
        env, game = placed_game(env, game)
    asked: dict[str, tuple[str, object]] = {
        "seed": ("--seed", seed),
        "compute.device": ("--device", device),
        "env.game": ("--game", game),
    }
    if env is not None:
        check_env(env)
        played = {name: value for name, value in env_tables(env).items() if name != "name"}
        asked |= {f"env.{name}": ("--env", value) for name, value in played.items()}
    refuse_contradictions(asked, overrides)
    tables = use_env(read_toml(preset_path(preset)), env, game)
    laid_over = [f"seed={seed}"] if seed is not None else []
    laid_over += [f"compute.device={device!r}"] if device is not None else []
    given = {} if env is None else {"env": "--env"}
    config = resolve(tables, [*laid_over, *overrides], source=f"preset {preset!r}", given=given)
    check_game(config.env)
    named = {parse_override(override)[0] for override in overrides}
    is_recorded = "code" in tables["env"] and "env.target" not in named
    return with_code(config, is_recorded or "env.code" in named)


def refuse_contradictions(
    options: Mapping[str, tuple[str, object]], overrides: Sequence[str]
) -> None:
    """Refuses settings that are given twice with different values.

    Args:
      options: the option that gives a setting, and its value, by dotted key; None if not given.
      overrides: of `--set`.

    Raises:
      ConfigError: names both.
    """
    given = {key: (f"{name} {value}", value) for key, (name, value) in options.items()}
    for override in overrides:
        key, value = parse_override(override)
        again = f"--set {shell_word(override)}"
        source, other = given.setdefault(key, (again, value))
        if other is None:
            given[key] = (again, value)
        elif (other, type(other) is bool) != (value, type(value) is bool):
            raise ConfigError(
                "EZ-OPTION-CONFLICT",
                f"{source} and {again} give {key!r} different values.",
                "Leave out one of them.",
            )


def with_code(config: RunConfig, is_recorded: bool) -> RunConfig:
    """The config with the current code of a user's environment.

    Args:
      config: a config of any environment.
      is_recorded: whether the config already records its code, or that its code is not known.

    Raises:
      ConfigError: the code is missing, or differs from the recorded code.
    """
    own = own_code(config.env)
    if own is None:
        return config
    if is_recorded:
        locate(own.target, own.code)
        return config
    return with_changes(
        config, {"env.target": absolute(own.target), "env.code": code_of(own.target)}
    )


def recorded(folder: "RunFolder", device: str | None) -> RunConfig:
    """The config of a run, with another device if one is given. Its code must not have changed.

    Raises:
      EzError: the run is damaged, or the code of its environment changed.
    """
    config = on_device(folder.config(), device)
    own = own_code(config.env)
    if own is not None:
        code = own.code or folder.noted_code()
        found = OwnCode(locate(own.target, code), code)
        require_trusted(found, f"The run {folder.name!r} names the code {found.target!r}")
    return config


def playable_config(options: ConfigOptions) -> RunConfig:
    """`build_config` for a command that plays. Code that only the preset names must be trusted.

    Raises:
      ConfigError: the code is not trusted, or the preset comes from a run that started from a
        checkpoint.
    """
    config = build_config(options)
    if config.start.agent:
        raise ConfigError(
            "EZ-CONFIG-START",
            f"The preset {options.preset!r} comes from a run that started from a checkpoint.",
            "Remove the section start, or start from that run: ez train --from RUN",
        )
    own = own_code(config.env)
    if own is not None:
        named = {parse_override(override)[0] for override in options.overrides}
        if options.env is not None or "env.target" in named:
            trust.remember(trust.code(own.target, own.code or code_of(own.target)))
        else:
            require_trusted(own, f"The preset {options.preset!r} names the code {own.target!r}")
    return config


def require_trusted(own: OwnCode, what: str) -> None:
    """Asks before code of an environment is executed that no command line named.

    Raises:
      ConfigError: the code is not trusted.
    """
    trust.require(trust.code(own.target, own.code or code_of(own.target)), what, "executed")


def default_preset(
    env: str | None, game: str | None, device: str | None, has_gpus: bool | None = None
) -> tuple[str, str]:
    """The preset to use without --preset, and the reason.

    Args:
      env: as in `--env`.
      game: as in `--game`; may contain its suite.
      device: as in `--device`.
      has_gpus: whether the machine that will train has a GPU; None for this machine.

    Raises:
      ConfigError: `--env` does not allow that name.
    """
    suite, table = DEFAULT, {}
    if game is not None:
        env, _ = placed_game(env, game)
    if env is not None:
        check_env(env)
        table = env_tables(env)
        suite = SUITES[table["name"]]
    gpu, cpu, because = suite.preset_of(table) if suite.preset_of else suite.preset
    if because:
        return cpu, because
    if device == "cpu":
        return cpu, "it suits a CPU, which --device selects"
    if has_gpus is not None:
        return gpu if has_gpus else cpu, f"the jobs get {'a' if has_gpus else 'no'} GPU"
    import torch

    if torch.cuda.is_available():
        return gpu, f"there is a GPU, {torch.cuda.get_device_name()}"
    return cpu, f"there is no GPU, and {gpu} needs one"
