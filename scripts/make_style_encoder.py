"""Make gankit/nn/style_encoder.safetensors: train the small encoder of `adain`, and report what its statistics tell apart.

    python scripts/make_style_encoder.py [OUT]

It learns two things at once, from patches of the built-in photographs and textures and of drawn patterns. Which picture or
pattern a patch is of, told from nothing but the mean and deviation of each channel of each tap: so these carry style. And
to draw the patch again from relu4_1 alone, by a decoder that is thrown away: so the maps carry content. In half of the
patches colours are changed at random, which keeps colour from being all that it looks at. At last every filter is scaled so
that its mean square is one. (Gatys et al. scaled VGG-19's to a mean of one, https://arxiv.org/abs/1505.07376; of filters
that are seldom active, of which a small network has some, that would make all that counts.)

The right quarter of each picture is never trained on: it is what the report is of. The same PyTorch on the same kind of
processor gives the same bits.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from gankit import data
from gankit.nn.style import FrozenEncoder, Layer, moments

OUT = Path(__file__).parents[1] / "gankit" / "nn" / "style_encoder.safetensors"
PHOTOS = ("china", "flower", "astronaut", "camera", "cat", "coffee", "coins", "hubble", "moon", "rocket")
WIDTHS = (16, 16, 32, 32, 64, 64, 128)  # of the convolutions; a pool stands wherever they grow
SIDE = 64
PATTERNS = 8


def pictures() -> list[Tensor]:
    """The photographs and textures whole, (3, H, W) in [-1, 1]."""
    whole = [data.open(f"photo:{name}:whole").rows(np.arange(1))["real"] for name in PHOTOS]
    whole += data.open("textures", 512).rows(np.arange(3))["real"].split(1)  # a window as large as the picture
    return [data.normalise(picture)[0].expand(3, -1, -1) for picture in whole]


def patches(found: list[Tensor], n: int, train: bool) -> tuple[Tensor, Tensor]:
    """Patches (n, 3, SIDE, SIDE) of the pictures, of 64 to 192 px of their left or right part, and which picture each is of."""
    which, drawn = torch.randint(len(found), (n,)), []
    for i in which.tolist():
        height, width = found[i].shape[1:]
        cut = int(width * 0.75)
        part = found[i][:, :, :cut] if train else found[i][:, :, cut:]
        side = int(torch.randint(SIDE, 1 + min(192, *part.shape[1:]), ()))
        y, x = (int(torch.randint(1 + limit - side, ())) for limit in part.shape[1:])
        patch = part[:, y : y + side, x : x + side]
        patch = patch.flip(-1) if torch.rand(()) < 0.5 else patch
        drawn.append(F.interpolate(patch[None], (SIDE, SIDE), mode="bilinear", antialias=True))
    return torch.cat(drawn), which


def patterns(n: int) -> tuple[Tensor, Tensor]:
    """Drawn patterns (n, 3, SIDE, SIDE) in [-1, 1], in two colours each, and which of the kinds each is."""
    kind, grid = torch.randint(PATTERNS, (n,)), torch.arange(SIDE) - SIDE / 2
    angle, period = (torch.rand(n) * math.pi)[:, None, None], (4 * 4 ** torch.rand(n))[:, None, None]
    u, v = (2 * math.pi / period * wave for wave in (
        angle.cos() * grid[:, None] + angle.sin() * grid, angle.cos() * grid - angle.sin() * grid[:, None]
    ))  # fmt: skip
    rough, smooth = (F.interpolate(torch.randn(n, 1, s, s), (SIDE, SIDE), mode="bicubic")[:, 0] for s in (32, 10))
    waves = u.sin(), u.sin().sign(), (u.sin() * v.sin()).sign(), (u.sin() + v.sin() - 1).sign(), u.sin() + v.sin()
    level = torch.stack([*waves, rough, smooth, (u + 3 * smooth).sin()])[kind, torch.arange(n)].clamp(-1, 1)
    one, two = torch.rand(2, n, 3, 1, 1) * 2 - 1
    return one + (two - one) * (level[:, None] + 1) / 2, kind


def recoloured(images: Tensor) -> Tensor:
    """Half of the (N, 3, H, W) images with their channels in another order, and each stretched and moved."""
    order = torch.rand(len(images), 3).argsort(1)[:, :, None, None].expand_as(images)
    gain, move = 0.4 + 0.6 * torch.rand(len(images), 3, 1, 1), 0.6 * torch.rand(len(images), 3, 1, 1) - 0.3
    sign = torch.where(torch.rand(len(images), 1, 1, 1) < 0.3, -1, 1)
    changed = (images.gather(1, order) * gain * sign + move).clamp(-1, 1)
    return torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, changed, images)


def batch(found: list[Tensor], n: int, train: bool) -> tuple[Tensor, Tensor]:
    """Patches and, for a third, patterns, with their classes: the pictures first, then the kinds of patterns."""
    (one, which), (two, kind) = patches(found, n - n // 3, train), patterns(n // 3)
    images = torch.cat([one, two])
    return (recoloured(images) if train else images).contiguous(memory_format=torch.channels_last), torch.cat(
        [which, len(found) + kind]
    )


def network() -> nn.ModuleList:
    """The encoder to train, a block for each convolution; batch norm after each convolution is taken into it at the end."""
    blocks, before = nn.ModuleList(), 3
    for width in WIDTHS:
        conv = nn.Conv2d(before, width, 3, padding=1, padding_mode="reflect", bias=False)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        pool = [nn.MaxPool2d(2, ceil_mode=True)] if width > before > 3 else []
        blocks.append(nn.Sequential(*pool, conv, nn.BatchNorm2d(width), nn.ReLU()))
        before = width
    return blocks.to(memory_format=torch.channels_last)


def folded(blocks: nn.ModuleList) -> list[Layer]:
    """The encoder's convolutions with their batch norms, of averages over training, taken in."""
    layers = []
    for block in blocks:
        conv, norm = block[-3], block[-2]
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        layers.append(
            ((conv.weight * gain[:, None, None, None]).detach(), (norm.bias - norm.running_mean * gain).detach())
        )
    return layers


