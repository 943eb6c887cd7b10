"""PSNR, SSIM and MS-SSIM between images, and diversity by MS-SSIM within a set.

All are defined on levels 0 to 255, so images are rounded to 8 bits, as files are. Window and constants: Wang et
al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE Trans. Image Processing 2004,
https://doi.org/10.1109/TIP.2003.819861.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the five scales, finest first: Wang et al. 2003, section 3.2
TAPS, STD = 11, 1.5  # of the Gaussian window
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
NUMBERS = 2**22  # values in memory for each intermediate result


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """(N,) peak signal-to-noise ratios in dB of pairs of (N, C, H, W) images in [-1, 1]; higher is better.

    10 log10(255^2 / MSE), with the mean over channels and pixels of one image. Infinity for identical images: use the
    median over images, or leave these out. A difference of one level everywhere is 48.13 dB.

    Raises:
        ValueError: images are not (N, C, H, W) floats of one shape, or hold NaN or infinity.
    """
    check_pairs(a, b)

    def one(x: Tensor, y: Tensor) -> Tensor:
        return 10 * torch.log10(255**2 / (x - y).square().mean((1, 2, 3)))

    return _in_parts(one, a, b)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """(N,) structural similarities of pairs of (N, C, H, W) images in [-1, 1], 1 for identical ones; higher is better.

    Mean over channels and pixels of (2 ma mb + C1) (2 sab + C2) / ((ma^2 + mb^2 + C1) (sa^2 + sb^2 + C2)), with means
    and (co)variances under an 11 x 11 Gaussian window of std 1.5 inside the image; C1 = (0.01 L)^2,
    C2 = (0.03 L)^2, L = 255: Wang et al. 2004. The paper uses grey images; colour images are averaged over channels.

    Raises:
        ValueError: as `psnr`, or a side is below 11.
    """
    check_pairs(a, b, least=TAPS)
    return _in_parts(lambda x, y: _similarity(x, y)[0], a, b)


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """(N,) multi-scale structural similarities, 0 to 1, of pairs of (N, C, H, W) images in [-1, 1], 1 if equal.

    prod_{j = 1..4} cs_j^w_j x ssim_5^w_5: each scale is the last one average-pooled 2 x 2, cs is `ssim` without the
    factor of means, both averaged over channels and pixels and clamped at 0, w = `WEIGHTS`. Wang et al., "Multi-scale
    Structural Similarity for Image Quality Assessment", Asilomar 2003, https://doi.org/10.1109/ACSSC.2003.1292216. As
    Odena et al. (ACGAN) and Karras et al. (PGGAN) measure it, the window shrinks on small scales, to min(11, H, W) taps
    of std 1.5 x taps / 11, so that 16 pixels are enough; libraries refuse below 161. A scale with an odd side loses its
    last row or column. Between an image and its target higher is better; between samples see `ms_ssim_diversity`.

    Raises:
        ValueError: as `psnr`, or a side is below 16.
    """
    check_pairs(a, b, least=16)
    return _in_parts(_multiscale, a, b)


def ms_ssim_diversity(images: Tensor, pairs: int = 100, seed: int = 0, label: Tensor | None = None) -> float:
    """Mean `ms_ssim` over random pairs among (N, C, H, W) images in [-1, 1], N >= 2; lower is more diverse.

    With (N,) int64 labels: `pairs` pairs within each class, and the mean over the classes that occur. Odena et al.,
    "Conditional Image Synthesis with Auxiliary Classifier GANs", ICML 2017, https://arxiv.org/abs/1610.09585: 100 pairs
    per class at 128 x 128; Karras et al. (PGGAN), ICLR 2018: 10,000 pairs, no classes. 1 if all images are equal; noise
    scores low, too, so compare with the value of as many real images. If there are fewer different pairs than `pairs`,
    each counts once.

    Raises:
        ValueError: as `ms_ssim`; labels are not one for each image; a class, or the set, has one image; `pairs` < 1.
    """
    check_images(images, least=16)
    if pairs < 1:
        raise ValueError(f"pairs = {pairs}; give 1 or more")
    if label is None:
        label = torch.zeros(len(images), dtype=torch.long)
    if label.shape != (len(images),):
        raise ValueError(f"labels are {tuple(label.shape)}; give one for each of {len(images)} images")
    generator, label, means = torch.Generator().manual_seed(seed), label.cpu(), []
    if len(images) < 2:
        raise ValueError("one image has no pair; give two or more")
    for c in label.unique().tolist():
        rows = (label == c).nonzero()[:, 0]
        n = len(rows)
        if n < 2:
            raise ValueError(f"class {c} has one image; a pair needs two: draw more of it, or leave it out")
        if n * (n - 1) // 2 <= pairs:
            i, j = torch.tensor(list(combinations(range(n), 2))).T
        else:
            i = torch.randint(n, (pairs,), generator=generator)
            j = (i + torch.randint(1, n, (pairs,), generator=generator)) % n  # any other than i
        step = _step(images)
        parts = zip(rows[i].to(images.device).split(step), rows[j].to(images.device).split(step))
        means.append(torch.cat([_multiscale(to_levels(images[x]), to_levels(images[y])) for x, y in parts]).mean())
    return float(torch.stack(means).mean())


def to_levels(images: Tensor) -> Tensor:
    """Images in [-1, 1] as float64 whole numbers 0 to 255, as files hold them; values outside are clamped."""
    return ((images.detach().double() + 1) * 127.5).round().clamp(0, 255)


def check_images(images: Tensor, least: int = 1) -> None:
    """Check that images are finite (N, C, H, W) floats with sides of at least `least`."""
    if images.ndim != 4 or not images.is_floating_point() or not images.numel():
        raise ValueError(f"images are {tuple(images.shape)} {images.dtype}; give (N, C, H, W) floats in [-1, 1]")
    if min(images.shape[2:]) < least:
        raise ValueError(f"images are {images.shape[2]}x{images.shape[3]}; enlarge them to sides of {least} or more")
    if broken := sum(int((~part.isfinite()).flatten(1).any(1).sum()) for part in images.split(_step(images))):
        raise ValueError(f"{broken} of {len(images)} images hold NaN or infinity; leave them out, or find their cause")


def check_pairs(a: Tensor, b: Tensor, least: int = 1) -> None:
    """Check that two sets have equally many images of one shape."""
    if a.shape != b.shape:
        raise ValueError(f"images are {tuple(a.shape)} and {tuple(b.shape)}; pairs need one shape")
    check_images(a, least)
    check_images(b, least)


def _step(images: Tensor) -> int:
    return max(1, NUMBERS // images[0].numel())


def _in_parts(function: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    parts: Iterator[tuple[Tensor, Tensor]] = zip(a.split(_step(a)), b.split(_step(a)))
    return torch.cat([function(to_levels(x), to_levels(y)) for x, y in parts])


def _multiscale(a: Tensor, b: Tensor) -> Tensor:
    value: Tensor | float = 1.0
    for weight in WEIGHTS[:-1]:
        value = value * _similarity(a, b)[1].clamp(min=0) ** weight
        a, b = avg_pool2d(a, 2), avg_pool2d(b, 2)
    return value * _similarity(a, b)[0].clamp(min=0) ** WEIGHTS[-1]


def _similarity(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) means of the similarity, and of its contrast and structure factor, of float64 levels."""
    taps = min(TAPS, *a.shape[2:])
    at = torch.arange(taps, dtype=a.dtype) - (taps - 1) / 2
    gaussian = torch.exp(-(at**2) / (2 * (STD * taps / TAPS) ** 2))
    window: list[float] = (gaussian / gaussian.sum()).tolist()
    mean_a, mean_b = _blur(a, window), _blur(b, window)
    product, energy = mean_a * mean_b, mean_a**2 + mean_b**2
    covariance = _blur(a * b, window) - product
    variances = _blur(a**2 + b**2, window) - energy
    structure = (2 * covariance + C2) / (variances + C2)
    luminance = (2 * product + C1) / (energy + C1)
    return (luminance * structure).mean((1, 2, 3)), structure.mean((1, 2, 3))


def _blur(x: Tensor, window: list[float]) -> Tensor:
    """Separable window without padding; a float64 conv2d takes six times as long."""
    for axis in (2, 3):
        size = x.shape[axis] - len(window) + 1
        total = x.narrow(axis, 0, size) * window[0]
        for i, weight in enumerate(window[1:], 1):
            total.add_(x.narrow(axis, i, size), alpha=weight)
        x = total
    return x
