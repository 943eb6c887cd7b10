"""ganimation. Albert Pumarola, Antonio Agudo, Aleix M. Martinez, Alberto Sanfeliu, Francesc Moreno-Noguer, "GANimation:
Anatomically-aware Facial Animation from a Single Image", ECCV 2018. https://arxiv.org/abs/1807.09251

Action units control the expression of a face; each is a number from 0, the muscle at rest, to 1. G predicts a colour
image C and a mask A, and the result is A I + (1 - A) C (eq. 1): where A is 1 the input pixel stays, so G only generates
what moves. A critic judges patches and predicts the action units. G must also reconstruct the input from the result and
the original units.

The target units are those of another image, plus noise from U(-0.1, 0.1). A penalty on the mean of A keeps A from
becoming 1 everywhere; a total variation penalty keeps it smooth.

The file is long because every weight of the paper's loss is an argument.

Deviations:
- The other image is from the same batch, in random order; the authors' code takes one of the whole data set.
- The code divides the squared error of the units, a mean over units and batch, by the batch of 25 once more: the
  paper's weight 4000 is 160 here, where losses do not depend on the batch.
- |A| is the mean of A, as in the code; the paper's norm would grow with the image. The total variation is the
  paper's, of squared differences, with weight 1e-4 within the 0.1; the code uses absolute differences, and its sum
  grows with the batch.
- The critic's loss and its penalty are minimised in one step; the code takes two.
- At sides other than 128 px the critic halves its maps down to 2 or 3 px, at most six times.
- Without a preset, samples come from averaged weights (`--ema 0`: the last ones); the authors do not average weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gankit.losses import scores, wasserstein
from gankit.nn import ConditionedTrunk, PatchCritic, init_normal, nearest_fours
from gankit.penalties import wgan_gp
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam, decay, shuffled

# The action units whose intensities OpenFace estimates.
UNITS = tuple(f"AU{i:02d}" for i in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45))


class Generator(nn.Module):
    """A face and target action units to a colour image and a mask of the pixels that stay."""

    def __init__(self, channels: int, units: int, width: int, blocks: int):
        super().__init__()
        self.trunk = ConditionedTrunk(channels, units, width, blocks)
        self.colour = nn.Conv2d(width, channels, 7, 1, 3, bias=False)
        self.mask = nn.Conv2d(width, 1, 7, 1, 3, bias=False)

    def forward(self, images: Tensor, attribute: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) in [-1, 1] and (N, A) to (N, C, H, W) in [-1, 1] and (N, 1, H, W) in [0, 1]."""
        features = self.trunk(images, attribute)
        return self.colour(features).tanh(), self.mask(features).sigmoid()


