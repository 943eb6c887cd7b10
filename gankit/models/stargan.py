"""stargan. Yunjey Choi, Minje Choi, Munyoung Kim, Jung-Woo Ha, Sunghun Kim, Jaegul Choo, "StarGAN: Unified Generative
Adversarial Networks for Multi-Domain Image-to-Image Translation", CVPR 2018. https://arxiv.org/abs/1711.09020

One generator changes images as any of many attributes ask. It sees the image beside one plane for each attribute, filled
with the wanted 0 or 1. A critic judges patches and reads the attributes; G is to fool the one and to be read rightly by
the other, and from what it made, given the old attributes, it must come back to the input.

Sets with different attributes are learnt from in turn. G then sees the attributes of all sets, zeros for those that the
image's set does not know, and a one-hot mask of the set, which says what the zeros mean; only the attributes of the
image's own set enter the classification loss (section 3.2).

The file is long because one set, several sets and classes in place of attributes are asked for in one way.

Deviations:
- The learning rate falls to 0 over the second half, as the paper says; in the authors' code it ends at 0.999 of its start.
- The instance norm keeps no running statistics; the authors' code does and never uses them.
- 256 px have the paper's critic; below 128 px it is halved until 2 or 3 px are left, above as often as at 128 px.
- Without a preset, samples come from averaged weights (`--ema 0`: the last ones); the authors have no averaging.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gankit.losses import bernoulli_nll, cross_entropy, scores, wasserstein
from gankit.nn import ConditionedTrunk, PatchCritic, nearest_fours
from gankit.penalties import wgan_gp
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam, decay, shuffled

CELEBA = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")
RAFD = ("angry", "contemptuous", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")
COLUMNS = 8  # of a preview, the input among them


class Generator(nn.Module):
    """An image and its condition to the image as the condition asks."""

    def __init__(self, channels: int, condition_dim: int, width: int, blocks: int):
        super().__init__()
        self.trunk = ConditionedTrunk(channels, condition_dim, width, blocks)
        self.out = nn.Conv2d(width, channels, 7, 1, 3, bias=False)

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] and (N, condition_dim) to (N, C, H, W) in [-1, 1]."""
        return self.out(self.trunk(images, condition)).tanh()


