"""Reads the scores of a run folder, or the reason why it has none."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ezcli.config.resolve import with_changes
from ezcli.config.run import RunConfig
from ezcli.envs.suites import follows_rules, own_code
from ezcli.errors import EzError
from ezcli.experiments import catalogue
from ezcli.reports.groups import FINAL, Point, Protocol, Run
from ezcli.runs.evaluations import OWN, changes_of, changes_text, is_number, name_of, why_wrong
from ezcli.runs.folder import EVALUATIONS, RunFolder

LATEST = "latest"  # the last evaluation of a run's last weights, of any name


def read_run(path: Path, evaluation: str = FINAL) -> Run | str:
    """The scores of a run, or the reason why it has none.

    Args:
      path: of the run's folder.
      evaluation: the evaluation to report: its name, or `latest`.
    """
    folder = RunFolder(path)
    state = catalogue.state(folder)
    if state == "damaged":
        return f"it is damaged{why_damaged(folder)}"
    if state != "finished":
        return {"failed": "it failed", "new": "it has not started"}.get(state, f"it is {state}")
    try:
        config, info, lines = folder.config(), folder.read_info(), folder.read(EVALUATIONS)
    except (EzError, OSError) as error:
        return f"it is damaged ({error})"
    wrong = why_info_is_wrong(info, config)
    if wrong:
        return wrong
    finals = [line for line in lines if line.get("kind") == "final"]
    if not finals:
        return "it has no final evaluation"
    for line in lines:
        wrong = why_wrong(line)
        if wrong:
            return f"an evaluation of it is damaged ({wrong})"
    final = finals[-1]
    if any(line["scores"] != final["scores"] for line in finals):
        return "it has several final evaluations, and they differ"
    differing = protocol_differs(config, final["protocol"])
    if differing:
        return f"its final evaluation differs from the protocol in its config ({differing})"
    chosen = choose(lines, final, evaluation)
    if isinstance(chosen, str):
        return chosen
    changes = changes_of(chosen)
    try:
        played = with_changes(config, changes)
    except EzError as error:
        return f"its evaluation {evaluation!r} is damaged ({error})"
    own = own_code(config.env)
    sessions = info.get("sessions", [])
    seconds = [session.get("seconds") for session in sessions]
    known = [s for s in seconds if is_number(s)]
    return Run(
        path.name,
        path,
        config,
        float(chosen["mean"]),
        len(chosen["scores"]),
        tuple(Point(x["env_steps"], float(x["mean"])) for x in lines if x["kind"] in OWN),
        str(info.get("preset") or path.name),
        info.get("environment", {}),
        tuple(sessions),
        sum(known) if known and len(known) == len(seconds) else None,
        (own.code if own else {}) or noted_code(info),
        follows_rules(
            played.env, chosen["game_env_steps"], played.env.evaluation_max_episode_steps
        ),
        Protocol(name_of(chosen), chosen["protocol"].get("seed", 0), changes),
        len(set(chosen["scores"])),
        {
            changes_text(changes_of(line)): float(line["mean"])
            for line in lines
            if changes_of(line) and line.get("train_steps") == final.get("train_steps")
        },
    )


def choose(
    lines: Sequence[Mapping[str, Any]], final: Mapping[str, Any], evaluation: str
) -> Mapping[str, Any] | str:
    """The last evaluation of the final weights with this name, or the reason why there is none.

    Args:
      lines: all evaluations of a run.
      final: the default evaluation.
      evaluation: a name, or `latest` for the last one, final or manual.
    """
    if evaluation == FINAL:
        return final
    own = [
        line
        for line in lines
        if line["kind"] != "interim" and line.get("train_steps") == final.get("train_steps")
    ]
    if evaluation == LATEST:
        return [line for line in own if line["kind"] in (FINAL, "manual")][-1]
    named = [line for line in own if name_of(line) == evaluation]
    if named:
        return named[-1]
    there = ", ".join(dict.fromkeys(map(name_of, own)))
    return f"it has no evaluation {evaluation!r} of its last weights (it has: {there})"


def evaluation_names(path: Path) -> list[str]:
    """What the evaluations of a run by its last weights are called; none where it is damaged."""
    try:
        lines = RunFolder(path).read(EVALUATIONS)
    except (EzError, OSError):
        return []
    return [name_of(line) for line in lines if not why_wrong(line) and line["kind"] != "interim"]


def why_damaged(folder: RunFolder) -> str:
    """The damage of a run's files in brackets; empty if it has just been repaired."""
    try:
        folder.require_sound()
    except EzError as error:
        return f" ({error.message.rstrip('.')})"
    except OSError as error:
        return f" ({error})"
    return ""


def noted_code(info: Mapping[str, Any]) -> dict[str, str]:
    """The code recorded in `run.json` by version 0.1.0, which did not record it in the config."""
    code = info.get("code")
    return code if isinstance(code, dict) else {}


def why_info_is_wrong(info: Mapping[str, Any], config: RunConfig) -> str:
    """Errors in the content of `run.json`; empty if it is valid."""
    sessions = info.get("sessions", [])
    if not isinstance(sessions, list) or not all(isinstance(s, dict) for s in sessions):
        return "its run.json is damaged (sessions are not a list of tables)"
    if not isinstance(info.get("environment", {}), dict):
        return "its run.json is damaged (environment is not a table)"
    said = info.get("identity", config.identity)
    if said != config.identity:
        return (
            f"its config.toml was changed (identity {config.identity}, but {said} in its run.json)"
        )
    return ""


def protocol_differs(config: RunConfig, protocol: Mapping[str, Any]) -> str:
    """Differences between a final evaluation and the protocol in its config; empty if none."""
    wanted = {
        "episodes": config.evaluation.episodes,
        "max_env_steps": config.env.evaluation_max_episode_steps,
        "num_simulations": config.search.num_simulations,
        "changes": None,
    }
    return "; ".join(
        f"{key} {protocol.get(key)!r}, but {value!r} in its config"
        for key, value in wanted.items()
        if protocol.get(key) != value
    )
