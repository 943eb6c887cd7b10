"""Metrics: pure functions of features, images, points, labels or probabilities, with their source in the docstring."""

from gankit.metrics.classes import accuracy, hungarian_accuracy, inception_score, purity, total_variation
from gankit.metrics.digits import classify, features, probabilities
from gankit.metrics.diversity import pairwise_distance, pixel_std
from gankit.metrics.frechet import Moments, frechet_distance
from gankit.metrics.modes import Coverage, coverage, mixture_coverage, nearest, reverse_kl, stacked_coverage

__all__ = [
    "Coverage",
    "Moments",
    "accuracy",
    "classify",
    "coverage",
    "features",
    "frechet_distance",
    "hungarian_accuracy",
    "inception_score",
    "mixture_coverage",
    "nearest",
    "pairwise_distance",
    "pixel_std",
    "probabilities",
    "purity",
    "reverse_kl",
    "stacked_coverage",
    "total_variation",
]
