"""Actions from visit counts, and exploration (MuZero appendix D)."""

import numpy as np

from ezcli.efficientzero.hyperparameters import ActingSettings
from ezcli.efficientzero.search_settings import OneStepSettings


def root_noise(rng: np.random.Generator, batch: int, num_actions: int, alpha: float) -> np.ndarray:
    """Draws Dirichlet noise [B, A] float32 for the priors at the root."""
    return rng.dirichlet(np.full(num_actions, alpha), size=batch).astype(np.float32)


def tie_seeds(rng: np.random.Generator, batch: int) -> np.ndarray:
    """Draws seeds [B] int64 below 2**32 that break ties of a search."""
    return rng.integers(2**32, size=batch, dtype=np.int64)


def visit_policy(visits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities [B, A] float32 proportional to visits [B, A] ^ (1 / temperature)."""
    scaled = (visits / visits.max(1, keepdims=True)) ** (1 / temperature)
    policy: np.ndarray = (scaled / scaled.sum(1, keepdims=True)).astype(np.float32)
    return policy


def sample_actions(policy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Samples an action [B] int64 for each row of probabilities [B, A]."""
    cumulative = policy.astype(np.float64).cumsum(1)
    total = cumulative[:, -1:]
    points = rng.random((len(policy), 1)) * total
    last = (cumulative < total).sum(1)  # rounding may reach the total
    actions: np.ndarray = np.minimum((cumulative <= points).sum(1), last)
    return actions


def greedy_actions(visits: np.ndarray) -> np.ndarray:
    """The most visited action [B] in visit counts [B, A]; ties go to the lowest index."""
    actions: np.ndarray = visits.argmax(1)
    return actions


def temperature_at(train_step: int, while_collecting: int, settings: ActingSettings) -> float:
    """Temperature at `train_step`, out of `while_collecting` train_steps."""
    phase = sum(train_step >= until * while_collecting for until in settings.temperature_until)
    return settings.temperatures[phase]


def epsilon_at(env_steps: int, total: int, settings: OneStepSettings) -> float:
    """Probability of a random action after `env_steps` of `total`: linear, then constant.

        epsilon_t = first + (last - first) min(1, t / (decay_fraction total))

    Without a decay it has the last value from the start.
    """
    first, last = settings.first_epsilon, settings.last_epsilon
    length = settings.decay_fraction * total
    return last if env_steps >= length else first + (last - first) * env_steps / length


def mean_entropy(policy: np.ndarray) -> float:
    """Mean entropy in nats of policies [n, A] without rows of zeros; NaN if none is left."""
    policy = policy[policy.any(1)]
    if not len(policy):
        return float("nan")
    return float(-(policy * np.log(np.maximum(policy, 1e-30))).sum(1).mean())
