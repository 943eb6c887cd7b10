"""Pictures through trained translators: any size, any file, one by one the same whatever lies beside them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gankit
from gankit import cli, models, training
from gankit.nn import OwnBatchNorm2d, instance_norm
from gankit.recipe import Recipe, Spec
from gankit.runs.trained import Trained
from gankit.translation import Translator, able, conditions, conversion, face_boxes, strips, tiles, video
from gankit.translation.abilities import Attributes, attributes_of, domains_of
from gankit.translation.conditions import Request
from gankit.translation.options import Options

ODD = str(Path(__file__).parent / "odd_translator.py")


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """(height, width, channels) uint8, smooth enough to be a picture."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    return np.dstack([np.asarray(small), rng.integers(0, 256, (height, width), np.uint8)])[:, :, :channels].squeeze()


def trained(recipe: Recipe, model: str = "odd", data: str = "digits", classes: tuple[str, ...] = ()) -> Trained:
    """A model as it is after loading, with what its config says."""
    config = {"model": model, "settings": {"data": data, "alpha": "white"}, "data": {"classes": list(classes)}}
    return Trained(recipe.requires_grad_(False).eval(), config, Path("run"), 0)


def odd(spec: Spec, **arguments: int) -> Recipe:
    torch.manual_seed(0)
    return models.find(ODD)(spec, **arguments)


