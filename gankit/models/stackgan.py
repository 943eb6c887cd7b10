"""stackgan. Han Zhang, Tao Xu, Hongsheng Li, Shaoting Zhang, Xiaogang Wang, Xiaolei Huang, Dimitris Metaxas, "StackGAN: Text to
Photo-realistic Image Synthesis with Stacked Generative Adversarial Networks", ICCV 2017. https://arxiv.org/abs/1612.03242

Images of sentences, drawn twice: Stage I draws a small picture of what the text says, and Stage II, which sees that picture and
the text once more, a picture four times as wide. What a text is to a generator is not one point but a Gaussian around it
(conditioning augmentation), so that nearby texts are nearby and one text has many images; a KL term keeps it near N(0, I). The
discriminators see a third kind of pair, a real image beside a text that does not go with it, and must call it false, too.

The file is long because it holds two stages in two published forms, and the encoder of texts that the paper takes ready-made.

Phase 0 fits that encoder on the data's own captions, as the embedding that the paper uses was (Reed, Akata, Lee, Schiele,
"Learning Deep Representations of Fine-Grained Visual Descriptions", CVPR 2016): letters through convolutions and a recurrent
net, beside an encoder of images; matching pairs must score higher, by a margin, than the others of the batch, both ways. With
`--text-encoder` there is none. Phase 1 is Stage I, phase 2 Stage II, with all that was learnt before held fixed. Form "tensorflow" is the code that the paper's results are
from; "pytorch" is the authors' later one, in whose second stage D also judges the image alone. Images are read at 76 / 64 of a
stage's size and cut to it at random places.

Deviations:
- The text encoder's widths are ours, and so is the image encoder beside it, where Reed et al. take a pretrained GoogLeNet; any other
  caption of the batch is a wrong one, not only those of other classes; embeddings are scaled to a mean square of 1.
- The wrong image of a pair is one that does not have the caption, in the release one of another class; in the release for PyTorch a
  batch's own images, each beside its neighbour's text. With `--mirror` it is flipped as the real one; there by itself.
- The learning rate is halved every 100 epochs, as the paper says; the TensorFlow code's Stage I every 50 (`--stage1-half-images 442750`).
- Birds are cut out along their boxes there, half as wide again, before they are resized: bring such images. The presets of the paper
  squash what is no square, as both releases do; else it is cut to one. What Stage I learns from is the larger image averaged over
  4x4 pixels, where the TensorFlow code resizes by a cubic.
- The preset `coco` has batches of 128; the release's configurations 128 on each of two GPUs in Stage I, and 40 in Stage II.
- Two options of the preset `small` alone: whole images in place of crops, and Stage I in eval mode while Stage II learns, which is
  how its numbers were measured; both releases leave its batch norms in training mode.
- One caption of an image is taken at a time; the TensorFlow code takes the mean of four embeddings. Its noise is cut at two deviations.
- The KL term is the paper's, summed over the Gaussian's dimensions. Both releases take twice the mean over them, which is
  `--kl-weight 0.015625` with 128 dimensions, and what the presets of the PyTorch form have.
- Without a preset, samples come from averaged weights (`--ema 0`: the last ones); the authors have no averaging.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.losses import non_saturating, scores
from gankit.nn import BatchNorm1d, BatchNorm2d, init_normal, look, nearest_size, random_crop, stages, whole
from gankit.penalties import r1
from gankit.recipe import Batch, Images, Phase, Preset, Recipe, Run, Spec, adam

TIMES = 4  # Stage II's sides are so many times Stage I's
EXAMPLES = 64  # captions that a model keeps, for samples that nobody gave a text for


def conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, norm: bool = True, slope: float | None = 0.0
) -> list[nn.Module]:
    """A convolution that keeps or halves the side, norm, and a rectifier of this slope; None for none."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=not norm)]
    layers += [BatchNorm2d(outputs)] if norm else []
    return layers + ([] if slope is None else [nn.LeakyReLU(slope) if slope else nn.ReLU()])


