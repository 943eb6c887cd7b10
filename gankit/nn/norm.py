"""Normalisation layers: batch norm over all processes, conditional and virtual; instance norm; standing statistics."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gankit.nn.across import gathered, several
from gankit.nn.precision import widened


def _normalise(norm: nn.modules.batchnorm._BatchNorm, x: Tensor) -> Tensor:
    """Batch norm of x over the rows of all processes, equal to that of a single process with all rows."""
    wide = widened(x)
    dims = [d for d in range(x.dim()) if d != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    rows = x.numel() // x.shape[1]

    # One message with each process's count, mean and variance, combined by Chan's rule, which loses no digits, unlike
    # E x^2 - (E x)^2.
    variance, mean = torch.var_mean(wide, dims, correction=0)
    table = gathered(torch.cat([mean.new_tensor([rows]), mean, variance]))
    share = table[:, :1] / table[:, :1].sum()
    means, variances = table[:, 1:].chunk(2, dim=1)
    mean = (share * means).sum(0)
    variance = (share * (variances + (means - mean).square())).sum(0)

    if norm.track_running_stats:
        with torch.no_grad():
            total = table[:, 0].sum()
            norm.num_batches_tracked += 1
            share_of_new = norm.momentum if norm.momentum is not None else 1 / norm.num_batches_tracked.item()
            norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share_of_new)
            norm.running_var.lerp_((variance * total / (total - 1)).to(norm.running_var.dtype), share_of_new)

    out = (wide - mean.view(shape)) * torch.rsqrt(variance + norm.eps).view(shape)
    if norm.affine:
        out = out * norm.weight.view(shape) + norm.bias.view(shape)
    return out.to(x.dtype)


class BatchNorm1d(nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` whose training statistics are those of all processes' rows; differentiable twice."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C) or (N, C, L) to the same, each channel of mean 0 and variance 1 over the rows of all processes."""
        return _normalise(self, x) if self.training and several() else super().forward(x)


class BatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` whose training statistics are those of all processes' rows; differentiable twice.

    torch's `SyncBatchNorm` does not run on the CPU and has no second derivative, which gradient penalties need.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same, each channel of mean 0 and variance 1 over the rows of all processes."""
        return _normalise(self, x) if self.training and several() else super().forward(x)


class OwnBatchNorm2d(BatchNorm2d):
    """Batch norm without running statistics; in eval mode it is instance norm (Isola et al. 2017).

    The translation of an image then depends on no other image. With a batch of one it is always instance norm.

    Args:
        channels: channels to normalise.
        whole: use the whole batch's statistics in training; otherwise each image's own.
    """

    def __init__(self, channels: int, whole: bool = True):
        super().__init__(channels, track_running_stats=False)
        self.whole = whole

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        if self.training and self.whole:
            return super().forward(x)
        return torch.group_norm(x, x.shape[1], self.weight, self.bias, self.eps)


class ConditionalBatchNorm2d(nn.Module):
    """Batch norm with a gain and a bias for each class (Dumoulin et al. 2017; de Vries et al. 2017).

    Args:
        channels: channels to normalise.
        num_classes: rows of the two tables; gains begin at 1, biases at 0.
        eps: added to the variance.
    """

    def __init__(self, channels: int, num_classes: int, eps: float = 1e-5):
        super().__init__()
        self.norm = BatchNorm2d(channels, eps=eps, affine=False)
        self.gain = nn.Embedding(num_classes, channels)
        self.bias = nn.Embedding(num_classes, channels)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """(N, C, H, W) and (N,) labels to (N, C, H, W)."""
        return self.gain(label)[:, :, None, None] * self.norm(x) + self.bias(label)[:, :, None, None]


class VirtualBatchNorm(nn.Module):
    """Normalises each sample by a fixed reference batch and the sample itself (Salimans et al. 2016, section 3.5).

    The reference batch precedes the samples: it is rows [:reference] of the input, normalised by its own statistics.

    Args:
        channels: channels to normalise.
        reference: M, rows of the reference batch.
    """

    def __init__(self, channels: int, reference: int):
        super().__init__()
        self.reference = reference
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(M + N, C, ...) to the same. Mean and mean square of a sample: (M * reference's + its own) / (M + 1)."""
        dims, shape = list(range(2, x.dim())), [1, -1] + [1] * (x.dim() - 2)
        moments = torch.stack([x, x.square()]).flatten(3).mean(3) if dims else torch.stack([x, x.square()])
        fixed = moments[:, : self.reference].mean(1, keepdim=True)
        own = (self.reference * fixed + moments[:, self.reference :]) / (self.reference + 1)
        mean, square = torch.cat([fixed.expand(-1, self.reference, -1), own], dim=1)
        mean, variance = mean.view(*mean.shape, *shape[2:]), (square - mean.square()).view(*mean.shape, *shape[2:])
        return (x - mean) * torch.rsqrt(variance + 1e-5) * self.weight.view(shape) + self.bias.view(shape)


def instance_norm(channels: int, affine: bool = False) -> nn.GroupNorm:
    """Instance norm of (N, C, H, W) as a group norm, because torch's has a wrong channels_last backward on the CPU."""
    return nn.GroupNorm(channels, channels, affine=affine)


@torch.no_grad()
def standing(module: nn.Module, forward: Callable[[int], object], batches: int) -> None:
    """Recompute the running statistics of batch norms as the mean over `batches` batches, each of equal weight.

    "Standing statistics" of Brock et al. 2019: the running statistics of training lag behind the weights and ignore
    truncated latents. Only the batch norms are put in training mode; all other layers keep their mode.

    Args:
        module: a network or a whole recipe; norms that no forward pass reaches keep their statistics.
        forward: runs forward pass i, starting at 0, of a batch through the module.
        batches: number of batches; 100 in the paper.

    Raises:
        ValueError: the passes reach no batch norm with running statistics.
    """
    kept = {}
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.track_running_stats:
            kept[norm] = norm.training, norm.momentum, {name: b.clone() for name, b in norm.named_buffers()}
            norm.reset_running_stats()
            norm.train().momentum = None  # the mean over all batches
    try:
        for i in range(batches):
            forward(i)
        if not any(norm.num_batches_tracked for norm in kept):
            raise ValueError(
                "the samples pass through no batch norm with running statistics, so there are none to recompute"
            )
    finally:
        for norm, (training, momentum, buffers) in kept.items():
            norm.train(training).momentum = momentum
            if norm.num_batches_tracked < batches:  # not reached, or interrupted
                for name, buffer in norm.named_buffers():
                    buffer.copy_(buffers[name])
