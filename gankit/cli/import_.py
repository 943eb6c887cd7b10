"""The command `gankit import`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, get_type_hints

from gankit.cli.flags import alias, first, parse, take
from gankit.text import put

if TYPE_CHECKING:
    from gankit.exchange.imports import Imported


@dataclasses.dataclass
class Source:
    """What the file is, and where to write the run folder. --as KIND names the source of the weights.

    Args:
        output: the folder to write; default: a new one in outdir.
        outdir: folder in which the new folder is created.
        discriminator: the file of the discriminator where it is separate: BigGAN-PyTorch's D.pth, those of translators;
            for cyclegan D_A and D_B, separated by a comma.
        trunc: only for BigGAN-deep, which has batch statistics for 51 truncations: the truncation to use.
        license: the licence to record; default: the one known for these files.
        back: for cyclegan, the file of the generator from b to a.
        attributes: for stargan and ganimation, the names of G's attributes: a,b,c, or a,b+c,d of joined data sets.
        encoder: for adain, the encoder that the decoder was trained with: vgg19, small, or a file.
    """

    output: Annotated[str, alias("-o")] = ""
    outdir: str = "runs"
    discriminator: str = ""
    trunc: float = 1.0
    license: str = ""
    back: str = ""
    attributes: str = ""
    encoder: str = ""


def import_(words: list[str]) -> None:
    """Import published weights, without executing anything in them: gankit import FILE --as KIND [-o FOLDER]"""
    file, words = first(words, "import", "FILE --as KIND")
    flags, kind = take(words, "--as")
    if not kind or kind.startswith("-"):
        flags, kind = [word for word in words if word not in ("--as", "--as=")], None
    (options,) = parse(import_, "FILE --as KIND", flags, Source)

    from gankit.exchange import imports

    if kind is None:
        sources = [*imports.SOURCES.items(), ("biggan", imports.DEEP)]
        known = "".join(f"\n  --as {name:<10} {source.about}" for name, source in sources)
        raise ValueError(f"import {file} as what? Name the source of the weights:{known}")
    describe(kind, imports.import_weights(file, kind, **dataclasses.asdict(options)))


def describe(kind: str, imported: Imported) -> None:
    """Print what was read, what was not, and the next command."""
    from gankit import models, recipe
    from gankit.exchange import translators
    from gankit.translation import example

    found, folder = imported.found, imported.folder
    shape = "x".join(map(str, found.spec.shape))
    classes = f", {found.spec.num_classes} classes" if found.spec.num_classes else ""
    counts = ", ".join(f"{name} {count:,}" for name, count in imported.parameters.items())
    put(f"{kind} for {shape}{classes}; parameters: {counts}")
    put(f"sizes, from the file: {recipe.flags(found.arguments, get_type_hints(models.find(kind).__init__))}")
    for note in found.notes:
        put(f"- {note}")
    if found.fresh:
        put(f"- not in the file, so as first initialised: {', '.join(name.rstrip('.') for name in found.fresh)}")
    if found.unused:
        more = len(found.unused) - 6
        put(f"- not used: {', '.join(found.unused[:6])}{f' and {more} more' if more > 0 else ''}")
    else:
        put("- everything in the file was used")
    put(f"licence of the source: {imported.license}")
    following = f"gankit sample {folder} -o grid.png"
    if kind in translators.CONVERT:
        following = example(models.find(kind)).replace("RUN", str(folder))
    put(f"{folder}   (next: {following})")
