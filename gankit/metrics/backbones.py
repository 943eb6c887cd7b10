"""Backbones for feature extraction from the user's own timm and torch.hub; nothing is downloaded for them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from torch import nn

from gankit.metrics import vgg
from gankit.text import did_you_mean
from gankit.weights import refuse_not_asked, tensors

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
DINOV2 = ("vits14", "vitb14", "vitl14", "vitg14")


class Backbone(NamedTuple):
    """A pretrained network and its preprocessing.

    Args:
        net: (N, 3, size, size) to (N, d) features.
        size: side of its images; None for any.
        resize: "bicubic" or "bilinear".
        mean, std: of images in [0, 1].
    """

    net: nn.Module
    size: int | None
    resize: str
    mean: float | Sequence[float]
    std: float | Sequence[float]


def load_timm(name: str) -> Backbone:
    """The backbone timm:NAME with the weights that timm has on this machine.

    Raises:
        ValueError: timm or the weights are missing, or timm has no such model.
        NotAsked: inside of `weights.not_asked`.
    """
    refuse_not_asked(f"{name} runs the code of the timm that is installed")
    model = name.removeprefix("timm:")
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        raise ValueError(f"{name} needs timm, which cannot be imported: {error}. pip install timm") from error
    if not timm.is_model(model):
        hint = did_you_mean(name, (f"timm:{known}" for known in timm.list_models()), 1)
        raise ValueError(f"the installed timm has no model {model!r}; {hint}".removesuffix("; "))
    source = {"file": str(_timm_weights(timm, model)), "custom_load": False}
    net = timm.create_model(model, pretrained=True, pretrained_cfg_overlay=source, num_classes=0)
    config = timm.data.resolve_model_data_config(net)
    resize = "bilinear" if config["interpolation"] == "bilinear" else "bicubic"
    return Backbone(net, config["input_size"][-1], resize, config["mean"], config["std"])


def _timm_weights(timm: ModuleType, model: str) -> Path:
    """The weights of a timm model on this machine, in safetensors."""
    config = timm.get_pretrained_cfg(model)
    if config is not None and config.hf_hub_id:
        hub = importlib.import_module("huggingface_hub")  # timm depends on it
        repository, _, revision = config.hf_hub_id.partition("@")
        own = Path(config.hf_hub_filename or "model.safetensors").with_suffix(".safetensors").name
        for file in dict.fromkeys((own, "model.safetensors", "open_clip_model.safetensors")):
            path = hub.try_to_load_from_cache(repository, file, revision=revision or None)
            if isinstance(path, str):
                return Path(path)
    raise ValueError(
        f"timm:{model} needs its weights in safetensors on this machine, and gankit downloads none for it. Run once: "
        f"python -c \"import timm; timm.create_model('{model}', pretrained=True)\""
    )


def load_dinov2(name: str) -> Backbone:
    """The backbone dinov2:NAME from the code and weights in torch.hub's folder.

    Raises:
        ValueError: there is no such model, or its code or weights are missing.
        NotAsked: inside of `weights.not_asked`.
    """
    refuse_not_asked(f"{name} runs the code in torch.hub's folder")
    model = name.removeprefix("dinov2:")
    if model not in DINOV2:
        raise ValueError(f"there is no dinov2 {model!r}; there are {', '.join(DINOV2)}")
    code = Path(torch.hub.get_dir()) / "facebookresearch_dinov2_main"
    file = Path(torch.hub.get_dir()) / "checkpoints" / f"dinov2_{model}_pretrain.pth"
    for path in (code, file):
        if not path.exists():
            raise ValueError(
                f"{name} needs {path}, which is not there; gankit downloads no code. Run once: "
                f"python -c \"import torch; torch.hub.load('facebookresearch/dinov2', 'dinov2_{model}')\""
            )
    net = torch.hub.load(str(code), f"dinov2_{model}", source="local", pretrained=False)
    net.load_state_dict(tensors(file), strict=True)
    return Backbone(net, vgg.SIDE, "bicubic", *IMAGENET)
