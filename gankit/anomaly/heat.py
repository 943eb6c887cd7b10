"""Heat maps of anomalies over their images."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gankit import latent, pictures

HEAT = np.array(
    [[0, 0, 0, 0], [90, 0, 60, 110], [220, 40, 20, 170], [255, 170, 0, 210], [255, 255, 200, 240]], np.float64
)  # RGBA


def strips(extremes: list[tuple[Tensor, Tensor, Tensor]]) -> Image.Image:
    """Images, reconstructions and heat maps of the lowest scores above those of the highest, on one scale."""
    top = max(float(torch.stack([heat for *_, heat in extremes]).max()), 1e-12)
    rows = [(image, rebuilt, overlay(image, heat, top)) for image, rebuilt, heat in extremes]
    columns = [torch.stack(part) for part in zip(*rows)]
    return pictures.grid(latent.beside(columns), 3 * max(1, len(rows) // 4))


def overlay(image: Tensor, heat: Tensor, top: float) -> Tensor:
    """(C, H, W) image in [-1, 1] and (H, W) map to (3, H, W): the map from dark red to white over the grey image."""
    grey = ((image[:3].mean(0) + 1) / 2).clamp(0, 1).double().numpy()[..., None] * 255
    place = (heat.double() / top).clamp(0, 1).numpy() * (len(HEAT) - 1)
    low = np.minimum(place.astype(int), len(HEAT) - 2)
    colour = HEAT[low] + (place - low)[..., None] * (HEAT[low + 1] - HEAT[low])
    cover = colour[..., 3:] / 255
    mixed = grey * (1 - cover) + colour[..., :3] * cover
    return torch.from_numpy(mixed / 127.5 - 1).float().permute(2, 0, 1)
