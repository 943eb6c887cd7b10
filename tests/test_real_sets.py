"""Scripts that fetch real images and arrange them: what they write is read as what it is."""

import csv
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gankit import cli, data

SCRIPTS = Path(__file__).parents[1] / "scripts"
FIELDS = ("file", "name", "group", "tone")


def script(name):
    """A file of scripts/ as a module."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    """A folder as fetch_images.py writes it: 40 signs by two makers, every fourth of a person in two skin tones."""
    folder, random = tmp_path_factory.mktemp("fetched"), np.random.default_rng(0)
    rows = []
    for i in range(40):
        name, group = (f"woman {i}", "people") if i % 4 == 0 else (f"thing {i}", "objects")
        rows += [
            {"file": f"{i}{tone}.png", "name": name, "group": group, "tone": tone}
            for tone in ["", "1F3FB", "1F3FF"][: 3 if group == "people" else 1]
        ]
    for maker in ("emoji-google", "emoji-twitter"):
        for row in rows:
            path = folder / maker / row["group"] / row["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 255, (8, 8, 3), np.uint8)).save(path)
    with (folder / "emoji.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, FIELDS)
        table.writeheader()
        table.writerows(rows)
    script("emoji_sets").write_sets(folder)
    return folder


def test_each_set_of_emoji_is_read_as_what_it_is(fetched):
    kinds = {"pairs": "pairs", "domains": "domains", "captions": "captions", "people": "images", "tones": "images"}
    kinds |= {"shades": "images", "two-tones": "domains", "words": "captions"}
    for name, kind in kinds.items():
        path = fetched / f"emoji-{name}"
        assert data.open_as(path, data.Reading(), want=kind).kind == kind
    people = data.open(fetched / "emoji-people")
    assert people.attribute_names == ["light", "medium_light", "medium", "medium_dark", "dark", "woman", "man"]
    assert data.open_as(fetched / "emoji-captions", data.Reading(), want="captions").captions[0].split()[0] in (
        "woman",
        "thing",
    )


def test_no_sign_is_in_both_parts_or_in_both_domains_of_training(fetched):
    parts = [{p.name for p in (fetched / "emoji-pairs/A" / part).iterdir()} for part in ("train", "test")]
    assert parts[0] and parts[1] and not parts[0] & parts[1]
    sides = [{p.name for p in (fetched / "emoji-domains" / f"train{side}").iterdir()} for side in "AB"]
    assert all(sides) and not sides[0] & sides[1] and sides[0] | sides[1] == parts[0]
    with (fetched / "emoji-people/metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [{row["file_name"][:-9] for row in rows if row["split"] == part} for part in ("train", "test")]
    assert len(rows) == 20 and not names[0] & names[1]


def test_skin_tones_are_classes_numbers_domains_and_words(fetched):
    assert data.open(fetched / "emoji-tones").class_names == ["1-light", "5-dark"]
    shades = data.open(fetched / "emoji-shades", split="all")
    assert shades.attribute_names == ["tone"] and set(shades.attributes[:, 0].tolist()) == {0, 1}
    sides = [{p.name[:-9] for p in (fetched / "emoji-two-tones" / f"train{side}").iterdir()} for side in "AB"]
    assert all(sides) and not sides[0] & sides[1]
    with (fetched / "emoji-words/metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    texts = {part: {row["text"] for row in rows if row["split"] == part} for part in ("train", "test")}
    assert texts["test"] and not texts["test"] & texts["train"], "these words are never together in training"
    assert all(text.split()[-3:] in (["light", "skin", "tone"], ["dark", "skin", "tone"]) for text in texts["train"])


def test_sets_are_made_from_digits_clothes_emoji_and_photographs(fetched, tmp_path, monkeypatch):
    pytest.importorskip("skimage")
    derived = script("derived_sets")
    for name in ("mnist", "fashion-mnist"):
        for part, first in (("train", 100), ("t10k", 150)):
            images = np.zeros((20, 28, 28), np.uint8)
            images[:, 6:22, 8:20] = np.arange(first, first + 20, dtype=np.uint8)[:, None, None]
            derived.write_idx(fetched / name, part, images)
            labels = np.arange(20, dtype=np.uint8) % 10
            (fetched / name / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x14" + labels.tobytes())
    derived.write_edges(fetched)
    edges = data.open(f"{fetched}/mnist-edges/digits,{fetched}/mnist-edges/edges", want="domains")
    assert len(edges.a) == len(edges.b) == 10
    sides = [f"{fetched}/mnist-edges/{side}" for side in ("digits", "edges")]
    assert data.held_out_of(",".join(sides)) == ",".join(f"{side}:test" for side in sides)
    digit, edge = (side.rows(np.arange(1))["real"][0, 0].numpy() for side in (edges.a, edges.b))
    assert digit[12, 12] == 100 and digit[0, 0] == 0 and edge[12, 12] == 0 and edge[5, 12] == 110
    derived.write_trousers(fetched, 2)
    assert len(data.open(fetched / "trousers/good")) == 2
    defects = data.open(fetched / "trousers/damaged", want="masks").rows(np.arange(2))["mask"].flatten(1).sum(1)
    assert defects[0] == 0 and defects[1] >= 8
    monkeypatch.setattr(derived, "SCENES", {"train": 4, "test": 2})
    monkeypatch.setattr(derived, "part_of", lambda path: ("train", "test")[int(path.stem[0]) % 2])
    derived.write_scenes(fetched)
    scenes = data.open(fetched / "emoji-scenes", want="masks")
    assert len(scenes) == 4 and scenes.class_names == ["background", "emoji"]
    assert 0 < scenes.rows(np.arange(4))["mask"].float().mean() < 1
    derived.write_styles(fetched, 3)
    assert data.open(fetched / "styles").shape == (3, 64, 64)
    gallery = script("gallery")
    monkeypatch.setattr(gallery, "call", lambda *words: cli.main([w for w in words if w not in ("--time", "1s")]))
    flags = {"f_anogan": " --images 16 --gan-images 8 --width 8", "adain": " --images 8"}
    for name, more in flags.items():
        entry = gallery.BY_NAME[name]
        facts = gallery.finish(entry._replace(train=entry.train + more, metric=""), fetched, "1s", tmp_path)
        assert [line.split()[0] for line in facts["scores"]] == ["auroc", "pixel_auroc"][: 2 * (name == "f_anogan")]
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.width > 64


def test_the_outside_of_an_emoji_is_the_white_that_touches_its_edge(tmp_path):
    image = np.full((9, 9, 3), 255, np.uint8)
    image[2:7, 2:7] = 30
    image[4, 4] = 255
    Image.fromarray(image).save(tmp_path / "ring.png")
    _, inside = script("derived_sets").cut_out(tmp_path / "ring.png")
    assert (np.asarray(inside)[2:7, 2:7] == 255).all() and np.asarray(inside).astype(bool).sum() == 25


def test_a_folder_without_emoji_is_told_what_fetches_them(tmp_path):
    with pytest.raises(SystemExit, match=r"python scripts/fetch_images\.py"):
        script("emoji_sets").write_sets(tmp_path)


def test_the_gallery_s_page_has_what_is_finished_with_its_commands_and_says_what_is_not(fetched, tmp_path, monkeypatch):
    gallery = script("gallery")
    monkeypatch.setattr(gallery, "call", lambda *words: cli.main([w for w in words if w not in ("--time", "1s")]))
    small = {
        "dcgan-emoji": " --images 16",
        "singan": " --most 44 --scales 2 --width 6 --iterations 1",
        "pix2pix": " --images 16 --width 4",
        "stargan": " --images 16 --width 4 --blocks 1",
    }
    for name, flags in small.items():
        entry = gallery.BY_NAME[name]._replace(**{"metric": ""} if name == "stargan" else {})
        gallery.BY_NAME[name] = entry._replace(train=entry.train + flags, withheld="")
    gallery.BY_NAME["dcgan"] = gallery.BY_NAME["dcgan"]._replace(withheld="blots")
    gallery.BY_NAME["acgan"] = gallery.BY_NAME["acgan"]._replace(withheld="blots")
    kept, page = tmp_path / "runs", tmp_path / "docs" / "gallery.md"
    options = [str(fetched), "--time", "1s", "--out", str(kept), "--page", str(page)]
    gallery.main([*options, "--only", "dcgan-emoji,singan"])
    gallery.main([*options, "--only", "pix2pix,stargan"])
    text, finished = page.read_text(), json.loads((kept / "finished.json").read_text())
    assert set(finished) == set(small)
    for name, facts in finished.items():
        with Image.open(page.parent / "images" / "gallery" / f"{name}.png") as picture:
            assert picture.width > 64
        assert f"![{gallery.BY_NAME[name].text}](images/gallery/{name}.png)" in text and facts["seen"] in (2, 16)
    assert "gankit train dcgan --data SETS/emoji-google --resolution 64 --preset cpu --images 16 --time 1s\n" in text
    assert finished["pix2pix"]["scores"][0].startswith("l1 ") and "6 images (one seed)." in " ".join(text.split())
    rest = text.split("## Not shown")[1]
    assert "\n| [acgan](models/acgan.md) | blots |" in rest, "dcgan has another entry that is shown"
    assert "[biggan](models/biggan.md)" in rest and "| not run for this page yet |" in rest and "[singan]" not in rest


def test_a_picture_of_the_gallery_is_small_or_refused(monkeypatch):
    gallery = script("gallery")
    smooth = Image.fromarray(np.zeros((200, 200, 3), np.uint8))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8))
    assert len(gallery.small_png(smooth)) < 1000
    assert len(gallery.small_png(noise)) <= gallery.LARGEST < 200 * 200 * 3
    with pytest.raises(ValueError, match="draw fewer images"):
        gallery.small_png(noise.resize((800, 800)))
