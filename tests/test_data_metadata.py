"""Labels, captions and attributes from metadata files: what is read, and what is refused and why."""

import dataclasses
import json
import math
import os
import re
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import PHOTO, encoded, put, with_table

from gankit import data
from gankit.data.reading import files, metadata

pytestmark = pytest.mark.usefixtures("fresh_cache")


ROWS = [
    dict(
        file_name=f"{i}.png",
        label=["cat", "dog"][i % 2],
        text=f"nr {i}, \u201cyes\u201d\nand so",
        age=i / 4,
        wild=i % 2,
    )
    for i in range(4)
]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_labels_captions_and_attributes_come_from_a_table(pictures, form):
    with_table(pictures, ROWS[::-1], form)
    dataset = data.open(pictures)
    assert dataset.class_names == ["cat", "dog"] and dataset.labels.tolist() == [0, 1, 0, 1]
    assert dataset.captions == [row["text"] for row in ROWS]
    assert dataset.attribute_names == ["age", "wild"]
    assert dataset.attributes.tolist() == [[0, 0], [0.25, 1], [0.5, 0], [0.75, 1]]
    batch = next(dataset.stream(0, 4))
    assert torch.equal(batch["attribute"], torch.from_numpy(dataset.attributes)[dataset.numbers(np.arange(4))])
    assert data.describe(pictures).captions == 4


def test_labels_from_dataset_json_and_whole_numbers_in_order(pictures):
    with_table(pictures, [dict(file_name=f"{i}.png", label=label) for i, label in enumerate((10, 9, 10, 2))], "json")
    dataset = data.open(pictures)
    assert dataset.class_names == ["2", "9", "10"] and dataset.labels.tolist() == [2, 1, 2, 0]
    (pictures / "dataset.json").write_text('{"labels": null}')
    assert data.open(pictures).num_classes == 0


def test_names_match_however_their_accents_are_written(pictures):
    put(pictures, **{"e\u0301.png": encoded(PHOTO), "b.png": encoded(PHOTO)})
    (pictures / "metadata.csv").write_text("file_name,label\n\u00e9.png,0\n./b.png,1\n", "utf-8")
    assert data.open(pictures).labels.tolist() == [1, 0]


def test_images_and_rows_must_know_each_other(pictures):
    with_table(pictures, [*ROWS[:2], dict(file_name="gone.png", label="cat", text="", age=1, wild=0)])
    with pytest.raises(data.BadFiles) as caught:
        data.open(pictures)
    assert dict(caught.value.files) == {
        "gone.png": "in metadata.csv, but not there",
        "2.png": "has no row in metadata.csv",
        "3.png": "has no row in metadata.csv",
    }
    assert len(data.open(pictures, skip_bad=True)) == 2


@pytest.mark.parametrize(
    "text, message",
    [
        ("file_name,label\n0.png,1\n1.png\n", "line 3: not as many values"),
        ("file_name,label\n0.png,1,7\n", "line 2: not as many values"),
        ("name,label\n0.png,1\n", "no column file_name"),
        ("", "no column file_name"),
        ("file_name,label\n,1\n", "row 1: file_name is missing"),
        ("file_name,label\n0.png,1\n1.png,\n2.png,0\n3.png,0\n", "'label' is empty for 1 of 4"),
        ("file_name,age\n0.png,1\n1.png,\n2.png,0\n3.png,0\n", "'age' is empty for 1 of 4"),
        ("file_name,age\n0.png,1\n1.png,inf\n2.png,0\n3.png,0\n", "'age' holds a number that is not finite"),
        ('file_name,text\n0.png,"open\n', "unexpected end of data"),
        ("file_name,label\n\xff", "utf-8"),
    ],
)
def test_a_wrong_table_says_where_and_does_not_stop_what_needs_none(pictures, text, message):
    with_table(pictures, ROWS)
    (pictures / "metadata.csv").write_bytes(text.encode("latin-1"))
    dataset = data.open(pictures)
    assert len(dataset) == 4 and not dataset.num_classes and not dataset.attribute_names
    assert any(re.search(message, note) for note in dataset.warnings)
    assert any(re.search(message, fault) for fault in dataset.faults.values())
    assert any(re.search(message, note) for note in data.describe(pictures).warnings)
    if "empty" not in message and "finite" not in message:
        with pytest.raises(ValueError, match=f"there are no captions: metadata.csv .*{message}"):
            data.open(pictures, want="captions")
    assert not data.open(pictures, no_table=True).faults


