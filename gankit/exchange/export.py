"""Export of trained generators: safetensors with a config, ONNX, torch.export, or a folder for a model hub.

Each export is compared with the model on random latents before it is kept.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import json
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gankit import latent, pictures
from gankit.exchange import card
from gankit.recipe import Recipe, can
from gankit.runs.files import replacing, write_tensors, write_text
from gankit.runs.state import weights_of
from gankit.runs.trained import Trained, load
from gankit.text import suggest

FORMS = ("safetensors", "onnx", "torch.export", "hub-folder")
CLOSE = 1e-3  # the largest difference of a sample in [-1, 1]: an eighth of a step of 8-bit pixels
SCRIPT = '''"""Draw samples of this model: python inference.py [SEED ...]

Needs gankit, which needs torch; runs no code of this folder's.
"""

import sys
from pathlib import Path

import gankit
from gankit import pictures

model = gankit.load(Path(__file__).parent)
for seed in map(int, sys.argv[1:] or ["0"]):
    pictures.save(Path(f"seed{seed:04d}.png"), model.sample(1, seed=seed))
'''


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        path: the file or folder.
        inputs: names and shapes of its inputs, as text.
        latents: the number of random latents that were compared.
        difference: the largest absolute difference of the samples, which are in [-1, 1].
    """

    path: Path
    inputs: str
    latents: int
    difference: float


class Sampler(nn.Module):
    """The `sample` of a recipe as the forward pass of a module whose only inputs are latents and conditions.

    Spectral norms are applied to the weights once; counters of the recipe, like the level of a growing network, become
    constants.

    Args:
        recipe: a model that samples.
    """

    def __init__(self, recipe: Recipe):
        super().__init__()
        self.recipe = copy.deepcopy(recipe).cpu().float().eval().requires_grad_(False)
        for module in [m for m in self.recipe.modules() if parametrize.is_parametrized(m)]:
            with torch.no_grad():
                weights = {
                    name: getattr(module, name).clone()
                    for name, _ in module.get_submodule("parametrizations").named_children()
                }
            # torch's remove_parametrizations would change the class, which a copy shares with the model
            module.__class__ = type(module).__bases__[0]
            del module.parametrizations
            for name, weight in weights.items():
                module.register_parameter(name, nn.Parameter(weight, requires_grad=False))
        for name, value in list(self.recipe._buffers.items()):
            if value is not None and (value.ndim == 0 or not value.is_floating_point()):
                del self.recipe._buffers[name]
                setattr(self.recipe, name, value.tolist())
        self.requires_grad_(False)

    def forward(self, z: Tensor, given: Tensor | None = None) -> Tensor:
        """(N, z_dim) latents, and (N,) labels or (N, condition_dim) features if the model takes them, to samples."""
        return self.recipe.sample(z) if given is None else self.recipe.sample(z, given)


def export(trained: Trained, form: str, output: str | Path = "", count: int = 16, license: str = "") -> Exported:
    """Export a trained generator, and compare the export with the model.

    Args:
        trained: a model from `gankit.load`.
        form: one of FORMS.
        output: the file or folder to write; default: one named after the run, in `out`.
        count: number of random latents to compare, those of seeds 0 to count - 1.
        license: the licence for the card of a hub folder; default: an imported model's own.

    Raises:
        ValueError: the model does not draw from noise, the path exists, a package is missing, or the export draws other
            samples.
        OSError: it cannot be written.
    """
    if form not in FORMS:
        raise ValueError(suggest("form", form, list(FORMS)))
    if count < 1:
        raise ValueError(f"{count} latents to compare on; give at least 1")
    recipe = trained.recipe
    if not can(recipe, "sample") or not can(recipe, "noise"):
        raise ValueError(
            f"{trained.config['model']} does not draw from noise, so there is no generator to export; "
            f"its weights are {trained.folder}/weights.safetensors"
        )
    ending = {"safetensors": "", "onnx": ".onnx", "torch.export": ".pt2", "hub-folder": "-hub"}[form]
    path = Path(output).expanduser() if output else Path("out") / f"{trained.folder.name}{ending}"
    if os.path.lexists(path):
        raise ValueError(f"{path} is there already and is not overwritten: name another with -o, or delete it")
    if form == "onnx":
        need("onnx", "onnxscript", "onnxruntime")
    path.parent.mkdir(parents=True, exist_ok=True)
    inputs = examples(recipe, count)
    with torch.no_grad():
        expected = recipe.sample(*(rows.to(device_of(recipe)) for rows in inputs)).float().cpu()
    try:
        draw = WRITERS[form](trained, path, inputs, license)
        with torch.no_grad():
            parts = [draw(*(rows[i : i + 5] for rows in inputs)) for i in range(0, count, 5)]
        difference = float((torch.cat(parts).float().cpu() - expected).abs().max())
        if not difference <= CLOSE:
            raise ValueError(
                f"the {form} export gives samples that differ by up to {difference:.3g} from the model's, "
                f"on {count} latents; it was deleted"
            )
    except BaseException:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        raise
    return Exported(path, input_text(recipe, *inputs), count, difference)


def input_text(recipe: Recipe, z: Tensor, given: Tensor | None = None) -> str:
    """Names and shapes of an export's inputs."""
    text = f"z (N, {z.shape[1]}) float32"
    if given is None:
        return text
    if given.ndim == 1:
        return f"{text}, label (N,) int64 below {recipe.spec.num_classes}"
    return f"{text}, condition (N, {given.shape[1]}) float32"


