"""Pairs from files: two folders with equal names, or two halves of one image."""

import numpy as np
import pytest
from picture_files import (
    noise,
    picture,
    sides,
)

from gankit import data

pytestmark = pytest.mark.usefixtures("fresh_cache")


def test_two_folders_with_equal_names_are_pairs_when_pairs_are_wanted(two):
    assert data.open(two).kind == data.open(two, want="domains").kind == "domains"
    pairs = data.open(two, want="pairs", mirror=True)
    assert (pairs.kind, pairs.shape, pairs.other, len(pairs), pairs.name) == (
        "pairs",
        (3, 16, 20),
        (1, 16, 20),
        5,
        "pics",
    )
    a, b = sides(pairs)
    for i in range(5):
        assert np.array_equal(a[i], noise(16, 20, 3, seed=i).transpose(2, 0, 1)) and np.array_equal(
            b[i, 0], noise(16, 20, seed=10 + i)
        )
    rows = next(pairs.stream(3, 40, seed=1))
    for x, y in zip(rows["a"].numpy(), rows["b"].numpy()):
        assert any(
            np.array_equal(x, a[i][..., ::f]) and np.array_equal(y, b[i][..., ::f]) for i in range(5) for f in (1, -1)
        )
    typed = data.open(f"{two}/A,{two}/B", want="pairs")
    assert typed.name == "pics"
    picture(two.parent / "x" / "0.png", noise(8, 8)), picture(two.parent / "y" / "0.png", noise(8, 8))
    assert data.open(f"{two.parent}/x,{two.parent}/y", want="pairs").name == "x-y"
    assert typed.fingerprint + "-mirror" == pairs.fingerprint and data.open(f"{two}/B,{two}/A", want="pairs").shape == (
        1,
        16,
        20,
    )
    (two / "A").rename(two / "trainA"), (two / "B").rename(two / "trainB")
    assert np.array_equal(sides(data.open(two, want="pairs"))[0], a)


def test_an_image_of_two_halves_is_a_pair(tmp_path):
    whole = [picture(tmp_path / "facades" / "train" / f"{i}.png", noise(12, 24, 3, seed=i)) for i in range(3)]
    picture(tmp_path / "facades" / "val" / "0.png", noise(12, 24, 3, seed=7))
    pairs = data.open(tmp_path / "facades", want="pairs")
    assert (pairs.kind, pairs.shape, pairs.other, len(pairs)) == ("pairs", (3, 12, 12), (3, 12, 12), 3), (
        "train/ alone is learnt from"
    )
    a, b = sides(pairs)
    assert np.array_equal(np.concatenate([a, b], 3), np.stack(whole).transpose(0, 3, 1, 2))
    assert any("cut in the middle" in text for text in pairs.warnings)
    assert pairs.name == "facades"
    held = data.held_out_of(tmp_path / "facades")
    assert held == str(tmp_path / "facades" / "val") == data.held_out_of(tmp_path / "facades" / "train")
    assert len(data.open(held, want="pairs")) == 1 and data.held_out_of(held) is None
    assert data.open(tmp_path / "facades" / "train").shape == (3, 12, 24), "images are whole where no pairs are wanted"
    assert data.open(tmp_path / "facades", want="pairs", resolution=6).shape == (3, 6, 6)


def test_a_half_that_is_resized_knows_nothing_of_the_other(tmp_path):
    picture(
        tmp_path / "ab" / "0.png", np.concatenate([np.zeros((16, 16), np.uint8), np.full((16, 16), 255, np.uint8)], 1)
    )
    a, b = sides(data.open(tmp_path / "ab", want="pairs", resolution=8))
    assert a.max() == 0 and b.min() == 255


