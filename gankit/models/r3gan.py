"""r3gan. Yiwen Huang, Aaron Gokaslan, Volodymyr Kuleshov, James Tompkin, "The GAN is dead; long live the GAN! A
Modern GAN Baseline", NeurIPS 2024. https://arxiv.org/abs/2501.05441

D learns to rate each real above the fake paired with it, and G the reverse (relativistic pairing loss). On its own
this loss need not converge, but with zero-centred gradient penalties on reals (R1) and fakes (R2) it converges
locally. StyleGAN's tricks are then unnecessary, and both networks are a plain stack of modern residual blocks: a 1x1
convolution that widens, a grouped 3x3, a 1x1 that narrows, with leaky ReLUs and fix-up initialization instead of
normalization. Maps are doubled and halved with the filter (1, 3, 3, 1). G begins with a learned 4x4 map, and D ends
with one. With labels, a class embedding is an input of G, and another is multiplied with D's output. Fakes have the
classes of the reals, so that both images of a pair have the same class.

Learning rates, Adam's beta2 and the penalty weight gamma follow half a cosine over the run. As in the authors' code,
D and G see different reals: batches go to D and to G in turn. The authors count D's images; here both networks' are
counted. D's inputs are augmented by the operations of ada and cutout, with a probability that rises on the same half
cosine.

The file is long because its networks are the paper's own, and six sizes of them are published.

On a CPU the paper's network learns slowly, for three reasons that arguments remove (see the preset "cpu"): a linear
output, which takes long to draw a ground of pure black or white (`tanh`), residual blocks at the image's full size,
which have most of the arithmetic (`patch`), and second derivatives in each update of D (`penalty_every`).

Deviations: the averaged weights' half-life is the setting `ema`, or a twentieth of the images seen if that is less,
and not half a cosine from 0, because the training loop does the averaging. With `precision` bf16, D's updates stay in
float32, because they contain second derivatives, and the rest is autocast; the authors use bf16 only in the
highest-resolution stages. `ada` differs from the authors' in four points: see gankit/augment/ada.py.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.losses import relativistic, scores
from gankit.nn import Fir, PenalisedConv2d, nearest_size, stages
from gankit.penalties import r1
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam


class Block(nn.Module):
    """x + f(x), where f is 1x1 to twice the channels, grouped 3x3, 1x1 back, with leaky ReLUs between them."""

    def __init__(self, channels: int, group: int):
        super().__init__()
        self.widen = PenalisedConv2d(channels, 2 * channels, 1)
        self.mix = PenalisedConv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels // group)
        self.narrow = PenalisedConv2d(2 * channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to the same."""
        h = F.leaky_relu(self.widen(x), 0.2, inplace=True)
        return self.narrow(F.leaky_relu(self.mix(h), 0.2, inplace=True)) + x


def tower(widths: tuple[int, ...], blocks: int, group: int, up: bool) -> nn.Sequential:
    """Blocks of each width in turn; between widths the map is doubled or halved, at the larger resolution's width."""
    layers: list[nn.Module] = []
    for i, width in enumerate(widths):
        previous = widths[max(0, i - 1)]
        change = [nn.Conv2d(previous, width, 1, bias=False)] if width != previous else []
        if i:
            layers += [*change, Fir(up=2)] if up else [Fir(down=2), *change]
        layers += [Block(width, group) for _ in range(blocks)]
    return nn.Sequential(*layers)


def init_fixup(net: nn.Module) -> None:
    """Weights N(0, g^2 / fan-in): g = 1, in L blocks sqrt(2 / 1.04) / L^(1/4) and 0 in their last layer; biases 0."""
    for layer in net.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.normal_(layer.weight, 0.0, 1 / math.sqrt(layer.weight[0].numel()))
    blocks = [layer for layer in net.modules() if isinstance(layer, Block)]
    with torch.no_grad():
        for block in blocks:
            for layer in (block.widen, block.mix):
                layer.weight.mul_(math.sqrt(2 / 1.04) / len(blocks) ** 0.25)
                layer.bias.zero_()
            block.narrow.weight.zero_()


