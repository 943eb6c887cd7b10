"""A discriminator that sees samples one by one cannot tell a collapsed batch of perfect samples from data.

Let G draw one real point and return it for a whole batch, and another one for the next batch. Each single sample has
exactly the distribution of the data, so that p_G = p and the best D of single samples is 1/2 everywhere:

    loss of D = -E log D(x) - E log(1 - D(G(z))) ≥ 2 log 2        whatever D is and however long it learns

Batches give G away at once, as no two real points are equal. Three ways to let D see them: the minibatch standard
deviation appends the mean deviation over a group of samples, which is 0 here; minibatch discrimination appends how
close a sample is to the others in learned projections; packing joins k samples to one input of D, so that it learns
the joint distribution of k samples. Then D tells the batches apart, and through it G is punished for repeating itself.

Control: D without any of these, on the same batches, with as many updates.
"""

from __future__ import annotations

import math

import torch
from PIL import Image
from torch import Tensor

from gankit import losses
from gankit.lab.evidence import Check, Evidence, near
from gankit.lab.panels import FAKE, REAL, THEORY, panels, picture
from gankit.lab.toy import Sampler, batch_critic, logits, mixture, train_d

SOURCE = "Salimans et al., 2016, section 3.2; Karras et al., Progressive GAN, 2018, section 3; Lin et al., PacGAN, 2018"
SECONDS = 9
NAMES = {"": "alone", "stddev": "standard deviation", "discrimination": "discrimination", "packing": "packing"}
TESTS = 400


def experiment(*, steps: int = 300, batch: int = 64, seed: int = 0) -> Evidence:
    """D with and without a view of its batch, trained on real batches against collapsed ones.

    Args:
        steps: updates of each D.
        batch: points in a batch, a multiple of 4.
        seed: of the networks and the points.

    Raises:
        ValueError: the batch does not divide into the groups of 4 of standard deviation and packing.
    """
    if batch < 8 or batch % 4:
        raise ValueError(f"batch is {batch}; give a multiple of 4, 8 or more")
    torch.manual_seed(seed)
    real = mixture("ring")[0]
    mean: dict[str, tuple[Tensor, Tensor]] = {}
    loss, right = {}, {}
    for kind, name in NAMES.items():
        d = batch_critic(kind, 32)
        train_d(d, real, lambda n: real(1).expand(n, 2), losses.non_saturating, steps=steps, batch=batch, lr=0.01)
        with torch.no_grad():
            outputs = [(logits(d)(real(batch)), logits(d)(real(1).expand(batch, 2))) for _ in range(TESTS)]
        loss[name] = sum(losses.non_saturating.d(*pair).item() for pair in outputs) / TESTS
        a, b = (torch.stack(side) for side in zip(*outputs))
        mean[name] = a.sigmoid().mean(1), b.sigmoid().mean(1)
        right[name] = float(((a > 0).double().mean() + (b < 0).double().mean()) / 2)
    seeing = list(NAMES.values())[1:]
    return Evidence(
        [
            near("loss of D alone, less its least value 2 log 2", loss["alone"] - 2 * math.log(2), 0.05, 0.1),
            near("share of samples that D alone gets right", right["alone"], 0.5, 0.1),
            *(Check(f"share of samples that D with {name} gets right", right[name], 0.95) for name in seeing),
            *(Check(f"loss of D with {name}", loss[name], 0, 0.5) for name in seeing),
        ],
        drawn(real, batch, mean, loss),
        "Left: one real batch of the ring, and one collapsed batch, all of whose points are at the cross. Others: the "
        f"mean of D over each of {TESTS} batches of both kinds. Alone, D cannot pass 2 log 2 = 1.386.",
        {"loss": loss, "right": right},
    )


def drawn(real: Sampler, batch: int, mean: dict[str, tuple[Tensor, Tensor]], loss: dict[str, float]) -> Image.Image:
    """A batch of each kind, and what every D says of many."""
    titles = [f"D {'alone' if name == 'alone' else 'with ' + name}: loss {loss[name]:.2f}" for name in mean]
    figure, axes = panels(["A batch of each kind", *titles], width=2.7)
    axes[0].plot(*real(batch).T, "o", color=REAL, ms=4, label="real")
    axes[0].plot(*real(1).T, "X", color=FAKE, ms=12, label=f"{batch} times")
    axes[0].set(aspect="equal", xlim=(-1.5, 1.5), ylim=(-1.5, 1.5))
    axes[0].legend(loc="center")
    for panel, (a, b) in zip(axes[1:], mean.values()):
        bins = torch.linspace(0, 1, 26).tolist()
        panel.hist(a.tolist(), bins, color=REAL, alpha=0.7, label="real batches")
        panel.hist(b.tolist(), bins, color=FAKE, alpha=0.7, label="collapsed batches")
        panel.axvline(0.5, ls=":", color=THEORY)
        panel.set(xlabel="mean of D over the batch", ylim=(0, None))
    axes[1].legend()
    return picture(figure)