def up(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Upsample(scale_factor=2), *conv(inputs, outputs)]


class Residual(nn.Module):
    """x + f(x), rectified: f narrows to a quarter in between (bottleneck) or keeps the width."""

    def __init__(self, width: int, bottleneck: bool, norm: bool = True, slope: float = 0.0):
        super().__init__()
        inner = width // 4 if bottleneck else width
        first = conv(width, inner, 1, norm=norm, slope=slope) if bottleneck else []
        second = conv(inner, inner, norm=norm, slope=slope)
        self.net = nn.Sequential(*first, *second, *conv(inner, width, norm=norm, slope=None))
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.net(x), self.slope)


class TextEncoder(nn.Module):
    """Letters to an embedding: three convolutions that pool, a recurrent net, the mean of its states, a linear layer."""

    def __init__(self, codes: int, width: int, embed_dim: int):
        super().__init__()
        self.codes = codes
        layers: list[nn.Module] = []
        for i, inputs in enumerate((codes - 1, width, width)):
            layers += [nn.Conv1d(inputs, width, 4, padding=2), nn.ReLU(), *([nn.MaxPool1d(3)] if i < 2 else [])]
        self.convs, self.rnn, self.head = (
            nn.Sequential(*layers),
            nn.GRU(width, width, batch_first=True),
            nn.Linear(width, embed_dim),
        )

    def forward(self, caption: Tensor) -> Tensor:
        """(N, L) codes of letters, 0 for none, to (N, embed_dim) of mean 0 and mean square 1."""
        letters = F.one_hot(caption, self.codes)[:, :, 1:].to(self.head.weight.dtype)
        states, _ = self.rnn(self.convs(letters.transpose(1, 2)).transpose(1, 2))
        return unit(self.head(states.mean(1)))


