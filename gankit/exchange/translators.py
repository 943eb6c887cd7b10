"""Weights of image-to-image translation models from their authors' PyTorch code: state dicts of G, and of D if given.

pix2pix and CycleGAN (pytorch-CycleGAN-and-pix2pix): `latest_net_G.pth`, for CycleGAN `latest_net_G_A.pth` and
`..._G_B.pth`, with `..._D.pth`, or `..._D_A.pth` and `..._D_B.pth`. Their D_A takes the outputs of G_A, so it is our
`d_b`. StarGAN: `200000-G.ckpt`, `200000-D.ckpt`. GANimation: `net_epoch_30_id_G.pth`, `..._D.pth`. AdaIN
(pytorch-AdaIN): `decoder.pth`.

The authors never put these networks in eval mode: norms use the statistics of each image, batch norms because their
batch is one image. Running statistics, which some files have, are dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from gankit.exchange.tensors import Conversion, Tensors
from gankit.exchange.unpickle import Refused, show
from gankit.models import adain, ganimation, stargan
from gankit.recipe import Spec

DEEPEST = 13  # levels of a U-Net for images of 8,192 px


@dataclass(frozen=True)
class Parts:
    """The networks of a model, and what only the user knows.

    Args:
        g: G, or the decoder.
        back: CycleGAN's G from b to a.
        d: D, or CycleGAN's D of b and D of a.
        attributes: names of G's attributes: a,b,c, or a,b+c,d of joined data sets.
        encoder: AdaIN's encoder, a name or a file, as the model's `--encoder` takes it.
    """

    g: Tensors
    back: Tensors | None
    d: tuple[Tensors, ...]
    attributes: str
    encoder: str

    def done(self, found: Conversion) -> Conversion:
        """The conversion with the unused names of all files, apart from running statistics."""
        for source in filter(None, (self.g, self.back, *self.d)):
            names = [
                name for name in source.left if name.endswith((".running_mean", ".running_var", ".num_batches_tracked"))
            ]
            source.drop(*names)
            if names and not any("statistics" in note for note in found.notes):
                found.notes.append(
                    "norms use the statistics of each image, as in the authors' code, not the running statistics"
                )
            found.unused += source.unused()
        return found


def copy_layer(source: Tensors, theirs: str, found: Conversion, ours: str) -> None:
    """Copy the weight of a layer or norm, and its bias if the file has one."""
    found.tensors[f"{ours}.weight"] = source.take(f"{theirs}.weight")
    if f"{theirs}.bias" in source:
        found.tensors[f"{ours}.bias"] = source.take(f"{theirs}.bias")


# pix2pix and CycleGAN ------------------------------------------------------------------------------------------------


def pix2pix(parts: Parts) -> Conversion:
    """pix2pix: a U-Net with batch norm, each level inside the one before it."""
    g, outer = parts.g, "model.model."
    if "model.1.weight" in g:
        raise Refused("a generator of residual blocks; pix2pix's is a U-Net. Try --as cyclegan")
    paths = [outer, f"{outer}1.model."]
    while len(paths) < DEEPEST and f"{paths[-1]}3.model.1.weight" in g:
        paths.append(f"{paths[-1]}3.model.")
    levels = len(paths)
    width, channels = g.shape(f"{outer}0.weight", 4)[:2]
    out_channels = g.shape(f"{outer}3.weight", 4)[1]
    if f"{paths[1]}2.weight" not in g:
        raise Refused(
            f"{g.where} has no {paths[1]}2.weight: it was trained without batch norm, which pix2pix always has"
        )
    found = Conversion(
        Spec((channels, 2**levels, 2**levels), other=(out_channels, 2**levels, 2**levels)),
        dict(levels=levels, width=width, dropout_inner=False),
        {},
        notes=[
            "dropout, G's noise, is on as in training; the file does not say whether it was (--no_dropout)",
            "a is the input and b the output, even if the authors' code has other names",
        ],
    )
    for i, path in enumerate(paths):
        inner, up = i == levels - 1, f"g.up.{levels - 1 - i}"
        copy_layer(g, f"{path}{1 if i else 0}", found, f"g.down.{i}.{1 if i else 0}")
        copy_layer(g, f"{path}{3 if inner or not i else 5}", found, f"{up}.1")
        if i:
            copy_layer(g, f"{path}{4 if inner else 6}", found, f"{up}.2")
        if i and not inner:
            copy_layer(g, f"{path}2", found, f"g.down.{i}.2")
    found.fresh = () if parts.d else ("d.",)
    for d in parts.d:
        seen = patch_discriminator(d, found, "d")
        if seen not in (out_channels, channels + out_channels):
            raise Refused(
                f"{d.where} sees {seen} channels; "
                f"{channels + out_channels} of both sides, or {out_channels}, were expected"
            )
        found.arguments["conditional"] = seen != out_channels
    return parts.done(found)


def patch_discriminator(d: Tensors, found: Conversion, ours: str) -> int:
    """Copy a PatchGAN, set its width and patch size as arguments, and return the number of its input channels."""
    theirs = "model" if "model.0.weight" in d else "net"  # the second is the name for patches of single pixels
    width, channels, kernel = d.shape(f"{theirs}.0.weight", 4)[:3]
    convolutions = [0]
    while f"{theirs}.{3 * len(convolutions) - 1}.weight" in d:
        convolutions.append(3 * len(convolutions) - 1)
    for i in convolutions:
        copy_layer(d, f"{theirs}.{i}", found, f"{ours}.net.{i}")
        if f"{theirs}.{i + 1}.weight" in d:
            copy_layer(d, f"{theirs}.{i + 1}", found, f"{ours}.net.{i + 1}")
    patch = 7  # of only the last two layers
    for _ in convolutions[2:]:
        patch = 2 * patch + 2
    found.arguments["patch"] = 1 if kernel == 1 else patch
    if width != found.arguments["width"]:
        found.arguments["width_d"] = width
    return channels


def cyclegan(parts: Parts) -> Conversion:
    """CycleGAN: a residual generator from a to b, and one back if its file is given."""
    channels, out_channels, width, blocks, found = 0, 0, 0, 0, Conversion(Spec(()), {}, {})
    for source, ours in ((parts.back, "g_ba"), (parts.g, "g_ab")):
        if source is not None:
            channels, out_channels, width, blocks = residual(source, found, ours)
    side = 256 if blocks >= 9 else 128
    found.spec = Spec((channels, side, side), other=(out_channels, side, side))
    found.arguments = dict(blocks=blocks, width=width)
    found.notes.append(
        f"the file does not say for which size it was trained: {side} px, for which the paper has {blocks} blocks"
        if blocks in (6, 9)
        else f"{side} px were assumed"
    )
    for d, ours in zip(parts.d, ("d_b", "d_a")):
        patch_discriminator(d, found, ours)
    given = {"g_ba": parts.back, "d_b": parts.d[:1], "d_a": parts.d[1:]}
    found.fresh = tuple(f"{name}." for name, there in given.items() if not there)
    if parts.back is None:
        found.notes.append("it translates only from a to b; --back FILE adds the generator from b to a")
    return parts.done(found)


def residual(g: Tensors, found: Conversion, ours: str) -> tuple[int, int, int, int]:
    """Copy a residual generator; returns its input and output channels, width and number of blocks."""
    if "model.model.0.weight" in g:
        raise Refused("a U-Net; cyclegan's generators have residual blocks. Try --as pix2pix")
    if "model.2.weight" in g:
        raise Refused(
            f"{g.where} has model.2.weight: norms with weights of their own, "
            "which cyclegan's do not have (--norm instance)"
        )
    width, channels = g.shape("model.1.weight", 4)[:2]
    blocks = 0
    while f"model.{10 + blocks}.conv_block.1.weight" in g:
        blocks += 1
    for i in (1, 4, 7, 10 + blocks, 13 + blocks, 17 + blocks):
        copy_layer(g, f"model.{i}", found, f"{ours}.net.{i}")
    for i in range(10, 10 + blocks):
        second = 6 if f"model.{i}.conv_block.6.weight" in g else 5
        copy_layer(g, f"model.{i}.conv_block.1", found, f"{ours}.net.{i}.net.1")
        copy_layer(g, f"model.{i}.conv_block.{second}", found, f"{ours}.net.{i}.net.5")
        if second == 6 and not any("dropout" in note for note in found.notes):
            found.notes.append(
                "it was trained with dropout in its residual blocks, which cyclegan does not have: nothing is dropped"
            )
    return channels, found.tensors[f"{ours}.net.{17 + blocks}.weight"].shape[0], width, blocks


# StarGAN and GANimation ----------------------------------------------------------------------------------------------


def copy_trunk(g: Tensors, found: Conversion) -> tuple[int, int, int]:
    """Copy the trunk of G of StarGAN or GANimation; returns its input channels, width and number of blocks."""
    blocks = 0
    while f"main.{9 + blocks}.main.0.weight" in g:
        blocks += 1
    for i in (0, 3, 6, 9 + blocks, 12 + blocks):
        copy_layer(g, f"main.{i}", found, f"g.trunk.net.{i}")
        copy_layer(g, f"main.{i + 1}", found, f"g.trunk.net.{i + 1}")
    for i in range(9, 9 + blocks):
        for k in (0, 1, 3, 4):
            copy_layer(g, f"main.{i}.main.{k}", found, f"g.trunk.net.{i}.body.{k}")
    width, channels = found.tensors["g.trunk.net.0.weight"].shape[:2]
    return channels, width, blocks


def copy_critic(d: Tensors, found: Conversion) -> tuple[int, tuple[int, int]]:
    """Copy the critic of StarGAN or GANimation; returns the number of its attributes and the size of its images."""
    depth = 0
    while f"main.{2 * depth}.weight" in d:
        copy_layer(d, f"main.{2 * depth}", found, f"d.trunk.{2 * depth}")
        depth += 1
    outputs, _, height, width = d.shape("conv2.weight", 4)
    found.arguments["width_d"] = d.shape("main.0.weight", 4)[0]
    copy_layer(d, "conv1", found, "d.patches")
    copy_layer(d, "conv2", found, "d.condition")
    if depth > DEEPEST or max(height, width) << depth > 1 << DEEPEST:
        raise Refused(f"{d.where} halves pictures {depth} times to {height}x{width}; 8192 px at most were expected")
    return outputs, (height << depth, width << depth)


def parse_names(typed: str) -> list[list[str]]:
    """The names of each joined data set, from a,b+c,d.

    Raises:
        Refused: a name is empty, or twice in a data set.
    """
    sets = [[name.strip() for name in part.split(",")] for part in typed.split("+")] if typed else []
    if any("" in part or len(set(part)) < len(part) for part in sets):
        raise Refused(
            f"--attributes is {show(typed)}; write each name once, separated by commas, and joined data sets by +"
        )
    return sets


def assumed(dim: int, known: list[str]) -> str:
    """A message that the usual names are assumed."""
    return f"its {dim} attributes are assumed to be {', '.join(known)}; the file does not name them, --attributes does"


def numbered(word: str, dim: int, found: Conversion) -> list[str]:
    """Numbered names for unknown attributes, with a message for the user."""
    found.notes.append(
        f"the file does not name its {dim} numbers: they are {word}1, {word}2 ... here; --attributes a,b,c names them"
    )
    return [f"{word}{i + 1}" for i in range(dim)]


def stargan_model(parts: Parts) -> Conversion:
    """StarGAN: the number of input channels shows the number of attributes, but not their names."""
    g, found = parts.g, Conversion(Spec(()), {}, {})
    planes, width, blocks = copy_trunk(g, found)
    copy_layer(g, f"main.{15 + blocks}", found, "g.out")
    channels = found.tensors["g.out.weight"].shape[0]
    dim, outputs, size = planes - channels, None, None
    for d in parts.d:
        outputs, size = copy_critic(d, found)
    sets = parse_names(parts.attributes)
    if not sets:
        celeba, rafd = list(stargan.CELEBA), list(stargan.RAFD)
        known = {5: [celeba], 8: [rafd], 15: [celeba, rafd]}
        is_single = dim == 15 and outputs == dim  # a D that predicts all 15 was trained on one data set
        sets = [numbered("attribute", dim, found)] if is_single or dim not in known else known[dim]
        if not is_single and dim in known:
            found.notes.append(assumed(dim, [name for part in sets for name in part]))
    total = sum(map(len, sets))
    needs = total + len(sets) * (len(sets) > 1)
    if needs != dim or outputs not in (None, total):
        read = "" if outputs is None else f" and D reads {outputs}"
        given = f"{total} names in {len(sets)} set{'s' * (len(sets) > 1)} need {needs}" + (
            "" if outputs is None else f" and {total}"
        )
        raise Refused(
            f"G is given {dim} numbers{read}; {given}. "
            "Name them with --attributes a,b,c, those of joined data sets a,b+c,d"
        )
    exclusive = tuple(set(part) == set(stargan.RAFD) for part in sets)  # a face has one expression
    groups = tuple(map(len, sets)) if len(sets) > 1 else ()
    size = size or ((256, 256) if groups else (128, 128))
    found.spec = Spec(
        (channels, *size),
        attributes=tuple(name for part in sets for name in part),
        groups=groups,
        exclusive=exclusive,
    )
    found.arguments |= dict(width=width, blocks=blocks)
    found.fresh = () if parts.d else ("d.",)
    return parts.done(found)


def ganimation_model(parts: Parts) -> Conversion:
    """GANimation: StarGAN's networks, with a head for colours and one for the attention mask."""
    g, found = parts.g, Conversion(Spec(()), {}, {})
    planes, width, blocks = copy_trunk(g, found)
    copy_layer(g, "img_reg.0", found, "g.colour")
    copy_layer(g, "attetion_reg.0", found, "g.mask")  # its authors' spelling
    channels, size = found.tensors["g.colour.weight"].shape[0], (128, 128)
    for d in parts.d:
        _, size = copy_critic(d, found)
    dim, sets = planes - channels, parse_names(parts.attributes)
    if not sets:
        known = dim == len(ganimation.UNITS)
        sets = [list(ganimation.UNITS) if known else numbered("unit", dim, found)]
        if known:
            found.notes.append(assumed(dim, sets[0]))
    if len(sets) > 1 or len(sets[0]) != dim:
        counts = " + ".join(str(len(part)) for part in sets)
        raise Refused(f"G is given {dim} numbers and --attributes names {counts}: name each action unit, AU01,AU02 ...")
    found.spec = Spec((channels, *size), attributes=tuple(sets[0]), exclusive=(False,))
    found.arguments |= dict(width=width, blocks=blocks)
    found.fresh = () if parts.d else ("d.",)
    return parts.done(found)


