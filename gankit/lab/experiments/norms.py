"""Batch, layer and instance norm differ in the axes that they average over, and so in what the output still shows.

Each norm subtracts a mean and divides by a deviation. For maps (N, C, H, W) these are taken over

    batch norm      N, H, W    one for each channel: pictures of a batch keep their contrasts relative to each other
    layer norm      C, H, W    one for each picture: its contrast is lost, the ratios of its channels are kept
    instance norm   H, W       one for each picture and channel: its contrast and its colours are lost

What a norm averages over it cannot tell apart afterwards. Instance norm takes away exactly what a change of contrast or
of colours, x -> a_c x + b_c, has put there: what is left is content, and the mean and the deviation of each channel are
style. Adaptive instance norm (AdaIN) then gives the picture those of another picture:

    AdaIN(x, y) = σ(y) (x - μ(x)) / σ(x) + μ(y)

Here the channels are those of a photograph; in a network they are features, and the same holds for textures.

Control: the same photograph three times in one batch: as it is, with less contrast, and tinted. A norm that removes a
change gives the same output for it; batch norm removes neither.
"""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from gankit.lab.evidence import Check, Evidence
from gankit.lab.material import images
from gankit.lab.panels import FAKE, panels, picture, show
from gankit.nn import BatchNorm2d, instance_norm
from gankit.nn.style import adain, moments

SOURCE = (
    "Wu and He, Group Normalization, ECCV 2018, figure 2; Huang and Belongie, ICCV 2017, eq. 8; Ulyanov et al. 2016"
)
SECONDS = 2
AXES = {"batch norm": (0, 2, 3), "layer norm": (1, 2, 3), "instance norm": (2, 3)}
CHANGES = ("as it is", "low contrast", "tinted")


def experiment(*, contrast: float = 0.35, side: int = 56) -> Evidence:
    """What is left of a photograph, of its contrast and of its tint after each norm.

    Args:
        contrast: of the second version, more than 0 and less than 1.
        side: of the photographs. Raises ValueError if it is more than 427, the photographs' own.
    """
    if not 0 < contrast < 1 or not 8 <= side <= 427:
        raise ValueError(f"contrast is {contrast} and side {side}: expected 0 < contrast < 1 and a side from 8 to 427")
    photo, style = (images(f"photo:{name}:whole", side)[0].double() for name in ("china", "flower"))
    tint = torch.tensor([1.0, 0.55, 0.25], dtype=torch.float64).view(3, 1, 1)
    batch = torch.cat([photo, contrast * photo, tint * (photo + 1) - 1])
    norms = dict(zip(AXES, (BatchNorm2d(3, affine=False), nn.GroupNorm(1, 3, affine=False), instance_norm(3))))
    for norm in norms.values():
        norm.eps = 1e-12  # type: ignore[assignment]
    outputs = {name: norm.double()(batch) for name, norm in norms.items()}
    outputs["AdaIN"] = adain(batch, *moments(style))
    checks = []
    for name, axes in AXES.items():
        variance, mean = torch.var_mean(outputs[name], axes, correction=0)
        error = max(mean.abs().max().item(), (variance - 1).abs().max().item())
        checks.append(Check(f"{name}: error of mean 0 and variance 1 over {axes}", error, 0, 1e-6))
    for i, change in enumerate(CHANGES[1:], 1):
        for name in AXES:
            difference = (outputs[name][i] - outputs[name][0]).square().mean().sqrt().item()
            is_removed = name == "instance norm" or (name == "layer norm" and i == 1)
            bounds = (0, 1e-6) if is_removed else (0.1, float("inf"))
            checks.append(Check(f"{name}: RMS of {change} minus the original, after it", difference, *bounds))
    given = zip(moments(outputs["AdaIN"]), moments(style))
    error = max((own - other).abs().max().item() for own, other in given)
    checks.append(Check("AdaIN: difference from the other picture's means and deviations", error, 0, 1e-3))
    return Evidence(
        checks,
        drawn(batch, outputs, style),
        "Above: the values that share one mean and deviation, in colour, among N pictures, C channels and HW pixels. "
        "Below: one batch, the photograph with three contrasts and colours, and what each norm makes of it.",
    )


def drawn(batch: Tensor, outputs: dict[str, Tensor], style: Tensor) -> Image.Image:
    """A column for the input and for each norm: the axes, then the three pictures of the batch."""
    columns = ["input", *outputs]
    figure, axes = panels([*columns, *[""] * (3 * len(columns))], len(columns), 1.4, 1.3)
    show(axes[0], style[0])
    axes[0].set_title("style of AdaIN")
    for i, name in enumerate(outputs, 1):
        axes[i] = cube(figure, axes[i], AXES.get(name, (2, 3)))
        axes[i].set_title(name)
    for row, change in enumerate(CHANGES):
        for column, name in enumerate(columns):
            panel = axes[(row + 1) * len(columns) + column]
            is_scaled = name in ("input", "AdaIN")
            show(panel, batch[row] if name == "input" else outputs[name][row] / (1 if is_scaled else 2))
        axes[(row + 1) * len(columns)].set_ylabel(change)
    return picture(figure)


def cube(figure: Figure, axes: Axes, averaged: tuple[int, ...]) -> Axes:
    """N x C x HW values, with those in colour that share a mean with the first one, in place of a panel."""
    place = axes.get_subplotspec()
    axes.remove()
    solid = figure.add_subplot(place, projection="3d")
    n, c, _ = np.indices((4, 4, 4))
    shared = ((n == 0) | (0 in averaged)) & ((c == 3) | (1 in averaged))
    solid.voxels(
        np.ones((4, 4, 4), bool), facecolors=np.where(shared, FAKE, "#eef1f5"), edgecolor="#8a93a0", shade=False
    )
    for axis, name in zip((solid.xaxis, solid.yaxis, solid.zaxis), ("N", "C", "HW")):
        axis.set(ticks=[], label_text=name)
        axis.labelpad = -16
    return solid
