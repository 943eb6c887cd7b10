"""A PatchGAN's logit sees 1, 16, 70 or 286 pixels, as its kernels and strides say, and mostly the middle of them.

Each logit of a convolutional D depends on a square of the image, its receptive field. A layer sees k positions of the
map before it, and a step there is as many pixels as the strides before it multiply to:

    r = 1 + Σᵢ (kᵢ - 1) s₁ s₂ ... sᵢ₋₁            k: kernel, s: stride

pix2pix takes 4x4 kernels, first with stride 2, then two with stride 1: with 1, 3 and 5 layers of stride 2 the field is
16, 70 and 286, and 1 with 1x1 kernels. Here it is measured: the gradient of a logit is not zero exactly at the pixels
that it sees. It is largest in the middle, from where more paths lead to the logit than from a corner.

Control: the strides are the cause. The same kernels with stride 1 see 1 + 3 x (number of layers) pixels. The norms are
left out here, because the statistics of instance norm depend on the whole image: a logit of a real PatchGAN also sees,
faintly, what lies outside of its patch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor, nn

from gankit.lab.evidence import Check, Evidence, near
from gankit.lab.material import images
from gankit.lab.panels import CRITIC, panels, picture, show
from gankit.nn import OwnBatchNorm2d, PatchDiscriminator
from gankit.nn.patch import PATCHES

SOURCE = "Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, CVPR 2017, figure 6; Luo 2016"
SECONDS = 12
Box = tuple[int, int, int, int]  # top, left, height, width


def experiment(*, patches: tuple[int, ...] = (1, 16, 70, 286), side: int = 400, seed: int = 0) -> Evidence:
    """The receptive field of the middle logit, from the formula and from gradients.

    Args:
        patches: receptive fields of pix2pix's discriminators: 1, 16, 34, 70, 142, 286.
        side: of the image, in which the largest patch must lie. Raises ValueError otherwise.
        seed: of the weights.
    """
    if not set(patches) <= set(PATCHES) or not max(patches) + 64 <= side <= 427:
        raise ValueError(
            f"patches are {patches} and side {side}: take patches of {', '.join(map(str, PATCHES))} px, and a side "
            "that is 64 px more than the largest patch, and at most 427 px"
        )
    torch.manual_seed(seed)
    photo = images("photo:china:whole", side)[0].double()
    maps, boxes, middle, checks = [], [], [], []
    for patch in patches:
        d = PatchDiscriminator(3, 4, PATCHES[patch], norm=None).double()
        convolutions = [layer for layer in d.modules() if isinstance(layer, nn.Conv2d)]
        seen = influence(d, photo)
        top, left, high, wide = box = bounds(seen > 0)
        inner = seen[top + high // 4 : top + high - high // 4, left + wide // 4 : left + wide - wide // 4]
        maps.append(seen)
        boxes.append(box)
        middle.append((inner.sum() / seen.sum()).item())
        checks.append(near(f"{patch} px by the formula", formula(convolutions), patch, 0))
        for layer in convolutions:
            layer.stride = (1, 1)
        narrow = bounds(influence(d, photo) > 0)[2]
        checks += [
            near(f"{patch} px measured, mean of height and width", (high + wide) / 2, patch, 0),
            near(f"{patch} px with stride 1", narrow, 1 + 3 * (PATCHES[patch] + 2) if patch > 1 else 1, 0),
        ]
    checks.append(Check("least share of the gradient in the middle quarter of a patch's area", min(middle), 0.25, 1))
    normed = influence(PatchDiscriminator(3, 4, 1, OwnBatchNorm2d).double().eval(), photo)
    share = (normed > 0).double().mean().item()
    checks.append(near("share of the image that a logit of 16 px sees through norms", share, 1, 0.01))
    return Evidence(
        checks,
        drawn(patches, photo[0], maps, boxes),
        "Left: the patches of one logit on a photograph. Then the size of this logit's gradient at each pixel, on a "
        "logarithmic scale over five decades; the frame is the receptive field by the formula.",
        {"share in the middle quarter": dict(zip(map(str, patches), middle))},
    )


def formula(convolutions: Sequence[nn.Conv2d]) -> int:
    """The receptive field of a logit from the kernels and strides of D."""
    field = step = 1
    for layer in convolutions:
        field += (layer.kernel_size[0] - 1) * step
        step *= layer.stride[0]
    return field


def influence(d: nn.Module, image: Tensor) -> Tensor:
    """(H, W) size of the gradient of the middle logit with respect to each pixel of the image (1, 3, H, W)."""
    image = image.detach().requires_grad_()
    logits = d(image)[0, 0]
    (gradient,) = torch.autograd.grad(logits[logits.shape[0] // 2, logits.shape[1] // 2], image)
    return gradient[0].abs().sum(0)


def bounds(mask: Tensor) -> Box:
    """(top, left, height, width) of the smallest box around what is true in (H, W)."""
    rows, columns = (mask.any(dim).nonzero().flatten() for dim in (1, 0))
    return int(rows[0]), int(columns[0]), int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1


def drawn(patches: tuple[int, ...], photo: Tensor, maps: list[Tensor], boxes: list[Box]) -> Image.Image:
    """The patches on the photograph, the gradients, and their profiles."""
    large = [i for i, patch in enumerate(patches) if patch > 1]
    titles = ["Patches of one logit", *(f"|gradient|, {patches[i]} px" for i in large)]
    figure, axes = panels(titles, width=2.6)
    show(axes[0], photo * 0.6 + 0.3)
    for patch, (top, left, high, wide) in zip(patches, boxes):
        axes[0].add_patch(Rectangle((left - 0.5, top - 0.5), wide, high, fill=False, ec=CRITIC, lw=2))
        axes[0].text(left, top - 4, f"{patch} px", color=CRITIC, weight="bold")
    for panel, i in zip(axes[1:], large):
        top, left, high, wide = boxes[i]
        panel.imshow((maps[i] / maps[i].max()).clamp_min(1e-5).log10().numpy(), vmin=-5, vmax=0)
        panel.add_patch(Rectangle((left - 0.5, top - 0.5), wide, high, fill=False, ec="white", ls=":", lw=1))
        panel.set_axis_off()
    return picture(figure)
