"""U-Net: sizes and crops, tiles, deformation, weights of pixels, and void pixels."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from gankit.losses import VOID, map_cross_entropy
from gankit.models.unet import Network, UNet, border_weight, components, deform, init_he, tiles
from gankit.recipe import Batch, Spec

GREY = Spec((1, 24, 20), num_classes=2)
FORMS = {"valid": dict(), "same": dict(padding="same", norm=True)}


def tiny(spec: Spec = GREY, **more) -> UNet:
    torch.manual_seed(0)
    return UNet(spec, **dict(levels=2, width=2) | more).double()


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def blobs(n: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Masks with several cells each, some at the edges."""
    noise = np.random.default_rng(seed).normal(size=(n, height, width))
    return torch.from_numpy((ndimage.gaussian_filter(noise, (0, 2, 2)) > 0.1).astype(np.int64))


def batch_of(n: int = 4, mask: torch.Tensor | None = None) -> Batch:
    return Batch({"real": normal(n, 1, 24, 20), "mask": blobs(n, 24, 20) if mask is None else mask})


# The network ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "channels, classes, norm, count",
    [
        (1, 2, False, 31_030_658),
        (3, 1, False, 31_031_745),
        (3, 2, False, 31_031_810),
        (1, 1, False, 31_030_593),
        (3, 1, True, 31_037_633),
        (3, 2, True, 31_037_698),
    ],
)
def test_counts(channels, classes, norm, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in Network(channels, classes, 4, 64, int(norm), norm, 0.5).parameters()) == count


def test_maps_are_those_of_the_paper_s_figure():
    net, sides = Network(1, 2, 4, 1, 0, False, 0.5), []
    for layer in net.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            layer.register_forward_hook(lambda _, __, x: sides.append(x.shape[2]))
    net(torch.zeros(1, 1, 572, 572))
    assert len(sides) == 23
    downs = [570, 568, 282, 280, 138, 136, 66, 64, 30, 28]
    assert sides == [*downs, *(56, 54, 52), *(104, 102, 100), *(200, 198, 196), *(392, 390, 388), 388]
    assert net(torch.zeros(1, 1, 188, 188)).shape == (1, 2, 4, 4)
    assert net(torch.zeros(1, 1, 188, 204)).shape == (1, 2, 4, 20)


def test_a_skip_is_cropped_at_its_centre_and_stands_first():
    net = Network(1, 1, 1, 1, 0, False, 0.0).double()
    seen = {}
    net.down[0].register_forward_hook(lambda _, __, x: seen.update(skip=x))
    net.up[0].register_forward_hook(lambda _, __, x: seen.update(up=x))
    net.merge[0].register_forward_pre_hook(lambda _, x: seen.update(joined=x[0]))
    net(normal(1, 1, 20, 24))
    assert torch.equal(seen["joined"], torch.cat([seen["skip"][:, :, 4:-4, 4:-4], seen["up"]], 1))


def test_weights_begin_as_he_has_them():
    torch.manual_seed(0)
    net = Network(1, 2, 2, 64, 0, False, 0.5)
    init_he(net)
    for layer, inputs in (net.down[0][2], 9 * 64), (net.up[1], 128), (net.head, 64), (net.merge[0][0], 9 * 256):
        assert abs(layer.weight.std() / math.sqrt(2 / inputs) - 1) < (0.1 if layer is net.head else 0.02)
        assert not layer.bias.any()


def test_dropout_is_at_the_end_of_the_way_down():
    recipe, calls = tiny(levels=3), []
    recipe.net.dropout.register_forward_hook(lambda _, x, __: calls.append(x[0].shape[1]))
    recipe.scores(normal(1, 1, 8, 8))
    assert calls == [8, 16] and recipe.net.dropout.p == 0.5


# Tiles ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_tiles_change_no_logit_at_any_size(form, levels):
    recipe = tiny(levels=levels, width=1, **FORMS[form]).eval()
    for height, width in (1, 3), (17, 33), (70, 41):
        images = normal(2, 1, height, width)
        with torch.no_grad():
            whole = recipe.scores(images, 0)
            assert whole.shape == (2, 2, height, width)
            for tile in 1, 20, 33:
                assert (recipe.scores(images, tile) - whole).abs().max() < 1e-12
            assert torch.equal(recipe.segment(images), whole.argmax(1))


def test_valid_scores_are_one_pass_over_the_mirrored_image():
    recipe, images = tiny(levels=4, width=1).eval(), normal(1, 1, 100, 93)
    with torch.no_grad():
        wide = torch.from_numpy(np.pad(images.numpy(), [(0, 0), (0, 0), (92, 92 + 16), (92, 92 + 7)], "reflect"))
        assert (recipe.scores(images) - recipe.net(wide)[:, :, :100, :93]).abs().max() < 1e-12
    assert [tile.last - tile.first for tile in tiles(700, 388, 4, True)] == [572, 508]
    assert [tile.keep for tile in tiles(388, 388, 4, True)] == [388]
    assert len(list(tiles(388, 387, 4, True))) == 2


