"""Import of published checkpoints: read, mapped to our model, checked, and written as a run folder."""

from __future__ import annotations

import dataclasses
import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from gankit import models
from gankit.exchange import biggan, layouts, pggan, stylegan2, translators, unpickle
from gankit.exchange.tensors import Conversion, Tensors, is_dict_of_tensors
from gankit.exchange.unpickle import Refused, show
from gankit.recipe import Images, Recipe
from gankit.runs.config import history_entry, new_folder
from gankit.runs.files import FORMAT, write_tensors, write_text
from gankit.runs.schema import Config, SettingsOfConfig, Shapes
from gankit.runs.state import weights_of
from gankit.text import suggest
from gankit.training import Settings
from gankit.training.settings import plan
from gankit.training.setup import build_recipe
from gankit.weights import sha256


@dataclass(frozen=True)
class Publisher:
    """Where a kind of weights comes from.

    Args:
        about: whose files they are.
        license: the licence's identifier on the Hugging Face Hub, or "other".
        terms: the licence in a sentence, and where it is.
    """

    about: str
    license: str
    terms: str


# Errors from sizes that do not fit together.
FAULTS = (LookupError, TypeError, ArithmeticError, RuntimeError, ValueError)
MORE, LEAST = 8, 1 << 26  # a model may have this many times the bytes of the weights in the file, or this many bytes
BSD = (
    "BSD 2-clause (LICENSE of pytorch-CycleGAN-and-pix2pix); the data that they were trained on have terms of their own"
)
SOURCES = {
    "stylegan2": Publisher(
        "NVIDIA's stylegan2-ada-pytorch: network pickles (.pkl)",
        "other",
        "NVIDIA Source Code License for StyleGAN2 with Adaptive Discriminator Augmentation: research and evaluation "
        "only, not commercial, https://nvlabs.github.io/stylegan2-ada-pytorch/license.html; files trained by others "
        "may differ",
    ),
    "pggan": Publisher(
        "Facebook's pytorch_GAN_zoo: progressive GANs (.pth)",
        "bsd-3-clause",
        "BSD 3-clause, Copyright 2019 Facebook (LICENSE of pytorch_GAN_zoo); "
        "the data they were trained on has terms of its own",
    ),
    "biggan": Publisher(
        "BigGAN-PyTorch by Andrew Brock: G_ema.pth or G.pth, and D.pth",
        "mit",
        "MIT (LICENSE of BigGAN-PyTorch); the data they were trained on, ImageNet, has terms of its own",
    ),
    "pix2pix": Publisher(
        "pytorch-CycleGAN-and-pix2pix: latest_net_G.pth of pix2pix, and latest_net_D.pth", "bsd-2-clause", BSD
    ),
    "cyclegan": Publisher(
        "pytorch-CycleGAN-and-pix2pix: latest_net_G_A.pth and G_B, or latest_net_G.pth, and D_A, D_B",
        "bsd-2-clause",
        BSD,
    ),
    "stargan": Publisher(
        "StarGAN by its authors: 200000-G.ckpt, and 200000-D.ckpt",
        "mit",
        "MIT (LICENSE of stargan); the data they were trained on, CelebA and RaFD, are for research and not commercial",
    ),
    "ganimation": Publisher(
        "GANimation by its authors' code: net_epoch_30_id_G.pth, and ..._D.pth",
        "other",
        "no licence of the code is known here; its authors published no weights: ask whoever trained these",
    ),
    "adain": Publisher(
        "pytorch-AdaIN by Naoto Inoue: decoder.pth",
        "mit",
        "MIT (LICENSE of pytorch-AdaIN); the paintings and photographs that it was trained on have terms of their own",
    ),
}
DEEP = Publisher(  # also imported as biggan
    "Hugging Face's BigGAN-deep (pytorch_model.bin), DeepMind's weights",
    "other",
    "the code of pytorch-pretrained-BigGAN is MIT; the weights are DeepMind's, see their pages on TensorFlow Hub "
    "for the terms; the data they were trained on, ImageNet, has terms of its own",
)


TAKES = {  # the kinds that take further options
    "discriminator": ("biggan", "pix2pix", "cyclegan", "stargan", "ganimation"),
    "back": ("cyclegan",),
    "attributes": ("stargan", "ganimation"),
    "encoder": ("adain",),
}


