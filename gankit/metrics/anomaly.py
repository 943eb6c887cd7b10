"""How well scores separate anomalies from normal samples. Larger scores always mean more anomalous."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def auroc(scores: Tensor, anomalous: Tensor) -> float:
    """P(score of an anomaly > score of a normal one) + P(equal) / 2: the area under the ROC curve; higher is better.

    1 for perfect separation, 0.5 for chance. Any increasing function of the scores gives the same value, so they need
    no scaling. Hanley & McNeil, "The Meaning and Use of the Area under a Receiver Operating Characteristic (ROC)
    Curve", Radiology 1982. By scikit-learn, in float64.

    Args:
        scores: (N,) larger for anomalies.
        anomalous: (N,) bool, or 0 and 1.

    Raises:
        ValueError: shapes differ, NaN, labels other than 0 and 1, or only one of them.
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*_checked(scores, anomalous)))


def auprc(scores: Tensor, anomalous: Tensor) -> float:
    """Area under the precision-recall curve as average precision, sum (R_n - R_n-1) P_n; higher is better.

    Chance is the share of anomalies, so compare values only for equal shares. Davis & Goadrich, "The Relationship
    Between Precision-Recall and ROC Curves", ICML 2006: no linear interpolation between points. Arguments and errors as
    for `auroc`.
    """
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*_checked(scores, anomalous)))


def region_overlap(maps: Tensor, masks: Tensor, most: float = 0.3) -> float:
    """Area under the curve of per-region overlap over false positive rates up to `most`, divided by `most`; 1 is best.

    Per-region overlap (PRO) of Bergmann et al., "Uninformed Students: Student-Teacher Anomaly Detection with
    Discriminative Latent Embeddings", CVPR 2020, section 4.2: at each threshold the share of detected pixels is
    averaged over all connected regions (8 neighbours), so that a small defect counts as much as a large one.

    Args:
        maps: (N, H, W) larger for anomalies.
        masks: (N, H, W) bool, true on anomalies.
        most: largest false positive rate, 0.3 in the paper.

    Raises:
        ValueError: shapes differ, values are not finite, all or no pixels are anomalous, or `most` is outside (0, 1].
    """
    from scipy.ndimage import label

    if maps.ndim != 3 or maps.shape != masks.shape or not torch.isfinite(maps).all():
        raise ValueError(f"maps are {tuple(maps.shape)} and masks {tuple(masks.shape)}; give finite (N, H, W) twice")
    if not masks.any() or masks.all() or not 0 < most <= 1:
        raise ValueError(f"there must be anomalous and normal pixels, and most ({most}) within (0, 1]")
    score, truth = maps.detach().double().cpu().numpy(), masks.cpu().numpy().astype(bool)
    share, regions = np.zeros(score.shape), 0
    for row, mask in zip(share, truth):
        places, count = label(mask, np.ones((3, 3)))
        sizes = np.bincount(places.ravel())
        row[mask] = 1 / sizes[places[mask]]
        regions += count
    order = np.argsort(-score, axis=None, kind="stable")
    falls = np.append(np.diff(score.ravel()[order]) != 0, True)  # equal scores are found together
    found = np.cumsum(share.ravel()[order])[falls] / regions
    alarms = np.cumsum(~truth.ravel()[order])[falls] / (~truth).sum()
    x, y = np.append(0, alarms), np.append(0, found)
    inside = x <= most
    x, y = np.append(x[inside], most), np.append(y[inside], np.interp(most, x, y))
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) / most)


def threshold_at(normal_scores: Tensor, false_positive_rate: float) -> float:
    """The threshold t of "anomalous if score > t" with at most that false positive rate, from (N,) normal scores.

    t is the ceil((1 - rate) (N + 1))-th smallest score. Then a new normal sample, exchangeable with these, exceeds t
    with probability at most `rate`, exactly and for any distribution (Vovk, Gammerman & Shafer, "Algorithmic Learning
    in a Random World", 2005: conformal prediction), and so does at most that share of the N themselves. The probability
    includes the draw of the N. Scores of training samples are not exchangeable with new ones: use held-out samples.

    Raises:
        ValueError: no or NaN scores, a rate outside (0, 1), or fewer than 1 / rate - 1 scores, which guarantee nothing.
    """
    if normal_scores.ndim != 1 or not len(normal_scores) or torch.isnan(normal_scores).any():
        raise ValueError(f"scores are {tuple(normal_scores.shape)}; give (N,) without NaN, at least one")
    if not 0 < false_positive_rate < 1:
        raise ValueError(f"the false positive rate is {false_positive_rate}; give one such as 0.05")
    n = len(normal_scores)
    above = math.floor(false_positive_rate * (n + 1) + 0.5)
    while above / (n + 1) > false_positive_rate:  # the largest integer whose share is within the rate in floating point
        above -= 1
    if not above:
        raise ValueError(
            f"{n} normal scores cannot guarantee a rate of {false_positive_rate}; give at least "
            f"{math.ceil(1 / false_positive_rate - 1 - 1e-9)}, or a higher rate"
        )
    return float(normal_scores.detach().double().sort(descending=True).values[above - 1])


def _checked(scores: Tensor, anomalous: Tensor) -> tuple[np.ndarray, np.ndarray]:
    if scores.ndim != 1 or scores.shape != anomalous.shape:
        raise ValueError(f"scores are {tuple(scores.shape)} and anomalous {tuple(anomalous.shape)}; give (N,) twice")
    if not torch.isfinite(scores).all():
        raise ValueError(f"{int((~torch.isfinite(scores)).sum())} scores are NaN or infinite; find out why")
    kinds = anomalous.unique().tolist()
    if kinds != [0, 1]:
        raise ValueError(f"anomalous holds {kinds[:9]}; give some 0 (normal) and some 1 (anomalous), and nothing else")
    return anomalous.cpu().numpy().astype(bool), scores.detach().double().cpu().numpy()
