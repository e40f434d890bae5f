"""Lines of `evaluations.jsonl`: what is wrong with one, and what it says."""

from collections.abc import Mapping
from typing import Any, TypeGuard

from ezcli.settings import LARGEST_SCORE
from ezcli.words import counted


def why_wrong(line: Mapping[str, Any]) -> str:
    """What is wrong with a line of evaluations; empty if nothing is."""
    scores, mean, protocol = line.get("scores"), line.get("mean"), line.get("protocol")
    if not isinstance(scores, list) or not scores or not all(map(is_number, scores)):
        return f"scores that are not all numbers of at most {LARGEST_SCORE:g}"
    if not is_number(mean) or abs(mean - sum(scores) / len(scores)) > 1e-6 * max(1, abs(mean)):
        return "a mean that is not that of its scores"
    if type(line.get("env_steps")) is not int or not isinstance(protocol, dict):
        return "no env_steps or no protocol"
    if protocol.get("episodes") != len(scores):
        return f"{len(scores)} scores of {protocol.get('episodes')!r} episodes"
    lengths = line.get("game_env_steps")
    if not isinstance(lengths, list) or len(lengths) != len(scores):
        return f"{len(scores)} scores without the length of each game"
    if not all(type(length) is int and 0 < length <= LARGEST_SCORE for length in lengths):
        return "lengths of games that are not all counts of env_steps"
    if line.get("kind") not in ("interim", "final", "manual"):
        return f"its kind is {line.get('kind')!r}"
    return ""


def is_number(value: object) -> TypeGuard[float]:
    """Whether a file says a number that a run can have: neither infinite, NaN nor absurd."""
    return (
        isinstance(value, int | float) and type(value) is not bool and abs(value) <= LARGEST_SCORE
    )


def describe_evaluation(line: dict[str, Any]) -> str:
    """The line in one sentence."""
    error = "" if line["standard_error"] is None else f" ± {line['standard_error']:.2f}"
    human = line["human_normalised"]
    return (
        f"{line['kind']} score at env_step {line['env_steps']:,}: {line['mean']:.2f}{error} "
        f"(median {line['median']:.2f}, {line['min']:.2f} to {line['max']:.2f}, "
        f"{counted(line['protocol']['episodes'], 'episode')})"
        + ("" if human is None else f", human-normalised {human:.3f}")
    )
