"""An anomaly detector with the interface of scikit-learn's: fit, score_samples, decision_function, predict."""

# ruff: noqa: N803, N806 -- scikit-learn calls its data X

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.base import BaseEstimator, OutlierMixin

from gankit import data, training
from gankit.anomaly.scoring import score_images, threshold
from gankit.runs.trained import load


class Detector(OutlierMixin, BaseEstimator):
    """Detects images that differ from normal ones, by a model that `fit` trains on normal images.

    Args:
        model: anogan or f_anogan.
        preset: a preset of the model.
        contamination: rate of false alarms on new normal images; held-out images set the threshold for it.
        held_out: share of the images that are held out of training to set the threshold.
        images: training length in images shown; default: the preset's.
        seed: of all random numbers, and of the choice of held-out images.
        outdir: folder for the run; default: a temporary one.
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
        """Train on normal images, and set the threshold on held-out ones.

        Args:
            X: (N, H, W) or (N, H, W, C) uint8, normal images.
            y: not used; part of scikit-learn's interface.

        Raises:
            ValueError: X is something else, or too few images are held out for the rate of false alarms.
        """
        X = check_images(X)
        order = np.random.default_rng(self.seed).permutation(len(X))
        count = max(1, round(self.held_out * len(X)))
        if count + 1 < 1 / self.contamination:
            raise ValueError(
                f"{count} held-out images cannot promise {self.contamination:.3g} of false alarms: "
                "give more images, a larger held_out or a higher contamination"
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
        run = training.train(
            self.model,
            preset=self.preset,
            outdir=outdir,
            quiet=True,
            **options,  # type: ignore[arg-type]  # settings of any type, which train checks
        )
        self.trained_ = load(run.folder)
        self.offset_ = -threshold(-torch.from_numpy(self.score_samples(X[order[:count]])), self.contamination)
        self.n_features_in_ = X[0].size
        return self

    def score_samples(self, X: np.ndarray) -> np.ndarray:
        """(N, H, W[, C]) uint8 images to (N,) scores, larger for more normal images, as in scikit-learn."""
        if not hasattr(self, "trained_"):
            raise ValueError("this detector is not fitted: call fit(X) with normal images first")
        pixels = check_images(X).transpose(0, 3, 1, 2)
        images = data.normalise(torch.from_numpy(np.ascontiguousarray(pixels)))
        shape = self.trained_.recipe.spec.shape
        if tuple(images.shape[1:]) != tuple(shape):
            raise ValueError(
                f"the images are {tuple(images.shape[1:])} (C, H, W); this detector was fitted to {tuple(shape)}"
            )
        return -score_images(self.trained_.recipe, images).score.double().numpy()

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """`score_samples` minus the threshold: negative for anomalies."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: np.ndarray) -> np.ndarray:
        """(N,) 1 for normal images, -1 for anomalies."""
        return np.where(self.decision_function(X) < 0, -1, 1)


def check_images(images: np.ndarray) -> np.ndarray:
    """(N, H, W) or (N, H, W, C) uint8 to (N, H, W, C).

    Raises:
        ValueError: it is something else.
    """
    images = np.asarray(images)
    has_channels = images.ndim == 4
    is_shaped = images.ndim == 3 or (has_channels and images.shape[3] in (1, 3, 4))
    if images.dtype != np.uint8 or not is_shaped or not len(images):
        raise ValueError(
            f"X is {images.dtype}{list(images.shape)}; "
            "give uint8 images, (N, H, W) or (N, H, W, C) with 1, 3 or 4 channels"
        )
    return images if has_channels else images[..., None]