def test_padded_tiles_are_the_network_s_own_answer():
    recipe, images = tiny(**FORMS["same"]).eval(), normal(1, 1, 48, 64)
    with torch.no_grad():
        assert (recipe.scores(images, 8) - recipe.net(images)).abs().max() < 1e-12
    train = tiny(Spec((1, 4, 4), num_classes=2), **FORMS["same"]).train()
    train.scores(normal(1, 1, 1, 1))  # batch norm over one pixel would raise


# Deformation ---------------------------------------------------------------------------------------------------------


def test_images_and_masks_are_bent_and_turned_alike_and_as_defined():
    images, mask = normal(2, 2, 9, 12), torch.randint(4, (2, 9, 12), generator=torch.Generator().manual_seed(1))
    mask[:, 2:4] = VOID
    batch = Batch({"real": images, "mask": mask}, seed=3)
    bent, labels = deform(images, mask, batch.draw, 1.5, 40.0, 0.2)
    again = Batch({"real": images}, seed=3)
    numbers = again.draw(lambda n: torch.cat([torch.randn(n, 18), torch.rand(n, 3) * 2 - 1], 1))
    for i in range(2):
        field = F.interpolate(1.5 * numbers[i, :18].view(1, 2, 3, 3), (9, 12), mode="bicubic", align_corners=True)[0]
        grid = 1.5 * numbers[i, :18].view(2, 3, 3)
        assert torch.allclose(field[:, [0, 0, 8, 4], [0, 11, 11, 0]], grid[:, [0, 0, 2, 1], [0, 2, 2, 0]])
        angle, contrast, brightness = numbers[i, 18:].tolist()
        cos, sin = math.cos(math.radians(40 * angle)), math.sin(math.radians(40 * angle))
        rows, columns = np.mgrid[0:9, 0:12] - np.array([4, 5.5])[:, None, None]
        at = np.stack([cos * rows + sin * columns + 4, cos * columns - sin * rows + 5.5]) + field.numpy()
        for channel in range(2):
            expected = ndimage.map_coordinates(images[i, channel].numpy(), at, order=1, mode="mirror")
            expected = expected * (1 + 0.2 * contrast) + 0.2 * brightness
            assert np.abs(bent[i, channel].numpy() - expected).max() < 1e-12
        assert np.array_equal(labels[i].numpy(), ndimage.map_coordinates(mask[i].numpy(), at, order=0, mode="mirror"))
    assert (labels == VOID).any() and set(labels.unique().tolist()) <= {0, 1, 2, 3, VOID}


def test_each_change_can_be_had_alone_or_not_at_all():
    images, mask = normal(2, 1, 8, 8), blobs(2, 8, 8)

    def changed(*options: float) -> tuple[torch.Tensor, torch.Tensor]:
        return deform(images, mask, Batch({"real": images}).draw, *options)

    same, labels = changed(0.0, 0.0, 0.0)
    assert torch.equal(same, images) and torch.equal(labels, mask)
    grey, labels = changed(0.0, 0.0, 0.3)
    assert not torch.equal(grey, images) and torch.equal(labels, mask)
    for options in (1.0, 0.0, 0.0), (0.0, 90.0, 0.0):
        bent, labels = changed(*options)
        assert not torch.equal(bent, images) and not torch.equal(labels, mask)


# Weights and loss ----------------------------------------------------------------------------------------------------


def test_components_are_scipy_s():
    masks = [*(blobs(3, 20, 17) > 0), torch.ones(20, 17, dtype=torch.bool), torch.zeros(20, 17, dtype=torch.bool)]
    spiral = torch.zeros(20, 17, dtype=torch.bool)
    spiral[::2], spiral[1::4, -1], spiral[3::4, 0] = True, True, True
    masks.append(spiral)
    for inside, actual in zip(masks, components(torch.stack(masks))):
        expected = ndimage.label(inside.numpy())[0]
        pairs = set(zip(expected.ravel().tolist(), actual.flatten().tolist()))
        assert len(pairs) == len(np.unique(expected)) == len(actual.unique()) and (actual > 0).equal(inside)


@pytest.mark.parametrize("chunk", [1, 2**20])
def test_border_weights_are_the_paper_s_formula(chunk, monkeypatch):
    monkeypatch.setattr("gankit.models.unet.CHUNK", chunk)
    masks = torch.cat([blobs(2, 30, 23), torch.zeros(1, 30, 23, dtype=torch.int64)])
    masks[1][masks[1] > 0] = 3  # a cell may belong to any class
    masks[0, :5, :5] = VOID
    actual = border_weight(masks, 10.0, 5.0, torch.float64)
    for mask, weight in zip(masks.numpy(), actual):
        cells = (mask > 0) & (mask != VOID)
        border = cells & ~ndimage.binary_erosion(cells, border_value=1)
        numbers, count = ndimage.label(cells)
        expected = np.zeros(mask.shape)
        if count > 1:
            each = [ndimage.distance_transform_edt(~(border & (numbers == i + 1))) for i in range(count)]
            nearest = np.sort(each, axis=0)
            expected = 10 * np.exp(-((nearest[0] + nearest[1]) ** 2) / 50)
        assert np.abs(weight.numpy() - expected).max() < 1e-12
    assert actual[0].max() > 5 and not actual[2].any()


