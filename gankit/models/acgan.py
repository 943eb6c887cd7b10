"""acgan. Augustus Odena, Christopher Olah, Jonathon Shlens, "Conditional Image Synthesis with Auxiliary Classifier
GANs", ICML 2017. https://arxiv.org/abs/1610.09585

G generates an image from noise and a class. D classifies images as real or fake and predicts their class. On reals and
fakes, L_S is the log-likelihood of the correct source and L_C that of the correct class: D maximises L_S + L_C and G
maximises L_C - L_S. Networks: the paper's for CIFAR-10 (32 px) and ImageNet (128 px), from its appendix A.

The file is long because its networks are the paper's own, for any size, and are made smaller for a CPU.

Deviations:
- G minimises -log D(G(z)); the paper's formula has log(1 - D(G(z))), whose gradient vanishes early in training.
- D's activations get no noise: zero is the first of the values that the paper searches over.
- The paper trains 100 ImageNet models of 10 classes each; here one model is trained on all classes of the data.
- Sizes other than 32 and 128 px have more or fewer transposed convolutions, with widths that continue the paper's.
- Without a preset, samples come from averaged weights (`--ema 0` disables averaging); the paper has no averaging.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.losses import cross_entropy, non_saturating, scores
from gankit.nn import BatchNorm2d, Dropout, nearest_size, stages
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam

# Channels of G's feature maps, coarsest first, by the number of doublings. Those for 3 and 5 are the paper's.
WIDTHS = {1: (96,), 2: (192, 96), 3: (384, 192, 96), 4: (384, 256, 192, 96), 5: (768, 384, 256, 192, 64)}


class Discriminator(nn.Module):
    """Six 3x3 convolutions, every other one strided, with leaky ReLU and dropout; a linear layer for both heads."""

    def __init__(self, shape: tuple[int, ...], width: int, num_classes: int, dropout: float, norm: bool):
        super().__init__()
        layers: list[nn.Module] = []
        last = shape[0]
        for i in range(6):
            layers += [nn.Conv2d(last, width * 2**i, 3, 2 - i % 2, 1)]
            layers += [BatchNorm2d(width * 2**i)] if norm and i else []
            layers += [nn.LeakyReLU(0.2), Dropout(dropout)]
            last = width * 2**i
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(last * -(-shape[1] // 8) * -(-shape[2] // 8), num_classes + 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) images in [-1, 1] to (N,) logits of being real and (N, K) class logits."""
        out = self.head(self.trunk(x))
        return out[:, 0], out[:, 1:]


