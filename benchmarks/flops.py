"""GFLOP of training per image, for a preset of any size, in seconds on a CPU.

    python benchmarks/flops.py stylegan2 --preset paper-256
    python benchmarks/flops.py pggan --preset paper-256 --start 11000000    # grown to its full size

A model of the preset takes steps on random images of the preset's shape. Convolutions and matrix products are counted
by PyTorch's formulas, a multiplication and an addition as two operations, and not computed: random numbers from 0 to 1
stand for their results. Everything else is computed and not counted. `--steps` should be a multiple of all of the
model's intervals, such as the 16 updates of D from one penalty of StyleGAN2 to the next.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import flop_registry

from gankit import Batch, Run, models
from gankit.training.log import Log
from gankit.training.settings import plan
from gankit.training.setup import build_recipe


class Counted(TorchDispatchMode):
    """Counts convolutions and matrix products, and returns random numbers from 0 to 1 in place of their results."""

    total = 0

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        formula = flop_registry.get(operation._overloadpacket)
        if formula is None:
            return operation(*arguments, **(options or {}))
        shapes, named = tree_map_only(Tensor, lambda x: x.to("meta"), (arguments, options or {}))
        out = operation(*shapes, **named)
        self.total += formula(*arguments, **(options or {}), out_val=out)
        return tree_map_only(Tensor, lambda x: torch.empty_like(x, device="cpu").uniform_(), out)


def gflop_per_image(model: str, preset: str, batch: int = 2, steps: int = 16, start: int = 0) -> float:
    """GFLOP that training on an image takes, the mean over `steps` steps from `start` images on.

    Raises:
        ValueError: the preset says no shape of data, or is none of the model's.
    """
    kind = models.find(model)
    settings, arguments = plan(kind, preset, dict(batch=batch, device="cpu"))
    spec = kind.presets[preset].spec
    if spec is None:
        known = ", ".join(name for name, other in kind.presets.items() if other.spec)
        raise ValueError(f"preset {preset} is for data of any shape; take one for a paper's data: {known}")
    recipe, folder = build_recipe(kind, spec, arguments, seed=0), Path(tempfile.gettempdir())  # nothing is written
    run = Run(recipe, settings, folder, {}, torch.device("cpu"), Log(folder, settings, quiet=True))  # type: ignore[typeddict-item]
    run.images = start
    fields = {"real": torch.rand(batch, *spec.shape) * 2 - 1}
    if spec.num_classes:
        fields["label"] = torch.arange(batch) % spec.num_classes
    with Counted() as counted:
        for _ in range(steps):
            run.phase = recipe.phase(run.images)
            if run.step == 0:
                recipe.enter(run.phase.index, Batch(dict(fields), run.images, batch))
            recipe.step(Batch(dict(fields), run.images, batch, augmenter=run.augment), run)
            run.advance(batch)
    return counted.total / steps / batch / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a name from `gankit models`")
    parser.add_argument("--preset", default="paper", help="default: paper")
    parser.add_argument("--batch", type=int, default=2, help="images in a step; default: 2")
    parser.add_argument("--steps", type=int, default=16, help="default: 16")
    parser.add_argument(
        "--start", type=int, default=0, help="images before the steps, for models that grow; default: 0"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    gflop = gflop_per_image(options.model, options.preset, options.batch, options.steps, options.start)
    print(f"{options.model} {options.preset}: {gflop:,.1f} GFLOP an image")


if __name__ == "__main__":
    main()
