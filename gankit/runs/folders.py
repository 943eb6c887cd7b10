"""Run folders by their names, found without torch so that a mistyped name is refused at once."""

from __future__ import annotations

import re
from pathlib import Path

from gankit.runs.schema import BadCheckpoint
from gankit.text import shown, suggest


def locate(name: str | Path, outdir: str | Path = "runs") -> Path:
    """A run folder, from its path, a unique beginning of its name in `outdir`, or "latest".

    Raises:
        ValueError: there is no such run, or several.
    """
    path = Path(name)
    if path.is_dir() and (path / "config.json").exists():
        return path
    if path.is_file():
        if path.name in ("config.json", "weights.safetensors", "state.safetensors"):
            return path.parent
        raise BadCheckpoint(
            f"{shown(path)} is no run folder. gankit reads its own run folders and never unpickles a file"
        )
    runs = sorted(p for p in Path(outdir).glob("*") if (p / "config.json").exists())
    if str(name) == "latest":
        if not runs:
            raise BadCheckpoint(f"there is no run in {outdir}; train one, or name its folder")
        return max(runs, key=lambda p: (p / "config.json").stat().st_mtime)
    found = [p for p in runs if p.name.startswith(str(name)) or re.sub(r"^0{1,4}", "", p.name).startswith(str(name))]
    if len(found) == 1:
        return found[0]
    if found:
        raise BadCheckpoint(f"{name} could be {', '.join(p.name for p in found)}: write more of the name")
    if path.is_dir():
        raise BadCheckpoint(f"{path} is no run folder: it has no config.json")
    raise BadCheckpoint(suggest("run", str(name), [p.name for p in runs]) + f" (looked in {outdir})")