def test_columns_that_cannot_be_used_are_named(pictures):
    with_table(pictures, [row | dict(photographer="Ann", label="same", note="") for row in ROWS])
    dataset = data.open(pictures)
    assert dataset.num_classes == 0 and dataset.attribute_names == ["age", "wild"]
    assert "'photographer'" in dataset.warnings[0] and "'same'" in dataset.warnings[1]


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.just(10**400)
    | st.lists(st.integers(), max_size=2)
)


@settings(derandomize=True, max_examples=80, deadline=None)
@given(
    st.sampled_from(metadata.FILES),
    st.binary(max_size=60) | st.text(max_size=60).map(lambda s: s.encode("utf-8", "replace")),
)
def test_any_bytes_as_a_table_are_read_or_refused(name, content):
    for prefix in (b"", b"file_name,label,text\na.png,", b'{"file_name": ', b'{"labels": [["a", '):
        try:
            table = metadata.read(name, prefix + content)
            assert table is None or all(row["file_name"] for row in table)
        except ValueError as error:
            assert str(error)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["label", "text", "a", "b"]), VALUES), min_size=1, max_size=5))
def test_any_values_in_a_table_give_known_columns_or_a_fault(values):
    known = metadata.columns(values, "metadata.jsonl")
    assert all("metadata.jsonl" in fault for fault in known.faults.values())
    assert len(known.labels) in (0, len(values)) and len(known.captions) in (0, len(values))
    assert all(0 <= label < len(known.class_names) for label in known.labels)
    assert all(len(row) == len(known.attribute_names) and np.isfinite(row).all() for row in known.attributes)
    json.dumps(dataclasses.asdict(known), allow_nan=False)


def test_depth_and_length_do_not_break_tables():
    for name, content in (
        ("metadata.jsonl", b"[" * 100_000),
        ("dataset.json", b'{"labels":' * 50_000),
        ("metadata.jsonl", b"1" * 10_000),
    ):
        with pytest.raises(ValueError, match="cannot be used"):
            metadata.read(name, content)
    with pytest.raises(ValueError, match="line 3: Expecting property name"):
        metadata.read("metadata.jsonl", b'{"file_name": "a.png", "text": "a"}\n\n{broken\n')


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("metadata.csv", "file_name,age,age\na.png,1,2\n", "the column 'age' is there twice"),
        ("metadata.csv", "file_name,file_name\na.png,b.png\n", "the column 'file_name' is there twice"),
        ("metadata.jsonl", '{"file_name": "a.png", "label": 1, "label": 2}', "line 1: 'label' is there twice"),
        ("dataset.json", '{"labels": [], "labels": null}', "'labels' is there twice"),
        (
            "metadata.jsonl",
            '{"file_name": "a.png", "label": "\\ud800"}',
            r"row 1: '\\ud800' holds half a letter; write the file in UTF-8",
        ),
        ("metadata.jsonl", '{"file_name": "a.png", "text": ["x", "a\\udc80b"]}', "row 1: .* holds half a letter"),
        ("metadata.jsonl", '{"file_name": "a.png", "\\udfff": 1}', "row 1: .* holds half a letter"),
        ("metadata.jsonl", '{"file_name": "\\ud800.png"}', "row 1: .* holds half a letter"),
        ("dataset.json", '{"labels": [["\\ud800.png", 1]]}', "row 1: .* holds half a letter"),
    ],
)
def test_what_is_ambiguous_or_no_text_is_refused(name, text, message):
    with pytest.raises(ValueError, match=message):
        metadata.read(name, text.encode())