class ACGAN(Recipe):
    """GAN with a classifier in D, for labelled images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        z_dim: length of the latent z, to which the one-hot class is appended.
        widths: channels of G's feature maps, coarsest first. Default: the paper's for the size of the data.
        divide: number by which those default widths are divided; 1 in the paper.
        width_d: channels of D's first feature map, doubled at each further one.
        dropout: dropout probability after each convolution of D.
        norm_d: batch norm in D, after all convolutions but the first.
        lr: Adam's learning rate; the paper tried 1e-4, 2e-4 and 3e-4 for CIFAR-10.
    """

    labels, ema, defaults = "required", ("g",), dict(batch=100, images=5_000_000)
    nearest = staticmethod(nearest_size)
    presets = {
        "paper": Preset(
            "the paper's network for CIFAR-10, without averaged weights",
            settings=dict(resolution="32", ema=0),
            spec=Spec((3, 32, 32), num_classes=10),
            parameters=dict(g=2_994_051, d=1_664_875),
        ),
        "paper-imagenet": Preset(
            "the paper's network for ten classes of ImageNet at 128 px, without averaged weights",
            settings=dict(resolution="128", ema=0),
            spec=Spec((3, 128, 128), num_classes=10),
            parameters=dict(g=12_737_859, d=3_016_555),
        ),
        "cpu": Preset(
            "for images of 28 to 64 px on one CPU core: a quarter of the paper's width in G and half in D, little "
            "dropout, small batches; chosen among six settings by Frechet distance at equal CPU time, on "
            "Fashion-MNIST at 28 px, one seed",
            model=dict(z_dim=32, divide=4, width_d=8, dropout=0.1, lr=1e-3),
            settings=dict(batch=16, images=100_000, ema=10_000),
        ),
        "small": Preset(
            "for digits at 16 px on two CPU cores: narrower, little dropout",
            model=dict(z_dim=32, widths=(64, 32), width_d=6, dropout=0.1, lr=5e-4),
            settings=dict(batch=32, images=100_000, ema=10_000),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        z_dim: int = 100,
        widths: tuple[int, ...] = (),
        divide: int = 1,
        width_d: int = 16,
        dropout: float = 0.5,
        norm_d: bool = True,
        lr: float = 2e-4,
    ):
        super().__init__(spec)
        if divide < 1:
            raise ValueError(f"divide is {divide}; give 1, the paper's value, or more")
        self.z_dim = z_dim
        count = stages(spec.height, spec.width)
        usual = WIDTHS.get(count, (768,) * (count - 5) + WIDTHS[5])
        widths = widths or tuple(max(1, width // divide) for width in usual)
        if len(widths) != count:
            raise ValueError(
                f"{spec.height}x{spec.width} images need {count} widths, one for each doubling; found {len(widths)}"
            )
        h, w = spec.height >> count, spec.width >> count
        layers = [nn.Linear(z_dim + spec.num_classes, widths[0] * h * w), nn.Unflatten(1, (widths[0], h, w)), nn.ReLU()]
        for a, b in zip(widths, widths[1:]):
            layers += [nn.ConvTranspose2d(a, b, 5, 2, 2, 1), BatchNorm2d(b), nn.ReLU()]
        self.g = nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], spec.channels, 5, 2, 2, 1), nn.Tanh())
        self.d = Discriminator(spec.shape, width_d, spec.num_classes, dropout, norm_d)
        for layer in self.modules():
            if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.normal_(layer.weight, 0.0, 0.02)
                nn.init.zeros_(layer.bias)
        self.opt = {name: adam(getattr(self, name).parameters(), lr, (0.5, 0.999)) for name in ("d", "g")}

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents from N(0, 1)."""
        return torch.randn(n, self.z_dim)

    def sample(self, z: Tensor, label: Tensor) -> Tensor:
        """(N, z_dim) latents and (N,) labels to (N, C, H, W) images in [-1, 1]."""
        return self.g(torch.cat([z, F.one_hot(label, self.spec.num_classes).to(z)], 1))

    def classify(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images in [-1, 1] to (N, K) class probabilities."""
        return self.d(images)[1].softmax(1)

    def step(self, batch: Batch, run: Run) -> None:
        run.update("d", self.d_loss, batch)
        run.update("g", self.g_loss, batch)

    def fakes(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) generated images and their (N,) labels, which are uniform over the classes."""
        label = batch.draw(lambda n: torch.randint(self.spec.num_classes, (n,)))
        return self.sample(batch.draw(self.noise), label), label

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        fake, label = self.fakes(batch)
        real_logits, real_class = self.d(batch.augment(batch.real))
        fake_logits, fake_class = self.d(batch.augment(fake))
        class_loss = cross_entropy(real_class, batch.label) + cross_entropy(fake_class, label)
        accuracy = (real_class.argmax(1) == batch.label).float().mean()
        outputs = {"class": class_loss, "class_right": accuracy, **scores(real_logits, fake_logits)}
        return non_saturating.d(real_logits, fake_logits) + class_loss, outputs

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        fake, label = self.fakes(batch)
        fake_logits, fake_class = self.d(batch.augment(fake))
        class_loss = cross_entropy(fake_class, label)
        return non_saturating.g(fake_logits) + class_loss, {"class": class_loss}
