"""As two Gaussians part, KL grows as the square of their distance and W as the distance, while JS and TV saturate.

With densities p and q and their mixture m = (p + q)/2,

    KL(P‖Q) = E_P log p/q = cross-entropy - entropy = -E_P log q + E_P log p
    JS(P, Q) = KL(P‖M)/2 + KL(Q‖M)/2 ≤ log 2          TV(P, Q) = ∫ |p - q|/2 ≤ 1
    W(P, Q) = the smallest mean distance over which mass moves from P to Q

A model q does not change the entropy of P: whoever maximises likelihood minimises KL(P‖Q). For N(0, 1) and N(μ, σ²)
KL(P‖Q) = log σ + (1 + μ²)/(2σ²) - 1/2 and KL(Q‖P) = -log σ + (σ² + μ²)/2 - 1/2. KL(P‖Q) is large where q misses what
p has, KL(Q‖P) where q has what p has not. Where q is 0 and p is not, KL is infinite: usual for images, which lie on a
thin set. The lower row shows it on uniform distributions of width 1: both KLs are infinite for μ > 0, JS = μ log 2 and
TV = μ up to μ = 1, then constant, so that their derivative does not tell Q where P is. That of W = μ still does.

Control: P against itself, where all of them are 0.
"""

from __future__ import annotations

import math

import torch
from PIL import Image
from torch import Tensor
from torch.distributions import Normal, Uniform

from gankit.lab.evidence import Check, Evidence, near
from gankit.lab.panels import CRITIC, FAKE, OTHER, REAL, THEORY, panels, picture
from gankit.metrics.divergence import earth_mover, js, kl

SOURCE = "Kullback and Leibler, 1951; Lin, 1991; Arjovsky, Chintala and Bottou, Wasserstein GAN, 2017, section 2"
SECONDS = 15
BINS = 100  # in a unit of length
X = (torch.arange(-20 * BINS, 30 * BINS, dtype=torch.float64) + 0.5) / BINS
U = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
PANELS = {"KL(P‖Q)": (1, REAL), "KL(Q‖P)": (1, FAKE), "JS": (2, OTHER), "TV": (2, CRITIC), "W": (3, CRITIC)}
Law = tuple[Tensor, Tensor]  # the probabilities of the bins around X, and the quantiles at U
Rows = dict[str, list[dict[str, float]]]  # of each kind of distributions: the divergences at each distance


