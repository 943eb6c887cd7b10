"""A recipe that translates by one convolution of known reach, without any norm, for tests of what is done around it."""

import torch
from torch import Tensor, nn

from gankit import Batch, Recipe, Run, Spec, adam


class OddTranslator(Recipe):
    """Odd on purpose: it doubles and halves nothing, and its two ways are negatives of each other.

    Args:
        kernel: side of the convolution.
        every: what `multiple` is.
    """

    data, defaults = "domains", dict(batch=4, data="digits-negative")

    def __init__(self, spec: Spec, *, kernel: int = 7, every: int = 4):
        super().__init__(spec)
        self.multiple, self.reach = every, kernel // 2 + every
        self.net = nn.Sequential(
            nn.Conv2d(spec.channels, 4, kernel, padding=kernel // 2), nn.Tanh(), nn.AvgPool2d(every), nn.Upsample(scale_factor=every),
            nn.Conv2d(4, spec.other[0], 1), nn.Tanh(),
        )  # fmt: skip
        self.opt = {"g": adam(self.net.parameters(), 1e-3)}

    def step(self, batch: Batch, run: Run) -> None:
        run.update("g", lambda piece: ((self.net(piece.a) - piece.b).square().mean(), {}), batch)

    def translate(self, images: Tensor, to: str = "b") -> Tensor:
        return self.net(images) if to == "b" else -images

    def strip(self, batch: Batch) -> list[Tensor]:
        return [batch.a, self.net(batch.a), batch.b]

    def noise(self, n: int, height: int, width: int) -> Tensor:
        return torch.rand(n, height * width)
