"""The run config: everything that decides a run's result, from TOML files and overrides.

A preset is a complete TOML file; nothing is adjusted after loading. `RunConfig.identity` hashes
what decides the result, so two runs with the same identity are the same run.
"""

import hashlib
import json
import re
import reprlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w
from pydantic import (
    BaseModel,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from ezcli import schema
from ezcli.efficientzero.hyperparameters import Hyperparameters
from ezcli.efficientzero.squash import largest_value
from ezcli.envs.settings import EnvSettings
from ezcli.envs.suites import (
    SUITES,
    AnyEnvSettings,
    env_tables,
    own_code,
    suite_of,
    suite_with_games,
)
from ezcli.errors import ConfigError, UnknownName, closest, letters
from ezcli.files import SETTINGS, read
from ezcli.settings import DoesNotFit, Settings, why

SHIPPED = (Path(__file__).parent, Path(__file__).parents[1])  # installed; in a checkout
ANY_ENV: TypeAdapter[EnvSettings] = TypeAdapter(AnyEnvSettings)
DEEPEST = 16  # tables within tables
SEAL = "# sha256 of the lines below: "  # begins a file that ez wrote and nobody should edit
UNIDENTIFIED = {"compute", "record"}  # sections that say how a run is made, not what comes out
REACH = 500  # integers each side of a value that are tried instead of it
# What other projects call some settings, where likeness and initials do not tell.
SYNONYMS = {
    "buffersize": "capacity",
    "gamma": "discount",
    "nsteps": "td_steps",
    "replaysize": "capacity",
    "sims": "num_simulations",
    "timesteps": "env_steps",
    "totaltimesteps": "env_steps",
}


class EvaluationSettings(Settings):
    """Playing greedily, without noise, for raw scores (appendix A.1)."""

    episodes: int = Field(
        ge=1, description="episodes of the final evaluation, and of `ez evaluate`"
    )
    interval: int = Field(ge=0, description="train_steps between evaluations on the way; 0: none")
    interval_episodes: int = Field(ge=1, description="episodes of those, under the training cap")


class ComputeSettings(Settings):
    """Where and how fast; not part of a run's identity."""

    device: str = Field(description="auto, cpu, cuda, cuda:1")
    threads: int = Field(ge=0, description="searches side by side; 0: one for each CPU core")
    search: Literal["auto", "cpu", "cuda"] = Field(
        description="where the trees lie; auto is the network's device, or cpu without ezcli[cuda]",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        description="of the network; auto is bfloat16 on CUDA and float32 on the CPU"
    )
    deterministic: bool = Field(
        description="the same bits again on the same GPU, for some speed; a CPU always is",
    )

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,2})?", device):
            raise ValueError("a device is auto, cpu, cuda, or cuda:1 and its like")
        return device


class RecordSettings(Settings):
    """What is written down on the way; not part of a run's identity."""

    metrics_interval: int = Field(ge=1, description="train_steps summed up in a line of metrics")
    checkpoint_minutes: float = Field(ge=0, description="minutes between checkpoints")