def experiment(*, scale: float = 1.5, far: float = 8.0, distances: int = 17) -> Evidence:
    """Five divergences against the distance, beside closed forms.

    Args:
        scale: standard deviation σ of the second Gaussian, from 0.5 to 2.
        far: the largest distance μ, from 6 to 10.
        distances: from 0 to `far`, each a frame of the animation.

    Raises:
        ValueError: σ or μ is outside the range of the bins.
    """
    if not 0.5 <= scale <= 2 or not 6 <= far <= 10 or distances < 3:
        raise ValueError(f"scale {scale:g}, far {far:g}, distances {distances}: give 0.5 to 2, 6 to 10, and 3 or more")
    mu = [round(far * i / (distances - 1) * BINS) / BINS for i in range(distances)]
    p, box = law(Normal(0 * U[0], 1)), law(Uniform(0 * U[0], 1, validate_args=False))
    laws = {
        "Gaussians": [(p, law(Normal(U.new_tensor(m), scale))) for m in mu],
        "uniforms": [(box, law(Uniform(U.new_tensor(m), m + 1, validate_args=False))) for m in mu],
    }
    rows = {kind: [measure(*pair) for pair in pairs] for kind, pairs in laws.items()}
    steps = [{"JS": min(m, 1) * math.log(2), "TV": min(m, 1), "W": m} for m in mu]
    theory: Rows = {"Gaussians": [closed(m, scale) for m in mu], "uniforms": steps}
    checks = []
    for kind, forms in theory.items():
        for name in forms[0]:
            error = max(abs(row[name] - form[name]) / max(1, form[name]) for row, form in zip(rows[kind], forms))
            checks.append(near(f"{name} of {kind}, largest error beside the closed form", error, 0, 1e-3))
    infinite = sum(math.isinf(row["KL(P‖Q)"]) and math.isinf(row["KL(Q‖P)"]) for row in rows["uniforms"])
    checks += [
        near("distances at which both KLs of the uniforms are infinite", infinite, distances - 1, 0),
        Check(f"JS at μ = {far:g} over log 2", rows["Gaussians"][-1]["JS"] / math.log(2), 0.97, 1),
        near("control: the largest divergence of P from itself", max(measure(p, p).values()), 0, 1e-9),
    ]
    return Evidence(
        checks,
        drawn(mu, mu[distances // 3], {kind: pairs[distances // 3] for kind, pairs in laws.items()}, rows, theory),
        "Gaussians above, uniform distributions below, at the distance of the vertical line. From left to right: the "
        "densities p and q and their mixture m; both KLs; JS and TV, which saturate; W. Closed forms are dotted.",
        {"distance": mu, "Gaussians": rows["Gaussians"]},
        [drawn(mu, m, {"Gaussians": pair}, rows, theory) for m, pair in zip(mu, laws["Gaussians"])],
        fps=6,
    )


def measure(p: Law, q: Law) -> dict[str, float]:
    tv, w = float((p[0] - q[0]).abs().sum()) / 2, earth_mover(p[1], q[1])
    return {"KL(P‖Q)": kl(p[0], q[0]), "KL(Q‖P)": kl(q[0], p[0]), "JS": js(p[0], q[0]), "TV": tv, "W": w}


def law(distribution: Normal | Uniform) -> Law:
    return distribution.log_prob(X).exp() / BINS, distribution.icdf(U)


def closed(mean: float, scale: float) -> dict[str, float]:
    """The closed forms for Gaussians; W is the mean of |N(mean, (scale - 1)²)|."""
    s = max(abs(scale - 1), 1e-9)
    w = s * math.sqrt(2 / math.pi) * math.exp(-((mean / s) ** 2) / 2) + mean * math.erf(mean / s / math.sqrt(2))
    forward, reverse = math.log(scale) + (1 + mean**2) / scale**2 / 2, (scale**2 + mean**2) / 2 - math.log(scale)
    return {"KL(P‖Q)": forward - 0.5, "KL(Q‖P)": reverse - 0.5, "W": w}


def drawn(mu: list[float], now: float, laws: dict[str, tuple[Law, Law]], rows: Rows, true: Rows) -> Image.Image:
    """All divergences against the distance, and the densities at one of them."""
    figure, axes = panels([f"{kind}: {x}" for kind in laws for x in ("densities", "KL", "JS, TV", "W")], 4, 2.6, 2.3)
    for row, (kind, (p, q)) in enumerate(laws.items()):
        for mass, colour, name in ((p[0], REAL, "p"), (q[0], FAKE, "q"), ((p[0] + q[0]) / 2, OTHER, "m")):
            axes[4 * row].plot(X, mass * BINS, color=colour, label=name, lw=1 if name == "m" else 2)
        axes[4 * row].set(xlabel="x", xlim=(-4, mu[-1] + 4), ylim=(0, 1.2 if row else 0.45))
        axes[4 * row].legend(loc="upper right")
        for name, (column, colour) in PANELS.items():
            panel = axes[4 * row + column]
            panel.plot(mu, [found[name] for found in rows[kind]], color=colour, label=name)
            panel.plot(mu, [c.get(name, math.nan) for c in true[kind]], ":", color=THEORY)
            panel.axvline(now, color=THEORY, lw=0.7)
            panel.set_xlabel("distance μ")
            panel.legend(loc="lower right" if column == 2 else "upper left")
        if kind == "uniforms":
            axes[5].set(xlim=(mu[0], mu[-1]), yticks=[])
            axes[5].text(mu[-1] / 2, 0, "infinite for μ > 0", ha="center", va="center")
    return picture(figure)