class Generator(nn.Module):
    """Linear layer on z and a class embedding of the same length, times a learned map; upsampling tower; 1x1."""

    def __init__(
        self,
        z_dim: int,
        shape: tuple[int, ...],
        widths: tuple[int, ...],
        blocks: int,
        group: int,
        classes: int,
        patch: int,
        tanh: bool,
    ):
        super().__init__()
        start = [side // patch >> len(widths) - 1 for side in shape[1:]]
        self.embed = nn.Embedding(classes, z_dim) if classes else None
        self.dense = nn.Linear(2 * z_dim if classes else z_dim, widths[0], bias=False)
        self.basis = nn.Parameter(torch.randn(widths[0], *start))
        self.trunk = tower(widths, blocks, group, up=True)
        self.out = nn.Conv2d(widths[-1], shape[0] * patch**2, 1, bias=False)
        self.unfold, self.bound = nn.PixelShuffle(patch), nn.Tanh() if tanh else nn.Identity()
        init_fixup(self)
        if classes:
            nn.init.normal_(self.embed.weight, 0.0, 1 / math.sqrt(classes))

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, z_dim), and (N,) labels if there are classes, to (N, C, H, W); without tanh not clamped to [-1, 1]."""
        z = z if label is None else torch.cat([z, self.embed(label)], 1)
        return self.bound(self.unfold(self.out(self.trunk(self.dense(z)[:, :, None, None] * self.basis))))


class Discriminator(nn.Module):
    """1x1, downsampling tower, sum of products with a learned map, linear; with classes, times the class embedding."""

    def __init__(
        self, shape: tuple[int, ...], widths: tuple[int, ...], blocks: int, group: int, classes: int, patch: int
    ):
        super().__init__()
        end, wide = [side // patch >> len(widths) - 1 for side in shape[1:]], widths[0]
        self.fold = nn.PixelUnshuffle(patch)
        self.start = nn.Conv2d(shape[0] * patch**2, widths[-1], 1, bias=False)
        self.trunk = tower(widths[::-1], blocks, group, up=False)
        self.basis = nn.Parameter(torch.randn(wide, *end) / math.sqrt(math.prod(end)))
        self.dense = nn.Linear(wide, wide if classes else 1, bias=False)
        self.embed = nn.Embedding(classes, wide) if classes else None
        init_fixup(self)
        if classes:
            nn.init.normal_(self.embed.weight, 0.0, 1 / math.sqrt(classes * wide))

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, C, H, W) in [-1, 1], and (N,) labels if there are classes, to (N,) logits."""
        h = self.dense((self.trunk(self.start(self.fold(x))) * self.basis).sum((2, 3)))
        return h.squeeze(1) if label is None else (h * self.embed(label)).sum(1)


