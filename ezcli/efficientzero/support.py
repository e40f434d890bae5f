"""Scalars as distributions over a fixed support (MuZero appendix F).

A scalar x is squashed and written as two neighbouring atoms. A distribution p over the atoms
j = -support..support is read as the unsquashed mean (Pohlen et al. 2018, proposition A.2):

    h(x) = sign(x) (sqrt(|x| + 1) - 1) + e x,  e = 0.001
    p_j = 1 - (y - j) at j = floor(y),  y - floor(y) at j + 1,  0 elsewhere;  y = h(x)
    x = h^-1(sum_j j p_j)
    h^-1(y) = sign(y) (((sqrt(1 + 4 e (|y| + 1 + e)) - 1) / (2 e))^2 - 1)

Shapes: S = 2 * support + 1 atoms.
"""

import torch
from torch import Tensor

from ezcli.efficientzero.squash import EPSILON, unsquashed


def squash(x: Tensor) -> Tensor:
    """h(x), element by element."""
    return x.sign() * ((x.abs() + 1).sqrt() - 1) + EPSILON * x


def unsquash(y: Tensor) -> Tensor:
    """The inverse of `squash`, element by element."""
    return y.sign() * unsquashed(y.abs(), torch.sqrt)


def to_categorical(x: Tensor, support: int) -> Tensor:
    """Two-hot distribution [..., S] whose mean is the squashed `x` [...], clipped to the support.

    It is NaN for values that are not finite, without an error, which would be reported late on a
    GPU.
    """
    squashed = squash(x).clamp(-support, support) + 0 * x
    low = squashed.floor()
    share = squashed - low
    index = (low + support).nan_to_num().long()
    distribution = x.new_zeros(*x.shape, 2 * support + 1)
    distribution.scatter_(-1, index.unsqueeze(-1), (1 - share).unsqueeze(-1))
    above = (index + 1).clamp(max=2 * support)
    return distribution.scatter_add_(-1, above.unsqueeze(-1), share.unsqueeze(-1))


def to_scalar(logits: Tensor) -> Tensor:
    """Unsquashed mean [...] of the distribution with these `logits` [..., S]."""
    support = logits.shape[-1] // 2
    atoms = torch.arange(-support, support + 1, dtype=torch.float32, device=logits.device)
    return unsquash((logits.float().softmax(-1) * atoms).sum(-1))
