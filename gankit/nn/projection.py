"""The projection discriminator of Miyato & Koyama, "cGANs with Projection Discriminator", ICLR 2018."""

from __future__ import annotations

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn


class ProjectionDiscriminator(nn.Module):
    """Blocks, ReLU, sum over positions, linear output; with classes, plus the class's embedding times the features.

    Args:
        blocks: modules from images (N, C, H, W) to a map of features.
        num_features: channels of that map.
        num_classes: number of classes; 0 for a discriminator without labels.
    """

    def __init__(self, blocks: Iterable[nn.Module], num_features: int, num_classes: int):
        super().__init__()
        self.trunk = nn.Sequential(*blocks)
        self.head = nn.Linear(num_features, 1)
        self.embed = nn.Embedding(num_classes, num_features) if num_classes else None

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, C, H, W) in [-1, 1], and (N,) labels, to (N,) logits."""
        features = F.relu(self.trunk(x)).sum((2, 3))
        logits = self.head(features).squeeze(1)
        return logits if label is None else logits + (self.embed(label) * features).sum(1)
