"""What does not belong: scores and maps of images by a model of the normal, thresholds, curves, and a detector as scikit-learn has them."""

from gankit.anomaly.detector import Detector
from gankit.anomaly.pages import write
from gankit.anomaly.scoring import Scores, numbers, opened, score_images, score_run, threshold, truth

__all__ = ["Detector", "Scores", "numbers", "opened", "score_images", "score_run", "threshold", "truth", "write"]