# AdaIN ---------------------------------------------------------------------------------------------------------------


def adain_model(parts: Parts) -> Conversion:
    """AdaIN's decoder, which mirrors an encoder that is not in its file."""
    g = parts.g
    if "0.weight" in g:
        raise Refused("its first layer is 0, like an encoder's: --as adain takes decoder.pth, and --encoder this file")
    convolutions = sorted(
        int(name.removesuffix(".weight"))
        for name in g.items
        if name.removesuffix(".weight").isdecimal() and len(name) < 12
    )
    if not convolutions:
        first = ", ".join(show(name) for name in list(g.items)[:4]) or "no tensors"
        raise Refused(f"{g.where} has {first}; 1.weight, 5.weight ... of AdaIN's decoder.pth were expected")
    encoder = parts.encoder or "vgg19"
    try:
        frozen, digest = adain.open_encoder(encoder)
    except ValueError as error:
        raise Refused(str(error)) from None
    found = Conversion(
        Spec((3, 512, 512), other=(3, 512, 512)),
        dict(encoder=encoder),
        {"encoder_sha256": torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8)},
        notes=["pytorch-AdaIN divides variances by H W - 1, gankit by H W like the paper: styles differ slightly"],
    )
    shapes = [g.shape(f"{i}.weight", 4)[1::-1] for i in convolutions]
    if shapes != [wide[::-1] for wide in reversed(frozen.shapes)]:
        channels = ", ".join(str(inputs) for inputs, _ in shapes)
        raise Refused(
            f"its maps have {channels} channels, which do not mirror the encoder {encoder}; name its own with --encoder"
        )
    for i in convolutions:
        copy_layer(g, f"{i}", found, f"g.{i}")
    return parts.done(found)


CONVERT: dict[str, Callable[[Parts], Conversion]] = {
    "pix2pix": pix2pix,
    "cyclegan": cyclegan,
    "stargan": stargan_model,
    "ganimation": ganimation_model,
    "adain": adain_model,
}
