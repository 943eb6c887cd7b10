"""Images with captions: what is read of them, which of several is drawn, and which image does not go with it."""

from __future__ import annotations

import io
import json
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gankit import data
from gankit.data import captions, draws
from gankit.data.stream import Dataset

TEXTS = ["a red square\na square that is red\n\n", "A BLUE  circle", "caf\u00e9 \u201cnoir\u201d", "a red square"]


def picture(i: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), 40 * i, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, text in enumerate(TEXTS):
        (tmp_path / f"{i}.png").write_bytes(picture(i))
        (tmp_path / f"{i}.txt").write_text(text, "utf-8")
    return tmp_path


def table(folder: Path, rows: list[dict]) -> None:
    for text in folder.glob("*.txt"):
        text.unlink()
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_letters_become_codes_and_codes_letters():
    codes = captions.encode(["A Caf\u00e9,  \u201cno\u201d!", "\u0434a", ""], 16)
    assert captions.decode(codes) == ['a cafe, "no"!', "?a", ""]
    letters = 'a cafe, "no"!'
    assert codes[0].tolist() == [captions.LETTERS.index(c) + 2 for c in letters] + [0] * (16 - len(letters))
    assert codes[1].tolist() == [1, 2] + [0] * 14 and not codes[2].any() and codes.dtype == torch.int64
    assert int(captions.encode([captions.LETTERS + "a"]).max()) == captions.CODES - 1 == len(set(captions.LETTERS)) + 1
    assert captions.decode(captions.encode(["x" * 300]))[0] == "x" * 201


def test_texts_beside_images_are_captions(folder):
    plain = data.open(folder)
    assert plain.kind == "images" and plain.captions == TEXTS and plain.caption == ()
    assert not any("other kinds" in text for text in plain.warnings)
    assert data.describe(folder).captions == 4
    dataset = data.open(folder, want="captions")
    assert dataset.kind == "captions" and dataset.caption == (
        24,
        captions.CODES,
    )  # "a square that is red" has 20 letters
    assert dataset.fingerprint != plain.fingerprint
    rows = next(dataset.stream(0, 40))
    told = captions.decode(rows["caption"])
    for number, text in zip(dataset.numbers(np.arange(40)), told):
        assert text in captions.lines(TEXTS[number])
    assert {"a square that is red", "a red square", "a blue circle", 'cafe "noir"'} == set(told)


def test_a_wrong_image_does_not_have_the_caption(folder):
    dataset = data.open(folder, want="captions")
    rows = next(dataset.stream(0, 400))
    shade = {40 * i: i for i in range(4)}
    pairs = set()
    for text, wrong in zip(captions.decode(rows["caption"]), rows["wrong"][:, 0, 0, 0].tolist()):
        assert text not in captions.lines(TEXTS[shade[wrong]])
        pairs.add((text, shade[wrong]))
    assert {("a red square", 1), ("a red square", 2), ("a square that is red", 3)} <= pairs
    assert ("a red square", 3) not in pairs  # another image, and the same words


def test_captions_and_wrong_images_are_functions_of_the_position(folder):
    dataset = data.open(folder, want="captions", mirror=True)
    whole = next(dataset.stream(0, 12, seed=5))
    parts = [next(dataset.stream(8, 4, seed=5, rank=rank, world=2)) for rank in range(2)]
    for name, rows in whole.items():
        assert torch.equal(rows[8:], torch.cat([part[name] for part in parts])), name
    other = next(dataset.stream(0, 12, seed=6))
    assert not torch.equal(whole["caption"], other["caption"])
    positions = np.arange(12)
    chosen = [dataset.texts.of(n) for n in dataset.numbers(positions, 5)]
    literal = [
        one[int(draws.uniform(5, captions.WHICH, p)[0] * len(one))] for one, p in zip(chosen, positions.tolist())
    ]
    assert torch.equal(whole["caption"], torch.from_numpy(dataset.texts.codes[literal].astype(np.int64)))


def test_stages_get_smaller_images_of_both_kinds(folder):
    small = next(data.open(folder, want="captions").stream(0, 4, resolution=4))
    assert small["real"].shape == small["wrong"].shape == (4, 3, 4, 4)


