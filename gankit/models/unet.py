"""unet. Olaf Ronneberger, Philipp Fischer, Thomas Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015. https://arxiv.org/abs/1505.04597

No GAN: one network that says of every pixel which class it belongs to. On the way down maps are halved and channels doubled;
on the way up each map meets the one of its size from the way down, which still knows where things are. Convolutions see real
pixels alone ("valid"), so the answer is smaller than the question: an image is given with a border, mirrored at its
edges, and a large one in tiles that overlap by that border, which changes no number. Learns from few images because each
is bent anew every time, and tells touching cells apart because the ground between two of them weighs most in the loss.

The file is long because it holds what the paper does around its network: deformation, weights of pixels, tiles.

Deviations:
- The paper trains on tiles of 388 px with the image around them; here on whole images, whose border is always mirrored, so
  that every pixel of the mask counts. `segment` goes by tiles.
- The loss is the paper's sum over pixels divided by their number, and its class weights make the mean weight of a pixel 1.
  Their shares are those of all masks seen so far; void pixels count nothing.
- Not in the paper: the learning rate, the rate of dropout (after the last two pairs of convolutions of the way down),
  the range of rotation (full turns) and of grey values, what lies beyond the edges of a bent image (its mirror image).
  Shifts are those that the bending brings.
- A border pixel is a cell's pixel beside one that is no cell. With several classes all but the first are cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.losses import VOID, map_cross_entropy
from gankit.nn import BatchNorm2d, Dropout, mirrored
from gankit.recipe import Batch, Draw, Preset, Recipe, Run, Spec, adam

# The network ---------------------------------------------------------------------------------------------------------


def convolutions(before: int, after: int, pad: int, norm: bool) -> nn.Sequential:
    """Two 3x3 convolutions, each with ReLU: (N, before, H, W) to (N, after, H - 4, W - 4), or the same size with a pad of 1."""
    layers: list[nn.Module] = []
    for channels in (before, after):
        normed = [BatchNorm2d(after)] if norm else []
        layers += [nn.Conv2d(channels, after, 3, padding=pad, bias=not norm), *normed, nn.ReLU()]
    return nn.Sequential(*layers)


class Network(nn.Module):
    """(N, C, H, W) images to (N, K, H - 2 margin, W - 2 margin) logits; the same size with a pad of 1 (figure 1)."""

    def __init__(self, channels: int, num_classes: int, levels: int, width: int, pad: int, norm: bool, dropout: float):
        super().__init__()
        widths = [width << i for i in range(levels + 1)]
        self.down = nn.ModuleList(convolutions(a, b, pad, norm) for a, b in zip([channels, *widths], widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in widths[-2::-1])
        self.merge = nn.ModuleList(convolutions(2 * w, w, pad, norm) for w in widths[-2::-1])
        self.head = nn.Conv2d(width, num_classes, 1)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for i, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if i else x)
            x = self.dropout(x) if i >= len(self.up) - 1 else x
            skips.append(x)
        skips.pop()
        for up, merge in zip(self.up, self.merge):
            x, skip = up(x), skips.pop()
            (h, w), (y, z) = x.shape[2:], ((a - b) // 2 for a, b in zip(skip.shape[2:], x.shape[2:]))
            x = merge(torch.cat([skip[:, :, y : y + h, z : z + w], x], 1))
        return self.head(x)


def init_he(module: nn.Module) -> None:
    """Weights N(0, 2 / inputs of one unit), biases 0 (section 3); a unit of an up-convolution sees one pixel of each map."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            inputs = layer.in_channels * (layer.weight[0, 0].numel() if isinstance(layer, nn.Conv2d) else 1)
            nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / inputs))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


# Deformation ---------------------------------------------------------------------------------------------------------


