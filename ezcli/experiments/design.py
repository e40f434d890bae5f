"""Arms from the options of `ez ablate`: drops, sums, subsets and sweeps."""

import itertools
import json
import re
import tomllib
from collections.abc import Iterable
from typing import Any, NamedTuple

from ezcli.config.overrides import parse_override
from ezcli.config.resolve import resolve
from ezcli.config.run import RunConfig, differences
from ezcli.errors import ConfigError
from ezcli.experiments.ablations import (
    combine,
    load_ablation,
    parts,
    require_ablatable,
    require_effect,
)

FULL = "full"
MOST_DROPS = 6  # most drops of a factorial design: 64 arms
LABELS = {"muzero": "MuZero", "consistency-authors": "\N{MINUS SIGN} consistency and augmentation"}
"""Labels of ablations whose names are not a single dropped part."""


class Arm(NamedTuple):
    """An arm of a study: its changes to the full agent."""

    name: str
    drops: tuple[str, ...]  # ablations as in --drop; empty for the full agent
    changes: dict[str, Any]  # by dotted key; only values that differ from the full agent


def arms_of(
    base: RunConfig, drops: list[str], vary: list[str], factorial: bool
) -> tuple[list[Arm], list[str]]:
    """The arms, beginning with the full agent, and sentences about duplicate arms.

    Every combination of `drops` is crossed with every combination of values in `vary`. The full
    agent is added if it is not among them.

    Args:
      base: config of the full agent, with any seed and game.
      drops: names or paths of ablations, or several joined by `+`.
      vary: each `key=value,value,...`.
      factorial: use every subset of the drops instead.

    Raises:
      ConfigError: a name, key or value is wrong, a drop changes nothing, or two contradict each
        other.
    """
    combinations = subsets(drops) if factorial else [(), *map(parts, drops)]
    tables = base.model_dump(mode="json")
    arms: dict[str, Arm] = {}
    same: list[str] = []
    for names in combinations:
        ablations = [load_ablation(name) for name in names]
        dropped = tuple(sorted({ablation.name for ablation in ablations}))
        asked = combine(ablations)
        source = f"--drop {'+'.join(names)}" if names else "--vary"
        if asked:
            require_effect(source, base, resolve(tables, source=source, changes=asked), asked)
        for values in values_of(vary):
            for key in asked.keys() & values.keys():
                raise ConfigError(
                    "EZ-STUDY-VARY-TWICE",
                    f"--vary {key} is a setting that {source} already changes.",
                )
            given = dict.fromkeys(values, "--vary")
            arm = resolve(tables, source=source, changes=asked | values, given=given)
            differing = differences(base, arm) if arm.identity != base.identity else {}
            changes = {key: value for key, (_, value) in differing.items()}
            varied = {key: changes[key] for key in values if key in changes}
            add(arms, same, arm.identity, Arm(arm_name(dropped, varied), dropped, changes))
    if base.identity not in arms:
        add(arms, same, base.identity, Arm(FULL, (), {}))
    return sorted(arms.values(), key=lambda arm: bool(arm.changes)), list(dict.fromkeys(same))


def add(arms: dict[str, Arm], same: list[str], key: str, arm: Arm) -> None:
    """Adds an arm by the identity `key` of its config. A duplicate is only recorded.

    Raises:
      ConfigError: another arm has this name, for example because of a user's file with the same
        name.
    """
    if key not in arms and any(other.name == arm.name for other in arms.values()):
        raise ConfigError(
            "EZ-STUDY-ARM-NAMES",
            f"Two arms would have the name {arm.name!r}.",
            "Rename a file given to --drop.",
        )
    if arms.setdefault(key, arm).name != arm.name:
        same.append(
            f"The arm {arm_label(arm.name)!r} is the same as {arm_label(arms[key].name)!r}, so "
            "it is trained once."
        )


