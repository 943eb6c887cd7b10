"""stackgan. Han Zhang, Tao Xu, Hongsheng Li, Shaoting Zhang, Xiaogang Wang, Xiaolei Huang, Dimitris Metaxas,
"StackGAN: Text to Photo-realistic Image Synthesis with Stacked Generative Adversarial Networks", ICCV 2017.
https://arxiv.org/abs/1612.03242

Images from sentences, in two stages: Stage I generates a small image from the text, and Stage II, from that image and
the text again, one that is four times as wide. A text conditions the generator through a Gaussian around its
embedding (conditioning augmentation), so that similar texts get similar conditions and one text has many images. A KL
term keeps the Gaussian near N(0, I). The discriminators see a third kind of pair, a real image with a text that does
not match it, which they must classify as fake.

The file is long because it holds two stages, each in two published forms, and a text encoder, which the paper takes
pretrained.

Phase 0 trains that encoder on the captions of the data, like the embedding that the paper uses (Reed, Akata, Lee,
Schiele, "Learning Deep Representations of Fine-Grained Visual Descriptions", CVPR 2016): convolutions over letters
and a recurrent network, next to an image encoder; matching pairs must score higher, by a margin, than the other pairs
of the batch, in both directions. With `--text-encoder` there is no phase 0. Phase 1 trains Stage I and phase 2 Stage
II; all networks trained before are frozen. Form "tensorflow" is the code of the paper's results; "pytorch" is the
authors' later code, in whose second stage D also classifies the image without its text. Images are read at 76 / 64 of
a stage's size and cropped to it at random positions.

Deviations:
- The widths of the text encoder are our own, and so is the image encoder, for which Reed et al. take a pretrained
  GoogLeNet. Every other caption of the batch is a mismatch, not only those of other classes. Embeddings are scaled to
  a mean square of 1.
- The mismatched image of a pair is one that does not have the caption; in the TensorFlow release, one of another
  class; in the PyTorch release, the batch's images, each with its neighbour's text. `--mirror` flips it together with
  the real image; in the release it is flipped independently.
- The learning rate is halved every 100 epochs, as in the paper; the TensorFlow code's Stage I halves it every 50
  (`--stage1-half-images 442750`).
- The authors crop birds to 1.5 times their bounding boxes before resizing; here the data must be cropped already. The
  paper's presets squash images that are not square, as both releases do; otherwise they are cropped to squares. Stage
  I's reals are averages over 4x4 pixels of the larger images; the TensorFlow code resizes with a cubic filter.
- The preset `coco` has batches of 128; the release's configurations have 128 on each of two GPUs in Stage I, and 40
  in Stage II.
- Two options are set only in the preset `small`: whole images instead of crops, and Stage I in eval mode while Stage II
  is trained. Both releases leave Stage I's batch norms in training mode.
- One caption per image is used at a time; the TensorFlow code takes the mean of four embeddings, and truncates its
  noise at two standard deviations.
- The KL term is the paper's, a sum over the Gaussian's dimensions. Both releases take twice the mean, which for 128
  dimensions is `--kl-weight 0.015625`; the presets of the PyTorch form have that weight.
- Without a preset, samples come from averaged weights (`--ema 0`: the last ones); the authors have no averaging.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.losses import non_saturating, scores
from gankit.nn import BatchNorm1d, BatchNorm2d, init_normal, look, nearest_size, random_crop, stages, whole
from gankit.nn.init import init_he
from gankit.penalties import r1
from gankit.recipe import Batch, Images, Phase, Preset, Recipe, Run, Spec, adam

TIMES = 4  # ratio of Stage II's sides to Stage I's
EXAMPLES = 64  # captions that a model stores, for samples without a text


def conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, norm: bool = True, slope: float | None = 0.0
) -> list[nn.Module]:
    """Convolution that keeps or halves the side, norm, and leaky ReLU with this slope; None for none."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=not norm)]
    layers += [BatchNorm2d(outputs)] if norm else []
    return layers + ([] if slope is None else [nn.LeakyReLU(slope) if slope else nn.ReLU()])


