"""A train_step beside one in plain PyTorch, as it is written before anything is made fast.

    python benchmarks/newcomer.py [--pairs 9] [-o benchmarks/results/newcomer.json]

Both have the network of a preset (the number of weights is compared), the same batch and the same
loss: value prefix, policy and value by cross-entropy against two atoms, and SimSiam's consistency.
The plain step follows the equations: it loops over positions, and each position has its heads, its
losses and its projection. It runs once with one thread, as ours does, and once with PyTorch's own
number of threads. The two alternate, and a ratio is the median of the pairs' ratios. The ratio of
CPU time, both with one thread, is the one to read beside other work.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ezcli.bench.inputs import bench, random_batch
from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.efficientzero.learner import Learner
from ezcli.runs.compute import num_cores, resolve_compute
from ezcli.runs.provenance import device_name, version

PRESETS = ("catch", "minatar", "atari-cpu")


class Block(nn.Module):
    """A residual block."""

    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.skip = None
        if inputs != outputs or stride != 1:
            self.skip = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)

    def forward(self, x):
        """[B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.skip is None else self.skip(x)))


def mlp(*sizes):
    """Linear layers with a batch-norm and a ReLU between them."""
    layers = []
    for inputs, outputs in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


class Model(nn.Module):
    """h, g, f and the projection."""

    def __init__(self, at):
        super().__init__()
        n, actions = at.config.network, len(at.spec.action_names)
        self.actions, atoms = actions, 2 * at.config.value.support + 1
        channels, stem, halvings = n.channels, n.channels // 2, n.downsamplings
        inputs = at.spec.frame_shape[0] * at.config.env.frame_stack
        h = [
            nn.Conv2d(inputs, stem, 3, 2 if halvings >= 1 else 1, 1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(),
            Block(stem, stem),
            Block(stem, channels, 2 if halvings >= 2 else 1),
            Block(channels, channels),
        ]
        for _ in range(2, halvings):
            h += [nn.AvgPool2d(3, 2, 1), Block(channels, channels)]
        self.h = nn.Sequential(*h)
        _, height, width = at.network.latent_shape
        reduced = n.head_channels * height * width
        self.conv = nn.Conv2d(channels + actions, channels, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.block = Block(channels, channels)
        self.reduce_prefix, self.reduce_value, self.reduce_policy = (
            nn.Sequential(nn.Conv2d(channels, n.head_channels, 1), nn.BatchNorm2d(n.head_channels))
            for _ in range(3)
        )
        self.lstm = nn.LSTMCell(reduced, n.prefix_lstm)
        self.lstm_bn = nn.BatchNorm1d(n.prefix_lstm)
        self.prefix = mlp(n.prefix_lstm, n.head_hidden, atoms)
        self.f_block = Block(channels, channels)
        self.value = mlp(reduced, n.head_hidden, atoms)
        self.policy = mlp(reduced, n.head_hidden, actions)
        self.projector = mlp(channels * height * width, n.projection, n.projection, n.projection)
        self.projector.append(nn.BatchNorm1d(n.projection))
        self.predictor = mlp(n.projection, n.projection_bottleneck, n.projection)

    def representation(self, observation):
        """The latent of an observation: h."""
        return self.scaled(self.h(observation))

    def scaled(self, latent):
        """Each latent in [0, 1]."""
        low, high = latent.amin((1, 2, 3), keepdim=True), latent.amax((1, 2, 3), keepdim=True)
        return (latent - low) / (high - low).clamp(min=1e-5)

    def dynamics(self, latent, state, action):
        """g: next latent, state of the LSTM, and value-prefix logits."""
        planes = F.one_hot(action, self.actions).float()[:, :, None, None]
        planes = planes.expand(-1, -1, *latent.shape[2:])
        x = F.relu(self.bn(self.conv(torch.cat([latent, planes], 1))) + latent)
        latent = self.scaled(self.block(x))
        state = self.lstm(F.relu(self.reduce_prefix(latent)).flatten(1), state)
        return latent, state, self.prefix(F.relu(self.lstm_bn(state[0])))

    def prediction(self, latent):
        """f: value and policy logits."""
        x = self.f_block(latent)
        value = self.value(F.relu(self.reduce_value(x)).flatten(1))
        return value, self.policy(F.relu(self.reduce_policy(x)).flatten(1))

    def project(self, latent):
        """The projection of the consistency loss."""
        return self.projector(latent.flatten(1))


def two_atoms(scalar, support):
    """[B] scalars as distributions over 2 * support + 1 atoms of the scaled value."""
    scaled = torch.sign(scalar) * (torch.sqrt(scalar.abs() + 1) - 1) + 0.001 * scalar
    scaled = scaled.clamp(-support, support)
    low = scaled.floor()
    share = scaled - low
    target = torch.zeros(len(scalar), 2 * support + 1)
    target.scatter_(1, (low.long() + support)[:, None], (1 - share)[:, None])
    high = (low.long() + support + 1).clamp(max=2 * support)
    return target.scatter_add_(1, high[:, None], share[:, None])


def cross_entropy(logits, target):
    """[B] of logits [B, S] against distributions [B, S]."""
    return -(target * F.log_softmax(logits, 1)).sum(1)


def plain_step(model, optimiser, config, batch):
    """One train_step."""
    support, steps, loss = config.value.support, config.loss.unroll_steps, config.loss
    latent = model.representation(batch.observations[:, 0])
    value, policy = model.prediction(latent)
    state = (torch.zeros(len(latent), model.lstm.hidden_size),) * 2
    value_loss = cross_entropy(value, two_atoms(batch.value[:, 0], support)) * batch.is_state[:, 0]
    policy_loss = cross_entropy(policy, batch.policy[:, 0]) * batch.has_policy[:, 0]
    prefix_loss = consistency = 0
    for k in range(steps):
        latent, state, prefix = model.dynamics(latent, state, batch.actions[:, k])
        value, policy = model.prediction(latent)
        counts = batch.is_state[:, k + 1]
        prefix_loss += cross_entropy(prefix, two_atoms(batch.value_prefix[:, k], support)) * counts
        value_loss += cross_entropy(value, two_atoms(batch.value[:, k + 1], support)) * counts
        policy_loss += cross_entropy(policy, batch.policy[:, k + 1]) * batch.has_policy[:, k + 1]
        with torch.no_grad():
            target = model.project(model.representation(batch.observations[:, k + 1]))
        online = model.predictor(model.project(latent))
        consistency -= F.cosine_similarity(online, target, dim=1) * counts
        latent = latent * 0.5 + latent.detach() * 0.5
    total = (
        loss.value_prefix_coefficient * prefix_loss
        + loss.policy_coefficient * policy_loss
        + loss.value_coefficient * value_loss
        + loss.consistency_coefficient * consistency
    )
    optimiser.zero_grad()
    ((total * batch.weights).mean() / steps).backward()
    nn.utils.clip_grad_norm_(model.parameters(), config.optimiser.max_gradient_norm)
    optimiser.step()


def optimiser_of(model, settings):
    """As the preset asks, with PyTorch's defaults."""
    if settings.name == "adam":
        return torch.optim.Adam(model.parameters(), settings.learning_rate)
    return torch.optim.SGD(
        model.parameters(), settings.learning_rate, settings.momentum,
        weight_decay=settings.weight_decay,
    )  # fmt: skip


def seconds(work):
    """What a call takes: on the clock, and CPU time of this thread."""
    clocks = time.perf_counter, time.thread_time
    began = [clock() for clock in clocks]
    work()
    return [clock() - start for clock, start in zip(clocks, began, strict=True)]


def measured(preset, pairs):
    """Median seconds of each side, and of the pairs' ratios."""
    config = resolve(read_toml(preset_path(preset)), ["compute.device='cpu'"])
    at = bench(config, resolve_compute(config.compute), 1.0)
    batch = random_batch(at)
    ours, model = Learner(at.network, config, at.rules, "float32"), Model(at)
    sizes = [sum(p.numel() for p in network.parameters()) for network in (at.network, model)]
    if sizes[0] != sizes[1]:
        raise SystemExit(f"{preset}: {sizes[0]} weights here, {sizes[1]} in the plain network")
    optimiser = optimiser_of(model, config.optimiser)

    def plain(threads):
        torch.set_num_threads(threads)
        found = seconds(lambda: plain_step(model, optimiser, config, batch))
        torch.set_num_threads(1)
        return found

    def once():
        return seconds(lambda: ours.step(batch)), plain(1), plain(num_cores())

    once()
    found = np.array([once() for _ in range(pairs)])
    times, cpu_times = np.moveaxis(found, -1, 0)  # [pairs, sides] each
    median = np.median(times, axis=0)
    return {
        "preset": preset,
        "weights": sizes[0],
        "ezcli_ms": round(1e3 * float(median[0]), 1),
        "plain_ms": round(1e3 * float(median[1]), 1),
        "plain_all_threads_ms": round(1e3 * float(median[2]), 1),
        "ratio": round(float(np.median(times[:, 1] / times[:, 0])), 2),
        "ratio_cpu_time": round(float(np.median(cpu_times[:, 1] / cpu_times[:, 0])), 2),
        "ratio_all_threads": round(float(np.median(times[:, 2] / times[:, 0])), 2),
        "pairs": pairs,
    }


def main() -> None:
    """Measures each preset and prints a line for it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("-o", type=Path)
    asked = parser.parse_args()
    found = []
    for preset in PRESETS:
        found.append(measured(preset, asked.pairs))
        print(found[-1], flush=True)
    if asked.o:
        machine = {"cpu": device_name(torch.device("cpu")), "cores": num_cores()}
        result = {**machine, "torch": version("torch"), "train_steps": found}
        asked.o.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
