"""One train_step: unroll, losses, gradient."""

from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ezcli.efficientzero.batch import Batch
from ezcli.efficientzero.components import Rules
from ezcli.efficientzero.hyperparameters import Hyperparameters, OptimiserSettings
from ezcli.efficientzero.inference import autocast
from ezcli.efficientzero.loss import Objective, objective, total_loss, value_errors
from ezcli.efficientzero.loss_terms import (
    AUXILIARY_TERM,
    LOSSES,
    MEASURED_EVERY,
    MEASURED_STEPS,
)
from ezcli.efficientzero.moving_average import MovingAverage
from ezcli.efficientzero.network import Network, array_of
from ezcli.state import (
    Count,
    Layout,
    State,
    Table,
    read_arrays,
    read_table,
    require,
    split,
)

STEP_METRICS = ("loss", *LOSSES, "gradient_norm")


class StepResult(NamedTuple):
    """The results of a train_step, still on the device. Reading them waits for the step."""

    errors: Tensor  # [B] |V predicted - V target| at the first position
    metrics: Tensor  # [len(STEP_METRICS)] total, mean of each loss, norm before clipping
    auxiliary_gradient: Tensor | None = None  # see `Learner.auxiliary_gradient`


class LearnerCounts(Table):
    """The state of a `Learner` without its arrays."""

    train_steps: Count


