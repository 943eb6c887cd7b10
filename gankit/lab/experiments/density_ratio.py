"""The discriminator of a GAN learns a density ratio: its logit becomes log p/q, and its loss tells the divergence.

For given densities p of reals and q of fakes the loss of D is, over all x,

    L(D) = -∫ p(x) log D(x) + q(x) log(1 - D(x)) dx

and at each x its minimum is where the derivative by D(x) is 0:

    D*(x) = p(x) / (p(x) + q(x)) = σ(log p(x)/q(x)),        L(D*) = 2 log 2 - 2 JS(p, q)

D never sees p or q, only samples of them: telling two sets apart is a way to compare densities that nobody can write
down. The loss 2 log 2 = 1.386 means that D answers 1/2 everywhere, because p = q, or because it has not learned
anything. The less loss is left, the further are the distributions apart; 0 means that they are separate. D is bound
to log p/q only where samples are, so that its errors are averaged over the mixture (p + q)/2. They are largest for the
wide q: out there log p/q falls to -20, but an answer of 0.001 costs D hardly more than one of 0.

Control: equal densities. The logit is 0 and the loss stays at 2 log 2, however long D trains.
"""

from __future__ import annotations

import math

import torch
from PIL import Image
from torch import nn
from torch.distributions import Normal

from gankit import losses
from gankit.lab.evidence import Evidence, near
from gankit.lab.panels import CRITIC, FAKE, REAL, THEORY, panels, picture
from gankit.lab.toy import Sampler, logits, mlp, train_d
from gankit.metrics.divergence import js

SOURCE = "Goodfellow et al., Generative Adversarial Nets, 2014, proposition 1 and theorem 1"
SECONDS = 12
X = torch.linspace(-6, 8, 1401)
TITLES = ("Means 0 and 1", "Deviations 1 and 2", "Control: equal")


def experiment(*, steps: int = 400, batch: int = 512, seed: int = 0) -> Evidence:
    """The logit of a trained D beside log p/q, and its loss beside 2 log 2 - 2 JS, for three pairs of Gaussians.

    Args:
        steps: updates of each D.
        batch: samples of each density in an update.
        seed: of the networks and the samples.
    """
    torch.manual_seed(seed)
    pairs = [(Normal(0.0, 1.0), Normal(m, s)) for m, s in ((1.0, 1.0), (0.0, 2.0), (0.0, 1.0))]
    networks, checks = [], []
    numbers: dict[str, dict[str, float]] = {}
    for title, within, (p, q) in zip(TITLES, (0.1, 0.3, 0.1), pairs):
        d = mlp(1, 64, 64, 1, activation=nn.Tanh)
        train_d(d, draw(p), draw(q), losses.non_saturating, steps=steps, batch=batch, lr=4e-3)
        networks.append(d)
        dp, dq = p.log_prob(X).exp(), q.log_prob(X).exp()
        mixture = (dp + dq) / (dp + dq).sum()
        with torch.no_grad():
            logit = logits(d)(X[:, None])
            loss = losses.non_saturating.d(logits(d)(draw(p)(200_000)), logits(d)(draw(q)(200_000))).item()
        wrong = float((mixture * (logit - p.log_prob(X) + q.log_prob(X)).abs()).sum())
        wrong_d = float((mixture * (logit.sigmoid() - dp / (dp + dq)).abs()).sum())
        left = 2 * math.log(2) - 2 * js(dp / dp.sum(), dq / dq.sum())
        checks += [
            near(f"{title}: mean error of the logit", wrong, 0, within),
            near(f"{title}: mean error of D(x)", wrong_d, 0, 0.03),
            near(f"{title}: the loss that is left", loss, left, 0.01),
        ]
        numbers[title] = {"loss": loss, "2 log 2 - 2 JS": left, "mean error of the logit": wrong}
    return Evidence(
        checks,
        drawn(pairs, networks, numbers),
        "Above: the densities of reals (p) and fakes (q). Middle: D's logit, with log p/q dotted. Below: D(x), with "
        "p/(p + q) dotted. Where there are no samples, shaded, D is not bound to anything.",
        {**numbers},
    )


def draw(normal: Normal) -> Sampler:
    """n to (n, 1) samples."""
    return lambda n: normal.sample((n, 1))


def drawn(
    pairs: list[tuple[Normal, Normal]], networks: list[nn.Sequential], numbers: dict[str, dict[str, float]]
) -> Image.Image:
    """Densities, logits and D(x), a column for each pair."""
    figure, axes = panels([*TITLES, *[""] * 6], columns=3, height=1.9)
    for column, ((p, q), d) in enumerate(zip(pairs, networks)):
        densities, ratio, answer = axes[column::3]
        dp, dq = p.log_prob(X).exp(), q.log_prob(X).exp()
        densities.plot(X, dp, color=REAL, label="p")
        densities.plot(X, dq, color=FAKE, label="q", ls="--" if column == 2 else "-")
        with torch.no_grad():
            logit = logits(d)(X[:, None])
        ratio.plot(X, logit, color=CRITIC, label="logit of D")
        ratio.plot(X, p.log_prob(X) - q.log_prob(X), ":", color=THEORY, label="log p/q")
        answer.plot(X, logit.sigmoid(), color=CRITIC, label="D(x)")
        answer.plot(X, dp / (dp + dq), ":", color=THEORY, label="p/(p + q)")
        ratio.set(ylim=(-6, 6))
        answer.set(ylim=(-0.05, 1.05), xlabel="x")
        loss, left = (numbers[TITLES[column]][name] for name in ("loss", "2 log 2 - 2 JS"))
        answer.set_title(f"loss {loss:.3f}, theory {left:.3f}")
        for panel in (densities, ratio, answer):
            panel.fill_between(
                X, 0, 1, where=dp + dq < 0.01 * (dp + dq).max(), color="#e4e7ec", transform=panel.get_xaxis_transform()
            )
            panel.set(xlim=(-5, 7))
            panel.legend(loc="upper right")
    return picture(figure)
