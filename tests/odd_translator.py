"""An image translator with one convolution of known receptive field and no norm, for tests of the code around it."""

import torch
from torch import Tensor, nn

from gankit import Batch, Recipe, Run, Spec, adam


class OddTranslator(Recipe):
    """A translator from a to b by a small network, and from b to a by negation.

    Args:
        kernel: side of the convolution.
        every: the recipe's `multiple`, the stride of its pooling.
    """

    data, defaults = "domains", dict(batch=4, data="digits-negative")

    def __init__(self, spec: Spec, *, kernel: int = 7, every: int = 4):
        super().__init__(spec)
        self.multiple, self.reach = every, kernel // 2 + every
        first, last = nn.Conv2d(spec.channels, 4, kernel, padding=kernel // 2), nn.Conv2d(4, spec.other[0], 1)
        resample = nn.AvgPool2d(every), nn.Upsample(scale_factor=every)
        self.net = nn.Sequential(first, nn.Tanh(), *resample, last, nn.Tanh())
        self.opt = {"g": adam(self.net.parameters(), 1e-3)}

    def step(self, batch: Batch, run: Run) -> None:
        run.update("g", lambda piece: ((self.net(piece.a) - piece.b).square().mean(), {}), batch)

    def translate(self, images: Tensor, to: str = "b") -> Tensor:
        return self.net(images) if to == "b" else -images

    def strip(self, batch: Batch) -> list[Tensor]:
        return [batch.a, self.net(batch.a), batch.b]

    def noise(self, n: int, height: int, width: int) -> Tensor:
        return torch.rand(n, height * width)
