"""Evaluations of a run: those due during training, and those of `ez evaluate`."""

from collections.abc import Callable
from typing import Any

from ezcli.config.run import RunConfig
from ezcli.envs.suites import normalisation_of
from ezcli.errors import ConfigError
from ezcli.runs.agent import load_agent
from ezcli.runs.evaluate import (
    Evaluated,
    EvaluationProtocol,
    Stopped,
    Told,
    evaluate,
    final_protocol,
    interim_protocol,
    normalised,
    silent,
    summary,
)
from ezcli.runs.evaluations import KINDS, TRAINING_LEVELS, describe_evaluation, name_of
from ezcli.runs.folder import EVALUATIONS, RunFolder
from ezcli.runs.machine_errors import disk_errors, memory_errors
from ezcli.runs.names import is_plain_name
from ezcli.runs.provenance import note_code
from ezcli.runs.session import Session
from ezcli.runs.trainer import Trainer
from ezcli.words import counted

RESERVED = (*KINDS, "latest")  # not allowed as names of evaluations

# null; lines of such suites have had this entry since the first version
WITHOUT_SCALE = "human_normalised"


def finish_evaluations(trainer: Trainer, session: Session) -> tuple[dict[str, Any], ...]:
    """Plays the evaluations due at this train_step, unless they exist.

    Returns:
      The lines of the played evaluations.
    """
    config, train_steps = trainer.config, trainer.learner.train_steps
    interval = config.evaluation.interval
    due = {}
    if trainer.is_finished:
        due["final"] = final_protocol(config)
        if config.env.has_unseen_levels:
            seen = {"env.evaluation_levels": "training"}
            due[TRAINING_LEVELS] = final_protocol(config, changes=seen)
    elif train_steps and interval and train_steps % interval == 0:
        due["interim"] = interim_protocol(config, train_steps)
    lines = [finish_evaluation(kind, how, trainer, session) for kind, how in due.items()]
    return tuple(line for line in lines if line is not None)


def finish_evaluation(
    kind: str, protocol: EvaluationProtocol, trainer: Trainer, session: Session
) -> dict[str, Any] | None:
    """Plays one evaluation and returns its line; None if it exists or the run stops."""
    folder, reporter, stop, watchdog, trackers = session
    config, train_steps = trainer.config, trainer.learner.train_steps
    if any(
        line.get("train_steps") == train_steps and line.get("kind") == kind
        for line in folder.read(EVALUATIONS)
    ):
        return None

    def should_stop() -> bool:
        watchdog.beat()  # called before every env_step
        return bool(stop)

    episodes = counted(protocol.episodes, "episode")
    what = f"Evaluating: {episodes} of up to {protocol.max_env_steps:,} env_steps"
    try:
        with reporter.quiet_while(what, is_announced=trainer.is_finished) as tell:
            found = evaluate(
                trainer.learner.network, config, trainer.compute, protocol, should_stop, tell
            )
    except Stopped:
        return None
    line = evaluation_line(found, kind, trainer.replay.env_steps, train_steps, config)
    folder.append(EVALUATIONS, line)
    numbers = {"env_steps": line["env_steps"], f"evaluation/{kind}": line["mean"]}
    trackers.log(kind, train_steps, numbers)
    reporter.say(describe_evaluation(line, normalisation_of(config.env)))
    return line


def evaluation_line(
    found: Evaluated, kind: str, env_steps: int, train_steps: int, config: RunConfig
) -> dict[str, Any]:
    """A line of `evaluations.jsonl`."""
    numbers = summary(found.scores)
    scale = normalisation_of(config.env)
    return {
        "kind": kind,
        "env_steps": env_steps,
        "train_steps": train_steps,
        **numbers,
        scale.key if scale else WITHOUT_SCALE: normalised(config, found),
        "protocol": found.protocol.table(),
        "scores": found.scores,
        "game_env_steps": found.env_steps,
    }


def evaluate_run(
    folder: RunFolder,
    config: RunConfig,
    protocol: EvaluationProtocol | None = None,
    name: str = "",
    say: Callable[[str], None] = print,
    tell: Told = silent,
) -> dict[str, Any]:
    """Plays with the last weights of a run, and appends the line to the run.

    Args:
      folder: of the run.
      config: config of the run; its device may differ.
      protocol: how to play; as in the final evaluation if None.
      name: name of the evaluation in reports; `manual` if empty.
      say: receives messages about damaged checkpoints.
      tell: called with the progress of the games.

    Raises:
      EzError: there is no intact checkpoint, the run is being trained or is damaged, or another
        evaluation has the name.
    """
    protocol = protocol or final_protocol(config)
    go_on = "repeat the command."
    with folder.lock(), disk_errors(folder, go_on), memory_errors(go_on):
        folder.require_whole(EVALUATIONS)
        require_free(name, protocol, folder)
        note_code(folder, config, say)
        return _evaluate_run(folder, config, protocol, name, say, tell)


def require_free(name: str, protocol: EvaluationProtocol, folder: RunFolder) -> None:
    """Refuses a reserved or invalid name, or one used with another protocol.

    Raises:
      ConfigError: names the evaluation.
    """
    if name and (name in RESERVED or not is_plain_name(name)):
        raise ConfigError(
            "EZ-EVALUATION-NAME",
            f"{name!r} is not allowed as the name of an evaluation.",
            f"Use a short name without '/', other than {', '.join(RESERVED)}.",
        )
    for line in folder.read(EVALUATIONS):
        if name and name_of(line) == name and line["protocol"] != protocol.table():
            raise ConfigError(
                "EZ-EVALUATION-NAME",
                f"The evaluation {name!r} of {folder.name!r} has another protocol.",
                "Choose another --name.",
            )


def _evaluate_run(
    folder: RunFolder,
    config: RunConfig,
    protocol: EvaluationProtocol,
    name: str,
    say: Callable[[str], None],
    tell: Told,
) -> dict[str, Any]:
    agent = load_agent(folder, config, say)
    played = evaluate(agent.network, config, agent.compute, protocol, tell=tell)
    line = evaluation_line(played, "manual", agent.env_steps, agent.train_steps, config)
    if name:
        line["name"] = name
    folder.append(EVALUATIONS, line)
    seals = folder.read_info().get("seals")
    if seals is not None:
        folder.update_info(seals=seals | folder.seals([EVALUATIONS]))
    return line
