"""How much a run computes: parameters of the network, and multiply-accumulates.

Nothing here is measured. Multiply-accumulates (MACs) are those of convolutions and matrix products,
as PyTorch's own counter sees them on tensors without data; one is two floating-point operations.
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
    """MACs of one piece of work each, with the whole batch where there is one."""

    initial_inference: int  # of one state, as searches make it: h and f of the folded network
    recurrent_inference: int  # likewise: g and f
    search: int  # of one root, with all simulations
    train_step: int  # forward and backward, with the consistency branch if the run has one


class Counted(NamedTuple):
    """What can be said of a run without a clock."""

    parameters: dict[str, int]  # by part of the network
    operations: Operations
    amounts: Amounts

    @property
    def run(self) -> dict[str, float]:
        """MACs of a whole run, by what they are for."""
        once, times = self.operations, self.amounts
        return {
            "acting": times.decisions * once.search,
            "reanalysis": times.searched * once.search + times.evaluated * once.initial_inference,
            "learning": times.train_steps * once.train_step,
        }


def counted(at: Bench) -> Counted:
    """Parameters, operations and amounts of a run."""
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
    """Multiply-accumulates of what PyTorch computes in `work`."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops()) // 2
