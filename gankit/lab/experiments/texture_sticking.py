"""Aliasing ties details to the pixel grid: with filters a layer moves with its input by any fraction of a pixel.

A map of samples stands for a continuous signal as long as it holds no frequency above half a cycle a sample. A layer f
should treat the signal alike wherever it lies between the samples: f(shift(x)) = shift(f(x)). Two steps break this:

    nonlinearity    ReLU makes harmonics, which fold back below 1/2 as other frequencies
    resampling      every second sample of a signal with frequencies above 1/4 folds these, too

What is folded depends on where the samples lie and does not move along, so that texture sticks to the grid while
objects move. StyleGAN3 raises the rate with a filter, applies the nonlinearity, and filters before it lowers the rate
again. Here both steps are taken without a filter, with StyleGAN2's taps 1 3 3 1, and with an ideal filter (ReLU at 16
times the rate).

Control: shifts by whole samples (by two where a map is halved), under which aliasing is invisible: all errors are 0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor

from gankit.lab.evidence import Check, Evidence
from gankit.lab.panels import FAKE, OTHER, REAL, panels, picture
from gankit.nn import Fir

SOURCE = "Karras et al., Alias-Free Generative Adversarial Networks (StyleGAN3), NeurIPS 2021, section 2 and figure 1"
SECONDS = 3
LAYERS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "ReLU": (lambda x: x.relu(), 1),
    "ReLU between 1 3 3 1": (lambda x: small(small(x, up=2).relu(), down=2), 1),
    "ReLU between ideal filters": (lambda x: ideal(ideal(x, 16).relu(), 1 / 16), 1),
    "halving": (lambda x: x[..., ::2], 2),
    "halving after 1 3 3 1": (lambda x: small(x, down=2), 2),
    "halving after an ideal filter": (lambda x: ideal(x, 0.5), 2),
}


def experiment(*, side: int = 64, shifts: int = 15, signals: int = 64, seed: int = 0) -> Evidence:
    """The error of equivariance under shifts by fractions of a sample, and what a moving signal looks like.

    Args:
        side: samples of a signal, which is periodic: a multiple of 16. Raises ValueError otherwise.
        shifts: up to 2 samples, in equal steps.
        signals: over which errors are means.
        seed: of the signals.
    """
    if side % 16 or side < 16:
        raise ValueError(f"side is {side}; it is a multiple of 16")
    torch.manual_seed(seed)
    x = ideal(torch.randn(signals, side // 4 * 3, dtype=torch.float64), 4 / 3)
    by = [2 * i / shifts for i in range(shifts + 1)]
    errors = {name: [error(layer, x, b, step) for b in by] for name, (layer, step) in LAYERS.items()}
    worst = {name: max(values) for name, values in errors.items()}
    checks = [
        Check(f"{name}: largest error / output", worst[name], *bounds)
        for name, bounds in zip(LAYERS, ((0.1, 1), (0, 1), (0, 0.05), (0.3, 2), (0, 1), (0, 1e-6)))
    ]
    for name in ("ReLU", "halving"):
        filtered = next(other for other in LAYERS if other.startswith(name) and other.endswith("1 3 3 1"))
        checks.append(Check(f"{filtered}: its error / without", worst[filtered] / worst[name], 0, 0.8))
    checks.append(Check("largest error of any for a shift by 2 samples", max(v[-1] for v in errors.values()), 0, 1e-6))
    return Evidence(
        checks,
        drawn(x[:1], by, errors),
        "Left: the difference of f(shift(x)) and shift(f(x)), relative to the output, by the shift. Then one signal "
        "below another, each moved by 1/8 sample, after each way of halving: straight lines move, steps stick.",
        {"largest error": worst},
    )


def shift(x: Tensor, by: float) -> Tensor:
    """Periodic signals (N, W), moved to the right by any number of samples."""
    frequencies = torch.arange(x.shape[1] // 2 + 1)
    turned = torch.fft.rfft(x) * torch.exp(-2j * torch.pi * frequencies * by / x.shape[1])
    return torch.fft.irfft(turned, x.shape[1])


def ideal(x: Tensor, factor: float) -> Tensor:
    """Periodic signals (N, W) at W x factor samples, without the frequencies that these cannot hold."""
    length = round(x.shape[1] * factor)
    bins = torch.fft.rfft(x)[:, : (min(length, x.shape[1]) + 1) // 2]  # without the highest, which has no phase
    return torch.fft.irfft(bins, length) * (length / x.shape[1])


def small(x: Tensor, up: int = 1, down: int = 1) -> Tensor:
    """Periodic signals (N, W) filtered with the taps 1 3 3 1 as StyleGAN2 does, and resampled."""
    plane = torch.cat([x[:, -8:], x, x[:, :8]], 1)[:, None, None].expand(-1, -1, 16, -1)
    edge = 8 * up // down
    return Fir(up=up, down=down).double()(plane)[:, 0, edge, edge:-edge]


def error(layer: Callable[[Tensor], Tensor], x: Tensor, by: float, step: int) -> float:
    """RMS of f(shift(x)) - shift(f(x)), divided by that of f(x)."""
    output = layer(x)
    difference = layer(shift(x, by)) - shift(output, by / step)
    return (difference.square().mean() / output.square().mean()).sqrt().item()


def drawn(x: Tensor, by: list[float], errors: dict[str, list[float]]) -> Image.Image:
    """Errors by shift, and a moving signal after each way of halving."""
    halvings = [name for name in LAYERS if name.startswith("halving")]
    figure, axes = panels(["Error of the nonlinearity", "Error of halving", *halvings], width=2.4)
    for i, (name, values) in enumerate(errors.items()):
        axes[i // 3].plot(by, values, color=(FAKE, OTHER, REAL)[i % 3], label=name)
    for panel in axes[:2]:
        panel.set(xlabel="shift in samples", ylim=(0, 1.6 * panel.get_ylim()[1]))
        panel.legend(fontsize=7)
    for panel, name in zip(axes[2:], halvings):
        rows = torch.cat([LAYERS[name][0](shift(x, i / 8)) for i in range(96)])
        panel.imshow(rows.numpy(), cmap="gray", aspect="auto", interpolation="nearest")
        panel.set(xlabel="sample", ylabel="time")
        panel.grid(False)
    return picture(figure)
