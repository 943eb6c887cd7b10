"""What `gankit data` shows: counts, classes and contact sheets; and errors about data of another kind."""

import numpy as np
import pytest
from picture_files import (
    CLASSES,
    COLOURS,
    SIGNS,
    VOID,
    celeba,
    faces,
    labelled,
)
from PIL import Image

from gankit import cli, data

pytestmark = pytest.mark.usefixtures("fresh_cache")


def sheet_of(tmp_path, *words):
    cli.main(["data", *map(str, words), "--sheet", str(tmp_path / "sheet.png")])
    return np.asarray(Image.open(tmp_path / "sheet.png"))


def cell(sheet, row, height, width, scale, column=0):
    y, x = row * (height * scale + 2) + 1, column * (width * scale + 2) + 1
    return sheet[y : y + height * scale : scale, x : x + width * scale : scale]


def test_pairs_are_shown_a_above_b(two, tmp_path, capsys):
    (two / "A" / "alone.png").write_bytes((two / "A" / "0.png").read_bytes())
    sheet = sheet_of(tmp_path, two, "--as", "pairs", "--skip-bad")
    said = capsys.readouterr().out
    assert (
        "5 pairs of images" in said
        and "A/alone.png: has no partner in B" in said
        and "3 x 16 x 20 and 1 x 16 x 20 each" in said
    )
    rows = next(data.open(two, want="pairs", skip_bad=True).stream(0, 50))
    for row, (side, i) in enumerate([("a", 0), ("b", 0), ("a", 10), ("b", 10)]):
        expected = rows[side][i].expand(3, -1, -1).permute(1, 2, 0).numpy()
        assert np.array_equal(cell(sheet, row, 16, 20, 3), expected)
    report = data.describe(two, want="pairs")
    assert (report.count, report.kind, report.other, report.modes) == (
        5,
        "pairs",
        (1, 16, 20),
        {"RGB": 5, "L": 5},
    ) and len(report.bad) == 1
    (two / "B" / "0.bmp").write_bytes((two / "B" / "0.bmp").read_bytes()[:200])
    report = data.describe(two, want="pairs")
    assert report.count == 4 and {name for name, _ in report.bad} == {"A/alone.png", "B/0.bmp"}


def test_label_maps_are_shown_below_their_images_in_colours(tmp_path, capsys):
    root = labelled(tmp_path / "set", [(VOID, COLOURS + [(9, 9, 9)] * 253)])
    sheet = sheet_of(tmp_path, root)
    said = capsys.readouterr().out
    share = (VOID == 1).mean()
    assert (
        "1 images with label maps" in said and f"1 {share:.1%}" in said and f"void {(VOID == 255).mean():.1%}" in said
    )
    rows = next(data.open(root).stream(0, 50))
    assert np.array_equal(cell(sheet, 0, 8, 12, 5), rows["real"][0].permute(1, 2, 0).numpy())
    assert np.array_equal(
        cell(sheet, 1, 8, 12, 5), np.concatenate([COLOURS, [(255, 255, 255)]])[np.where(VOID == 255, 3, VOID)]
    )
    as_pairs = data.describe(root, want="pairs")
    assert (as_pairs.kind, as_pairs.shape, as_pairs.other) == ("pairs", (3, 8, 12), (3, 8, 12)) and as_pairs.pixels
    report = data.describe(root)
    assert report.pixels == {"0": (VOID == 0).mean(), "1": share, "2": (VOID == 2).mean(), "void": (VOID == 255).mean()}


def test_attributes_are_shown_with_their_means_and_joined_sets_in_turn(tmp_path, capsys):
    celeba(faces(tmp_path / "celeba") / "list_attr_celeba.txt")
    for kind in ("angry", "happy"):
        faces(tmp_path / "moods" / kind, 1 if kind == "angry" else 3)
    name = f"{tmp_path}/celeba+{tmp_path}/moods"
    sheet = sheet_of(tmp_path, name)
    said = capsys.readouterr().out
    mean = (SIGNS[:6, 1] > 0).mean()
    assert (
        "joined sets: celeba (6), moods (4)" in said
        and f"celeba: Male {mean:.3g}" in said
        and "moods: happy 0.75" in said
    )
    assert data.describe(tmp_path / "celeba").attributes["Male"] == mean
    batches = data.open(name).stream(0, 50)
    for row in range(4):
        expected = batches.at(row % 2)["real"][10 * (row // 2)].permute(1, 2, 0).numpy()
        assert np.array_equal(cell(sheet, row, 8, 8, 8), expected)


@pytest.mark.parametrize(
    "want, said",
    [
        ("masks", "holds images. Images with label maps are"),
        ("domains", "holds images. Two domains are"),
        ("pairs", "no pairs side by side"),
    ],
)
def test_what_cannot_be_read_as_asked_is_said(tmp_path, capsys, want, said):
    faces(tmp_path / "pics", 2)
    with pytest.raises(SystemExit):
        cli.main(["data", str(tmp_path / "pics"), "--as", want, "--sheet", ""])
    assert said in capsys.readouterr().err


def test_models_say_how_their_data_is_laid_out(tmp_path, two):
    from gankit import models
    from gankit.training import Settings
    from gankit.training.setup import check_data

    root = labelled(tmp_path / "set", [CLASSES])
    with pytest.raises(
        ValueError,
        match=f"dcgan learns from images.*holds masks. For its images alone type --data {root}/images",
    ):
        check_data(models.find("dcgan"), data.open(root), Settings(data=str(root)))
    with pytest.raises(
        ValueError,
        match="unet learns from masks; digits holds images. "
        "Images with label maps are a folder with images/ and masks/",
    ):
        check_data(models.find("unet"), data.open("digits"), Settings(data="digits"))
