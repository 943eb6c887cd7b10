"""A detector with the habits of scikit-learn's outlier detectors: fit, score_samples, decision_function, predict."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.base import BaseEstimator, OutlierMixin
from torch import Tensor

from gankit import data, training
from gankit.anomaly.scoring import score_images, threshold
from gankit.runs.trained import load


class Detector(OutlierMixin, BaseEstimator):
    """Finds images unlike those that it was fitted to, by a model of the normal that is trained here.

    Args:
        model: anogan or f_anogan.
        preset: sizes from the model's file.
        contamination: rate of false alarms on new normal images; one normal image in `held_out` sets the threshold.
        held_out: share of the images that are kept from training for it.
        images: how many images to train on, counting each time that one is seen; the preset's without it.
        seed: of everything drawn at random, and of which images are held out.
        outdir: folder for the run; a temporary one without it.
        options: further settings and arguments of the model, by name.
    """

    def __init__(
        self,
        model: str = "f_anogan",
        preset: str = "small",
        contamination: float = 0.05,
        held_out: float = 0.2,
        images: int | None = None,
        seed: int = 0,
        outdir: str = "",
        options: dict[str, object] | None = None,
    ):
        self.model, self.preset, self.contamination, self.held_out = model, preset, contamination, held_out
        self.images, self.seed, self.outdir, self.options = images, seed, outdir, options

    def fit(self, X: np.ndarray, y: None = None) -> Detector:
        """Train on normal images, and set the threshold by some that are held out.

        Args:
            X: (N, H, W) or (N, H, W, C) uint8, of normal images.
            y: not used; it is there for scikit-learn.

        Raises:
            ValueError: X is something else, or too few images are held out for the rate of false alarms.
        """
        X = checked(X)
        order = np.random.default_rng(self.seed).permutation(len(X))
        count = max(1, round(self.held_out * len(X)))
        if count + 1 < 1 / self.contamination:
            raise ValueError(
                f"{count} held-out images cannot promise {self.contamination:.3g} of false alarms: give more images, a larger "
                "held_out or a higher contamination"
            )
        outdir = self.outdir or tempfile.mkdtemp(prefix="gankit-")
        Path(outdir).mkdir(parents=True, exist_ok=True)
        path = Path(outdir) / "normal.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for i in order[count:]:
                buffer = io.BytesIO()
                Image.fromarray(X[i].squeeze(-1) if X.shape[3] == 1 else X[i]).save(buffer, "PNG")
                archive.writestr(f"{i:06d}.png", buffer.getvalue())
        length = {} if self.images is None else {"images": self.images}
        options = {"data": str(path), "seed": self.seed} | length | (self.options or {})
        run = training.train(self.model, preset=self.preset, outdir=outdir, quiet=True, **options)
        self.trained_ = load(run.folder)
        self.offset_ = -threshold(-torch.from_numpy(self.score_samples(X[order[:count]])), self.contamination)
        self.n_features_in_ = X[0].size
        return self

    def score_samples(self, X: np.ndarray) -> np.ndarray:
        """(N, H, W[, C]) uint8 images to (N,) scores, larger for more normal ones, as scikit-learn has it."""
        if not hasattr(self, "trained_"):
            raise ValueError("this detector is not fitted: call fit(X) with normal images first")
        images = pixels(checked(X))
        shape = self.trained_.recipe.spec.shape
        if tuple(images.shape[1:]) != tuple(shape):
            raise ValueError(
                f"the images are {tuple(images.shape[1:])} (C, H, W); this detector was fitted to {tuple(shape)}"
            )
        return -score_images(self.trained_.recipe, images).score.double().numpy()

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """`score_samples` less the threshold: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: np.ndarray) -> np.ndarray:
        """(N,) 1 for images that are normal, -1 for those that are not."""
        return np.where(self.decision_function(X) < 0, -1, 1)


def checked(X: np.ndarray) -> np.ndarray:
    """(N, H, W) or (N, H, W, C) uint8 to (N, H, W, C). Raises ValueError: it is something else."""
    X = np.asarray(X)
    if X.dtype != np.uint8 or X.ndim not in (3, 4) or not len(X) or (X.ndim == 4 and X.shape[3] not in (1, 3, 4)):
        raise ValueError(
            f"X is {X.dtype}{list(X.shape)}; give uint8 images, (N, H, W) or (N, H, W, C) with 1, 3 or 4 channels"
        )
    return X[..., None] if X.ndim == 3 else X


def pixels(X: np.ndarray) -> Tensor:
    """(N, H, W, C) uint8 to (N, C, H, W) in [-1, 1]."""
    return data.normalise(torch.from_numpy(np.ascontiguousarray(X.transpose(0, 3, 1, 2))))