@pytest.mark.parametrize(
    "form, values",
    [
        ("csv", ["nan", "NaN", "inf", "-Infinity"]),
        ("jsonl", [math.nan, math.inf, "nan", " inf "]),
        ("other", ["nan", "inf"]),
    ],
)
def test_labels_that_are_no_numbers_are_no_class(pictures, form, values):
    for value in values:
        rows = [row | dict(label=value if i == 1 else ["cat", 3.5][form == "jsonl"]) for i, row in enumerate(ROWS)]
        with_table(pictures, rows, "csv" if form == "other" else form)
        if form == "other":
            os.rename(pictures / "metadata.csv", pictures / "list.csv")
        assert not data.open(pictures).num_classes
        name = "list.csv" if form == "other" else f"metadata.{form}"
        with pytest.raises(ValueError, match=f"{name}: 'label' is .* for 1 of 4 images; fill it in, leave it out"):
            data.open(pictures, labels=name)
        assert "fill it in" in data.open(pictures).faults["labels"]
        shutil.rmtree(pictures)
        pictures.mkdir()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "images.csv"])
def test_too_many_columns_are_refused_at_once(pictures, name):
    put(pictures, **{"a.png": encoded(PHOTO), "b.png": encoded(PHOTO)})
    titles = ["file_name", *(f"c{i}" for i in range(10**5))]
    if name.endswith("csv"):
        (pictures / name).write_text(",".join(titles) + "\na.png" + ",1" * 10**5 + "\n" + "b.png" + ",1" * 10**5)
    else:
        (pictures / name).write_text(
            "\n".join(json.dumps({"file_name": f} | dict.fromkeys(titles[1:], 1)) for f in ("a.png", "b.png"))
        )
    assert "it has 100,001 columns, and 10,000 are the most" in data.open(pictures).faults["attributes"]
    with pytest.raises(ValueError, match="it has 100,001 columns, and 10,000 are the most"):
        data.open(pictures, labels=name)
    (pictures / name).unlink()
    (pictures / "genes.csv").write_text(",".join(titles[1:]) + "\n" + "1," * 10**5)  # of something else
    assert len(data.open(pictures)) == 2


@pytest.mark.timeout(120)
def test_many_rows_of_nothing_are_counted(pictures):
    with_table(pictures, ROWS)
    with open(pictures / "metadata.csv", "a", newline="") as file:
        file.writelines(f"gone{i}.png,cat,x,1,0\n" for i in range(10**5))
    with pytest.raises(data.BadFiles, match="100,000 of 100,004 files cannot be used") as caught:
        data.open(pictures)
    lines = str(caught.value).splitlines()
    assert (
        len(lines) == files.SHOWN + 2
        and lines[-1] == "  and 99,980 more"
        and lines[1] == "  gone0.png: in metadata.csv, but not there"
    )
    assert len(caught.value.files) == 10**5  # in Python all of them
    text = str(data.describe(pictures)).splitlines()
    assert len(text) < 40 and "  cannot be used: and 99,980 more" in text


def test_every_list_in_a_report_ends(pictures):
    many = [f"thing{i:04}" for i in range(300)]
    report = data.Report(
        "x",
        "images",
        1,
        (3, 8, 8),
        sizes=dict.fromkeys(many, 1),
        modes=dict.fromkeys(many, 1),
        classes=dict.fromkeys(many, 1),
    )
    report.attributes, report.bad, report.copies, report.warnings = (
        dict.fromkeys(many, 0.5),
        [(name, "empty") for name in many],
        [many] * 300,
        many,
    )
    text = str(report)
    assert len(text.splitlines()) < 80 and max(map(len, text.splitlines())) < 3000
    assert text.count("and 280 more") == 23 and text.count("and 288 more") == 3 and text.count("and 200 more") == 1
    rows = [{"file_name": "a"} | dict.fromkeys(many, "word")]
    assert len(metadata.columns(rows, "metadata.csv").warnings[0]) < 500
