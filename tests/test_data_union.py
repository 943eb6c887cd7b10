"""Joined sets: batches from each set in turn, each with its own attributes."""

import numpy as np
import pytest
import torch
from picture_files import (
    NAMES,
    celeba,
    equal,
    faces,
    joined,
)

from gankit import data
from gankit.data import Dataset

pytestmark = pytest.mark.usefixtures("fresh_cache")


@pytest.fixture
def sets():
    """Seven images of two attributes, whose pixels are their numbers, and five of three classes, from 100 on."""
    pixels = [np.arange(n, dtype=np.uint8)[:, None, None, None].repeat(4, 3) + first for n, first in ((7, 0), (5, 100))]
    pixels = [np.concatenate([one, np.zeros_like(one)], 3) for one in pixels]  # so that a mirror shows
    attributes = np.random.default_rng(5).random((7, 2)).astype(np.float32)
    a = Dataset(
        "a", "images", (1, 1, 8), 7, pixels[0].__getitem__, "a", attributes=attributes, attribute_names=["p", "q"]
    )
    b = Dataset("b", "images", (1, 1, 8), 5, pixels[1].__getitem__, "b", np.arange(5) % 3, ["x", "y", "z"])
    return a, b


def test_joined_sets_take_turns_and_know_only_their_own(sets):
    a, b = sets
    union = data.Union("both", [a, b])
    assert (union.attribute_names, union.groups, union.exclusive, len(union)) == (
        ["p", "q", "x", "y", "z"],
        [2, 3],
        [False, True],
        12,
    )
    stream = union.stream(0, 4, seed=2)
    batches = [next(stream) for _ in range(12)]
    for k, rows in enumerate(batches):
        assert (
            (rows["source"] == k % 2).all()
            and rows["source"].dtype == torch.int64
            and rows["attribute"].shape == (4, 5)
        )
        known, unknown = (rows["attribute"][:, :2], rows["attribute"][:, 2:])[:: 1 if k % 2 == 0 else -1]
        assert not unknown.any() and known.any()
        number = rows["real"][:, 0, 0, 0].long() - 100 * (k % 2)
        assert torch.equal(known, torch.from_numpy(a.attributes)[number] if k % 2 == 0 else torch.eye(3)[number % 3])
    for which, one in enumerate((a, b)):  # six batches of each are the set's own stream, none left out, none twice
        alone = torch.cat([rows["real"] for rows in batches[which::2]])
        assert torch.equal(alone, joined(one.stream(0, 4, seed=2), 6)["real"])
        assert sorted(alone[: len(one), 0, 0, 0].tolist()) == sorted(one.read(np.arange(len(one)))[:, 0, 0, 0].tolist())


def test_joined_sets_go_on_exactly_and_split_over_processes(sets):
    union = data.Union("both", list(sets), mirror=True)
    whole = [union.stream(0, 6, seed=1).at(i) for i in range(9)]
    for first in range(9):
        assert equal(next(union.stream(6 * first, 6, seed=1)), whole[first])
    for world in (2, 3, 4):
        parts = [next(union.stream(30, 6, seed=1, rank=r, world=world)) for r in range(world)]
        assert equal({key: torch.cat([part[key] for part in parts]) for key in parts[0]}, whole[5])
    plain = data.Union("both", list(sets)).stream(0, 6, seed=1)
    turned = torch.cat([(plain.at(i)["real"] != whole[i]["real"]).flatten(1).any(1) for i in range(9)])
    assert 0.2 < turned.float().mean() < 0.8
    assert all(torch.equal(plain.at(i)["attribute"], whole[i]["attribute"]) for i in range(9)), (
        "a mirror image has the same attributes"
    )
    assert equal(list(zip(range(4), data.ahead(union.stream(0, 6, seed=1), 2)))[3][1], whole[3])
    with pytest.raises(ValueError, match="7 images are not a whole number of batches of 6"):
        union.stream(7, 6)


def test_sets_are_joined_by_their_names(tmp_path):
    celeba(faces(tmp_path / "celeba") / "list_attr_celeba.txt")
    for kind in ("angry", "happy"):
        faces(tmp_path / "moods" / kind, 3)
    name = f"{tmp_path}/celeba+{tmp_path}/moods"
    union = data.open(name, mirror=True)
    assert (
        union.attribute_names == [*NAMES, "angry", "happy"]
        and union.name == "celeba-moods"
        and union.fingerprint.endswith("-mirror")
    )
    assert data.held_out_of("shapes:colours+shapes:sizes") == "shapes:colours:test+shapes:sizes:test"
    assert data.held_out_of(name) is None and data.held_out_of("digits+photo") is None
    faces(tmp_path / "bare", 2)
    for wrong, said in (
        (f"{name}+{tmp_path}/bare", "bare has neither attributes nor classes"),
        (f"{tmp_path}/celeba+", "lacks a name.*photos\\+faces"),
        (
            f"{tmp_path}/celeba+digits",
            "celeba holds images of 3x8x8 and digits of 1x16x16; give all one size by --resolution",
        ),
        ("digits+digits-negative", "digits-negative holds two domains itself. Sets of images"),
        ("digits+ring", "ring holds points"),
    ):
        with pytest.raises(ValueError, match=said):
            data.open(wrong)
