"""From the options of `ez ablate` to arms: every subset, sum and sweep of what is dropped."""

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
MOST_DROPS = 6  # of a factorial design: 64 arms
LABELS = {"muzero": "MuZero", "consistency-authors": "\N{MINUS SIGN} consistency and augmentation"}
"""Of ablations that are not named after one part that they drop."""


class Arm(NamedTuple):
    """One side of a comparison: what differs from the full agent."""

    name: str
    drops: tuple[str, ...]  # ablations, as given to --drop; empty for the full agent
    changes: dict[str, Any]  # by dotted key; only what differs from the full agent


def arms_of(
    base: RunConfig, drops: list[str], vary: list[str], factorial: bool
) -> tuple[list[Arm], list[str]]:
    """The arms, the full agent first, and sentences about arms that are the same as another.

    Every combination in `drops` is crossed with every combination of the values in `vary`; the full
    agent is added where that does not give it.

    Args:
      base: the full agent, of any seed and game.
      drops: each an ablation's name or path, or several joined by `+`.
      vary: each `key=value,value,...`.
      factorial: take every subset of the drops instead.

    Raises:
      ConfigError: a name, key or value is wrong, a drop changes nothing, or two clash.
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
                    f"--vary {key} is a setting that {source} changes already.",
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
    """Adds an arm by the identity `key` of its config; one that is the same agent is only noted.

    Raises:
      ConfigError: another arm has the name, such as that of a user's file of the same name.
    """
    if key not in arms and any(other.name == arm.name for other in arms.values()):
        raise ConfigError(
            "EZ-STUDY-ARM-NAMES",
            f"Two arms would be called {arm.name!r}.",
            "Rename a file of --drop.",
        )
    if arms.setdefault(key, arm).name != arm.name:
        same.append(
            f"The arm {arm_label(arm.name)!r} is the same as {arm_label(arms[key].name)!r}: "
            "trained once."
        )


def subsets(drops: list[str]) -> list[tuple[str, ...]]:
    """Every subset of the drops, the empty one first.

    Raises:
      ConfigError: they are no set of single ablations.
    """
    for drop in drops:
        if len(parts(drop)) > 1:
            raise ConfigError(
                "EZ-STUDY-FACTORIAL", f"--factorial takes single ablations, not {drop!r}."
            )
    if not drops:
        raise ConfigError(
            "EZ-STUDY-FACTORIAL",
            "--factorial needs ablations to combine.",
            "Name them with --drop.",
        )
    twice = next((drop for drop in drops if drops.count(drop) > 1), None)
    if twice is not None:
        raise ConfigError("EZ-STUDY-FACTORIAL", f"--factorial got --drop {twice} twice.")
    if len(drops) > MOST_DROPS:
        raise ConfigError(
            "EZ-STUDY-FACTORIAL",
            f"--factorial of {len(drops)} drops would be {2 ** len(drops)} arms.",
        )
    return [s for n in range(len(drops) + 1) for s in itertools.combinations(drops, n)]


def values_of(vary: list[str]) -> list[dict[str, Any]]:
    """Every combination of the values to sweep, each by dotted key; one empty one without any."""
    sweeps: dict[str, list[Any]] = {}
    for text in vary:
        key, _, values = (part.strip() for part in text.partition("="))
        require_ablatable(key, f"--vary {text!r}")
        if key in sweeps:
            raise ConfigError(
                "EZ-STUDY-VARY-TWICE", f"--vary got {key} twice.", "Join its values with commas."
            )
        sweeps[key] = parse_values(text, values)
    return [
        dict(zip(sweeps, chosen, strict=True)) for chosen in itertools.product(*sweeps.values())
    ]


def parse_values(text: str, values: str) -> list[Any]:
    """The values of one sweep, written as in TOML; bare words are strings.

    Raises:
      ConfigError: there are none.
    """
    try:
        parsed = tomllib.loads(f"values = [{values}]")["values"]
    except (ValueError, RecursionError):  # not TOML, or beyond what Python reads
        words = [word.strip() for word in values.split(",")]
        parsed = [parse_override(f"value={word}")[1] if word else "" for word in words]
    if not parsed or "" in parsed:
        raise ConfigError(
            "EZ-STUDY-VARY-FORM", f"--vary {text!r} is not of the form section.key=value,value."
        )
    return list(parsed)


def arm_name(drops: tuple[str, ...], varied: dict[str, Any]) -> str:
    """Such as `full`, `consistency+value-prefix`, `search.num_simulations=8`."""
    parts = ["+".join(drops)] if drops else []
    parts += [f"{key}={json.dumps(value)}" for key, value in sorted(varied.items())]
    return ",".join(parts).replace('"', "") or FULL


def arm_label(name: str) -> str:
    """An arm's name as readers see it, which says what is dropped: `− consistency − value prefix`.

    The name itself, of the parts without which the arm is, stays what files and options hold.
    """
    drops, comma, varied = name.partition(",")
    if name == FULL or "=" in drops:
        return name
    labels = (
        LABELS.get(drop) or f"\N{MINUS SIGN} {drop.replace('-', ' ')}" for drop in drops.split("+")
    )
    return " ".join(labels) + (f", {varied}" if comma else "")


def arms_label(names: Iterable[str]) -> str:
    """The arms that one run is, as readers see them; equal settings make one run of several."""
    return " = ".join(map(arm_label, dict.fromkeys(names)))


def close(text: str) -> str:
    """The text without spaces beside its commas or empty parts, and with a hyphen for a minus."""
    parts = (part.strip() for part in text.split(","))
    return ",".join(filter(None, parts)).replace("\N{MINUS SIGN}", "-")


def slug(name: str) -> str:
    """An arm's name as part of a folder's name."""
    return re.sub(r"[^A-Za-z0-9.+=_-]+", "-", name)[:60]
