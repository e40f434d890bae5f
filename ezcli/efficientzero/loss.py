"""The unroll of the model along K actions, its losses, and their total (EfficientZero equation 5).

The model is unrolled from time t of sample i, and each output has a target there:

    s_0 = h(o_t),  (s_k, y_k) = g(s_(k-1), a_(t+k-1)),  (p_k, v_k) = f(s_k)
    l_value_prefix(i, k) = H(two-hot(sum of rewards up to t+k-1), y_k)
    l_policy(i, k) = H(pi_(t+k), p_k),  l_value(i, k) = H(two-hot(z_(t+k)), v_k)
    H(q, p) = -sum_j q_j log p_j

With importance weight w_i, and a mask m_ik that is 0 past the end of the episode:

    L = mean_i  w_i / K  *  sum_name  c_name * sum_k  m_ik * l_name(i, k)

The policy and value terms sum over positions k = 0..K, the value prefix and the auxiliary term over
k = 1..K. `TERMS` holds the function of each of `LOSSES`; `loss.<name>_coefficient` is c_name.
Shapes as in `batch`.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from typing import NamedTuple

import torch
from torch import Tensor

from ezcli.efficientzero.auxiliary import AuxiliaryLoss, Target, begun
from ezcli.efficientzero.batch import Batch, NetworkOutput, PrefixState
from ezcli.efficientzero.hyperparameters import LossSettings
from ezcli.efficientzero.loss_terms import LOSSES
from ezcli.efficientzero.network import Network
from ezcli.efficientzero.norms import ROOT, UNROLLED
from ezcli.efficientzero.support import to_categorical, to_scalar
from ezcli.efficientzero.value_prefix import restarts_after

LATENT_GRADIENT = 0.5  # factor of the gradient at each unrolled latent (MuZero appendix G)

# From an unrolled latent to the input of the next step.
Halve = Callable[[Tensor], Tensor]


class Objective(NamedTuple):
    """The losses of a network on a batch."""

    outputs: list[NetworkOutput]  # K + 1, of the unroll
    losses: dict[str, Tensor]  # by name, as `LOSSES`: [B], before coefficients and weights
    total: Tensor  # scalar, to be minimised


class Unrolled(NamedTuple):
    """The inputs of the loss terms."""

    network: Network
    batch: Batch
    outputs: list[NetworkOutput]  # K + 1
    auxiliary: AuxiliaryLoss
    target: Target | None  # targets of the auxiliary loss; None: from the network itself


def objective(
    network: Network,
    batch: Batch,
    prefix_horizon: int,
    auxiliary: AuxiliaryLoss,
    settings: LossSettings,
    target: Target | None = None,
    executor: Executor | None = None,
) -> Objective:
    """Unrolls the model, computes its losses, and sums them up.

    A thread of the executor may encode the targets of the auxiliary loss during the unroll. This
    does not change the result.
    """
    root = network.initial_inference(batch.observations[:, 0])
    if executor is not None:
        target = begun(auxiliary, network, batch, target, executor)
    halve = LATENT_GRADIENTS[settings.latent_gradient]
    outputs = unroll_from(network, root, batch.actions, prefix_horizon, halve)
    found = losses(network, batch, outputs, auxiliary, target)
    return Objective(outputs, found, total_loss(found, batch.weights, settings))


def unroll(
    network: Network, observations: Tensor, actions: Tensor, prefix_horizon: int
) -> list[NetworkOutput]:
    """The model's K + 1 outputs: for observations [B, C, H, W], and after each action [B, K]."""
    root = network.initial_inference(observations)
    return unroll_from(network, root, actions, prefix_horizon, halved_between_steps)


def unroll_from(
    network: Network, root: NetworkOutput, actions: Tensor, prefix_horizon: int, halve: Halve
) -> list[NetworkOutput]:
    """The output at the root, and the outputs after each of actions [B, K]."""
    outputs, latent, prefix_state = [root], root.latent, root.prefix_state
    for k in range(actions.shape[1]):
        role = UNROLLED if k else ROOT
        if restarts_after(k, prefix_horizon):
            prefix_state = PrefixState(*map(torch.zeros_like, prefix_state))
        output = network.recurrent_inference(latent, prefix_state, actions[:, k], role)
        outputs.append(output)
        latent, prefix_state = halve(output.latent), output.prefix_state
    return outputs


