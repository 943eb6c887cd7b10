"""Anomaly detection: scores and heat maps by a model of normal images, thresholds, and a detector for scikit-learn."""

from gankit.anomaly.detector import Detector
from gankit.anomaly.pages import save_maps, write
from gankit.anomaly.scoring import ABOUT, Scores, numbers, score_images, score_run, threshold

__all__ = ["ABOUT", "Detector", "Scores", "numbers", "save_maps", "score_images", "score_run", "threshold", "write"]