def up(inputs: int, outputs: int) -> list[nn.Module]:
    """Nearest-neighbour doubling and a convolution."""
    return [nn.Upsample(scale_factor=2), *conv(inputs, outputs)]


class Residual(nn.Module):
    """ReLU of x + f(x); f narrows to a quarter of the width in between (bottleneck) or keeps it."""

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
    """Letters to an embedding: three convolutions with pooling, a GRU, the mean of its states, a linear layer."""

    def __init__(self, codes: int, width: int, embed_dim: int):
        super().__init__()
        self.codes = codes
        layers: list[nn.Module] = []
        for i, inputs in enumerate((codes - 1, width, width)):
            layers += [nn.Conv1d(inputs, width, 4, padding=2), nn.ReLU(), *([nn.MaxPool1d(3)] if i < 2 else [])]
        self.convs, self.rnn = nn.Sequential(*layers), nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, embed_dim)

    def forward(self, caption: Tensor) -> Tensor:
        """(N, L) codes of letters, 0 for padding, to (N, embed_dim) with mean 0 and mean square 1."""
        letters = F.one_hot(caption, self.codes)[:, :, 1:].to(self.head.weight.dtype)
        states, _ = self.rnn(self.convs(letters.transpose(1, 2)).transpose(1, 2))
        return unit(self.head(states.mean(1)))


