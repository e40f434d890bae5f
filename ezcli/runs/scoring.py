"""Scores of a run: those that are due while it trains, and those that `ez evaluate` asks for."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from ezcli.config.run import RunConfig
from ezcli.runs.agent import load_agent
from ezcli.runs.evaluate import (
    Evaluated,
    Stopped,
    evaluate,
    final_protocol,
    interim_protocol,
    normalised,
    summary,
)
from ezcli.runs.evaluations import describe_evaluation
from ezcli.runs.folder import EVALUATIONS, RunFolder
from ezcli.runs.machine_errors import disk_errors, memory_errors
from ezcli.runs.provenance import note_code
from ezcli.runs.session import Session
from ezcli.runs.trainer import Trainer
from ezcli.words import counted


def finish_evaluations(trainer: Trainer, session: Session) -> None:
    """Plays the evaluation that is due at this train_step, unless it is there already."""
    folder, reporter, stop, watchdog, tracker = session
    config, train_steps = trainer.config, trainer.learner.train_steps
    interval = config.evaluation.interval
    if trainer.is_finished:
        kind, protocol = "final", final_protocol(config)
    elif train_steps and interval and train_steps % interval == 0:
        kind, protocol = "interim", interim_protocol(config, train_steps)
    else:
        return
    if any(
        line.get("train_steps") == train_steps and line.get("kind") == kind
        for line in folder.read(EVALUATIONS)
    ):
        return

    def should_stop() -> bool:
        watchdog.beat()  # asked before every env_step
        return bool(stop)

    episodes = counted(protocol.episodes, "episode")
    what = f"Evaluating: {episodes} of up to {protocol.max_env_steps:,} env_steps"
    try:
        with reporter.quiet_while(what) if kind == "final" else nullcontext():
            found = evaluate(
                trainer.learner.network, config, trainer.compute, protocol, should_stop
            )
    except Stopped:
        return
    line = evaluation_line(found, kind, trainer.replay.env_steps, train_steps, config)
    folder.append(EVALUATIONS, line)
    numbers = {"env_steps": line["env_steps"], f"evaluation/{kind}": line["mean"]}
    tracker.log(kind, train_steps, numbers)
    reporter.say(describe_evaluation(line))


def evaluation_line(
    found: Evaluated, kind: str, env_steps: int, train_steps: int, config: RunConfig
) -> dict[str, Any]:
    """A line of `evaluations.jsonl`."""
    numbers = summary(found.scores)
    return {
        "kind": kind,
        "env_steps": env_steps,
        "train_steps": train_steps,
        **numbers,
        "human_normalised": normalised(config, found),
        "protocol": found.protocol._asdict(),
        "scores": found.scores,
        "game_env_steps": found.env_steps,
    }


def evaluate_run(
    folder: RunFolder,
    config: RunConfig,
    episodes: int | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Plays with the last weights of a run under the final protocol; adds the line to the run.

    Args:
      folder: of the run.
      config: of the run; the device may be another one.
      episodes: the config's number if None.
      say: told about checkpoints that are damaged.

    Raises:
      EzError: there is no whole checkpoint, or the run is being trained or is damaged.
    """
    go_on = "repeat the command."
    with folder.lock(), disk_errors(folder, go_on), memory_errors(go_on):
        folder.require_whole(EVALUATIONS)
        note_code(folder, config, say)
        return _evaluate_run(folder, config, episodes, say)


def _evaluate_run(
    folder: RunFolder, config: RunConfig, episodes: int | None, say: Callable[[str], None]
) -> dict[str, Any]:
    agent = load_agent(folder, config, say)
    played = evaluate(agent.network, config, agent.compute, final_protocol(config, episodes))
    line = evaluation_line(played, "manual", agent.env_steps, agent.train_steps, config)
    folder.append(EVALUATIONS, line)
    seals = folder.read_info().get("seals")
    if seals is not None:
        folder.update_info(seals=seals | folder.seals([EVALUATIONS]))
    return line