class Learner:
    """The network in training, its optimiser, and its number of train_steps.

    After a train_step whose loss or gradient is not finite, no weight changes any more. The metrics
    identify that train_step, whenever they are read.
    """

    def __init__(
        self, network: Network, settings: Hyperparameters, rules: Rules, precision: str
    ) -> None:
        self.network, self.settings, self.rules = network, settings, rules
        self.precision = precision
        self.optimiser = make_optimiser(network, settings.optimiser)
        momentum = rules.target_momentum
        self.average = MovingAverage(network, momentum) if momentum else None
        self.has_failed = next(network.parameters()).new_zeros(())  # 1: not finite
        self.train_steps = 0

    def state(self) -> State:
        """The optimiser's tensors and the number of train_steps.

        The network has a separate state.
        """
        optimiser = {
            f"optimiser.{index}.{name}": array_of(torch.as_tensor(value))
            for index, entries in self.optimiser.state_dict()["state"].items()
            for name, value in entries.items()
        }
        return {**optimiser, "train_steps": self.train_steps}

    def restore(self, state: State) -> None:
        """Raises CheckpointError: tensors of another optimiser, or a value out of range."""
        counts, arrays = split(state)
        train_steps = read_table(LearnerCounts, counts).train_steps
        within = train_steps <= self.settings.schedule.train_steps
        require(within, f"train_steps is {train_steps}, more than the run has")
        layouts = {
            f"optimiser.{index}.{name}": layout
            for index, weight in enumerate(self.network.parameters())
            for name, layout in self._optimiser_layouts(weight, train_steps).items()
        }
        found = read_arrays(layouts, arrays, optional=layouts)
        entries: dict[int, dict[str, Tensor]] = {}
        for index, weight in enumerate(self.network.parameters()):
            for name in self._optimiser_layouts(weight, train_steps):
                key = f"optimiser.{index}.{name}"
                if key in found:
                    tensor = torch.from_numpy(found[key])
                    if tensor.shape == weight.shape:  # a fused optimiser needs equal strides too
                        tensor = torch.empty_like(weight.detach()).copy_(tensor)
                    entries.setdefault(index, {})[name] = tensor
                else:  # a weight that never had a gradient has no entry
                    require(index not in entries, f"{key!r} is missing")
        require(entries or not train_steps, "the state of the optimiser is missing")
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": entries})
        self.train_steps = train_steps

    def _optimiser_layouts(self, weight: Tensor, train_steps: int) -> dict[str, Layout]:
        """Layouts of the optimiser's tensors for a weight after `train_steps`."""
        shape = tuple(weight.shape)
        if self.settings.optimiser.name == "sgd":
            return {"momentum_buffer": Layout(np.float32, shape)}
        return {
            "step": Layout(np.float32, (), 1, train_steps),
            "exp_avg": Layout(np.float32, shape),
            "exp_avg_sq": Layout(np.float32, shape, 0),
        }

    def step(self, batch: Batch, executor: Executor | None = None) -> StepResult:
        """Makes one train_step.

        A thread of the executor may help, which does not change the result.
        """
        self.network.train()
        outputs, found, total = self.objective(self.network, batch, executor)
        rate = learning_rate(self.train_steps, self.settings)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        auxiliary_gradient = self.auxiliary_gradient(found, batch)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(
            self.network.parameters(), self.settings.optimiser.max_gradient_norm
        )
        errors = value_errors(outputs, batch)
        is_finite = total.detach().isfinite() & norm.isfinite() & errors.isfinite().all()
        self.has_failed = torch.maximum(self.has_failed, 1 - is_finite.float())
        # As in PyTorch's GradScaler: a fused optimiser does not change weights if this is 1.
        self.optimiser.found_inf = self.has_failed  # type: ignore[attr-defined]
        self.optimiser.step()
        if self.average is not None:
            self.average.follow(self.network)
        self.train_steps += 1
        means = [loss.detach().mean() for loss in found.values()]
        return StepResult(
            errors=errors,
            metrics=torch.stack([total.detach(), *means, norm.detach()]),
            auxiliary_gradient=auxiliary_gradient,
        )

    def auxiliary_gradient(self, found: dict[str, Tensor], batch: Batch) -> Tensor | None:
        """Norm of the gradient of the weighted auxiliary loss with respect to the encoder h.

        It is measured in every `MEASURED_EVERY`-th of the first `MEASURED_STEPS` train_steps, and
        is None otherwise or without an auxiliary loss. Different auxiliary losses are comparable if
        their coefficients give equal norms.
        """
        is_due = self.train_steps < MEASURED_STEPS and self.train_steps % MEASURED_EVERY == 0
        loss = {AUXILIARY_TERM: found[AUXILIARY_TERM]}
        if not (is_due and loss[AUXILIARY_TERM].requires_grad):
            return None
        total = total_loss(loss, batch.weights, self.settings.loss)
        weights = list(self.network.representation.parameters())
        gradients = torch.autograd.grad(total, weights, retain_graph=True)
        return torch.nn.utils.get_total_norm(gradients)

    def objective(
        self, network: Network, batch: Batch, executor: Executor | None = None
    ) -> Objective:
        """The objective of a train_step with the weights of `network`, in training mode."""
        rules, device = self.rules, batch.observations.device
        if self.precision != "float32" or device.type != "cpu":
            executor = None  # autocast is not thread-safe, and a GPU gains nothing
        with autocast(device, self.precision):
            return objective(
                network,
                batch,
                rules.prefix_horizon,
                rules.auxiliary_loss,
                self.settings.loss,
                self.average,
                executor,
            )


def make_optimiser(network: Network, settings: OptimiserSettings) -> torch.optim.Optimizer:
    """Makes the optimiser in the settings. `learning_rate` sets its rate at every step."""
    weights, rate, decay = network.parameters(), settings.learning_rate, settings.weight_decay
    if settings.name == "adam":
        betas = (settings.momentum, 0.999)
        return torch.optim.Adam(weights, rate, betas, weight_decay=decay, fused=True)
    return torch.optim.SGD(weights, rate, settings.momentum, weight_decay=decay, fused=True)


def learning_rate(train_step: int, settings: Hyperparameters) -> float:
    """Linear warm-up, then constant, then lower for the last steps (appendix A.1)."""
    optimiser, train_steps = settings.optimiser, settings.schedule.train_steps
    warmup = optimiser.warmup_fraction * train_steps
    if train_step < warmup:
        return optimiser.learning_rate * train_step / warmup
    is_decayed = train_step >= train_steps - optimiser.decayed_train_steps
    return optimiser.learning_rate * (optimiser.decay_factor if is_decayed else 1.0)
