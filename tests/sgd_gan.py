"""Plain SGD with convolutions, batch norm and a gradient penalty: several processes must give the result of one."""

from functools import partial

import torch
from torch import Tensor, nn

from gankit import Batch, Recipe, Run, Spec
from gankit.losses import non_saturating, scores, wasserstein
from gankit.nn import BatchNorm1d, BatchNorm2d
from gankit.penalties import wgan_gp


class SgdGAN(Recipe):
    """A GAN whose updates are linear in the gradients, so that results of several processes can be compared exactly.

    Args:
        norm: batch norm in both networks.
    """

    ema = ("g",)

    def __init__(self, spec: Spec, *, norm: bool = True):
        super().__init__(spec)
        bn1, bn2 = (BatchNorm1d, BatchNorm2d) if norm else (lambda n: nn.Identity(),) * 2
        self.norm = norm
        self.g = nn.Sequential(
            nn.Linear(4, 8), bn1(8), nn.ReLU(), nn.Linear(8, spec.size), nn.Tanh(), nn.Unflatten(1, spec.shape)
        )
        self.d = nn.Sequential(
            nn.Conv2d(spec.channels, 4, 4, 2, 1),
            bn2(4),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(4 * 64, 1),
            nn.Flatten(0),
        )
        self.opt = {name: torch.optim.SGD(getattr(self, name).parameters(), 0.05) for name in ("d", "g")}

    def noise(self, n: int) -> Tensor:
        return torch.randn(n, 4)

    def sample(self, z: Tensor) -> Tensor:
        return self.g(z)

    def step(self, batch: Batch, run: Run) -> None:
        run.update("d", self.d_loss, batch)
        run.update("g", self.g_loss, batch)

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        fake = self.g(batch.draw(self.noise))
        real_logits, fake_logits = self.logits(batch, batch.real), self.logits(batch, fake)
        penalty = wgan_gp(partial(self.logits, batch), batch.real, fake, batch.draw)
        return wasserstein.d(real_logits, fake_logits) + penalty, scores(real_logits, fake_logits)

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return non_saturating.g(self.logits(batch, self.g(batch.draw(self.noise)))), {}

    def logits(self, batch: Batch, images: Tensor) -> Tensor:
        return self.d(batch.augment(images))
