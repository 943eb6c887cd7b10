"""Metrics as pure functions of features, images, points, labels or probabilities, with references in docstrings."""

from gankit.metrics.anomaly import auprc, auroc, region_overlap, threshold_at
from gankit.metrics.bins import ndb
from gankit.metrics.classes import accuracy, hungarian_accuracy, inception_score, naming, purity, total_variation
from gankit.metrics.classifier_scores import classification_accuracy, correlation, fit_attributes, fit_convnet
from gankit.metrics.digits_classifier import classify, features, probabilities
from gankit.metrics.divergence import critic_distance, earth_mover, js, kl, parzen_log_likelihood
from gankit.metrics.diversity import pairwise_distance, pixel_std
from gankit.metrics.extractors import Extractor, extractor, from_module
from gankit.metrics.frechet import Moments, frechet_distance
from gankit.metrics.kernel import cmmd, kernel_distance, kernel_distance_subsets
from gankit.metrics.lpips import lpips
from gankit.metrics.manifold import density_coverage, neighbour_distances, precision_recall, radii, realism
from gankit.metrics.modes import Coverage, coverage, mixture_coverage, nearest, reverse_kl, stacked_coverage
from gankit.metrics.neighbours import birthday, closest_pairs, memorisation, nearest_neighbours
from gankit.metrics.patches import patch_distance, patch_distances
from gankit.metrics.path import path_distances, path_length, trimmed_mean
from gankit.metrics.pyramid import laplacian_pyramid, sliced_wasserstein
from gankit.metrics.segmentation import (
    class_accuracy,
    class_iou,
    confusion,
    fcn_score,
    fit_segmenter,
    mean_iou,
    pixel_accuracy,
)
from gankit.metrics.separability import linear_separability
from gankit.metrics.spatial import per_class_frechet, sifid, spatial_features
from gankit.metrics.structure import ms_ssim, ms_ssim_diversity, psnr, ssim

__all__ = [
    "Coverage", "Extractor", "Moments", "accuracy", "auprc", "auroc", "birthday", "class_accuracy", "class_iou",
    "classification_accuracy", "classify", "closest_pairs", "cmmd", "confusion", "correlation", "coverage",
    "critic_distance", "density_coverage", "earth_mover", "extractor", "fcn_score", "features", "fit_attributes",
    "fit_convnet", "fit_segmenter", "frechet_distance", "from_module", "hungarian_accuracy", "inception_score", "js",
    "kernel_distance", "kernel_distance_subsets", "kl", "laplacian_pyramid", "linear_separability", "lpips", "mean_iou",
    "memorisation", "mixture_coverage", "ms_ssim", "ms_ssim_diversity", "naming", "ndb", "nearest",
    "nearest_neighbours", "neighbour_distances", "pairwise_distance", "parzen_log_likelihood", "patch_distance",
    "patch_distances", "path_distances", "path_length", "per_class_frechet", "pixel_accuracy", "pixel_std",
    "precision_recall", "probabilities", "psnr", "purity", "radii", "realism", "region_overlap", "reverse_kl", "sifid",
    "sliced_wasserstein", "spatial_features", "ssim", "stacked_coverage", "threshold_at", "total_variation",
    "trimmed_mean",
]  # fmt: skip