class ImageEncoder(nn.Module):
    """Convolutions that halve the map, and a linear layer on the flattened result."""

    def __init__(self, shape: tuple[int, ...], width: int, embed_dim: int):
        super().__init__()
        last, layers, count = shape[0], [], stages(*shape[1:])
        for c in (width * min(2**i, 8) for i in range(count)):
            layers += conv(last, c, 4, 2, norm=last != shape[0], slope=0.2)
            last = c
        features = last * (shape[1] >> count) * (shape[2] >> count)
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, embed_dim))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] to (N, embed_dim)."""
        return unit(self.net(x))


def unit(x: Tensor) -> Tensor:
    """Normalize the rows of (N, D) to mean 0 and mean square 1."""
    return F.layer_norm(x, x.shape[1:])


class Conditioning(nn.Module):
    """Conditioning augmentation: an embedding to the mean and log standard deviation of a Gaussian."""

    def __init__(self, embed_dim: int, c_dim: int, pytorch: bool):
        super().__init__()
        self.fc, self.pytorch = nn.Linear(embed_dim, 2 * c_dim), pytorch

    def forward(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """(N, embed_dim) to (N, c_dim) each. In the PyTorch form both pass a ReLU, so deviations are at least 1."""
        mean, log_std = F.leaky_relu(self.fc(text), 0.0 if self.pytorch else 0.2).chunk(2, 1)
        return mean, log_std / 2 if self.pytorch else log_std


class StageOne(nn.Module):
    """Latent and condition to a small image: a dense layer to a map, doubled up to the image's size."""

    def __init__(self, shape: tuple[int, ...], z_dim: int, embed_dim: int, c_dim: int, width: int, pytorch: bool):
        super().__init__()
        count = stages(*shape[1:])
        c, h, w = width << count - 1, shape[1] >> count, shape[2] >> count
        self.ca = Conditioning(embed_dim, c_dim, pytorch)
        dense = nn.Linear(z_dim + c_dim, c * h * w, bias=not pytorch)
        layers = [dense, BatchNorm1d(c * h * w), nn.Unflatten(1, (c, h, w))]
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
    """Small image and condition to an image four times as wide: halved twice, residual blocks, doubled four times."""

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
    """Whether an image is real and matches a text: convolutions to a map of about 4x4, text features at each position.

    Args:
        shape: (C, H, W) of the images.
        embed_dim: length of a text's embedding.
        c_dim: channels of the text features.
        width: channels of the first map; they double with each halving.
        stage1_halvings: halvings in Stage I; Stage II's last map is narrowed to as many channels as Stage I's.
        pytorch: the form of the authors' PyTorch release.
        norm: batch norm.
        alone: add an output for the image without its text.
    """

    def __init__(
        self, shape: tuple[int, ...], embed_dim: int, c_dim: int, width: int, stage1_halvings: int, pytorch: bool,
        norm: bool, alone: bool,
    ):  # fmt: skip
        super().__init__()
        count, last, layers = stages(*shape[1:]), shape[0], []
        kernel, final_width = 3 if pytorch else 1, width << stage1_halvings - 1
        for i in range(count):
            # in Stage I of the TensorFlow code, the last two halvings have no rectifier but the residual block's
            c, is_linear = width << i, not pytorch and stage1_halvings == count and i >= count - 2
            plain = [nn.Conv2d(last, c, 4, 2, 1, bias=not norm), nn.LeakyReLU(0.2)]
            layers += plain if i == 0 else conv(last, c, 4, 2, norm, None if is_linear else 0.2)
            last = c
        while last > final_width:
            slope = 0.2 if pytorch or last // 2 > final_width else None
            layers += conv(last, last // 2, kernel, norm=norm, slope=slope)
            last //= 2
        layers += [] if pytorch else [Residual(last, True, norm, 0.2)]
        self.image = nn.Sequential(*layers)
        self.text = nn.Identity() if pytorch else nn.Sequential(nn.Linear(embed_dim, c_dim), nn.LeakyReLU(0.2))
        size = shape[1] >> count, shape[2] >> count
        joint = conv(last + c_dim, last, kernel, norm=norm, slope=0.2)
        self.joint = nn.Sequential(*joint, nn.Conv2d(last, 1, size, bias=pytorch))
        self.alone = nn.Conv2d(last, 1, size) if alone else None

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """(N, C, H, W) images and (N, embed_dim) texts, (N, c_dim) in the PyTorch form, to (N,) logits."""
        return self.head(self.image(image), text)

    def head(self, features: Tensor, text: Tensor) -> Tensor:
        """(N,) logits from the features of images, and texts."""
        return self.joint(joined(features, self.text(text))).flatten()

    def unconditional(self, features: Tensor) -> Tensor:
        """(N,) logits from the features of images, without texts."""
        return self.alone(features).flatten()


def joined(image: Tensor, c: Tensor) -> Tensor:
    """Concatenate (N, D) numbers to each position of a map."""
    return torch.cat([image, c[:, :, None, None].expand(-1, -1, *image.shape[2:])], 1)


def matching_loss(image: Tensor, text: Tensor, caption: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Reed et al.'s joint loss of (N, D) embeddings of pairs, and the share of images whose text scores best.

    The loss is the mean of max(0, margin + s_ij - s_ii) + max(0, margin + s_ji - s_ii) over all pairs i, j with
    different captions, where s_ij is the product of image i and text j over sqrt(D). Rows are those of all processes.
    """
    look("the encoders' loss")
    image, text, caption = (whole(rows) for rows in (image, text, caption))
    score = (image @ text.T).float() / image.shape[1] ** 0.5
    matching_score, is_other = score.diagonal(), (caption[:, None] != caption).any(2)
    hinge = (margin + score - matching_score[:, None]).relu() + (margin + score - matching_score).relu()
    is_best = (score - matching_score[:, None]).masked_fill(~is_other, 0).amax(1) <= 0
    return (hinge * is_other).sum() / is_other.sum().clamp(min=1), is_best.float().mean()


class StackGAN(Recipe):
    """Text-to-image GAN, for images whose sides are 32, 64, 128 ... or 5, 6, 7 times a power of two from 32.

    Args:
        form: form of the networks: tensorflow, as in the paper's results, or pytorch, the authors' later release.
        width_g: channels of Stage I's map at half its side, doubled with each further halving, and of the first map of
            Stage II's encoder.
        width_d: channels of the discriminators' first map; they double with each halving.
        blocks: residual blocks in Stage II.
        narrow: divisor of width_g and width_d in Stage II; 1 in the paper.
        z_dim: length of the latent z.
        c_dim: dimensions of the Gaussian around a text.
        embed_dim: length of a text's embedding.
        text_width: channels of the text encoder; the image encoder has an eighth of them.
        margin: margin of the encoders' loss.
        conditioning_augmentation: sample from the Gaussian; otherwise its mean is used, without the KL term.
        kl_weight: weight of the KL term (lambda), which is a sum over dimensions.
        text_images: images for which the encoders are trained first; unused if captions are given as vectors.
        stage1_images: images for which Stage I is trained after that; the rest of the run trains Stage II.
        stage1_half_images: interval, in images, at which Stage I's learning rate is halved; 0 for never.
        half_images: the same interval for Stage II.
        stage1_eval: use running statistics in Stage I's batch norms while Stage II is trained; both releases use the
            batch's.
        crop: read images at 76 / 64 of their size and crop them at a random position.
        norm_d: batch norm in D.
        penalty_weight: weight of R1 on reals with their texts (gamma / 2), which is not in the paper; 0 for none.
        lr: learning rate of Adam for both stages.
        lr_text: learning rate of Adam for the encoders.
        beta1: beta1 of Adam.
    """

    examples: Tensor
    stage: Tensor

    data, ema = "captions", ("g1", "g2")
    defaults = dict(batch=64, images=11_626_000, data="shapes:captions")
    presets = {
        "paper": Preset(
            "the paper's for birds at 256 px: 600 epochs of 8,855 images per stage, without averaged weights",
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
        "cpu": Preset(
            "for 64 px on one CPU core, Stage I at 16 px: small's with a narrower D, smaller batches, a shorter run; "
            "one check on emoji, Frechet distance 1,066 against 2,039 of small after 30 CPU s, too soon for a picture",
            model=dict(
                width_g=48, width_d=32, blocks=1, narrow=2, z_dim=32, c_dim=32, embed_dim=128, text_width=128,
                kl_weight=0.005, text_images=40_000, stage1_images=40_000, stage1_half_images=0, half_images=0,
                norm_d=False, penalty_weight=0.05, lr=1e-3, lr_text=3e-3, stage1_eval=True, crop=False,
            ),
            settings=dict(batch=16, images=100_000, ema=2_000),
        ),
        "small": Preset(
            "32 px on two CPU cores, Stage I at 8 px: narrower, R1 instead of D's batch norm, smaller KL weight",
            model=dict(
                width_g=48, width_d=64, blocks=1, narrow=2, z_dim=32, c_dim=32, embed_dim=128, text_width=128,
                kl_weight=0.005, text_images=120_000, stage1_images=90_000, stage1_half_images=0, half_images=0,
                norm_d=False, penalty_weight=0.05, lr=1e-3, lr_text=3e-3, stage1_eval=True, crop=False,
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
            raise ValueError("stackgan generates images from captions; the data has none")
        if min(text_images, stage1_images) < 1 or width_g % (4 * narrow) or width_g < 8 * narrow or blocks < 0:
            raise ValueError(
                "text_images and stage1_images must be at least 1, width_g / narrow a multiple of 4 and at least 8, "
                f"and blocks at least 0; found {text_images}, {stage1_images}, {width_g} / {narrow} and {blocks}"
            )
        self.pytorch, self.z_dim, self.c_dim, self.margin = form == "pytorch", z_dim, c_dim, margin
        self.augmented, self.kl_weight, self.penalty_weight = conditioning_augmentation, kl_weight, penalty_weight
        self.lr, self.half_images, self.stage1_eval = lr, (stage1_half_images, half_images), stage1_eval
        height, width = (TIMES * round(side // TIMES * 76 / 64) for side in spec.shape[1:])
        self.load_size = (height, width) if crop else None
        has_letters = spec.caption[1] > 0  # otherwise captions are vectors
        embed_dim = embed_dim if has_letters else spec.caption[0]
        self.ends = (text_images, text_images + stage1_images) if has_letters else (0, stage1_images)
        self._build_encoders(text_width, embed_dim, has_letters)
        self._build_stages(width_g, width_d, blocks, narrow, embed_dim, norm_d)
        examples = torch.zeros(EXAMPLES, spec.caption[0], dtype=torch.int64 if has_letters else None)
        self.register_buffer("examples", examples)  # captions of the data
        self.register_buffer("stage", torch.ones((), dtype=torch.int64))  # the stage that samples come from
        self.opt = {
            name: adam(getattr(self, name).parameters(), lr, (beta1, 0.999)) for name in ("d1", "g1", "d2", "g2")
        }
        if has_letters:
            self.opt["t"] = adam([*self.t.parameters(), *self.v.parameters()], lr_text)

    def _build_encoders(self, text_width: int, embed_dim: int, has_letters: bool) -> None:
        """The encoders of texts and of images, None if captions are vectors."""
        channels, height, width = self.spec.shape
        shrink = self.image_shrink = 1 if min(height, width) <= 32 else 2  # larger images are halved for the encoder
        self.t = TextEncoder(self.spec.caption[1], text_width, embed_dim) if has_letters else None
        shape = channels, height // shrink, width // shrink
        self.v = ImageEncoder(shape, max(1, text_width // 8), embed_dim) if has_letters else None

    def _build_stages(self, width_g: int, width_d: int, blocks: int, narrow: int, embed_dim: int, norm_d: bool) -> None:
        """The networks of both stages, with their initial weights."""
        channels, height, width = shape = self.spec.shape
        small = channels, height // TIMES, width // TIMES
        count, c_dim, pytorch = stages(*small[1:]), self.c_dim, self.pytorch
        narrow_d = max(1, width_d // narrow)
        self.g1 = StageOne(small, self.z_dim, embed_dim, c_dim, width_g, pytorch)
        self.d1 = Discriminator(small, embed_dim, c_dim, width_d, count, pytorch, norm_d, alone=False)
        self.g2 = StageTwo(channels, embed_dim, c_dim, width_g // narrow, blocks, pytorch)
        self.d2 = Discriminator(shape, embed_dim, c_dim, narrow_d, count, pytorch, norm_d, alone=pytorch)
        for net in (self.g1, self.d1, self.g2, self.d2):
            init_normal(net)
            if not pytorch:
                init_truncated(net)
            if isinstance(net, Discriminator) and not norm_d:
                init_he(net, slope=0.2)

    @staticmethod
    def nearest(height: int, width: int) -> tuple[int, int]:
        """The nearest (height, width) that both stages can generate."""
        h, w = nearest_size(*(max(8, round(side / TIMES)) for side in (height, width)))
        return h * TIMES, w * TIMES

    # Sampling --------------------------------------------------------------------------------------------------------

    def noise(self, n: int) -> Tensor:
        """(n, z_dim + 2 c_dim) from N(0, 1): a latent, and for each stage the noise of the Gaussian around a text."""
        return torch.randn(n, self.z_dim + 2 * self.c_dim)

    def sample(self, z: Tensor, caption: Tensor) -> Tensor:
        """(N, z_dim + 2 c_dim) latents and (N, L) captions as codes, or vectors, to (N, C, H, W) images in [-1, 1].

        Before Stage II is trained, they are Stage I's, enlarged.
        """
        return self.draw(z, self.embed(caption))

    def embed(self, caption: Tensor) -> Tensor:
        """(N, L) captions as codes, or (N, embed_dim) vectors, to (N, embed_dim) embeddings with mean square 1."""
        return unit(caption) if self.t is None else self.t(caption)

    def draw(self, z: Tensor, text: Tensor, stage: Literal[0, 1, 2] = 0) -> Tensor:
        """(N, z_dim + 2 c_dim) latents and (N, embed_dim) embeddings to (N, C, H, W) images in [-1, 1].

        Args:
            z: the latents; see `noise`.
            text: the embeddings.
            stage: 1 for images of Stage I, enlarged, 2 for Stage II, or 0 for the last stage in training.
        """
        is_first = (stage or int(self.stage)) == 1
        z, first, second = z.split([self.z_dim, self.c_dim, self.c_dim], 1)
        small = self.g1(z, self.condition(self.g1.ca, text, first)[0])
        if is_first:
            return F.interpolate(small, self.spec.shape[1:], mode="nearest")
        return self.g2(small, self.condition(self.g2.ca, text, second)[0])

    def condition(self, ca: Conditioning, text: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """(N, c_dim) samples from the Gaussian around each text, and the mean KL divergence from N(0, I)."""
        mean, log_std = ca(text)
        if not self.augmented:
            return mean, mean.new_zeros(())
        kl = 0.5 * (mean.float().square() + (2 * log_std.float()).exp() - 1 - 2 * log_std.float()).sum(1)
        return mean + log_std.exp() * eps, kl.mean()

    def strip(self, batch: Batch) -> list[Tensor]:
        """Columns of a preview, (N, C, H, W) each: the real image, and each stage's image for its caption."""
        z, text = batch.draw(self.noise), self.embed(batch.caption)
        real = F.interpolate(batch.real, self.spec.shape[1:], mode="nearest")
        return [real, self.draw(z, text, 1), *([self.draw(z, text, 2)] if int(self.stage) == 2 else [])]

    # Training --------------------------------------------------------------------------------------------------------

    def phase(self, images: int) -> Phase:
        index = sum(images >= end for end in self.ends)
        return Phase(index, min(self.load_size or self.spec.shape[1:]) // self.shrink(index))

    def shrink(self, index: int) -> int:
        """The factor by which a phase's images are smaller than the run's."""
        return (self.image_shrink, TIMES, 1)[index]

    def enter(self, index: int, batch: Batch) -> None:
        """Store the first captions, and let samples come from the stage that is trained."""
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
        loss, best = matching_loss(self.v(batch.augment(batch.real)), self.t(batch.caption), batch.caption, self.margin)
        return loss, {"own_best": best}

    def fakes(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Images of the stage in training, the text condition for D, and the KL term."""
        text, z = self.embed(batch.caption), batch.draw(self.noise)
        z, first, second = z.split([self.z_dim, self.c_dim, self.c_dim], 1)
        ca = self.g1.ca
        c, kl = self.condition(ca, text, first)
        image = self.g1(z, c)
        if self.is_stage_two(batch):
            ca = self.g2.ca
            c, kl = self.condition(ca, text, second)
            image = self.g2(image, c)
        return image, ca(text)[0] if self.pytorch else text, kl

    def is_stage_two(self, batch: Batch) -> bool:
        """Whether the batch has images of full size."""
        return batch.real.shape[2:] == self.spec.shape[1:]

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        image, text, _ = self.fakes(batch)
        d = self.d2 if self.is_stage_two(batch) else self.d1
        maps = [d.image(batch.augment(x)) for x in (batch.real, batch.wrong, image)]
        real, wrong, fake = (d.head(x, text) for x in maps)
        if d.alone is None:
            negative = F.softplus(wrong.float()).mean() + F.softplus(fake.float()).mean()
            loss = F.softplus(-real.float()).mean() + negative / 2
        else:
            real_alone, fake_alone = d.unconditional(maps[0]), d.unconditional(maps[2])
            losses = [F.softplus(x.float()).mean() for x in (wrong, fake, fake_alone)]
            negative = losses[0] + losses[1] + losses[2]
            loss = (F.softplus(-real.float()).mean() + F.softplus(-real_alone.float()).mean()) / 2 + negative / 3
        outputs = {**scores(real, fake), "wrong_right": (wrong < 0).float().mean()}
        if self.penalty_weight:
            outputs["penalty"] = r1(lambda x: d(batch.augment(x), text), batch.real)
            loss = loss + self.penalty_weight * outputs["penalty"]
        return loss, outputs

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        image, text, kl = self.fakes(batch)
        d = self.d2 if self.is_stage_two(batch) else self.d1
        features = d.image(batch.augment(image))
        loss = non_saturating.g(d.head(features, text))
        if d.alone is not None:
            loss = loss + non_saturating.g(d.unconditional(features))
        return loss + self.kl_weight * kl, {"kl": kl}


def init_truncated(module: nn.Module) -> None:
    """Convolution weights N(0, 0.02^2), truncated at two deviations, like TensorFlow's truncated normal."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, 0.0, 0.02, -0.04, 0.04)
