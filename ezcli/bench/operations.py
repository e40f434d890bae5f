"""Counts the parameters of the network and the multiply-accumulates of a run.

Nothing is measured. Multiply-accumulates (MACs) of convolutions and matrix products are counted by
PyTorch on tensors without data. One MAC is two floating-point operations.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ezcli.bench.inputs import Bench, batch_of
from ezcli.config.run import RunConfig
from ezcli.efficientzero.components import planners_for, rules_for
from ezcli.efficientzero.folded import fold
from ezcli.efficientzero.loss import objective
from ezcli.efficientzero.network import Network
from ezcli.envs.protocol import EnvSpec
from ezcli.runs.workload import Amounts, amounts


class Operations(NamedTuple):
    """MACs of each part of the work, for a whole batch if there is one."""

    initial_inference: int  # one state in a search: h and f of the folded network
    recurrent_inference: int  # one step in a search: g and f of the folded network
    search: int  # one root with all simulations
    train_step: int  # forward and backward, including the auxiliary loss


class Counted(NamedTuple):
    """The counts of a run."""

    parameters: dict[str, int]  # by part of the network
    operations: Operations
    amounts: Amounts

    @property
    def run(self) -> dict[str, float]:
        """MACs of a whole run, by purpose."""
        once, times = self.operations, self.amounts
        return {
            "acting": times.decisions * once.search,
            "reanalysis": times.searched * once.search + times.evaluated * once.initial_inference,
            "learning": times.train_steps * once.train_step,
        }


def counted(at: Bench) -> Counted:
    """Counts parameters, operations and amounts of a run."""
    counts = operations(at.config, at.spec, at.network)
    return Counted(parameters(at.network), counts, amounts(at.config))


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
    """Counts the MACs of the parts of a run.

    Args:
      config: of the run.
      spec: spec of its environment.
      network: its network; not modified.
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
    shape = (config.loss.batch_size, config.loss.unroll_steps + 1, channels, height, width)
    batch = batch_of(spec, torch.empty(shape, device="meta"))
    rules = rules_for(config)

    def train_step() -> None:
        horizon, auxiliary = rules.prefix_horizon, rules.auxiliary_loss
        objective(network, batch, horizon, auxiliary, config.loss).total.backward()

    planner = planners_for(config, len(spec.action_names)).targets
    calls = config.search.num_simulations if planner.searches else len(spec.action_names)
    search = initial + calls * recurrent
    return Operations(initial, recurrent, search, macs(train_step))


def macs(work: Callable[[], Any]) -> int:
    """Multiply-accumulates of PyTorch's operations in `work`."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops()) // 2
