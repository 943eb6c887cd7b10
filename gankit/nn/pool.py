"""A pool of past fakes to train a discriminator on (Shrivastava et al. 2017), as CycleGAN uses it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gankit.nn.across import own, whole

Draw = Callable[[Callable[[int], Tensor]], Tensor]


class Pool(nn.Module):
    """Gives each new image back, or a past one in its place: with probability one half once the pool is full.

    Until then each new image is kept and given back. From then on, for each, a coin says whether it is given back, or a
    past one drawn at random, whose place it takes. Over several processes there is one pool, which each of them holds, fed
    with the rows of all in their order; so what it gives depends neither on processes nor on pieces.

    Args:
        size: images that it holds; 0 gives each image straight back.
    """

    def __init__(self, size: int = 50):
        super().__init__()
        if size < 0:
            raise ValueError(f"the pool's size is {size}; it must be at least 0")
        self.size = size
        self.images: list[Tensor] = []

    def get_extra_state(self) -> dict[str, list[Tensor]]:
        return {"images": self.images}

    def set_extra_state(self, state: dict[str, list[Tensor]]) -> None:
        self.images = list(state["images"])

    def forward(self, images: Tensor, draw: Draw) -> Tensor:
        """(N, C, H, W) new images, without gradients, to as many new or past ones; `draw` is `batch.draw`."""
        if not self.size:
            return images
        coins: list[list[int]] = []  # of all processes' rows, never on the device, which need not be waited for

        def toss(n: int) -> Tensor:
            tossed = torch.stack([torch.randint(2, (n,)), torch.randint(self.size, (n,))], 1)
            coins.extend(tossed.tolist())
            return tossed

        draw(toss)
        given = []
        for image, (swap, place) in zip(whole(images), coins, strict=True):
            kept = image.clone(memory_format=torch.contiguous_format)
            if len(self.images) < self.size:
                self.images.append(kept)
            elif swap:
                kept, self.images[place] = self.images[place].to(image), kept
            given.append(kept)
        return torch.empty_like(images).copy_(own(torch.stack(given)))
