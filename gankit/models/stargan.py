"""stargan. Yunjey Choi, Minje Choi, Munyoung Kim, Jung-Woo Ha, Sunghun Kim, Jaegul Choo, "StarGAN: Unified Generative
Adversarial Networks for Multi-Domain Image-to-Image Translation", CVPR 2018. https://arxiv.org/abs/1711.09020

One generator changes images according to target attributes. Its input is the image concatenated with one plane for
each attribute, filled with the target 0 or 1. A critic judges patches and classifies the attributes. G is trained to
fool the critic, to have the target attributes recognised, and to reconstruct the input from the result and the
original attributes.

Data sets with different attributes take turns. G then gets the attributes of all sets, zeros for attributes that are
unknown in the image's set, and a one-hot mask of the set. Only the attributes of the image's own set enter the
classification loss (section 3.2).

The file is long because it supports one data set, several sets, and classes instead of attributes.

Deviations:
- The learning rate decays to 0 over the second half, as in the paper; in the authors' code it ends at 0.999 of its
  start.
- The instance norm keeps no running statistics; the authors' code keeps them and never uses them.
- The critic halves its maps six times, as in the paper, from 128 px on; below 128 px it halves them down to 2 or 3 px.
- Without a preset, samples come from averaged weights (`--ema 0`: the last ones); the authors do not average weights.
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
COLUMNS = 8  # of a preview, including the input


class Generator(nn.Module):
    """An image and a condition to the translated image."""

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
        attributes: names of the attributes to use, a,b,c; empty: all. A joined set with no named attribute keeps all.
        width: channels of G's first map.
        width_d: channels of D's first map; 0: as many as G's.
        blocks: residual blocks of G.
        class_weight: lambda_cls, weight of the classification losses.
        cycle_weight: lambda_rec, weight of the L1 distance between the input and its reconstruction.
        identity_weight: weight of the L1 distance between the input and its translation to its own attributes; 0 in the
            paper. The drawn shapes need it: without it, positions and sizes can change and still be reconstructed.
        penalty_weight: lambda_gp, weight of the gradient penalty.
        n_critic: batches of each set per update of G.
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
        "cpu": Preset(
            "for images of 28 to 64 px on one CPU core: small's with smaller batches, the paper's cycle weight and one "
            "update of D for each of G; one check on 64 px emoji, one seed: after 208 CPU s .81 of held-out emoji show "
            "the skin tone asked for, with two updates of D .53 after 188",
            model=dict(width=16, blocks=2, cycle_weight=10.0, identity_weight=5.0, n_critic=1, lr=1e-3),
            settings=dict(batch=4, images=24_000, ema=2_000),
        ),
        "small": Preset(
            "shapes at 32 px on two CPU cores: narrower, higher learning rate, lower cycle weight, identity loss",
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
                "stargan needs attributes or classes, and the data have none. Add a table of attributes next to the "
                "images, or a folder for each class"
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
        exclusive = spec.exclusive or (not spec.attributes,)
        # If only a part of exclusive attributes is used, an image may have none of them.
        self.exclusive = [is_exclusive and n == whole for is_exclusive, n, whole in zip(exclusive, self.counts, counts)]
        total, sets = len(self.columns), len(self.counts)
        self.g = Generator(spec.channels, total + sets * (sets > 1), width, blocks)
        self.d = PatchCritic(spec.shape, total, width_d or width)
        self.opt = {name: adam(net.parameters(), lr, (beta1, beta2)) for name, net in (("d", self.d), ("g", self.g))}

    def span(self, source: int) -> slice:
        """The positions of a set's attributes among all chosen attributes."""
        before = sum(self.counts[:source])
        return slice(before, before + self.counts[source])

    def condition(self, attribute: Tensor, source: int = 0) -> Tensor:
        """(N, A) attributes of all sets, or only of set `source`, to the (N, condition_dim) input of G, c~ of eq. 7.

        Raises:
            ValueError: there is no such set, or it has another number of attributes.
        """
        if not 0 <= source < len(self.counts):
            raise ValueError(
                f"source is {source}; this model was trained on {len(self.counts)} data sets, numbered from 0"
            )
        span, total, sets = self.span(source), sum(self.counts), len(self.counts)
        if attribute.shape[1] == total:
            attribute = attribute[:, span]
        if attribute.shape[1] != self.counts[source]:
            names = ", ".join(self.names[span])
            raise ValueError(f"{attribute.shape[1]} attributes were given; there are {names} ({self.counts[source]})")
        condition = attribute.new_zeros(len(attribute), total + sets * (sets > 1))
        condition[:, span] = attribute
        condition[:, total:][:, source : source + 1] = 1
        return condition

    def translate(self, images: Tensor, attribute: Tensor, source: int = 0) -> Tensor:
        """(N, C, H, W) images to images with the target attributes, both in [-1, 1]; H and W are multiples of 4.

        Args:
            images: the input.
            attribute: (N, A) targets, 0 or 1, for all chosen attributes or only for those of `source`.
            source: index of the joined data set whose attributes are the target.
        """
        return self.g(images, self.condition(attribute, source))

    def known(self, batch: Batch) -> tuple[Tensor, int]:
        """A batch's chosen attributes, (N, A), and the index of its data set."""
        if not self.spec.attributes:
            return torch.eye(len(self.columns), device=batch.real.device, dtype=batch.real.dtype)[batch.label], 0
        return batch.attribute[:, self.columns], int(batch.source[0]) if "source" in batch else 0

    def enter(self, index: int, batch: Batch) -> None:
        for name, values in zip(self.names, self.known(batch)[0].T):
            if not ((values == 0) | (values == 1)).all():
                raise ValueError(
                    f"stargan learns attributes of 0 or 1; {name} goes from {values.min():g} to {values.max():g}. "
                    "Choose others with --attributes"
                )

    def step(self, batch: Batch, run: Run) -> None:
        for opt in self.opt.values():
            decay(opt, self.lr, run.done)
        target = shuffled(self.known(batch)[0], batch, run)
        run.update("d", self.d_loss, batch, target)
        if (run.step // len(self.counts) + 1) % self.n_critic == 0:  # the sets take turns; each gets updates of G
            run.update("g", self.g_loss, batch, target)

    def class_loss(self, logits: Tensor, attribute: Tensor, source: int) -> Tensor:
        """Cross-entropy of (N, A) logits on the attributes of `source`: binary and summed, or of exclusive classes."""
        logits, attribute = logits[:, self.span(source)], attribute[:, self.span(source)]
        if self.exclusive[source]:
            return cross_entropy(logits, attribute.argmax(1))
        return bernoulli_nll(logits, attribute)

    def d_loss(self, batch: Batch, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        attribute, source = self.known(batch)
        fakes = self.translate(batch.real, target, source)
        fake, (real, logits) = self.d(batch.augment(fakes)), self.d.judge(batch.augment(batch.real))
        penalty = wgan_gp(lambda x: self.d(batch.augment(x)), batch.real, fakes, batch.draw)  # of the patches' sum
        class_loss = self.class_loss(logits, attribute, source)
        loss = wasserstein.d(real, fake) + self.class_weight * class_loss + self.penalty_weight * penalty
        return loss, {"penalty": penalty, "class": class_loss, **scores(real, fake, boundary=None)}

    def g_loss(self, batch: Batch, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        attribute, source = self.known(batch)
        fakes = self.translate(batch.real, target, source)
        fake, logits = self.d.judge(batch.augment(fakes))
        class_loss = self.class_loss(logits, target, source)
        rec = self.translate(fakes, attribute, source)
        cycle = (batch.real - rec).abs().mean()
        loss = wasserstein.g(fake) + self.class_weight * class_loss + self.cycle_weight * cycle
        outputs = {"class": class_loss, "cycle": cycle}
        if self.identity_weight:
            idt = self.translate(batch.real, attribute, source)
            outputs["identity"] = (batch.real - idt).abs().mean()
            loss = loss + self.identity_weight * outputs["identity"]
        return loss, outputs

    def strip(self, batch: Batch) -> list[Tensor]:
        """Columns of a preview: the input, then one column for each of the first attributes, (N, C, H, W) each.

        A column inverts its attribute and keeps the others. If a set's attributes are exclusive, the column sets its
        attribute to 1 and the others to 0. So do columns of attributes named ..._Hair, among each other, and columns
        of other sets than the image's.
        """
        attribute, source = self.known(batch)
        columns = [batch.real]
        for i in range(min(len(self.names), COLUMNS - 1)):
            target_set = next(s for s in range(len(self.counts)) if i < self.span(s).stop)
            keeps_others = target_set == source and not self.exclusive[target_set]
            target = attribute.clone() if keeps_others else torch.zeros_like(attribute)
            hair = [j for j, name in enumerate(self.names) if name.endswith("_Hair")]
            target[:, i] = 1 - target[:, i]
            if i in hair:
                target[:, hair] = 0
                target[:, i] = 1
            columns.append(self.translate(batch.real, target, target_set))
        return columns
