"""StyleGAN2 and StyleGAN2-ADA of NVIDIA's stylegan2-ada-pytorch: a pickle of `G_ema`, `G` and `D`.

The networks lie in it as objects with the source text of their classes, which is never looked at: the names of the
layers and a few numbers beside the tensors say all. Our model holds the same parameters, so they are taken as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from gankit.exchange.tensors import Found, Tensors, number, others, side
from gankit.exchange.unpickle import STYLEGAN3, Node, Refused, Stored, show
from gankit.recipe import Spec

# Of networks inside networks: a file may name one part in many places, or as its own child.
DEPTH, ENTRIES, LONGEST = 16, 100_000, 300


def flatten(node: Node) -> tuple[dict[str, object], dict[str, object]]:
    """A network's tensors by name, and its other plain values by name.

    Raises:
        Refused: it is not built as torch's networks are, or has more parts than any.
    """
    tensors: dict[str, object] = {}
    values: dict[str, object] = {}
    waiting, seen = [("", node)], 0

    def entries(prefix: str, tree: dict) -> Iterator[tuple[str, object]]:
        nonlocal seen
        seen += len(tree)
        if seen > ENTRIES:
            raise Refused(f"a network of more than {ENTRIES:,} parts: it names the same ones again and again")
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


def convert(tree: object, size: int) -> Found:
    """The model that a file's tree describes.

    Args:
        tree: what `unpickle.read` gave.
        size: bytes of the file.

    Raises:
        Refused: it is no such file, or a form that stylegan2 does not have.
    """
    if not isinstance(tree, dict) or type(tree.get("G_ema", tree.get("G"))) is not Node:
        raise Refused(f"{show(tree)} without G_ema: NVIDIA's pickles of StyleGAN2 have G_ema, G and D")
    averaged = type(tree.get("G_ema")) is Node
    network = tree["G_ema" if averaged else "G"]
    tensors, values = flatten(network)
    if any(name.startswith(("synthesis.L", "synthesis.input.")) for name in tensors):
        raise Refused(STYLEGAN3)
    g = Tensors(tensors, "G_ema" if averaged else "G", size)
    d, judged, skipped = None, {}, False
    if type(tree.get("D")) is Node:
        judge, judged = flatten(tree["D"])
        d, skipped = Tensors(judge, "D", size), "b4.fromrgb.weight" in judge
    if skipped:  # it looks at the picture at every side
        d, judged = None, {}

    sides: list[int] = []
    while f"synthesis.b{4 << len(sides)}.conv1.weight" in g:
        sides.append(side(len(sides)))
    if not sides:
        raise Refused(f"{g.where} has no synthesis.b4.conv1.weight: no StyleGAN2 of NVIDIA's")
    widths = [g.shape(f"synthesis.b{s}.conv1.weight", 4)[0] for s in sides]
    if any(f"synthesis.b{s}.torgb.weight" not in g for s in sides) or any(
        f"synthesis.b{s}.skip.weight" in g for s in sides
    ):
        raise Refused("a G of the architecture orig or resnet; stylegan2 adds up pictures of all sides (skip)")
    channels, w_dim = g.shape("synthesis.b4.torgb.weight", 4)[0], g.shape("synthesis.b4.conv1.affine.weight", 2)[1]
    classes = g.shape("mapping.embed.weight", 2)[1] if "mapping.embed.weight" in g else 0
    layers = g.count("mapping.fc{}.weight")
    z_dim = g.shape("mapping.fc0.weight", 2)[1] - (w_dim if classes else 0)
    if z_dim < 1:
        raise Refused(f"a mapping network for {z_dim} numbers beside the class's {w_dim}")
    most = max(widths)
    base = next((width * s for s, width in zip(sides, widths) if width < most), most * sides[-1])
    if [max(1, min(base // s, most)) for s in sides] != widths:
        raise Refused(f"maps of {widths} channels; stylegan2 has channel_base / side of them, up to channel_max")
    clamp = number(
        next((v for k, v in values.items() if k.endswith("conv_clamp") and v is not None), 0), "conv_clamp", 0, 1e6
    )
    group = number(judged.get("b4.mbstd.group_size", 4), "D's group_size", 1, 1e6, whole=True)
    residual = d is None or f"b{sides[-1]}.skip.weight" in d
    check(values | {f"D {k}": v for k, v in judged.items()})

    found = Found(
        Spec((channels, sides[-1], sides[-1]), num_classes=classes),
        dict(
            z_dim=z_dim, w_dim=w_dim, layers=layers, channel_base=base, channel_max=most, conditional=classes > 0,
            architecture="resnet" if residual else "orig", group=group, clamp=clamp,
        ),
        {},
    )  # fmt: skip
    ours = found.tensors

    def take(source: Tensors, theirs: str, name: str, *parts: str) -> None:
        for part in parts or ("weight", "bias"):
            ours[f"{name}.{part}"] = source.take(f"{theirs}.{part}")

    def modulated(theirs: str, name: str) -> None:
        take(g, theirs, name)
        take(g, f"{theirs}.affine", f"{name}.style")

    def taps(source: Tensors, name: str) -> None:
        """The filter, which ours has built in."""
        if name in source:
            row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
            if source.shape(name) != (4, 4) or not torch.allclose(source.take(name), torch.outer(row, row), atol=1e-6):
                raise Refused(f"{source.where}: {name} is not the filter 1, 3, 3, 1, which stylegan2 has")

    for i in range(layers):
        take(g, f"mapping.fc{i}", f"g.mapping.layers.{i}")
    if classes:
        take(g, "mapping.embed", "g.mapping.embed")
    ours["g.w_mean"] = g.take("mapping.w_avg", (w_dim,))
    ours["g.synthesis.const"] = g.take("synthesis.b4.const", (widths[0], 4, 4))
    n = 0
    for i, s in enumerate(sides):
        block = f"synthesis.b{s}"
        for conv in ("conv0", "conv1") if i else ("conv1",):
            modulated(f"{block}.{conv}", f"g.synthesis.layers.{n}.conv")
            if f"{block}.{conv}.noise_strength" in g:
                ours[f"g.synthesis.layers.{n}.strength"] = g.scalar(f"{block}.{conv}.noise_strength")
                ours[f"g.synthesis.layers.{n}.noise"] = g.take(f"{block}.{conv}.noise_const", (s, s))
            else:  # trained without noise
                ours[f"g.synthesis.layers.{n}.strength"] = torch.zeros(())
                ours[f"g.synthesis.layers.{n}.noise"] = torch.zeros(()).expand(s, s)
            taps(g, f"{block}.{conv}.resample_filter")
            n += 1
        taps(g, f"{block}.resample_filter")
        modulated(f"{block}.torgb", f"g.synthesis.to_rgb.{i}")

    if d is None:
        found.fresh = ("d.",)
    else:
        take(d, f"b{sides[-1]}.fromrgb", "d.from_rgb")
        for k, s in enumerate(sides[:0:-1]):
            block = f"b{s}"
            take(d, f"{block}.conv0", f"d.blocks.{k}.first")
            take(d, f"{block}.conv1", f"d.blocks.{k}.second")
            if residual:
                ours[f"d.blocks.{k}.skip"] = d.take(f"{block}.skip.weight")
            for part in ("", ".fromrgb", ".conv0", ".conv1", ".skip"):
                taps(d, f"{block}{part}.resample_filter")
        take(d, "b4.conv", "d.conv")
        take(d, "b4.fc", "d.dense")
        take(d, "b4.out", "d.out")
        taps(d, "b4.conv.resample_filter")
        if classes:
            take(d, "mapping.embed", "d.mapping.embed")
            for i in range(d.count("mapping.fc{}.weight")):
                take(d, f"mapping.fc{i}", f"d.mapping.layers.{i}")
    ours["path_mean"] = torch.zeros(())
    if classes:
        ours["label_shares"] = torch.zeros(classes)
    if skipped:
        found.notes.append("D has the architecture skip, and stylegan2's has resnet or orig: D is left out")
    found.notes.append("samples use each layer's own noise map (noise_mode='const' of NVIDIA's generator)")
    found.unused = [name for source in filter(None, (g, d)) for name in source.unused()]
    if averaged and "G" in tree:
        found.unused.append("G (the weights beside their average)")
    found.unused += others(tree, "G", "G_ema", *(() if skipped else ("D",)))
    return found


def check(values: dict[str, object]) -> None:
    """Refuse what stylegan2 does differently than the file says."""
    for name, value in values.items():
        last = name.rsplit(".", 1)[-1]
        if last == "activation" and value not in ("lrelu", "linear"):
            raise Refused(f"the activation {show(value)}; stylegan2 has leaky ReLUs")
        if last == "bias_gain" and "mapping.fc" in name and abs(number(value, last, 0, 1e6) - 0.01) > 1e-9:
            raise Refused(
                f"a mapping network that learns {show(value)} times as fast; stylegan2's learns 0.01 times so"
            )
        if last == "num_channels" and value != 1:
            raise Refused(f"{show(value)} maps of the batch's deviation; stylegan2 has one")
