"""Hooks of mkdocs (see mkdocs.yml): the navigation, derived from the files in docs/, and the list of models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))
from gankit import models  # noqa: E402  the repository's own, installed or not

if TYPE_CHECKING:
    from mkdocs.structure.pages import Page

DOCS = Path(__file__).parents[1] / "docs"
GUIDE = ["data", "runs", "metrics", "explore", "translate", "anomalies", "augmentation", "weights"]
GUIDE += ["benchmarks", "gallery"]


def pages(folder: str) -> list[str]:
    """The pages of a folder, its README first."""
    names = sorted(path.name for path in (DOCS / folder).glob("*.md"))
    return [f"{folder}/{name}" for name in sorted(names, key=lambda name: name != "README.md")]


def on_config(config: dict) -> dict:
    """Set the navigation: the guide in reading order, every other folder by its files."""
    top = {path.stem for path in DOCS.glob("*.md")} - {"README", *GUIDE}
    config["nav"] = [
        {"gankit": "README.md"},
        {"Tutorials": pages("tutorials")},
        {"Guide": [f"{name}.md" for name in GUIDE]},
        {"Lab": pages("lab")},
        {"Models": pages("models")},
        {"API": pages("api")},
        {"Project": [f"{name}.md" for name in sorted(top)]},
    ]
    return config


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Add the list of models to their page."""
    if page.file.src_uri != "models/README.md":
        return markdown
    rows = [
        f"| [{name}]({name}.md) | {paper.authors} | [{paper.title}]({paper.url}) | {paper.venue} {paper.year} |"
        for name, paper in ((name, models.paper(name)) for name in models.names())
    ]
    return "\n".join([markdown, "| model | authors | paper | venue |", "|---|---|---|---|", *rows]) + "\n"