class GANimation(Recipe):
    """Facial expressions controlled by action units; sides are multiples of 4.

    Args:
        attributes: names of the action units to use, a,b,c; empty: all.
        width: channels of G's first map.
        width_d: channels of D's first map; 0: as many as G's.
        blocks: residual blocks of G.
        unit_weight: lambda_y, weight of the mean squared error of the action units.
        attention_weight: lambda_A, weight of the mask's mean plus its total variation.
        smooth_weight: lambda_TV, weight of the total variation within that sum.
        cycle_weight: lambda_idt, weight of the L1 distance between the input and its reconstruction.
        penalty_weight: lambda_gp, weight of the gradient penalty.
        noise_width: bound of the uniform noise added to the target units.
        n_critic: batches per update of G.
        lr: Adam's learning rate in the first two thirds of the run; it decays to 0 over the last third.
        beta1: decay of Adam's mean of gradients.
        beta2: decay of Adam's mean of squared gradients.
    """

    ema, defaults = ("g",), dict(batch=25, data="faces")
    multiple = 4
    nearest = staticmethod(nearest_fours)
    presets = {
        "paper": Preset(
            "the authors' 17 action units at 128 px, 30 epochs of 200,000 faces, without averaged weights",
            settings=dict(resolution="128", mirror=True, batch=25, images=6_000_000, ema=0),
            spec=Spec((3, 128, 128), attributes=UNITS, exclusive=(False,)),
            parameters=dict(g=8_471_296, d=44_860_352),
        ),
        "small": Preset(
            "drawn faces at 32 px on two CPU cores: narrower, a higher learning rate, a lower weight of the units",
            model=dict(width=16, width_d=32, blocks=2, unit_weight=30.0, n_critic=2, lr=1e-3),
            settings=dict(resolution="32", batch=8, images=16_000, ema=5_000),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        attributes: str = "",
        width: int = 64,
        width_d: int = 0,
        blocks: int = 6,
        unit_weight: float = 160.0,
        attention_weight: float = 0.1,
        smooth_weight: float = 1e-4,
        cycle_weight: float = 10.0,
        penalty_weight: float = 10.0,
        noise_width: float = 0.1,
        n_critic: int = 5,
        lr: float = 1e-4,
        beta1: float = 0.5,
        beta2: float = 0.999,
    ):
        super().__init__(spec)
        if not spec.attributes or len(spec.groups) > 1:
            content = f"{len(spec.groups)} joined sets" if spec.attributes else "no attributes"
            raise ValueError(
                f"ganimation needs one set of faces with action units as attributes; the data have {content}. "
                "Try --data faces"
            )
        self.unit_weight, self.attention_weight, self.smooth_weight = unit_weight, attention_weight, smooth_weight
        self.cycle_weight, self.penalty_weight, self.noise_width = cycle_weight, penalty_weight, noise_width
        self.n_critic, self.lr = n_critic, lr
        self.columns = spec.columns(attributes)
        self.names = [spec.attributes[i] for i in self.columns]
        self.g = Generator(spec.channels, len(self.columns), width, blocks)
        self.d = PatchCritic(spec.shape, len(self.columns), width_d or width)
        init_normal(self)
        self.opt = {name: adam(net.parameters(), lr, (beta1, beta2)) for name, net in (("d", self.d), ("g", self.g))}

    def attention(self, images: Tensor, attribute: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) in [-1, 1] and (N, A) action units to colours (N, C, H, W) in [-1, 1] and a mask (N, 1, H, W).

        The mask is 1 where the input stays, 0 where the colours replace it.

        Raises:
            ValueError: A differs from the number of action units.
        """
        if attribute.shape[1] != len(self.names):
            raise ValueError(
                f"{attribute.shape[1]} action units were given; there are {', '.join(self.names)} ({len(self.names)})"
            )
        return self.g(images, attribute)

    def translate(self, images: Tensor, attribute: Tensor) -> Tensor:
        """(N, C, H, W) faces in [-1, 1] and (N, A) target units, 0 to 1, to (N, C, H, W) faces with these units."""
        return blend(images, *self.attention(images, attribute))

    def enter(self, index: int, batch: Batch) -> None:
        for name, values in zip(self.names, batch.attribute[:, self.columns].T):
            if values.min() < 0 or values.max() > 1:
                raise ValueError(
                    f"action units go from 0 to 1; {name} goes from {values.min():g} to {values.max():g}. "
                    "Divide OpenFace's values by 5, or choose others with --attributes"
                )

    def step(self, batch: Batch, run: Run) -> None:
        for opt in self.opt.values():
            decay(opt, self.lr, run.done, flat=2 / 3)
        others = shuffled(batch.attribute[:, self.columns], batch, run)
        target = others + self.noise_width * batch.draw(lambda n: torch.rand(n, len(self.columns)) * 2 - 1)
        run.update("d", self.d_loss, batch, target)
        if (run.step + 1) % self.n_critic == 0:
            run.update("g", self.g_loss, batch, target)

    def d_loss(self, batch: Batch, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        fakes = self.translate(batch.real, target)
        fake, (real, units) = self.d(batch.augment(fakes)), self.d.judge(batch.augment(batch.real))
        penalty = wgan_gp(lambda x: self.d(batch.augment(x)), batch.real, fakes, batch.draw)  # of the patches' sum
        error = (units - batch.attribute[:, self.columns]).square().mean()
        loss = wasserstein.d(real, fake) + self.unit_weight * error + self.penalty_weight * penalty
        return loss, {"penalty": penalty, "units": error, **scores(real, fake, boundary=None)}

    def g_loss(self, batch: Batch, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        colour, mask = self.g(batch.real, target)
        fakes = blend(batch.real, colour, mask)
        rec_colour, rec_mask = self.g(fakes, batch.attribute[:, self.columns])
        rec = blend(fakes, rec_colour, rec_mask)
        fake, units = self.d.judge(batch.augment(fakes))
        error = (units - target).square().mean()
        cycle = (batch.real - rec).abs().mean()
        attention = sum(m.mean() + self.smooth_weight * variation(m) for m in (mask, rec_mask))
        loss = wasserstein.g(fake) + self.unit_weight * error + self.cycle_weight * cycle
        return loss + self.attention_weight * attention, {"units": error, "cycle": cycle, "mask": mask.mean()}

    def strip(self, batch: Batch) -> list[Tensor]:
        """Columns of a preview: the input; one action unit at 0, 1/3, 2/3 and 1, the others unchanged; the last mask.

        Row i changes unit i, modulo the number of units. The mask is white where the input stays.
        """
        columns = [batch.real]
        rows = torch.arange(len(batch), device=batch.real.device)
        for i in range(4):
            target = batch.attribute[:, self.columns].clone()
            target[rows, rows % len(self.columns)] = i / 3
            colour, mask = self.attention(batch.real, target)
            columns.append(blend(batch.real, colour, mask))
        return [*columns, (2 * mask - 1).expand_as(batch.real)]


def blend(images: Tensor, colour: Tensor, mask: Tensor) -> Tensor:
    """Eq. 1: A I + (1 - A) C, where A is the mask, I the images and C the colours."""
    return mask * images + (1 - mask) * colour


def variation(mask: Tensor) -> Tensor:
    """Total variation in eq. 3: (N, 1, H, W) masks to the sum of squared differences of neighbours, mean over masks."""
    down, across = (mask.diff(dim=d).square().flatten(1).sum(1) for d in (2, 3))
    return (down + across).mean()
