"""How much a run computes: parameters of the network, multiply-accumulates, numbers of searches.

Nothing here is measured. Multiply-accumulates (MACs) are those of convolutions and matrix products,
as PyTorch's own counter sees them on tensors without data; one is two floating-point operations.
"""

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ezcli.config import RunConfig
from ezcli.efficientzero.batch import Batch
from ezcli.efficientzero.components import rules_for
from ezcli.efficientzero.folded import fold
from ezcli.efficientzero.loss import objective
from ezcli.efficientzero.network import Network
from ezcli.envs.protocol import EnvSpec

MOST_NETWORKS = 10_000  # target networks that are looked at one by one
MOST_DRAWS = 1_000_000  # of all these networks together


class Operations(NamedTuple):
    """MACs of one piece of work each, with the whole batch where there is one."""

    initial_inference: int  # of one state, as searches make it: h and f of the folded network
    recurrent_inference: int  # likewise: g and f
    search: int  # of one root, with all simulations
    train_step: int  # forward and backward, with the consistency branch if the run has one


class Draws(NamedTuple):
    """What the draws of a run have to do, [networks, draws]: of each target network, in order.

    A draw makes the targets of `sample_ahead` train_steps.
    """

    train_step: np.ndarray  # [networks] in the middle of each network's
    asked: np.ndarray  # policy targets that a search must give
    searched: np.ndarray  # searches made for them
    evaluated: np.ndarray  # states whose value the network must say without a search
    times: float  # draws of the run for each of these


class Amounts(NamedTuple):
    """How often a whole run does each; its evaluations are not counted."""

    decisions: float  # searches that choose an action
    asked: float  # as in `Draws`
    searched: float
    evaluated: float
    train_steps: float


def parameters(network: Network) -> dict[str, int]:
    """Trainable parameters of each part, by name; they add up to those of the network."""
    dynamics, prediction = network.dynamics, network.prediction
    parts: dict[str, tuple[nn.Module, ...]] = {
        "representation": (network.representation,),
        "dynamics": (dynamics.convolution, dynamics.norm, dynamics.block),
        "value prefix": (dynamics.reduce, dynamics.lstm, dynamics.lstm_norm, dynamics.value_prefix),
        "prediction": (prediction.block,),
        "value": (prediction.reduce_value, prediction.value),
        "policy": (prediction.reduce_policy, prediction.policy),
        "projector": (network.projector,),
        "predictor": (network.predictor,),
    }
    return {name: sum(map(num_parameters, modules)) for name, modules in parts.items()}


def num_parameters(module: nn.Module) -> int:
    """Trainable parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def operations(config: RunConfig, spec: EnvSpec, network: Network) -> Operations:
    """Counts the MACs of a run's pieces of work.

    Args:
      config: of the run.
      spec: of its environment.
      network: its network; not changed.
    """
    searching = fold(network, "float32").to("meta")
    network = copy.deepcopy(network).to("meta").train()
    channels, height, width = spec.frame_shape
    channels *= config.env.frame_stack
    with torch.no_grad():
        image = torch.empty(1, channels, height, width, device="meta")
        root = searching.initial_inference(image)
        action = torch.zeros(1, dtype=torch.int64, device="meta")
        initial = macs(lambda: searching.initial_inference(image))
        recurrent = macs(
            lambda: searching.recurrent_inference(root.latent, root.prefix_state, action)
        )
    batch = empty_batch(config, (channels, height, width), len(spec.action_names))
    rules = rules_for(config)

    def train_step() -> None:
        horizon, auxiliary = rules.prefix_horizon, rules.auxiliary_loss
        objective(network, batch, horizon, auxiliary, config.loss).total.backward()

    search = initial + config.search.num_simulations * recurrent
    return Operations(initial, recurrent, search, macs(train_step))


def macs(work: Callable[[], Any]) -> int:
    """Multiply-accumulates of what PyTorch computes in `work`."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops()) // 2


def empty_batch(config: RunConfig, image: tuple[int, int, int], actions: int) -> Batch:
    """A batch of the run's shapes without data; image is (C, H, W)."""
    size, steps = config.loss.batch_size, config.loss.unroll_steps

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    return Batch(
        observations=empty(size, steps + 1, *image),
        actions=empty(size, steps, dtype=torch.int64),
        is_state=empty(size, steps + 1),
        value_prefix=empty(size, steps),
        value=empty(size, steps + 1),
        policy=empty(size, steps + 1, actions),
        has_policy=empty(size, steps + 1),
        weights=empty(size),
    )


def draws(config: RunConfig) -> Draws:
    """What each draw of a run has to do.

    With `reanalyse.memoise` a target network searches each state once. How many states the batches
    name is taken as if windows were drawn uniformly: w windows of k states leave a share of
    exp(-w k / N) of N states untouched. Ends of episodes and priorities make it fewer.
    """
    schedule, loss, ahead = config.schedule, config.loss, config.schedule.sample_ahead
    networks = math.ceil(schedule.train_steps / schedule.target_update_interval)
    shown = min(networks, MOST_NETWORKS)  # of a very long run some stand for all
    train_step = (np.arange(shown) + 0.5) * schedule.train_steps / max(shown, 1)
    per_network = min(schedule.target_update_interval, schedule.train_steps) // ahead
    draw = np.linspace(0, per_network - 1, min(per_network, MOST_DRAWS // max(shown, 1)))
    states = states_at(config, train_step)[:, None]
    positions = loss.unroll_steps + 1
    chosen = ahead * round(config.reanalyse.ratio * loss.batch_size)  # windows that are searched
    windows = ahead * loss.batch_size
    td_steps = rules_for(config).td_steps
    ages = (states * np.linspace(0, 1, num=100)).astype(np.int64)
    beyond = np.minimum(td_steps(ages), positions).mean(1, keepdims=True)
    asked = np.full((shown, len(draw)), float(chosen * positions))
    # How often a draw names each state: for a policy, and for a policy or a bootstrap.
    by_policy, by_any = (
        chosen * positions / states,
        (chosen * beyond + windows * positions) / states,
    )
    unnamed = np.exp(-by_any * draw)  # by the draws before
    if config.value.value_source == "search":
        searched = -np.expm1(-by_any) * unnamed * states
        if not config.reanalyse.memoise:
            searched = asked + windows * positions
        evaluated = np.zeros_like(asked)
    else:
        searched = -np.expm1(-by_policy) * np.exp(-by_policy * draw) * states
        if not config.reanalyse.memoise:
            searched = asked
        evaluated = (np.exp(-by_policy) - np.exp(-by_any)) * unnamed * states
    times = schedule.train_steps / ahead / max(asked.size, 1)
    return Draws(train_step, asked, searched, evaluated, times)


def amounts(config: RunConfig) -> Amounts:
    """How often a whole run decides, searches for targets, and learns."""
    found = draws(config)
    return Amounts(
        decisions=config.schedule.env_steps - config.schedule.random_env_steps,
        asked=float(found.times * found.asked.sum()),
        searched=float(found.times * found.searched.sum()),
        evaluated=float(found.times * found.evaluated.sum()),
        train_steps=config.schedule.train_steps,
    )


def states_at(config: RunConfig, train_step: np.ndarray) -> np.ndarray:
    """About how many states can be drawn by then; those about to be overwritten cannot."""
    schedule, envs = config.schedule, config.acting.num_envs
    collected = schedule.random_env_steps + train_step / schedule.train_steps_per_env_step
    kept = config.replay.capacity - envs * config.guard_rows(config.env.frame_stack)
    return np.minimum(collected, min(schedule.env_steps, kept))
