"""ganimation. Albert Pumarola, Antonio Agudo, Aleix M. Martinez, Alberto Sanfeliu, Francesc Moreno-Noguer, "GANimation:
Anatomically-aware Facial Animation from a Single Image", ECCV 2018. https://arxiv.org/abs/1807.09251

A face moves as action units say: each a number from 0, the muscle at rest, to 1. G draws a colour image C and a mask A, and
the result is A I + (1 - A) C (eq. 1): where A is 1 the pixel stays as it is, so G need not draw what does not move. A critic
judges patches and reads the action units; from the result, given the old units, G must come back to the input.

What G is asked for are the units of another image, plus noise of U(-0.1, 0.1). A's mean is held down, or A would be 1 all
over and nothing would move; its total variation keeps it smooth.

The file is long because every weight of the paper's loss is an argument, with what it weighs.

Deviations:
- The other image is one of the same batch, in a random order; the authors' code takes one of the whole data set.
- The code divides the squared error of the units, a mean over units and batch, by the batch of 25 once more: the paper's
  weight 4000 is 160 here, where losses do not depend on the batch.
- |A| is the mean of A, as in the code; the paper's norm would grow with the image. Its total variation is the paper's, of
  squared differences and 1e-4 within the 0.1; the code's is of absolute ones, and grows with the batch.
- The critic learns from its loss and the penalty in one step; the code takes two.
- Sides other than 128 px have a critic that is halved until 2 or 3 px are left, at most six times.
- Without a preset, samples come from averaged weights (`--ema 0`: the last ones); the authors have no averaging.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gankit.losses import scores, wasserstein
from gankit.nn import ConditionedTrunk, PatchCritic, init_normal, nearest_fours
from gankit.penalties import wgan_gp
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam, decay, shuffled

UNITS = tuple(
    f"AU{i:02d}" for i in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
)  # OpenFace's intensities


class Generator(nn.Module):
    """A face and the wanted action units to a colour image and a mask of what stays."""

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
    """Faces moved by action units; sides are multiples of 4.

    Args:
        attributes: names of the action units to learn, a,b,c; empty for all.
        width: channels of G's first map.
        width_d: channels of D's first map; 0 for as many as G's.
        blocks: residual blocks of G.
        unit_weight: lambda_y, weight of the mean squared error of the action units.
        attention_weight: lambda_A, weight of the mask's mean, and of its total variation.
        smooth_weight: lambda_TV, weight of the total variation within that.
        cycle_weight: lambda_idt, weight of the distance between the input and what comes back.
        penalty_weight: lambda_gp.
        noise_width: what is added to the units asked for is uniform from minus this to this.
        n_critic: batches for one update of G.
        lr: Adam's learning rate in the first two thirds of the run; it falls to 0 over the last.
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
            "drawn faces at 32 px on two CPU cores: narrower, a higher learning rate, units that weigh less",
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
            found = f"{len(spec.groups)} joined sets" if spec.attributes else "no attributes"
            raise ValueError(
                f"ganimation needs one set of faces with action units as attributes; the data have {found}. Try --data faces"
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

        The mask is 1 where the image stays as it is, 0 where the colours replace it.

        Raises:
            ValueError: there are more or fewer numbers than action units.
        """
        if attribute.shape[1] != len(self.names):
            raise ValueError(
                f"{attribute.shape[1]} action units were given; there are {', '.join(self.names)} ({len(self.names)})"
            )
        return self.g(images, attribute)

    def translate(self, images: Tensor, attribute: Tensor) -> Tensor:
        """(N, C, H, W) faces in [-1, 1] and the (N, A) action units they are to show, 0 to 1, to such faces, (N, C, H, W)."""
        return blend(images, *self.attention(images, attribute))

    def enter(self, index: int, batch: Batch) -> None:
        for name, values in zip(self.names, batch.attribute[:, self.columns].T):
            if values.min() < 0 or values.max() > 1:
                raise ValueError(
                    f"action units go from 0 to 1; {name} goes from {values.min():g} to {values.max():g}. Divide OpenFace's by 5, or choose others with --attributes"
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
        penalty = wgan_gp(lambda x: self.d(batch.augment(x)), batch.real, fakes, batch.draw)  # of the map's sum
        error = (units - batch.attribute[:, self.columns]).square().mean()
        loss = wasserstein.d(real, fake) + self.unit_weight * error + self.penalty_weight * penalty
        return loss, {"penalty": penalty, "units": error, **scores(real, fake, boundary=None)}

    def g_loss(self, batch: Batch, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        colour, mask = self.g(batch.real, target)
        fakes = blend(batch.real, colour, mask)
        back, mask_back = self.g(fakes, batch.attribute[:, self.columns])
        fake, units = self.d.judge(batch.augment(fakes))
        error = (units - target).square().mean()
        cycle = (batch.real - blend(fakes, back, mask_back)).abs().mean()
        still = sum(m.mean() + self.smooth_weight * variation(m) for m in (mask, mask_back))
        loss = (
            wasserstein.g(fake) + self.unit_weight * error + self.cycle_weight * cycle + self.attention_weight * still
        )
        return loss, {"units": error, "cycle": cycle, "mask": mask.mean()}

    def strip(self, batch: Batch) -> list[Tensor]:
        """The input; one action unit at 0, a third, two thirds and 1, the others as they are; the mask of the last.

        Row i moves unit i, and begins anew after the last unit. The mask is white where the image stays as it is.
        """
        columns = [batch.real]
        moved = torch.arange(len(batch), device=batch.real.device)
        for i in range(4):
            asked = batch.attribute[:, self.columns].clone()
            asked[moved, moved % len(self.columns)] = i / 3
            colour, mask = self.attention(batch.real, asked)
            columns.append(blend(batch.real, colour, mask))
        return [*columns, (2 * mask - 1).expand_as(batch.real)]


def blend(images: Tensor, colour: Tensor, mask: Tensor) -> Tensor:
    """Eq. 1: A I + (1 - A) C, the image where the mask is 1."""
    return mask * images + (1 - mask) * colour


def variation(mask: Tensor) -> Tensor:
    """(N, 1, H, W) to the mean over masks of the sum of squared differences between neighbours, in eq. 3."""
    down, across = (mask.diff(dim=d).square().flatten(1).sum(1) for d in (2, 3))
    return (down + across).mean()
