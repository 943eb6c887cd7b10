"""unet. Olaf Ronneberger, Philipp Fischer, Thomas Brox, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", MICCAI 2015. https://arxiv.org/abs/1505.04597

A segmentation network, not a GAN: it predicts the class of every pixel. The contracting path halves maps and doubles
channels; the expanding path concatenates each map with the map of its size from the contracting path, which still has
the exact positions. Convolutions are unpadded ("valid"), so the output is smaller than the input: images get a
border, mirrored at their edges, and large images are processed in tiles that overlap by that border, which changes no
output. Training needs few images because each is deformed anew in every epoch. Pixels between touching cells have the
largest weight in the loss, which teaches the network to separate cells.

The file is long because it holds what the paper does around its network: deformation, weights of pixels, tiles.

Deviations:
- The paper trains on tiles of 388 px with the image around them; here on whole images, whose border is always mirrored,
  so that every pixel of the mask counts. `segment` predicts in tiles.
- The loss is the paper's sum over pixels divided by their number; the class weights make the mean weight of a pixel 1.
  The shares of the classes are those of all masks seen so far; void pixels are ignored.
- Not in the paper: the learning rate; the dropout rate (after the last two pairs of convolutions of the contracting
  path); the range of rotation (full turns) and of grey values; the pixels beyond the edges of a deformed image (its
  mirror image). The only shifts are those of the deformation.
- A border pixel is a pixel of a cell next to one that belongs to no cell. With several classes, all but the first are
  cells.
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
    """Two 3x3 convolutions with ReLU: (N, before, H, W) to (N, after, H - 4, W - 4), or to the same size padded."""
    layers: list[nn.Module] = []
    for channels in (before, after):
        normed = [BatchNorm2d(after)] if norm else []
        layers += [nn.Conv2d(channels, after, 3, padding=pad, bias=not norm), *normed, nn.ReLU()]
    return nn.Sequential(*layers)


class Network(nn.Module):
    """Figure 1: (N, C, H, W) images to (N, K, H - 2 margin, W - 2 margin) logits, or the same size with padding 1."""

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
    """Weights N(0, 2 / fan-in), biases 0 (section 3); a unit of an up-convolution has one input pixel of each map."""
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
    """Deform and rotate images and masks alike, and change the images' grey values (section 3.1).

    Gaussian displacements of a grid of 3x3 points, from corner to corner, are interpolated bicubically to every pixel.
    Images are mirrored beyond their edges. Images are sampled bilinearly, masks by nearest neighbour.

    Args:
        images: (N, C, H, W).
        mask: (N, H, W) int64.
        draw: `Batch.draw`.
        elastic: standard deviation of the displacements in pixels, 10 in the paper.
        rotate: largest angle in degrees, in both directions.
        grey: largest relative change of contrast, and largest change of brightness as a share of half the range.
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
    """(N, C, H, W) images sampled at (N, h, w) coordinates in pixels, mirrored beyond the edges: (N, C, h, w)."""
    unit = [mirrored(at, side) * (2 / max(1, side - 1)) - 1 for at, side in zip((x, y), images.shape[:1:-1])]
    return F.grid_sample(images, torch.stack(unit, -1), padding_mode="border", align_corners=True)


