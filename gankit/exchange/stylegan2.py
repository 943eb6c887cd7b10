"""Weights of StyleGAN2 and StyleGAN2-ADA from NVIDIA's stylegan2-ada-pytorch: a pickle of `G_ema`, `G` and `D`.

The pickle stores networks as objects with the source code of their classes. That code is never used: the names of the
layers, the tensors and a few numbers beside them are enough. Our model has the same parameters, so they are copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from gankit.exchange.tensors import Conversion, Layers, Tensors, channel_base, number, others, side
from gankit.exchange.unpickle import STYLEGAN3, Node, Refused, Stored, show
from gankit.recipe import Spec

# Limits for networks inside networks: a file may name one part in many places, or as its own child.
DEPTH, ENTRIES, LONGEST = 16, 100_000, 300


def flatten(node: Node) -> tuple[dict[str, object], dict[str, object]]:
    """A network's tensors and its other plain values, by name.

    Raises:
        Refused: it is not built like torch's networks, or has more parts than any of them.
    """
    tensors: dict[str, object] = {}
    values: dict[str, object] = {}
    waiting: list[tuple[str, object]] = [("", node)]
    seen = 0

    def entries(prefix: str, tree: dict) -> Iterator[tuple[str, object]]:
        nonlocal seen
        seen += len(tree)
        if seen > ENTRIES:
            raise Refused(f"a network of more than {ENTRIES:,} parts: it repeats the same ones again and again")
        for key, item in tree.items():
            if type(key) is not str or len(prefix) + len(key) > LONGEST:
                raise Refused(f"{show(key)} as the name of a network's part")
            yield key, item

    while waiting:
        prefix, module = waiting.pop()
        if type(module) is not Node or prefix.count(".") > DEPTH:
            raise Refused(f"{show(module)} where a network's part was expected")
        for name, value in entries(prefix, module.state):
            if name in ("_parameters", "_buffers", "_modules"):
                if not isinstance(value, dict):
                    raise Refused(f"{show(value)} as {name} of a network")
                for key, item in entries(prefix, value):
                    if name == "_modules" and item is not None:
                        waiting.append((f"{prefix}{key}.", item))
                    elif isinstance(item, Stored):
                        tensors[prefix + key] = item
            elif type(value) in (int, float, bool, str) or value is None:
                values[prefix + name] = value
    return tensors, values


@dataclass(frozen=True)
class Sizes:
    """The sizes of a network, as its tensors show them.

    Args:
        sides: of the feature maps, from 4 px up.
        widths: their channels.
        channels: of the images.
        w_dim: dimension of w.
        z_dim: dimension of z.
        classes: number of classes, or 0.
        layers: of the mapping network.
        base: channels times side of the large feature maps.
    """

    sides: list[int]
    widths: list[int]
    channels: int
    w_dim: int
    z_dim: int
    classes: int
    layers: int
    base: int


def convert(tree: object, size: int) -> Conversion:
    """Our model with the weights of a file.

    Args:
        tree: its contents, from `unpickle.read`.
        size: of the file in bytes.

    Raises:
        Refused: the file is something else, or a variant that stylegan2 does not have.
    """
    if not isinstance(tree, dict) or type(tree.get("G_ema", tree.get("G"))) is not Node:
        raise Refused(f"{show(tree)} without G_ema: NVIDIA's pickles of StyleGAN2 have G_ema, G and D")
    averaged = type(tree.get("G_ema")) is Node
    name = "G_ema" if averaged else "G"
    tensors, values = flatten(tree[name])
    if any(name.startswith(("synthesis.L", "synthesis.input.")) for name in tensors):
        raise Refused(STYLEGAN3)
    g = Tensors(tensors, name, size)
    has_d = type(tree.get("D")) is Node
    d_tensors, d_values = flatten(tree["D"]) if has_d else ({}, {})
    has_skips = "b4.fromrgb.weight" in d_tensors  # a D that takes the image at every side
    d = Tensors(d_tensors, "D", size) if has_d and not has_skips else None
    d_values = {} if has_skips else d_values

    sizes = sizes_of(g)
    clamps = (value for key, value in values.items() if key.endswith("conv_clamp") and value is not None)
    clamp = number(next(clamps, 0), "conv_clamp", 0, 1e6)
    group = number(d_values.get("b4.mbstd.group_size", 4), "D's group_size", 1, 1e6, whole=True)
    is_residual = d is None or f"b{sizes.sides[-1]}.skip.weight" in d
    check_settings(values | {f"D {key}": value for key, value in d_values.items()})
    full = sizes.sides[-1]
    found = Conversion(
        Spec((sizes.channels, full, full), num_classes=sizes.classes),
        dict(
            z_dim=sizes.z_dim, w_dim=sizes.w_dim, layers=sizes.layers, channel_base=sizes.base,
            channel_max=max(sizes.widths), conditional=sizes.classes > 0,
            architecture="resnet" if is_residual else "orig", group=group, clamp=clamp,
        ),
        {},
    )  # fmt: skip
    generator(StyleLayers(g, found.tensors), sizes)
    if d is None:
        found.fresh = ("d.",)
    else:
        discriminator(StyleLayers(d, found.tensors), sizes, is_residual)
    found.tensors["path_mean"] = torch.zeros(())
    if sizes.classes:
        found.tensors["label_shares"] = torch.zeros(sizes.classes)
    if has_skips:
        found.notes.append("D has the architecture skip, and stylegan2's has resnet or orig: D is left out")
    found.notes.append("samples use each layer's own noise map (noise_mode='const' of NVIDIA's generator)")
    found.unused = [name for source in filter(None, (g, d)) for name in source.unused()]
    if averaged and "G" in tree:
        found.unused.append("G (the weights beside their average)")
    found.unused += others(tree, "G", "G_ema", *(() if has_skips else ("D",)))
    return found


def sizes_of(g: Tensors) -> Sizes:
    """The sizes of G.

    Raises:
        Refused: they are not those of a StyleGAN2 with skip connections in G.
    """
    sides: list[int] = []
    while f"synthesis.b{4 << len(sides)}.conv1.weight" in g:
        sides.append(side(len(sides)))
    if not sides:
        raise Refused(f"{g.where} has no synthesis.b4.conv1.weight: it is not one of NVIDIA's StyleGAN2s")
    widths = [g.shape(f"synthesis.b{s}.conv1.weight", 4)[0] for s in sides]
    if any(f"synthesis.b{s}.torgb.weight" not in g or f"synthesis.b{s}.skip.weight" in g for s in sides):
        raise Refused("a G of the architecture orig or resnet; stylegan2 has skip, the sum of images of all sizes")
    channels, w_dim = g.shape("synthesis.b4.torgb.weight", 4)[0], g.shape("synthesis.b4.conv1.affine.weight", 2)[1]
    classes = g.shape("mapping.embed.weight", 2)[1] if "mapping.embed.weight" in g else 0
    layers = g.count("mapping.fc{}.weight")
    z_dim = g.shape("mapping.fc0.weight", 2)[1] - (w_dim if classes else 0)
    if z_dim < 1:
        raise Refused(f"a mapping network with {z_dim} inputs besides the class embedding's {w_dim}")
    base = channel_base(widths, "stylegan2")
    return Sizes(sides, widths, channels, w_dim, z_dim, classes, layers, base)


class StyleLayers(Layers):
    """Copies layers of StyleGAN2."""

    def copy(self, theirs: str, ours: str) -> None:
        """Copy a weight and a bias."""
        for part in ("weight", "bias"):
            self.into[f"{ours}.{part}"] = self.source.take(f"{theirs}.{part}")

    def modulated(self, theirs: str, ours: str) -> None:
        """Copy a convolution that is modulated by a style."""
        self.copy(theirs, ours)
        self.copy(f"{theirs}.affine", f"{ours}.style")

    def mapping(self, ours: str, layers: int, classes: int) -> None:
        """Copy a mapping network."""
        for i in range(layers):
            self.copy(f"mapping.fc{i}", f"{ours}.layers.{i}")
        if classes:
            self.copy("mapping.embed", f"{ours}.embed")

    def check_filter(self, name: str) -> None:
        """Refuse a filter other than the one that is built into our model."""
        if name in self.source:
            row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
            expected = torch.outer(row, row)
            if self.source.shape(name) != (4, 4) or not torch.allclose(self.source.take(name), expected, atol=1e-6):
                raise Refused(f"{self.source.where}: {name} is not the filter 1, 3, 3, 1, which stylegan2 has")


def generator(layers: StyleLayers, sizes: Sizes) -> None:
    """Copy G."""
    g, ours = layers.source, layers.into
    layers.mapping("g.mapping", sizes.layers, sizes.classes)
    ours["g.w_mean"] = g.take("mapping.w_avg", (sizes.w_dim,))
    ours["g.synthesis.const"] = g.take("synthesis.b4.const", (sizes.widths[0], 4, 4))
    n = 0
    for i, s in enumerate(sizes.sides):
        block = f"synthesis.b{s}"
        for conv in ("conv0", "conv1") if i else ("conv1",):
            layer = f"g.synthesis.layers.{n}"
            layers.modulated(f"{block}.{conv}", f"{layer}.conv")
            if f"{block}.{conv}.noise_strength" in g:
                ours[f"{layer}.strength"] = g.scalar(f"{block}.{conv}.noise_strength")
                ours[f"{layer}.noise"] = g.take(f"{block}.{conv}.noise_const", (s, s))
            else:  # trained without noise
                ours[f"{layer}.strength"] = torch.zeros(())
                ours[f"{layer}.noise"] = torch.zeros(()).expand(s, s)
            layers.check_filter(f"{block}.{conv}.resample_filter")
            n += 1
        layers.check_filter(f"{block}.resample_filter")
        layers.modulated(f"{block}.torgb", f"g.synthesis.to_rgb.{i}")


def discriminator(layers: StyleLayers, sizes: Sizes, is_residual: bool) -> None:
    """Copy D."""
    layers.copy(f"b{sizes.sides[-1]}.fromrgb", "d.from_rgb")
    for k, s in enumerate(sizes.sides[:0:-1]):
        block = f"b{s}"
        layers.copy(f"{block}.conv0", f"d.blocks.{k}.first")
        layers.copy(f"{block}.conv1", f"d.blocks.{k}.second")
        if is_residual:
            layers.into[f"d.blocks.{k}.skip"] = layers.source.take(f"{block}.skip.weight")
        for part in ("", ".fromrgb", ".conv0", ".conv1", ".skip"):
            layers.check_filter(f"{block}{part}.resample_filter")
    for theirs, ours in (("b4.conv", "d.conv"), ("b4.fc", "d.dense"), ("b4.out", "d.out")):
        layers.copy(theirs, ours)
    layers.check_filter("b4.conv.resample_filter")
    if sizes.classes:
        layers.mapping("d.mapping", layers.source.count("mapping.fc{}.weight"), sizes.classes)


def check_settings(values: dict[str, object]) -> None:
    """Refuse settings of the file that differ from those of stylegan2."""
    for name, value in values.items():
        last = name.rsplit(".", 1)[-1]
        if last == "activation" and value not in ("lrelu", "linear"):
            raise Refused(f"the activation {show(value)}; stylegan2 has leaky ReLUs")
        if last == "bias_gain" and "mapping.fc" in name and abs(number(value, last, 0, 1e6) - 0.01) > 1e-9:
            raise Refused(f"a mapping network with learning rate multiplier {show(value)}; stylegan2's is 0.01")
        if last == "num_channels" and value != 1:
            raise Refused(f"{show(value)} maps of the batch's deviation; stylegan2 has one")