def test_what_is_held_out_is_found_by_its_name(two, tmp_path):
    assert (
        data.held_out_of(two) is None
        and data.held_out_of("digits") == "digits:test"
        and data.held_out_of("photo") is None
    )
    (two / "A").rename(two / "trainA"), (two / "B").rename(two / "trainB")
    for side in "AB":
        picture(two / f"test{side}" / "0.png", noise(16, 20, 3))
    held = data.held_out_of(two)
    assert held == f"{two}/testA,{two}/testB" == data.held_out_of(f"{two}/trainA,{two}/trainB")
    assert len(data.open(held, want="pairs")) == 1 and data.open(held).kind == "domains"
    for part in ("train", "test"):
        for side in "AB":
            picture(tmp_path / "split" / part / side / "0.png", noise(8, 8, 3, seed=len(part)))
    assert data.open(tmp_path / "split").kind == "domains" and data.held_out_of(tmp_path / "split") == str(
        tmp_path / "split" / "test"
    )
    assert data.held_out_of("nothing") is None


def test_all_that_is_wrong_with_pairs_is_listed_before_anything_trains(two):
    picture(two / "A" / "alone.png", noise(16, 20, 3))
    picture(two / "B" / "widow.png", noise(16, 20))
    (two / "A" / "1.png").write_bytes(b"no")
    picture(two / "B" / "2.bmp", noise(16, 16))
    picture(two / "B" / "3.png", noise(16, 20))
    damaged = (two / "A" / "4.png").read_bytes()
    (two / "A" / "4.png").write_bytes(damaged[:-80])
    with pytest.raises(data.BadFiles, match="--skip-bad") as caught:
        data.open(two, want="pairs", resolution=16)
    said = dict(caught.value.files)
    assert said["A/alone.png"] == "has no partner in B" and said["B/widow.png"] == "has no partner in A"
    assert (
        "not an image" in said["A/1.png"] and "is 16x20 (height x width) and its partner in B 16x16" in said["A/2.png"]
    )
    assert "called like it" in said["B/3.png"] and "called like it" in said["B/3.bmp"]
    assert "damaged" in said["A/4.png"] or "truncated" in said["A/4.png"]
    assert len(said) == 7 and "B/1.bmp" not in said, "a partner is not blamed"
    kept = data.open(two, want="pairs", resolution=16, skip_bad=True)
    assert len(kept) == 1 and sorted(kept.skipped) == sorted(said.items())
    with pytest.raises(data.BadFiles):
        data.open(two, want="pairs", resolution=16)


@pytest.mark.parametrize(
    "make, said",
    [
        (
            lambda root: picture(root / "0.png", noise(8, 8)),
            r"no image is wider than high \(the first is 8x8\).*A/ and B/",
        ),
        (lambda root: [picture(root / f"{i}.png", noise(8, 17 - i)) for i in range(2)], "odd width"),
        (
            lambda root: [picture(root / side / f"x_{s}.png", noise(8, 8)) for side, s in ("AL", "BR")],
            "A/x_L.png, B/x_R.png. Rename",
        ),
        (
            lambda root: [
                picture(root / side / "0.png", noise(*size)) for side, size in (("A", (8, 8)), ("B", (16, 16)))
            ],
            r"A holds images of 8x8 .* B of 16x16; .*--resolution 8",
        ),
        (lambda root: [picture(root / "A" / "0.png", noise(8, 8)), (root / "B").mkdir()], "B: there are no images"),
    ],
)
def test_folders_that_are_no_pairs_are_refused(tmp_path, make, said):
    (tmp_path / "pics").mkdir()
    make(tmp_path / "pics")
    with pytest.raises(ValueError, match=said):
        data.open(tmp_path / "pics", want="pairs")


def test_names_that_are_no_files_have_no_pairs(two):
    with pytest.raises(ValueError, match="digits is built in, and sides are matched by the names"):
        data.open(f"{two}/A,digits", want="pairs")
    with pytest.raises(ValueError, match="--as takes"):
        data.open(two, want="twins")
    assert data.open(f"{two}/A,digits", resolution=16).kind == "domains"
