"""adain. Xun Huang, Serge Belongie, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization",
ICCV 2017. https://arxiv.org/abs/1703.06868

Style transfer from any image to any other with one network. A frozen encoder f computes maps of the content c and the
style s. The content's maps get the mean and deviation of the style's, channel by channel: t = AdaIN(f(c), f(s)). A
decoder g, the encoder mirrored, is trained so that f(g(t)) equals t and the statistics of g(t) at relu1_1 to relu4_1
equal those of the style. There is no discriminator, and only g is trained. Domain a holds contents, domain b styles.

The encoder is one of three: VGG-19 with the weights that Gatys et al. scaled (`vgg19`); torchvision's VGG-19, which has
another colour normalisation and is not scaled (`vgg19-imagenet`); or a small one that gankit trained on its built-in
images (`small`, scripts/make_style_encoder.py). A run stores the encoder's hash instead of its weights, and refuses to
load with another encoder.

The file is long because it holds the choice of encoders beside the model, and five ways to control a style.

Deviations:
- The style loss is the Torch code's: squares summed over channels, mean over the batch, weight 1e-2. Ports that average
  over channels, with weight 10, balance it differently.
- Images are cropped to squares before they are resized to 512 px; the paper keeps their shape. Random crops of 256 px
  are the paper's.
- g outputs [0, 1], as published weights do; the output is scaled to [-1, 1], and clamped at sampling time.
- The encoder gets grey images as three equal channels; outputs always have three channels.
- The preset `small` also trains the decoder to reconstruct contents and styles from their own maps (`identity_weight`)
  and starts with He's initialisation. Without these, its few hundred batches (160,000 in the paper) give blurs of one
  colour.
- Total variation, whose weight is 0 in the paper, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

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
    """Load an encoder by its name or from a file; returns it and the sha256 of its file.

    Raises:
        ValueError: there is no such encoder, or the file holds no encoder.
        OSError: published weights are not on this machine and cannot be downloaded.
    """
    published = name in PUBLISHED  # a published name takes precedence over a file of that name
    path = style.SMALL if name == "small" else Path(name).expanduser()
    if not published and path.is_file():  # the file may hold published weights
        name = next((key for key, file in PUBLISHED.items() if sha256(path) == file.sha256), name)
    if name in PUBLISHED and torch.empty(0).device.type == "meta":  # only parameters are counted
        sizes = [(3, 3, 1)] * (name == "vgg19") + [(*shape, 3) for shape in VGG19]
        layers = [(torch.empty(out, before, k, k), torch.empty(out)) for before, out, k in sizes]
        return FrozenEncoder(layers, torch.ones(3), torch.zeros(3)), PUBLISHED[name].sha256
    if published:
        try:
            path = fetch(PUBLISHED[name])
        except OSError as error:
            raise OSError(f"{error}. Or train with --preset small, whose encoder comes with gankit") from error
    if not path.is_file() or (name not in PUBLISHED and path.suffix != ".safetensors"):
        kind = f"a file with sha256 {sha256(path)}, not one of the published ones" if path.is_file() else "no file"
        raise ValueError(
            f"encoder {name!r} is {kind}. Choose from {', '.join(PUBLISHED)} and small, or name one of these files or "
            "a .safetensors that scripts/make_style_encoder.py wrote"
        )
    layers = style.convolutions_of(tensors(path), 4)  # up to relu4_1; the encoder uses no later layers
    is_chain = [w.shape[1] for w, _ in layers] == [3, *(len(w) for w, _ in layers[:-1])]
    if not is_chain or sum(w.shape[0] > w.shape[1] for w, _ in layers) != 4:
        raise ValueError(
            f"{path} holds no encoder: expected consecutive convolutions, from 3 channels, that widen four times. "
            f"Choose another --encoder: {', '.join(PUBLISHED)} or small"
        )
    half, one = torch.full((3,), 0.5, device="cpu"), torch.ones(3, device="cpu")
    ranges = {"vgg19": (half, half), "vgg19-imagenet": (half / DEVIATION, (half - MEAN) / DEVIATION)}
    return FrozenEncoder(layers, *ranges.get(name, (one, 0 * one))), sha256(path)


def decoder(shapes: list[tuple[int, int]], init: str = "torch") -> nn.Sequential:
    """The encoder mirrored, with nearest upsampling and no norms: (N, C, h, w) maps of relu4_1 to (N, 3, 8 h, 8 w)."""
    layers: list[nn.Module] = []
    for before, width in reversed(shapes):
        layers += [nn.ReflectionPad2d(1), nn.Conv2d(width, before, 3), nn.ReLU()]
        if 3 < before < width:
            layers += [nn.Upsample(scale_factor=2)]
    net = nn.Sequential(*layers[:-1])
    for conv in [layer for layer in layers[:-2] if init == "he" and isinstance(layer, nn.Conv2d)]:
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.zeros_(conv.bias)
    return net


def colour(images: Tensor) -> Tensor:
    """(N, 1 or 3, H, W) to (N, 3, H, W)."""
    if images.shape[1] not in (1, 3):
        raise ValueError(f"adain takes grey or colour images, of 1 or 3 channels; found {images.shape[1]}")
    return images.expand(-1, 3, -1, -1)


class AdaIN(Recipe):
    """Style transfer: a frozen encoder, adaptive instance normalisation, and a decoder.

    Args:
        encoder: vgg19 (the paper's), vgg19-imagenet (torchvision's), small (not a VGG: trained by gankit on its
            built-in images), or an encoder's file.
        crop: side of random crops to train on; 0: whole images.
        init: the decoder's initialisation: torch's own, or He's, which preserves the scale of the maps and trains
            faster.
        content_weight: weight of the distance between f(g(t)) and t.
        style_weight: lambda, weight of the distance between the statistics of g(t) and of the style.
        identity_weight: weight of the squared error between g(f(x)) and x, for contents and styles; 0 in the paper. The
            small preset uses it to train in a few hundred batches.
        lr: Adam's initial learning rate.
        lr_decay: the learning rate after n batches is lr / (1 + lr_decay n).
        beta1: decay of Adam's mean of gradients.
        beta2: decay of Adam's mean of squared gradients.
    """

    encoder_sha256: Tensor

    data, multiple, ema, defaults = "domains", 8, ("g",), dict(batch=8, ema=0, data="contents,styles")
    presets = {
        "paper": Preset(
            "the paper's: VGG-19, crops of 256 px from contents and styles of 512 px, 160,000 batches",
            model=dict(crop=256),
            settings=dict(resolution="512", batch=8, images=1_280_000),
            spec=Spec((3, 512, 512), other=(3, 512, 512)),
            parameters=dict(g=3_505_219),
        ),
        "cpu": Preset(
            "for images of 28 to 64 px on one CPU core: small's with smaller batches and a longer run; one check on "
            "patches of photographs, distance from the style .20 against .23 of small after 20 CPU s",
            model=dict(encoder="small", init="he", style_weight=0.02, identity_weight=20.0, lr=7e-4, lr_decay=2e-4),
            settings=dict(batch=4, images=30_000, ema=2_000),
        ),
        "small": Preset(
            "patches of 64 px on two CPU cores: gankit's own small encoder, a higher learning rate",
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
                f"crop is {crop}; it must be 0 or a multiple of 8 from 16 to {min(spec.shape[1:])}, the shorter side"
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
        """Raise a ValueError if the loaded weights were trained with an encoder of another sha256 than `digest`."""
        if (trained := bytes(self.encoder_sha256.tolist()).hex()) != digest:
            raise ValueError(
                f"it was trained with an encoder of sha256 {trained}, but the file has {digest}: put that file back"
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
        """(N, C, H, W) images to (N, 3, H, W) in [-1, 1] in other images' style; styles can be mixed or have regions.

        Args:
            images: the contents, 16x16 or larger.
            styles: S style images, (S, C, h, w) or a list of (C, h, w) of any sizes.
            strength: from 0, which reconstructs the images without a style, to 1.
            weights: share of each style, (S,) for all images or (N, S); divided by their sum. None: equal shares.
            masks: (S, H, W) or (N, S, H, W), the region of each style, 0 to 1; elsewhere the image is kept.
            keep_colour: keep the image's colours, by matching the style's colours to them first.

        Raises:
            ValueError: a shape or a number is out of range.
        """
        contents = colour(images)
        if min(images.shape[2:]) < 16:
            raise ValueError(f"adain takes images of at least 16x16; found {images.shape[2]}x{images.shape[3]}")
        maps = self.encoder(contents)[-1]
        shares = self.shares(maps, len(styles), weights, masks)
        target = maps * (1 - shares.sum(1, keepdim=True))
        for image, share in zip(styles, shares.split(1, 1)):
            image = colour(image if image.ndim == 4 else image[None])
            image = match_colours(image.expand(len(contents), -1, -1, -1), contents) if keep_colour else image
            target = target + share * adain(maps, *moments(self.encoder(image)[-1]), share)
        fakes = self.decode(maps.lerp(target, strength))
        return fakes[:, :, : images.shape[2], : images.shape[3]].clamp(-1, 1)

    def shares(self, maps: Tensor, count: int, weights: Tensor | None, masks: Tensor | None) -> Tensor:
        """Shares of `count` styles at each position of (N, C, h, w) maps: (N or 1, S, h, w), summing to at most 1."""
        weights = torch.ones(count) if weights is None else torch.as_tensor(weights)
        weights = weights.to(maps).view(-1, weights.shape[-1])
        fits = count > 0 and weights.shape[1] == count and len(weights) in (1, len(maps))
        if not fits or weights.min() < 0 or not (weights.sum(1) > 0).all():
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
        masks = F.adaptive_avg_pool2d(masks, (maps.shape[2], maps.shape[3])) * (weights > 0)[:, :, None, None]
        mixed = masks * (weights / weights.amax(1, keepdim=True))[:, :, None, None]
        return mixed / mixed.sum(1, keepdim=True).clamp_min(1)

    def strip(self, batch: Batch) -> list[Tensor]:
        """Columns of a preview: a content, a style, and the content in that style."""
        rows = torch.eye(len(batch))
        return [colour(batch.a), colour(batch.b), self.translate(batch.a, batch.b, weights=rows)]

    @classmethod
    def stretched(cls, arguments: dict[str, object], ratio: float) -> dict[str, object]:
        """The learning rate, which falls with the number of batches, ends where it would have ended."""
        decay = cast(float, arguments["lr_decay"])
        return super().stretched(arguments, ratio) | {"lr_decay": decay / ratio}

    def step(self, batch: Batch, run: Run) -> None:
        for group in self.opt["g"].param_groups:
            group["lr"] = self.lr / (1 + self.lr_decay * (run.images / batch.size))
        size = (self.crop, self.crop) if self.crop else self.spec.shape[1:]
        (contents,), (styles,) = (random_crop([colour(images)], batch.draw, *size) for images in (batch.a, batch.b))
        run.update("g", self.g_loss, batch, contents, styles)

    def g_loss(self, batch: Batch, contents: Tensor, styles: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        statistics, maps = self.statistics(styles), self.encoder(contents)[-1]
        target = adain(maps, *statistics[-1])
        taps = self.encoder(self.decode(target))
        outputs = {"content": F.mse_loss(taps[-1], target)}
        moments_of_taps = [moments(tap) for tap in taps]
        distances = [
            (fake - real).square().sum((1, 2, 3)).mean()
            for fakes, reals in zip(moments_of_taps, statistics)
            for fake, real in zip(fakes, reals)
        ]
        outputs["style"] = torch.stack(distances).sum()
        loss = self.content_weight * outputs["content"] + self.style_weight * outputs["style"]
        if self.identity_weight:
            rec = self.decode(torch.cat([maps, self.encoder(styles)[-1]]))
            outputs["identity"] = F.mse_loss(rec, torch.cat([contents, styles]))
            loss = loss + self.identity_weight * outputs["identity"]
        return loss, outputs
