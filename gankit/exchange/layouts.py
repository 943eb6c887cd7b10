"""Recognition of published files by the names of their tensors, for hints on files that cannot be read."""

from __future__ import annotations

from gankit.exchange.tensors import is_dict_of_tensors
from gankit.exchange.unpickle import Node

# Kinds of files: what they are, the `--as` that reads them or "", and names of tensors that all of them have.
LAYOUTS: list[tuple[str, str, str]] = [
    ("a StyleGAN3 of NVIDIA's", "", "synthesis.input.affine.weight"),
    ("the state dict of one of NVIDIA's StyleGAN2s; gankit reads the pickle that it came from, with G_ema in it", "",
     "synthesis.b4.const"),
    ("a StyleGAN2 of rosinality's stylegan2-pytorch, whose layers have other names and scales", "",
     "style.1.weight convs.0.conv.weight to_rgb1.bias"),
    ("the discriminator of a StyleGAN2 of rosinality's stylegan2-pytorch", "", "convs.0.0.weight final_conv.0.weight"),
    ("a progressive GAN of pytorch_GAN_zoo", "pggan", "formatLayer.weight toRGBLayers.0.weight"),
    ("a progressive GAN of pytorch_GAN_zoo", "pggan", "formatLayer.module.weight toRGBLayers.0.module.weight"),
    ("the generator of a BigGAN of BigGAN-PyTorch", "biggan", "linear.weight blocks.0.0.bn1.gain.weight"),
    ("the discriminator of a BigGAN of BigGAN-PyTorch, which --as biggan takes beside a G, with --discriminator", "",
     "linear.weight embed.weight blocks.0.0.conv1.weight"),
    ("Hugging Face's BigGAN-deep", "biggan", "generator.gen_z.weight_orig"),
    ("the U-Net of a pix2pix", "pix2pix", "model.model.0.weight model.model.1.model.1.weight"),
    ("a generator of residual blocks of pytorch-CycleGAN-and-pix2pix", "cyclegan",
     "model.1.weight model.10.conv_block.1.weight"),
    ("a discriminator of pytorch-CycleGAN-and-pix2pix, which --as pix2pix and cyclegan take beside a G, "
     "with --discriminator", "", "model.0.weight model.2.weight model.5.weight"),
    ("the generator of a GANimation", "ganimation", "main.0.weight attetion_reg.0.weight"),
    ("the generator of a StarGAN", "stargan", "main.0.weight main.9.main.0.weight"),
    ("the decoder of an AdaIN", "adain", "1.weight 5.weight 28.weight"),
]  # fmt: skip


def recognise(tree: object) -> tuple[str, str]:
    """What a file is, and the `--as` that reads it, by the names of its tensors; "" for both if it is unknown.

    Args:
        tree: its contents, from `unpickle.read`.
    """
    if not isinstance(tree, dict):
        return "", ""
    for part in (tree, *tree.values()):
        if is_dict_of_tensors(part):
            names = {key.removeprefix("module.") for key in part if type(key) is str}
            for about, kind, common in LAYOUTS:
                if names.issuperset(common.split()):
                    return about, kind
    if any(type(part) is Node for part in tree.values()):
        return "a pickle of NVIDIA's networks", "stylegan2"
    return "", ""


def hint(tree: object, kind: str, reads: str) -> str:
    """A hint about a file that could not be read as `kind`: what it is, and what to try; "" if it is of this kind.

    Args:
        tree: its contents, from `unpickle.read`.
        kind: the requested `--as`.
        reads: the files that `--as kind` reads.
    """
    about, better = recognise(tree)
    if better == kind:
        return ""
    prefix = f"It is {about}. " if about else ""
    return prefix + (f"Try --as {better}" if better else f"--as {kind} reads {reads}")