@dataclass(frozen=True)
class Imported:
    """The result of an import.

    Attributes:
        folder: the run folder.
        found: our model, with what was not used and messages for the user.
        license: the licence that was recorded.
        parameters: the number of parameters of each network.
    """

    folder: Path
    found: Conversion
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
    """Read a published checkpoint, without executing anything in it, and write it as a run folder.

    Args:
        file: the checkpoint.
        kind: the kind of weights: a key of `SOURCES`.
        output: the folder to write; default: a new one in `outdir`.
        outdir: the folder of runs.
        discriminator: the file of the discriminator, if it is separate (BigGAN-PyTorch's D.pth, those of translators);
            for cyclegan D_A and D_B, separated by a comma.
        trunc: which of BigGAN-deep's batch statistics to use: those for this truncation, 0 to 1.
        license: the licence to record; default: the one known for these files.
        back: for cyclegan, the file of the generator from b to a.
        attributes: for stargan and ganimation, the names of G's attributes: a,b,c, or a,b+c,d of joined data sets.
        encoder: for adain, the encoder that it was trained with, a name or a file.

    Raises:
        ValueError: the file is not read (`Refused`), is of another kind, or does not fit the model.
        OSError: a file cannot be read or written.
    """
    path = Path(file).expanduser()
    check_file(path, kind)
    check_options(kind, discriminator=discriminator, back=back, attributes=attributes, encoder=encoder)
    files = Files(path, Path(back).expanduser() if back else None, discriminators(kind, str(discriminator)))
    trees = {at: (unpickle.read(at), at.stat().st_size) for at in (path, *files.others)}
    try:
        found = convert(kind, files, trees, trunc, attributes, str(encoder))
        is_deep = bool(found.arguments.get("deep"))
        if trunc != 1 and not is_deep:
            raise Refused(
                "it has at most one set of batch statistics, so --trunc has nothing to choose from: "
                "leave it out here, and give it to `gankit sample`"
            )
        settings, arguments = settings_for(kind, found)
    except Refused as error:
        hint = layouts.hint(trees[path][0], kind, SOURCES[kind].about)
        raise Refused(f"{path} as {kind}: {error}" + (f". {hint}" if hint else "")) from None
    except FAULTS as error:
        first = (str(error).splitlines() or [""])[0]
        raise Refused(
            f"{path} as {kind}: its parts do not fit together ({type(error).__name__}: {show(first)})"
        ) from error
    recipe = build_recipe(models.find(kind), found.spec, arguments, settings.seed)
    recipe.load_state_dict(found.tensors, strict=False)
    publisher = DEEP if is_deep else SOURCES[kind]
    config = imported_config(kind, found, settings, arguments, files, publisher, license)
    folder = write_run(Path(output).expanduser() if output else None, Path(outdir).expanduser(), kind, recipe, config)
    return Imported(folder, found, config["source"]["terms"], parameters_of(recipe, found))


@dataclass(frozen=True)
class Files:
    """The files of a model.

    Args:
        g: the generator, or all networks.
        back: CycleGAN's generator from b to a, or none.
        d: discriminators.
    """

    g: Path
    back: Path | None
    d: list[Path]

    @property
    def others(self) -> list[Path]:
        return [*([self.back] if self.back else []), *self.d]


def check_file(path: Path, kind: str) -> None:
    """Refuse unknown kinds, folders, and gankit's own weights.

    Raises:
        ValueError: says what to type instead.
    """
    if kind not in SOURCES:
        raise ValueError(suggest("kind of weights", kind, list(SOURCES)))
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name the file of weights in it")
    if (path.parent / "config.json").exists() and path.name in ("weights.safetensors", "state.safetensors"):
        raise ValueError(
            f"{path} belongs to a run of gankit, which needs no import: "
            f"give its folder, {path.parent}, to gankit sample and other commands"
        )


def check_options(kind: str, **options: str | Path) -> None:
    """Refuse options that this kind of weights does not take.

    Raises:
        ValueError: names the kinds that take it.
    """
    if wrong := [name for name, value in options.items() if value and kind not in TAKES[name]]:
        raise ValueError(
            f"files for {kind} take no --{wrong[0]}; leave it out. It is only for {', '.join(TAKES[wrong[0]])}"
        )


def discriminators(kind: str, typed: str) -> list[Path]:
    """The files of --discriminator: one, or up to two with a comma between for cyclegan.

    Raises:
        ValueError: there are more.
    """
    if not typed:
        return []
    names = typed.split(",") if kind == "cyclegan" else [typed]
    if len(names) > 2:
        raise ValueError(f"--discriminator names {len(names)} files; cyclegan has two, D_A and D_B")
    return [Path(name.strip() if kind == "cyclegan" else name).expanduser() for name in names]


