"""Every command and every Python block of the tutorials runs, in order, at the small sizes that the pages give."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from gankit import data
from tests import pages


def draw(folder, count: int, first: int = 0, defect: bool = False) -> None:
    """Pictures of drawn shapes, 40x40; a defect is a white bar."""
    folder.mkdir(parents=True)
    rows = data.open("shapes", 40).rows(np.arange(first, first + count))["real"]
    for number, row in enumerate(rows):
        picture = row.permute(1, 2, 0).numpy().copy()
        if defect:
            picture[18:22] = 255
        Image.fromarray(picture).save(folder / f"{number:04d}.png")


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder to work in, a home with pictures, and parts to inspect."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GANKIT_OFFLINE", "1")
    draw(tmp_path / "pics", 24)
    draw(tmp_path / "parts" / "train", 100)
    draw(tmp_path / "parts" / "normal", 20, 100)
    draw(tmp_path / "parts" / "test" / "good", 6, 120)
    draw(tmp_path / "parts" / "test" / "scratch", 6, 130, defect=True)
    return tmp_path


@pytest.mark.parametrize("page", sorted((pages.HOUSE / "docs" / "tutorials").glob("[a-z]*.md")), ids=lambda p: p.stem)
def test_a_tutorial_runs(page, desk):
    pages.run(pages.blocks(page), {"__name__": "tutorial"})
    for name in re.findall(r"<!-- writes: (.*?) -->", page.read_text(encoding="utf-8")):
        for path in name.split():
            assert list(desk.glob(path)), f"{page.name} says that {path} is written"
