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
from ezcli.efficientzero.loss import losses, total_loss, unroll
from ezcli.efficientzero.network import Network
from ezcli.envs.protocol import EnvSpec

MOST_PERIODS = 10_000  # target networks that are looked at one by one


class Operations(NamedTuple):
    """MACs of one piece of work each, with the whole batch where there is one."""

    initial_inference: int  # of one state: h and f
    recurrent_inference: int  # of one state: g and f
    search: int  # of one root, with all simulations
    train_step: int  # forward and backward, with the consistency branch if the run has one


class Amounts(NamedTuple):
    """How often a whole run does each; evaluations and their games are not counted."""

    decisions: float  # searches that choose an action
    asked: float  # policy targets that a search must give
    searched: float  # searches made for them
    evaluated: float  # states whose value is needed without a search
    train_steps: float


def parameters(network: Network) -> dict[str, int]:
    """Learnt numbers of each part, by name; they add up to those of the network."""
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
    """Learnt numbers of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def operations(config: RunConfig, spec: EnvSpec, network: Network) -> Operations:
    """Counts the MACs of a run's pieces of work.

    Args:
      config: of the run.
      spec: of its environment.
      network: its network; not changed.
    """
    network = copy.deepcopy(network).to("meta")
    channels, height, width = spec.frame_shape
    channels *= config.env.frame_stack
    network.eval()
    with torch.no_grad():
        image = torch.empty(1, channels, height, width, device="meta")
        root = network.initial_inference(image)
        action = torch.zeros(1, dtype=torch.int64, device="meta")
        initial = macs(lambda: network.initial_inference(image))
        recurrent = macs(
            lambda: network.recurrent_inference(root.latent, root.prefix_state, action)
        )
    network.train()
    batch = empty_batch(config, (channels, height, width), len(spec.action_names))
    rules = rules_for(config)

    def train_step() -> None:
        outputs = unroll(network, batch, rules.prefix_horizon)
        found = losses(network, batch, outputs, rules.consistency_loss)
        total_loss(found, batch.weights, config.loss).backward()

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


def amounts(config: RunConfig) -> Amounts:
    """How often a whole run decides, searches for targets, and learns.

    With `reanalyse.memoise` a target network searches each state once. How many states its batches
    name is taken as if windows were drawn uniformly: w windows of k states leave a share of
    exp(-w k / N) of N states untouched. Ends of episodes and priorities make it fewer.
    """
    schedule, loss, ahead = config.schedule, config.loss, config.schedule.sample_ahead
    positions, td_steps = loss.unroll_steps + 1, rules_for(config).td_steps
    chosen = round(config.reanalyse.ratio * loss.batch_size)  # windows of a batch that are searched
    asked = searched = evaluated = 0.0
    networks = math.ceil(schedule.train_steps / schedule.target_update_interval)
    periods = min(networks, MOST_PERIODS)  # of a very long run some stand for all
    for period in range(periods):
        steps = schedule.train_steps / networks
        states = states_at(config, (period + 0.5) * schedule.train_steps / periods)
        by_policy = steps * chosen * positions / states  # how often each state is named
        by_value = steps * loss.batch_size * positions / states
        beyond = td_steps(np.linspace(0, states, num=100).astype(np.int64)).mean()
        asked += by_policy * states
        if config.value.value_source == "search":
            named = steps * loss.batch_size * (positions + beyond) / states
            times = -math.expm1(-named) if config.reanalyse.memoise else by_policy + by_value
            searched += times * states
            continue
        searched += (-math.expm1(-by_policy) if config.reanalyse.memoise else by_policy) * states
        # Evaluated is what a draw names as a bootstrap only, and no draw before has named at all.
        draws = steps / ahead
        unsearched = math.exp(-by_policy / draws)
        untouched = math.exp(-ahead * loss.batch_size * (positions + beyond) / states)
        share = (unsearched - untouched) / (1 - untouched)
        evaluated += share * (1 - untouched**draws) * states
    each = networks / max(periods, 1)
    return Amounts(
        decisions=schedule.env_steps - schedule.random_env_steps,
        asked=each * asked,
        searched=each * searched,
        evaluated=each * evaluated,
        train_steps=schedule.train_steps,
    )


def states_at(config: RunConfig, train_step: float) -> float:
    """About how many states the replay holds by then."""
    schedule = config.schedule
    collected = schedule.random_env_steps + train_step / schedule.train_steps_per_env_step
    return min(collected, schedule.env_steps, config.replay.capacity)