def test_captions_from_a_table_win_and_may_be_several(folder):
    rows = [
        dict(file_name=f"{i}.png", text=text) for i, text in enumerate((["one", "two"], "three", "four\nfive", "six"))
    ]
    table(folder, rows)
    (folder / "0.txt").write_text("not this")
    dataset = data.open(folder, want="captions")
    assert [captions.lines(text) for text in dataset.captions] == [["one", "two"], ["three"], ["four", "five"], ["six"]]
    assert any("1 .txt beside images are not read, as metadata.jsonl has texts" in text for text in dataset.warnings)


def test_texts_in_a_zip_and_beside_a_table_without_texts(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("zip") / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i, text in enumerate(TEXTS):
            archive.writestr(f"in/{i}.png", picture(i))
            archive.writestr(f"in/{i}.txt", text)
        archive.writestr("in/metadata.csv", "file_name,label\n" + "".join(f"{i}.png,{i % 2}\n" for i in range(4)))
    dataset = data.open(path, want="captions")
    assert dataset.captions == TEXTS and dataset.labels.tolist() == [0, 1, 0, 1]


def test_a_changed_text_is_other_data(folder):
    before = data.open(folder, want="captions").fingerprint
    (folder / "1.txt").write_text("a green circle")
    after = data.open(folder, want="captions")
    assert after.fingerprint != before and after.captions[1] == "a green circle"


def test_images_without_captions_are_listed_and_can_be_left_out(folder):
    (folder / "0.txt").unlink()
    (folder / "2.txt").write_text(" \n\n")
    with pytest.raises(data.BadFiles) as caught:
        data.open(folder, want="captions")
    assert caught.value.files == [("0.png", "has no caption"), ("2.png", "has no caption")]
    assert len(data.open(folder)) == 4  # as images they are fine
    dataset = data.open(folder, want="captions", skip_bad=True)
    assert len(dataset) == 2 and dataset.names == ["1.png", "3.png"] and dataset.skipped == caught.value.files
    assert set(next(dataset.stream(0, 8))["real"][:, 0, 0, 0].tolist()) == {40, 120}


@pytest.mark.parametrize(
    "content, reason",
    [(b"\xff\xfe\x00red", "is no text in UTF-8"), (b"a\0b", "a byte 0"), (b"x" * (2**20 + 1), "more than 1 MB")],
)
def test_texts_that_are_none_are_listed(folder, content, reason):
    (folder / "1.txt").write_bytes(content)
    with pytest.raises(data.BadFiles, match=reason) as caught:
        data.open(folder, want="captions")
    assert [name for name, _ in caught.value.files] == ["1.txt"]


def test_data_without_captions_says_what_to_do(folder):
    for text in folder.glob("*.txt"):
        text.unlink()
    with pytest.raises(ValueError, match="there are no captions. Captions are a .txt beside each image"):
        data.open(folder, want="captions")
    with pytest.raises(ValueError, match="digits: there are no captions"):
        data.open("digits", want="captions")
    for i in range(4):
        (folder / f"{i}.txt").write_text("a thing")
    with pytest.raises(ValueError, match="all images have the caption 'a thing'"):
        data.open(folder, want="captions")


def test_long_captions_and_other_alphabets_are_told(folder):
    (folder / "0.txt").write_text("red " * 1000)
    (folder / "1.txt").write_text("\u043a\u0440\u0430\u0441\u043d\u044b\u0439 a", "utf-8")
    dataset = data.open(folder, want="captions")
    assert dataset.caption[0] == captions.LONGEST == 201
    assert any(
        "1 of 4 captions are longer than 201 characters (the longest has 3,999)" in text for text in dataset.warnings
    )
    assert any(
        "1 of 4 captions have characters other than a-z" in text and "in 1 of them most" in text
        for text in dataset.warnings
    )
    assert captions.flaws(["caf\u00e9, \u201cyes\u201d\u2014no"]) == []


def test_where_all_images_share_a_caption_any_other_image_is_wrong():
    texts = captions.Captions([["same"], ["same"], ["same", "more"]])
    wrong = texts.wrong(np.array([0, 0, 0, 1]), np.array([0, 1, 2, 2]), np.arange(4), 0)
    assert wrong[:3].tolist() == [1, 2, 0] and wrong[3] in (0, 1)


def test_a_large_set_costs_little():
    dataset = data.open("shapes", want="captions")
    assert isinstance(dataset, Dataset) and dataset.texts.codes.dtype == np.uint8
    assert next(dataset.stream(0, 8, resolution=16))["wrong"].shape == (8, 3, 16, 16)


# ---- encoders that the user has


def table_of(path: Path, texts: list[str], **arrays: np.ndarray) -> str:
    vector = np.random.default_rng(0).normal(size=(len(texts), 5))
    np.savez(path, **({"text": np.array(texts), "vector": vector.astype(np.float32)} | arrays))
    return str(path)


def test_vectors_of_a_table_take_the_place_of_letters(folder, tmp_path_factory):
    texts = ["A red  square", "a square that is red", "a blue circle", 'cafe "noir"', "never said"]
    path = table_of(tmp_path_factory.mktemp("table") / "t.npz", texts)
    plain = data.open(folder, want="captions")
    dataset = data.open(folder, want="captions", text_encoder=path)
    assert dataset.caption == (5, 0) and dataset.fingerprint != plain.fingerprint
    with np.load(path) as file:
        known = {captions.plain(text): row for text, row in zip(file["text"].tolist(), file["vector"])}
    rows, letters = (next(one.stream(0, 30, seed=3)) for one in (dataset, plain))
    assert rows["caption"].dtype == torch.float32 and torch.equal(rows["wrong"], letters["wrong"])
    for text, vector in zip(captions.decode(letters["caption"]), rows["caption"]):
        assert np.array_equal(vector.numpy(), known[text])


@pytest.mark.parametrize(
    "texts, arrays, message",
    [
        (["a red square"], {}, "has no vector of 'a square that is red' and 2 other texts"),
        (["a"], {"vector": np.zeros((2, 5), np.float32)}, r"holds text <U1\[1\], vector float32\[2, 5\]"),
        (["a"], {"text": np.array([object()])}, "cannot be used"),
        (
            ["a red square", "a square that is red", "a blue circle", 'cafe "noir"'],
            {"vector": np.full((4, 5), np.nan)},
            "finite",
        ),
    ],
)
def test_tables_that_do_not_fit_are_refused(folder, tmp_path_factory, texts, arrays, message):
    path = table_of(tmp_path_factory.mktemp("table") / "t.npz", texts, **arrays)
    with pytest.raises(ValueError, match=message):
        data.open(folder, want="captions", text_encoder=path)


def test_a_folder_is_a_sentence_transformers_model_and_asked_once(folder, tmp_path_factory, monkeypatch):
    model, asked = tmp_path_factory.mktemp("model"), []
    with pytest.raises(ValueError, match="holds no modules.json"):
        data.open(folder, want="captions", text_encoder=str(model))
    with pytest.raises(ValueError, match="there is no text encoder 'nowhere'"):
        data.open(folder, want="captions", text_encoder="nowhere")
    (model / "modules.json").write_text("[]")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ValueError, match="pip install sentence-transformers"):
        data.open(folder, want="captions", text_encoder=str(model))

    class Fake:
        def __init__(self, path: str, **given: object):
            assert (
                path == str(model) and given["local_files_only"] and given["model_kwargs"] == {"use_safetensors": True}
            )

        def encode(self, texts: list[str], **_: object) -> np.ndarray:
            asked.extend(texts)
            return np.array([[len(text), text.count("r")] for text in texts], np.float64)

    monkeypatch.setitem(sys.modules, "sentence_transformers", types.SimpleNamespace(SentenceTransformer=Fake))
    for _ in range(2):
        dataset = data.open(folder, want="captions", text_encoder=str(model))
    assert sorted(asked) == sorted(dataset.texts.distinct)  # the second time they come from the cache
    assert dataset.texts.vectors.tolist() == [[len(text), text.count("r")] for text in dataset.texts.distinct]