def test_the_ground_between_touching_cells_weighs_most():
    mask = torch.zeros(1, 21, 41, dtype=torch.int64)
    mask[:, 5:16, 5:20] = mask[:, 5:16, 21:36] = 1
    weight = border_weight(mask)
    assert weight[0, 10, 20] == weight.max() == pytest.approx(10 * math.exp(-4 / 50))
    assert weight[0, 10, 2] < 0.1 < weight[0, 2, 20] and weight[0, 10, 12] < weight[0, 10, 18]
    one = mask.clone()
    one[:, 10, 20] = 1  # joined: one cell, no border between
    assert not border_weight(one).any()


def test_void_pixels_count_nothing_and_the_rest_as_written_out():
    logits, mask, weight = normal(2, 3, 4, 5), torch.randint(3, (2, 4, 5)), normal(2, 4, 5, seed=1).abs()
    mask[0, 1:3] = VOID
    expected = 0.0
    for i, y, x in np.ndindex(2, 4, 5):
        if mask[i, y, x] != VOID:
            expected -= (weight[i, y, x] * logits[i, :, y, x].log_softmax(0)[mask[i, y, x]]).item() / 40
    assert map_cross_entropy(logits, mask, weight).item() == pytest.approx(expected, abs=1e-12)
    moved = logits.clone()
    moved[0, :, 1:3] += normal(3, 2, 5, seed=2)
    assert torch.equal(map_cross_entropy(moved, mask, weight), map_cross_entropy(logits, mask, weight))


def test_the_loss_is_that_of_the_bent_batch_and_exact_in_parts():
    recipe = tiny(class_weights="1,2.5", elastic=1.0, dropout=0.0).eval()
    mask = blobs(4, 24, 20)
    mask[0, 3:9] = VOID
    batch = batch_of(mask=mask)
    whole, outputs = recipe.loss(batch)
    images, bent = deform(batch.real, mask, batch_of().draw, 1.0, 180.0, 0.1)
    weight = torch.tensor([1, 2.5], dtype=torch.float64)[bent.clamp(max=1)]
    weight = weight + border_weight(bent, 10.0, 5.0, torch.float64)
    logits, is_labelled = recipe.scores(images), bent != VOID
    assert torch.equal(whole, map_cross_entropy(logits, bent, weight))
    right = [(logits[i].argmax(0) == bent[i])[is_labelled[i]].double().mean() for i in range(4)]
    assert outputs["right"].item() == pytest.approx(sum(right).item() / 4, abs=1e-6)
    turn = batch.turn
    parts = [recipe.loss(part)[0] * len(part) / 4 for _, part in batch_of(mask=mask).split(3, turn)]
    assert abs(sum(parts) - whole) < 1e-12


def test_balanced_weights_follow_the_shares_of_all_masks_seen():
    class Quiet:
        def update(self, *_: object) -> None: ...

        def mean(self, tensor: torch.Tensor) -> torch.Tensor:
            return tensor / 2  # as if a second process had no pixels

    recipe = tiny(Spec((1, 24, 20), num_classes=3))
    mask = torch.zeros(2, 24, 20, dtype=torch.int64)
    mask[0, :6], mask[1, :10] = 1, VOID
    batch = Batch({"real": normal(2, 1, 24, 20), "mask": mask}, size=4)
    for _ in range(2):
        recipe.step(batch, Quiet())
    assert recipe.counted.tolist() == [2 * (960 - 120 - 200), 240, 0]
    weights = recipe.class_weights()
    assert torch.allclose(weights, torch.tensor([760 / 1280, 760 / 240, 0], dtype=torch.float64))
    assert (weights * recipe.counted).sum() / recipe.counted.sum() == pytest.approx(1)
    assert tiny(class_weights="none").class_weights().tolist() == [1, 1]
    assert tiny(class_weights="1,2.5").class_weights().tolist() == [1, 2.5]


# By the loop ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(class_weights="1,2"), "write balanced, none, or 3 numbers of 0 or more: 1,1,1"),
        (dict(class_weights="1,x,2"), "write balanced"),
        (dict(class_weights="1,-1,2"), "write balanced"),
        (dict(levels=0), "levels is 0; it must be at least 1"),
        (dict(tile=-1), "tile is -1"),
    ],
)
def test_bad_options_say_what_to_write(options, words):
    with pytest.raises(ValueError, match=words):
        UNet(Spec((3, 16, 16), num_classes=3), **options)


def test_masks_of_one_class_are_refused():
    with pytest.raises(ValueError, match="unet needs masks of two or more classes; this data has 1"):
        UNet(Spec((3, 16, 16), num_classes=1))
