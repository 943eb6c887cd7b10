"""Make gankit/nn/style_encoder.safetensors: train `adain`'s small encoder, and report how well it separates styles.

    python scripts/make_style_encoder.py [OUT]

The encoder trains on two tasks, with patches of the built-in photographs and textures and with drawn patterns. It
classifies the picture or pattern from only the mean and deviation of each channel of each tap, so that these carry
style. It reconstructs the patch from only relu4_1, by a decoder that is discarded, so that the maps carry content.
Half of the patches have random colours, so that the encoder cannot rely on colour. Finally, every filter is scaled to
a mean square of one. (Gatys et al. scaled the filters of VGG-19 to a mean of one, https://arxiv.org/abs/1505.07376. A
small network has filters that are seldom active, which this would make dominant.)

The right quarter of each picture is held out for the report. The same version of PyTorch on the same kind of processor
gives the same bits.
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
WIDTHS = (16, 16, 32, 32, 64, 64, 128)  # of the convolutions; a pool precedes each that is wider than the last
SIDE = 64
PATTERNS = 8  # kinds of drawn patterns


def pictures() -> list[Tensor]:
    """The photographs and textures whole, (3, H, W) in [-1, 1]."""
    whole = [data.open(f"photo:{name}:whole").rows(np.arange(1))["real"] for name in PHOTOS]
    whole += data.open("textures", 512).rows(np.arange(3))["real"].split(1)  # the window is the whole picture
    return [data.normalise(picture)[0].expand(3, -1, -1) for picture in whole]


def patches(photos: list[Tensor], n: int, train: bool) -> tuple[Tensor, Tensor]:
    """Patches (n, 3, SIDE, SIDE), cut at 64 to 192 px from the training or held-out parts, and indices of pictures."""
    index, drawn = torch.randint(len(photos), (n,)), []
    for i in index.tolist():
        cut = int(photos[i].shape[2] * 0.75)
        part = photos[i][:, :, :cut] if train else photos[i][:, :, cut:]
        side = int(torch.randint(SIDE, 1 + min(192, *part.shape[1:]), ()))
        y, x = (int(torch.randint(1 + limit - side, ())) for limit in part.shape[1:])
        patch = part[:, y : y + side, x : x + side]
        patch = patch.flip(-1) if torch.rand(()) < 0.5 else patch
        drawn.append(F.interpolate(patch[None], (SIDE, SIDE), mode="bilinear", antialias=True))
    return torch.cat(drawn), index


def patterns(n: int) -> tuple[Tensor, Tensor]:
    """Drawn patterns (n, 3, SIDE, SIDE) in [-1, 1], in two colours each, and the kind of each."""
    kind, grid = torch.randint(PATTERNS, (n,)), torch.arange(SIDE) - SIDE / 2
    angle, period = (torch.rand(n) * math.pi)[:, None, None], (4 * 4 ** torch.rand(n))[:, None, None]
    u, v = (2 * math.pi / period * wave for wave in (
        angle.cos() * grid[:, None] + angle.sin() * grid, angle.cos() * grid - angle.sin() * grid[:, None]
    ))  # fmt: skip
    rough, smooth = (F.interpolate(torch.randn(n, 1, s, s), (SIDE, SIDE), mode="bicubic")[:, 0] for s in (32, 10))
    waves = u.sin(), u.sin().sign(), (u.sin() * v.sin()).sign(), (u.sin() + v.sin() - 1).sign(), u.sin() + v.sin()
    level = torch.stack([*waves, rough, smooth, (u + 3 * smooth).sin()])[kind, torch.arange(n)].clamp(-1, 1)
    first, second = torch.rand(2, n, 3, 1, 1) * 2 - 1
    return first + (second - first) * (level[:, None] + 1) / 2, kind


def recoloured(images: Tensor) -> Tensor:
    """(N, 3, H, W) images; half of them with permuted channels, each scaled, shifted and inverted at random."""
    order = torch.rand(len(images), 3).argsort(1)[:, :, None, None].expand_as(images)
    gain, move = 0.4 + 0.6 * torch.rand(len(images), 3, 1, 1), 0.6 * torch.rand(len(images), 3, 1, 1) - 0.3
    sign = torch.where(torch.rand(len(images), 1, 1, 1) < 0.3, -1, 1)
    changed = (images.gather(1, order) * gain * sign + move).clamp(-1, 1)
    return torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, changed, images)


def batch(photos: list[Tensor], n: int, train: bool) -> tuple[Tensor, Tensor]:
    """n images, a third of them patterns, and their classes: the pictures, then the kinds of patterns."""
    (patch, index), (pattern, kind) = patches(photos, n - n // 3, train), patterns(n // 3)
    return torch.cat([patch, pattern]), torch.cat([index, len(photos) + kind])


def training_batch(photos: list[Tensor], n: int) -> tuple[Tensor, Tensor]:
    """A batch of the training parts with random colours."""
    images, label = batch(photos, n, train=True)
    return recoloured(images).contiguous(memory_format=torch.channels_last), label


def network() -> nn.ModuleList:
    """The encoder for training, a block for each convolution, with batch norms that `folded` removes."""
    blocks, channels = nn.ModuleList(), 3
    for width in WIDTHS:
        conv = nn.Conv2d(channels, width, 3, padding=1, padding_mode="reflect", bias=False)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        pool = [nn.MaxPool2d(2, ceil_mode=True)] if width > channels > 3 else []
        blocks.append(nn.Sequential(*pool, conv, nn.BatchNorm2d(width), nn.ReLU()))
        channels = width
    return blocks.to(memory_format=torch.channels_last)


def folded(blocks: nn.ModuleList) -> list[Layer]:
    """The encoder's convolutions with their batch norms folded in, by running statistics."""
    layers = []
    for block in blocks:
        conv, norm = block[-3], block[-2]
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        weight, bias = conv.weight * gain[:, None, None, None], norm.bias - norm.running_mean * gain
        layers.append((weight.detach(), bias.detach()))
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
    """(N, C, H, W) maps to (N, 2 C): logarithms of 1 + mean and of 1 + deviation."""
    return torch.cat(moments(maps), 1).flatten(1).log1p()


