"""Built-in data for models that translate images: every set is a pure function of number, and is what it says."""

import numpy as np
import pytest
import torch

from gankit import data
from gankit.data.builtin import cells, drawn_faces, scenes, shapes
from gankit.data.builtin.canny import canny
from gankit.data.builtin.digits import edges


def slow_canny(grey, sigma, low, high):
    """Canny's edges pixel by pixel; beyond the picture it is mirrored, and slopes are 0."""
    height, width = grey.shape
    reach = int(np.ceil(3 * sigma))
    weight = {d: np.exp(-0.5 * (d / sigma) ** 2) for d in range(-reach, reach + 1)}
    total = sum(weight.values())

    def inside(i, length):
        return -1 - i if i < 0 else 2 * length - 1 - i if i >= length else i

    smooth = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            for dy, v in weight.items():
                for dx, w in weight.items():
                    smooth[y, x] += v * w / total**2 * grey[inside(y + dy, height), inside(x + dx, width)]
    down, across = np.gradient(smooth)
    slope = np.hypot(down, across)

    def at(y, x):
        return slope[y, x] if 0 <= y < height and 0 <= x < width else 0.0

    def beside(y, x, sign):
        """The slope where the gradient's line leaves the square of the 3x3 neighbours."""
        step = np.array([down[y, x], across[y, x]]) / max(abs(down[y, x]), abs(across[y, x]), 1e-12) * sign
        long, short = (0, 1) if abs(down[y, x]) > abs(across[y, x]) else (1, 0)
        straight, corner = [0, 0], [0, 0]
        straight[long] = corner[long] = int(np.sign(step[long])) or -sign
        corner[short] = int(np.sign(step[short])) or 1
        share = abs(step[short])
        return share * at(y + corner[0], x + corner[1]) + (1 - share) * at(y + straight[0], x + straight[1])

    crest = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            sides = [beside(y, x, 1), beside(y, x, -1)]
            crest[y, x] = slope[y, x] > max(sides) or (slope[y, x] >= max(sides) and slope[y, x] > min(sides))
    found = np.zeros((height, width), bool)
    todo = [tuple(place) for place in np.argwhere(crest & (slope > high))]
    while todo:
        y, x = todo.pop()
        if 0 <= y < height and 0 <= x < width and crest[y, x] and slope[y, x] > low and not found[y, x]:
            found[y, x] = True
            todo += [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return found


def test_edges_are_cannys():
    grey = data.open("photo-grey", 48).a.read(np.array([900]))[0, 0]  # real greys: no two slopes are equal
    found = canny(grey, 1.2, 6.0, 14.0)
    assert set(np.unique(found)) == {0, 255} and 0.02 < (found > 0).mean() < 0.4
    assert np.array_equal(found > 0, slow_canny(grey.astype(float), 1.2, 6.0, 14.0))
    step = np.zeros((9, 12))
    step[:, 6:] = 200
    line = canny(step)
    assert ((line > 0).sum(1) == 1).all() and (line[:, 5:7] > 0).any(1).all(), "one line of one pixel along the step"
    assert not canny(np.full((9, 12), 77.0)).any()


@pytest.mark.parametrize("name", ["photo-edges", "photo-grey"])
def test_both_sides_of_a_pair_are_one_place_of_one_photograph(name):
    train, test = data.open(name), data.open(f"{name}:test")
    assert (train.kind, train.shape, train.other) == ("pairs", (1, 64, 64), (3, 64, 64))
    assert len(train) == len(train.b) == (214 - 63) * (224 - 63) and len(test) == (214 - 63) * (96 - 63)
    assert len({train.fingerprint, test.fingerprint, data.open(name, 32).fingerprint}) == 3
    numbers = np.array([0, 161 * 20 + 30, 12_345])
    a, b = train.a.read(numbers), train.b.read(numbers).astype(int)
    if name == "photo-grey":
        assert np.array_equal(a[:, 0], (299 * b[:, 0] + 587 * b[:, 1] + 114 * b[:, 2] + 500) // 1000)
    else:
        whole = data.open(name).a.read(np.array([0]))[0, 0]
        assert set(np.unique(a)) == {0, 255} and 0.01 < (whole > 0).mean() < 0.3
    last = len(test) - 1  # the picture's lower right corner, beside the photograph's own
    china = data.open("photo:china:whole").read(np.array([0]))[0]
    corner = china[:, -128:, -128:].reshape(3, 64, 2, 64, 2).mean((2, 4))
    assert np.abs(test.b.read(np.array([last]))[0] - corner).mean() < 8
    left = train.b.read(np.array([161 * 40 + 160]))[0][:, :, -1]  # the last column to train on, the first to test on
    right = test.b.read(np.array([33 * 40]))[0][:, :, 0]
    beside = china.reshape(3, 427, 640)[:, 80:208].reshape(3, 64, 2, 640).mean(2)
    assert (
        np.abs(left - beside[:, :, 446:448].mean(2)).mean() < 8 > np.abs(right - beside[:, :, 448:450].mean(2)).mean()
    )
    rows = next(train.stream(0, 6, seed=2))
    assert torch.equal(rows["a"], next(train.a.stream(0, 6, seed=2))["real"])
    for size in ("48x32", 128):
        assert data.open(f"{name}:test", size).shape[1:] == data.open(f"{name}:test", size).other[1:]
    with pytest.raises(ValueError, match="larger than the picture"):
        data.open(f"{name}:test", "64x128")


def test_two_halves_of_the_shapes_know_one_thing_each():
    colours, sizes, both = (data.open(f"shapes:{known}") for known in ("colours", "sizes", "both"))
    assert (len(colours), len(sizes), len(both)) == (45_000, 45_000, 90_000) and colours.shape == (3, 32, 32)
    assert colours.exclusive and (colours.attributes.sum(1) == 1).all() and colours.attribute_names[0] == "red"
    assert not sizes.exclusive and sizes.attribute_names == ["large"]
    numbers = np.arange(0, 45_000, 450)
    assert np.array_equal(colours.read(numbers), both.read(2 * numbers)), "even drawings"
    assert np.array_equal(sizes.read(numbers), both.read(2 * numbers + 1)), "odd drawings"
    assert np.array_equal(both.attributes[::2, :6], colours.attributes)
    assert np.array_equal(both.attributes[1::2, 6:], sizes.attributes) and 0.48 < sizes.attributes.mean() < 0.52
    images, large = both.read(np.arange(600)).astype(float), both.attributes[:600, 6] == 1
    for i, paint in enumerate(shapes.COLOURS.values()):
        mine = both.attributes[:600, i] == 1
        assert (images[mine].max((2, 3)) == paint).all()
    area = (images.max(1) / images.max((1, 2, 3), keepdims=True)[:, 0]).mean((1, 2)) * 4  # in squares of half a side
    for label, share in enumerate((np.pi, 3 * 3**0.5 / 4, 2.0)):  # of a shape in the square of its radius
        mine = both.labels[:600] == label
        radius = np.sqrt(area[mine] / share)
        assert radius[large[mine]].min() > 0.6 and radius[~large[mine]].max() < 0.4
    tests = [data.open(f"shapes:{known}:test") for known in ("colours", "sizes", "both")]
    assert [len(test) for test in tests] == [5_000, 5_000, 10_000]
    assert np.array_equal(tests[2].read(np.array([1])), tests[1].read(np.array([0])))
    assert len({one.fingerprint for one in (colours, sizes, both, *tests, data.open("shapes:both", 64))}) == 7
    joined = data.open("shapes:colours+shapes:sizes")
    assert joined.groups == [6, 1] and joined.exclusive == [True, False]


@pytest.mark.parametrize("name", ["digits-negative", "digits-edges"])
def test_held_out_digits_are_in_both_domains_in_one_order(name):
    domains, digits = data.open(f"{name}:test"), data.open("digits:test")
    assert domains.kind == "domains" and len(domains.a) == len(domains.b) == 397
    a, b = (side.read(np.arange(397)) for side in (domains.a, domains.b))
    assert np.array_equal(a, digits.read(np.arange(397))) and np.array_equal(domains.a.labels, domains.b.labels)
    assert np.array_equal(b, 255 - a if name == "digits-negative" else edges(a))
    assert domains.fingerprint != data.open(name).fingerprint


def test_faces_do_not_depend_on_their_neighbours():
    for name, size in (("faces", None), ("faces:test", "40x56")):
        dataset = data.open(name, size)
        numbers = np.random.default_rng(0).permutation(len(dataset))[:60]
        together = dataset.read(numbers)
        assert together.shape[1:] == dataset.shape and together.dtype == np.uint8
        assert np.array_equal(together, np.concatenate([dataset.read(numbers[i : i + 1]) for i in range(60)]))
        assert len(np.unique(together.reshape(60, -1), axis=0)) == 60
    assert (len(data.open("faces")), len(dataset)) == (50_000, 5_000)
    prints = [
        data.open(*asked).fingerprint for asked in (("faces",), ("faces:test",), ("faces", 32), ("faces", "64x48"))
    ]
    assert len(set(prints)) == 4
    assert not np.array_equal(data.open("faces:test").read(np.array([0])), data.open("faces").read(np.array([0])))


def test_action_units_are_sparse_and_consistent():
    dataset = data.open("faces")
    values = dict(zip(dataset.attribute_names, dataset.attributes.T))
    assert (
        dataset.attributes.dtype == np.float32 and dataset.attributes.min() == 0 and 0.99 < dataset.attributes.max() < 1
    )
    for name in ("AU01", "AU02", "AU04", "AU26", "AU45"):
        assert 0.49 < (values[name] == 0).mean() < 0.51 and abs(values[name][values[name] > 0].mean() - 0.5) < 0.01
    assert (np.minimum(values["AU12"], values["AU15"]) == 0).all(), "corners go up or down"
    assert abs((values["AU12"] > 0).mean() - (values["AU15"] > 0).mean()) < 0.02
    assert (values["AU25"] >= 0.5 * values["AU26"]).all(), "a dropped jaw parts the lips"
    assert np.abs(np.corrcoef(values["AU01"], values["AU45"])[0, 1]) < 0.02


def moved(numbers, unit, low, high, size=96):
    """Faces with one action unit at each of two intensities: (n, 3, H, W) float each."""
    pair = []
    for intensity in (low, high):
        units = np.zeros((len(numbers), len(drawn_faces.UNITS)), np.float32)
        units[:, list(drawn_faces.UNITS).index(unit)] = intensity
        pair.append(drawn_faces.draw(numbers, units, size, size).astype(float))
    return pair


# Where a unit works, in the frame of the head: left, right, top, bottom.
PLACES = {
    "AU01": (-0.45, 0.45, -0.55, -0.05), "AU02": (-0.55, 0.55, -0.55, -0.05), "AU04": (-0.55, 0.55, -0.45, 0.05),
    "AU12": (-0.60, 0.60, 0.00, 0.75), "AU15": (-0.40, 0.40, 0.25, 0.75), "AU25": (-0.40, 0.40, 0.25, 0.75),
    "AU26": (-0.65, 0.65, 0.05, 1.00), "AU45": (-0.55, 0.55, -0.30, 0.25),
}  # fmt: skip


@pytest.mark.parametrize("unit", drawn_faces.UNITS)
def test_an_action_unit_moves_its_own_part_of_the_head_and_more_the_stronger_it_is(unit):
    numbers, still = np.arange(12), np.zeros((12, 8), np.float32)
    rest, full = moved(numbers, unit, 0, 1)
    half = moved(numbers, unit, 0, 0.5)[1]
    little, much = (np.abs(other - rest).sum((1, 2, 3)) for other in (half, full))
    assert (little > 0).all() and (much > 1.2 * little).all() and (np.abs(full - rest).max((1, 2, 3)) > 30).all()
    smooth = moved(numbers, unit, 0.5, 0.52)
    assert np.abs(smooth[1] - smooth[0]).sum((1, 2, 3)).max() < 0.15 * much.max(), "no jumps"
    head = drawn_faces.Face(numbers, still, 96, 96)
    left, right, top, bottom = PLACES[unit]
    inside = (head.u > left) & (head.u < right) & (head.v > top) & (head.v < bottom)
    change = np.abs(full - rest).sum(1)
    assert change[inside].sum() > 0.97 * change.sum()
    worked = np.eye(8, dtype=np.float32)[[list(drawn_faces.UNITS).index(unit)] * 12]
    mask = drawn_faces.face_mask(numbers, still, 96, 96) | drawn_faces.face_mask(numbers, worked, 96, 96)
    near = torch.nn.functional.max_pool2d(torch.from_numpy(mask[:, None]).float(), 3, 1, 1)[:, 0].numpy() > 0
    assert 0.2 < mask.mean() < 0.5 and change[~near].max() < 40, "nothing that can be seen moves off the head"


@pytest.mark.parametrize("name", ["cells", "cells:test", "scenes", "scenes:test"])
def test_label_maps_do_not_depend_on_their_neighbours(name):
    for size in (None, "40x56"):
        dataset = data.open(name, size)
        numbers = np.random.default_rng(0).permutation(len(dataset))[:9]
        images, masks = dataset.read(numbers), dataset.masks(numbers)
        assert images.shape == (9, *dataset.shape) and masks.shape == (9, *dataset.shape[1:])
        assert images.dtype == masks.dtype == np.uint8
        assert np.array_equal(images, np.concatenate([dataset.read(numbers[i : i + 1]) for i in range(9)]))
        assert np.array_equal(masks, np.concatenate([dataset.masks(numbers[i : i + 1]) for i in range(9)]))
        assert len(np.unique(masks.reshape(9, -1), axis=0)) == 9
        assert (
            set(np.unique(masks)) <= {*range(dataset.num_classes), 255} and len(dataset.colours) == dataset.num_classes
        )
    prints = {
        data.open(one, size).fingerprint for one in (name, f"{name.split(':')[0]}:test") for size in (64, 32, "64x48")
    }
    assert len(prints) == (3 if name.endswith("test") else 6)
    rows = next(data.open(name, mirror=True).stream(0, 4))
    assert rows["mask"].dtype == torch.int64 and rows["mask"].shape == (4, 64, 64)


def test_every_connected_part_of_a_label_map_is_one_cell():
    from scipy.ndimage import label

    for size in (32, 64, 128):
        maps = data.open("cells", size).masks(np.arange(40))
        _, _, place = cells._edges(np.arange(40), size, size)
        for cells_here, owner in zip(maps, place):
            parts, count = label(cells_here, np.ones((3, 3)))  # corners join pixels, too
            owners = [set(np.unique(owner[parts == i])) for i in range(1, count + 1)]
            assert all(len(own) == 1 for own in owners), "two cells are joined"
            assert count >= 2 and count - len(set.union(*owners)) <= 1, "hardly a cell is in two parts"
    assert 0.3 < maps.mean() < 0.7


def test_cells_are_not_told_by_their_grey():
    dataset = data.open("cells")
    images, maps = dataset.read(np.arange(60))[:, 0], dataset.masks(np.arange(60)) > 0
    ious = []
    for low in range(0, 256, 8):  # the best band of greys there is
        for high in range(low + 8, 257, 8):
            chosen = (images >= low) & (images < high)
            ious.append((chosen & maps).sum() / (chosen | maps).sum())
    assert max(ious) < 0.6


def test_void_lies_between_classes_and_nowhere_else():
    maps = data.open("scenes").masks(np.arange(20)).astype(int)
    plain = scenes._labels(np.arange(20), 64, 64).astype(int)
    for void, whole in zip(maps, plain):
        for y, x in np.ndindex(64, 64):
            beside = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
            mixed = any(whole[i, j] != whole[y, x] for i, j in beside if 0 <= i < 64 and 0 <= j < 64)
            assert void[y, x] == (255 if mixed else whole[y, x])
    assert 0.02 < (maps == 255).mean() < 0.15


def test_scenes_are_not_told_by_their_colours():
    """The best class for each of 4,096 colours; a class is 0.9 or so by what a network sees around a pixel."""
    counts = np.zeros((4096, 7))
    train, test = data.open("scenes"), data.open("scenes:test")
    seen = {}
    for name, dataset, n in (("train", train, 300), ("test", test, 60)):
        colours = dataset.read(np.arange(n)).transpose(0, 2, 3, 1).reshape(-1, 3).astype(int) // 16 @ [256, 16, 1]
        seen[name] = colours, dataset.masks(np.arange(n)).ravel()
    colours, classes = seen["train"]
    np.add.at(counts, (colours[classes < 255], classes[classes < 255]), 1)
    share = counts.sum(0) / counts.sum()
    assert share.min() > 0.04 and share.max() < 0.5
    colours, classes = seen["test"]
    said, classes = counts.argmax(1)[colours][classes < 255], classes[classes < 255]
    ious = [((said == c) & (classes == c)).sum() / ((said == c) | (classes == c)).sum() for c in range(7)]
    assert np.mean(ious) < 0.55


def test_pairs_of_label_maps_and_scenes_show_one_place():
    pairs, maps = data.open("scenes-photo", "48x64"), data.open("scenes", "48x64")
    assert pairs.kind == "pairs" and pairs.shape == pairs.other == (3, 48, 64) and len(pairs) == 10_000
    numbers = np.array([5, 17, 4_000])
    painted, masks = pairs.a.read(numbers).transpose(0, 2, 3, 1), maps.masks(numbers)
    assert np.array_equal(painted[masks < 255], maps.colours[masks[masks < 255]])
    assert np.array_equal(pairs.b.read(numbers), maps.read(numbers))
    assert {tuple(colour) for colour in painted.reshape(-1, 3)} <= {tuple(colour) for colour in maps.colours}, "no void"
    test = data.open("scenes-photo:test", "48x64")
    assert len(test) == 1_000 and test.fingerprint != pairs.fingerprint
    assert np.array_equal(test.b.read(np.array([3])), data.open("scenes:test", "48x64").read(np.array([3])))