def device_of(recipe: Recipe) -> torch.device:
    return next(recipe.parameters()).device


def need(*packages: str) -> None:
    """Check that packages are installed.

    Raises:
        ValueError: one is missing; says what to install.
    """
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        raise ValueError(
            f"this export needs {', '.join(missing)}: pip install 'gankit[onnx]', or pip install {' '.join(missing)}"
        )


def examples(recipe: Recipe, count: int) -> list[Tensor]:
    """The latents of seeds 0 to count - 1, followed by their labels or features if the model takes them."""
    seeds = range(count)
    z = latent.latents(recipe, seeds).cpu().float()
    if recipe.spec.condition_dim:
        return [z, torch.randn(count, recipe.spec.condition_dim, generator=torch.Generator().manual_seed(0))]
    label = latent.labels(recipe, seeds)
    return [z] if label is None else [z, label.cpu()]


# Each function writes one form, and returns a function from latents to the export's samples --------------------------


def write_weights(trained: Trained, path: Path, inputs: list[Tensor], license: str) -> Callable[..., Tensor]:
    """A folder with config.json and the weights that samples need."""
    return write_folder(trained, path, "weights.safetensors", unused(trained.recipe, inputs))


def write_folder(trained: Trained, path: Path, name: str, left_out: list[str]) -> Callable[..., Tensor]:
    """Write a folder that `gankit.load` takes."""
    path.mkdir(parents=True, exist_ok=True)
    tensors = {key: value for key, value in weights_of(trained.recipe).items() if key.split(".")[0] not in left_out}
    config = trained.config
    write_tensors(
        path / name,
        tensors,
        {"run": config["id"], "images": trained.images, "model": config["model"], "left_out": left_out},
    )
    write_text(path / "config.json", json.dumps(card.published(config), indent=2))
    return load(path, model=type(trained.recipe), device="cpu", weights=name).recipe.sample


def write_program(trained: Trained, path: Path, inputs: list[Tensor], license: str) -> Callable[..., Tensor]:
    """A program of torch.export, .pt2."""
    program = trace(trained.recipe, inputs)
    with replacing(path) as temporary, open(temporary, "wb") as file, quiet():
        torch.export.save(program, file)
    with open(path, "rb") as file:
        return torch.export.load(file).module()


def write_onnx(trained: Trained, path: Path, inputs: list[Tensor], license: str) -> Callable[..., Tensor]:
    """An ONNX file, which onnxruntime runs."""
    import onnxruntime

    names = ["z", *("label" if given.ndim == 1 else "condition" for given in inputs[1:])]
    program = trace(trained.recipe, inputs)
    with replacing(path) as temporary, quiet():
        done = torch.onnx.export(program, input_names=names, output_names=["samples"], dynamo=True, verbose=False)
        assert done is not None  # with dynamo=True there is a program
        done.save(temporary, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def draw(*inputs: Tensor) -> Tensor:
        (out,) = session.run(None, {item.name: rows.numpy() for item, rows in zip(session.get_inputs(), inputs)})
        return torch.from_numpy(np.ascontiguousarray(out))

    return draw


def write_hub(trained: Trained, path: Path, inputs: list[Tensor], license: str) -> Callable[..., Tensor]:
    """A folder for a model hub: all weights, config, model card, samples and a script."""
    path.mkdir(parents=True, exist_ok=True)
    recipe, seeds = trained.recipe, list(range(min(32, pictures.cells(trained.recipe.spec.shape))))
    condition = inputs[1] if recipe.spec.condition_dim else None
    pictures.save(path / "samples.png", latent.sample(recipe, seeds, condition=condition))
    write_text(path / "README.md", card.readme(trained, seeds, license))
    write_text(path / "inference.py", SCRIPT)
    return write_folder(trained, path, "model.safetensors", [])


WRITERS = {"safetensors": write_weights, "onnx": write_onnx, "torch.export": write_program, "hub-folder": write_hub}


def trace(recipe: Recipe, inputs: list[Tensor]) -> torch.export.ExportedProgram:
    """The recipe's `sample` as a program for any number of rows.

    Raises:
        ValueError: torch cannot trace it.
    """
    two = torch.arange(2) % len(inputs[0])  # with one row the tracer would make the number of rows a constant
    sampler, pairs = Sampler(recipe), tuple(rows[two] for rows in inputs)
    shapes = tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs)
    with torch.no_grad(), quiet():
        try:  # strict tracing keeps len(z) dynamic; the other mode supports more code, but may make it a constant
            return torch.export.export(sampler, pairs, dynamic_shapes=shapes, strict=True)
        except Exception as error:
            try:
                return torch.export.export(sampler, pairs, dynamic_shapes=shapes, strict=False)
            except Exception:
                raise ValueError(f"torch cannot trace this model's sample(): {str(error).splitlines()[0]}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """A context without the warnings and logs of the exporters."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def unused(recipe: Recipe, inputs: list[Tensor]) -> list[str]:
    """The networks that samples do not need; none if the model has other abilities, too."""
    if set(recipe.abilities()) - {"sample"}:
        return []
    used: set[str] = set()
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: used.add(name))
        for name, child in recipe.named_children()
        for module in child.modules()
    ]
    try:
        with torch.no_grad():
            recipe.sample(*(rows[:2].to(device_of(recipe)) for rows in inputs))
    finally:
        for hook in hooks:
            hook.remove()
    return [name for name, _ in recipe.named_children() if name not in used]
