"""Lines of `evaluations.jsonl`: their validation and description.

A line has one of four kinds. `final` and `interim` belong to the run. `training-levels` follows the
final one and is played on the levels of training. `manual` comes from `ez evaluate`.
"""

from collections.abc import Mapping
from typing import Any, TypeGuard

from ezcli.envs.suite import Normalisation
from ezcli.settings import LARGEST_SCORE
from ezcli.words import counted

OWN = ("interim", "final")  # kinds that give a run's score
TRAINING_LEVELS = "training-levels"
KINDS = (*OWN, TRAINING_LEVELS, "manual")


def why_wrong(line: Mapping[str, Any]) -> str:
    """The error in a line of evaluations; empty if it is valid."""
    scores, mean, protocol = line.get("scores"), line.get("mean"), line.get("protocol")
    if not isinstance(scores, list) or not scores or not all(map(is_number, scores)):
        return f"scores that are not all numbers of at most {LARGEST_SCORE:g}"
    if not is_number(mean) or abs(mean - sum(scores) / len(scores)) > 1e-6 * max(1, abs(mean)):
        return "a mean that does not match its scores"
    if type(line.get("env_steps")) is not int or not isinstance(protocol, dict):
        return "no env_steps or no protocol"
    if protocol.get("episodes") != len(scores):
        return f"{len(scores)} scores of {protocol.get('episodes')!r} episodes"
    if type(protocol.get("seed", 0)) is not int:
        return f"its seed is {protocol['seed']!r}"
    changes = protocol.get("changes", {})
    if not isinstance(changes, dict) or not all(map(is_plain, changes.values())):
        return "changes of its protocol that are not a table of settings"
    lengths = line.get("game_env_steps")
    if not isinstance(lengths, list) or len(lengths) != len(scores):
        return f"{len(scores)} scores without the length of each game"
    if not all(type(length) is int and 0 < length <= LARGEST_SCORE for length in lengths):
        return "lengths of games that are not all counts of env_steps"
    if line.get("kind") not in KINDS:
        return f"its kind is {line.get('kind')!r}"
    if not isinstance(line.get("name", ""), str) or ("name" in line and line["kind"] != "manual"):
        return f"its name is {line['name']!r}"
    return ""


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value in a file is a finite number of plausible size."""
    return (
        isinstance(value, int | float) and type(value) is not bool and abs(value) <= LARGEST_SCORE
    )


def is_plain(value: object) -> bool:
    """Whether a value in a file can be a setting: a number, a string or a boolean."""
    return isinstance(value, str | bool) or is_number(value)


def name_of(line: Mapping[str, Any]) -> str:
    """The name of an evaluation, or else its kind."""
    return str(line.get("name", line["kind"]))


def changes_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in which an evaluation differs from its run, by dotted key."""
    return dict(line["protocol"].get("changes", {}))


def changes_text(changes: Mapping[str, Any]) -> str:
    """Changes in words, such as `planning.evaluation=one-step`; empty without changes."""
    return ", ".join(f"{key}={value}" for key, value in changes.items())


def describe_evaluation(line: dict[str, Any], scale: Normalisation | None) -> str:
    """Describes a line in one sentence; `scale` is the scale of the suite."""
    error = "" if line["standard_error"] is None else f" ± {line['standard_error']:.2f}"
    normalised, protocol = line.get(scale.key) if scale else None, line["protocol"]
    played = [counted(protocol["episodes"], "episode")]
    distinct = len(set(line["scores"]))
    if line["kind"] == "manual" and protocol["seed"]:
        played.append(f"seed {protocol['seed']}")
    if protocol.get("changes"):
        played.append(changes_text(protocol["changes"]))
    if distinct < len(line["scores"]):
        played.append(f"{distinct} distinct")
    called = f"{line['kind']} score" + (f" {line['name']!r}" if "name" in line else "")
    return (
        f"{called} at env_step {line['env_steps']:,}: {line['mean']:.2f}{error}"
        + (f", {scale.name} {normalised:.3f}" if scale and normalised is not None else "")
        + f" (median {line['median']:.2f}, {line['min']:.2f} to {line['max']:.2f}; "
        f"{', '.join(played)})"
    )