@pytest.fixture(scope="module")
def colour() -> Trained:
    return trained(odd(Spec((3, 16, 16), other=(3, 16, 16))), data="horses,zebras")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of a file of one's own, on grey digits."""
    return training.train(
        ODD, outdir=tmp_path_factory.mktemp("runs"), data="digits-negative", images=16, preview=8, quiet=True
    ).folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with pictures of several kinds and sizes, and two files that are none."""
    folder = tmp_path / "in"
    (folder / "deep" / "er").mkdir(parents=True)
    Image.fromarray(picture(20, 30)).save(folder / "a.jpg")
    Image.fromarray(picture(20, 30, seed=1)).save(folder / "a.png")
    Image.fromarray(picture(33, 17, 4)).save(folder / "deep" / "alpha.png")
    Image.fromarray(picture(9, 9, 3)[:, :, 0]).save(folder / "deep" / "er" / "grey.png")
    (folder / "broken.png").write_bytes(b"not a picture")
    (folder / "notes.txt").write_text("nor this")
    return folder


def refused(capsys: pytest.CaptureFixture, *words: str, code: int = 2) -> str:
    """What the command says when it refuses."""
    with pytest.raises(SystemExit) as left:
        cli.main(["translate", *map(str, words)])
    said = capsys.readouterr()
    assert left.value.code == code and "Traceback" not in said.err
    return said.err + said.out


# Any size ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [16, 32, 48])
@pytest.mark.parametrize("size", [(70, 61), (16, 90), (33, 33)])
def test_tiles_give_what_the_whole_picture_gives(tile, size):
    """Of networks of finite reach without norms: to the last digit, wherever the cuts are."""
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 7, padding=3), nn.Tanh(), nn.AvgPool2d(2), nn.Upsample(scale_factor=2), nn.Conv2d(4, 3, 1)
    ).double()
    images = torch.rand(2, 3, *size, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        whole = net(tiles.padded(images, 2))[:, :, : size[0], : size[1]]
        cut = tiles.through(lambda x, number: net(x), images, 2, 4, tile, least=1)
    exact = tile // 2 >= 2 * 4 + 8
    assert cut.shape == whole.shape
    if exact:
        torch.testing.assert_close(cut, whole, rtol=0, atol=1e-12)
    else:  # the tile is too small for its overlaps, and says so
        assert not torch.allclose(cut, whole, rtol=0, atol=1e-12)


def test_tiles_share_the_statistics_of_one_picture():
    """Norms that met the whole picture give in tiles what they give of it; those that met a small one come near."""
    torch.manual_seed(1)
    first = [nn.Conv2d(3, 4, 3, padding=1), instance_norm(4, affine=True), nn.Tanh()]
    net = nn.Sequential(*first, nn.Conv2d(4, 4, 3, padding=1), OwnBatchNorm2d(4), nn.Conv2d(4, 3, 1)).double().eval()
    nn.init.normal_(net[1].weight), nn.init.normal_(net[1].bias), nn.init.normal_(net[4].weight)
    assert len(tiles.instance_norms(net)) == 2 and not tiles.instance_norms(
        nn.Sequential(nn.GroupNorm(2, 4), nn.BatchNorm2d(4))
    )
    images = conversion.as_tensor(np.hstack([picture(64, 90), 255 - picture(64, 90, seed=3) // 4])).double()
    with torch.no_grad():
        whole, alone = net(images), tiles.through(lambda x, number: net(x), images, 1, 2, 48)
        near = tiles.through(lambda x, number: net(x), images, 1, 2, 48, network=net)
        with tiles.shared_statistics(net, lambda: net(images)):
            same = tiles.tiled(lambda x, number: net(x), images, 48, 1, 2)
        assert torch.equal(net(images), whole), "the norms are not as they were"
    torch.testing.assert_close(same, whole, rtol=0, atol=1e-12)
    assert (near - whole).abs().mean() < 0.5 * (alone - whole).abs().mean()


def test_tiles_are_really_cut():
    seen = []
    tiles.through(lambda x, number: seen.append((number, *x.shape[2:])) or x, torch.rand(1, 3, 70, 40), 4, 2, 32)
    assert [number for number, *_ in seen] == list(range(len(seen))) and len(seen) > 4
    assert all(max(h, w) <= 32 for _, h, w in seen)


def test_an_unknown_reach_blends_and_weights_rise_linearly():
    shape = tiles.overlap_of(64, 4, None)
    weight = tiles.weights(200, 64, shape.step, shape)
    assert weight[0] == weight[-1] == 0 and weight[32] == 1 and torch.equal(weight, weight.flip(0))
    inner = weight[shape.margin : shape.margin + shape.ramp]
    torch.testing.assert_close(inner.diff(), torch.full((shape.ramp - 1,), 1 / (shape.ramp + 1), dtype=torch.float64))
    total = torch.zeros(200, dtype=torch.float64)
    for start in tiles.starts(200, 64, shape.step):
        total[start : start + 64] += tiles.weights(200, 64, start, shape)
    assert total.min() > 0, "a pixel is no tile's"


def test_label_maps_are_cut_and_not_mixed():
    images = torch.arange(64.0).view(1, 1, 1, 64).expand(1, 1, 40, 64) / 63
    classes = tiles.through(lambda x, number: (x[:, 0] * 7.99).long(), images, 4, 1, 32)
    assert torch.equal(classes, (images[:, 0] * 7.99).long())


@pytest.mark.parametrize("length,wanted", [(1, 5), (2, 9), (5, 23)])
def test_padding_reflects_as_often_as_need_be(length, wanted):
    expected = np.pad(np.arange(length), (0, wanted - length), mode="reflect")
    image = torch.arange(float(length)).view(1, 1, length, 1)
    assert tiles.padded(image, 1, wanted)[0, 0, :, 0].tolist() == expected.tolist()


def test_sides_grow_to_the_multiple_and_are_cut_back(colour):
    seen = []
    images = torch.rand(1, 3, 21, 6) * 2 - 1
    out = tiles.through(lambda x, number: seen.append(tuple(x.shape)) or x, images, 8, least=16)
    assert seen == [(1, 3, 24, 16)] and torch.equal(out, images)
    assert Translator(colour.recipe, Request({"to": "b"}, {}))(torch.zeros(1, 3, 1, 1)).shape == (1, 3, 1, 1)
    with pytest.raises(ValueError, match="returned 8x8 for 16x16"):
        tiles.through(lambda x, number: x[:, :, ::2, ::2], torch.zeros(1, 3, 16, 16), least=1)


def test_short_memory_and_large_pictures_end_in_tiles(monkeypatch):
    said: list[str] = []

    def narrow(x: Tensor, number: int) -> Tensor:
        if x.shape[2] * x.shape[3] > 64 * 64:
            raise RuntimeError("CUDA out of memory. Tried to allocate everything")
        return x

    images = torch.rand(1, 1, 200, 180)
    torch.testing.assert_close(tiles.through(narrow, images, 4, 1, say=said.append), images)
    assert "memory was short" in said[0]
    monkeypatch.setattr(tiles, "PIXELS", 100 * 100)
    monkeypatch.setattr(tiles, "TILE", 64)
    said.clear()
    torch.testing.assert_close(tiles.through(lambda x, number: x, images, 4, 1, say=said.append), images)
    assert len(said) == 1 and "tiles of 64" in said[0]
    with pytest.raises(RuntimeError, match="memory"):
        tiles.through(lambda x, number: narrow(torch.zeros(1, 1, 99, 99), 0), images)


# Files in and out ----------------------------------------------------------------------------------------------------


def test_a_folder_comes_out_as_the_same_tree(run, tree, tmp_path, capsys):
    said = refused(capsys, run, tree, "-o", tmp_path / "out", "--to", "b", "--model", ODD, code=1)
    out = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert out == {"a.jpg", "a.png", "deep/alpha.png", "deep/er/grey.png"}
    assert "1 of 5 inputs could not be used" in said and "broken.png: not an image" in said
    assert "notes.txt" in said and "3 colour pictures were given to the model as grey" in said
    alpha = Image.open(tmp_path / "out/deep/alpha.png")
    assert alpha.mode == "LA" and alpha.size == (17, 33)
    assert np.array_equal(np.asarray(alpha)[:, :, 1], picture(33, 17, 4)[:, :, 3]), "alpha was not put back"
    again = refused(capsys, run, tree, "-o", tmp_path / "out", "--to", "b", "--model", ODD)
    assert "there already: add --overwrite" in again and "and 3 more" in again
    refused(capsys, run, tree, "-o", tmp_path / "out", "--to", "b", "--model", ODD, "--overwrite", code=1)


def test_pictures_are_read_as_training_reads_them(colour, tmp_path):
    """Upright, of 16 bits, with a palette; what claims to be too large is skipped undecoded."""
    pixels = picture(10, 24)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)).save(tmp_path / "deep.png")
    Image.fromarray(pixels).convert("P").save(tmp_path / "palette.gif")
    Image.new("1", (8_200, 8_200)).save(tmp_path / "bomb.png")
    done = gankit.translate(colour, tmp_path, tmp_path / "out", to="a")
    assert [name for name, _ in done.skipped] == ["bomb.png"] and "oversized" in done.skipped[0][1]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/turned.png")), 255 - np.rot90(pixels, -1))
    assert np.array_equal(
        np.asarray(Image.open(tmp_path / "out/deep.png"))[:, :, 0].flatten(), np.rint(255 - np.arange(256) * 256 / 257)
    )
    assert Image.open(tmp_path / "out/palette.png").size == (24, 10)


def test_a_built_in_set_goes_in_by_its_name(run, tmp_path):
    done = gankit.translate(run, "digits-negative", tmp_path, to="a", n=3, model=ODD)
    assert len(done.written) == 3 and len({p.read_bytes() for p in done.written}) == 3
    domain = gankit.data.open("digits-negative").b
    number = int(done.written[0].stem)
    assert np.array_equal(np.asarray(Image.open(done.written[0])), 255 - domain.read(np.array([number]))[0, 0])


def test_a_picture_is_the_same_alone_and_among_others(colour, tree, tmp_path):
    gankit.translate(colour, tree, tmp_path / "all", to="b", batch=3)
    gankit.translate(colour, tree / "a.png", tmp_path / "one.png", to="b", batch=1)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "one.png")), np.asarray(Image.open(tmp_path / "all/a.png")))
    image = conversion.as_tensor(np.asarray(Image.open(tree / "a.png")))
    expected = conversion.as_pixels(Translator(colour.recipe, Request({"to": "b"}, {}))(image)[0])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "one.png")), expected)


def test_globs_archives_and_several_words_go_in(colour, tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tree.parent)
    assert (
        len(gankit.translate(colour, "in/**/*.png", "g", to="a", overwrite=True).written) == 3
    )  # broken.png is skipped
    assert (tree.parent / "g/deep/er/grey.png").exists()
    shutil.make_archive("packed", "zip", "in")
    assert len(gankit.translate(colour, "packed.zip", "z", to="a").written) == 4
    shutil.copytree("in/deep", "other")
    gankit.translate(colour, ["in/a.png", "other/alpha.png"], "w", to="a")
    assert (tree.parent / "w/in/a.png").exists() and (tree.parent / "w/other/alpha.png").exists()
    gankit.translate(colour, "in", "in/out", to="a")
    gankit.translate(colour, "in", "in/out", to="a", overwrite=True)
    assert not (tree / "out/out").exists(), "what was written before went in"


def test_inputs_are_never_overwritten(colour, tree, run, capsys):
    before = {p: p.read_bytes() for p in tree.rglob("*") if p.is_file()}
    for output in (tree, tree / "a.png"):
        with pytest.raises(ValueError, match="inputs are never overwritten"):
            gankit.translate(colour, tree if output == tree else tree / "a.png", output, to="b", overwrite=True)
    assert before == {p: p.read_bytes() for p in tree.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "inputs,output,said",
    [
        ("in", "out.png", "5 pictures go in, and out.png is one file"),
        ("in/nothing.png", "out", "there is no in/nothing.png"),
        ("in/a.pmg", "out", "did you mean in/a.png"),
        ("in/*.webp", "out", "no file is like"),
        ("in/a.png", "out.gif", "not written as .gif"),
        ("in/a.png", "in/notes.txt", "is a file, and neither a folder nor a picture"),
        ("empty", "out", "there is no picture in empty"),
    ],
)
def test_wrong_inputs_and_outputs_are_refused_in_one_line(colour, tree, monkeypatch, inputs, output, said):
    monkeypatch.chdir(tree.parent)
    (tree.parent / "empty").mkdir()
    with pytest.raises(ValueError, match=said) as error:
        gankit.translate(colour, inputs, output, to="b")
    assert "\n" not in str(error.value)


def test_size_and_format(colour, tree, tmp_path):
    for size, expected in (("10", (15, 10)), ("10x40", (40, 10))):
        gankit.translate(colour, tree / "a.png", tmp_path / "out", to="a", size=size, format="webp", overwrite=True)
        assert Image.open(tmp_path / "out/a.webp").size == expected
    exact = np.asarray(Image.open(tmp_path / "out/a.webp").convert("RGB"))
    resized = conversion.as_pixels(-conversion.as_picture((tree / "a.png").read_bytes(), 3, "10x40").image[0])
    assert np.array_equal(exact, resized), "webp is to lose nothing"
    gankit.translate(colour, tree / "deep/alpha.png", tmp_path / "flat.jpg", to="a")
    assert Image.open(tmp_path / "flat.jpg").mode == "RGB"


def test_what_is_wholly_transparent_has_the_background_s_colour():
    pixels = picture(8, 8, 4)
    pixels[:4, :, 3], pixels[4:, :, 3] = 0, 7
    found = conversion.from_image(Image.fromarray(pixels), 3)
    assert (found.image[0, :, :4] == 1).all() and torch.equal(
        found.image[:, :, 4:], conversion.as_tensor(pixels[4:, :, :3])
    )
    assert (conversion.from_image(Image.fromarray(pixels), 3, background="black").image[0, :, :4] == -1).all()
    assert conversion.from_image(Image.fromarray(pixels), 4).alpha is None


# What is asked for ---------------------------------------------------------------------------------------------------

JOINED = Attributes(("red", "green", "Blond_Hair", "young", "green"), (2, 3), (True, False))
UNITS = Attributes(("AU01", "AU12", "AU45"), (3,), (False,))


@pytest.mark.parametrize(
    "words,source,row,chosen",
    [
        (["red=1"], None, [1, 0, 0, 0, 0], 0),
        (["red=1", "green=0"], None, [1, 0, 0, 0, 0], 0),
        (["blond_hair"], None, [0, 0, 1, 0, 0], 1),
        (["young=0.5", "Blond_Hair=1"], None, [0, 0, 1, 0.5, 0], 1),
        (["green=1"], 1, [0, 0, 0, 0, 1], 1),
        (["green=1"], 0, [0, 1, 0, 0, 0], 0),
        (["green=1", "young=1"], None, [0, 0, 0, 1, 1], 1),
        (["young=0"], None, [0, 0, 0, 0, 0], 1),
    ],
)
def test_attributes_by_name(words, source, row, chosen):
    found, number = conditions.attribute_row(JOINED, words, source)
    assert found.tolist() == row and number == chosen


@pytest.mark.parametrize(
    "words,source,said",
    [
        (["blonde_hair=1"], None, "there is no attribute 'blonde_hair'; did you mean Blond_Hair?"),
        (["xyz=1"], None, "there are red, green"),
        (["red=yes"], None, "write NAME=VALUE with a number"),
        (["red=2"], None, "from 0 to 1"),
        (["red=1", "young=1"], None, "different data sets"),
        (["red=1", "green=1"], None, "just one of red, green holds"),
        (["red=0"], None, "ask for one of them, not none"),
        (["green=1"], None, "say which with --source 0 or 1"),
        (["red=1"], 2, "--source is 2"),
        (["young=1", "young=0"], None, "given twice"),
    ],
)
def test_wrong_attributes_are_refused(words, source, said):
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        conditions.attribute_row(JOINED, words, source)


def test_action_units_by_name_and_from_openface(tmp_path):
    assert conditions.unit_row(UNITS, ["AU12=0.8", "au1=3", "AU45=-1"]).tolist() == pytest.approx([1, 0.8, 0])
    table = tmp_path / "face.csv"
    table.write_text("frame, confidence, success, AU01_r, AU12_r, AU45_r, AU12_c\n1, 0.98, 1, 2.5, 5, 0, 1\n")
    assert conditions.unit_row(UNITS, [], str(table)).tolist() == [0.5, 1.0, 0.0]
    assert conditions.unit_row(UNITS, ["AU45=1"], str(table)).tolist() == [0.5, 1.0, 1.0]
    table.write_text("frame, confidence, success, AU01_r, AU12_r\n1, 0.98, 1, 2.5, 5\n")
    for text, said in (
        ("", "lacks AU45_r"),
        ("a,b\n1,2\n", "no table of OpenFace"),
        ("AU01_r,success\n1,0\n", "found no face"),
    ):
        if text:
            table.write_text(text)
        with pytest.raises(ValueError, match=said):
            conditions.unit_row(UNITS, [], str(table))
    with pytest.raises(ValueError, match="missing.csv"):
        conditions.unit_row(UNITS, [], "missing.csv")


def test_domains_are_called_like_their_folders(colour, tmp_path):
    assert (
        conditions.domain(colour, "zebras") == conditions.domain(colour, "b") == "b"
        and conditions.domain(colour, "Horses") == "a"
    )
    with pytest.raises(ValueError, match=r"to which domain\? --to a \(horses\) or --to b \(zebras\)"):
        conditions.domain(colour, "")
    with pytest.raises(ValueError, match="no domain 'cats'"):
        conditions.domain(colour, "cats")
    for name in ("A", "B"):
        (tmp_path / name).mkdir()
        Image.fromarray(picture(8, 8)).save(tmp_path / name / "x.png")
    assert domains_of({"settings": {"data": str(tmp_path)}}) == ("A", "B")
    assert domains_of({"settings": {"data": "digits-negative"}}) == ("a", "b")


@pytest.mark.parametrize(
    "given,said",
    [
        (dict(style="x.png"), "odd does not take --style; it takes --to a or --to b"),
        (dict(set={"young": 1}), "odd does not take --set"),
        (dict(to="b", attention=True), "odd does not take --attention"),
        (dict(to="b", overlay=True), "odd does not take --overlay"),
        (dict(to="b", tile=-1), "--tile is -1"),
        (dict(to="b", batch=0), "--batch is 0"),
        (dict(to="b", steps=1), "--steps is 1"),
        (dict(to="b", format="tga"), "--format takes"),
        (dict(to="b", colour=1), "no option 'colour'"),
        (dict(to="b", size="big"), "is no resolution"),
    ],
)
def test_what_a_model_does_not_take_is_refused(colour, tree, tmp_path, given, said):
    with pytest.raises(ValueError, match=said):
        gankit.translate(colour, tree / "a.png", tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_a_model_without_the_ability_names_those_that_have_it(tree, tmp_path):
    dcgan = trained(models.find("dcgan")(Spec((1, 16, 16)), width=8), "dcgan")
    with pytest.raises(
        ValueError, match="dcgan does not translate images; models that do are .*cyclegan.*Its abilities: sample"
    ):
        gankit.translate(dcgan, tree, tmp_path / "out")
    assert {"pix2pix", "cyclegan", "stargan", "ganimation", "unet", "adain"} <= set(able())


# The models ----------------------------------------------------------------------------------------------------------


def small(name: str, spec: Spec, **arguments: object) -> Trained:
    torch.manual_seed(0)
    return trained(models.find(name)(spec, **arguments), name, classes=[f"class{i}" for i in range(spec.num_classes)])


def test_stargan_changes_what_is_asked_and_strips_show_all(tree, tmp_path):
    spec = Spec((3, 16, 16), attributes=("red", "blue", "large", "old"), groups=(2, 2), exclusive=(True, False))
    model = small("stargan", spec, width=4, blocks=1)
    made = gankit.translate(model, tree / "a.png", tmp_path / "out", set={"blue": 1}, strip=True)
    image = conversion.as_tensor(np.asarray(Image.open(tree / "a.png")))
    expected = Translator(model.recipe)  # by hand: padded to 20x32, the vector of the first set
    with torch.no_grad():
        whole = model.recipe.translate(tiles.padded(image, 4, 16), torch.tensor([[0.0, 1, 0, 0]]), 0)[:, :, :20, :30]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/a.png")), conversion.as_pixels(whole[0]))
    assert [p.name for p in made.written] == ["a.png", "a.strip.png"] and expected.recipe is model.recipe
    only = gankit.translate(model, tree / "a.png", tmp_path / "only", strip=True)
    assert [p.name for p in only.written] == ["a.strip.png"]
    asked = conditions.request_of(model, Options(set=("old=1",)))
    strip = strips.attribute_strip(model, Translator(model.recipe, asked), asked, image, 0)
    assert strip.heads == ["input", "red", "blue", "large", "not old"]
    alone = strips.attribute_strip(model, Translator(model.recipe), None, image, 0)
    assert alone.heads == ["input", "red", "blue", "none", "large", "old"]
    with pytest.raises(ValueError, match="what is to change"):
        gankit.translate(model, tree / "a.png", tmp_path / "none")
    with pytest.raises(ValueError, match="takes --set NAME=VALUE, of red, blue, large, old"):
        gankit.translate(model, tree / "a.png", tmp_path / "none", au="AU12=1")


def test_classes_are_attributes_by_their_names(tree, tmp_path):
    model = small("stargan", Spec((3, 16, 16), num_classes=3), width=4, blocks=1)
    assert attributes_of(model) == Attributes(("class0", "class1", "class2"), (3,), (True,))
    assert gankit.translate(model, tree / "a.png", tmp_path / "out", set="class2").written


def test_ganimation_s_strip_and_mask(tree, tmp_path):
    model = small("ganimation", Spec((3, 16, 16), attributes=UNITS.names, exclusive=(False,)), width=4, blocks=1)
    made = gankit.translate(model, tree / "a.png", tmp_path / "out", au="AU12=0.8", strip=True, attention=True, steps=3)
    assert [p.name for p in made.written] == ["a.png", "a.strip.png", "a.attention.png"]
    image = conversion.as_tensor(np.asarray(Image.open(tree / "a.png")))
    asked = conditions.request_of(model, Options(au=("AU12=0.8",), steps=3))
    strip = strips.intensity_strip(model, Translator(model.recipe, asked), Options(steps=3), asked, image, 0)
    assert strip.heads == ["input", "0.00", "0.50", "1.00"] and len(strip.rows) == 1
    with torch.no_grad():
        half = model.recipe.translate(tiles.padded(image, 4, 16), torch.tensor([[0, 0.4, 0]]))[0, :, :20, :30]
    torch.testing.assert_close(strip.rows[0][2], half)
    every = strips.intensity_strip(model, Translator(model.recipe), Options(steps=2), None, image, 0)
    assert len(every.rows) == 3 and every.sides == list(UNITS.names)
    with pytest.raises(ValueError, match="--au NAME=VALUE"):
        gankit.translate(model, tree / "a.png", tmp_path / "none", set="AU12=1")


def test_pix2pix_draws_by_seed_and_name_alone(tmp_path):
    torch.manual_seed(0)
    model = trained(
        models.find("pix2pix")(Spec((1, 32, 32), other=(3, 32, 32)), width=4, jitter=False, patch=16), "pix2pix"
    )
    for name in ("x", "y", "z"):
        Image.fromarray(picture(20, 20)).save(tmp_path / f"{name}.png")
    gankit.translate(model, [tmp_path / f"{n}.png" for n in "xyz"], tmp_path / "all", batch=2)
    gankit.translate(model, tmp_path / "z.png", tmp_path / "one", batch=1)
    gankit.translate(model, tmp_path / "z.png", tmp_path / "other", seed=1)
    x, z, alone, other = (
        np.asarray(Image.open(tmp_path / p)) for p in ("all/x.png", "all/z.png", "one/z.png", "other/z.png")
    )
    assert z.shape == (20, 20, 3) and np.abs(z.astype(int) - alone).max() <= 1  # batches may differ in the last bit
    assert np.abs(z.astype(int) - x).max() > 1 and np.abs(z.astype(int) - other).max() > 1
    back = trained(
        models.find("pix2pix")(Spec((1, 32, 32), other=(3, 32, 32)), width=4, patch=16, direction="BtoA"), "pix2pix"
    )
    assert Translator(back.recipe).shape == (3, 32, 32)
    gankit.translate(model, tmp_path / "z.png", tmp_path / "to_b", to="b")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "to_b/z.png")), alone), "its one direction may be typed"
    for one, to, said in ((model, "a", "from a to b alone"), (back, "b", "from b to a alone"), (model, "c", "domain")):
        with pytest.raises(ValueError, match=said):
            gankit.translate(one, tmp_path / "z.png", tmp_path / "none", to=to)


def test_adain_mixes_styles_in_their_regions(tmp_path):
    model = small("adain", Spec((3, 32, 32), other=(3, 32, 32)), encoder="small")
    for name, seed in (("content", 0), ("first", 1), ("second", 2)):
        Image.fromarray(picture(40, 40, seed=seed)).save(tmp_path / f"{name}.png")
    half = np.zeros((40, 40), np.uint8)
    half[:, :20] = 255
    Image.fromarray(half).save(tmp_path / "left.png")
    content, styles = tmp_path / "content.png", (tmp_path / "first.png", tmp_path / "second.png")

    def made(**given: object) -> np.ndarray:
        done = gankit.translate(model, content, tmp_path / "out", overwrite=True, **given)
        return np.asarray(Image.open(done.written[0])).astype(int)

    image = conversion.as_tensor(picture(40, 40))
    with torch.no_grad():
        both = [conversion.as_tensor(picture(40, 40, seed=seed))[0] for seed in (1, 2)]
        expected = model.recipe.translate(image, both, weights=torch.tensor([0.7, 0.3]))
    assert np.array_equal(made(style=styles, mix="0.7,0.3"), conversion.as_pixels(expected[0]))
    first, both = made(style=styles, mix="1,0"), made(style=styles, mask=tmp_path / "left.png")
    assert np.array_equal(first, made(style=styles[0])) and not np.array_equal(both, first)
    assert not np.array_equal(made(style=styles[0], keep_colour=True), first)
    strip = gankit.translate(model, content, tmp_path / "strip", style=styles[0], strip=True, steps=3)
    assert strip.written[1].name == "content.strip.png"
    for given, said in (
        (dict(), "whose style"), (dict(style=styles, mix="1"), "2 styles need as many weights"),
        (dict(style=styles, mix="a,b"), "write weights"),
        (dict(style=styles[0], strength=2.0), "--strength is 2.0"), (dict(style="nowhere.png"), "nowhere.png"),
        (dict(style=(*styles, content), mask=tmp_path / "left.png"), "3 styles need as many masks"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            made(**given)


def test_segmentation_writes_numbers_with_a_palette(tree, tmp_path):
    model = small("unet", Spec((3, 32, 32), num_classes=3), levels=2, width=4)
    done = gankit.translate(model, tree / "a.jpg", tmp_path / "out", overlay=True, strip=True)
    assert [p.name for p in done.written] == ["a.png", "a.overlay.png", "a.strip.png"]
    mask = Image.open(tmp_path / "out/a.png")
    image = conversion.as_picture((tree / "a.jpg").read_bytes(), 3).image
    with torch.no_grad():
        expected = model.recipe.segment(image)[0].numpy()
    assert mask.mode == "P" and np.array_equal(np.asarray(mask), expected)
    assert mask.getpalette()[:9] == gankit.data.palette(3).flatten().tolist()
    over, colours = np.asarray(Image.open(tmp_path / "out/a.overlay.png")), gankit.data.palette(3).astype(float)
    half = np.where(
        expected[:, :, None] == 0,
        conversion.as_pixels(image[0]),
        (conversion.as_pixels(image[0]) + colours[expected]) / 2,
    )
    assert np.abs(over - half).max() <= 0.5
    tiled = Translator(model.recipe, tile=8)(image)
    assert np.array_equal(tiled[0].numpy(), expected)
    with pytest.raises(ValueError, match="written as .png"):
        gankit.translate(model, tree / "a.jpg", tmp_path / "map.jpg")
    with pytest.raises(ValueError, match="unet does not take --to"):
        gankit.translate(model, tree / "a.jpg", tmp_path / "b", to="b")


def test_label_maps_are_painted_in_the_palette_of_those_that_were_learned(tmp_path):
    colours = [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    for part in ("images", "masks"):
        (tmp_path / "set" / part).mkdir(parents=True)
    for i in range(4):
        classes = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16) % 3)
        classes.putpalette(np.array(colours, np.uint8).tobytes())
        classes.save(tmp_path / "set" / "masks" / f"{i}.png")
        Image.fromarray(picture(16, 16, seed=i)).save(tmp_path / "set" / "images" / f"{i}.png")
    run = gankit.train(
        "unet", data=str(tmp_path / "set"), preset="small", levels=1, width=4, batch=2, images=4, preview=0, quiet=True,
        outdir=tmp_path / "runs"
    )  # fmt: skip
    gankit.translate(str(run.folder), tmp_path / "set" / "images" / "0.png", tmp_path / "map.png")
    assert Image.open(tmp_path / "map.png").getpalette()[:9] == np.ravel(colours).tolist()


def test_a_round_trip_says_how_far_it_is_off(colour, tree, tmp_path, capsys):
    done = gankit.translate(colour, tree / "a.png", tmp_path / "out", to="b", round_trip=True)
    image = conversion.as_tensor(np.asarray(Image.open(tree / "a.png")))
    with torch.no_grad():
        there = colour.recipe.translate(tiles.padded(image, 4, 16))[:, :, :20, :30]
    error = (-there.double() - image.double()).abs().mean().item()
    assert done.measured == [("a.png", f"to b and back: L1 {error:.4f} of a range of 2")]
    assert done.written[1].name == "a.strip.png"


def test_strips_of_many_pictures_break_into_rows():
    cells = [torch.full((3, 8, 8), i / 10) for i in range(11)]
    made = strips.Strip([str(i) for i in range(11)], [cells[: strips.WIDE], cells[strips.WIDE :]]).picture()
    one = strips.Strip([str(i) for i in range(strips.WIDE)], [cells[: strips.WIDE]]).picture()
    assert made.width == one.width and made.height == 2 * one.height
    assert max(strips.fit_cell(torch.zeros(3, 700, 100)).shape) == strips.CELL


# Faces ---------------------------------------------------------------------------------------------------------------


def test_a_face_is_blended_back_and_nothing_else_changes():
    pixels = picture(60, 80)
    box = face_boxes.Box(20, 30, 24)
    made = face_boxes.paste(pixels, np.full((16, 16, 3), 255, np.uint8), box)
    inside = np.zeros((60, 80), bool)
    inside[20:44, 30:54] = True
    assert np.array_equal(made[~inside], pixels[~inside]), "what is outside the face changed"
    assert (made[28:36, 38:46] == 255).all(), "the face is not there"
    edge = made[32, 30].astype(int) - pixels[32, 30]
    assert np.abs(edge).max() < 40, "the edge is hard"
    assert np.array_equal(face_boxes.paste(pixels, np.full((8, 8, 3), 255, np.uint8), box, np.zeros((8, 8))), pixels)
    beyond = face_boxes.Box(-10, 70, 24)  # over the upper right corner
    assert face_boxes.crop(pixels, beyond, 24, 24).shape == (24, 24, 3)
    assert face_boxes.paste(pixels, face_boxes.crop(pixels, beyond, 24, 24), beyond).shape == pixels.shape
    assert np.array_equal(face_boxes.crop(pixels, box, 24, 24), pixels[20:44, 30:54])
    assert np.array_equal(face_boxes.reflected_indices(np.arange(-3, 8), 5), np.pad(np.arange(5), 3, mode="reflect"))


def test_faces_are_found_changed_and_the_rest_is_kept(tmp_path, monkeypatch):
    """With a detector that finds two faces in large pictures and none in small ones."""
    monkeypatch.setattr(
        face_boxes,
        "find_faces",
        lambda pixels, margin: [face_boxes.Box(4, 4, 20), face_boxes.Box(30, 34, 16)] if len(pixels) > 30 else [],
    )
    model = small("ganimation", Spec((3, 16, 16), attributes=UNITS.names, exclusive=(False,)), width=4, blocks=1)
    Image.fromarray(picture(50, 60)).save(tmp_path / "two.png")
    Image.fromarray(picture(20, 20)).save(tmp_path / "none.png")
    done = gankit.translate(
        model, [tmp_path / "two.png", tmp_path / "none.png"], tmp_path / "out", au="AU12=1", faces=True, strip=True
    )
    two = np.asarray(Image.open(tmp_path / "out/two.png"))
    inside = np.zeros((50, 60), bool)
    inside[4:24, 4:24] = inside[30:46, 34:50] = True
    assert np.array_equal(two[~inside], picture(50, 60)[~inside])
    for part in (np.s_[8:20, 8:20], np.s_[34:42, 38:46]):
        assert np.abs(two[part].astype(int) - picture(50, 60)[part]).max() > 10
    assert (tmp_path / "out/none.png").read_bytes() == (tmp_path / "none.png").read_bytes()
    assert done.measured == [("none.png", "no face was found; the picture is copied")]
    only = gankit.translate(model, tmp_path / "none.png", tmp_path / "only", faces=True, strip=True)
    assert only.measured == [("none.png", "no face was found")] and not only.written
    assert (tmp_path / "out/two.strip.png").exists() and not (tmp_path / "out/none.strip.png").exists()


def test_without_opencv_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ValueError, match=r"pip install 'gankit\[faces\]'"):
        face_boxes.find_faces(picture(40, 40))


def test_opencv_finds_a_face():
    pytest.importorskip("cv2")
    data = pytest.importorskip("skimage.data")
    boxes = face_boxes.find_faces(data.astronaut(), 0.5)
    assert len(boxes) == 1
    top, left, side = boxes[0]
    assert top < 100 < 150 < top + side and left < 200 < 250 < left + side, "eyes and mouth are inside"
    assert not face_boxes.find_faces(np.zeros((100, 100), np.uint8))


# Videos --------------------------------------------------------------------------------------------------------------


def test_without_ffmpeg_a_video_is_skipped_with_its_reason(colour, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    (tmp_path / "clip.mp4").write_bytes(b"frames")
    done = gankit.translate(colour, tmp_path / "clip.mp4", tmp_path / "out.mp4", to="a")
    assert done.skipped == [
        ("clip.mp4", "videos need ffmpeg, and it is not on the PATH: install it, or give the frames as pictures")
    ]


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="there is no ffmpeg")
def test_a_video_goes_through_frame_by_frame_with_its_sound(colour, tmp_path, monkeypatch):
    source, out = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    command = ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=65x48:rate=12:duration=1"]
    subprocess.run(
        [*command, "-f", "lavfi", "-i", "sine=duration=1", "-vf", "crop=64:48", "-pix_fmt", "yuv420p", str(source)],
        check=True,
    )
    done = gankit.translate(colour, source, out, to="a", batch=5)
    assert done.written == [out] and not done.skipped
    before, after = video.read_header(source), video.read_header(out)
    assert before == after == video.VideoHeader(48, 64, "12/1")
    monkeypatch.setattr(face_boxes, "find_faces", lambda pixels, margin: [])
    assert gankit.translate(
        colour, source, tmp_path / "faces.mp4", to="a", faces=True
    ).written  # no face in it, and no harm
    frames, negative = list(video.frames(source, before)), list(video.frames(out, after))
    assert len(frames) == len(negative) == 12
    assert np.abs(255 - frames[5].astype(int) - negative[5]).mean() < 6, "it is not the negative"
    streams = subprocess.run(["ffmpeg", "-i", str(out)], capture_output=True, text=True).stderr
    assert "Audio:" in streams
    with pytest.raises(ValueError, match="cannot read"):
        video.read_header(Path(__file__))


# Around it -----------------------------------------------------------------------------------------------------------


def test_the_command_says_what_is_missing(run, tree, capsys):
    assert "translate what?" in refused(capsys, run)
    assert "to which domain? --to a or --to b" in refused(capsys, run, tree / "a.png", "--model", ODD)
    for name, flag in (
        ("cyclegan", "--to b"),
        ("stargan", "--set NAME=1"),
        ("ganimation", "--au NAME=0.8"),
        ("unet", "-o OUTPUT\n"),
    ):
        cli.main(["show", name])
        assert flag in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["translate", "--help"])
    assert "--keep-colour" in capsys.readouterr().out


def test_sample_and_report_of_a_translator(run, capsys):
    with pytest.raises(SystemExit):
        cli.main(["sample", str(run), "--model", ODD])
    assert "gankit translate RUN INPUT" in capsys.readouterr().err
    page = (run / "report.html").read_text()
    assert "input, output and target" in page and "fixed latents" not in page
