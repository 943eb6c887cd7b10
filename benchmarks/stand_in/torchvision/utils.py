"""save_image."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image


def save_image(images: torch.Tensor, path: str, nrow: int = 8, normalize: bool = False) -> None:
    """Write (N, C, H, W) images as a grid; `normalize` maps their range to [0, 1]."""
    images = images.detach().float()
    if normalize:
        images = (images - images.min()) / (images.max() - images.min()).clamp_min(1e-5)
    blanks = images.new_zeros(-len(images) % nrow, *images.shape[1:])
    cells = torch.cat([images, blanks]).clamp(0, 1).mul(255).byte().permute(0, 2, 3, 1).numpy()
    rows = [np.concatenate(list(cells[i : i + nrow]), axis=1) for i in range(0, len(cells), nrow)]
    grid = np.concatenate(rows)
    Image.fromarray(grid.squeeze(2) if grid.shape[2] == 1 else grid).save(path)