def deform(
    images: Tensor, mask: Tensor, draw: Draw, elastic: float, rotate: float, grey: float
) -> tuple[Tensor, Tensor]:
    """Images and masks bent and turned alike, and the images' grey values changed (section 3.1).

    Displacements on a grid of 3x3 points, from corner to corner, are drawn from a Gaussian and interpolated bicubically to
    every pixel. What comes from beyond the edges is mirrored there. Images are interpolated bilinearly; a pixel of
    a mask is the nearest one.

    Args:
        images: (N, C, H, W).
        mask: (N, H, W) int64.
        draw: as `Batch.draw`.
        elastic: standard deviation of the displacements in pixels, 10 in the paper.
        rotate: largest angle in degrees, to either side.
        grey: largest change of contrast, as a share, and of brightness, of half the range.
    """
    numbers = draw(lambda n: torch.cat([torch.randn(n, 18), torch.rand(n, 3) * 2 - 1], 1)).to(images.dtype)
    angle, contrast, brightness = numbers[:, 18:].t()[..., None, None]
    if elastic or rotate:
        height, width = images.shape[2:]
        bends = F.interpolate(
            elastic * numbers[:, :18].view(-1, 2, 3, 3), (height, width), mode="bicubic", align_corners=True
        )
        y, x = (torch.arange(s, device=images.device, dtype=images.dtype) - (s - 1) / 2 for s in (height, width))
        cos, sin = (angle * math.radians(rotate)).cos(), (angle * math.radians(rotate)).sin()
        at_y = cos * y[:, None] + sin * x + bends[:, 0] + (height - 1) / 2
        at_x = cos * x - sin * y[:, None] + bends[:, 1] + (width - 1) / 2
        images, mask = bilinear(images, at_y, at_x), nearest(mask, at_y, at_x)
    if grey:
        images = images * (1 + grey * contrast[:, None]) + grey * brightness[:, None]
    return images, mask


