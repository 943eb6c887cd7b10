"""A published checkpoint to a run folder of ours: read, mapped, checked against our model, written with its source noted."""

from __future__ import annotations

import dataclasses
import json
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from gankit import models
from gankit.exchange import biggan, layouts, pggan, stylegan2, translators, unpickle
from gankit.exchange.tensors import Found, Tensors, is_dict_of_tensors
from gankit.exchange.unpickle import Refused, show
from gankit.runs.config import history_entry, new_folder
from gankit.runs.files import FORMAT, write_tensors, write_text
from gankit.runs.state import weights_of
from gankit.text import suggest
from gankit.training import Settings
from gankit.training.setup import build_recipe, plan
from gankit.weights import sha256


@dataclass(frozen=True)
class Source:
    """Where a kind of weights comes from.

    Args:
        about: whose files they are.
        license: the licence's identifier on the Hugging Face Hub, or "other".
        terms: what it says, in a sentence, and where.
    """

    about: str
    license: str
    terms: str


FAULTS = (
    LookupError,
    TypeError,
    ArithmeticError,
    RuntimeError,
    ValueError,
)  # what sizes that do not fit together end in
MORE, LEAST = 8, 1 << 26  # a model may have this many times the bytes of the weights that were found, or so many bytes
BSD = (
    "BSD 2-clause (LICENSE of pytorch-CycleGAN-and-pix2pix); the data that they were trained on have terms of their own"
)
SOURCES = {
    "stylegan2": Source(
        "NVIDIA's stylegan2-ada-pytorch: network pickles (.pkl)",
        "other",
        "NVIDIA Source Code License for StyleGAN2 with Adaptive Discriminator Augmentation: research and evaluation only, "
        "not commercial, https://nvlabs.github.io/stylegan2-ada-pytorch/license.html; files trained by others may differ",
    ),
    "pggan": Source(
        "Facebook's pytorch_GAN_zoo: progressive GANs (.pth)",
        "bsd-3-clause",
        "BSD 3-clause, Copyright 2019 Facebook (LICENSE of pytorch_GAN_zoo); the data they were trained on has terms of its own",
    ),
    "biggan": Source(
        "BigGAN-PyTorch by Andrew Brock: G_ema.pth or G.pth, and D.pth",
        "mit",
        "MIT (LICENSE of BigGAN-PyTorch); the data they were trained on, ImageNet, has terms of its own",
    ),
    "pix2pix": Source(
        "pytorch-CycleGAN-and-pix2pix: latest_net_G.pth of pix2pix, and latest_net_D.pth", "bsd-2-clause", BSD
    ),
    "cyclegan": Source(
        "pytorch-CycleGAN-and-pix2pix: latest_net_G_A.pth and G_B, or latest_net_G.pth, and D_A, D_B",
        "bsd-2-clause",
        BSD,
    ),
    "stargan": Source(
        "StarGAN by its authors: 200000-G.ckpt, and 200000-D.ckpt",
        "mit",
        "MIT (LICENSE of stargan); the data they were trained on, CelebA and RaFD, are for research and not commercial",
    ),
    "ganimation": Source(
        "GANimation by its authors' code: net_epoch_30_id_G.pth, and ..._D.pth",
        "other",
        "no licence of the code is known here; its authors published no weights: ask whoever trained these",
    ),
    "adain": Source(
        "pytorch-AdaIN by Naoto Inoue: decoder.pth",
        "mit",
        "MIT (LICENSE of pytorch-AdaIN); the paintings and photographs that it was trained on have terms of their own",
    ),
}
DEEP = Source(  # which is imported as biggan too
    "Hugging Face's BigGAN-deep (pytorch_model.bin), DeepMind's weights",
    "other",
    "the code of pytorch-pretrained-BigGAN is MIT; the weights are DeepMind's, see their pages on TensorFlow Hub for the terms; "
    "the data they were trained on, ImageNet, has terms of its own",
)


