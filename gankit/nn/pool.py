"""A pool of past fakes that a discriminator trains on (Shrivastava et al. 2017), as in CycleGAN."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gankit.nn.across import Draw, own, whole


class Pool(nn.Module):
    """Returns each new image or, with probability 1/2 once the pool is full, a past one that it replaces.

    Until the pool is full, each new image is stored and returned. Each process holds a copy of the same pool, fed with
    the rows of all processes in order, so the output depends neither on processes nor on pieces.

    Args:
        size: number of images stored; 0 returns each image unchanged.
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
        """(N, C, H, W) new images, without gradients, to N new or past ones; `draw` is `batch.draw`."""
        if not self.size:
            return images
        coins: list[list[int]] = []  # for the rows of all processes; kept off the device to avoid a synchronisation

        def toss(n: int) -> Tensor:
            tossed = torch.stack([torch.randint(2, (n,)), torch.randint(self.size, (n,))], 1)
            coins.extend(tossed.tolist())
            return tossed

        draw(toss)
        returned = []
        for image, (swap, place) in zip(whole(images), coins, strict=True):
            image = image.clone(memory_format=torch.contiguous_format)
            if len(self.images) < self.size:
                self.images.append(image)
            elif swap:
                image, self.images[place] = self.images[place].to(image), image
            returned.append(image)
        return torch.empty_like(images).copy_(own(torch.stack(returned)))
