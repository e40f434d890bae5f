"""Made-up moments of a game."""

import math

import numpy as np

from ezcli.runs.watch import Edge, Moment, Thought

NAMES = ("noop", "fire", "up", "right", "left", "down")


def edges(*prefixes, horizon=5):
    """A path with these value prefixes, of action 0."""
    path, before = [], 0.0
    for depth, prefix in enumerate(prefixes):
        restarts = depth % horizon == 0
        path.append(Edge(0, 9 - depth, prefix, prefix - (0 if restarts else before), restarts))
        before = prefix
    return tuple(path)


def thought(visits, value=0.5, path=None):
    """A thought with these visits; the network's policy is even."""
    visits = np.array(visits, np.int32)
    policy = np.full(len(visits), 1 / len(visits), np.float32)
    path = edges(0.25) if path is None else path
    return Thought(int(visits.argmax()), visits, policy, value, value / 2, 3, path)


def moment(visits=(1, 5, 2, 0, 0, 0), frame=None, env_step=0, reward=0.0, score=0.0, **changed):
    """A moment; without visits it is the end."""
    frame = np.zeros((1, 10, 5), np.uint8) if frame is None else frame
    if visits is None:
        return Moment(frame, env_step, reward, score, None, "over")
    return Moment(frame, env_step, reward, score, thought(visits, **changed), None)


def not_a_number(visits):
    """A moment in which everything is NaN that can be."""
    found = moment(visits, value=math.nan, path=edges(math.nan, math.nan))
    policy = np.full(len(visits), np.nan, np.float32)
    return found._replace(thought=found.thought._replace(policy=policy))