class StarGAN(Recipe):
    """One generator for all attributes of one or several data sets; sides are multiples of 4.

    Args:
        attributes: names of those to learn, a,b,c; empty for all. A joined set of which none is named keeps all.
        width: channels of G's first map.
        width_d: channels of D's first map; 0 for as many as G's.
        blocks: residual blocks of G.
        class_weight: lambda_cls, weight of the classification losses.
        cycle_weight: lambda_rec, weight of the distance between the input and what comes back.
        identity_weight: weight of the distance between the input and what comes of it when its own attributes are asked for;
            not in the paper. Drawn shapes need it: they can all change places and sizes and still come back.
        penalty_weight: lambda_gp.
        n_critic: batches of each set for one update of G.
        lr: Adam's learning rate in the first half of the run.
        beta1: decay of Adam's mean of gradients.
        beta2: decay of Adam's mean of squared gradients.
    """

    labels, ema, defaults = "optional", ("g",), dict(batch=16, data="shapes:colours+shapes:sizes")
    multiple = 4
    nearest = staticmethod(nearest_fours)
    presets = {
        "paper": Preset(
            "the authors' five attributes of CelebA at 128 px, without averaged weights",
            model=dict(attributes=",".join(CELEBA)),
            settings=dict(resolution="128", mirror=True, batch=16, images=3_200_000, ema=0),
            spec=Spec((3, 128, 128), attributes=CELEBA, exclusive=(False,)),
            parameters=dict(g=8_430_528, d=44_762_048),
        ),
        "rafd": Preset(
            "the authors' eight expressions of RaFD, a folder each, at 128 px, without averaged weights",
            settings=dict(resolution="128", mirror=True, batch=16, images=3_200_000, ema=0),
            spec=Spec((3, 128, 128), num_classes=8),
            parameters=dict(g=8_439_936, d=44_786_624),
        ),
        "both": Preset(
            "CelebA and RaFD joined at 256 px, without averaged weights",
            model=dict(attributes=",".join(CELEBA)),
            settings=dict(resolution="256", mirror=True, batch=16, images=6_400_000, ema=0),
            spec=Spec((3, 256, 256), attributes=CELEBA + RAFD, groups=(5, 8), exclusive=(False, True)),
            parameters=dict(g=8_461_888, d=45_147_072),
        ),
        "small": Preset(
            "shapes at 32 px on two CPU cores: narrower, faster, a weaker cycle, and G is held to leave alone what is as asked",
            model=dict(width=16, blocks=2, cycle_weight=5.0, identity_weight=5.0, n_critic=2, lr=1e-3),
            settings=dict(batch=8, images=80_000, ema=5_000),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        attributes: str = "",
        width: int = 64,
        width_d: int = 0,
        blocks: int = 6,
        class_weight: float = 1.0,
        cycle_weight: float = 10.0,
        identity_weight: float = 0.0,
        penalty_weight: float = 10.0,
        n_critic: int = 5,
        lr: float = 1e-4,
        beta1: float = 0.5,
        beta2: float = 0.999,
    ):
        super().__init__(spec)
        self.class_weight, self.cycle_weight, self.penalty_weight = class_weight, cycle_weight, penalty_weight
        self.identity_weight, self.n_critic, self.lr = identity_weight, n_critic, lr
        if not spec.attributes and not spec.num_classes:
            raise ValueError(
                "stargan needs attributes or classes, and the data have none: a table beside the images, or a folder for each class"
            )
        if attributes and not spec.attributes:
            raise ValueError(
                f"the data have {spec.num_classes} classes and no attributes to choose from: leave --attributes out"
            )
        self.columns = spec.columns(attributes) if spec.attributes else list(range(spec.num_classes))
        self.names = [spec.attributes[i] for i in self.columns] if spec.attributes else [str(i) for i in self.columns]
        counts = spec.groups or (len(spec.attributes) or spec.num_classes,)
        ends = [sum(counts[: i + 1]) for i in range(len(counts))]
        self.counts = [sum(end - n <= i < end for i in self.columns) for n, end in zip(counts, ends)]
        just_one = spec.exclusive or (not spec.attributes,)
        self.exclusive = [
            one and own == n for one, own, n in zip(just_one, self.counts, counts)
        ]  # of a part none may hold
        total, sets = len(self.columns), len(self.counts)
        self.g = Generator(spec.channels, total + sets * (sets > 1), width, blocks)
        self.d = PatchCritic(spec.shape, total, width_d or width)
        self.opt = {name: adam(net.parameters(), lr, (beta1, beta2)) for name, net in (("d", self.d), ("g", self.g))}

    def span(self, source: int) -> slice:
        """Where a set's own attributes stand among all that were chosen."""
        before = sum(self.counts[:source])
        return slice(before, before + self.counts[source])

    def condition(self, attribute: Tensor, source: int = 0) -> Tensor:
        """(N, A) chosen attributes of all sets, or (N, A of the source) of one, to the vector that G sees, c~ of eq. 7.

        Raises:
            ValueError: there is no such set, or it has another number of attributes.
        """
        if not 0 <= source < len(self.counts):
            raise ValueError(
                f"source is {source}; this model learnt from {len(self.counts)} data sets, numbered from 0"
            )
        own, total = self.span(source), sum(self.counts)
        if attribute.shape[1] == total:
            attribute = attribute[:, own]
        if attribute.shape[1] != self.counts[source]:
            raise ValueError(
                f"{attribute.shape[1]} attributes were given; there are {', '.join(self.names[own])} ({self.counts[source]})"
            )
        sets = len(self.counts)
        known = attribute.new_zeros(len(attribute), total + sets * (sets > 1))
        known[:, own] = attribute
        known[:, total:][:, source : source + 1] = 1
        return known

    def translate(self, images: Tensor, attribute: Tensor, source: int = 0) -> Tensor:
        """(N, C, H, W) images to those with the attributes asked for, both in [-1, 1]; H and W are multiples of 4.

        Args:
            images: what is to be changed.
            attribute: 0 or 1 for each of the chosen attributes, (N, A), or for those of the source alone.
            source: of several joined sets, the number of that whose attributes are meant.
        """
        return self.g(images, self.condition(attribute, source))

    def known(self, batch: Batch) -> tuple[Tensor, int]:
        """A batch's chosen attributes, (N, A), and the number of the set it is from."""
        if not self.spec.attributes:
            return torch.eye(len(self.columns), device=batch.real.device, dtype=batch.real.dtype)[batch.label], 0
        return batch.attribute[:, self.columns], int(batch.source[0]) if "source" in batch else 0

    def enter(self, index: int, batch: Batch) -> None:
        for name, values in zip(self.names, self.known(batch)[0].T):
            if not ((values == 0) | (values == 1)).all():
                raise ValueError(
                    f"stargan learns attributes of 0 or 1; {name} goes from {values.min():g} to {values.max():g}. Choose others with --attributes"
                )

    def step(self, batch: Batch, run: Run) -> None:
        for opt in self.opt.values():
            decay(opt, self.lr, run.done)
        target = shuffled(self.known(batch)[0], batch, run)
        run.update("d", self.d_loss, batch, target)
        if (run.step // len(self.counts) + 1) % self.n_critic == 0:  # the sets take turns, and each has its share of G
            run.update("g", self.g_loss, batch, target)

    def class_loss(self, logits: Tensor, attribute: Tensor, source: int) -> Tensor:
        """Cross-entropy of the source's own attributes, (N, A) logits and truth: the sum over attributes, or one of classes."""
        logits, attribute = logits[:, self.span(source)], attribute[:, self.span(source)]
        return (
            cross_entropy(logits, attribute.argmax(1)) if self.exclusive[source] else bernoulli_nll(logits, attribute)
        )

    def d_loss(self, batch: Batch, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        attribute, source = self.known(batch)
        fakes = self.translate(batch.real, target, source)
        fake, (real, logits) = self.d(batch.augment(fakes)), self.d.judge(batch.augment(batch.real))
        penalty = wgan_gp(lambda x: self.d(batch.augment(x)), batch.real, fakes, batch.draw)  # of the map's sum
        class_loss = self.class_loss(logits, attribute, source)
        loss = wasserstein.d(real, fake) + self.class_weight * class_loss + self.penalty_weight * penalty
        return loss, {"penalty": penalty, "class": class_loss, **scores(real, fake, boundary=None)}

    def g_loss(self, batch: Batch, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        attribute, source = self.known(batch)
        fakes = self.translate(batch.real, target, source)
        fake, logits = self.d.judge(batch.augment(fakes))
        class_loss = self.class_loss(logits, target, source)
        cycle = (batch.real - self.translate(fakes, attribute, source)).abs().mean()
        loss, outputs = (
            wasserstein.g(fake) + self.class_weight * class_loss + self.cycle_weight * cycle,
            {"class": class_loss, "cycle": cycle},
        )
        if self.identity_weight:
            outputs["identity"] = (batch.real - self.translate(batch.real, attribute, source)).abs().mean()
            loss = loss + self.identity_weight * outputs["identity"]
        return loss, outputs

    def strip(self, batch: Batch) -> list[Tensor]:
        """The input, then one column for each of the first attributes: (N, C, H, W) each.

        Where just one of a set's attributes holds, it is the one that is asked for; else it is turned over and the others
        stay, but that of attributes called ..._Hair just one holds. Of sets that the image is not from, it is the only one.
        """
        attribute, source = self.known(batch)
        columns = [batch.real]
        for i in range(min(len(self.names), COLUMNS - 1)):
            of = next(s for s in range(len(self.counts)) if i < self.span(s).stop)
            asked = attribute.clone() if of == source and not self.exclusive[of] else torch.zeros_like(attribute)
            hair = [j for j, name in enumerate(self.names) if name.endswith("_Hair")]
            asked[:, i] = 1 - asked[:, i]
            if i in hair:
                asked[:, hair] = 0
                asked[:, i] = 1
            columns.append(self.translate(batch.real, asked, of))
        return columns