def decoder() -> nn.Sequential:
    """(N, 128, 8, 8) maps to (N, 3, 64, 64) images."""
    layers: list[nn.Module] = []
    for c, to in ((128, 64), (64, 32), (32, 16)):
        layers += [nn.Conv2d(c, to, 3, padding=1, padding_mode="reflect"), nn.ReLU(), nn.Upsample(scale_factor=2)]
    net = nn.Sequential(
        *layers, nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"), nn.ReLU(), nn.Conv2d(16, 3, 3, padding=1)
    )
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return net


def style(maps: Tensor) -> Tensor:
    """(N, C, H, W) to (N, 2 C): logarithms of 1 + mean and of 1 + deviation."""
    return torch.cat(moments(maps), 1).flatten(1).log1p()


def train(found: list[Tensor], steps: int = 600, size: int = 18, lr: float = 3e-3) -> list[Layer]:
    """The encoder's convolutions, trained."""
    blocks, draw = network(), decoder().to(memory_format=torch.channels_last)
    taps = [i for i, width in enumerate(WIDTHS) if width not in WIDTHS[:i]]
    heads = nn.ModuleList(
        nn.Sequential(nn.BatchNorm1d(2 * WIDTHS[i]), nn.Linear(2 * WIDTHS[i], len(found) + PATTERNS)) for i in taps
    )
    optimizer = torch.optim.Adam([*blocks.parameters(), *heads.parameters(), *draw.parameters()], lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    sums = torch.zeros(2)
    for step in range(1, steps + 1):
        x, label = batch(found, size, train=True)
        images, told = x, torch.zeros(())
        for i, block in enumerate(blocks):
            x = block(x)
            if i in taps:
                told = told + F.cross_entropy(heads[taps.index(i)](style(x)), label) / len(taps)
        drawn = F.mse_loss(draw(x), images)
        optimizer.zero_grad()
        (told + 20 * drawn).backward()
        optimizer.step()
        schedule.step()
        sums += torch.stack([told, drawn]).detach() / 50
        if step % 50 == 0:
            print(f"{step:5d} steps: cross-entropy {sums[0]:.3f}, squared error {sums[1]:.4f}", flush=True)
            sums.zero_()
    return folded(blocks)


@torch.no_grad()
def normalised(layers: list[Layer], images: Tensor) -> list[Layer]:
    """The same functions, each filter's output divided by its root mean square over the images, and the next layer's input multiplied."""
    done: list[Layer] = []
    scale = torch.ones(3)
    for weight, bias in layers:
        weight = weight * scale[:, None, None]
        maps = FrozenEncoder([*done, (weight, bias)], torch.ones(3), torch.zeros(3)).each(images)[-1]
        scale = maps.square().mean((0, 2, 3)).sqrt()
        scale = torch.where(scale > 1e-3, scale, 1)  # filters that are never active
        done.append((weight / scale[:, None, None, None], bias / scale))
    return done


@torch.no_grad()
def report(name: str, encoder: FrozenEncoder, found: list[Tensor]) -> None:
    """Print how well a nearest class mean of each tap's statistics tells held-out patches and new patterns apart."""
    torch.manual_seed(1)
    known, label = batch_of(found, True)
    asked, truth = batch_of(found, False)
    right = []
    for one, other in zip(encoder(known), encoder(asked)):
        a, b = style(one), style(other)
        a, b = (a - a.mean(0)) / (a.std(0) + 1e-3), (b - a.mean(0)) / (a.std(0) + 1e-3)
        means = torch.stack([a[label == k].mean(0) for k in range(len(found) + PATTERNS)])
        right.append((torch.cdist(b, means).argmin(1) == truth).float().mean().item())
    print(
        f"{name}: held-out patches told by their statistics: "
        + ", ".join(f"relu{i}_1 {r:.1%}" for i, r in enumerate(right, 1))
    )


def batch_of(found: list[Tensor], train: bool, n: int = 600) -> tuple[Tensor, Tensor]:
    (one, which), (two, kind) = patches(found, n - n // 3, train), patterns(n // 3)
    return torch.cat([one, two]), torch.cat([which, len(found) + kind])


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)
    found = pictures()
    report("untrained", FrozenEncoder(folded(network()), torch.ones(3), torch.zeros(3)), found)
    torch.manual_seed(0)
    layers = normalised(train(found), batch(found, 240, train=True)[0])
    report("trained", FrozenEncoder(layers, torch.ones(3), torch.zeros(3)), found)
    out = {
        f"{i}.{part}": t.contiguous() for i, layer in enumerate(layers) for part, t in zip(("weight", "bias"), layer)
    }
    Path(sys.argv[1] if len(sys.argv) > 1 else OUT).write_bytes(save(out))


if __name__ == "__main__":
    main()