def bilinear(images: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """(N, C, H, W) images at the places (N, h, w) in pixels, mirrored beyond their edges: (N, C, h, w)."""
    unit = [mirrored(at, side) * (2 / max(1, side - 1)) - 1 for at, side in zip((x, y), images.shape[:1:-1])]
    return F.grid_sample(images, torch.stack(unit, -1), padding_mode="border", align_corners=True)


def nearest(mask: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """(N, H, W) int64 maps at the pixels nearest to the places (N, h, w), mirrored beyond their edges: (N, h, w)."""
    y, x = (mirrored(at.round(), side).long() for at, side in zip((y, x), mask.shape[1:]))
    return mask.flatten(1).gather(1, (y * mask.shape[2] + x).flatten(1)).view(y.shape)


# Weights of pixels ---------------------------------------------------------------------------------------------------


def components(inside: Tensor) -> Tensor:
    """(N, H, W) bool to int64: 0 outside; inside one number for all pixels that are connected by their sides."""
    n, height, width = inside.shape
    numbers = torch.arange(1, height * width + 1, device=inside.device).view(1, height, width) * inside
    while True:
        wide = F.pad(numbers, (1, 1, 1, 1))
        beside = torch.stack(
            [wide[:, 1:-1, :-2], wide[:, 1:-1, 2:], wide[:, :-2, 1:-1], wide[:, 2:, 1:-1], numbers]
        ).amax(0)
        flat = beside.flatten(1)  # a number is also a place, whose own number may be larger by now
        grown = flat.gather(1, (flat - 1).clamp(min=0)).view(n, height, width) * inside
        if torch.equal(grown, numbers):
            return numbers
        numbers = grown


def border_weight(mask: Tensor, weight: float = 10.0, sigma: float = 5.0, dtype: torch.dtype = torch.float32) -> Tensor:
    """weight * exp(-(d1 + d2)^2 / (2 sigma^2)) at each pixel of (N, H, W) masks, d1 and d2 in pixels (eq. 2).

    d1 and d2 are the distances to the borders of the nearest and the second nearest cell: connected pixels that are neither
    class 0 nor void. 0 where there are fewer than two cells.
    """
    inside = (mask != 0) & (mask != VOID)
    wide = F.pad(inside[:, None].to(dtype), (1, 1, 1, 1), mode="replicate")[:, 0] > 0
    around = wide[:, 1:-1, :-2] & wide[:, 1:-1, 2:] & wide[:, :-2, 1:-1] & wide[:, 2:, 1:-1]
    numbers = components(inside) * ~around  # of the border pixels
    ys, xs = (torch.arange(s, device=mask.device, dtype=dtype) for s in mask.shape[1:])
    out = torch.zeros(mask.shape, device=mask.device, dtype=dtype)
    for picture, own in zip(out, numbers):
        sizes = own[own > 0].unique(return_counts=True)[1].tolist()
        if len(sizes) < 2:
            continue
        places = own.flatten().argsort(stable=True)[-sum(sizes) :]  # of border pixels, cell after cell
        across = (xs - places[:, None] % len(xs)).square()
        for rows, some in zip(picture.split(CHUNK // across.numel() + 1), ys.split(CHUNK // across.numel() + 1)):
            squares = (some - places[:, None] // len(xs)).square()[:, :, None] + across[:, None]
            near = torch.stack([cell.amin(0) for cell in squares.split(sizes)]).topk(2, dim=0, largest=False)[0]
            rows.copy_(weight * (-near.sqrt().sum(0).square() / (2 * sigma**2)).exp())
    return out


CHUNK = 2**20  # distances at once


# Tiles ---------------------------------------------------------------------------------------------------------------


class Tile(NamedTuple):
    """Along one side: places of the image that the network sees, mirrored beyond its edges, and which of its outputs count."""

    first: int
    last: int
    cut: int
    keep: int


def tiles(side: int, tile: int, levels: int, valid: bool) -> Iterator[Tile]:
    """Tiles whose kept outputs are the pixels 0 to side - 1, one after the other.

    Maps are halved `levels` times, so tiles begin at multiples of 2^levels: each map then has the pixels that it would
    have in one pass over everything. The margin is how far a pixel of the output sees. Valid convolutions use it
    up; padded ones put zeros at the edges of what they see, so there it is thrown away, but at the image's own edges.

    Args:
        side: pixels of the image.
        tile: outputs of one tile at most; 0 for all at once.
        levels: how often maps are halved.
        valid: whether the convolutions are valid ones.
    """
    factor = 1 << levels
    margin = 6 * factor - 4 if valid else 6 * factor
    rest = 4 % factor if valid else 0  # sides of the output are a multiple of the factor and this, like 388
    whole = (
        max(1 if valid else 2, -(-(side - rest) // factor)) * factor
    )  # batch norm needs more than one pixel at the bottom
    step = max(factor, (tile - rest) // factor * factor) if tile else whole
    for first in range(0, max(1, side - rest), step):
        size, last = min(step, whole - first), first + step >= side - rest
        begin, end = first - margin, first + size + rest + margin
        if not valid:
            begin, end = max(0, begin), min(whole, end)
        yield Tile(begin, end, 0 if valid else first - begin, side - first if last else size)


# The paper -----------------------------------------------------------------------------------------------------------


class UNet(Recipe):
    """U-Net: the class of every pixel, learned from images with label maps of any height and width.

    Args:
        padding: "valid", the paper's convolutions, which see real pixels alone, or "same", with zeros around every map.
        norm: batch norm after each 3x3 convolution, which is not in the paper.
        levels: how often the maps are halved.
        width: channels of the first maps; each halving doubles them.
        dropout: rate of dropout after the last two pairs of convolutions of the way down.
        class_weights: w_c, "balanced" for one over the share of each class, "none" for 1, or a number for each class: 1,2.5.
        border_weight: w_0, what is added where two cells touch; 0 for none.
        border_sigma: sigma, in pixels: how far from the borders.
        elastic: standard deviation of the displacements of the nine points that bend an image, in pixels.
        rotate: largest angle by which it is turned, in degrees to either side.
        grey: largest change of its contrast, as a share, and of its brightness, of half the range.
        optimizer: SGD with momentum, as in the paper, or Adam.
        lr: its learning rate.
        momentum: of SGD, and Adam's decay of the mean of gradients.
        tile: side of the part of an image that `segment` predicts at once, in pixels; 0 for all of it.
    """

    data, ema = "masks", ("net",)
    defaults: ClassVar[dict[str, object]] = dict(data="cells", batch=1, images=100_000, ema=0)
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(
            "the paper's network for two classes, one image a step",
            spec=Spec((1, 512, 512), num_classes=2),
            parameters=dict(net=31_030_658),
        ),
        "padded": Preset(
            "the form that most others call U-Net: padded convolutions, batch norm and no dropout, with Adam",
            model=dict(padding="same", norm=True, dropout=0.0, optimizer="adam", lr=1e-3, momentum=0.9),
            settings=dict(batch=4),
            spec=Spec((3, 512, 512), num_classes=2),
            parameters=dict(net=31_037_698),
        ),
        "small": Preset(
            "scenes at 64 px on two CPU cores: three levels, narrower, padded, with batch norm and Adam",
            model=dict(
                padding="same", norm=True, levels=3, width=16, dropout=0.0, class_weights="none", border_weight=0.0,
                elastic=2.0, rotate=20.0, optimizer="adam", lr=2e-3, momentum=0.9,
            ),
            settings=dict(data="scenes", batch=8, images=4_000, ema=500),
        ),
    }  # fmt: skip

    def __init__(
        self,
        spec: Spec,
        *,
        padding: Literal["valid", "same"] = "valid",
        norm: bool = False,
        levels: int = 4,
        width: int = 64,
        dropout: float = 0.5,
        class_weights: str = "balanced",
        border_weight: float = 10.0,
        border_sigma: float = 5.0,
        elastic: float = 10.0,
        rotate: float = 180.0,
        grey: float = 0.1,
        optimizer: Literal["sgd", "adam"] = "sgd",
        lr: float = 1e-3,
        momentum: float = 0.99,
        tile: int = 388,
    ):
        super().__init__(spec)
        if spec.num_classes < 2:
            raise ValueError(
                f"unet tells classes of pixels apart, and this data has {spec.num_classes}; its masks need two or more"
            )
        for name, value, least in (
            ("levels", levels, 1),
            ("width", width, 1),
            ("tile", tile, 0),
            ("border_sigma", border_sigma, 1e-6),
        ):
            if value < least:
                raise ValueError(f"{name} is {value}; it must be at least {least}")
        self.valid, self.levels, self.tile = padding == "valid", levels, tile
        self.border = border_weight, border_sigma
        self.changes = elastic, rotate, grey
        self.balanced = class_weights == "balanced"
        self.register_buffer("counted", torch.zeros(spec.num_classes, dtype=torch.int64))  # pixels of each class so far
        self.register_buffer("weights", numbers_of(class_weights, spec.num_classes), persistent=False)
        self.net = Network(spec.channels, spec.num_classes, levels, width, 0 if self.valid else 1, norm, dropout)
        init_he(self.net)
        parameters = self.net.parameters()
        self.opt = {
            "net": torch.optim.SGD(parameters, lr, momentum)
            if optimizer == "sgd"
            else adam(parameters, lr, (momentum, 0.999))
        }

    def step(self, batch: Batch, run: Run) -> None:
        counts = batch.mask[batch.mask != VOID].bincount(minlength=self.spec.num_classes).float()
        self.counted += (run.mean(counts) * (batch.size / len(batch))).round().long()
        run.update("net", self.loss, batch)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted cross-entropy of images that were bent with their masks (eq. 1 and 2), in nats per pixel."""
        images, mask = deform(batch.real, batch.mask, batch.draw, *self.changes)
        weight = self.class_weights()[mask.clamp(max=self.spec.num_classes - 1)]
        if self.border[0]:
            weight = weight + border_weight(mask, *self.border, weight.dtype)
        logits, known = self.scores(images, 0), mask != VOID
        right = (known & (logits.argmax(1) == mask)).flatten(1).sum(1) / known.flatten(1).sum(1).clamp(min=1)
        return map_cross_entropy(logits, mask, weight), {"right": right.mean()}

    def class_weights(self) -> Tensor:
        """(K,) w_c; balanced, one over each class's share of the pixels seen so far and over the number of classes."""
        if not self.balanced:
            return self.weights
        share = self.counted / self.counted.sum().clamp(min=1)
        return torch.where(share > 0, 1 / (share * (share > 0).sum()), 0).to(self.weights)

    def scores(self, images: Tensor, tile: int | None = None) -> Tensor:
        """(N, C, H, W) images in [-1, 1], of any height and width, to (N, K, H, W) logits.

        Args:
            images: whatever lies beyond their edges is their mirror image.
            tile: outputs of one pass along each side at most, in pixels; 0 for all, None for the model's own. It changes
                what a pass needs in memory, and no logit.
        """
        tile = self.tile if tile is None else tile
        down, across = (list(tiles(side, tile, self.levels, self.valid)) for side in images.shape[2:])
        height, width = images.shape[2:]
        rows = []
        for y in down:
            band = images[:, :, mirrored(torch.arange(y.first, y.last, device=images.device), height)]
            row = []
            for x in across:
                seen = band[..., mirrored(torch.arange(x.first, x.last, device=images.device), width)]
                row.append(self.net(seen)[:, :, y.cut : y.cut + y.keep, x.cut : x.cut + x.keep])
            rows.append(torch.cat(row, 3))
        return torch.cat(rows, 2)

    def segment(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images in [-1, 1], of any height and width, to (N, H, W) int64 classes, tile by tile."""
        return self.scores(images).argmax(1)

    def strip(self, batch: Batch) -> list[Tensor]:
        """Images, the classes predicted, and the true ones."""
        return [batch.real, self.segment(batch.real), batch.mask]


def numbers_of(text: str, num_classes: int) -> Tensor:
    """(K,) class weights from "1,2.5"; ones for "none" and "balanced".

    Raises:
        ValueError: it is neither, or there are not as many numbers as classes, or one is negative.
    """
    if text in ("none", "balanced"):
        return torch.ones(num_classes, device="cpu")
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != num_classes or not all(0 <= number < math.inf for number in numbers):
        example = ",".join("1" for _ in range(num_classes))
        raise ValueError(
            f"class_weights is {text!r}; write balanced, none, or {num_classes} numbers of 0 or more: {example}"
        )
    return torch.tensor(numbers, device="cpu")
