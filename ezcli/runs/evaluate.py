"""Evaluation: whole games played greedily, without noise, with batched searches."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ezcli.config.resolve import with_changes
from ezcli.config.run import RunConfig, differences
from ezcli.efficientzero.components import planners_for
from ezcli.efficientzero.frames import RecentFrames
from ezcli.efficientzero.network import Network
from ezcli.efficientzero.searcher import Searcher
from ezcli.envs.make import make_env
from ezcli.envs.suites import follows_rules, reference_of
from ezcli.runs.compute import Compute
from ezcli.runs.seeding import generator


class EvaluationProtocol(NamedTuple):
    """How an evaluation is played. It is recorded with the scores.

    Scores under different changes are never mixed. Final and interim scores have no changes.
    """

    episodes: int
    max_env_steps: int  # limit of one game
    seed: int  # for the starts and the planner's random numbers
    num_simulations: int
    changes: Mapping[str, Any] = MappingProxyType({})  # settings other than the run's, by key

    def table(self) -> dict[str, Any]:
        """The entry in a line of `evaluations.jsonl`, without changes if there are none."""
        table = self._asdict() | {"changes": dict(self.changes)}
        if not self.changes:
            del table["changes"]
        return table


class Evaluated(NamedTuple):
    """Raw scores of the episodes, and their protocol."""

    protocol: EvaluationProtocol
    scores: list[float]
    env_steps: list[int]


# Called before every env_step of an evaluation with the finished episodes, all episodes, and the
# env_steps of the longest so far.
Told = Callable[[int, int, int], None]


def silent(over: int, episodes: int, env_steps: int) -> None:
    """A `Told` that does nothing."""


class Stopped(Exception):
    """The caller requested a stop before the end."""


def evaluate(
    network: Network,
    config: RunConfig,
    compute: Compute,
    protocol: EvaluationProtocol,
    should_stop: Callable[[], bool] = lambda: False,
    tell: Told = silent,
) -> Evaluated:
    """Plays every episode to its end or limit.

    Args:
      network: used in evaluation mode; its mode is restored afterwards.
      config: of the run, before the changes of the protocol; its environment is built for
        evaluation.
      compute: device and precision.
      protocol: number of episodes, limit of length, and seed.
      should_stop: called before every step.
      tell: called before every step with the progress.

    Raises:
      Stopped: `should_stop` returned True.
    """
    config = with_changes(config, protocol.changes)
    rng = generator(config.seed, "evaluation", protocol.seed)
    planner = planners_for(config, network.num_actions).evaluation
    frozen = Searcher(network, compute.precision, compute.search)
    games = [make_env(config.env, evaluation=True) for _ in range(protocol.episodes)]
    first = [game.reset(int(rng.integers(2**31))) for game in games]
    frames = RecentFrames(first, config.env.frame_stack, compute.device)
    scores, lengths = np.zeros(len(games)), np.zeros(len(games), int)
    playing = list(range(len(games)))
    was_training = network.training
    network.eval()
    try:
        while playing:
            if should_stop():
                raise Stopped
            tell(len(games) - len(playing), len(games), int(lengths.max()))
            draws = planner.draws(rng, len(playing), explores=False)
            plan = planner.plan(frozen, frames.observations(playing), draws)
            for game, action in zip(list(playing), plan.best, strict=True):
                step = games[game].step(int(action))
                frames.add(game, step.frame)
                scores[game] += step.reward
                lengths[game] += 1
                if step.is_game_over or lengths[game] >= protocol.max_env_steps:
                    playing.remove(game)
    finally:
        network.train(was_training)
    return Evaluated(protocol, scores.tolist(), lengths.tolist())


def final_protocol(
    config: RunConfig,
    episodes: int | None = None,
    seed: int = 0,
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> EvaluationProtocol:
    """The protocol of the final evaluation, or a variation of it.

    Args:
      config: of the run.
      episodes: the config's number if None.
      seed: of the starts and of the planner's random numbers.
      changes: settings for playing, by dotted key. A value that the run already has is not a
        change.

    Raises:
      ConfigError: a changed setting does not exist, or its value is not allowed.
    """
    played = with_changes(config, changes)
    return EvaluationProtocol(
        episodes=episodes or played.evaluation.episodes,
        max_env_steps=played.env.evaluation_max_episode_steps,
        seed=seed,
        num_simulations=played.search.num_simulations,
        changes={key: value for key, (_, value) in differences(config, played).items()},
    )


def interim_protocol(config: RunConfig, train_steps: int) -> EvaluationProtocol:
    """The protocol of an interim evaluation: fewer episodes, the limit of training, new starts."""
    return EvaluationProtocol(
        episodes=config.evaluation.interval_episodes,
        max_env_steps=config.env.max_episode_steps,
        seed=train_steps,
        num_simulations=config.search.num_simulations,
    )


def summary(scores: list[float]) -> dict[str, Any]:
    """Mean, standard error of the mean, median, min and max.

    A single score has no standard error.
    """
    values = np.array(scores)
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return {
        "mean": float(values.mean()),
        "standard_error": error,
        "median": float(np.median(values)),
        "min": float(values.min()),
        "max": float(values.max()),
    }


def normalised(config: RunConfig, found: Evaluated) -> float | None:
    """The mean score on the scale of the suite's benchmark.

    None if the game has no reference scores, or if games did not follow the benchmark's rules: for
    example, scores of games with another length are not comparable on that scale.
    """
    env = with_changes(config, found.protocol.changes).env
    reference = reference_of(env)
    cap = min(found.protocol.max_env_steps, env.evaluation_max_episode_steps)
    if reference is None or not follows_rules(env, found.env_steps, cap):
        return None
    return reference.normalised(float(np.mean(found.scores)))
