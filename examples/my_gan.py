"""A GAN of your own in one file. Train it by its path: gankit train examples/my_gan.py --data digits"""

import torch
from torch import Tensor, nn

from gankit import Batch, Preset, Recipe, Run, Spec, adam
from gankit.losses import non_saturating, scores


class MyGAN(Recipe):
    """A GAN of two small fully connected networks.

    Args:
        z_dim: dimension of the latents.
        width: units in each hidden layer.
        lr: learning rate of both networks.
    """

    ema = ("g",)  # networks whose weights are averaged over training; samples use the averages
    defaults = dict(batch=64, images=100_000)
    presets = {"tiny": Preset("for a first look", model=dict(width=64), settings=dict(images=10_000))}

    def __init__(self, spec: Spec, *, z_dim: int = 32, width: int = 256, lr: float = 5e-4):
        super().__init__(spec)
        self.z_dim = z_dim
        self.g = nn.Sequential(
            nn.Linear(z_dim, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, spec.size), nn.Tanh(), nn.Unflatten(1, spec.shape),
        )  # fmt: skip
        self.d = nn.Sequential(
            nn.Flatten(), nn.Linear(spec.size, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2),
            nn.Linear(width, 1), nn.Flatten(0),
        )  # fmt: skip
        self.opt = {"d": adam(self.d.parameters(), lr, (0.5, 0.99)), "g": adam(self.g.parameters(), lr, (0.5, 0.99))}

    def noise(self, n: int) -> Tensor:
        return torch.randn(n, self.z_dim)

    def sample(self, z: Tensor) -> Tensor:
        return self.g(z)

    def step(self, batch: Batch, run: Run) -> None:
        run.update("d", self.d_loss, batch)
        run.update("g", self.g_loss, batch)

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        real, fake = self.d(batch.real), self.d(self.g(batch.draw(self.noise)))
        return non_saturating.d(real, fake), scores(real, fake)

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return non_saturating.g(self.d(self.g(batch.draw(self.noise)))), {}