def subsets(drops: list[str]) -> list[tuple[str, ...]]:
    """Every subset of the drops, the empty one first.

    Raises:
      ConfigError: they are not distinct single ablations.
    """
    for drop in drops:
        if len(parts(drop)) > 1:
            raise ConfigError(
                "EZ-STUDY-FACTORIAL", f"--factorial needs single ablations, not {drop!r}."
            )
    if not drops:
        raise ConfigError(
            "EZ-STUDY-FACTORIAL",
            "--factorial needs ablations to combine.",
            "Name them with --drop.",
        )
    twice = next((drop for drop in drops if drops.count(drop) > 1), None)
    if twice is not None:
        raise ConfigError(
            "EZ-STUDY-FACTORIAL",
            f"--factorial needs different drops, but --drop {twice} is given twice.",
        )
    if len(drops) > MOST_DROPS:
        raise ConfigError(
            "EZ-STUDY-FACTORIAL",
            f"--factorial of {len(drops)} drops would be {2 ** len(drops)} arms.",
        )
    return [s for n in range(len(drops) + 1) for s in itertools.combinations(drops, n)]


def values_of(vary: list[str]) -> list[dict[str, Any]]:
    """Every combination of the values to sweep, by dotted key; one empty one without sweeps."""
    sweeps: dict[str, list[Any]] = {}
    for text in vary:
        key, _, values = (part.strip() for part in text.partition("="))
        require_ablatable(key, f"--vary {text!r}")
        if key in sweeps:
            raise ConfigError(
                "EZ-STUDY-VARY-TWICE",
                f"--vary {key} is given twice.",
                "Join its values with commas.",
            )
        sweeps[key] = parse_values(text, values)
    return [
        dict(zip(sweeps, chosen, strict=True)) for chosen in itertools.product(*sweeps.values())
    ]


def parse_values(text: str, values: str) -> list[Any]:
    """The values of one sweep, in TOML syntax; bare words are strings.

    Raises:
      ConfigError: there are no values.
    """
    try:
        parsed = tomllib.loads(f"values = [{values}]")["values"]
    except (ValueError, RecursionError):  # not TOML, or beyond Python's limits
        words = [word.strip() for word in values.split(",")]
        parsed = [parse_override(f"value={word}")[1] if word else "" for word in words]
    if not parsed or "" in parsed:
        raise ConfigError(
            "EZ-STUDY-VARY-FORM", f"--vary {text!r} is not of the form section.key=value,value."
        )
    return list(parsed)


def arm_name(drops: tuple[str, ...], varied: dict[str, Any]) -> str:
    """Name of an arm, such as `full`, `consistency+value-prefix`, `search.num_simulations=8`."""
    parts = ["+".join(drops)] if drops else []
    parts += [f"{key}={json.dumps(value)}" for key, value in sorted(varied.items())]
    return ",".join(parts).replace('"', "") or FULL


def arm_label(name: str) -> str:
    """An arm's name for readers, with dropped parts marked: `− consistency − value prefix`.

    Files and options use the name itself.
    """
    drops, comma, varied = name.partition(",")
    if name == FULL or "=" in drops:
        return name
    labels = (
        LABELS.get(drop) or f"\N{MINUS SIGN} {drop.replace('-', ' ')}" for drop in drops.split("+")
    )
    return " ".join(labels) + (f", {varied}" if comma else "")


def arms_label(names: Iterable[str]) -> str:
    """The labels of the arms that a run belongs to. Arms with equal settings share a run."""
    return " = ".join(map(arm_label, dict.fromkeys(names)))


def close(text: str) -> str:
    """Removes spaces around commas and empty parts, and replaces a minus sign with a hyphen."""
    parts = (part.strip() for part in text.split(","))
    return ",".join(filter(None, parts)).replace("\N{MINUS SIGN}", "-")


def slug(name: str) -> str:
    """An arm's name as part of a folder's name."""
    return re.sub(r"[^A-Za-z0-9.+=_-]+", "-", name)[:60]