class ImageEncoder(nn.Module):
    """Convolutions that halve the map, and a linear layer on all places of it."""

    def __init__(self, shape: tuple[int, ...], width: int, embed_dim: int):
        super().__init__()
        last, layers, count = shape[0], [], stages(*shape[1:])
        for c in (width * min(2**i, 8) for i in range(count)):
            layers += conv(last, c, 4, 2, norm=last != shape[0], slope=0.2)
            last = c
        self.net = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(last * (shape[1] >> count) * (shape[2] >> count), embed_dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] to (N, embed_dim)."""
        return unit(self.net(x))


def unit(x: Tensor) -> Tensor:
    """(N, D) rows of mean 0 and mean square 1."""
    return F.layer_norm(x, x.shape[1:])


class Conditioning(nn.Module):
    """Conditioning augmentation: an embedding to the mean and the logarithm of the deviation of a Gaussian."""

    def __init__(self, embed_dim: int, c_dim: int, pytorch: bool):
        super().__init__()
        self.fc, self.pytorch = nn.Linear(embed_dim, 2 * c_dim), pytorch

    def forward(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """(N, embed_dim) to (N, c_dim) each. In the PyTorch form both are rectified, so no deviation is below 1."""
        mean, log_std = F.leaky_relu(self.fc(text), 0.0 if self.pytorch else 0.2).chunk(2, 1)
        return mean, log_std / 2 if self.pytorch else log_std


class StageOne(nn.Module):
    """Latent and text to a small image: a dense layer to a map, doubled until it is there."""

    def __init__(self, shape: tuple[int, ...], z_dim: int, embed_dim: int, c_dim: int, width: int, pytorch: bool):
        super().__init__()
        count = stages(*shape[1:])
        c, h, w = width << count - 1, shape[1] >> count, shape[2] >> count
        self.ca = Conditioning(embed_dim, c_dim, pytorch)
        layers = [
            nn.Linear(z_dim + c_dim, c * h * w, bias=not pytorch),
            BatchNorm1d(c * h * w),
            nn.Unflatten(1, (c, h, w)),
        ]
        layers += [nn.ReLU()] if pytorch else [Residual(c, True)]
        for i in range(count if pytorch else count - 1):
            layers += up(c, c // 2)
            c //= 2
            layers += [Residual(c, True)] if not pytorch and i == 0 else []
        layers += [] if pytorch else [nn.Upsample(scale_factor=2)]
        self.net = nn.Sequential(*layers, nn.Conv2d(c, shape[0], 3, 1, 1, bias=False), nn.Tanh())

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """(N, z_dim) and (N, c_dim) to (N, C, h, w) in [-1, 1]."""
        return self.net(torch.cat([z, c], 1))


class StageTwo(nn.Module):
    """A small image and the text to one four times as wide: down to a quarter, residual blocks, and up again twice as far."""

    def __init__(self, channels: int, embed_dim: int, c_dim: int, width: int, blocks: int, pytorch: bool):
        super().__init__()
        self.ca = Conditioning(embed_dim, c_dim, pytorch)
        first = [nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.ReLU()]
        self.encoder = nn.Sequential(*first, *conv(width, 2 * width, 4, 2), *conv(2 * width, 4 * width, 4, 2))
        layers = [*conv(4 * width + c_dim, 4 * width), *(Residual(4 * width, False) for _ in range(blocks))]
        for i in range(4):
            layers += up(4 * width >> i, 2 * width >> i)
        self.net = nn.Sequential(*layers, nn.Conv2d(width // 4, channels, 3, 1, 1, bias=False), nn.Tanh())

    def forward(self, image: Tensor, c: Tensor) -> Tensor:
        """(N, C, h, w) and (N, c_dim) to (N, C, 4h, 4w) in [-1, 1]."""
        return self.net(joined(self.encoder(image), c))


class Discriminator(nn.Module):
    """Whether an image is real and goes with a text: convolutions down to a map of four, the text beside each place of it."""

    def __init__(
        self,
        shape: tuple[int, ...],
        embed_dim: int,
        c_dim: int,
        width: int,
        wide: int,
        pytorch: bool,
        norm: bool,
        alone: bool,
    ):
        super().__init__()
        count, last, layers = stages(*shape[1:]), shape[0], []
        for i in range(
            count
        ):  # in Stage I the TensorFlow code has no rectifier after the last two halvings but the residual's
            c, bare = width << i, not pytorch and wide == count and i >= count - 2
            plain = [nn.Conv2d(last, c, 4, 2, 1, bias=not norm), nn.LeakyReLU(0.2)]
            layers += plain if i == 0 else conv(last, c, 4, 2, norm, None if bare else 0.2)
            last = c
        while last > width << wide - 1:  # Stage II's map is as wide as Stage I's
            layers += conv(
                last,
                last // 2,
                3 if pytorch else 1,
                norm=norm,
                slope=0.2 if pytorch or last // 2 > width << wide - 1 else None,
            )
            last //= 2
        layers += [] if pytorch else [Residual(last, True, norm, 0.2)]
        self.image = nn.Sequential(*layers)
        self.text = nn.Identity() if pytorch else nn.Sequential(nn.Linear(embed_dim, c_dim), nn.LeakyReLU(0.2))
        size = shape[1] >> count, shape[2] >> count
        self.joint = nn.Sequential(
            *conv(last + c_dim, last, 3 if pytorch else 1, norm=norm, slope=0.2), nn.Conv2d(last, 1, size, bias=pytorch)
        )
        self.alone = nn.Conv2d(last, 1, size) if alone else None

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """(N, C, H, W) and what is said, (N, embed_dim), in the PyTorch form (N, c_dim), to (N,) logits."""
        return self.head(self.image(image), text)

    def head(self, features: Tensor, text: Tensor) -> Tensor:
        return self.joint(joined(features, self.text(text))).flatten()

    def unconditional(self, features: Tensor) -> Tensor:
        """(N,) logits of whether the image is real, whatever the text."""
        return self.alone(features).flatten()


def joined(image: Tensor, c: Tensor) -> Tensor:
    """A map with numbers (N, D) beside each of its places."""
    return torch.cat([image, c[:, :, None, None].expand(-1, -1, *image.shape[2:])], 1)


def matching(image: Tensor, text: Tensor, caption: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Reed et al.'s joint loss of (N, D) embeddings, each row's image and text a pair, and the share of images whose own text is best.

    The mean over pairs of rows i, j with other captions of max(0, margin + s_ij - s_ii) + max(0, margin + s_ji - s_ii), where
    s_ij is the product of image i and text j over sqrt(D). Rows are those of all processes.
    """
    look("the encoders' loss")
    image, text, caption = (whole(rows) for rows in (image, text, caption))
    score = (image @ text.T).float() / image.shape[1] ** 0.5
    own, other = score.diagonal(), (caption[:, None] != caption).any(2)
    hinge = (margin + score - own[:, None]).relu() + (margin + score - own).relu()
    best = (score - own[:, None]).masked_fill(~other, 0).amax(1) <= 0
    return (hinge * other).sum() / other.sum().clamp(min=1), best.float().mean()


