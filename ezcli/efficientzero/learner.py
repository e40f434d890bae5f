"""One train_step: unroll, losses, gradient; and the copies of the network that lag behind it."""

import copy
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ezcli.efficientzero.batch import Batch
from ezcli.efficientzero.components import Rules
from ezcli.efficientzero.hyperparameters import Hyperparameters, OptimiserSettings
from ezcli.efficientzero.inference import autocast
from ezcli.efficientzero.loss import Objective, objective, value_errors
from ezcli.efficientzero.loss_terms import LOSSES
from ezcli.efficientzero.network import Network
from ezcli.efficientzero.searcher import Searcher

STEP_METRICS = ("loss", *LOSSES, "gradient_norm")


class StepResult(NamedTuple):
    """What a train_step leaves, still on the device: reading it would wait for the step."""

    errors: Tensor  # [B] |V predicted - V target| at the first position
    metrics: Tensor  # [len(STEP_METRICS)] total, mean of each loss, norm before clipping


class Learner:
    """The network that learns, its optimiser, and the train_steps it has made.

    From the first train_step on whose loss or gradient is not finite, no weight changes any more:
    the metrics say which it was, whenever they are read.
    """

    def __init__(
        self, network: Network, settings: Hyperparameters, rules: Rules, precision: str
    ) -> None:
        self.network, self.settings, self.rules = network, settings, rules
        self.precision = precision
        self.optimiser = make_optimiser(network, settings.optimiser)
        self.has_failed = next(network.parameters()).new_zeros(())  # 1: not finite
        self.train_steps = 0

    def step(self, batch: Batch) -> StepResult:
        """Learns from one batch."""
        self.network.train()
        outputs, found, total = self.objective(self.network, batch)
        rate = learning_rate(self.train_steps, self.settings)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(
            self.network.parameters(), self.settings.optimiser.max_gradient_norm
        )
        errors = value_errors(outputs, batch)
        is_finite = total.detach().isfinite() & norm.isfinite() & errors.isfinite().all()
        self.has_failed = torch.maximum(self.has_failed, 1 - is_finite.float())
        # As PyTorch's GradScaler does it: a fused optimiser leaves the weights where this is 1.
        self.optimiser.found_inf = self.has_failed  # type: ignore[attr-defined]
        self.optimiser.step()
        self.train_steps += 1
        means = [loss.detach().mean() for loss in found.values()]
        return StepResult(
            errors=errors,
            metrics=torch.stack([total.detach(), *means, norm.detach()]),
        )

    def objective(self, network: Network, batch: Batch) -> Objective:
        """What a train_step would minimise with the weights of `network`, in training mode."""
        rules = self.rules
        with autocast(batch.observations.device, self.precision):
            return objective(
                network, batch, rules.prefix_horizon, rules.auxiliary_loss, self.settings.loss
            )


class Copies:
    """Frozen copies of the learner: one acts, one makes targets, one waits to.

    A target network is a copy taken every `target_update_interval` train_steps and used one period
    later, so it is one to two periods old. The acting copy is refreshed at once.

    Args:
      network: the learner's.
      settings: of the run.
      make_searcher: from a network what searches with it.
    """

    def __init__(
        self,
        network: Network,
        settings: Hyperparameters,
        make_searcher: Callable[[Network], Searcher],
    ) -> None:
        self.schedule = settings.schedule
        self.networks = {name: frozen(network) for name in ("acting", "target", "upcoming")}
        self.acting, self.target = make_searcher(network), make_searcher(network)

    def load(self, name: str, weights: Mapping[str, Tensor]) -> None:
        """Gives the copy `acting`, `target` or `upcoming` other weights."""
        network = self.networks[name]
        network.load_state_dict(weights)
        if name == "acting":
            self.acting.take(network)
        elif name == "target":
            self.target.take(network)

    def target_version(self, train_step: int) -> int:
        """Which target network serves `train_step`, counted from 0."""
        return train_step // self.schedule.target_update_interval

    def before_targets(self, train_step: int) -> None:
        """Called before targets are made for batches that begin with `train_step`."""
        if train_step % self.schedule.target_update_interval == 0:
            self.load("target", self.networks["upcoming"].state_dict())

    def after_learning(self, learner: Learner) -> None:
        """Called once the learner has finished a group of batches."""
        for name, interval in (
            ("acting", self.schedule.acting_update_interval),
            ("upcoming", self.schedule.target_update_interval),
        ):
            if learner.train_steps % interval == 0:
                self.load(name, learner.network.state_dict())


def frozen(network: Network) -> Network:
    """A copy in evaluation mode that no gradient reaches."""
    return copy.deepcopy(network).eval().requires_grad_(False)


def make_optimiser(network: Network, settings: OptimiserSettings) -> torch.optim.Optimizer:
    """The optimiser that the settings name; `learning_rate` sets its rate at every step."""
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