def train(photos: list[Tensor], steps: int = 600, size: int = 18, lr: float = 3e-3) -> list[Layer]:
    """The trained encoder's convolutions."""
    blocks, draw = network(), decoder().to(memory_format=torch.channels_last)
    taps = [i for i, width in enumerate(WIDTHS) if width not in WIDTHS[:i]]
    heads = nn.ModuleList(
        nn.Sequential(nn.BatchNorm1d(2 * WIDTHS[i]), nn.Linear(2 * WIDTHS[i], len(photos) + PATTERNS)) for i in taps
    )
    optimizer = torch.optim.Adam([*blocks.parameters(), *heads.parameters(), *draw.parameters()], lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    sums = torch.zeros(2)
    for step in range(1, steps + 1):
        images, label = training_batch(photos, size)
        x, classification = images, torch.zeros(())
        for i, block in enumerate(blocks):
            x = block(x)
            if i in taps:
                classification = classification + F.cross_entropy(heads[taps.index(i)](style(x)), label) / len(taps)
        reconstruction = F.mse_loss(draw(x), images)
        optimizer.zero_grad()
        (classification + 20 * reconstruction).backward()
        optimizer.step()
        schedule.step()
        sums += torch.stack([classification, reconstruction]).detach() / 50
        if step % 50 == 0:
            print(f"{step:5d} steps: cross-entropy {sums[0]:.3f}, squared error {sums[1]:.4f}", flush=True)
            sums.zero_()
    return folded(blocks)


@torch.no_grad()
def normalised(layers: list[Layer], images: Tensor) -> list[Layer]:
    """The layers with each filter's output scaled to a mean square of one over the images; the next layer undoes it."""
    scaled: list[Layer] = []
    scale = torch.ones(3)
    for weight, bias in layers:
        weight = weight * scale[:, None, None]
        maps = FrozenEncoder([*scaled, (weight, bias)], torch.ones(3), torch.zeros(3)).each(images)[-1]
        scale = maps.square().mean((0, 2, 3)).sqrt()
        scale = torch.where(scale > 1e-3, scale, 1)  # filters that are never active
        scaled.append((weight / scale[:, None, None, None], bias / scale))
    return scaled


@torch.no_grad()
def report(name: str, encoder: FrozenEncoder, photos: list[Tensor]) -> None:
    """Print how well the nearest class mean of each tap's statistics classifies held-out patches and new patterns."""
    torch.manual_seed(1)
    train_images, train_label = batch(photos, 600, train=True)
    test_images, test_label = batch(photos, 600, train=False)
    accuracy = []
    for train_maps, test_maps in zip(encoder(train_images), encoder(test_images)):
        train_style, test_style = style(train_maps), style(test_maps)
        mean, deviation = train_style.mean(0), train_style.std(0) + 1e-3
        train_style, test_style = ((x - mean) / deviation for x in (train_style, test_style))
        means = torch.stack([train_style[train_label == k].mean(0) for k in range(len(photos) + PATTERNS)])
        accuracy.append((torch.cdist(test_style, means).argmin(1) == test_label).float().mean().item())
    shares = ", ".join(f"relu{i}_1 {share:.1%}" for i, share in enumerate(accuracy, 1))
    print(f"{name}: held-out patches classified by their statistics: {shares}")


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)
    photos = pictures()
    report("untrained", FrozenEncoder(folded(network()), torch.ones(3), torch.zeros(3)), photos)
    torch.manual_seed(0)
    layers = normalised(train(photos), training_batch(photos, 240)[0])
    report("trained", FrozenEncoder(layers, torch.ones(3), torch.zeros(3)), photos)
    out = {
        f"{i}.{part}": t.contiguous() for i, layer in enumerate(layers) for part, t in zip(("weight", "bias"), layer)
    }
    Path(sys.argv[1] if len(sys.argv) > 1 else OUT).write_bytes(save(out))


if __name__ == "__main__":
    main()
