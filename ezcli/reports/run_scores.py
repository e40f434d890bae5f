"""From one run folder to its scores, or to the reason why it has none that count."""

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

LATEST = "latest"  # the last evaluation of a run's last weights, whatever its name


def read_run(path: Path, evaluation: str = FINAL) -> Run | str:
    """A run's scores, or why it has none that count.

    Args:
      path: of the run's folder.
      evaluation: by which it counts: the name of one, or `latest`.
    """
    folder = RunFolder(path)
    state = catalogue.state(folder)
    if state == "damaged":
        return f"it is damaged{why_damaged(folder)}"
    if state != "finished":
        return {"failed": "it failed", "new": "it was not started"}.get(state, f"it is {state}")
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
        return f"its final evaluation was not played by the protocol of its config ({differing})"
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
    """The last evaluation of the final weights that has this name, or why there is none.

    Args:
      lines: all evaluations of a run.
      final: the one by which it counts unless another is asked for.
      evaluation: a name, or `latest` for the last final or manual one.
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
    """What is wrong with the files of a run, in brackets; empty if they have just been mended."""
    try:
        folder.require_sound()
    except EzError as error:
        return f" ({error.message.rstrip('.')})"
    except OSError as error:
        return f" ({error})"
    return ""


def noted_code(info: Mapping[str, Any]) -> dict[str, str]:
    """The code that `run.json` names where the config names none: that of version 0.1.0."""
    code = info.get("code")
    return code if isinstance(code, dict) else {}


def why_info_is_wrong(info: Mapping[str, Any], config: RunConfig) -> str:
    """What is wrong with the contents of `run.json`; empty if nothing is."""
    sessions = info.get("sessions", [])
    if not isinstance(sessions, list) or not all(isinstance(s, dict) for s in sessions):
        return "its run.json is damaged (sessions are no list of tables)"
    if not isinstance(info.get("environment", {}), dict):
        return "its run.json is damaged (environment is no table)"
    said = info.get("identity", config.identity)
    if said != config.identity:
        return f"its config.toml was changed (identity {config.identity}, its run.json says {said})"
    return ""


def protocol_differs(config: RunConfig, protocol: Mapping[str, Any]) -> str:
    """How a final evaluation was played other than its config says; empty if it was not."""
    wanted = {
        "episodes": config.evaluation.episodes,
        "max_env_steps": config.env.evaluation_max_episode_steps,
        "num_simulations": config.search.num_simulations,
        "changes": None,
    }
    return "; ".join(
        f"{key} {protocol.get(key)!r}, its config says {value!r}"
        for key, value in wanted.items()
        if protocol.get(key) != value
    )
