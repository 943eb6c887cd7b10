"""Weights of progressive GANs from Facebook's pytorch_GAN_zoo: a torch file of `netG`, `netD`, `avgG` and `config`.

All its layers are (W x + b) sqrt(2 / inputs): the bias is scaled, too, and so are the layers without a leaky ReLU after
them. Ours scale only the weight, and by 1 / sqrt(inputs) in those layers. Its first layer has a bias for each of 8,192
outputs, the paper's for 512; our model takes the former with the argument `place_bias`.
"""

from __future__ import annotations

from math import prod

import torch

from gankit.exchange.tensors import Conversion, Layers, Tensors, channel_base, is_dict_of_tensors, others, side
from gankit.exchange.unpickle import Refused, show
from gankit.recipe import Spec

ROOT = 2**0.5


def without_module(network: dict[object, object]) -> dict[object, object]:
    """A network's tensors without ".module", which the zoo's later code inserts before weight and bias."""
    return {key.replace(".module.", ".") if type(key) is str else key: value for key, value in network.items()}


class ScaledLayers(Layers):
    """Copies layers, whose weights and biases are scaled."""

    def copy(self, theirs: str, ours: str, shape: tuple[int, ...], gain: float = 1.0) -> None:
        """Copy their (W x + b) c as (gain W) (c / gain) x + (b c), where c / gain is the scale of our layer."""
        self.into[f"{ours}.weight"] = self.source.take(f"{theirs}.weight", shape) * gain
        self.into[f"{ours}.bias"] = self.source.take(f"{theirs}.bias", shape[:1]) * (ROOT / prod(shape[1:]) ** 0.5)


def convert(tree: object, size: int) -> Conversion:
    """Our model with the weights of a file.

    Args:
        tree: its contents, from `unpickle.read`.
        size: of the file in bytes.

    Raises:
        Refused: the file is something else, or a variant that pggan does not have.
    """
    if not isinstance(tree, dict) or not any(is_dict_of_tensors(tree.get(key)) for key in ("avgG", "netG")):
        raise Refused(f"{show(tree)} without avgG or netG: pytorch_GAN_zoo's files of progressive GANs have both")
    averaged = is_dict_of_tensors(tree.get("avgG"))
    name = "avgG" if averaged else "netG"
    g = Tensors(without_module(tree[name]), name, size)
    d = Tensors(without_module(tree["netD"]), "netD", size) if is_dict_of_tensors(tree.get("netD")) else None
    widths = widths_of(g)
    found = Conversion(Spec(()), {}, {})
    set_sizes(g, found, widths)
    generator(ScaledLayers(g, found.tensors), widths)
    if d is None:
        found.fresh = ("d.",)
    else:
        discriminator(ScaledLayers(d, found.tensors), found, widths)
    config = tree.get("config")
    alpha = config.get("alpha", 0) if isinstance(config, dict) else 0
    alpha = float(alpha) if type(alpha) in (int, float) and 0 <= alpha <= 1 else 0.0
    found.tensors |= {"level": torch.tensor(len(widths) - 1), "alpha": torch.tensor(1 - alpha)}
    if alpha:
        found.notes.append(f"the last level was faded in by {1 - alpha:.3g} when it was saved")
    found.unused = [name for s in filter(None, (g, d)) for name in s.unused()]
    if averaged and "netG" in tree:
        found.unused.append("netG (the weights beside their average)")
    found.unused += others(tree, "avgG", "netG", "netD", "config")
    return found


def widths_of(g: Tensors) -> list[int]:
    """Channels of the feature maps, from 4 px up.

    Raises:
        Refused: the layers are not those of a progressive GAN.
    """
    levels, scales = g.count("toRGBLayers.{}.weight"), g.count("scaleLayers.{}.0.weight")
    if not levels or scales != levels - 1:
        raise Refused(f"{g.where} has {levels} toRGBLayers and {scales} scaleLayers: not a progressive GAN of the zoo")
    side(levels - 1)
    return [g.shape(f"toRGBLayers.{i}.weight", 4)[1] for i in range(levels)]


def set_sizes(g: Tensors, found: Conversion, widths: list[int]) -> None:
    """Set the spec and the arguments of our model.

    Raises:
        Refused: the widths are not those of pggan.
    """
    full = side(len(widths) - 1)
    channels, z_dim = g.shape("toRGBLayers.0.weight")[0], g.shape("formatLayer.weight", 2)[1]
    base = channel_base(widths, "pggan")
    found.spec = Spec((channels, full, full))
    found.arguments = dict(z_dim=z_dim, channel_base=base, channel_max=max(widths), group=4, place_bias=True)


def generator(layers: ScaledLayers, widths: list[int]) -> None:
    """Copy G."""
    channels, z_dim = layers.source.shape("toRGBLayers.0.weight")[0], layers.source.shape("formatLayer.weight")[1]
    first = widths[0]
    layers.copy("formatLayer", "g.first.1", (16 * first, z_dim), gain=4)
    layers.into["g.bias"] = layers.into.pop("g.first.1.bias").view(first, 4, 4)
    layers.copy("groupScale0.0", "g.second.2.0", (first, first, 3, 3))
    for i, width in enumerate(widths):
        layers.copy(f"toRGBLayers.{i}", f"g.to_rgb.{i}", (channels, width, 1, 1), gain=ROOT)
        if i:
            layers.copy(f"scaleLayers.{i - 1}.0", f"g.blocks.{i - 1}.0.0", (width, widths[i - 1], 3, 3))
            layers.copy(f"scaleLayers.{i - 1}.1", f"g.blocks.{i - 1}.1.0", (width, width, 3, 3))


def discriminator(layers: ScaledLayers, found: Conversion, widths: list[int]) -> None:
    """Copy D.

    Raises:
        Refused: it was trained with classes.
    """
    if (outputs := layers.source.shape("decisionLayer.weight", 2)[0]) != 1:
        raise Refused(f"netD has {outputs} outputs: it was trained with classes, which pggan does not have")
    channels, first = found.spec.shape[0], widths[0]
    for i, width in enumerate(widths):
        layers.copy(f"fromRGBLayers.{i}", f"d.from_rgb.{i}.0", (width, channels, 1, 1))
        if i:
            layers.copy(f"scaleLayers.{i - 1}.0", f"d.blocks.{i - 1}.0.0", (width, width, 3, 3))
            layers.copy(f"scaleLayers.{i - 1}.1", f"d.blocks.{i - 1}.1.0", (widths[i - 1], width, 3, 3))
    seen = layers.source.shape("groupScaleZero.0.weight", 4)[1]
    layers.copy("groupScaleZero.0", "d.head.1.0", (first, seen, 3, 3))
    weight = found.tensors["d.head.1.0.weight"]
    if seen == first:  # trained without the map of the batch's standard deviation, for which ours gets weights of zero
        scaled = weight * ((first + 1) / first) ** 0.5
        found.tensors["d.head.1.0.weight"] = weight.new_zeros(first, first + 1, 3, 3)
        found.tensors["d.head.1.0.weight"][:, :first] = scaled
    else:
        weight[:, first] *= (4 / 3) ** 0.5  # the zoo divides the variance over 4 images by 3
        found.notes.append(
            "D's outputs equal the zoo's for batches of four; for others the zoo gives one group's deviation to another"
        )
    layers.copy("groupScaleZero.1", "d.head.3", (first, 16 * first))
    layers.copy("decisionLayer", "d.head.5", (1, first), gain=ROOT)
