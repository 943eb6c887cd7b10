"""adain. Xun Huang, Serge Belongie, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization", ICCV 2017.
https://arxiv.org/abs/1703.06868

Any picture in the style of any other, by one network. A frozen encoder f gives maps of the content and of the style; the
content's maps get the mean and deviation of the style's, channel by channel: t = AdaIN(f(c), f(s)); and a decoder g, the
encoder mirrored, learns to draw t: f(g(t)) is to be t, and the statistics of g(t) at relu1_1 to relu4_1 are to be the style's.
There is no discriminator, and nothing but g is trained. Domain a holds contents, domain b styles.

The encoder is VGG-19 with the weights that Gatys et al. scaled, found or fetched by its hash (`vgg19`); torchvision's VGG-19
(`vgg19-imagenet`), which wants other colours and was not scaled; or a small one that gankit trained itself on its built-in
pictures (`small`, scripts/make_style_encoder.py). It is not saved with a run; its hash is, and another one is refused.

The file is long because it holds the choice of encoders beside the model, and five ways to steer a style.

Deviations:
- The style loss is the Torch code's: squares summed over channels, mean over the batch, weight 1e-2. Ports that take the mean
  over channels with weight 10 have another balance.
- Images are cropped to squares before they are made 512 px; the paper keeps their shape. Random crops of 256 px are its.
- g draws in [0, 1], as published weights do; what it draws is stretched to [-1, 1], and cut off there when it is used.
- Grey images are shown to the encoder as three equal channels; what is drawn has three always.
- The preset `small` also makes the decoder draw contents and styles again from their own maps (`identity_weight`), and begins with
  He's weights: else a few hundred batches, where the paper has 160,000, give blurs of one colour.
- Not here: total variation, whose weight is 0 in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.nn import random_crop, style
from gankit.nn.style import FrozenEncoder, adain, match_colours, moments
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam
from gankit.weights import WeightsFile, fetch, sha256, tensors

VGG19 = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), *[(256, 256)] * 3, (256, 512)]  # to relu4_1
PUBLISHED = {
    "vgg19": WeightsFile(
        "vgg_normalised.pth",
        "https://github.com/naoto0804/pytorch-AdaIN/releases/download/v0.0.0/vgg_normalised.pth",
        "804ca2835ecf7539f0cd2a7ac3c18ce81e6f8468969ae7117ac0c148d286bb4a",
        80_102_481,
        "MIT; of VGG-19, which is CC BY 4.0, trained on ImageNet",
    ),
    "vgg19-imagenet": WeightsFile(
        "vgg19-dcbb9e9d.pth",
        "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        574_673_361,
        "BSD-3-Clause; trained on ImageNet",
    ),
}
MEAN, DEVIATION = torch.tensor([0.485, 0.456, 0.406], device="cpu"), torch.tensor([0.229, 0.224, 0.225], device="cpu")


def open_encoder(name: str) -> tuple[FrozenEncoder, str]:
    """The encoder of a name or of a file, and its file's sha256.

    Raises:
        ValueError: there is no such encoder, or the file is none.
        OSError: published weights are nowhere, and cannot be downloaded.
    """
    published = name in PUBLISHED  # a name, and never a file that is called like it
    path = style.SMALL if name == "small" else Path(name).expanduser()
    if not published and path.is_file():  # published weights, wherever they are
        name = next((known for known, file in PUBLISHED.items() if sha256(path) == file.sha256), name)
    if name in PUBLISHED and torch.empty(0).device.type == "meta":  # parameters are counted
        sizes = [(3, 3, 1)] * (name == "vgg19") + [(*shape, 3) for shape in VGG19]
        layers = [(torch.empty(out, before, k, k), torch.empty(out)) for before, out, k in sizes]
        return FrozenEncoder(layers, torch.ones(3), torch.zeros(3)), PUBLISHED[name].sha256
    if published:
        try:
            path = fetch(PUBLISHED[name])
        except OSError as error:
            raise OSError(f"{error}. Or train with --preset small, whose encoder comes with gankit") from error
    if not path.is_file() or (name not in PUBLISHED and path.suffix != ".safetensors"):
        found = f"a file with sha256 {sha256(path)}, not one of the published ones" if path.is_file() else "no file"
        raise ValueError(
            f"encoder {name!r} is {found}. Choose from {', '.join(PUBLISHED)} and small, or name one of these files or a "
            ".safetensors that scripts/make_style_encoder.py wrote"
        )
    layers = style.layers_of(tensors(path), 4)  # to relu4_1; what follows is not looked through
    if [w.shape[1] for w, _ in layers] != [3, *(len(w) for w, _ in layers[:-1])] or sum(
        w.shape[0] > w.shape[1] for w, _ in layers
    ) != 4:
        raise ValueError(
            f"{path} is no encoder: it needs convolutions one after the other from 3 channels on, which widen four times"
        )
    half, one = torch.full((3,), 0.5, device="cpu"), torch.ones(3, device="cpu")
    ranges = {"vgg19": (half, half), "vgg19-imagenet": (half / DEVIATION, (half - MEAN) / DEVIATION)}
    return FrozenEncoder(layers, *ranges.get(name, (one, 0 * one))), sha256(path)


def decoder(shapes: list[tuple[int, int]], init: str = "torch") -> nn.Sequential:
    """The encoder's convolutions backwards, (N, C, h, w) maps of relu4_1 to (N, 3, 8 h, 8 w): no norms, nearest upsampling."""
    layers: list[nn.Module] = []
    for before, width in reversed(shapes):
        layers += [nn.ReflectionPad2d(1), nn.Conv2d(width, before, 3), nn.ReLU()]
        if 3 < before < width:
            layers += [nn.Upsample(scale_factor=2)]
    net = nn.Sequential(*layers[:-1])
    for conv in [layer for layer in net[:-1] if init == "he" and isinstance(layer, nn.Conv2d)]:
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.zeros_(conv.bias)
    return net


