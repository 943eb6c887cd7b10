"""Tables of other programs: CelebA's attributes, any csv, and OpenFace's action units."""

import re

import numpy as np
import pytest
from picture_files import (
    NAMES,
    SIGNS,
    celeba,
    faces,
)

from gankit import data, models
from gankit.training.settings import plan
from gankit.training.setup import open_for

pytestmark = pytest.mark.usefixtures("fresh_cache")


def cli_train(model, root, **more):
    """Whatever `gankit train -n` raises of this data."""
    settings, arguments = plan(models.find(model), "", dict(data=str(root), resolution="8") | more)
    return open_for(models.find(model), settings, arguments)


@pytest.mark.parametrize(
    "place, opened",
    [
        ("celeba/img_align_celeba/list_attr_celeba.txt", "celeba/img_align_celeba"),
        ("celeba/list_attr_celeba.txt", "celeba/img_align_celeba"),
        ("celeba/list_attr_celeba.txt", "celeba"),
        ("celeba/Anno/list_attr_celeba.txt", "celeba"),
        ("celeba/Anno/list_attr_celeba.txt", "celeba/img_align_celeba"),
    ],
)
def test_celebas_list_is_found_and_its_minus_ones_are_zeros(tmp_path, monkeypatch, place, opened):
    faces(tmp_path / "celeba" / "img_align_celeba")
    celeba(tmp_path / place)
    dataset = data.open(tmp_path / opened)
    assert dataset.attribute_names == NAMES and not dataset.num_classes
    assert np.array_equal(dataset.attributes, (SIGNS[:6] > 0).astype(np.float32))
    assert any("3 of its 9 rows are of images that are not here" in text for text in dataset.warnings)
    monkeypatch.chdir(tmp_path / opened)
    assert data.open(".").attribute_names == NAMES
    celeba(tmp_path / place, -SIGNS)
    assert np.array_equal(data.open(tmp_path / opened).attributes, (SIGNS[:6] < 0).astype(np.float32)), (
        "a changed list is noticed"
    )
    celeba(tmp_path / place, SIGNS[:5])
    fault = data.open(tmp_path / opened).faults["attributes"]
    assert "000005.png: has no row in list_attr_celeba.txt" in fault and "add --skip-bad" in fault
    with pytest.raises(ValueError, match="stargan needs attributes.*000005.png: has no row in list_attr_celeba.txt"):
        cli_train("stargan", tmp_path / opened)
    assert len(data.open(tmp_path / opened, skip_bad=True)) == 5
    celeba(tmp_path / place, SIGNS * 2)
    fault = data.open(tmp_path / opened).faults["attributes"]
    assert re.search("list_attr_celeba.txt is not used: '-?2', in the line of 000000.jpg, is neither 1 nor -1", fault)
    celeba(tmp_path / place, head="faces")
    assert "first line must be the number of images" in data.open(tmp_path / opened).faults["attributes"]


def test_a_list_of_other_images_is_left_alone(tmp_path):
    faces(tmp_path / "pics")
    celeba(tmp_path / "list_attr_celeba.txt", SIGNS, ending="x.jpg")
    assert not data.open(tmp_path / "pics").attribute_names