TAKES = {  # what else is asked of whom
    "discriminator": ("biggan", "pix2pix", "cyclegan", "stargan", "ganimation"), "back": ("cyclegan",),
    "attributes": ("stargan", "ganimation"), "encoder": ("adain",),
}  # fmt: skip


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes:
        folder: the run folder that was written.
        found: the model, what was not used and what is to be known.
        license: what was noted of the licence.
        parameters: of each network.
    """

    folder: Path
    found: Found
    license: str
    parameters: dict[str, int]


def import_weights(
    file: str | Path,
    kind: str,
    output: str | Path = "",
    outdir: str | Path = "runs",
    discriminator: str | Path = "",
    trunc: float = 1.0,
    license: str = "",
    back: str | Path = "",
    attributes: str = "",
    encoder: str | Path = "",
) -> Imported:
    """Read a published checkpoint, without executing anything in it, and write it as a run folder of ours.

    Args:
        file: the checkpoint.
        kind: whose it is: a key of `SOURCES`.
        output: the folder to write; a new one in `outdir` without it.
        outdir: where that is made.
        discriminator: the file of the discriminator, where it has one of its own (BigGAN-PyTorch's D.pth, those of
            translators); two with a comma between for cyclegan, D_A and D_B.
        trunc: for BigGAN-deep, which of the 51 batch statistics to take, 0 to 1.
        license: the licence to note, in place of the one that is known for such files.
        back: for cyclegan, the file of the generator from b to a.
        attributes: for stargan and ganimation, what the numbers mean that G is given: a,b,c, or a,b+c,d of joined sets.
        encoder: for adain, the encoder that it was trained with, as the model takes it: a name or a file.

    Raises:
        ValueError: the file has what is not read (`Refused`), is of another kind, or does not fit the model.
        OSError: a file cannot be read or written.
    """
    path = Path(file).expanduser()
    if kind not in SOURCES:
        raise ValueError(suggest("kind of weights", kind, list(SOURCES)))
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name the file of weights in it")
    if (path.parent / "config.json").exists() and path.name in ("weights.safetensors", "state.safetensors"):
        raise ValueError(
            f"{path} is of a run of gankit's own, which needs no import: name its folder, {path.parent}, to gankit sample and the others"
        )
    given = dict(discriminator=discriminator, back=back, attributes=attributes, encoder=encoder)
    if wrong := [name for name, value in given.items() if value and kind not in TAKES[name]]:
        raise ValueError(
            f"files for {kind} take no --{wrong[0]}; leave it out. Those for {', '.join(TAKES[wrong[0]])} do"
        )
    critics = (
        [Path(name.strip()).expanduser() for name in str(discriminator).split(",")]
        if kind == "cyclegan"
        else [Path(discriminator).expanduser()]
    )
    critics = critics if discriminator else []
    if len(critics) > 2:
        raise ValueError(f"--discriminator names {len(critics)} files; cyclegan has two, D_A and D_B")
    more = [*([Path(back).expanduser()] if back else []), *critics]
    trees = {at: (unpickle.read(at), at.stat().st_size) for at in (path, *more)}
    try:
        if kind in translators.CONVERT:
            sources = {at: state(at, tree, size) for at, (tree, size) in trees.items()}
            if len(sources) < 1 + len(more):
                raise Refused("one file is given twice")
            local = Path(encoder).expanduser()
            parts = translators.Parts(
                sources[path],
                sources[more[0]] if back else None,
                tuple(sources[at] for at in critics),
                attributes,
                str(local.resolve() if local.is_file() else encoder),
            )
            found = translators.CONVERT[kind](parts)
        elif kind == "biggan":
            found = biggan.convert(*trees[path], *(trees[critics[0]] if critics else (None, 0)), trunc)
        else:
            found = CONVERT[kind](*trees[path])
        deep = bool(found.arguments.get("deep"))
        if trunc != 1 and not deep:
            raise Refused(
                "it has one set of batch statistics at most, which --trunc cannot choose from: leave it out, and give it to `gankit sample`"
            )
        settings, arguments = fit(kind, found)
    except Refused as error:
        more = layouts.hint(trees[path][0], kind, SOURCES[kind].about)
        raise Refused(f"{path} as {kind}: {error}" + (f". {more}" if more else "")) from None
    except FAULTS as error:
        first = (str(error).splitlines() or [""])[0]
        raise Refused(
            f"{path} as {kind}: its parts do not fit together ({type(error).__name__}: {show(first)})"
        ) from error
    recipe = build_recipe(models.find(kind), found.spec, arguments, settings.seed)
    recipe.load_state_dict(found.tensors, strict=False)
    source = DEEP if deep else SOURCES[kind]
    terms = license or source.terms
    config = {
        "format": FORMAT,
        "id": uuid.uuid4().hex,
        "model": kind,
        "own": "",
        "preset": "",
        "arguments": arguments,
        "settings": dataclasses.asdict(settings),
        "spec": dataclasses.asdict(found.spec),
        "data": {"name": "imported", "fingerprint": "", "count": 0, "classes": []},
        "processes": 1,
        "images": 0,
        "history": [history_entry(0, {})],
        "source": {
            "about": source.about,
            "file": path.name,
            "sha256": sha256(path),
            "beside": {at.name: sha256(at) for at in more},
            "license": license or source.license,
            "terms": terms,
            "not_in_it": [name.rstrip(".") for name in found.fresh],
            "unused": found.unused[:100],
            "notes": found.notes,
        },
    }
    folder = write(Path(output).expanduser() if output else None, Path(outdir).expanduser(), kind, recipe, config)
    counts = {
        name: sum(p.numel() for p in net.parameters())
        for name, net in recipe.named_children()
        if f"{name}." not in found.fresh
    }
    return Imported(folder, found, terms, {name: count for name, count in counts.items() if count})


def state(path: Path, tree: object, size: int) -> Tensors:
    """A file that is one network's state dict.

    Raises:
        Refused: it is something else.
    """
    if not is_dict_of_tensors(tree):
        raise Refused(f"{path.name} is {show(tree)}; a network's state dict, names to tensors, was expected")
    return Tensors(tree, path.name, size)


CONVERT: dict[str, Callable[[object, int], Found]] = {"stylegan2": stylegan2.convert, "pggan": pggan.convert}


def fit(kind: str, found: Found) -> tuple[Settings, dict[str, object]]:
    """Settings and arguments of our model, in which all weights that were found have their places.

    The model is built without memory: a small file may say that it is of any size.

    Raises:
        Refused: a weight has no place or another shape, one of ours is missing, or what the file does not have is far
            larger than what it has.
    """
    recipe_kind = models.find(kind)
    settings, arguments = plan(recipe_kind, "", dict(found.arguments))
    with torch.device("meta"):
        recipe = recipe_kind(found.spec, **arguments)
    ours = {name: value for name, value in recipe.state_dict().items() if isinstance(value, torch.Tensor)}
    for name, value in found.tensors.items():
        if name not in ours:
            raise Refused(f"a weight for {name}, which {kind} does not have at these sizes ({found.arguments})")
        if ours[name].shape != value.shape:
            raise Refused(
                f"the weight for {name} is {tuple(value.shape)}; {tuple(ours[name].shape)} was expected ({found.arguments})"
            )
    missing = [
        name
        for name in ours
        if name not in found.tensors
        and not name.startswith(found.fresh or ("\0",))
        and not name.endswith("num_batches_tracked")
    ]
    if missing:
        raise Refused(f"{len(missing)} weights are not in the file: {', '.join(missing[:3])} ...")
    held = sum(value.untyped_storage().nbytes() for value in found.tensors.values())
    need = sum(4 * value.numel() for value in ours.values())
    if need > max(MORE * held, LEAST):
        raise Refused(
            f"{kind} of {need:,} bytes where the file has weights of {held:,}: most of it would be as first initialised"
        )
    return dataclasses.replace(settings, data="imported", images=1), arguments


def write(output: Path | None, outdir: Path, kind: str, recipe: torch.nn.Module, config: dict) -> Path:
    """The run folder, whole or not at all."""
    if output is None:
        folder = new_folder(outdir, models.find(kind), "imported", "", config)
    else:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise ValueError(f"{output} is there already; choose another with -o, or delete it")
        output.mkdir(parents=True, exist_ok=True)
        folder = output
    try:
        about = {"run": config["id"], "images": 0, "model": kind}
        write_tensors(folder / "weights.safetensors", weights_of(recipe), about)
        write_text(folder / "config.json", json.dumps(config, indent=2))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder
