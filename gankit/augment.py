"""What a discriminator sees in place of the images: differentiable augmentation, adaptive augmentation, consistency.

DiffAugment: Zhao, Liu, Lin, Zhu and Han, "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020,
https://arxiv.org/abs/2006.10738. ADA: Karras, Aittala, Hellsten, Laine, Lehtinen and Aila, "Training Generative
Adversarial Networks with Limited Data", NeurIPS 2020, https://arxiv.org/abs/2006.06676. Consistency: Zhang et al.,
"Consistency Regularization for Generative Adversarial Networks", ICLR 2020, https://arxiv.org/abs/1910.12027; Zhao et
al., "Improved Consistency Regularization for GANs", AAAI 2021, https://arxiv.org/abs/2002.04724.

All are pure functions of (N, C, H, W) images in [-1, 1] and of `draw`, which is `batch.draw`: a sampler to this batch's
random numbers. Each draws once, the same count of numbers whatever the images, the policy and p are. Everything is per
sample, twice differentiable by the images, and computed in float32 or wider on their device, which is never waited for.

Deviations from the authors' ADA code:
- Beyond its edges a picture goes on as its mirror image without end; theirs is mirrored once and zero further out.
- Samples that no geometric operation was drawn for are not filtered at all; theirs are if the batch is.
- Where H and W differ, quarter turns are half turns: their content cannot keep its place.
- p stays within [0, 1]; theirs has no upper bound.

The file is long because three papers' methods live in it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from functools import lru_cache, reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.nn import mirrored
from gankit.recipe import Draw

Critic = Callable[[Tensor], Tensor]

DIFFAUGMENT = ("color", "translation", "cutout")
ADA = ("blit", "geometric", "color", "cutout")
KINDS = {"diffaugment": (DIFFAUGMENT, "color,translation,cutout"), "ada": (ADA, "blit,geometric,color")}
"""Name of an augmentation: the groups that its policy may name, and the paper's own policy."""


# What they share -----------------------------------------------------------------------------------------------------


def parse(policy: str, kind: str) -> dict[str, float]:
    """Groups of a policy and their strengths: "geometric:1,color:0.5" to {"geometric": 1.0, "color": 0.5}.

    Raises:
        ValueError: it is empty, or names a group that `kind` has not, or one twice, or no strength.
    """
    known, usual = KINDS[kind]
    groups: dict[str, float] = {}
    for part in policy.replace(",", " ").split():
        name, colon, number = part.partition(":")
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.5)
            hint = (
                f"did you mean {near[0]}?"
                if near
                else f"it has {', '.join(known)}. For the paper's add --augment-policy {usual}"
            )
            raise ValueError(f"{kind} has no augmentation {name!r}; {hint}")
        if name in groups:
            raise ValueError(f"the augmentation policy {policy!r} names {name} twice; name it once")
        if colon and kind == "diffaugment":
            raise ValueError(f"diffaugment has no strengths: write {name} in place of {part}")
        try:
            groups[name] = float(number) if colon else 1.0
        except ValueError:
            groups[name] = math.nan
        if not 0 <= groups[name] < math.inf:
            raise ValueError(f"the strength in {part!r} is not a number of 0 or more; write {name}:0.5")
    if not groups:
        raise ValueError(f"the augmentation policy names nothing; {kind}'s own is {usual}")
    return groups


def _drawn(images: Tensor, draw: Draw, sampler: Callable[[int], Tensor]) -> Tensor:
    """A row of the sampler's numbers for each image."""
    rows = draw(sampler)
    if len(rows) != len(images):
        raise ValueError(
            f"{len(images)} images, but draw gives numbers for {len(rows)}: give the draw of their own batch"
        )
    return rows.to(images.device, images.dtype)


def _wide(images: Tensor) -> Tensor:
    return images.float() if images.dtype in (torch.bfloat16, torch.float16) else images


def _each(values: Tensor) -> Tensor:
    """(N,) to (N, 1, 1, 1)."""
    return values[:, None, None, None]


def _axes(images: Tensor, up: int = 1, more: int = 0) -> tuple[Tensor, Tensor]:
    """Places x (1, 1, W) and y (1, H, 1) of the pixels from the centre; of `up` times as many and `more` at each end."""
    x, y = (torch.arange(-more, s * up + more, device=images.device, dtype=images.dtype) for s in images.shape[:1:-1])
    return (x - (images.shape[3] * up - 1) / 2)[None, None], (y - (images.shape[2] * up - 1) / 2)[None, :, None]


def _source(matrix: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Where (N, 3, 3) matrices take the places x and y: (N, H, W) each. Not by @, which a GPU may round to 10 bits."""
    m = matrix[:, :, :, None, None]
    return m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2], m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2]


def _blit(images: Tensor, matrix: Tensor) -> Tensor:
    """Images whose pixel at q is the one at matrix @ q, which is a pixel's place: exact, mirrored beyond the edges."""
    height, width = images.shape[2:]
    x, y = _source(matrix, *_axes(images))
    x, y = mirrored((x + (width - 1) / 2).round(), width), mirrored((y + (height - 1) / 2).round(), height)
    index = (y.long() * width + x.long()).flatten(1)[:, None]
    return images.flatten(2).gather(2, index.expand(-1, images.shape[1], -1)).view(images.shape)


# DiffAugment ---------------------------------------------------------------------------------------------------------


def diffaugment(images: Tensor, draw: Draw, policy: str = "color,translation,cutout") -> Tensor:
    """(N, C, H, W) to the same, by the named operations in their order, each on every image.

    color: brightness + U(-.5, .5), saturation times U(0, 2) around the channels' mean, contrast times U(.5, 1.5) around
    the image's mean. translation: by whole pixels, up to an eighth of each side, zeros behind. cutout: zeros in a
    rectangle of half of each side, whose centre is anywhere.

    Raises:
        ValueError: the policy is not one of DiffAugment's, or the draw is not of these images' batch.
    """
    operations = {"color": _diff_color, "translation": _diff_translation, "cutout": _diff_cutout}
    with torch.autocast(images.device.type, enabled=False):
        x = _wide(images)
        u = _drawn(x, draw, lambda n: torch.rand(n, 7)).unbind(1)
        numbers = {"color": u[:3], "translation": u[3:5], "cutout": u[5:]}
        for name in parse(policy, "diffaugment"):
            x = operations[name](x, *numbers[name])
        return x.to(images.dtype)


def _diff_color(x: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    x = x + _each(brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * _each(2 * saturation)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * _each(contrast + 0.5)


def _diff_translation(images: Tensor, right: Tensor, down: Tensor) -> Tensor:
    height, width = images.shape[2:]
    reach = (width + 4) // 8, (height + 4) // 8  # an eighth, halves upwards
    right, down = (((2 * r + 1) * u).floor() - r for r, u in zip(reach, (right, down)))
    matrix = blit_matrix(torch.zeros_like(right), torch.zeros_like(right), right, down)
    x, y = _source(matrix, *_axes(images))
    seen = (x.abs() <= (width - 1) / 2) & (y.abs() <= (height - 1) / 2)
    return torch.where(seen[:, None], _blit(images, matrix), 0.0)


def _diff_cutout(images: Tensor, across: Tensor, down: Tensor) -> Tensor:
    inside = []
    for side, u in zip(images.shape[2:], (down, across)):
        size = (side + 1) // 2
        centre = (u * (side + 1 - size % 2)).floor()  # the middle pixel, or the one after the middle
        away = torch.arange(side, device=images.device, dtype=images.dtype) - centre[:, None] + size // 2
        inside.append((away >= 0) & (away < size))
    return torch.where((inside[0][:, :, None] & inside[1][:, None])[:, None], 0.0, images)


# Adaptive augmentation -----------------------------------------------------------------------------------------------

_ODDS = "flip quarter shift scale before aniso after move brightness contrast luma hue saturation cutout".split()
_EVEN = "flip quarter shift_x shift_y before after luma hue cut_x cut_y".split()
_NORMAL = "scale aniso move_x move_y brightness contrast saturation".split()


def adaptive(images: Tensor, p: Tensor | float, draw: Draw, policy: str = "blit,geometric,color") -> Tensor:
    """(N, C, H, W) to the same, by Karras et al. 2020, appendix B: each operation on an image with probability p.

    In this order, whatever the policy's:
    blit: left-right flip (of those chosen a half), 0 to 3 quarter turns, shift of whole pixels up to an eighth of a side.
    geometric: scale 2^N(0, .2^2); a turn by any angle; scale 2^N(0, .2^2) of x and its inverse of y; another turn;
    shift by N(0, .125^2) of a side. Done at once with the blits, in a copy of twice the side filtered by sym6.
    color: brightness + N(0, .2^2), contrast times 2^N(0, .5^2), luma flipped (of those chosen a half), hue turned by any
    angle, saturation times 2^N(0, 1). One channel has brightness, contrast and the flip, which is its negative.
    cutout: zeros in a rectangle of half of each side, whose centre is anywhere.

    At p = 0 the images come back as they are, bit for bit.

    Args:
        images: (N, C, H, W) in [-1, 1].
        p: probability of each operation, in [0, 1]; either of the two turns has 1 - sqrt(1 - p).
        draw: `batch.draw`.
        policy: groups, each with a factor for its p if not 1: "geometric:1,color:0.5,cutout:1".

    Raises:
        ValueError: the policy is not one of ADA's, or has color for images of neither 1 nor 3 channels, or the draw is
            not of these images' batch.
    """
    groups = _colorable(parse(policy, "ada"), images.shape[1])
    with torch.autocast(images.device.type, enabled=False):
        x = _wide(images)
        numbers = _drawn(x, draw, _ada_numbers).unbind(1)
        odds = dict(zip(_ODDS, numbers))
        even = dict(zip(_EVEN, numbers[len(_ODDS) :]))
        normal = dict(zip(_NORMAL, numbers[len(_ODDS) + len(_EVEN) :]))
        rate = {name: p * strength for name, strength in groups.items()}
        if "blit" in groups or "geometric" in groups:
            x = _ada_place(x, rate, odds, even, normal)
        if "color" in groups:
            x = _ada_color(x, rate["color"], odds, even, normal)
        if "cutout" in groups:
            x = _ada_cutout(x, odds["cutout"] < rate["cutout"], even["cut_x"], even["cut_y"])
        return x.to(images.dtype)


def _colorable(groups: dict[str, float], channels: int) -> dict[str, float]:
    """The groups of a policy, unless color is among them and images of so many channels have none.

    Raises:
        ValueError: so it is; says which policy to take.
    """
    if "color" in groups and channels not in (1, 3):
        rest = ",".join(f"{name}:{p:g}" if p != 1 else name for name, p in groups.items() if name != "color")
        raise ValueError(
            f"ada's color is for 1 or 3 channels; these images have {channels}. Add --augment-policy {rest or 'blit,geometric'}"
        )
    return groups


def _ada_numbers(n: int) -> Tensor:
    return torch.cat([torch.rand(n, len(_ODDS) + len(_EVEN)), torch.randn(n, len(_NORMAL))], 1)


def _two_to(power: Tensor) -> Tensor:
    """2^power, to the same bits wherever a number stands in its tensor; torch.exp2 has others in a batch's last rows."""
    return (math.log(2) * power).exp()


Numbers = dict[str, Tensor]


def _ada_place(
    images: Tensor, rate: dict[str, Tensor | float], odds: Numbers, even: Numbers, normal: Numbers
) -> Tensor:
    """The blits and the geometric operations, as one move of the pixels."""
    height, width = images.shape[2:]
    none = torch.zeros_like(odds["flip"])
    blit, geometric = rate.get("blit", 0.0), rate.get("geometric", 0.0)
    turns = (4 * even["quarter"]).floor() if height == width else 2 * (2 * even["quarter"]).floor()
    right, down = ((0.25 * even[f"shift_{a}"] - 0.125) * s for a, s in (("x", width), ("y", height)))
    matrix = blit_matrix(
        torch.where(odds["flip"] < blit, (2 * even["flip"]).floor(), none),
        torch.where(odds["quarter"] < blit, turns, none),
        torch.where(odds["shift"] < blit, right.round(), none),
        torch.where(odds["shift"] < blit, down.round(), none),
    )
    exact = _blit(images, matrix) if "blit" in rate else images
    if "geometric" not in rate:
        return exact
    scaled, stretched, moved = (odds[name] < geometric for name in ("scale", "aniso", "move"))
    before, after = (odds[name] * (2 - odds[name]) < geometric for name in ("before", "after"))  # 1 - sqrt(1 - p)
    move = geometric_matrix(
        torch.where(scaled, _two_to(0.2 * normal["scale"]), 1.0),
        torch.where(before, math.pi * (2 * even["before"] - 1), none),
        torch.where(stretched, _two_to(0.2 * normal["aniso"]), 1.0),
        torch.where(after, math.pi * (2 * even["after"] - 1), none),
        torch.where(moved, 0.125 * width * normal["move_x"], none),
        torch.where(moved, 0.125 * height * normal["move_y"], none),
    )
    touched = scaled | before | stretched | after | moved
    return torch.where(_each(touched), _warp(images, _product(matrix, move)), exact)


def _ada_color(images: Tensor, rate: Tensor | float, odds: Numbers, even: Numbers, normal: Numbers) -> Tensor:
    """The five changes of colour, as one affine map of each pixel."""
    none = torch.zeros_like(odds["luma"])
    matrix = color_matrix(
        torch.where(odds["brightness"] < rate, 0.2 * normal["brightness"], none),
        torch.where(odds["contrast"] < rate, _two_to(0.5 * normal["contrast"]), 1.0),
        torch.where(odds["luma"] < rate, (2 * even["luma"]).floor(), none),
        torch.where(odds["hue"] < rate, math.pi * (2 * even["hue"] - 1), none),
        torch.where(odds["saturation"] < rate, _two_to(normal["saturation"]), 1.0),
    )
    if images.shape[1] == 1:  # as three equal channels, which stay equal
        return images * _each(matrix[:, 0, :3].sum(1)) + _each(matrix[:, 0, 3])
    weights = matrix[..., None, None]  # not by @, which a GPU may round to 10 bits
    return sum(weights[:, :3, i] * images[:, i : i + 1] for i in range(3)) + weights[:, :3, 3]


def _ada_cutout(images: Tensor, cut: Tensor, across: Tensor, down: Tensor) -> Tensor:
    x, y = (at / side + 0.5 for at, side in zip(_axes(images), images.shape[:1:-1]))
    inside = ((x - across[:, None, None]).abs() < 0.25) & ((y - down[:, None, None]).abs() < 0.25)
    return torch.where((inside & cut[:, None, None])[:, None], 0.0, images)


# Its matrices --------------------------------------------------------------------------------------------------------


def blit_matrix(flip: Tensor, quarter: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """(N, 3, 3) from a place in the result to its place in the image: flip, then quarter turns, then a shift in pixels.

    Places are (x, y, 1), in pixels from the centre, x to the right and y down; a quarter turn takes x's axis to y's,
    clockwise as one sees it. All arguments are (N,), of whole numbers; flip is 0 or 1.
    """
    cos, sin = (quarter == 0).to(flip) - (quarter == 2).to(flip), (quarter == 1).to(flip) - (quarter == 3).to(flip)
    one, none = torch.ones_like(flip), torch.zeros_like(flip)
    back = _plane(one, none, -right, none, one, -down)
    return _product(_plane(1 - 2 * flip, none, none, none, one, none), _plane(cos, sin, none, -sin, cos, none), back)


def geometric_matrix(
    scale: Tensor, before: Tensor, aniso: Tensor, after: Tensor, right: Tensor, down: Tensor
) -> Tensor:
    """(N, 3, 3) from a place in the result to its place in the image, as `blit_matrix`.

    The image is made `scale` times as large, turned by `before`, x made `aniso` times as long and y as much shorter,
    turned by `after`, and shifted in pixels. Angles are in radians, from x's axis to y's. All arguments are (N,).
    """
    one, none = torch.ones_like(scale), torch.zeros_like(scale)

    def turn(angle: Tensor) -> Tensor:
        return _plane(angle.cos(), angle.sin(), none, -angle.sin(), angle.cos(), none)

    shrink = _plane(1 / scale, none, none, none, 1 / scale, none)
    squeeze = _plane(1 / aniso, none, none, none, aniso, none)
    return _product(shrink, turn(before), squeeze, turn(after), _plane(one, none, -right, none, one, -down))


def color_matrix(brightness: Tensor, contrast: Tensor, luma: Tensor, hue: Tensor, saturation: Tensor) -> Tensor:
    """(N, 4, 4) from (r, g, b, 1) to the same, every argument being (N,).

    In this order: brightness is added; all is multiplied by contrast; luma (0 or 1) mirrors colours at the plane across
    the axis of greys; hue turns them about that axis by an angle; saturation multiplies their distance from it. Greys stay
    grey, and the last three meet in one formula: along the axis 1 - 2 luma, across it Rodrigues' turn times saturation.
    """
    eye = torch.eye(3, device=hue.device, dtype=hue.dtype)
    grey, cross = torch.full_like(eye, 1 / 3), (eye.roll(1, 0) - eye.roll(-1, 0)) / math.sqrt(3)
    along, cos, sin = 1 - 2 * luma, saturation * hue.cos(), saturation * hue.sin()
    cos, sin, both = cos[:, None, None], sin[:, None, None], (along - cos)[:, None, None]
    linear = contrast[:, None, None] * (cos * eye + both * grey + sin * cross)
    offset = (brightness * contrast * along)[:, None, None].expand(-1, 3, 1)
    last = torch.eye(4, device=hue.device, dtype=hue.dtype)[3:].expand(len(hue), 1, 4)
    return torch.cat([torch.cat([linear, offset], 2), last], 1)


def _plane(a: Tensor, b: Tensor, x: Tensor, c: Tensor, d: Tensor, y: Tensor) -> Tensor:
    none, one = torch.zeros_like(a), torch.ones_like(a)
    return torch.stack([a, b, x, c, d, y, none, none, one], 1).view(-1, 3, 3)


def _product(*matrices: Tensor) -> Tensor:
    """Of (N, 3, 3) matrices from left to right. Not by @, which a GPU may round to 10 bits: that moves pixels."""
    return reduce(lambda a, b: (a[..., None] * b[:, None]).sum(2), matrices)


# Its resampling ------------------------------------------------------------------------------------------------------

SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
"""Daubechies' least asymmetric low-pass filter of six vanishing moments, as PyWavelets documents it."""


def _warp(images: Tensor, matrix: Tensor) -> Tensor:
    """Images whose place q shows what is at matrix @ q, of (N, 3, 3) matrices in pixels from the centre.

    The image, mirrored at its edges without end, is filtered up by 2, sampled bilinearly at twice the side, and
    filtered down by 2 with the same filter; being orthonormal it gives every image back where the matrix is the identity.
    Pixel 2i of the doubled image lies on pixel i, as in the authors' code.
    """
    height, width = images.shape[2:]
    up_x, down_x = _filters(width, images.dtype, images.device)
    up_y, down_y = _filters(height, images.dtype, images.device)
    doubled = torch.cat([matrix[:, :2, :2], 2 * matrix[:, :2, 2:]], 2)
    x, y = _source(doubled, *(axis + 0.5 for axis in _axes(images, 2, 5)))
    places = []
    for at, side, up in ((x, width, up_x), (y, height, up_y)):
        turns = (at + (side - 1)) / (len(up) - 1)
        places.append(2 * (turns - turns.floor()) - 1)
    return down_y @ _Bilinear.apply(up_y @ (images @ up_x.T), torch.stack(places, 3), None) @ down_x.T


@lru_cache(maxsize=64)
def _filters(side: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The filters as matrices, as at 32 px products with them cost a CPU a tenth of the convolution.

    Up, (P + 1, side), to one period of the mirrored line at twice the pixels, and its first pixel again; and down,
    (side, 2 side + 10), from twice the pixels and five more at each end.
    """
    taps = torch.tensor(SYM6, dtype=torch.float64) / sum(SYM6)
    t, period = torch.arange(12), 2 * max(1, 2 * side - 2)
    twice = torch.arange(period + 1)[:, None] + 5 - t  # of the pixel that meets tap t there, where it is even
    up = torch.zeros(period + 1, side, dtype=torch.float64)
    up.scatter_add_(1, mirrored(twice.div(2, rounding_mode="floor"), side), 2 * taps * (twice % 2 == 0))
    down = torch.zeros(side, 2 * side + 10, dtype=torch.float64)
    down.scatter_(1, 2 * torch.arange(side)[:, None] + t, taps.expand(side, 12))
    return up.to(dtype).to(device), down.to(dtype).to(device)


class _Bilinear(torch.autograd.Function):
    """Bilinear samples of a map, or the transpose of that: each is the other's derivative, on every device."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, grid: Tensor, size: torch.Size | None) -> Tensor:
        """(N, C, H, W) and a grid as of `F.grid_sample` to samples; or a gradient by these, and a size, to one by the map."""
        ctx.save_for_backward(grid)
        ctx.size = x.shape if size is None else None
        if size is None:
            return F.grid_sample(x, grid, "bilinear", "border", align_corners=True)
        like, bilinear, border = x.new_zeros(()).expand(size), 0, 1
        mask = [True, False]  # by the map alone
        return torch.ops.aten.grid_sampler_2d_backward(x, like, grid, bilinear, border, True, mask)[0]

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _Bilinear.apply(grad, *ctx.saved_tensors, ctx.size), None, None


# The run's augmentation ----------------------------------------------------------------------------------------------


class Augment(nn.Module):
    """What a run does to every image that its discriminator sees, and with ada how often.

    r = E sign D(reals) says how much D overfits: after every four batches p goes up by their images / speed where r is
    above its target, and down where it is below, within [0, 1]. All of it is in the state, and nothing waits for a GPU.

    Args:
        kind: diffaugment or ada.
        policy: groups of operations, like "color,cutout" or "geometric:1,color:0.5"; empty for the paper's.
        p: with ada, the probability of each operation at the start.
        target: with ada, r's target, 0.6 in the paper; 0 leaves p as it is.
        speed: with ada, images in which p can go from 0 to 1, 500,000 in the paper.

    Raises:
        ValueError: kind or policy is unknown, or p or target cannot be.
    """

    EVERY = 4

    def __init__(self, kind: str, policy: str = "", p: float = 0.0, target: float = 0.6, speed: int = 500_000):
        super().__init__()
        if kind not in KINDS:
            near = difflib.get_close_matches(kind, KINDS, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(KINDS)}"
            raise ValueError(f"no augmentation {kind!r}; {hint}")
        for name, value, most in (("p", p, "p <= 1"), ("target", target, "target < 1")):
            if not 0 <= value <= 1 or (name == "target" and value == 1):
                raise ValueError(f"augment_{name} is {value}; it must be 0 <= {most}")
        self.kind, self.policy, self.target, self.speed = kind, policy or KINDS[kind][1], target, speed
        parse(self.policy, kind)
        self.used = False
        self.register_buffer("p", torch.tensor(float(p)))
        for name in ("right", "rows", "images", "batches"):  # since p last moved
            self.register_buffer(name, torch.tensor(0.0))

    def forward(self, images: Tensor, draw: Draw) -> Tensor:
        """(N, C, H, W) images in [-1, 1] as the discriminator is to see them, the same shape."""
        self.used = True
        if self.kind == "diffaugment":
            return diffaugment(images, draw, self.policy)
        return adaptive(images, self.p, draw, self.policy)

    def fits(self, channels: int) -> None:
        """Refuse images of so many channels that the policy cannot be had with."""
        if self.kind == "ada":
            _colorable(parse(self.policy, "ada"), channels)

    def check(self, model: str, step: int) -> None:
        """Refuse a model that has shown nothing by its first batch, or said nothing to move ada's p by when that is due."""
        if step == 1 and not self.used:
            raise ValueError(f"{model} has no discriminator whose images could be augmented; leave --augment out")
        if step == self.EVERY and self.kind == "ada" and self.target and self.batches >= self.EVERY:
            raise ValueError(
                f"{model}'s critic has no boundary between real and fake for ada to go by. "
                "Add --augment-target 0 and a fixed --augment-p 0.2, or take --augment diffaugment."
            )

    @torch.no_grad()
    def see(self, right: Tensor, rows: int) -> None:
        """Take in the share of so many reals, a scalar in [0, 1], that D put on the reals' side."""
        self.right += right * rows
        self.rows += rows

    @torch.no_grad()
    def adapt(self, images: int) -> None:
        """Count a batch of so many images, and move p with every fourth."""
        if self.kind != "ada" or not self.target:
            return
        self.images += images
        self.batches += 1
        due = (self.batches >= self.EVERY) & (self.rows > 0)
        r = 2 * self.right / self.rows.clamp(min=1) - 1
        moved = (self.p + (r - self.target).sign() * self.images / self.speed).clamp(0, 1)
        self.p.copy_(torch.where(due, moved, self.p))
        for count in (self.right, self.rows, self.images, self.batches):
            count.mul_(~due)


# Consistency ---------------------------------------------------------------------------------------------------------

CONSISTENCY = ("none", "cr", "bcr", "icr")


def flip_shift(images: Tensor, draw: Draw, pixels: int = 4) -> Tensor:
    """T of Zhang et al. 2020: half of the images flipped left to right, each shifted by up to so many pixels, mirrored."""
    x = _wide(images)
    flip, right, down = _drawn(x, draw, lambda n: torch.rand(n, 3)).unbind(1)
    right, down = (((2 * pixels + 1) * u).floor() - pixels for u in (right, down))
    return _blit(x, blit_matrix((2 * flip).floor(), torch.zeros_like(flip), right, down)).to(images.dtype)


def _square(a: Tensor, b: Tensor) -> Tensor:
    return (_wide(a) - _wide(b)).square().mean()


class Shown(NamedTuple):
    """Images, what shows such images to D, and D's (N,) logits on these."""

    critic: Critic
    images: Tensor
    logits: Tensor


def consistency_d(
    kind: str,
    real: Shown,
    fake: Shown,
    generator: Callable[[Tensor], Tensor],
    z: Tensor,
    draw: Draw,
    sigma: float = 0.05,
) -> tuple[Tensor | float, dict[str, Tensor]]:
    """What consistency adds to D's loss, and its terms, `fake` being generator(z); each has the weight of its paper.

    cr: 10 E |D(x) - D(T(x))|^2 on reals (Zhang et al. 2020, eq. 3). bcr: on fakes too, 10. icr: and also
    20 E |D(G(z)) - D(G(z + dz))|^2, dz ~ N(0, sigma^2) (zCR; both Zhao et al. 2021).
    """
    terms, weights = {}, {"cr": 10.0, "bcr": 10.0, "zcr": 20.0}
    if kind != "none":
        terms["cr"] = _square(real.logits, real.critic(flip_shift(real.images, draw)))
    if kind in ("bcr", "icr"):
        terms["bcr"] = _square(fake.logits, fake.critic(flip_shift(fake.images, draw)))
    if kind == "icr":
        terms["zcr"] = _square(fake.logits, fake.critic(generator(_nudged(z, draw, sigma))))
    return sum(weights[name] * term for name, term in terms.items()), terms


def consistency_g(
    kind: str, images: Tensor, generator: Callable[[Tensor], Tensor], z: Tensor, draw: Draw, sigma: float = 0.05
) -> tuple[Tensor | float, dict[str, Tensor]]:
    """What icr adds to G's loss, `images` being generator(z): -0.5 E |G(z) - G(z + dz)|^2, the mean over pixels too."""
    if kind != "icr":
        return 0.0, {}
    apart = -_square(images, generator(_nudged(z, draw, sigma)))
    return 0.5 * apart, {"zcr": apart}


def _nudged(z: Tensor, draw: Draw, sigma: float) -> Tensor:
    return z + sigma * _drawn(z, draw, lambda n: torch.randn(n, *z.shape[1:]))
