"""The command `gankit export`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from gankit.cli.flags import Loading, alias, first, only, parse
from gankit.text import put


@dataclass
class Export:
    """The format, and where to write it.

    Args:
        to: safetensors: the weights for sampling and config.json; onnx; torch.export: a .pt2 program; hub-folder:
            weights, config, card, samples and a script.
        output: the file or folder to write, which must not exist; default: one named after the run, in out/.
        n: random latents on which the exported model is compared with the original.
        license: the licence that a hub folder's card states.
    """

    to: Literal["safetensors", "onnx", "torch.export", "hub-folder"] = "safetensors"
    output: Annotated[str, alias("-o")] = ""
    n: int = 16
    license: str = ""


def export(words: list[str]) -> None:
    """Export a generator: gankit export RUN --to safetensors|onnx|torch.export|hub-folder [-o PATH]"""
    run, flags = first(words, "export", "RUN")
    options, loading = parse(export, "RUN", flags, Export, only(Loading, "weights", "model"))
    loading.device = "cpu"

    trained = loading.load(run)

    from gankit.exchange import export as exports

    exported = exports.export(trained, options.to, options.output, options.n, options.license)
    put(f"{exported.path}   takes {exported.inputs}")
    put(
        f"largest difference from the model's samples on {exported.latents} random latents: "
        f"{exported.difference:.2g} of a range of 2"
    )
