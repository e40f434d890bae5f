"""Ablations: TOML files that say what is dropped, why, and which settings that changes.

title = "No value prefix"
why = "..."                 # one sentence
section = "4.2"             # of EfficientZero, arXiv:2111.00210, or of another of PAPERS
paper = "efficientzero"     # which; may be left out
[published]                 # where the paper measured it: human-normalised, 26 games
mean = 1.482
median = 0.552
[scores]                    # where the paper measured single games: mean raw scores
[components]                # the settings that differ, as in a preset
value_prefix = false
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from ezcli.config.files import read_toml, shipped_names, shipped_path
from ezcli.config.names import all_keys, nearest
from ezcli.config.run import UNIDENTIFIED, RunConfig, differences
from ezcli.config.tables import flat_items
from ezcli.envs.suites import SUITES
from ezcli.errors import ConfigError
from ezcli.settings import Settings, why


class Published(Settings):
    """Human-normalised scores over the 26 games of Atari 100k, as printed."""

    mean: float
    median: float


PUBLISHED_SCALE = "human-normalised"


PAPERS = {
    "efficientzero": "EfficientZero, arXiv:2111.00210",
    "efficientzero-v2": "EfficientZero V2, arXiv:2403.00564",
}  # by the name of the agent among those whose scores are published


class Header(Settings):
    """What an ablation file says beside the settings."""

    title: str
    why: str
    section: str = ""
    paper: Literal["efficientzero", "efficientzero-v2"] = "efficientzero"
    published: Published | None = None
    scores: dict[str, float] = Field(default={})


HEADER_KEYS = (*Header.model_fields, *(f"published.{key}" for key in Published.model_fields))

PUBLISHED_FULL = Published(mean=1.943, median=1.090)  # Ye et al., NeurIPS 2021, table 3
FIRST_MEDIAN = 1.16  # of the full agent, in the first version of the paper


class Ablation(NamedTuple):
    """One file, read."""

    name: str
    title: str
    why: str
    section: str
    paper: str  # one of PAPERS
    published: Published | None
    scores: dict[str, float]  # mean raw scores of games without this part, as the paper prints them
    changes: dict[str, Any]  # by dotted key


def ablation_names() -> list[str]:
    """Names of the ablations that came with the package."""
    return shipped_names("ablation")


def load_ablation(name: str) -> Ablation:
    """Reads an ablation by name or path.

    Raises:
      ConfigError: the file says nothing that an ablation can say.
    """
    path = shipped_path("ablation", name)
    tables = read_toml(path)
    header = {key: tables.pop(key) for key in Header.model_fields if key in tables}
    changes = dict(flat_items(tables))
    for key in changes:
        require_ablatable(key, str(path), HEADER_KEYS)
    try:
        about = Header.model_validate(header)
    except ValidationError as error:
        found = error.errors()
        first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise unknown(key, str(path), HEADER_KEYS) from error
        if first["type"] == "missing":
            raise ConfigError(
                "EZ-CONFIG-MISSING-KEY", f"{key!r} is missing in {str(path)!r}."
            ) from error
        raise ConfigError(
            "EZ-CONFIG-VALUE", f"{key} in {str(path)!r} is not allowed: {why(first)}."
        ) from error
    if not changes:
        raise ConfigError(
            "EZ-ABLATION-EMPTY", f"{str(path)!r} changes no setting.", "Add one, as in a preset."
        )
    said = {name: getattr(about, name) for name in Header.model_fields}
    return Ablation(name=path.stem, changes=changes, **said)


def load_sum(text: str) -> list[Ablation]:
    """Reads what one `--drop` names: an ablation, or several joined by `+`."""
    return [load_ablation(name) for name in parts(text)]


def parts(text: str) -> tuple[str, ...]:
    """The ablations of a sum, by name or path; a file that is there may have a `+` in its path."""
    if text.endswith(".toml") and Path(text).is_file():
        return (text,)
    return tuple(text.split("+"))


def unknown(key: str, source: str, header: tuple[str, ...]) -> ConfigError:
    """The error about a key that does not exist, with the one that looks most like it."""
    return ConfigError(
        "EZ-CONFIG-UNKNOWN-KEY",
        f"Unknown setting {key!r} in {source}.",
        nearest(key, [*header, *all_keys()]),
    )


def require_ablatable(key: str, source: str, header: tuple[str, ...] = ()) -> None:
    """Refuses a key that no arm may differ in.

    Args:
      key: of a setting.
      source: file or option to name in the error.
      header: keys beside settings that may stand there, for a guess at what was meant.

    Raises:
      ConfigError: it is unknown, or changes no result, or is what the arms are paired by.
    """
    if key not in all_keys():
        raise unknown(key, source, header)
    if key.partition(".")[0] in UNIDENTIFIED:
        raise ConfigError(
            "EZ-ABLATION-NO-RESULT",
            f"{key} in {source} changes no result, so it is nothing to ablate.",
        )
    played = {f"env.{name}" for suite in SUITES.values() for name in suite.played}
    if key in {"seed", "env.name", *played}:
        raise ConfigError(
            "EZ-ABLATION-TASK",
            f"{key} in {source} cannot differ between arms.",
            "Use --seeds, --game or --env.",
        )
    if key == "env.evaluation_max_episode_steps":
        raise ConfigError(
            "EZ-ABLATION-TASK",
            f"{key} in {source} cannot differ between arms: their scores would be of games of "
            "different lengths.",
            f"Set it for all arms with --set {key}=N.",
        )


def combine(ablations: Iterable[Ablation]) -> dict[str, Any]:
    """The changes of several ablations together.

    Raises:
      ConfigError: two of them want different values for one setting.
    """
    changes: dict[str, Any] = {}
    owner: dict[str, str] = {}
    for ablation in ablations:
        for key, value in ablation.changes.items():
            if key in changes and changes[key] != value:
                raise ConfigError(
                    "EZ-ABLATION-CONFLICT",
                    f"{owner[key]!r} and {ablation.name!r} want different values for {key}: "
                    f"{changes[key]!r} and {value!r}.",
                )
            changes[key] = value
            owner.setdefault(key, ablation.name)
    return changes


def require_effect(what: str, base: RunConfig, arm: RunConfig, changes: Mapping[str, Any]) -> None:
    """Refuses an arm that is the full agent under another name.

    Raises:
      ConfigError: every changed setting has that value in `base` already, or decides nothing there.
    """
    if base.identity == arm.identity:
        already = ", ".join(f"{key} is {value!r}" for key, value in changes.items())
        if differences(base, arm):
            already = "the agent has no auxiliary loss"  # see `config.run.one_form`
        raise ConfigError(
            "EZ-ABLATION-CHANGES-NOTHING",
            f"{what} changes nothing here: {already} already.",
            "Leave it out, or change --preset.",
        )