def test_any_csv_that_names_images_gives_attributes(tmp_path):
    faces(tmp_path / "pics")
    rows = "".join(f"{i:06}.png;{'1' if i % 2 else '-1'};{i / 2};x\n" for i in range(6))
    (tmp_path / "pics" / "list.csv").write_text("image_id;Male;Age;word\n" + rows)
    (tmp_path / "pics" / "a_loss.csv").write_text("epoch,loss\n" + "".join(f"{i},0.5\n" for i in range(6)))
    dataset = data.open(tmp_path / "pics")
    assert dataset.attribute_names == ["Male", "Age"]
    assert np.array_equal(dataset.attributes, [[i % 2, i / 2] for i in range(6)])
    assert any(".csv (1)" in text for text in dataset.warnings) and any("'word'" in text for text in dataset.warnings)
    (tmp_path / "pics" / "list.csv").write_text("image_id;Male\n000000.png;1\n000000.png;1\n")
    notes = data.open(tmp_path / "pics").warnings
    assert any("list.csv is not used, as it lacks 5 of the 6 images" in text for text in notes)
    (tmp_path / "pics" / "list.csv").write_text("image_id;Male\n000000.png;1;2\n")
    notes = data.open(tmp_path / "pics").warnings
    assert any("the row '000000.png 1 2' has 3 values, and 2 columns have names" in text for text in notes)
    (tmp_path / "pics" / "list.csv").write_text("a,b\n000000.png,1\n")
    assert len(data.open(tmp_path / "pics", skip_bad=True)) == 6
    with pytest.raises(data.BadFiles, match="000005.png: has no row in list.csv"):
        data.open(tmp_path / "pics", labels="list.csv")


def test_names_in_a_csv_may_leave_folders_out_where_they_are_not_needed(tmp_path):
    for kind in ("cat", "dog"):
        faces(tmp_path / "pics" / "all" / kind, 2)
    (tmp_path / "pics" / "t.csv").write_text(
        "path,size\n" + "".join(f"{k}/{i:06},{i + 1}\n" for k in ("cat", "dog") for i in range(2))
    )
    dataset = data.open(tmp_path / "pics")
    assert dataset.attributes[:, 0].tolist() == [1, 2, 1, 2] and dataset.class_names == ["cat", "dog"]
    (tmp_path / "pics" / "t.csv").write_text("path,size\n000000.png,3\n")
    fault = data.open(tmp_path / "pics").faults["attributes"]
    assert "names several images, all/cat/000000.png and all/dog/000000.png" in fault


def test_signs_in_metadata_become_zeros_and_ones(tmp_path):
    faces(tmp_path / "pics", 3)
    (tmp_path / "pics" / "metadata.csv").write_text(
        "file_name,smile,tilt\n000000.png,1,-1\n000001.png,-1,0\n000002.png,1,1\n"
    )
    assert data.open(tmp_path / "pics").attributes.tolist() == [[1, -1], [0, 0], [1, 1]]


UNITS = np.random.default_rng(4).integers(0, 501, size=(6, 3)) / 100
FACE_TITLES = "face, confidence, gaze_0_x, AU01_r, AU12_r, AU45_r, AU01_c"


def row_of(values, first):
    return ", ".join([*first, *(f"{v:.2f}" for v in values), "1.00"])


def test_a_csv_for_each_image_gives_action_units(tmp_path):
    faces(tmp_path / "faces")
    for i in range(6):
        row = row_of(UNITS[i], ["0", "0.95", "0.1"])
        other = row_of(UNITS[i] * 0, ["1", "0.80", "0.1"])
        (tmp_path / "faces" / "processed").mkdir(exist_ok=True)
        (tmp_path / "faces" / "processed" / f"{i:06}.csv").write_text(f"{FACE_TITLES}\n{other}\n{row}\n")
    dataset = data.open(tmp_path / "faces")
    assert dataset.attribute_names == ["AU01", "AU12", "AU45"] and np.allclose(dataset.attributes, UNITS / 5, atol=1e-7)
    (tmp_path / "faces" / "processed" / "000002.csv").unlink()
    (tmp_path / "faces" / "processed" / "000003.csv").write_text(
        f"{FACE_TITLES}\n{row_of(UNITS[3], ['0', '0.2', '0'])}\n"
    )
    (tmp_path / "faces" / "processed" / "000004.csv").write_text(f"{FACE_TITLES}\n")
    dataset = data.open(tmp_path / "faces")
    assert len(dataset) == 6 and not dataset.attribute_names
    fault = dataset.faults["attributes"]
    assert "lacks 3 of the 6 images" in fault and "000003.png: OpenFace is not sure" in fault
    said = dict(data.open(tmp_path / "faces", skip_bad=True).skipped)
    assert said.keys() == {f"00000{i}.png" for i in (2, 3, 4)} and "confidence 0.2, below 0.7" in said["000003.png"]
    assert all("has no 00000" in said[f"00000{i}.png"] for i in (2, 4))
    assert np.allclose(data.open(tmp_path / "faces", skip_bad=True).attributes, UNITS[[0, 1, 5]] / 5, atol=1e-7)
    (tmp_path / "faces" / "processed" / "000005.csv").write_text(
        f"{FACE_TITLES}\n{row_of([1, 7, 0], ['0', '0.9', '0'])}\n"
    )
    assert (
        "000005.csv: AU12_r of 000005.png is '7.00', and OpenFace's intensities are 0 to 5"
        in data.open(tmp_path / "faces", skip_bad=True).faults["attributes"]
    )


