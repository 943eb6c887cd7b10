"""A recipe with everything that a checkpoint must hold: dropout, Adam, phases that begin with a random draw, a pool."""

import torch
from torch import Tensor, nn

from gankit import Batch, Phase, Recipe, Run, Spec, adam
from gankit.losses import non_saturating, scores
from gankit.nn import BatchNorm1d


class OddGAN(Recipe):
    """A GAN with every kind of state.

    Args:
        width: units in the hidden layers.
    """

    ema = ("g",)
    defaults = dict(batch=8)

    def __init__(self, spec: Spec, *, width: int = 8):
        super().__init__(spec)
        self.g = nn.Sequential(
            nn.Linear(4, width), BatchNorm1d(width), nn.ReLU(), nn.Linear(width, spec.size), nn.Unflatten(1, spec.shape)
        )
        self.d = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(spec.size, 1), nn.Flatten(0))
        self.opt = {"d": adam(self.d.parameters(), 1e-2, (0, 0.9)), "g": adam(self.g.parameters(), 1e-2, (0, 0.9))}
        self.register_buffer("offset", torch.zeros(()))
        self.pool: list[Tensor] = []

    def noise(self, n: int) -> Tensor:
        return torch.randn(n, 4)

    def sample(self, z: Tensor) -> Tensor:
        return self.g(z).tanh()

    def phase(self, images: int) -> Phase:
        return Phase(index=images // 40, batch=8 if images < 40 else 4)

    def enter(self, index: int, batch: Batch) -> None:
        self.offset.add_(batch.real.mean() + torch.rand(()))

    def get_extra_state(self) -> dict:
        return {"pool": self.pool, "count": (len(self.pool), "images")}

    def set_extra_state(self, state: dict) -> None:
        self.pool = state["pool"]

    def step(self, batch: Batch, run: Run) -> None:
        fakes = run.update("g", self.g_loss, batch)["fakes"]
        self.pool = [*self.pool, fakes[0]][-5:]
        old = self.pool[int(torch.randint(len(self.pool), ()))]
        run.update("d", self.d_loss, batch, torch.cat([fakes[1:], old[None]]))

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        fake = self.g(batch.draw(self.noise)) + self.offset
        return non_saturating.g(self.d(fake)), {"fakes": fake}

    def d_loss(self, batch: Batch, fake: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        real, fake = self.d(batch.real), self.d(fake)
        return non_saturating.d(real, fake), scores(real, fake)
