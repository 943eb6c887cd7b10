"""Spectral norm bounds the slopes of D: divided by its largest singular value, no linear layer stretches a difference.

The Lipschitz constant of a network is at most the product of those of its layers: the largest singular value σ(W) of a
linear layer, 1 for a LeakyReLU. Spectral norm divides each W by an estimate of σ(W), which every forward pass in
training improves by one step of the power iteration,

    v ← Wᵀu / |Wᵀu|,    u ← Wv / |Wv|,    σ ≈ uᵀWv ≤ σ(W)

For a convolution, W is the kernel reshaped to (out, in x k x k), which is not the operator: with a stride of s a pixel
enters up to ⌈k/s⌉² overlapping windows, so that σ(W) ≤ σ(convolution) ≤ ⌈k/s⌉ σ(W). A convolutional D with spectral
norm may have slopes above 1. The product of its operators' norms still bounds them.

Control: the same D, trained alike, without spectral norm. Its slopes are many times larger.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.nn import grad

from gankit import losses
from gankit.lab.evidence import Check, Evidence
from gankit.lab.panels import CRITIC, FAKE, OTHER, THEORY, panels, picture
from gankit.lab.toy import Critic, leaky, logits, mlp, train_d
from gankit.nn import spectral_norm

SOURCE = "Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018, sections 2.1 and 2.2"
SECONDS = 7
KERNELS = ((3, 32, 3, 1), (32, 32, 4, 2), (32, 64, 3, 1), (64, 64, 4, 2))  # in, out, k, stride


def experiment(*, passes: int = 60, steps: int = 200, seed: int = 0) -> Evidence:
    """The estimate of spectral norm beside the true singular value, operators of convolutions, and slopes of D.

    Args:
        passes: forward passes in training mode; the power iteration needs about 30.
        steps: updates of each D.
        seed: of the weights and the points.
    """
    torch.manual_seed(seed)
    linear = nn.Linear(128, 64)
    spectral_norm(linear)
    norms = [largest(linear) for _ in range(passes)]  # each looks at the weight once, a step of the iteration
    layers = [nn.Conv2d(i, o, k, s, padding=1) for i, o, k, s in KERNELS]
    convolutions = spectral_norm(nn.Sequential(*(part for layer in layers for part in (layer, leaky()))))
    matrix = [[largest(layer) for _ in range(passes)][-1] for layer in layers]
    operator = [operator_norm(layer, torch.randn(1, layer.in_channels, 16, 16)) for layer in layers]
    bound = [math.ceil(k / s) for _, _, k, s in KERNELS]
    convolutions.eval()
    steepest = slopes(lambda x: convolutions(x).flatten(1).norm(dim=1), torch.randn(64, 3, 16, 16)).max().item()
    found, real, fake = {}, lambda n: 0.3 * torch.randn(n, 2) + 0.5, lambda n: 0.3 * torch.randn(n, 2) - 0.5
    for name in ("spectral norm", "control"):
        d = mlp(2, 64, 64, 64, 1, activation=leaky)
        if name != "control":
            spectral_norm(d)
        train_d(d, real, fake, losses.hinge, steps=steps, batch=128)
        found[name] = slopes(logits(d.eval()), 3 * torch.randn(2000, 2))
    return Evidence(
        [
            Check(f"largest singular value of a linear layer after {passes} passes", norms[-1], 0.999, 1.02),
            Check("the same of four reshaped kernels", max(matrix), 0.99, 1.05),
            *(Check(f"norm of the operator of {k}", v, 1, b) for k, v, b in zip(KERNELS, operator, bound)),
            Check("largest slope of all four over the product of their norms", steepest / math.prod(operator), high=1),
            Check("largest slope of D with spectral norm", found["spectral norm"].max().item(), 0.2, 1.01),
            Check("control: largest slope of D without", found["control"].max().item(), low=2),
        ],
        drawn(norms, matrix, operator, bound, found),
        "Left: the largest singular value of a weight with spectral norm, over forward passes. Middle: norms of four "
        "convolutions, as matrices and as operators, below ⌈k/s⌉ (dotted). Right: slopes of two D at 2,000 points.",
        {"operator": operator, "largest slope of the convolutions": steepest},
    )


def largest(layer: nn.Linear | nn.Conv2d) -> float:
    """The largest singular value of a layer's weight as a matrix, which is computed anew and so advances `u`."""
    return torch.linalg.svdvals(layer.weight.detach().flatten(1))[0].item()


def operator_norm(layer: nn.Conv2d, x: Tensor) -> float:
    """The largest singular value of a convolution without its bias, on images like x, by 100 power iterations."""
    weight = layer.eval().weight.detach()
    for _ in range(100):
        y = F.conv2d(x / x.norm(), weight, None, layer.stride, layer.padding)
        x = grad.conv2d_input(x.shape, weight, y, layer.stride, layer.padding)
    return x.norm().sqrt().item()


def slopes(function: Critic, at: Tensor) -> Tensor:
    """(N,) norms of the gradient of a function at (N, ...) places."""
    at.requires_grad_()
    return torch.autograd.grad(function(at).sum(), at)[0].flatten(1).norm(dim=1)


def drawn(
    norms: list[float], matrix: list[float], operator: list[float], bound: list[int], found: dict[str, Tensor]
) -> Image.Image:
    figure, axes = panels(["σ(W) with spectral norm", "Convolutions with spectral norm", "|∇D|, trained"])
    axes[0].plot(range(1, len(norms) + 1), norms, color=CRITIC)
    axes[0].axhline(1, ls=":", color=THEORY)
    axes[0].set_xlabel("forward passes")
    places = torch.arange(len(KERNELS))
    axes[1].bar(places - 0.2, matrix, 0.4, color=OTHER, label="reshaped kernel")
    axes[1].bar(places + 0.2, operator, 0.4, color=FAKE, label="operator")
    axes[1].hlines(bound, places - 0.4, places + 0.4, color=THEORY, ls=":")
    axes[1].set_xticks(places, [f"{k}x{k}\nstride {s}" for _, _, k, s in KERNELS])
    axes[1].set_ylim(0, 4)
    axes[1].legend(loc="upper right")
    for (name, values), colour in zip(found.items(), (CRITIC, FAKE)):
        axes[2].hist(values.numpy(), bins=40, color=colour, alpha=0.6, label=name)
    axes[2].axvline(1, ls=":", color=THEORY)
    axes[2].set(xlabel="|∇D|", ylabel="points", yscale="log")
    axes[2].legend()
    return picture(figure)
