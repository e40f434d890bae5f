"""Ablations: TOML files with a title, a reason, and the settings that change.

title = "No value prefix" why = "..."                 # one sentence section = "4.2"             #
of EfficientZero, arXiv:2111.00210, or another paper in PAPERS paper = "efficientzero"     #
optional [published]                 # optional: published scores, human-normalised, 26 games mean =
1.482 median = 0.552 [scores]                    # optional: published mean raw scores of single
games [components]                # the settings that change, as in a preset value_prefix = false
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
    """Human-normalised scores over the 26 games of Atari 100k, as published."""

    mean: float
    median: float


PUBLISHED_SCALE = "human-normalised"


PAPERS = {
    "efficientzero": "EfficientZero, arXiv:2111.00210",
    "efficientzero-v2": "EfficientZero V2, arXiv:2403.00564",
}  # by name of the published agent


class Header(Settings):
    """The entries of an ablation file besides settings."""

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
    """The content of an ablation file."""

    name: str
    title: str
    why: str
    section: str
    paper: str  # one of PAPERS
    published: Published | None
    scores: dict[str, float]  # published mean raw scores of games without this part
    changes: dict[str, Any]  # by dotted key


def ablation_names() -> list[str]:
    """Names of the ablations in the package."""
    return shipped_names("ablation")


def load_ablation(name: str) -> Ablation:
    """Reads an ablation by name or path.

    Raises:
      ConfigError: the file is not a valid ablation.
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
    """Reads the value of `--drop`: an ablation, or several joined by `+`."""
    return [load_ablation(name) for name in parts(text)]


def parts(text: str) -> tuple[str, ...]:
    """The ablations of a sum, by name or path. The path of an existing file can contain `+`."""
    if text.endswith(".toml") and Path(text).is_file():
        return (text,)
    return tuple(text.split("+"))


def unknown(key: str, source: str, header: tuple[str, ...]) -> ConfigError:
    """The error about an unknown key, with the most similar known key."""
    return ConfigError(
        "EZ-CONFIG-UNKNOWN-KEY",
        f"Unknown setting {key!r} in {source}.",
        nearest(key, [*header, *all_keys()]),
    )


def require_ablatable(key: str, source: str, header: tuple[str, ...] = ()) -> None:
    """Refuses a key that must be equal in all arms.

    Args:
      key: of a setting.
      source: file or option to name in the error.
      header: other allowed keys, for suggestions.

    Raises:
      ConfigError: it is unknown, does not affect results, or is used to pair arms.
    """
    if key not in all_keys():
        raise unknown(key, source, header)
    if key.partition(".")[0] in UNIDENTIFIED:
        raise ConfigError(
            "EZ-ABLATION-NO-RESULT",
            f"{key} in {source} does not affect results, so it cannot be ablated.",
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
            f"{key} in {source} cannot differ between arms: their games would have different "
            "lengths.",
            f"Set it for all arms with --set {key}=N.",
        )


def combine(ablations: Iterable[Ablation]) -> dict[str, Any]:
    """Joins the changes of several ablations.

    Raises:
      ConfigError: two of them set one setting to different values.
    """
    changes: dict[str, Any] = {}
    owner: dict[str, str] = {}
    for ablation in ablations:
        for key, value in ablation.changes.items():
            if key in changes and changes[key] != value:
                raise ConfigError(
                    "EZ-ABLATION-CONFLICT",
                    f"{owner[key]!r} and {ablation.name!r} set {key} to different values: "
                    f"{changes[key]!r} and {value!r}.",
                )
            changes[key] = value
            owner.setdefault(key, ablation.name)
    return changes


def require_effect(what: str, base: RunConfig, arm: RunConfig, changes: Mapping[str, Any]) -> None:
    """Refuses an arm that is equal to the full agent.

    Raises:
      ConfigError: every changed setting already has its value in `base`, or has no effect there.
    """
    if base.identity == arm.identity:
        already = ", ".join(f"{key} is {value!r}" for key, value in changes.items())
        if differences(base, arm):
            already = "the agent has no auxiliary loss"  # see `config.run.one_form`
        raise ConfigError(
            "EZ-ABLATION-CHANGES-NOTHING",
            f"{what} changes nothing: {already} already.",
            "Leave it out, or change --preset.",
        )
