"""A trained model: averaged weights from a run folder, ready to sample."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from gankit import build, latent, pictures, processes
from gankit.html import figure, table
from gankit.recipe import Recipe
from gankit.runs import schema, texts
from gankit.runs.config import arguments_of, find_model, read_config, read_spec
from gankit.runs.files import read_tensors, reason
from gankit.runs.folders import locate
from gankit.runs.schema import BadCheckpoint, Config
from gankit.runs.state import not_finite, place


class Trained:
    """A trained model: averaged weights, in eval mode, without gradients.

    Attributes:
        recipe: the model, with its own methods (`noise`, `sample`, `encode` ...).
        config: the run's config.json.
        folder: the run folder.
        images: images that the weights were trained on.
    """

    def __init__(self, recipe: Recipe, config: Config, folder: Path, images: int):
        self.recipe, self.config, self.folder, self.images = recipe, config, folder, images

    def __repr__(self) -> str:
        name, on = self.config["model"], self.config["data"]["name"]
        return f"<Trained {self.folder.name}: {name} on {on}, {self.images:,} images>"

    def _repr_html_(self) -> str:
        counts = {name: sum(p.numel() for p in net.parameters()) for name, net in self.recipe.named_children()}
        facts: dict[str, object] = {"model": self.config["model"], "data": self.config["data"]["name"]}
        facts |= {"run": self.folder.name, "images seen": f"{self.images:,}"}
        facts |= {f"parameters of {name}": f"{count:,}" for name, count in counts.items() if count}
        if latent.draws_alone(self.recipe):
            return table("", facts) + figure(pictures.as_png(pictures.grid(self.sample(20))), "seeds 0 to 19")
        preview = max((p for p in self.folder.glob("fakes*.png") if p.is_file()), default=None)
        return table("", facts) + (figure(preview, "inputs and outputs, as training drew them") if preview else "")

    @property
    def domains(self) -> str:
        """The domains that a translator's weights generate: "ab", or one if an imported file had one generator."""
        absent = self.config.get("source", {}).get("not_in_it", [])
        return "".join(side for side in "ab" if self.recipe.domains.get(side) not in absent)

    def sample(
        self,
        n: int = 16,
        seed: int = 0,
        label: int | None = None,
        trunc: float = 1.0,
        condition: Tensor | None = None,
        text: str | list[str] = "",
        text_encoder: str = "",
    ) -> Tensor:
        """Samples of seeds `seed` to `seed + n - 1`: (n, C, H, W) in [-1, 1], or (n, D).

        Args:
            n: how many.
            seed: the first seed; seed s is the same sample whatever n is.
            label: the class, for models that learn from labels; default: each class in turn, by seed.
            trunc: below 1, latents nearer to the prior's mean: cleaner, and less diverse.
            condition: (M, condition_dim) features, for models conditioned on features; taken in turn, by seed.
            text: one text or several, taken in turn, by seed, for models conditioned on texts.
            text_encoder: path of the encoder that the run was trained with, if it was trained on vectors of texts.

        Raises:
            ValueError: the model cannot sample, or there is no such class.
        """
        caption = texts.codes(self.recipe, [text] if isinstance(text, str) else text, text_encoder) if text else None
        with torch.no_grad():
            samples = latent.sample(
                self.recipe, range(seed, seed + n), label=label, trunc=trunc, condition=condition, caption=caption
            )
        return pictures.as_samples(samples)


def load(
    path: str | Path,
    *,
    model: str | type[Recipe] | None = None,
    device: str = "auto",
    weights: str = "weights.safetensors",
) -> Trained:
    """A trained model from its run folder.

    Args:
        path: the folder, the unique beginning of its name in runs/, or "latest".
        model: the file or class of a model that is not gankit's own.
        device: auto, cpu, cuda or mps.
        weights: the file of weights in the folder.

    Raises:
        ValueError: there is no such run, or its files are damaged, swapped, or from a newer gankit.
    """
    folder = locate(path)
    config = read_config(folder)
    kind = find_model(config, model)
    file = folder / weights
    if not file.exists() and weights == "weights.safetensors":
        file = next(iter(folder.glob("model.safetensors")), file)  # as model hubs name it
    tensors, about = read_tensors(file)
    try:
        schema.check(about, schema.WEIGHTS)
    except schema.Wrong as error:
        raise BadCheckpoint(f"{file} is damaged, or holds no weights: {error}") from None
    if about["run"] != config["id"]:
        raise BadCheckpoint(f"{file} belongs to another run than config.json beside it: put the run's own weights back")
    if bad := not_finite(tensors):
        raise BadCheckpoint(
            f"{file}: {bad} is not finite, so the model cannot be used. Choose an earlier file with --weights, or "
            "train again"
        )
    try:
        recipe, missing, unexpected = build.from_tensors(kind, read_spec(config), arguments_of(config), tensors)
    except (TypeError, RuntimeError, ValueError) as error:
        raise BadCheckpoint(f"{folder} does not fit the model {config['model']}: {reason(error)}") from error
    left_out = about.get("left_out", [])  # networks that are not in an export for sampling
    missing = [k for k in missing if not k.endswith("_extra_state") and k.split(".")[0] not in left_out]
    if missing or unexpected:
        raise BadCheckpoint(f"{file} does not fit {config['model']}: {', '.join([*missing, *unexpected][:5])} ...")
    settings = config["settings"]
    dtype = torch.float64 if settings["precision"] == "fp64" else torch.float32
    recipe.requires_grad_(False).eval()
    place(recipe, processes.pick(device), dtype, settings["batch"])
    return Trained(recipe, config, folder, about["images"])