def colour(images: Tensor) -> Tensor:
    """(N, 1 or 3, H, W) to (N, 3, H, W)."""
    if images.shape[1] not in (1, 3):
        raise ValueError(f"adain takes grey or colour images, of 1 or 3 channels, not {images.shape[1]}")
    return images.expand(-1, 3, -1, -1)


class AdaIN(Recipe):
    """Style transfer: an encoder that is never trained, adaptive instance normalisation, and a decoder.

    Args:
        encoder: vgg19 (the paper's), vgg19-imagenet (torchvision's), small (no VGG: gankit trained it itself, on its built-in pictures),
            or a file of an encoder.
        crop: side of random crops to learn from; 0 for the images as they are.
        init: the decoder's first weights: torch's own, or He's, which keep the maps' size and so learn sooner.
        content_weight: weight of the distance of f(g(t)) from t.
        style_weight: lambda, weight of the distance of the statistics from the style's.
        identity_weight: weight of the squared error of g(f(x)) to x, of contents and styles: not in the paper, where it is 0; with it
            the small preset learns what the paper has 160,000 batches for in a few hundred.
        lr: Adam's learning rate at first.
        lr_decay: the learning rate after n batches is lr / (1 + lr_decay n).
        beta1: decay of Adam's mean of gradients.
        beta2: decay of Adam's mean of squared gradients.
    """

    data, multiple, ema, defaults = "domains", 8, ("g",), dict(batch=8, ema=0, data="contents,styles")
    presets = {
        "paper": Preset(
            "the paper's: VGG-19, crops of 256 px from contents and styles of 512 px, 160,000 batches",
            model=dict(crop=256),
            settings=dict(resolution="512", batch=8, images=1_280_000),
            spec=Spec((3, 512, 512), other=(3, 512, 512)),
            parameters=dict(g=3_505_219),
        ),
        "small": Preset(
            "patches of 64 px on two CPU cores: gankit's own small encoder and its mirror, larger steps",
            model=dict(encoder="small", init="he", style_weight=0.02, identity_weight=20.0, lr=7e-4, lr_decay=5e-4),
            settings=dict(batch=8, images=12_000, ema=1_000, log=1_000, preview=3_000),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        encoder: str = "vgg19",
        crop: int = 0,
        init: Literal["torch", "he"] = "torch",
        content_weight: float = 1.0,
        style_weight: float = 1e-2,
        identity_weight: float = 0.0,
        lr: float = 1e-4,
        lr_decay: float = 5e-5,
        beta1: float = 0.9,
        beta2: float = 0.999,
    ):
        super().__init__(spec)
        if crop and (crop % 8 or not 16 <= crop <= min(spec.shape[1:])):
            raise ValueError(
                f"crop is {crop}; it is a multiple of 8 from 16 to {min(spec.shape[1:])}, the images' shorter side, or 0"
            )
        if init not in ("torch", "he"):
            raise ValueError(f"init is {init!r}; choose from torch and he")
        self.crop, self.lr, self.lr_decay = crop, lr, lr_decay
        self.content_weight, self.style_weight, self.identity_weight = content_weight, style_weight, identity_weight
        self.encoder, digest = open_encoder(encoder)
        self.register_buffer("encoder_sha256", torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8))
        self.register_load_state_dict_post_hook(lambda recipe, _: recipe.same_encoder(digest))
        self.g = decoder(self.encoder.shapes, init)
        self.opt = {"g": adam(self.g.parameters(), lr, (beta1, beta2))}

    @staticmethod
    def nearest(height: int, width: int) -> tuple[int, int]:
        return max(16, (height + 4) // 8 * 8), max(16, (width + 4) // 8 * 8)

    def same_encoder(self, digest: str) -> None:
        """Refuse weights that were trained with another encoder than the one of this sha256."""
        if (wanted := bytes(self.encoder_sha256.tolist()).hex()) != digest:
            raise ValueError(
                f"it was trained with an encoder of sha256 {wanted}, and the one found has {digest}: put that file back"
            )

    def decode(self, maps: Tensor) -> Tensor:
        """(N, C, h, w) maps of relu4_1 to (N, 3, 8 h, 8 w) images, which may leave [-1, 1]."""
        return self.g(maps) * 2 - 1

    def statistics(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Mean and deviation, (N, C, 1, 1) each, of relu1_1 to relu4_1 of (N, 1 or 3, H, W) images."""
        return [moments(maps) for maps in self.encoder(colour(images))]

    def translate(
        self,
        images: Tensor,
        styles: Tensor | Sequence[Tensor],
        strength: float = 1.0,
        weights: Tensor | None = None,
        masks: Tensor | None = None,
        keep_colour: bool = False,
    ) -> Tensor:
        """(N, C, H, W) images in the style of others, (N, 3, H, W) in [-1, 1]; several styles are mixed, or each has its region.

        Args:
            images: the contents, of any size from 16x16.
            styles: S style images, (S, C, h, w) or a list of (C, h, w) of any sizes.
            strength: from 0, the images drawn again as they are, to 1.
            weights: how much of each style, (S,) for all images or (N, S); divided by their sum. All alike without it.
            masks: (S, H, W) or (N, S, H, W), where each style goes, 0 to 1; where none goes, the image stays.
            keep_colour: the image keeps its colours: those of the style are matched to it first.

        Raises:
            ValueError: a shape or a number is wrong.
        """
        pictures = colour(images)
        if min(images.shape[2:]) < 16:
            raise ValueError(f"adain takes images of at least 16x16, not {images.shape[2]}x{images.shape[3]}")
        content = self.encoder(pictures)[-1]
        shares = self.shares(content, len(styles), weights, masks)
        target = content * (1 - shares.sum(1, keepdim=True))
        for like, share in zip(styles, shares.split(1, 1)):
            like = colour(like if like.ndim == 4 else like[None])
            like = match_colours(like.expand(len(pictures), -1, -1, -1), pictures) if keep_colour else like
            target = target + share * adain(content, *moments(self.encoder(like)[-1]), share)
        drawn = self.decode(content.lerp(target, strength))
        return drawn[:, :, : images.shape[2], : images.shape[3]].clamp(-1, 1)

    def shares(self, maps: Tensor, count: int, weights: Tensor | None, masks: Tensor | None) -> Tensor:
        """How much of each style there is at each place of (N, C, h, w) maps: (N or 1, S, h, w), at most 1 together."""
        weights = torch.ones(count) if weights is None else torch.as_tensor(weights)
        weights = weights.to(maps).view(-1, weights.shape[-1])
        if (
            count == 0
            or weights.shape[1] != count
            or len(weights) not in (1, len(maps))
            or weights.min() < 0
            or not (weights.sum(1) > 0).all()
        ):
            raise ValueError(
                f"{count} styles need as many weights of 0 or more, not all of them 0; found {weights.tolist()}"
            )
        if masks is None:
            return (weights / weights.sum(1, keepdim=True))[:, :, None, None].expand(-1, -1, *maps.shape[2:])
        masks = masks.to(maps).view(-1, *masks.shape[-3:])
        if masks.shape[1] != count or len(masks) not in (1, len(maps)) or not 0 <= masks.min() <= masks.max() <= 1:
            raise ValueError(
                f"{count} styles need as many masks, (S, H, W) or (N, S, H, W) from 0 to 1; found {tuple(masks.shape)}"
            )
        masks = F.adaptive_avg_pool2d(masks, maps.shape[2:]) * (weights > 0)[:, :, None, None]
        mixed = masks * (weights / weights.amax(1, keepdim=True))[:, :, None, None]
        return mixed / mixed.sum(1, keepdim=True).clamp_min(1)

    def strip(self, batch: Batch) -> list[Tensor]:
        """Columns of a preview: content, style, and the content in that style."""
        rows = torch.eye(len(batch))
        return [colour(batch.a), colour(batch.b), self.translate(batch.a, batch.b, weights=rows)]

    def step(self, batch: Batch, run: Run) -> None:
        for group in self.opt["g"].param_groups:
            group["lr"] = self.lr / (1 + self.lr_decay * (run.images / batch.size))
        size = (self.crop, self.crop) if self.crop else self.spec.shape[1:]
        (contents,), (styles,) = (random_crop([colour(images)], batch.draw, *size) for images in (batch.a, batch.b))
        run.update("g", self.g_loss, batch, contents, styles)

    def g_loss(self, batch: Batch, contents: Tensor, styles: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        wanted, maps = self.statistics(styles), self.encoder(contents)[-1]
        target = adain(maps, *wanted[-1])
        image = self.decode(target)
        drawn = self.encoder(image)
        outputs = {"content": F.mse_loss(drawn[-1], target)}
        found = [moments(maps) for maps in drawn]
        distances = [
            (a - b).square().sum((1, 2, 3)).mean() for one, two in zip(found, wanted) for a, b in zip(one, two)
        ]
        outputs["style"] = torch.stack(distances).sum()
        loss = self.content_weight * outputs["content"] + self.style_weight * outputs["style"]
        if self.identity_weight:
            again = self.decode(torch.cat([maps, self.encoder(styles)[-1]]))
            outputs["identity"] = F.mse_loss(again, torch.cat([contents, styles]))
            loss = loss + self.identity_weight * outputs["identity"]
        return loss, outputs
