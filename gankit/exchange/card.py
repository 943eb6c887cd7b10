"""The card of a model: what it is, what it learned from, how good it was measured to be, and how to draw from it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import get_type_hints

from gankit import latent, models
from gankit.evaluation import records
from gankit.recipe import Recipe, flags
from gankit.runs.trained import Trained
from gankit.training import Settings
from gankit.training.setup import plan

PIPELINE = "unconditional-image-generation"
NAMES = {
    "cc0-1.0", "mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0", "gpl-3.0", "openrail",
}  # fmt: skip  # of the Hub's list; another one is "other", with its name


def text(trained: Trained, seeds: list[int], license: str = "") -> str:
    """README.md of a model hub's folder, with the hub's header.

    Args:
        trained: the model.
        seeds: of samples.png.
        license: its licence; the source's own for an imported model, and said to be unknown without either.
    """
    config, spec = trained.config, trained.recipe.spec
    name, source = config["model"], config.get("source")
    known = license or (source["license"] if source else "")
    header = ["library_name: gankit", *licensed(known, source)]
    header += [f"pipeline_tag: {PIPELINE}"] if len(spec.shape) == 3 and not spec.condition_dim else []
    header += ["tags:", "  - gan", f"  - {name}", *(["  - image-generation"] if len(spec.shape) == 3 else [])]
    lines = ["---", *header, "---", "", f"# {trained.folder.name}", ""]
    if not config.get("own"):
        paper = models.paper(name)
        lines += [f"{name}: {paper.authors}, [{paper.title}]({paper.url}), {paper.venue} {paper.year}.", ""]
    lines += [
        f"A generator of {described(trained.recipe)}, made with gankit {config['history'][0]['versions']['gankit']}.",
        "",
    ]
    lines += [
        "![samples](samples.png)",
        "",
        f"Seeds {seeds[0]} to {seeds[-1]}, not chosen: `gankit sample . --seeds {seeds[0]}-{seeds[-1]} -o samples.png`.",
        "",
    ]
    lines += [
        "## Use",
        "",
        "```python",
        "import gankit",
        "",
        'model = gankit.load("path/to/this/folder")',
        "model.sample(n=16, seed=0)  # images in [-1, 1]",
        "```",
        "",
    ]
    lines += [
        "`python inference.py 0 1 2` draws seeds into PNG files. The weights are safetensors: loading them runs no code.",
        "",
    ]
    lines += ["## Data and training", ""]
    if source:
        lines += [f"Imported from `{source['file']}` ({source['about']}), sha256 `{source['sha256']}`.", ""]
        lines += [f"- {note}" for note in source["notes"]]
        lines += (
            [f"- Not in the source, so as first initialised: {', '.join(source['not_in_it'])}."]
            if source["not_in_it"]
            else []
        )
    else:
        data, settings = config["data"], config["settings"]
        lines += [f"Data: {data['name']}, {data['count']:,} samples, fingerprint `{data['fingerprint'][:16]}`.", ""]
        lines += [
            f"Trained on {trained.images:,} images, batch {settings['batch']}, seed {settings['seed']}, {settings['precision']}; config.json has all settings.",
            "",
            "```",
            command(trained),
            "```",
        ]
    lines += ["", "## Metrics", "", *metrics(trained), "", "## Licence", ""]
    lines += [
        source["terms"]
        if source and not license
        else known or "Not stated by whoever exported this model; ask them. (`gankit export ... --license` states it.)"
    ]
    return "\n".join(lines) + "\n"


def command(trained: Trained) -> str:
    """The command that trains the model again, on the same data: flags that differ from the preset's."""
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


def published(config: dict) -> dict:
    """A run's config.json for others to see: names in place of paths on this machine, which may say more than one would."""
    name, typed = config["data"]["name"], str(config["settings"]["data"])
    known = typed.split(":")[0] == name and not set("/\\") & set(typed)  # built in, like digits:test
    settings = config["settings"] | {"data": typed if known else name}
    return config | {"settings": settings, "own": Path(config.get("own") or "").name}


def licensed(name: str, source: dict | None) -> list[str]:
    """The header's lines on the licence, in the hub's words."""
    if name.lower() in NAMES:
        return [f"license: {name.lower()}"]
    if name and name != "other":
        return ["license: other", f'license_name: "{plain(name)}"']
    return ["license: other", 'license_name: "see below"'] if source else []


def plain(value: str) -> str:
    """Text that a line of YAML between quotes can hold."""
    return " ".join(value.replace("\\", "/").replace('"', "'").split())


def described(recipe: Recipe) -> str:
    spec = recipe.spec
    shape = " x ".join(str(side) for side in spec.shape)
    classes = f" of {spec.num_classes} classes" if latent.takes_label(recipe) else ""
    return f"{'images' if len(spec.shape) == 3 else 'points'}{classes}, {shape}" + (
        f", given {spec.condition_dim} features each" if spec.condition_dim else ""
    )


def metrics(trained: Trained) -> list[str]:
    """A table of the latest record of each score, or a line that there is none."""
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
        rows.append(
            f"| {name} | {r['value']:.4g} | {error} | {r.get('n_fake') or ''} | {real if real != 'None' else ''} | {features if features != 'None' else ''} |"
        )
    return rows