class RunConfig(Hyperparameters):
    """One run, whole: what `config.toml` in its folder says."""

    seed: int = Field(ge=0, lt=2**31, description="of everything random")
    env: AnyEnvSettings
    evaluation: EvaluationSettings
    compute: ComputeSettings
    record: RecordSettings

    @model_validator(mode="after")
    def _replay_holds_enough(self) -> Self:
        per_stream = self.guard_rows(self.env.frame_stack) + self.lookahead + 1
        least = per_stream * self.acting.num_envs
        if self.replay.capacity < least:
            raise DoesNotFit(
                f"replay.capacity must be at least {least} with these settings",
                "replay.capacity",
                "acting.num_envs",
                "loss.unroll_steps",
                "value.td_steps",
                "schedule.sample_ahead",
                "schedule.train_steps_per_env_step",
                "env.frame_stack",
                values=[least],
            )
        return self

    @model_validator(mode="after")
    def _something_is_learnt(self) -> Self:
        if not self.schedule.train_steps:
            raise DoesNotFit(
                "a run needs train_steps: raise schedule.env_steps or schedule.final_train_steps",
                "schedule.final_train_steps",
                "schedule.env_steps",
                values=[self.schedule.sample_ahead],
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
            )
        return self

    @property
    def env_label(self) -> str:
        """What is played, for names and tables: the game, the environment, or the user's class."""
        return suite_of(self.env).label(self.env)

    @property
    def marked_label(self) -> str:
        """The same for a table, where it must not be taken for something of another suite."""
        return self.env_label + suite_of(self.env).mark

    @property
    def identity(self) -> str:
        """12 hexadecimal digits of a hash of all that decides the result.

        Neither `compute` nor `record` enter it, nor a setting with its neutral value
        (`ezcli.settings.Settings`).
        """
        tables = without_neutral(self, decisive(self))
        canonical = json.dumps(tables, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def decisive(config: RunConfig) -> dict[str, Any]:
    """The tables of all settings that decide a run's result.

    Where the code of an environment of one's own is known, the folder of its file decides nothing.
    """
    tables = config.model_dump(mode="json", exclude=UNIDENTIFIED)
    own = own_code(config.env)
    if own is not None and own.code:
        tables["env"]["target"] = Path(own.target).name
    return tables


def settings_of_agent(config: RunConfig) -> dict[str, Any]:
    """All that decides a run's result but its seed and game: equal for runs of one agent."""
    tables = decisive(config)
    del tables["seed"]
    tables["env"].pop("game", None)
    return tables


def without_neutral(model: BaseModel, tables: dict[str, Any]) -> dict[str, Any]:
    """The model's `tables` without the fields, and the sections, that have their neutral value."""
    kept = {}
    for name, value in tables.items():
        inner = getattr(model, name)
        shown = without_neutral(inner, value) if isinstance(inner, BaseModel) else value
        extra = type(model).model_fields[name].json_schema_extra
        if not (isinstance(extra, dict) and "neutral" in extra and shown == extra["neutral"]):
            kept[name] = shown
    return kept


def as_before(config: RunConfig, there: RunConfig) -> RunConfig:
    """The config without the code of its environment, if `there` was made before that was kept.

    Args:
      config: of a command.
      there: of a run or study that the command names.
    """
    new, old = own_code(config.env), own_code(there.env)
    if new is None or old is None:
        return config
    if old.code or Path(new.target).name != Path(old.target).name:
        return config
    return with_changes(config, {"env.code": {}, "env.target": old.target})


def preset_names() -> list[str]:
    """Names of the presets that came with the package."""
    return shipped_names("preset")


def preset_path(preset: str) -> Path:
    """The file of a preset: one of ours by name, or a user's by path.

    Raises:
      ConfigError: there is no such preset.
    """
    return shipped_path("preset", preset)


def shipped_names(kind: str) -> list[str]:
    """Names of the presets or ablations that came with the package; `kind` is the singular."""
    return sorted({path.stem for root in SHIPPED for path in (root / f"{kind}s").glob("*.toml")})


def shipped_path(kind: str, name: str) -> Path:
    """The file of a preset or an ablation: one of ours by name, or a user's by path.

    Raises:
      ConfigError: there is none.
    """
    if name.endswith(".toml"):
        if not is_file(Path(name)):
            raise ConfigError(
                "EZ-CONFIG-NO-FILE",
                f"There is no file {name!r}.",
                f"Give the {kind}'s name or its path.",
            )
        return Path(name)
    for root in SHIPPED:
        path = root / f"{kind}s" / f"{name}.toml"
        if is_file(path):
            return path
    raise UnknownName(kind, name, shipped_names(kind))


def with_seal(text: str) -> str:
    """The text of a TOML file below a comment with its checksum, for `read_toml` to compare."""
    return f"{SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def require_seal(content: bytes, path: Path) -> None:
    """Refuses a file whose first line is the checksum of something else.

    Raises:
      ConfigError: it names the file.
    """
    first, _, below = content.partition(b"\n")
    if not first.startswith(SEAL.encode()):
        return
    if first[len(SEAL) :] != hashlib.sha256(below).hexdigest().encode():
        raise ConfigError(
            "EZ-CONFIG-CHANGED",
            f"{str(path)!r} is damaged: it was changed after ez wrote it.",
            "Put it back from a copy; in a copy of your own, delete the first line, a checksum.",
        )


def read_toml(path: Path, follow: bool = True) -> dict[str, Any]:
    """The tables of a TOML file.

    Args:
      path: of the file.
      follow: whether it may be a link, as a file that the user has named may be.

    Raises:
      ConfigError: it cannot be read, is not TOML, or is not what its checksum says.
    """
    try:
        content = read(path, SETTINGS, follow)
        require_seal(content, path)
        tables = tomllib.loads(content.decode())
    except OSError as error:
        raise ConfigError(
            "EZ-CONFIG-UNREADABLE", f"{str(path)!r} cannot be read: {error.strerror}."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            "EZ-CONFIG-UNREADABLE", f"{str(path)!r} cannot be read: {error}."
        ) from error
    except (ValueError, RecursionError) as error:  # not TOML, or beyond what Python reads
        raise ConfigError(
            "EZ-CONFIG-NOT-TOML", f"{str(path)!r} is not valid TOML: {error}."
        ) from error
    if is_deep(tables):
        raise ConfigError(
            "EZ-CONFIG-NESTED", f"{str(path)!r} is no config: its tables are nested too deep."
        )
    return tables


def is_deep(value: Any) -> bool:
    """Whether tables are nested deeper than those of any config."""
    layer = [value]
    for _ in range(DEEPEST):
        layer = [inner for table in layer if isinstance(table, dict) for inner in table.values()]
    return bool(layer)


def is_file(path: Path) -> bool:
    """Whether there is a plain file; no name is too long to ask for."""
    try:
        return path.is_file()
    except OSError:
        return False


def resolve(
    tables: dict[str, Any],
    overrides: Iterable[str] = (),
    source: str = "",
    changes: Mapping[str, Any] | None = None,
    given: Mapping[str, str] | None = None,
) -> RunConfig:
    """Validates `tables` with `key=value` overrides laid over them.

    Args:
      tables: as in a preset; not changed.
      overrides: such as `search.num_simulations=25`; values are written as in TOML, and a bare
        word is a string.
      source: file or option to name in an error.
      changes: values by dotted key, laid over everything else.
      given: the option that gave a value of `tables` or `changes`, by dotted key, to name in an
        error instead of `source`.

    Raises:
      ConfigError: a key, type or range is wrong; the sentence names the nearest valid key.
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


def parse_override(override: str) -> tuple[str, Any]:
    """Splits `key=value`."""
    key, equals, text = override.partition("=")
    key, text = key.strip(), text.strip()
    if not (equals and key and text):
        raise ConfigError(
            "EZ-CONFIG-SET-FORM", f"--set {override!r} is not of the form section.key=value."
        )
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # not TOML, or beyond what Python reads
        return key, text
    value = parsed["value"] if len(parsed) == 1 else text
    if is_deep(value):
        raise ConfigError("EZ-CONFIG-NESTED", f"--set {key} is nested too deep.")
    return key, value


def set_value(tables: dict[str, Any], key: str, value: Any) -> None:
    """Sets the dotted `key` in nested `tables`; it must be there, or be allowed there."""
    allowed = [key for key in flat_keys(tables) if not key.startswith("env.code.")]
    allowed += [*optional_keys(), *optional_env_keys(tables)]
    if key not in allowed:
        hint = owner(key, tables) or nearest(key, allowed)
        hint = hint or f"Sections: {', '.join(sections_of(allowed))}."
        raise ConfigError("EZ-CONFIG-UNKNOWN-KEY", f"Unknown setting {key!r}.", hint)
    *sections_of_key, name = key.split(".")
    table = tables
    for section in sections_of_key:
        table = table.setdefault(section, {})
    table[name] = value


def use_env(tables: dict[str, Any], env: str | None, game: str | None) -> dict[str, Any]:
    """The tables with another environment.

    Args:
      tables: of a preset; not changed.
      env: as for `--env`: the name of a suite, or a user's `file.py:Class`.
      game: as for `--game`; implies a suite that has games.

    Raises:
      ConfigError: the options do not fit together or with the preset.
    """
    tables = json_copy(tables)
    own = tables.get("env")
    if not isinstance(own, dict) or not isinstance(own.get("name"), str):
        raise ConfigError(
            "EZ-CONFIG-NO-ENV",
            "The preset names no environment.",
            "Give it a section env with a name.",
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
    if asked != {"name": own["name"]}:
        if suite.presets:
            *others, last = suite.presets
            raise ConfigError(
                "EZ-CONFIG-PRESET-ENV",
                f"This preset is for {own['name']!r}, not for {suite.title}.",
                f"Use --preset {', '.join(others)} or {last}.",
            )
        tables["env"] = asked
    if game:
        tables["env"]["game"] = game
    return tables


def name_start(label: str, preset: str) -> str:
    """How the names of runs and studies start: what is played and the preset, once if equal."""
    stem = Path(preset).stem
    return label if label == stem else f"{label}-{stem}"


def to_tables(config: RunConfig) -> dict[str, Any]:
    """The config as a file holds it, with the number of its schema."""
    return {"schema": schema.SCHEMA, **config.model_dump(mode="json")}


def to_toml(config: RunConfig) -> str:
    """The config as TOML, top-level values first."""
    return tomli_w.dumps(to_tables(config))


def to_commented_toml(config: RunConfig) -> str:
    """The config as TOML, each setting below a comment that says what it means."""
    lines, table = [], ""
    for line in to_toml(config).split("\n"):
        if line.startswith("["):
            table = line.strip("[]") + "."
        elif found := re.match(r"(\w+) = ", line):
            about = explained(table + found[1], config)
            lines += [f"# {about}"] if about else []
        lines.append(line)
    return "\n".join(lines)


def explained(key: str, config: RunConfig) -> str:
    """`describe`, with what follows from the value that the config has."""
    about = describe(key)
    if key == "value.support":
        about += f"; values of up to ±{largest_value(config.value.support):,.6g}"
    return about


def with_changes(config: RunConfig, changes: Mapping[str, Any], source: str = "") -> RunConfig:
    """The config with other values, by dotted key; errors as of `resolve`."""
    return resolve(config.model_dump(mode="json"), source=source, changes=changes)


def differences(one: RunConfig, other: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Settings whose values differ, by dotted key; `compute` and `record` are left out."""
    left, right = (dict(flat_items(decisive(config))) for config in (one, other))
    keys = sorted(left.keys() | right.keys())
    return {k: (left.get(k), right.get(k)) for k in keys if left.get(k) != right.get(k)}


def differences_text(there: RunConfig, now: RunConfig) -> str:
    """The settings that differ, with both values; empty if none does."""
    found = differences(there, now).items()
    return "; ".join(f"{in_words(key)}: {old!r} there, {new!r} now" for key, (old, new) in found)


def in_words(key: str) -> str:
    """A setting as it is named in a sentence; the code of an environment by its file."""
    file = key.removeprefix("env.code.")
    return key if file == key else f"code of {file}"


def flat_items(tables: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested tables."""
    for name, value in tables.items():
        if isinstance(value, dict):
            yield from flat_items(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def flat_keys(tables: dict[str, Any]) -> Iterator[str]:
    """Dotted keys of nested tables."""
    return (key for key, _ in flat_items(tables))


def describe(key: str) -> str:
    """The unit and meaning of the setting with this dotted `key`; empty if none is written."""
    model: Any = RunConfig
    *sections, name = key.split(".")
    for section in sections:
        if section == "env":
            return env_descriptions().get(name, "")
        model = model.model_fields[section].annotation
    field = getattr(model, "model_fields", {}).get(name)  # none: `key` is within a list
    return field.description or "" if field else ""


def env_descriptions() -> dict[str, str]:
    """Descriptions of the settings of every environment."""
    return {
        name: field.description or ""
        for suite in SUITES.values()
        for name, field in suite.settings.model_fields.items()
    }


def optional_env_keys(tables: dict[str, Any]) -> list[str]:
    """Keys of the environment that have a default and so may be missing from the tables."""
    try:
        env = ANY_ENV.validate_python(tables.get("env"))
    except ValidationError:
        return []
    return [f"env.{name}" for name in type(env).model_fields]


def optional_keys() -> list[str]:
    """Keys outside the environment that have a default and so may be missing from the tables."""
    keys = []
    for section, field in RunConfig.model_fields.items():
        fields = getattr(field.annotation, "model_fields", {})
        keys += [f"{section}.{name}" for name, inner in fields.items() if not inner.is_required()]
    return keys


def nearest(key: str, allowed: list[str]) -> str:
    """A sentence with the valid key that is most like `key`, or with the settings of its section.

    Sections and names are compared on their own; names also by their initials and by what other
    projects call them: `optimizer.lr` is `optimiser.learning_rate`. Empty if nothing is like it.
    """
    section, _, name = key.rpartition(".")
    inside = {one: [k for k in allowed if k.startswith(f"{one}.")] for one in sections_of(allowed)}
    if key not in inside:
        names = dict.fromkeys(one.rpartition(".")[2] for one in allowed)
        several = (one for one in names if "_" in one)
        initials = {"".join(word[0] for word in one.split("_")): one for one in several}
        known = initials | SYNONYMS
        meant = known.get(letters(name)) or closest(name, names)
        of_name = {k.rpartition(".")[0]: k for k in allowed if k.rpartition(".")[2] == meant}
        if of_name:
            place = section if section in of_name else closest(section, of_name, cutoff=0)
            return f"Did you mean {of_name[place or min(of_name)]!r}?"
    meant = closest(section or name, [*inside, *(k for k in allowed if "." not in k)])
    if meant in inside:
        own = (k.rpartition(".")[2] for k in inside[meant])
        return f"Settings of {meant}: {', '.join(own)}."
    return f"Did you mean {meant!r}?" if meant else ""


def sections_of(keys: Iterable[str]) -> list[str]:
    """The sections of dotted keys, each once."""
    return list(dict.fromkeys(key.rpartition(".")[0] for key in keys if "." in key))


def explain(
    error: ValidationError, source: str, tables: dict[str, Any], given: Mapping[str, str]
) -> ConfigError:
    """Pydantic's first complaint as one sentence; that of a key too many before all others.

    Args:
      error: the complaints.
      source: file or option to name.
      tables: what was validated.
      given: dotted keys whose values do not come from `source`, and the option to name instead;
        empty for one that says the key itself, such as `--set`.
    """
    complaints = error.errors()
    first = next((e for e in complaints if e["type"] == "extra_forbidden"), complaints[0])
    place = [str(part) for part in first["loc"]]
    rule = first.get("ctx", {}).get("error")
    if isinstance(rule, DoesNotFit):
        return explain_rule(rule, place, source, tables, given)
    key = ".".join(place)
    where = origin(key, source, given)
    if first["type"] == "extra_forbidden":
        near = nearest(key, [*RunConfig.model_fields, *all_keys()])
        return ConfigError(
            "EZ-CONFIG-UNKNOWN-KEY", f"Unknown setting {key!r}{where}.", owner(key, tables) or near
        )
    if first["type"] == "missing":
        about = f"That is: {describe(key)}. " if describe(key) else ""
        way_out = f"{about}A complete preset: ez config show --preset catch"
        return ConfigError("EZ-CONFIG-MISSING-KEY", f"{key!r} is missing{where}.", way_out)
    value = "" if isinstance(first["input"], dict) else f" = {short(first['input'])}"
    return ConfigError("EZ-CONFIG-VALUE", f"{key}{value}{where} is not allowed: {why(first)}.")


def explain_rule(
    rule: DoesNotFit,
    place: list[str],
    source: str,
    tables: dict[str, Any],
    given: Mapping[str, str],
) -> ConfigError:
    """Settings that exclude each other as one sentence about those that an option gave.

    Where no option gave any, it is about the setting that the rule names first.
    """
    keys = [".".join([*place, key]) for key in rule.keys]
    blamed = [key for key in keys if key in given] or keys[:1]
    values = dict(flat_items(tables))
    shown = (
        f"{key}{f' = {short(values[key])}' if key in values else ''}{origin(key, source, given)}"
        for key in blamed
    )
    verb = "is" if len(blamed) == 1 else "are"
    fit = values_that_fit(tables, blamed[0], rule.values if blamed[0] == keys[0] else ())
    near = f"Nearest allowed: {blamed[0]} = {' or '.join(map(repr, fit))}." if fit else ""
    return ConfigError(
        "EZ-CONFIG-COMBINATION", f"{' and '.join(shown)} {verb} not allowed: {rule}.", near
    )


def origin(key: str, source: str, given: Mapping[str, str]) -> str:
    """Where the value of a dotted key comes from, as it stands in a sentence."""
    own = [option for laid, option in given.items() if key == laid or key.startswith(f"{laid}.")]
    where = own[0] if own else source
    return f" in {where}" if where else ""


def values_that_fit(tables: dict[str, Any], key: str, likely: Iterable[float]) -> list[float]:
    """The nearest values of one setting, below and above, with which the tables are a config.

    Args:
      tables: of a config that is not allowed.
      key: dotted, of a setting.
      likely: values to try; for an integer, those within `REACH` are tried too.
    """
    value = dict(flat_items(tables)).get(key)
    if not isinstance(value, int | float):
        return []
    nearest_first = sorted(likely, key=lambda candidate: abs(candidate - value))
    if isinstance(value, int):
        nearest_first += (value + sign * n for n in range(1, REACH + 1) for sign in (-1, 1))
    below = (candidate for candidate in nearest_first if candidate < value)
    above = (candidate for candidate in nearest_first if candidate > value)
    found = (next((one for one in side if fits(tables, key, one)), None) for side in (below, above))
    return [one for one in found if one is not None]


def fits(tables: dict[str, Any], key: str, value: float) -> bool:
    """Whether the tables are a config with another value of one setting."""
    changed = json_copy(tables)
    set_value(changed, key, value)
    try:
        RunConfig.model_validate(changed)
    except ValidationError:
        return False
    return True


def owner(key: str, tables: dict[str, Any]) -> str:
    """A sentence on the environment that has the setting, where another is in the tables."""
    env = tables.get("env")
    section, _, name = key.rpartition(".")
    owners = [own for own, suite in SUITES.items() if name in suite.settings.model_fields]
    if section != "env" or not owners or not isinstance(env, dict):
        return ""
    return f"It is a setting of {' and '.join(owners)}, not of {env.get('name')}."


def short(value: Any) -> str:
    """A value as it may stand in a sentence."""
    shortening = reprlib.Repr()
    shortening.maxstring = shortening.maxother = 200  # characters
    try:
        return shortening.repr(value)
    except ValueError:  # more digits than Python writes
        return "a number of thousands of digits"


def all_keys() -> list[str]:
    """Every dotted key that a config can have."""
    keys = ["seed", *(f"env.{name}" for name in env_descriptions())]
    for section, field in RunConfig.model_fields.items():
        if section not in ("seed", "env"):
            keys += [f"{section}.{name}" for name in field.annotation.model_fields]  # type: ignore[union-attr]
    return keys


def json_copy(tables: dict[str, Any]) -> dict[str, Any]:
    """A deep copy of tables that came from TOML."""
    return {k: json_copy(v) if isinstance(v, dict) else v for k, v in tables.items()}
