"""A hook of mkdocs (see mkdocs.yml): the site's navigation, derived from the files in docs/."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
GUIDE = ["data", "runs", "metrics", "explore", "translate", "anomalies", "augmentation", "weights", "benchmarks"]


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
        {"Models": pages("models")},
        {"API": pages("api")},
        {"Project": [f"{name}.md" for name in sorted(top)]},
    ]
    return config