def test_openface_s_csvs_are_found_beside_other_tables(tmp_path):
    faces(tmp_path / "faces")
    for i in range(6):
        row = row_of(UNITS[i], ["0", "0.95", "0.1"])
        (tmp_path / "faces" / f"{i:06}.csv").write_text(f"{FACE_TITLES}\n{row}\n")
    (tmp_path / "faces" / "part.csv").write_text("file,age\n000000.png,3\n")
    dataset = data.open(tmp_path / "faces")
    assert dataset.attribute_names == ["AU01", "AU12", "AU45"]
    assert any("part.csv is not used, as it lacks 5 of the 6 images" in text for text in dataset.warnings)
    for i in range(6):
        (tmp_path / "faces" / f"{i:06}.csv").rename(tmp_path / "faces" / f"other{i}.csv")
    assert len(data.open(tmp_path / "faces", skip_bad=True)) == 6


def test_a_csv_for_a_sequence_goes_by_frames_or_by_names(tmp_path):
    titles = "frame, face_id, timestamp, confidence, success, AU01_r, AU12_r, AU45_r, AU01_c"
    rows = [row_of(UNITS[i], [str(i + 1), "0", "0.0", "0.98", "0" if i == 3 else "1"]) for i in range(6)]
    faces(tmp_path / "one")
    (tmp_path / "one" / "out.csv").write_text("\n".join([titles, *rows]))
    assert "000003.png: OpenFace found no face in it (success 0)" in data.open(tmp_path / "one").faults["attributes"]
    assert np.allclose(data.open(tmp_path / "one", skip_bad=True).attributes, UNITS[[0, 1, 2, 4, 5]] / 5, atol=1e-7)
    (tmp_path / "one" / "out.csv").write_text("\n".join([titles, *rows[:3]]))
    fault = data.open(tmp_path / "one").faults["attributes"]
    assert re.search("out.csv: has 3 frames, and there are 6 images.*file_name", fault)
    (tmp_path / "one" / "out.csv").write_text(
        "\n".join(["file_name, " + titles, *(f"{5 - i:06}.png, {row}" for i, row in enumerate(rows))])
    )
    assert np.allclose(data.open(tmp_path / "one", skip_bad=True).attributes, UNITS[[5, 4, 2, 1, 0]] / 5, atol=1e-7)
    for title in ("x", "y"):
        faces(tmp_path / "two" / title, 3)
        (tmp_path / "two" / f"{title}.csv").write_text("\n".join([titles, *(rows[:3] if title == "x" else rows[3:])]))
    dataset = data.open(tmp_path / "two", skip_bad=True)
    assert np.allclose(dataset.attributes, UNITS[[0, 1, 2, 4, 5]] / 5, atol=1e-7) and dataset.class_names == ["x", "y"]
    (tmp_path / "one" / "out.csv").write_text("\n".join(["AU01_r", "1.0"]))
    fault = data.open(tmp_path / "one").faults["attributes"]
    assert re.search("out.csv: its rows are of no image here.*file_name.*frame", fault)
