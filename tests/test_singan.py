"""SinGAN: sizes of the pyramid, noise, training scale by scale, the penalty at each pixel, and tools and metrics."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gankit
from gankit import cli, explore, latent, pictures, training
from gankit.models.singan import REACH, SinGAN, pyramid, resize
from gankit.penalties import wgan_gp_pixels
from gankit.recipe import Batch, Spec
from gankit.runs.config import read_config
from gankit.runs.files import read_tensors
from tests.pages import HOUSE

TINY = dict(
    data="photo:china:whole",
    resolution="32x44",
    quiet=True,
    least=14,
    most=44,
    factor=0.4,
    width=6,
    iterations=4,
    updates=2,
)


@pytest.mark.parametrize(
    "height, width, count, last",
    [
        (250, 250, 11, (250, 250)),
        (300, 400, 9, (188, 250)),
        (164, 248, 9, (164, 248)),
        (20, 90, 1, (20, 90)),
        (60, 1000, 1, (15, 250)),
        (1080, 1920, 8, (141, 250)),
    ],
)
def test_the_pyramid_has_the_paper_s_sizes(height, width, count, last):
    sizes = pyramid(height, width, 25, 250, 0.75)
    assert len(sizes) == count and sizes[-1] == last
    assert count == 1 or min(sizes[0]) == 25
    assert pyramid(*sizes[-1], 25, 250, 0.75, len(sizes)) == sizes  # from the reduced image
    if (height, width) == (250, 250):
        assert [h for h, _ in sizes] == [25, 32, 40, 50, 63, 80, 100, 126, 158, 199, 250]


@pytest.mark.parametrize("shape, g, d", [((3, 300, 400), 1_029_147, 1_019_913)])
def test_nine_scales_have_the_published_counts(shape, g, d):
    with torch.device("meta"):
        recipe = SinGAN(Spec(shape))
    counts = [[sum(p.numel() for p in net.parameters()) for net in nets] for nets in (recipe.g, recipe.d)]
    assert [c[0] for c in counts] == [29_763, 29_185]
    assert [c[4] for c in counts] == [114_819, 113_665] and [c[8] for c in counts] == [450_819, 448_513]
    assert [sum(c) for c in counts] == [g, d]


def test_the_penalty_is_taken_at_each_pixel():
    torch.manual_seed(0)
    net = torch.nn.Conv2d(3, 1, 3).double()
    real, fake = torch.randn(2, 1, 3, 6, 7, dtype=torch.float64)
    penalty = wgan_gp_pixels(net, real, fake, lambda sampler: torch.full((1,), 0.25, dtype=torch.float64))
    at = (real + 0.25 * (fake - real)).requires_grad_()
    total = sum(net(at)[0, 0, y, x] for y in range(4) for x in range(5))
    grad = torch.autograd.grad(total, at)[0][0]
    by_hand = sum((grad[:, y, x].norm() - 1) ** 2 for y in range(6) for x in range(7)) / 42
    assert abs(penalty - by_hand) < 1e-12


def test_an_interrupted_pyramid_ends_with_the_same_bits(tmp_path, interrupt):
    options = TINY | dict(preview=4, save=2, log=2)
    whole = training.train("singan", outdir=tmp_path / "whole", **options)
    assert whole.images == whole.recipe.length == 4 * len(whole.recipe.sizes) and len(whole.recipe.sizes) == 3
    broken = interrupt(6, "singan", outdir=tmp_path / "broken", images=12, **options)
    torch.manual_seed(3)
    training.resume(broken, quiet=True)
    for file in ("state.safetensors", "weights.safetensors"):
        a, b = (read_tensors(folder / file)[0] for folder in (whole.folder, broken))
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_scale_begins_from_the_one_below_and_leaves_it_alone(tmp_path):
    seen = {}

    class Watched(SinGAN):
        def enter(self, index: int, batch: Batch) -> None:
            super().enter(index, batch)
            seen[index] = {k: v.clone() for k, v in self.state_dict().items()}
            if index:
                rec = resize(self.rebuilt(index - 1), self.sizes[index])
                error = (resize(batch.real, self.sizes[index]) - rec).square().mean().sqrt()
                assert torch.equal(self.amplitudes[index], 0.1 * error)
                assert torch.equal(self.g[index].net[0].weight, self.g[index - 1].net[0].weight)

    run = training.train(Watched, outdir=tmp_path, preview=0, **TINY)
    assert set(seen) == {0, 1, 2}
    after = run.recipe.state_dict()
    for name, value in seen[2].items():
        scale = name.split(".")[1] if name[1] == "." else ""
        if value.ndim > 1 or scale != "2":
            assert torch.equal(after[name], value) == (scale != "2"), name
    assert not torch.equal(seen[1]["g.0.net.0.weight"], seen[0]["g.0.net.0.weight"])


def test_any_size_is_drawn_and_a_start_keeps_what_is_below(tmp_path):
    recipe = gankit.load(training.train("singan", outdir=tmp_path, preview=0, **TINY).folder).recipe
    assert latent.sample(recipe, range(2)).shape == (2, 3, 32, 44)
    wide = [(h, 2 * w) for h, w in recipe.sizes]
    with torch.no_grad():
        drawn = recipe.draw(lambda i: torch.randn(1, *recipe.maps(i, wide[i])), wide)
        assert drawn.shape == (1, 3, *wide[-1])
        z = torch.randn(1, *recipe.maps(2, recipe.sizes[2]))
        below = recipe.rebuilt(1)
        last = recipe.draw(lambda i: z, recipe.sizes, start=2, below=below)
        assert torch.equal(last, recipe.at(2, z, below, recipe.sizes[2]))
        assert recipe.d[0](torch.zeros(1, 3, 30, 20)).shape == (1, 1, 30 - 2 * REACH, 20 - 2 * REACH)


@pytest.mark.parametrize(
    "shape, words", [((3, 10, 40), "11 pixels a side"), ((1, 1, 1), "11 pixels"), ((3, 60, 2000), "--most 367")]
)
def test_an_image_that_is_too_small_is_refused(shape, words):
    with pytest.raises(ValueError, match=words):
        SinGAN(Spec(shape))


def test_a_large_photograph_is_made_smaller_once_and_keeps_its_scales(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("photo.png")
    run = training.train(
        "singan", **TINY | dict(data="photo.png", resolution="", least=25, most=60, factor=0.75), images=2, preview=0
    )
    assert run.recipe.spec.shape == (3, 45, 60) and run.settings.resolution == "45x60"
    again = training.train(
        "singan",
        **TINY | dict(data="photo.png", resolution="300x400", least=25, most=60, factor=0.75),
        images=2,
        preview=0,
    )
    assert again.recipe.sizes == run.recipe.sizes and again.recipe.spec == run.recipe.spec
    assert run.recipe.sizes == pyramid(300, 400, 25, 60, 0.75) == [(25, 34), (31, 41), (37, 50), (45, 60)]
    resumed = training.resume(run.folder, images=3, quiet=True)
    assert resumed.recipe.sizes == run.recipe.sizes and latent.sample(resumed.recipe, [0]).shape == (1, 3, 45, 60)
    (tmp_path / "two").mkdir()
    for name in "ab":
        Image.fromarray(pixels).save(tmp_path / "two" / f"{name}.png")
    with pytest.raises(ValueError, match="one image, and two holds 2"):
        training.train("singan", **TINY | dict(data="two"))
    with pytest.raises(ValueError, match="least is 90, most 60"):
        training.train("singan", **TINY | dict(data="photo.png", resolution="", least=90, most=60))


def test_noise_beyond_the_borders_is_an_option(tmp_path):
    recipe = training.train("singan", outdir=tmp_path, preview=0, **TINY | dict(pad_noise=True, images=4)).recipe
    h, w = recipe.sizes[0]
    assert recipe.z_star.shape == (1, 1, h + 2 * REACH, w + 2 * REACH)
    assert recipe.sample(recipe.noise(1)).shape == (1, 3, 32, 44)


def test_a_run_is_as_long_as_its_scales_and_says_so(tmp_path, capsys):
    words = [f"--{k.replace('_', '-')}={v}" for k, v in TINY.items() if k not in ("quiet",)]
    cli.main(["train", "singan", *words, "--quiet", "--preview", "0", "--outdir", str(tmp_path)])
    folder = next(tmp_path.iterdir())
    assert read_config(folder)["settings"]["images"] == 12
    with pytest.raises(ValueError, match="images is 0"):
        training.train("dcgan", data="digits", preset="small", images=0, outdir=tmp_path)
    other = training.train(
        "dcgan", data="digits", preset="small", images=16, batch=8, preview=0, outdir=tmp_path / "other", quiet=True
    )
    with pytest.raises(ValueError, match="images is 0"):
        training.resume(other.folder, images=0, quiet=True)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return training.train("singan", outdir=tmp_path_factory.mktemp("runs"), preview=0, **TINY).folder


@pytest.fixture
def daub(tmp_path):
    """A folder with an image and a mask of its size."""
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "daub.png")
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 10:25] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path


FLAGS = {
    "sizes": ["--seeds", "0-1"],
    "enlarge": ["--factor", "2"],
    "animate": ["--frames", "4", "--animation", "gif"],
    "paint": ["--starts", "1"],
}
FLAGS |= {name: ["--starts", "1,2"] for name in ("harmonise", "edit")}


@pytest.mark.parametrize("tool", sorted(FLAGS))
def test_every_tool_of_one_image_runs_and_runs_the_same_again(tool, tiny, daub):
    files = ["--image", str(daub / "daub.png")] if tool in ("paint", "harmonise", "edit") else []
    files += ["--mask", str(daub / "mask.png")] if tool in ("harmonise", "edit") else []
    pictures = []
    for out in ("first", "second"):
        cli.main(["explore", str(tiny), tool, *FLAGS[tool], *files, "--outdir", str(daub / out)])
        pictures.append((daub / out / f"{tool}.png").read_bytes())
    assert pictures[0] == pictures[1]


def test_sizes_stand_beside_the_training_image_in_columns_as_wide_as_their_images(tiny, tmp_path):
    trained = gankit.load(tiny)
    result = explore.sizes(trained, seeds=range(2), shapes="1x1,0.5x2")
    h, w = trained.recipe.spec.shape[1:]
    assert result.columns == 3 and result.heads == ["trained on", "1 x 1", "0.5 x 2"]
    assert torch.equal(result.images[0, :, :h, :w], photo()[0]) and result.images[3].isnan().all()
    assert pictures.sheet(result.images, 3).width == w + w + 2 * w + 4, "the first two are not padded to the widest"
    trained.config["settings"]["data"] = str(tmp_path / "moved.png")
    alone = explore.sizes(trained, seeds=range(1), shapes="1x1")
    assert len(alone.images) == 1 and "without the training image" in alone.say[1]


def test_the_demo_s_commands_write_the_files_that_it_names(tmp_path, monkeypatch):
    recipe = (HOUSE / "Makefile").read_text().split("\ndemo:")[1].split("\n\n")[0]
    commands = [shlex.split(line)[1:] for line in recipe.splitlines() if line.startswith("\t$(BIN)/gankit")]
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (60, 40), "navy").save("me.jpg")
    small = ["--most", "44", "--scales", "2", "--width", "6", "--time", "", "--iterations", "2"]
    for words in commands:
        cli.main([w.replace("$(PHOTO)", "me.jpg") for w in words] + (small if words[0] == "train" else []))
    named = re.findall(r"\bout/\S+\.\w+", recipe)
    assert len(commands) == 4 and len(named) == 3 and all(Path(name).is_file() for name in named)


def test_what_a_mask_leaves_out_stays_as_it_was(tiny, daub):
    result = explore.harmonise(gankit.load(tiny), image=str(daub / "daub.png"), mask=str(daub / "mask.png"), starts="1")
    pasted, mask, drawn = result.images
    weight = (mask[:1] + 1) / 2
    assert weight[0, 12, 14] > 0.95 and weight[0, -1, -1] < 0.01
    assert (pasted - drawn).abs()[:, -1, -1].max() < 0.02 < (pasted - drawn).abs()[:, 12, 14].max()


@pytest.mark.parametrize(
    "tool, flags, message",
    [
        ("sizes", ["--start", "9"], "there is no scale 9"),
        ("sizes", ["--shapes", "2"], "is no shape"),
        ("enlarge", ["--factor", "99"], "16 at most"),
        ("paint", ["--image", "nowhere.png"], "there is no file"),
        ("edit", [], "--image FILE"),
        ("paint", ["--image", "daub.png", "--starts", "0"], "are no scales"),
        ("edit", ["--image", "daub.png", "--mask", "small.png"], "must be of one size"),
        ("animate", ["--alpha", "2"], "within 0 and 1"),
    ],
)  # fmt: skip
def test_tools_of_one_image_say_what_is_wrong(tool, flags, message, tiny, daub, capsys, monkeypatch):
    monkeypatch.chdir(daub)
    Image.new("L", (12, 12)).save("small.png")
    with pytest.raises(SystemExit):
        cli.main(["explore", str(tiny), tool, *flags])
    assert message in capsys.readouterr().err


def photo() -> torch.Tensor:
    """(1, C, H, W) the image that the tiny models are trained on, in [-1, 1]."""
    return gankit.data.normalise(gankit.data.open(TINY["data"], TINY["resolution"]).rows(np.arange(1))["real"])


def test_evaluation_judges_samples_of_one_image(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GANKIT_OFFLINE", "1")
    for name in ("GANKIT_WEIGHTS", "TORCH_HOME", "GANKIT_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))
    cli.main(["evaluate", str(tiny), "--n", "6"])
    assert "sifid does not apply: its weights are not on this machine" in " ".join(capsys.readouterr().err.split())
    scores = {score.name: score for score in gankit.evaluate(tiny, n=6)}
    assert set(scores) == {"sifid_small", "patch_swd", "diversity", "nearest_rmse", "rec_rmse"}
    recipe, real = gankit.load(tiny).recipe, photo()
    samples = gankit.data.normalise(gankit.data.quantise(latent.sample(recipe, range(6)))).double()
    assert scores["diversity"].value == pytest.approx(float(samples.std(0).mean() / real.double().std()), rel=1e-6)
    assert scores["nearest_rmse"].value == pytest.approx(
        min(float((x - real).square().mean().sqrt()) for x in samples), rel=1e-6
    )
    assert scores["patch_swd"].value == pytest.approx(
        np.mean([gankit.metrics.patch_distance(real[0], x.float()) for x in samples]), rel=1e-6
    )
    with torch.no_grad():
        back = gankit.data.normalise(gankit.data.quantise(recipe.rebuilt(2).clamp(-1, 1)))
    assert scores["rec_rmse"].value == pytest.approx(float((back - real).square().mean().sqrt()), rel=1e-5)
    with pytest.raises(ValueError, match="needs two samples at least; there are 1 reals"):
        gankit.evaluate(tiny, metrics="fd", features="digits", n=6)
    cli.main(["sample", str(tiny), "--n", "3", "-o", str(tmp_path / "drawn.npz")])
    Image.fromarray(gankit.data.quantise(real)[0].permute(1, 2, 0).numpy()).save(tmp_path / "photo.png")
    beside = {
        score.name: score.value
        for score in gankit.evaluate(tmp_path / "drawn.npz", against=str(tmp_path / "photo.png"))
    }
    same = {score.name: score.value for score in gankit.evaluate(tiny, n=3)}
    assert beside == {name: value for name, value in same.items() if name != "rec_rmse"}
    Image.open(tmp_path / "photo.png").resize((88, 64)).save(tmp_path / "large.png")
    with pytest.raises(ValueError, match="add --resolution 32x44"):
        gankit.evaluate(tmp_path / "drawn.npz", against=str(tmp_path / "large.png"))
    lines = [json.loads(line) for line in (tiny / "evaluations.jsonl").read_text().splitlines()]
    assert {line["name"]: bool(line["features"]) for line in lines} == {name: name == "sifid_small" for name in scores}


def test_metrics_of_one_image_while_it_trains(tmp_path, monkeypatch):
    for name in ("GANKIT_WEIGHTS", "TORCH_HOME", "GANKIT_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("GANKIT_OFFLINE", "1")
    options = TINY | dict(preview=0, evaluate_n=2, evaluate_every=6)
    with pytest.raises(ValueError, match="sifid cannot be computed: inception_v3_google"):  # before anything trains
        training.train("singan", outdir=tmp_path / "none", **options, evaluate="sifid")
    assert not list((tmp_path / "none").glob("*/stats.jsonl"))
    run = training.train("singan", outdir=tmp_path, **options, evaluate="reconstruction,diversity", images=6)
    line = json.loads((run.folder / "evaluations.jsonl").read_text().splitlines()[0])
    recipe, real = run.recipe, photo()
    with run.averaged(), torch.no_grad():  # two of three scales have begun
        drawn = resize(recipe.rebuilt(1), recipe.sizes[-1]).clamp(-1, 1)
    assert line["name"] == "rec_rmse" and line["value"] == pytest.approx(
        float((drawn - real).square().mean().sqrt()), abs=2e-3
    )