class StackGAN(Recipe):
    """Images of texts, whose sides are 32, 64, 128 ... or 5, 6, 7 times a power of two from 32 on.

    Args:
        form: of the networks: tensorflow, as in the paper's results, or pytorch, the authors' later release.
        width_g: channels of the generators: the first stage's coarsest map has them doubled with each halving from half its
            side on, the second's encoder begins with them.
        width_d: channels of the discriminators' first map; they double with each halving.
        blocks: residual blocks in Stage II.
        narrow: Stage II's networks begin with so many times fewer channels than Stage I's; 1 in the paper.
        z_dim: length of the latent z.
        c_dim: dimensions of the Gaussian around a text.
        embed_dim: length of a text's embedding.
        text_width: channels of the text encoder, and of the image encoder beside it an eighth of them.
        margin: of the encoders' loss.
        conditioning_augmentation: without it the Gaussian is its mean, and there is no KL term.
        kl_weight: lambda of the KL term, which is summed over dimensions.
        text_images: images on which the encoders learn first; none where captions come as vectors.
        stage1_images: images for Stage I after that; the rest of the run is Stage II's.
        stage1_half_images: images after which Stage I's learning rate is halved, again and again; 0 for never.
        half_images: as many for Stage II.
        stage1_eval: Stage I's batch norms go by running statistics while Stage II learns, not by the batch's as in both releases.
        crop: images are read at 76 / 64 of their size and cut at a random place.
        norm_d: batch norm in D.
        penalty_weight: gamma / 2 of R1 on reals beside their texts, which is not in the paper; 0 for none.
        lr: Adam's learning rate for both stages.
        lr_text: Adam's for the encoders.
        beta1: decay of Adam's mean of gradients.
    """

    data, ema = "captions", ("g1", "g2")
    defaults = dict(batch=64, images=11_626_000, data="shapes:captions")
    presets = {
        "paper": Preset(
            "the paper's for birds at 256 px: 600 epochs of 8,855 images for each stage, without averaged weights",
            settings=dict(resolution="256", fit="squash", mirror=True, ema=0),
            spec=Spec((3, 256, 256), caption=(201, 71)),
            parameters=dict(g1=14_264_192, d1=4_029_824, g2=26_290_080, d2=48_603_520),
        ),
        "torch": Preset(
            "the authors' PyTorch release with the sizes for birds",
            model=dict(form="pytorch", kl_weight=2 / 128),
            settings=dict(resolution="256", fit="squash", mirror=True, ema=0),
            spec=Spec((3, 256, 256), caption=(201, 71)),
            parameters=dict(g1=10_301_248, d1=5_715_713, g2=26_290_080, d2=71_269_122),
        ),
        "coco": Preset(
            "the authors' PyTorch release with the sizes for COCO: 120 and 100 epochs of 82,783 images",
            model=dict(
                form="pytorch", kl_weight=2 / 128, width_g=192, width_d=96, blocks=2, stage1_images=9_934_000,
                stage1_half_images=1_655_660, half_images=1_655_660,
            ),
            settings=dict(resolution="256", fit="squash", mirror=True, batch=128, images=19_212_000, ema=0),
            spec=Spec((3, 256, 256), caption=(201, 71)),
            parameters=dict(g1=20_020_832, d1=12_407_425, g2=37_130_480, d2=159_889_538),
        ),
        "small": Preset(
            "32 px on two CPU cores, Stage I at 8: narrower, with R1 in place of D's batch norm, and a weaker KL term",
            model=dict(
                width_g=48, width_d=64, blocks=1, narrow=2, z_dim=32, c_dim=32, embed_dim=128, text_width=128, kl_weight=0.005,
                text_images=120_000, stage1_images=90_000, stage1_half_images=0, half_images=0, norm_d=False, penalty_weight=0.05,
                lr=1e-3, lr_text=3e-3, stage1_eval=True, crop=False,
            ),
            settings=dict(resolution="32", batch=32, images=640_000, ema=2_000),
        ),
    }  # fmt: skip

    def __init__(
        self,
        spec: Spec,
        *,
        form: Literal["tensorflow", "pytorch"] = "tensorflow",
        width_g: int = 128,
        width_d: int = 64,
        blocks: int = 4,
        narrow: int = 1,
        z_dim: int = 100,
        c_dim: int = 128,
        embed_dim: int = 1024,
        text_width: int = 256,
        margin: float = 1.0,
        conditioning_augmentation: bool = True,
        kl_weight: float = 1.0,
        text_images: Images = Images(1_000_000),
        stage1_images: Images = Images(5_313_000),
        stage1_half_images: Images = Images(885_500),
        half_images: Images = Images(885_500),
        stage1_eval: bool = False,
        crop: bool = True,
        norm_d: bool = True,
        penalty_weight: float = 0.0,
        lr: float = 2e-4,
        lr_text: float = 7e-4,
        beta1: float = 0.5,
    ):
        super().__init__(spec)
        if form not in ("tensorflow", "pytorch"):
            raise ValueError(f"form is {form!r}; choose tensorflow or pytorch")
        if not spec.caption:
            raise ValueError("stackgan draws from captions; the data has none")
        if min(text_images, stage1_images) < 1 or width_g % (4 * narrow) or width_g < 8 * narrow or blocks < 0:
            raise ValueError(
                f"each phase takes one image at least, width_g / narrow is a multiple of 4 from 8 on and blocks at least 0; found "
                f"{text_images}, {stage1_images}, {width_g} / {narrow} and {blocks}"
            )
        pytorch, (channels, height, width) = form == "pytorch", spec.shape
        small = channels, height // TIMES, width // TIMES
        self.pytorch, self.z_dim, self.c_dim, self.margin = pytorch, z_dim, c_dim, margin
        self.augmented, self.kl_weight, self.penalty_weight, self.lr = (
            conditioning_augmentation,
            kl_weight,
            penalty_weight,
            lr,
        )
        self.half_images, self.stage1_eval = (stage1_half_images, half_images), stage1_eval
        self.load_size = tuple(TIMES * round(side // TIMES * 76 / 64) for side in (height, width)) if crop else None
        letters = spec.caption[1] > 0
        self.image_shrink = (
            1 if min(height, width) <= 32 else 2
        )  # the encoder of images looks at halves, but for small ones
        embed_dim = embed_dim if letters else spec.caption[0]
        self.t = (
            TextEncoder(spec.caption[1], text_width, embed_dim) if letters else None
        )  # else captions are vectors already
        self.v = (
            ImageEncoder(
                (channels, height // self.image_shrink, width // self.image_shrink), max(1, text_width // 8), embed_dim
            )
            if letters
            else None
        )
        self.ends = (text_images, text_images + stage1_images) if letters else (0, stage1_images)
        count = stages(*small[1:])
        self.g1 = StageOne(small, z_dim, embed_dim, c_dim, width_g, pytorch)
        self.d1 = Discriminator(small, embed_dim, c_dim, width_d, count, pytorch, norm_d, alone=False)
        self.g2 = StageTwo(channels, embed_dim, c_dim, width_g // narrow, blocks, pytorch)
        self.d2 = Discriminator(
            spec.shape, embed_dim, c_dim, max(1, width_d // narrow), count, pytorch, norm_d, alone=pytorch
        )
        for net in (self.g1, self.d1, self.g2, self.d2):
            init_normal(net)
            if not pytorch:
                truncate(net)
            if isinstance(net, Discriminator) and not norm_d:
                init_he(net)
        self.register_buffer(
            "examples", torch.zeros(EXAMPLES, spec.caption[0], dtype=torch.int64 if letters else None)
        )  # captions of the data
        self.register_buffer("stage", torch.ones((), dtype=torch.int64))  # the one that samples are from
        self.opt = {
            name: adam(getattr(self, name).parameters(), lr, (beta1, 0.999)) for name in ("d1", "g1", "d2", "g2")
        }
        if letters:
            self.opt["t"] = adam([*self.t.parameters(), *self.v.parameters()], lr_text)

    @staticmethod
    def nearest(height: int, width: int) -> tuple[int, int]:
        """The (height, width) nearest to the given one that both stages can draw."""
        h, w = nearest_size(*(max(8, round(side / TIMES)) for side in (height, width)))
        return h * TIMES, w * TIMES

    # Drawing ---------------------------------------------------------------------------------------------------------

    def noise(self, n: int) -> Tensor:
        """(n, z_dim + 2 c_dim): a latent, and for each stage where in the Gaussian around a text to draw from."""
        return torch.randn(n, self.z_dim + 2 * self.c_dim)

    def sample(self, z: Tensor, caption: Tensor) -> Tensor:
        """(N, z_dim + 2 c_dim) latents and (N, L) captions as codes, or vectors, to (N, C, H, W) images in [-1, 1].

        They are Stage I's, enlarged, while Stage II has not begun to learn.
        """
        return self.draw(z, self.embed(caption))

    def embed(self, caption: Tensor) -> Tensor:
        """(N, L) captions as codes, or (N, embed_dim) vectors of them, to (N, embed_dim) embeddings of mean square 1."""
        return unit(caption) if self.t is None else self.t(caption)

    def draw(self, z: Tensor, text: Tensor, stage: Literal[0, 1, 2] = 0) -> Tensor:
        """(N, z_dim + 2 c_dim) latents and (N, embed_dim) embeddings to what a stage draws, (N, C, H, W), Stage I's enlarged; 0 for the last."""
        stage = stage or int(self.stage)
        z, first, second = z.split([self.z_dim, self.c_dim, self.c_dim], 1)
        small = self.g1(z, self.condition(self.g1.ca, text, first)[0])
        if stage == 1:
            return F.interpolate(small, self.spec.shape[1:], mode="nearest")
        return self.g2(small, self.condition(self.g2.ca, text, second)[0])

    def condition(self, ca: Conditioning, text: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers (N, c_dim) from the Gaussian around each text, and the mean KL divergence from N(0, I)."""
        mean, log_std = ca(text)
        if not self.augmented:
            return mean, mean.new_zeros(())
        kl = 0.5 * (mean.float().square() + (2 * log_std.float()).exp() - 1 - 2 * log_std.float()).sum(1)
        return mean + log_std.exp() * eps, kl.mean()

    def strip(self, batch: Batch) -> list[Tensor]:
        """Columns of a preview, (N, C, H, W) each: a real image, and what each stage draws of its caption."""
        z, text = batch.draw(self.noise), self.embed(batch.caption)
        real = F.interpolate(batch.real, self.spec.shape[1:], mode="nearest")
        return [real, self.draw(z, text, 1), *([self.draw(z, text, 2)] if int(self.stage) == 2 else [])]

    # Learning --------------------------------------------------------------------------------------------------------

    def phase(self, images: int) -> Phase:
        index = sum(images >= end for end in self.ends)
        return Phase(index, min(self.load_size or self.spec.shape[1:]) // self.shrink(index))

    def shrink(self, index: int) -> int:
        """How many times smaller than the run's the images of a phase are."""
        return (self.image_shrink, TIMES, 1)[index]

    def enter(self, index: int, batch: Batch) -> None:
        """The first captions are kept, and samples are Stage II's once it learns."""
        if index == (0 if self.t else 1):
            captions = whole(batch.caption)
            self.examples.copy_(captions[torch.arange(EXAMPLES, device=captions.device) % len(captions)])
        self.stage.fill_(max(1, index))

    def step(self, batch: Batch, run: Run) -> None:
        i = run.phase.index
        size = [side // self.shrink(i) for side in self.spec.shape[1:]]
        for name in ("real", "wrong"):
            (batch.fields[name],) = random_crop([batch.fields[name]], batch.draw, *size)
        if i == 0:
            run.update("t", self.t_loss, batch)
            return
        if i == 2 and self.stage1_eval:
            self.g1.eval()
        halving = self.half_images[i - 1]
        halvings = (run.images - self.ends[i - 1]) // halving if halving else 0
        for name in (f"d{i}", f"g{i}"):
            self.opt[name].param_groups[0]["lr"] = self.lr * 0.5**halvings
        run.update(f"d{i}", self.d_loss, batch)
        run.update(f"g{i}", self.g_loss, batch)

    def t_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss, best = matching(self.v(batch.augment(batch.real)), self.t(batch.caption), batch.caption, self.margin)
        return loss, {"own_best": best}

    def fakes(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """What the learning stage draws, what D is told of the text, and the KL term. Stage II is the one with full images."""
        text, z = self.embed(batch.caption), batch.draw(self.noise)
        z, first, second = z.split([self.z_dim, self.c_dim, self.c_dim], 1)
        c, kl = self.condition(self.g1.ca, text, first)
        image = self.g1(z, c)
        ca = self.g1.ca
        if self.second(batch):
            ca = self.g2.ca
            c, kl = self.condition(ca, text, second)
            image = self.g2(image, c)
        return image, ca(text)[0] if self.pytorch else text, kl

    def second(self, batch: Batch) -> bool:
        return batch.real.shape[2:] == self.spec.shape[1:]

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        image, text, _ = self.fakes(batch)
        d = self.d2 if self.second(batch) else self.d1
        maps = [d.image(batch.augment(x)) for x in (batch.real, batch.wrong, image)]
        real, wrong, fake = (d.head(x, text) for x in maps)
        if d.alone is None:
            loss = (
                F.softplus(-real.float()).mean()
                + (F.softplus(wrong.float()).mean() + F.softplus(fake.float()).mean()) / 2
            )
        else:
            good, bad = d.unconditional(maps[0]), d.unconditional(maps[2])
            false = sum(F.softplus(x.float()).mean() for x in (wrong, fake, bad))
            loss = (F.softplus(-real.float()).mean() + F.softplus(-good.float()).mean()) / 2 + false / 3
        outputs = {**scores(real, fake), "wrong_right": (wrong < 0).float().mean()}
        if self.penalty_weight:
            outputs["penalty"] = r1(lambda x: d(batch.augment(x), text), batch.real)
            loss = loss + self.penalty_weight * outputs["penalty"]
        return loss, outputs

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        image, text, kl = self.fakes(batch)
        d = self.d2 if self.second(batch) else self.d1
        features = d.image(batch.augment(image))
        loss = non_saturating.g(d.head(features, text))
        if d.alone is not None:
            loss = loss + non_saturating.g(d.unconditional(features))
        return loss + self.kl_weight * kl, {"kl": kl}


def truncate(module: nn.Module, std: float = 0.02) -> None:
    """Convolutions' weights N(0, std^2) without what lies beyond two deviations, as TensorFlow's truncated normal."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, 0.0, std, -2 * std, 2 * std)


def init_he(module: nn.Module) -> None:
    """Weights N(0, 2 / inputs) where no norm follows, as images would fade on their way through D."""
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(layer.weight, 0.2)