class R3GAN(Recipe):
    """Relativistic GAN with R1 and R2, for images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        z_dim: length of the latent z, and of the class embedding in G.
        width: channels of maps up to 32 px; beyond, they are halved with each doubling of the map.
        widths: channels of each map, from the smallest to the image's size, instead of `width`.
        width_image: channels of the largest map, which double with each halving up to `width`; 0 for the authors' rule.
        blocks: residual blocks per size of map.
        group: channels per group of the 3x3 convolutions.
        patch: side of the squares of pixels that the networks treat as channels of one place, so that no layer works
            at the image's full size: a power of two; 1 in the paper.
        tanh: end G in a tanh. The paper's G is linear, and takes long to draw a ground of pure black or white.
        conditional: use labels if the data has them.
        lr: initial learning rate of Adam.
        lr_end: final learning rate.
        beta2: initial beta2 of Adam; beta1 is 0.
        beta2_end: final beta2.
        gamma: initial weight of (R1 + R2) / 2.
        gamma_end: final gamma.
        penalty_every: updates of D per penalty, whose weight is then multiplied by it (lazy regularisation, Karras et
            al. 2020); 1 in the paper.
        p_end: final probability of each operation of ada, initially 0; if 0, augment_p sets it.
        anneal: share of the run after which all these keep their final values.
    """

    labels, ema, defaults = "optional", ("g",), dict(
        batch=256, images=40_000_000, ema=1_000_000,
        augment="ada", augment_policy="blit,geometric,color:0.5,cutout", augment_target=0.0,
    )  # fmt: skip
    nearest = staticmethod(nearest_size)
    presets = {
        "paper": Preset(
            "the authors' CIFAR-10 network with labels",
            settings=dict(resolution="32", mirror=True, batch=512, ema=10_000_000),
            spec=Spec((3, 32, 32), num_classes=10),
            parameters=dict(g=20_781_952, d=21_280_512),
        ),
        "paper-unconditional": Preset(
            "the authors' CIFAR-10 network without labels",
            settings=dict(resolution="32", mirror=True, batch=512, ema=10_000_000),
            model=dict(conditional=False),
            spec=Spec((3, 32, 32)),
            parameters=dict(g=20_732_160, d=20_683_776),
        ),
        "paper-ffhq-64": Preset(
            "the authors' network for FFHQ at 64 px",
            settings=dict(resolution="64", mirror=True),
            model=dict(gamma=2.0, gamma_end=0.2, p_end=0.3),
            spec=Spec((3, 64, 64)),
            parameters=dict(g=22_429_824, d=22_381_440),
        ),
        "paper-ffhq-256": Preset(
            "the authors' network for FFHQ at 256 px",
            settings=dict(resolution="256", mirror=True),
            model=dict(gamma=150.0, gamma_end=15.0, p_end=0.3),
            spec=Spec((3, 256, 256)),
            parameters=dict(g=23_057_952, d=23_009_568),
        ),
        "paper-imagenet-32": Preset(
            "the authors' network for ImageNet at 32 px",
            settings=dict(resolution="32", mirror=True, batch=4096, images=400_000_000, ema=100_000_000),
            model=dict(width=1536, group=32, gamma=0.5, gamma_end=0.05, p_end=0.5),
            spec=Spec((3, 32, 32), num_classes=1000),
            parameters=dict(g=82_914_304, d=86_548_992),
        ),
        "paper-imagenet-64": Preset(
            "the authors' network for ImageNet at 64 px",
            settings=dict(resolution="64", mirror=True, batch=4096, images=400_000_000, ema=100_000_000),
            model=dict(widths=(1536,) * 5, group=32, gamma=1.0, gamma_end=0.1, p_end=0.4),
            spec=Spec((3, 64, 64), num_classes=1000),
            parameters=dict(g=103_570_432, d=107_205_120),
        ),
        "cpu": Preset(
            "for images of 28 to 64 px on one CPU core: tanh at G's end, no layer at the image's full size, penalties "
            "in every 8th update of D; chosen among sixteen settings by Frechet distance at equal CPU time, on "
            "Fashion-MNIST at 28 px, one seed",
            model=dict(
                z_dim=32,
                width=64,
                width_image=32,
                blocks=1,
                patch=2,
                tanh=True,
                lr=2e-3,
                lr_end=5e-4,
                gamma=0.5,
                gamma_end=0.05,
                penalty_every=8,
            ),
            settings=dict(batch=16, images=200_000, ema=5_000, augment="none"),
        ),
        "small": Preset(
            "digits at 16 px on two CPU cores",
            model=dict(z_dim=32, widths=(64, 32, 16), blocks=1, lr=2e-3, lr_end=5e-4, gamma=0.5, gamma_end=0.05),
            settings=dict(batch=16, images=40_000, ema=4_000, augment="none"),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        z_dim: int = 64,
        width: int = 768,
        widths: tuple[int, ...] = (),
        width_image: int = 0,
        blocks: int = 2,
        group: int = 16,
        patch: int = 1,
        tanh: bool = False,
        conditional: bool = True,
        lr: float = 2e-4,
        lr_end: float = 5e-5,
        beta2: float = 0.9,
        beta2_end: float = 0.99,
        gamma: float = 0.05,
        gamma_end: float = 0.005,
        penalty_every: int = 1,
        p_end: float = 0.55,
        anneal: float = 1.0,
    ):
        super().__init__(spec if conditional else replace(spec, num_classes=0))
        self.z_dim, self.anneal, self.penalty_every = z_dim, anneal, penalty_every
        self.ends = {"lr": (lr, lr_end), "beta2": (beta2, beta2_end), "gamma": (gamma, gamma_end), "p": (0.0, p_end)}
        classes, halvings = self.spec.num_classes, stages(spec.height, spec.width)
        if patch not in (1 << i for i in range(halvings)):
            raise ValueError(
                f"patch is {patch}; for {spec.height}x{spec.width} images give a power of two below {1 << halvings}"
            )
        count = halvings + 2 - patch.bit_length()
        if width_image:
            widths = tuple(widths) or tuple(min(width, width_image << i) for i in reversed(range(count)))
        widths = tuple(widths) or tuple(width >> max(0, i - 3) for i in range(count))
        if len(widths) != count:
            raise ValueError(
                f"{spec.height}x{spec.width} images need {count} widths, one per size of map; found {len(widths)}"
            )
        if odd := [w for w in widths if 2 * w % group]:
            raise ValueError(
                f"twice each width must be a multiple of --group {group}; width {odd[0]} gives {2 * odd[0]}"
            )
        if penalty_every < 1:
            raise ValueError(f"penalty_every is {penalty_every}; give 1, the paper's value, or more")
        if not anneal > 0:
            raise ValueError(f"anneal is {anneal}; it must be above 0 (1 is the whole run)")
        self.g = Generator(z_dim, spec.shape, widths, blocks, group, classes, patch, tanh)
        self.d = Discriminator(spec.shape, widths, blocks, group, classes, patch)
        self.opt = {name: adam(getattr(self, name).parameters(), lr, (0.0, beta2)) for name in ("d", "g")}

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents from N(0, 1)."""
        return torch.randn(n, self.z_dim)

    def sample(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, z_dim) latents, and (N,) labels if trained with labels, to (N, C, H, W) images, clamped to [-1, 1]."""
        return self.g(z, label).clamp(-1, 1)

    def schedule(self, done: float) -> dict[str, float]:
        """lr, beta2, gamma and p after a share `done` of the run: half a cosine to the final values, then constant."""
        remaining = 0.5 * (1 + math.cos(math.pi * min(1.0, done / self.anneal)))
        return {name: end + (start - end) * remaining for name, (start, end) in self.ends.items()}

    def step(self, batch: Batch, run: Run) -> None:
        current = self.schedule(run.done)
        for opt in self.opt.values():
            opt.param_groups[0].update(lr=current["lr"], betas=(0.0, current["beta2"]))
        if run.augment is not None and current["p"]:
            run.augment.get_buffer("p").fill_(current["p"])
        if run.step % 2 == 0:
            is_penalised = run.step // 2 % self.penalty_every == 0
            run.update("d", partial(self.d_loss, gamma=current["gamma"] if is_penalised else 0.0), batch)
        else:
            run.update("g", self.g_loss, batch)

    def fakes(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """A fake for each real of the batch, of the same class, and the labels."""
        label = batch.label if self.spec.num_classes else None
        return self.g(batch.draw(self.noise), label), label

    def d_loss(self, batch: Batch, gamma: float) -> tuple[Tensor, dict[str, Tensor]]:
        images, label = self.fakes(batch)
        labels, logits = None if label is None else label.repeat(2), []

        def critic(x: Tensor) -> Tensor:  # keeps the logits, which the penalty computes anyway
            logits.append(self.d(torch.cat([batch.augment(half) for half in x.chunk(2)]), labels))
            return logits[0]

        shown, outputs = torch.cat([batch.real, images]), {}
        if gamma:
            penalty = r1(critic, shown)  # the mean over reals and fakes is (R1 + R2) / 2
            outputs = {"penalty": penalty, "gamma": penalty.new_tensor(gamma)}
        else:
            critic(shown)
        real, fake = logits[0].chunk(2)
        loss = relativistic.d(real, fake) + self.penalty_every * gamma * outputs.get("penalty", 0)
        right = (real > fake).float().mean()
        return loss, outputs | {"right": right, **scores(real, fake, None)}

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        images, label = self.fakes(batch)
        return relativistic.g(self.d(batch.augment(images), label), self.d(batch.augment(batch.real), label)), {}
