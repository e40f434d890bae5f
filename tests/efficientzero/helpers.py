"""Small configs, networks and buffers for the tests of the algorithm."""

from concurrent.futures import Executor, Future

import numpy as np
import pytest
import torch

from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.efficientzero.batch import Batch
from ezcli.efficientzero.frames import FrameStore
from ezcli.efficientzero.network import Network
from ezcli.efficientzero.replay import Replay
from ezcli.efficientzero.tree import UNVISITED

ACTIONS = 3


def tiny(*overrides):
    """The preset `smoke` with a still smaller frame and network."""
    small = [
        "env.frame_size=16",
        "network.downsamplings=2",
        "network.channels=4",
        "network.latent_scaling=false",  # as published; its own tests are in test_network.py
        "value.support=5",
    ]
    return resolve(read_toml(preset_path("smoke")), [*small, *overrides])


def make_network(config, num_actions=ACTIONS, seed=0):
    """The first weights: every head says the same of every state."""
    shape = (config.env.frame_stack, config.env.frame_size, config.env.frame_size)
    return Network(config.network, shape, num_actions, config.value.support, seed)


def opinionated(config, num_actions=ACTIONS, seed=0):
    """A network in evaluation mode whose heads and statistics are random, unlike the first."""
    network = make_network(config, num_actions, seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if hasattr(module, "running_var"):
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.02, 0.1, generator=generator)
        heads = network.prediction.value, network.prediction.policy, network.dynamics.value_prefix
        for head in heads:
            head[-1].weight.normal_(0, 0.7, generator=generator)
            head[-1].bias.normal_(0, 0.3, generator=generator)
        network.dynamics.lstm.weight_hh.mul_(8)  # so that it matters what the LSTM remembers
    return network


def filled_replay(config, env_steps=200, num_actions=ACTIONS, seed=0):
    """A replay and frames of random episodes, 1 to 12 env_steps long."""
    rng = np.random.default_rng(seed)
    size = config.env.frame_size
    replay = Replay(config, num_actions, config.env.frame_stack)
    frames = FrameStore(replay.rows, (1, size, size), torch.device("cpu"))

    def frame():
        return rng.integers(256, size=(1, size, size), dtype=np.uint8)

    for env in range(config.acting.num_envs):
        frames.write(replay.begin_episode(env), frame())
    for step in range(env_steps):
        env = step % config.acting.num_envs
        policy = rng.dirichlet(np.ones(num_actions)).astype(np.float32)
        is_over = bool(rng.random() < 1 / 6)
        action, reward = int(rng.integers(num_actions)), float(rng.integers(-1, 2))
        is_truncated = is_over and step % 4 < 2
        frames.write(replay.add(env, action, reward, policy, is_over, is_truncated), frame())
        if is_over:
            frames.write(replay.begin_episode(env), frame())
    return replay, frames


def random_batch(config, num_actions=ACTIONS, seed=0):
    """A batch of noise: nothing is masked, policies are one-hot, values on atoms."""
    rng = np.random.default_rng(seed)
    size, steps = config.loss.batch_size, config.loss.unroll_steps
    shape = (config.env.frame_stack, config.env.frame_size, config.env.frame_size)

    def tensor(array):
        return torch.from_numpy(np.asarray(array, np.float32))

    return Batch(
        observations=tensor(rng.random((size, steps + 1, *shape))),
        actions=torch.from_numpy(rng.integers(num_actions, size=(size, steps))),
        is_state=torch.ones(size, steps + 1),
        value_prefix=tensor(rng.integers(-1, 2, size=(size, steps))),
        value=tensor(rng.integers(-2, 3, size=(size, steps + 1))),
        policy=tensor(np.eye(num_actions)[rng.integers(num_actions, size=(size, steps + 1))]),
        has_policy=torch.ones(size, steps + 1),
        weights=tensor(rng.uniform(0.2, 1, size)),
        frames=tensor(rng.integers(256, size=(size, steps + 1, *shape))).byte(),
    )


class Inline(Executor):
    """Runs a task before `submit` returns, and counts them."""

    def __init__(self):
        self.tasks = 0

    def submit(self, fn, /, *args, **kwargs):
        self.tasks += 1
        future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def chi_square(counts):
    """Of counts that should all be equal."""
    expected = np.sum(counts) / np.size(counts)
    return float(((np.asarray(counts) - expected) ** 2 / expected).sum())


def random_images(count, seed=0):
    """Observations [count, 4, 16, 16]."""
    generator = torch.Generator().manual_seed(1000 * seed + count)
    return torch.randint(256, (count, 4, 16, 16), dtype=torch.uint8, generator=generator)


def assert_same_tree(tree, b, node, constants):
    """Every node of the naive tree, its statistics and its place."""
    i = node.number
    assert tree.visits[b, i] == len(node.returns)
    assert tree.depth[b, i] == node.depth
    assert tree.value_sum[b, i] == pytest.approx(sum(node.returns), rel=1e-5, abs=1e-5)
    assert tree.prior[b, i].tolist() == node.policy
    if node.parent is None:
        assert tree.parent[b, i] == UNVISITED
    else:
        assert tree.parent[b, i] == node.parent.number
        assert tree.reward[b, i] == pytest.approx(node.reward(constants.prefix_horizon), abs=1e-6)
    for action, child in enumerate(tree.children[b, i].tolist()):
        assert child == (node.children[action].number if action in node.children else UNVISITED)
    for child in node.children.values():
        assert_same_tree(tree, b, child, constants)
