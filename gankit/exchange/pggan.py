"""Progressive GANs of Facebook's pytorch_GAN_zoo: a torch file of `netG`, `netD`, `avgG` and `config`.

Its layers are (W x + b) sqrt(2 / inputs) everywhere: the bias is scaled too, and so are the layers without a leaky ReLU
behind them. Ours scale the weight alone, and by 1 / sqrt(inputs) in those layers. Its first layer has a bias for each of
8,192 outputs where the paper has 512; our model takes those by its argument `place_bias`.
"""

from __future__ import annotations

from math import prod

import torch

from gankit.exchange.tensors import Found, Tensors, is_dict_of_tensors, others, side
from gankit.exchange.unpickle import Refused, show
from gankit.recipe import Spec

ROOT = 2**0.5


def inner(net: dict[object, object]) -> dict[object, object]:
    """A network's tensors without the ".module" that the zoo's later code has in front of weight and bias, as its older files."""
    return {key.replace(".module.", ".") if type(key) is str else key: value for key, value in net.items()}


def convert(tree: object, size: int) -> Found:
    """The model that a file's tree describes.

    Args:
        tree: what `unpickle.read` gave.
        size: bytes of the file.

    Raises:
        Refused: it is no such file, or a form that pggan does not have.
    """
    if not isinstance(tree, dict) or not any(is_dict_of_tensors(tree.get(key)) for key in ("avgG", "netG")):
        raise Refused(f"{show(tree)} without avgG or netG: pytorch_GAN_zoo's files of progressive GANs have both")
    averaged = is_dict_of_tensors(tree.get("avgG"))
    g = Tensors(inner(tree["avgG" if averaged else "netG"]), "avgG" if averaged else "netG", size)
    d = Tensors(inner(tree["netD"]), "netD", size) if is_dict_of_tensors(tree.get("netD")) else None
    config = tree.get("config") if isinstance(tree.get("config"), dict) else {}

    levels = g.count("toRGBLayers.{}.weight")
    if not levels or g.count("scaleLayers.{}.0.weight") != levels - 1:
        raise Refused(
            f"{g.where} has {levels} toRGBLayers and {g.count('scaleLayers.{}.0.weight')} scaleLayers: no progressive GAN of the zoo's"
        )
    full = side(levels - 1)
    widths = [g.shape(f"toRGBLayers.{i}.weight", 4)[1] for i in range(levels)]
    channels, z_dim = g.shape("toRGBLayers.0.weight")[0], g.shape("formatLayer.weight", 2)[1]
    most = max(widths)
    base = next((width * (4 << i) for i, width in enumerate(widths) if width < most), most * full)
    if [max(1, min(base // (4 << i), most)) for i in range(levels)] != widths:
        raise Refused(f"maps of {widths} channels; pggan has channel_base / side of them, up to channel_max")

    found = Found(
        Spec((channels, full, full)),
        dict(z_dim=z_dim, channel_base=base, channel_max=most, group=4, place_bias=True),
        {},
    )

    def layer(source: Tensors, theirs: str, ours: str, shape: tuple[int, ...], gain: float = 1.0) -> None:
        """(W x + b) c of theirs as (gain W) (c / gain) x + (b c), c / gain being our layer's own scale."""
        found.tensors[f"{ours}.weight"] = source.take(f"{theirs}.weight", shape) * gain
        found.tensors[f"{ours}.bias"] = source.take(f"{theirs}.bias", shape[:1]) * (ROOT / prod(shape[1:]) ** 0.5)

    first = widths[0]
    layer(g, "formatLayer", "g.first.1", (16 * first, z_dim), gain=4)
    found.tensors["g.bias"] = found.tensors.pop("g.first.1.bias").view(first, 4, 4)
    layer(g, "groupScale0.0", "g.second.2.0", (first, first, 3, 3))
    for i, width in enumerate(widths):
        layer(g, f"toRGBLayers.{i}", f"g.to_rgb.{i}", (channels, width, 1, 1), gain=ROOT)
        if i:
            layer(g, f"scaleLayers.{i - 1}.0", f"g.blocks.{i - 1}.0.0", (width, widths[i - 1], 3, 3))
            layer(g, f"scaleLayers.{i - 1}.1", f"g.blocks.{i - 1}.1.0", (width, width, 3, 3))

    if d is None:
        found.fresh = ("d.",)
    else:
        if (outputs := d.shape("decisionLayer.weight", 2)[0]) != 1:
            raise Refused(f"netD has {outputs} outputs: it was trained with classes, which pggan does not have")
        for i, width in enumerate(widths):
            layer(d, f"fromRGBLayers.{i}", f"d.from_rgb.{i}.0", (width, channels, 1, 1))
            if i:
                layer(d, f"scaleLayers.{i - 1}.0", f"d.blocks.{i - 1}.0.0", (width, width, 3, 3))
                layer(d, f"scaleLayers.{i - 1}.1", f"d.blocks.{i - 1}.1.0", (widths[i - 1], width, 3, 3))
        seen = d.shape("groupScaleZero.0.weight", 4)[1]
        layer(d, "groupScaleZero.0", "d.head.1.0", (first, seen, 3, 3))
        weight = found.tensors["d.head.1.0.weight"]
        if seen == first:  # trained without the map of its batch's deviation: ours gets weights of zero
            scaled = weight * ((first + 1) / first) ** 0.5
            found.tensors["d.head.1.0.weight"] = weight.new_zeros(first, first + 1, 3, 3)
            found.tensors["d.head.1.0.weight"][:, :first] = scaled
        else:
            weight[:, first] *= (4 / 3) ** 0.5  # the zoo divides the variance over 4 images by 3
            found.notes.append(
                "D's outputs equal the zoo's for batches of four; for others the zoo gives one group's deviation to another"
            )
        layer(d, "groupScaleZero.1", "d.head.3", (first, 16 * first))
        layer(d, "decisionLayer", "d.head.5", (1, first), gain=ROOT)

    alpha = config.get("alpha", 0)
    alpha = float(alpha) if type(alpha) in (int, float) and 0 <= alpha <= 1 else 0.0
    found.tensors |= {"level": torch.tensor(levels - 1), "alpha": torch.tensor(1 - alpha)}
    if alpha:
        found.notes.append(f"the last level was faded in by {1 - alpha:.3g} when it was saved")
    found.unused = [name for s in filter(None, (g, d)) for name in s.unused()]
    if averaged and "netG" in tree:
        found.unused.append("netG (the weights beside their average)")
    found.unused += others(tree, "avgG", "netG", "netD", "config")
    return found
