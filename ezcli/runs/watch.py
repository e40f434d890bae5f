"""One whole game, played as in `evaluate`, with the agent's plan at every env_step.

The game with a seed is the same as in an evaluation of one episode with this seed: the same start,
the same choices between equal actions, the same score.
"""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
import torch

from ezcli.config.run import RunConfig
from ezcli.efficientzero.components import planners_for
from ezcli.efficientzero.frames import RecentFrames
from ezcli.efficientzero.inference import expected_frames
from ezcli.efficientzero.planner import Edge, Thought
from ezcli.efficientzero.searcher import Searcher
from ezcli.envs.make import make_env
from ezcli.runs.agent import Agent
from ezcli.runs.seeding import generator

__all__ = ["Edge", "Ending", "Moment", "Thought", "play"]

Ending = Literal["over", "cut", "stopped"]


class Moment(NamedTuple):
    """A state of the game: one for each env_step, and one for the end."""

    frame: np.ndarray  # [C, H, W], the newest of the observation
    env_step: int  # actions taken so far
    reward: float  # raw, of the action that led here; 0 at the start
    score: float  # raw, so far
    thought: Thought | None  # None at the end
    ending: Ending | None  # None before the end
    # like `frame`, predicted by the model from the state before; see `play`
    expected: np.ndarray | None = None


def play(
    agent: Agent,
    config: RunConfig,
    seed: int,
    max_env_steps: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Moment]:
    """Plays greedily and without noise, to the game's end or limit. The last moment records which.

    A network with a decoder also predicts the frame after each action.

    Args:
      agent: the agent that plays.
      config: config of its run; the environment is built for evaluation.
      seed: seed of the game's start and of ties in searches.
      max_env_steps: limit; the rules of evaluation may end the game before.
      should_stop: called before every step.
    """
    rng = generator(config.seed, "evaluation", seed)
    planner = planners_for(config, agent.network.num_actions).evaluation
    frozen = Searcher(agent.network, agent.compute.precision, agent.compute.search)
    game = make_env(config.env, evaluation=True)
    frame = game.reset(int(rng.integers(2**31)))
    frames = RecentFrames([frame], config.env.frame_stack, agent.compute.device)
    env_step, reward, score = 0, 0.0, 0.0
    ending: Ending | None = None
    expected: np.ndarray | None = None
    while ending is None:
        if should_stop():
            ending = "stopped"
            break
        draws = planner.draws(rng, 1, explores=False)
        observations = frames.observations([0])
        thought = planner.think(frozen, observations, draws)
        yield Moment(frame, env_step, reward, score, thought, None, expected)
        action = torch.tensor([thought.action], device=observations.device)
        decoded = expected_frames(agent.network, observations, action)
        expected = None if decoded is None else decoded[0]
        step = game.step(thought.action)
        frame = step.frame
        frames.add(0, frame)
        env_step, reward, score = env_step + 1, step.reward, score + step.reward
        if step.is_truncated or (env_step >= max_env_steps and not step.is_game_over):
            ending = "cut"
        elif step.is_game_over:
            ending = "over"
    yield Moment(frame, env_step, reward, score, None, ending, expected)