def halved_between_steps(latent: Tensor) -> Tensor:
    """Halves the gradient from the next step. Gradients from heads and losses are not changed."""
    return scale_gradient(latent, LATENT_GRADIENT)


def halved_as_a_whole(latent: Tensor) -> Tensor:
    """Halves the whole gradient at a latent: from heads, losses and the next step."""
    if latent.requires_grad:
        latent.register_hook(lambda gradient: gradient * LATENT_GRADIENT)
    return latent


LATENT_GRADIENTS: dict[str, Halve] = {
    "between-steps": halved_between_steps,
    "whole": halved_as_a_whole,
}


def losses(
    network: Network,
    batch: Batch,
    outputs: list[NetworkOutput],
    auxiliary: AuxiliaryLoss,
    target: Target | None = None,
) -> dict[str, Tensor]:
    """The losses [B] of an unroll by name, each summed over its unmasked positions."""
    seen = Unrolled(network, batch, outputs, auxiliary, target)
    return {name: TERMS[name](seen) for name in LOSSES}


def value_prefix_loss(seen: Unrolled) -> Tensor:
    """Loss [B] of each value prefix, against the two-hot distribution of its target."""
    prefixes = [o.value_prefix for o in seen.outputs if o.value_prefix is not None]
    loss = categorical_loss(torch.stack(prefixes, 1), seen.batch.value_prefix)
    return (loss * seen.batch.is_state[:, 1:]).sum(1)


def policy_loss(seen: Unrolled) -> Tensor:
    """Loss [B] of each policy that has a target."""
    policies = torch.stack([output.policy for output in seen.outputs], 1)
    return (cross_entropy(policies, seen.batch.policy) * seen.batch.has_policy).sum(1)


def value_loss(seen: Unrolled) -> Tensor:
    """Loss [B] of each value, against the two-hot distribution of its target."""
    values = torch.stack([output.value for output in seen.outputs], 1)
    return (categorical_loss(values, seen.batch.value) * seen.batch.is_state).sum(1)


def consistency_loss(seen: Unrolled) -> Tensor:
    """Auxiliary loss [B] of each unrolled latent."""
    latents = [output.latent for output in seen.outputs[1:]]
    loss = seen.auxiliary(seen.network, latents, seen.batch, seen.target)
    return (loss * seen.batch.is_state[:, 1:]).sum(1)


TERMS: dict[str, Callable[[Unrolled], Tensor]] = {
    "value_prefix": value_prefix_loss,
    "policy": policy_loss,
    "value": value_loss,
    "consistency": consistency_loss,
}


def coefficients(settings: LossSettings) -> dict[str, float]:
    """The weight of each loss, by name."""
    return {name: getattr(settings, f"{name}_coefficient") for name in LOSSES}


def total_loss(found: dict[str, Tensor], weights: Tensor, settings: LossSettings) -> Tensor:
    """Total loss L, a scalar.

    Losses by name are [B], summed over unroll steps. `weights` [B] are importance weights.
    """
    coefficient = coefficients(settings)
    weighted = [coefficient[name] * loss for name, loss in found.items()]
    return (torch.stack(weighted).sum(0) * weights).mean() / settings.unroll_steps


def value_errors(outputs: list[NetworkOutput], batch: Batch) -> Tensor:
    """|V predicted - V target| [B] at the first position, for the priorities."""
    return (to_scalar(outputs[0].value.detach()) - batch.value[:, 0]).abs()


def categorical_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy [...] of logits [..., S] against scalars [...] as categorical distributions."""
    return cross_entropy(logits, to_categorical(target, logits.shape[-1] // 2))


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy [...] of logits [..., S] against a distribution [..., S]."""
    return -(target * logits.float().log_softmax(-1)).sum(-1)


def scale_gradient(x: Tensor, scale: float) -> Tensor:
    """Returns `x`, with its gradient multiplied by `scale`."""
    return x * scale + x.detach() * (1 - scale)
