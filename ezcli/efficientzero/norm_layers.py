"""Normalisations that PyTorch does not have, and a standardised convolution.

Shapes: B latents, C channels or units.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5  # added to every variance
RENORM_SCALE, RENORM_SHIFT = 3.0, 5.0  # largest corrections r and d (Ioffe 2017, section 4)
RENORM_PASSES = 1000  # passes until the limits are reached; our choice

Role = int | Tensor  # role of a latent: one for all, or one for each, [B] int64


class Running(nn.Module):
    """A batch-norm with shared weights and R rows of running statistics.

    Args:
      plain: a new batch-norm of PyTorch, equal to this one for one row in evaluation mode.
      rows: R.
    """

    running_mean: Tensor  # [R, C]
    running_var: Tensor  # [R, C]

    def __init__(self, plain: nn.BatchNorm2d | nn.BatchNorm1d, rows: int) -> None:
        super().__init__()
        channels, self.plain, self.momentum = plain.num_features, type(plain), plain.momentum or 0.0
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(rows, channels))
        self.register_buffer("running_var", torch.ones(rows, channels))

    def plain_norm(self, x: Tensor, row: int) -> Tensor:
        """Applies the batch-norm to x [B, C, ...] with one row, updated in training mode."""
        return F.batch_norm(
            x,
            self.running_mean[row],
            self.running_var[row],
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            EPSILON,
        )

    def settled(self, row: int) -> nn.BatchNorm2d | nn.BatchNorm1d:
        """The equivalent batch-norm for one row in evaluation mode."""
        made = self.plain(len(self.weight), EPSILON).eval()
        made.weight, made.bias = self.weight, self.bias
        made.running_mean, made.running_var = self.running_mean[row], self.running_var[row]
        return made


class ByRole(Running):
    """A batch-norm with running statistics for each role of a latent."""

    def __init__(self, plain: nn.BatchNorm2d | nn.BatchNorm1d) -> None:
        super().__init__(plain, rows=2)

    def forward(self, x: Tensor, role: Role) -> Tensor:
        """Normalises [B, C, ...]. A role for each latent is allowed in evaluation only."""
        if isinstance(role, int):
            return self.plain_norm(x, role)
        scale = self.weight * (self.running_var + EPSILON).rsqrt()
        return affine(x, scale, self.bias - self.running_mean * scale, role)


class Affine(nn.Module):
    """A frozen `ByRole` in evaluation mode: a scale and a shift for each role."""

    def __init__(self, norm: ByRole) -> None:
        super().__init__()
        scale = norm.weight * (norm.running_var + EPSILON).rsqrt()
        shift = norm.bias - norm.running_mean * scale
        self.scale = nn.Parameter(scale, requires_grad=False)  # [2, C]
        self.shift = nn.Parameter(shift, requires_grad=False)  # [2, C]

    def forward(self, x: Tensor, role: Role) -> Tensor:
        """Normalises [B, C, ...]."""
        return affine(x, self.scale, self.shift, role)


def affine(x: Tensor, scale: Tensor, shift: Tensor, role: Role) -> Tensor:
    """Returns x [B, C, ...] times the role's row of scale [2, C] plus its row of shift [2, C]."""
    shape = (-1, x.shape[1], *[1] * (x.ndim - 2))
    return torch.addcmul(shift[role].view(shape), x, scale[role].view(shape))


class Renorm(Running):
    """Batch renormalisation: a batch-norm corrected towards its running statistics (Ioffe 2017)."""

    passes: Tensor  # passes in training mode so far

    def __init__(self, plain: nn.BatchNorm2d | nn.BatchNorm1d) -> None:
        super().__init__(plain, rows=1)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises [B, C, ...]."""
        running_mean, running_var = self.running_mean[0], self.running_var[0]
        if not self.training:
            return self.plain_norm(x, 0)
        axes = [axis for axis in range(x.ndim) if axis != 1]
        mean, var = x.float().mean(axes), x.float().var(axes, unbiased=False)
        std, known = (var + EPSILON).sqrt(), (running_var + EPSILON).sqrt()
        with torch.no_grad():
            self.passes += 1
            share = (self.passes / RENORM_PASSES).clamp(max=1)
            largest = 1 + share * (RENORM_SCALE - 1)
            r = torch.minimum(torch.maximum(std / known, 1 / largest), largest)
            bound = share * RENORM_SHIFT
            d = torch.minimum(torch.maximum((mean - running_mean) / known, -bound), bound)
            running_mean.lerp_(mean, self.momentum)
            running_var.lerp_(var, self.momentum)
        scale = self.weight * r / std
        shift = self.bias + self.weight * d - mean * scale
        return affine(x, scale[None].to(x.dtype), shift[None].to(x.dtype), 0)


class RMSNorm(nn.Module):
    """Divides each latent by its root mean square (Zhang and Sennrich 2019), with a shift.

    The shift replaces the bias, which the convolutions do not have.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises [B, C, ...]."""
        square = x.float().square().mean(tuple(range(1, x.ndim)), keepdim=True)
        shape = (1, -1, *[1] * (x.ndim - 2))
        whole = x * (square + EPSILON).rsqrt().to(x.dtype)
        return torch.addcmul(self.bias.view(shape), whole, self.weight.view(shape))


class StandardisedConv2d(nn.Conv2d):
    """A convolution whose filters have mean 0 and their initial variance."""

    def forward(self, x: Tensor) -> Tensor:
        """Like `nn.Conv2d`."""
        return self._conv_forward(x, self.standardised(), self.bias)

    def plain(self) -> nn.Conv2d:
        """An ordinary convolution with the standardised filters."""
        size, stride = self.kernel_size[0], self.stride[0]
        made = nn.Conv2d(
            self.in_channels, self.out_channels, size, stride=stride, padding=size // 2, bias=False
        )
        made.weight = nn.Parameter(self.standardised(), requires_grad=False)
        return made

    def standardised(self) -> Tensor:
        """The standardised filters, in the shape of `weight`."""
        weight = self.weight
        centred = weight - weight.mean((1, 2, 3), keepdim=True)
        fan_in = weight[0].numel()
        return centred / (centred.square().mean((1, 2, 3), keepdim=True) * fan_in + EPSILON).sqrt()