def nearest(mask: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """(N, H, W) int64 maps at the pixels nearest to (N, h, w) coordinates, mirrored beyond the edges: (N, h, w)."""
    y, x = (mirrored(at.round(), side).long() for at, side in zip((y, x), mask.shape[1:]))
    return mask.flatten(1).gather(1, (y * mask.shape[2] + x).flatten(1)).view(y.shape)


# Weights of pixels ---------------------------------------------------------------------------------------------------


def components(inside: Tensor) -> Tensor:
    """Label the 4-connected components of (N, H, W) bool masks: int64, 0 outside, one number per component inside."""
    n, height, width = inside.shape
    numbers = torch.arange(1, height * width + 1, device=inside.device).view(1, height, width) * inside
    while True:
        wide = F.pad(numbers, (1, 1, 1, 1))
        neighbours = [wide[:, 1:-1, :-2], wide[:, 1:-1, 2:], wide[:, :-2, 1:-1], wide[:, 2:, 1:-1]]
        largest = torch.stack([*neighbours, numbers]).amax(0)
        flat = largest.flatten(1)  # a number is a pixel's position, and that pixel's number may have grown
        spread = flat.gather(1, (flat - 1).clamp(min=0)).view(n, height, width) * inside
        if torch.equal(spread, numbers):
            return numbers
        numbers = spread


def border_weight(mask: Tensor, weight: float = 10.0, sigma: float = 5.0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Eq. 2: weight * exp(-(d1 + d2)^2 / (2 sigma^2)) at each pixel of (N, H, W) masks, d1 and d2 in pixels.

    d1 and d2 are the distances to the borders of the nearest and the second nearest cell, a component of pixels that
    are neither class 0 nor void. The weight is 0 in masks with fewer than two cells.
    """
    inside = (mask != 0) & (mask != VOID)
    wide = F.pad(inside[:, None].to(dtype), (1, 1, 1, 1), mode="replicate")[:, 0] > 0
    around = wide[:, 1:-1, :-2] & wide[:, 1:-1, 2:] & wide[:, :-2, 1:-1] & wide[:, 2:, 1:-1]
    numbers = components(inside) * ~around  # only of the border pixels
    ys, xs = (torch.arange(s, device=mask.device, dtype=dtype) for s in mask.shape[1:])
    out = torch.zeros(mask.shape, device=mask.device, dtype=dtype)
    for weights, cells in zip(out, numbers):
        sizes = cells[cells > 0].unique(return_counts=True)[1].tolist()
        if len(sizes) < 2:
            continue
        borders = cells.flatten().argsort(stable=True)[-sum(sizes) :]  # positions of border pixels, sorted by cell
        across = (xs - borders[:, None] % len(xs)).square()
        chunk = CHUNK // across.numel() + 1
        for rows, y in zip(weights.split(chunk), ys.split(chunk)):
            squares = (y - borders[:, None] // len(xs)).square()[:, :, None] + across[:, None]
            nearest_two = torch.stack([cell.amin(0) for cell in squares.split(sizes)]).topk(2, dim=0, largest=False)[0]
            rows.copy_(weight * (-nearest_two.sqrt().sum(0).square() / (2 * sigma**2)).exp())
    return out


CHUNK = 2**20  # distances computed at once


# Tiles ---------------------------------------------------------------------------------------------------------------


class Tile(NamedTuple):
    """A tile along one side: the network sees pixels first to last - 1; `keep` outputs, from `cut` on, are used."""

    first: int
    last: int
    cut: int
    keep: int


def tiles(side: int, tile: int, levels: int, valid: bool) -> Iterator[Tile]:
    """Tiles along one side of an image, whose kept outputs are pixels 0 to side - 1 in order.

    Tiles start at multiples of 2^levels, so that every map has the same pixels as in one pass over the whole image.
    The margin is the receptive field to each side. Valid convolutions consume it; padded convolutions see zeros at
    the edges of a tile, so their outputs in the margin are discarded, except at the image's own edges.

    Args:
        side: pixels of the image.
        tile: most outputs of one tile; 0: all.
        levels: number of halvings.
        valid: the convolutions are unpadded.
    """
    factor = 1 << levels
    margin = 6 * factor - 4 if valid else 6 * factor
    rest = 4 % factor if valid else 0  # output sides are a multiple of the factor plus this, such as 388
    least = 1 if valid else 2  # batch norm needs more than one pixel in the innermost map
    whole = max(least, -(-(side - rest) // factor)) * factor
    step = max(factor, (tile - rest) // factor * factor) if tile else whole
    for first in range(0, max(1, side - rest), step):
        size, last = min(step, whole - first), first + step >= side - rest
        begin, end = first - margin, first + size + rest + margin
        if not valid:
            begin, end = max(0, begin), min(whole, end)
        yield Tile(begin, end, 0 if valid else first - begin, side - first if last else size)


# The paper -----------------------------------------------------------------------------------------------------------


class UNet(Recipe):
    """U-Net: semantic segmentation, trained on images with label maps of any height and width.

    Args:
        padding: "valid", the paper's unpadded convolutions, or "same", with zeros around every map.
        norm: batch norm after each 3x3 convolution; not in the paper.
        levels: number of halvings.
        width: channels of the first maps; each halving doubles them.
        dropout: dropout rate after the last two pairs of convolutions of the contracting path.
        class_weights: w_c, "balanced" (inverse share of each class), "none" (1), or a number for each class: 1,2.5.
        border_weight: w_0, weight added where two cells touch; 0: none.
        border_sigma: sigma, width of the weighted borders in pixels.
        elastic: standard deviation of the displacements of the nine points of the deformation, in pixels.
        rotate: largest angle of rotation in degrees, in both directions.
        grey: largest relative change of contrast, and of brightness as a share of half the range.
        optimizer: SGD with momentum, as in the paper, or Adam.
        lr: the optimizer's learning rate.
        momentum: SGD's momentum, and Adam's decay of the mean of gradients.
        tile: side of the tiles that `segment` predicts at once, in pixels; 0: the whole image.
    """

    counted: Tensor
    weights: Tensor

    data, ema = "masks", ("net",)
    defaults: ClassVar[dict[str, object]] = dict(data="cells", batch=1, images=100_000, ema=0)
    presets: ClassVar[dict[str, Preset]] = {
        "paper": Preset(
            "the paper's network for two classes, one image a step",
            spec=Spec((1, 512, 512), num_classes=2),
            parameters=dict(net=31_030_658),
        ),
        "padded": Preset(
            "the common variant: padded convolutions, batch norm, no dropout, Adam",
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
                f"unet needs masks of two or more classes; this data has {spec.num_classes}. Try --data cells"
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
        """The weighted cross-entropy of deformed images and masks (eq. 1 and 2), in nats per pixel."""
        images, mask = deform(batch.real, batch.mask, batch.draw, *self.changes)
        weight = self.class_weights()[mask.clamp(max=self.spec.num_classes - 1)]
        if self.border[0]:
            weight = weight + border_weight(mask, *self.border, weight.dtype)
        logits, is_labelled = self.scores(images, 0), mask != VOID
        right = (is_labelled & (logits.argmax(1) == mask)).flatten(1).sum(1)
        accuracy = right / is_labelled.flatten(1).sum(1).clamp(min=1)
        return map_cross_entropy(logits, mask, weight), {"right": accuracy.mean()}

    def class_weights(self) -> Tensor:
        """(K,) w_c; if balanced, 1 / (share of the class in all pixels seen so far * number of classes seen)."""
        if not self.balanced:
            return self.weights
        share = self.counted / self.counted.sum().clamp(min=1)
        return torch.where(share > 0, 1 / (share * (share > 0).sum()), 0).to(self.weights)

    def scores(self, images: Tensor, tile: int | None = None) -> Tensor:
        """(N, C, H, W) images in [-1, 1], of any height and width, to (N, K, H, W) logits.

        Args:
            images: the images; they are mirrored beyond their edges.
            tile: most outputs of one pass along each side, in pixels; 0: all; None: the model's setting. It changes the
                memory that a pass needs, but no logit.
        """
        tile = self.tile if tile is None else tile
        down, across = (list(tiles(side, tile, self.levels, self.valid)) for side in images.shape[2:])
        height, width = images.shape[2:]
        rows = []
        for y in down:
            band = images[:, :, mirrored(torch.arange(y.first, y.last, device=images.device), height)]
            row = []
            for x in across:
                part = band[..., mirrored(torch.arange(x.first, x.last, device=images.device), width)]
                row.append(self.net(part)[:, :, y.cut : y.cut + y.keep, x.cut : x.cut + x.keep])
            rows.append(torch.cat(row, 3))
        return torch.cat(rows, 2)

    def segment(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images in [-1, 1], of any height and width, to (N, H, W) int64 classes, tile by tile."""
        return self.scores(images).argmax(1)

    def strip(self, batch: Batch) -> list[Tensor]:
        """Columns of a preview: the images, their predicted classes, and the true ones."""
        return [batch.real, self.segment(batch.real), batch.mask]


def numbers_of(text: str, num_classes: int) -> Tensor:
    """(K,) class weights from "1,2.5"; ones for "none" and "balanced".

    Raises:
        ValueError: the text is neither a keyword nor one finite number of 0 or more for each class.
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
