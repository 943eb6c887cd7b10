"""The model card: the model, its training data, its scores, and how to sample from it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import get_type_hints

from gankit import latent, models
from gankit.evaluation import records
from gankit.recipe import Recipe, flags
from gankit.runs.schema import Config, Origin
from gankit.runs.trained import Trained
from gankit.training import Settings
from gankit.training.settings import plan

PIPELINE = "unconditional-image-generation"
NAMES = {
    "cc0-1.0", "mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0", "gpl-3.0", "openrail",
}  # fmt: skip  # identifiers of the Hub; others are given as "other" with a name


def readme(trained: Trained, seeds: list[int], license: str = "") -> str:
    """The README.md of a hub folder, with the hub's header.

    Args:
        trained: the model.
        seeds: of samples.png.
        license: the licence; default: the source's, for an imported model, else it is stated to be unknown.
    """
    config = trained.config
    source = config.get("source")
    lines = ["---", *header(trained, license), "---", "", f"# {trained.folder.name}", ""]
    if not config.get("own"):
        paper = models.paper(config["model"])
        lines += [
            f"{config['model']}: {paper.authors}, [{paper.title}]({paper.url}), {paper.venue} {paper.year}.",
            "",
        ]
    version = config["history"][0]["versions"]["gankit"]
    first, last = seeds[0], seeds[-1]
    lines += [f"A generator of {description(trained.recipe)}, made with gankit {version}.", ""]
    lines += ["![samples](samples.png)", ""]
    lines += [f"Seeds {first} to {last}, not chosen: `gankit sample . --seeds {first}-{last} -o samples.png`.", ""]
    lines += USE + ["## Data and training", ""] + origin(trained)
    lines += ["", "## Metrics", "", *metrics_table(trained), "", "## Licence", ""]
    if source and not license:
        lines.append(source["terms"])
    else:
        unknown = "Not stated by whoever exported this model; ask them. (`gankit export ... --license` states it.)"
        lines.append(license or unknown)
    return "\n".join(lines) + "\n"


USE = [
    "## Use",
    "",
    "```python",
    "import gankit",
    "",
    'model = gankit.load("path/to/this/folder")',
    "model.sample(n=16, seed=0)  # images in [-1, 1]",
    "```",
    "",
    "`python inference.py 0 1 2` draws seeds into PNG files. The weights are safetensors: loading them runs no code.",
    "",
]


def header(trained: Trained, license: str) -> list[str]:
    """The lines of the header: library, licence, task and tags."""
    spec, source = trained.recipe.spec, trained.config.get("source")
    is_image = len(spec.shape) == 3
    lines = ["library_name: gankit", *licensed(license or (source["license"] if source else ""), source)]
    lines += [f"pipeline_tag: {PIPELINE}"] if is_image and not spec.condition_dim else []
    lines += ["tags:", "  - gan", f"  - {trained.config['model']}"]
    return [*lines, *(["  - image-generation"] if is_image else [])]


def origin(trained: Trained) -> list[str]:
    """The lines on the source of imported weights, or on the data and the training."""
    config = trained.config
    if source := config.get("source"):
        lines = [f"Imported from `{source['file']}` ({source['about']}), sha256 `{source['sha256']}`.", ""]
        lines += [f"- {note}" for note in source["notes"]]
        if source["not_in_it"]:
            lines.append(f"- Not in the source, so as first initialised: {', '.join(source['not_in_it'])}.")
        return lines
    data, settings = config["data"], config["settings"]
    return [
        f"Data: {data['name']}, {data['count']:,} samples, fingerprint `{data['fingerprint'][:16]}`.",
        "",
        f"Trained on {trained.images:,} images, batch {settings['batch']}, seed {settings['seed']}, "
        f"{settings['precision']}; config.json has all settings.",
        "",
        "```",
        training_command(trained),
        "```",
    ]


def training_command(trained: Trained) -> str:
    """The command that trains the model again on the same data: the flags that differ from the preset's."""
    config = published(trained.config)
    settings, arguments = plan(type(trained.recipe), config.get("preset", ""), {})
    usual = vars(settings) | arguments
    changed = {
        k: v
        for k, v in (config["settings"] | config["arguments"]).items()
        if k in usual and v != usual[k] and k != "data"
    }
    words = ["gankit", "train", config.get("own") or config["model"], "--data", config["settings"]["data"]]
    words += ["--preset", config.get("preset", "")] if config.get("preset", "") else []
    hints = get_type_hints(Settings) | get_type_hints(type(trained.recipe).__init__)
    return f"{shlex.join(words)} {flags(changed, hints)}".rstrip()


def published(config: Config) -> Config:
    """A run's config.json for publication: with names instead of paths on this machine, which may be private."""
    name, typed = config["data"]["name"], str(config["settings"]["data"])
    known = typed.split(":")[0] == name and not set("/\\") & set(typed)  # built in, like digits:test
    settings = config["settings"] | {"data": typed if known else name}
    return config | {"settings": settings, "own": Path(config.get("own") or "").name}


def licensed(name: str, source: Origin | None) -> list[str]:
    """The header's lines on the licence, in the hub's terms."""
    if name.lower() in NAMES:
        return [f"license: {name.lower()}"]
    if name and name != "other":
        return ["license: other", f'license_name: "{yaml_text(name)}"']
    return ["license: other", 'license_name: "see below"'] if source else []


def yaml_text(value: str) -> str:
    """Text escaped for a quoted string in a line of YAML."""
    return " ".join(value.replace("\\", "/").replace('"', "'").split())


def description(recipe: Recipe) -> str:
    """The kind, classes and shape of the samples, as text."""
    spec = recipe.spec
    shape = " x ".join(str(side) for side in spec.shape)
    classes = f" of {spec.num_classes} classes" if latent.takes_label(recipe) else ""
    return f"{'images' if len(spec.shape) == 3 else 'points'}{classes}, {shape}" + (
        f", given {spec.condition_dim} features each" if spec.condition_dim else ""
    )


def metrics_table(trained: Trained) -> list[str]:
    """A table of the latest record of each metric, or a line that there is none."""
    found = records.read(trained.folder / "evaluations.jsonl")
    latest = {
        (r["name"], str((r.get("real") or {}).get("name")), str((r.get("features") or {}).get("name"))): r
        for r in found
    }
    if not latest:
        return ["None were measured: `gankit evaluate` measures them."]
    rows = ["| metric | value | +- | samples | against | features |", "|---|---|---|---|---|---|"]
    for (name, real, features), r in sorted(latest.items()):
        error = "" if r.get("error") is None else f"{r['error']:.2g}"
        against, extractor = (text if text != "None" else "" for text in (real, features))
        cells = [name, f"{r['value']:.4g}", error, r.get("n_fake") or "", against, extractor]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return rows
