"""Normalisation layers: batch norm over all processes, conditional, virtual; instance norm; statistics taken anew."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gankit.nn.across import gathered, several


def _normalise(norm: nn.modules.batchnorm._BatchNorm, x: Tensor) -> Tensor:
    """x normalised over all processes' rows, as one process with all of them would."""
    wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    dims = [d for d in range(x.dim()) if d != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    rows = x.numel() // x.shape[1]

    # Each process's count, mean and variance, side by side in one message; then Chan's rule to join them, which
    # unlike E x^2 - (E x)^2 loses no digits.
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

    torch's `SyncBatchNorm` refuses the CPU and has no second derivative, which gradient penalties need.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same, each channel of mean 0 and variance 1 over the rows of all processes."""
        return _normalise(self, x) if self.training and several() else super().forward(x)


class OwnBatchNorm2d(BatchNorm2d):
    """Batch norm that keeps no running statistics: in eval mode each image is normalised by its own (Isola et al. 2017).

    There it is instance norm, so that an image's translation depends on no other image; with a batch of one always.

    Args:
        channels: channels to normalise.
        whole: in training by the whole batch's statistics; else by each image's own there, too.
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

    The reference batch goes through the network in front of the samples: rows [:reference] of the input are it, and
    are normalised by their own statistics.

    Args:
        channels: channels to normalise.
        reference: M, rows of the reference batch.
        eps: added to the variance.
    """

    def __init__(self, channels: int, reference: int, eps: float = 1e-5):
        super().__init__()
        self.reference, self.eps = reference, eps
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
        return (x - mean) * torch.rsqrt(variance + self.eps) * self.weight.view(shape) + self.bias.view(shape)


def instance_norm(channels: int, affine: bool = False) -> nn.GroupNorm:
    """Instance norm over (N, C, H, W): torch's own has a wrong channels_last backward on the CPU, this is the same."""
    return nn.GroupNorm(channels, channels, affine=affine)


@torch.no_grad()
def standing(module: nn.Module, forward: Callable[[int], object], batches: int) -> None:
    """Batch norms' running means and variances taken anew: the means of those of `batches` batches, all of equal weight.

    "Standing statistics" of Brock et al. 2019: the running ones of training trail behind the weights and know nothing of
    truncated latents. Only these norms are put in training mode; all else in `module` stays in the mode it is in.

    Args:
        module: a network, or a whole recipe; norms that no forward pass reaches keep what they have.
        forward: makes pass i, from 0 on, of a batch through the module.
        batches: how many; 100 in the paper.

    Raises:
        ValueError: there are no such norms in the passes.
    """
    kept = {}
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.track_running_stats:
            kept[norm] = norm.training, norm.momentum, {name: b.clone() for name, b in norm.named_buffers()}
            norm.reset_running_stats()
            norm.train().momentum = None  # torch's word for the mean over all batches
    try:
        for i in range(batches):
            forward(i)
        if not any(norm.num_batches_tracked for norm in kept):
            raise ValueError(
                "its samples go through no batch norm with running statistics, so there are none to take anew"
            )
    finally:
        for norm, (training, momentum, buffers) in kept.items():
            norm.train(training).momentum = momentum
            if norm.num_batches_tracked < batches:  # not reached, or broken off
                for name, buffer in norm.named_buffers():
                    buffer.copy_(buffers[name])
