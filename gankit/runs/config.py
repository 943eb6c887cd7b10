"""Run folders and their config.json: what was trained on what, and how."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import platform
import re
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch

import gankit
from gankit import data, models, processes
from gankit.recipe import Recipe, Spec, can
from gankit.runs import schema
from gankit.runs.files import FORMAT, refuse_newer, write_text
from gankit.runs.schema import BadCheckpoint, Config
from gankit.text import shown

Data = data.Dataset | data.Domains | data.Union


def versions() -> dict[str, str]:
    return {
        "gankit": gankit.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def history_entry(images: int, changed: dict[str, list[object]]) -> schema.Entry:
    return {"images": images, "time": time.strftime("%Y-%m-%d %H:%M:%S"), "changed": changed, "versions": versions()}


def new_config(
    kind: type[Recipe],
    preset: str,
    arguments: dict[str, object],
    settings: dict[str, object],
    spec: Spec,
    dataset: Data,
) -> Config:
    """The content of config.json: enough to use the weights, to go on, and to repeat the run."""
    facts: schema.Facts = {
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "count": len(dataset),
        "classes": list(dataset.class_names),
    }
    if (colours := getattr(dataset, "colours", None)) is not None:  # of the classes of label maps
        facts["colours"] = colours.tolist()
    return {
        "format": FORMAT,
        "id": uuid.uuid4().hex,
        "model": models.name_of(kind),
        "own": models.own_file(kind),
        "preset": preset,
        "arguments": arguments,
        "settings": cast(schema.SettingsOfConfig, settings),
        "spec": cast(schema.Shapes, dataclasses.asdict(spec)),
        "data": facts,
        "preview": "strips" if can(kind, "strip") else "samples",
        "processes": processes.world(),
        "images": 0,
        "history": [history_entry(0, {})],
    }


def new_folder(outdir: Path, kind: type[Recipe], data_name: str, desc: str, config: Config) -> Path:
    """Make the next numbered run folder, such as runs/00007-dcgan-digits, with its config."""
    clean = re.sub(r"[^\w.]+", "-", "-".join(filter(None, [models.name_of(kind), data_name, desc]))).strip("-")
    try:
        outdir.mkdir(parents=True, exist_ok=True)
        while True:
            taken = [int(p.name[:5]) for p in outdir.iterdir() if re.match(r"\d{5}-", p.name)]
            folder = outdir / f"{max(taken, default=-1) + 1:05d}-{clean}"
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                break
    except OSError as error:
        raise OSError(
            f"cannot make a run folder in {outdir}: {error.strerror}. Choose another with --outdir"
        ) from error
    write_text(folder / "config.json", json.dumps(config, indent=2))
    return folder


def find_unfinished(outdir: Path, config: Config, free: frozenset[str] = frozenset()) -> Path | None:
    """The newest run in `outdir` with this configuration that has not reached its end (to go on after a restart).

    Settings and arguments of the names in `free` may differ.
    """
    for folder in sorted(outdir.glob("[0-9]*-*"), reverse=True):
        with contextlib.suppress(BadCheckpoint):
            found = read_config(folder)
            if identity(found, free) == identity(config, free):
                return folder if found["images"] < found["settings"]["images"] else None
    return None


def identity(config: Config, free: frozenset[str] = frozenset()) -> str:
    """What a run and its restart have in common, without the settings and arguments in `free`."""
    options = [{k: v for k, v in config[part].items() if k not in free} for part in ("arguments", "settings")]
    return json.dumps([config["model"], *options, config["spec"], config["data"]])


def write_config(folder: Path, config: Config) -> None:
    """Write config.json, from process 0."""
    if not processes.rank():
        write_text(folder / "config.json", json.dumps(config, indent=2))


def read_config(folder: Path) -> Config:
    """A run folder's config.

    Raises:
        BadCheckpoint: there is none, it is damaged, or it is from a newer gankit.
    """
    path = folder / "config.json"
    try:
        config = cast(Config, schema.parse(schema.text_of(path), {"format": schema.Whole(), ...: schema.ANY}))
        refuse_newer(config["format"], path)
        schema.check(config, schema.CONFIG)
    except FileNotFoundError:
        raise BadCheckpoint(f"{folder} is no run folder: it has no config.json") from None
    except (schema.Wrong, OSError) as error:
        raise BadCheckpoint(f"{path} is damaged, or not a gankit run's: {error}") from None
    if not config["history"]:
        raise BadCheckpoint(f"{path} is damaged: its history is empty")
    return config


def read_spec(config: Config) -> Spec:
    """What the run's model knows of its data.

    Raises:
        BadCheckpoint: no data has such a shape.
    """
    spec = Spec(**with_tuples(config["spec"]))  # type: ignore[arg-type]  # schema.SPEC has checked the fields
    pairs = ((spec.shape, (1, 3)), (spec.other, (0, 1, 3)))
    if any(len(shape) not in lengths or math.prod(shape) > 2**31 for shape, lengths in pairs):
        raise BadCheckpoint(f"config.json has data of shape {spec.shape} and {spec.other}; expected (C, H, W) or (D,)")
    return spec


RENAMED = {"anogan": {"patience": "search_patience"}}  # arguments of models, by their names in runs of older versions


def arguments_of(config: Config) -> dict[str, object]:
    """The model's arguments, by their present names."""
    names = RENAMED.get(config["model"], {})
    return with_tuples({names.get(name, name): value for name, value in config["arguments"].items()})


def with_tuples(fields: Mapping[str, object]) -> dict[str, object]:
    """The fields with tuples for lists, as which JSON stores them."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}


def find_model(config: Config, model: str | type[Recipe] | None) -> type[Recipe]:
    """The class of a run's model: one of gankit's, or the caller's class, or the one in a file that the caller names.

    config.json gives a name, never a path, so that the author of a run folder cannot execute a file.

    Raises:
        BadCheckpoint: the model is not gankit's own, and the caller does not name its file.
    """
    if isinstance(model, type):
        return model
    if model:
        return models.find(model)
    if config.get("own") or config["model"] not in models.names():
        file = shown(config.get("own") or "its file")
        raise BadCheckpoint(
            f"this run's model {shown(config['model'])} is not gankit's own. To run the code of its file, name it: "
            f"--model {file}"
        )
    return models.find(config["model"])
