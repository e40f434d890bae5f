"""Inputs of measurements: a run's network, and observations and batches of its shapes.

Inputs are random but equal on every machine. A network has its initial weights, which cost the same
as trained ones.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from ezcli.config.run import RunConfig
from ezcli.efficientzero.batch import Batch, Targets
from ezcli.efficientzero.components import Rules, rules_for
from ezcli.efficientzero.frames import FrameStore
from ezcli.efficientzero.inference import to_network_input
from ezcli.efficientzero.network import Network
from ezcli.efficientzero.replay import Replay
from ezcli.envs.make import make_env
from ezcli.envs.protocol import EnvSpec
from ezcli.envs.vector import VectorEnv
from ezcli.runs.compute import Compute, make_executor
from ezcli.runs.trainer import make_network

PLAYED = 32  # env_steps in a row


class Bench(NamedTuple):
    """The objects to time, and the duration."""

    config: RunConfig
    compute: Compute
    spec: EnvSpec
    network: Network  # in evaluation mode, on the device
    rules: Rules
    seconds: float  # for each figure


def bench(config: RunConfig, compute: Compute, seconds: float) -> Bench:
    """Builds the objects that the parts need.

    Raises:
      EzError: the environment cannot be created.
    """
    spec = make_env(config.env, evaluation=False).spec
    network = make_network(config, spec.frame_shape, len(spec.action_names))
    network.to(compute.device).eval()
    return Bench(config, compute, spec, network, rules_for(config), seconds)


def random_observations(at: Bench, batch: int) -> torch.Tensor:
    """Random observations [B, C, H, W] of the frames' type on the device."""
    channels, height, width = at.spec.frame_shape
    shape = (batch, channels * at.config.env.frame_stack, height, width)
    images = random_frames(at.spec, shape, np.random.default_rng(0))
    return torch.from_numpy(images).to(at.compute.device)


def random_frames(spec: EnvSpec, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Random frames of the environment's type."""
    if spec.frame_type == "uint8":
        return rng.integers(256, size=shape, dtype=np.uint8)
    return rng.standard_normal(shape, np.float32)


def random_batch(at: Bench) -> Batch:
    """A random batch of the run's shapes, on the device."""
    positions = at.config.loss.unroll_steps + 1
    images = to_network_input(random_observations(at, at.config.loss.batch_size * positions))
    return batch_of(at.spec, images.unflatten(0, (-1, positions)))


def batch_of(spec: EnvSpec, observations: torch.Tensor) -> Batch:
    """A batch of observations [B, K + 1, C, H, W] of an environment, all with the same targets."""
    device, actions = observations.device, len(spec.action_names)
    ones = torch.ones(observations.shape[:2], device=device)
    return Batch(
        observations=observations,
        actions=torch.zeros(ones[:, 1:].shape, dtype=torch.int64, device=device),
        is_state=ones,
        value_prefix=ones[:, 1:] * 0.5,
        value=ones,
        policy=ones.unsqueeze(-1).expand(-1, -1, actions) / actions,
        has_policy=ones,
        weights=ones[:, 0],
        frames=(observations * 255).to(torch.uint8),
    )


def random_play(at: Bench, number: int) -> Callable[[], None]:
    """Plays PLAYED env_steps in each of `number` environments, at random, in lock step."""
    rng = np.random.default_rng(0)
    envs = VectorEnv(lambda: make_env(at.config.env, evaluation=False), number, rng)
    envs.start()

    def play() -> None:
        for _ in range(PLAYED):
            envs.step(rng.integers(len(at.spec.action_names), size=number).tolist())

    return play


def zero_targets(at: Bench) -> Targets:
    """Targets of one batch."""
    loss, actions = at.config.loss, len(at.spec.action_names)
    size, positions = loss.batch_size, loss.unroll_steps + 1
    return Targets(
        value_prefix=np.zeros((size, positions - 1), np.float32),
        value=np.zeros((size, positions), np.float32),
        policy=np.full((size, positions, actions), 1 / actions, np.float32),
        has_policy=np.ones((size, positions), bool),
    )


def wait(at: Bench) -> None:
    """Waits until the device has finished its work."""
    if at.compute.device.type == "cuda":
        torch.cuda.synchronize(at.compute.device)


def fill(
    replay: Replay, frames: FrameStore, spec: EnvSpec, states: int, rng: np.random.Generator
) -> None:
    """Adds random states until there are `states`, in episodes of 500 env_steps."""
    frame = random_frames(spec, spec.frame_shape, rng)
    policy = np.full(len(spec.action_names), 1 / len(spec.action_names), np.float32)
    num_envs = len(replay.length)
    while replay.length.sum() < states:
        for env in range(num_envs):
            if replay.length[env] % 501 == 0:
                frames.write(replay.begin_episode(env), frame)
            else:
                over = replay.length[env] % 501 == 500
                frames.write(replay.add(env, 0, 0.0, policy, over), np.roll(frame, 1))


def side_by_side(work: Callable[[], object], threads: int) -> Callable[[], object]:
    """Does the same work in each of several threads, as in a run."""
    executor = make_executor(threads)

    def together() -> None:
        for future in [executor.submit(work) for _ in range(threads)]:
            future.result()

    return together