def convert(
    kind: str, files: Files, trees: dict[Path, tuple[object, int]], trunc: float, attributes: str, encoder: str
) -> Conversion:
    """Our model with the weights of the files.

    Args:
        kind: a key of `SOURCES`.
        files: the paths.
        trees: the contents of each file, and its size in bytes.
        trunc: see `import_weights`.
        attributes: of stargan and ganimation.
        encoder: of adain.

    Raises:
        Refused: the files are something else, or do not fit together.
    """
    if kind == "biggan":
        return biggan.convert(*trees[files.g], *(trees[files.d[0]] if files.d else (None, 0)), trunc)
    if kind not in translators.CONVERT:
        return {"stylegan2": stylegan2.convert, "pggan": pggan.convert}[kind](*trees[files.g])
    sources = {at: state(at, tree, size) for at, (tree, size) in trees.items()}
    if len(sources) < 1 + len(files.others):
        raise Refused("one file is given twice")
    local = Path(encoder).expanduser()
    parts = translators.Parts(
        sources[files.g],
        sources[files.back] if files.back else None,
        tuple(sources[at] for at in files.d),
        attributes,
        str(local.resolve() if local.is_file() else encoder),
    )
    return translators.CONVERT[kind](parts)


def state(path: Path, tree: object, size: int) -> Tensors:
    """The state dict of one network.

    Raises:
        Refused: the file is something else.
    """
    if not is_dict_of_tensors(tree):
        raise Refused(f"{path.name} is {show(tree)}; a network's state dict, names to tensors, was expected")
    return Tensors(tree, path.name, size)


def settings_for(kind: str, found: Conversion) -> tuple[Settings, dict[str, object]]:
    """Settings and arguments of our model, after a check that every weight has its place.

    The model is built on the meta device, because a small file may claim to be of any size.

    Raises:
        Refused: a weight has no place or another shape, one of ours is missing, or most of the model would keep its
            initial values.
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
                f"the weight for {name} is {tuple(value.shape)}; "
                f"{tuple(ours[name].shape)} was expected ({found.arguments})"
            )
    optional = found.fresh or ("\0",)
    missing = [name for name in ours if name not in found.tensors and not name.startswith(optional)]
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing:
        raise Refused(f"{len(missing)} weights are not in the file: {', '.join(missing[:3])} ...")
    held = sum(value.untyped_storage().nbytes() for value in found.tensors.values())
    need = sum(4 * value.numel() for value in ours.values())
    if need > max(MORE * held, LEAST):
        raise Refused(
            f"{kind} of {need:,} bytes where the file has weights of {held:,}: most of it would be as first initialised"
        )
    return dataclasses.replace(settings, data="imported", images=Images(1)), arguments


def imported_config(
    kind: str,
    found: Conversion,
    settings: Settings,
    arguments: dict[str, object],
    files: Files,
    publisher: Publisher,
    license: str,
) -> Config:
    """The config.json of the run folder, with the source of the weights."""
    return {
        "format": FORMAT,
        "id": uuid.uuid4().hex,
        "model": kind,
        "own": "",
        "preset": "",
        "arguments": arguments,
        "settings": cast(SettingsOfConfig, dataclasses.asdict(settings)),
        "spec": cast(Shapes, dataclasses.asdict(found.spec)),
        "data": {"name": "imported", "fingerprint": "", "count": 0, "classes": []},
        "processes": 1,
        "images": 0,
        "history": [history_entry(0, {})],
        "source": {
            "about": publisher.about,
            "file": files.g.name,
            "sha256": sha256(files.g),
            "beside": {at.name: sha256(at) for at in files.others},
            "license": license or publisher.license,
            "terms": license or publisher.terms,
            "not_in_it": [name.rstrip(".") for name in found.fresh],
            "unused": found.unused[:100],
            "notes": found.notes,
        },
    }


def parameters_of(recipe: Recipe, found: Conversion) -> dict[str, int]:
    """The number of parameters of each network that the file has."""
    counts = {
        name: sum(p.numel() for p in network.parameters())
        for name, network in recipe.named_children()
        if f"{name}." not in found.fresh
    }
    return {name: count for name, count in counts.items() if count}


def write_run(output: Path | None, outdir: Path, kind: str, recipe: Recipe, config: Config) -> Path:
    """Write the run folder, all of it or nothing."""
    if output is None:
        folder = new_folder(outdir, models.find(kind), "imported", "", config)
    else:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise ValueError(f"{output} is there already; choose another with -o, or delete it")
        output.mkdir(parents=True, exist_ok=True)
        folder = output
    try:
        write_tensors(
            folder / "weights.safetensors", weights_of(recipe), {"run": config["id"], "images": 0, "model": kind}
        )
        write_text(folder / "config.json", json.dumps(config, indent=2))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder
