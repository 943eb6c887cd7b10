"""The tools that explore a trained generator, against what they must find; and each of them as a user runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import gankit
from gankit import cli, explore, latent, training
from gankit.explore import boundaries, classifiers, discriminator, inputs, inversion, latent_search, object_removal
from gankit.explore.result import Result, blank, sheet
from gankit.nn import SelfAttention
from gankit.recipe import Recipe, Spec, seeded
from gankit.runs.trained import Trained


class Styled(Recipe):
    """A small model with styles and noise: three layers, each with its own affine map of w and a noise map."""

    def __init__(self, spec: Spec = Spec((1, 8, 8))):
        super().__init__(spec)
        self.num_ws, self.w_dim, self.trunc_layers = 3, 6, 2
        self.map = nn.Linear(4, 6)
        self.affine = nn.ModuleList(nn.Linear(6, 64) for _ in range(3))
        self.register_buffer("w_mean", torch.randn(6))
        self.register_buffer("noise_0", torch.zeros(0))
        self.layer = nn.Module()
        self.layer.register_buffer("noise", torch.randn(8, 8))

    def noise(self, n: int) -> Tensor:
        return torch.randn(n, 4)

    def mapping(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.map(z)[:, None].repeat(1, 3, 1)

    def synthesis(self, ws: Tensor, noise: str | int = "const") -> Tensor:
        x = sum(affine(ws[:, i]) * 0.3 for i, affine in enumerate(self.affine)).tanh().view(-1, 1, 8, 8)
        if noise == "none":
            return x
        with seeded(noise if isinstance(noise, int) else 0):
            drawn = torch.randn(8, 8)
        return x + 0.1 * (self.layer.noise if noise == "const" else drawn)

    def sample(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.synthesis(self.mapping(z, label))


class Plain(Recipe):
    """z times a matrix, then a ReLU and another matrix: what is in it is known. Brightness is the first number of z."""

    def __init__(self, spec: Spec = Spec((1, 8, 8))):
        super().__init__(spec)
        self.first, self.second = nn.Linear(4, 32), nn.Linear(32, 64)

    def noise(self, n: int) -> Tensor:
        return torch.randn(n, 4)

    def sample(self, z: Tensor) -> Tensor:
        light = z[:, :1].tanh()
        return (0.2 * self.second(F.relu(self.first(z))) + light).view(-1, 1, 8, 8)


def trained(kind: type[Recipe]) -> Trained:
    with seeded(7):
        recipe = kind().requires_grad_(False).eval()
    config = {
        "model": kind.__name__.lower(),
        "settings": {"data": "digits", "resolution": "8"},
        "data": {"classes": []},
    }
    return Trained(recipe, config, Path("run"), 0)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dcgan that has seen a little of digits."""
    folder = tmp_path_factory.mktemp("home")
    options = dict(data="digits", preset="small", images=320, batch=16, preview=0, save=320, quiet=True)
    training.train("dcgan", outdir=folder / "runs", width=8, z_dim=6, ema=0, **options)
    return folder


# What the tools find -------------------------------------------------------------------------------------------------


def test_the_boundary_of_brightness_is_the_direction_that_makes_it():
    model = trained(Plain)
    result = explore.boundary(model, target="brightness", n=800, steps=3)
    normal = torch.from_numpy(result.arrays["directions"][0])
    assert normal[0] > 0.9 and result.numbers["balanced accuracy"] > 0.85
    along = result.numbers["share with it along the way"]["brightness"]
    assert along[0] < 0.1 and along[-1] > 0.9


def test_the_share_along_a_way_is_of_the_property_that_the_plane_is_for(monkeypatch):
    dark = classifiers.ImageClassifier(
        lambda images: (images.flatten(1).mean(1) < 0).long() * 2, ("light", "none", "dark"), "a rule"
    )
    monkeypatch.setattr(boundaries, "classifier_of", lambda _: dark)
    result = explore.boundary(trained(Plain), keep="dark", n=800, steps=3)
    along = result.numbers["share with it along the way"]["brightness"]
    assert result.numbers["target"] == "brightness" and along[0] < 0.1 and along[-1] > 0.9


def test_a_boundary_from_a_file_of_labels_learns_what_the_file_says(tmp_path):
    model = trained(Plain)
    z = latent.latents(model.recipe, range(300))
    lines = [f"{seed},{int(z[seed, 2] > 0)}" for seed in range(300)]
    (tmp_path / "said.csv").write_text("seed,label\n" + "\n".join(lines))
    result = explore.boundary(model, labels=str(tmp_path / "said.csv"), steps=2)
    assert result.arrays["directions"][0, 2] > 0.95


def test_keeping_a_property_moves_at_right_angles_to_it():
    rows = torch.randn(2000, 5, generator=torch.Generator().manual_seed(0))
    one = boundaries.fit_plane(rows, (rows[:, 0] + rows[:, 1] > 0).long())
    other = boundaries.fit_plane(rows, (rows[:, 1] > 0).long())
    assert one.balanced > 0.95 and one.normal @ other.normal > 0.5
    left = latent.project_out(one.normal, other.normal[None])
    assert abs(left @ other.normal) < 1e-12 and abs(left.norm() - 1) < 1e-12
    with pytest.raises(ValueError, match="nothing is left"):
        latent.project_out(one.normal, one.normal[None])


@pytest.mark.parametrize("kind, space", [(Plain, "z"), (Styled, "z"), (Styled, "w"), (Styled, "w+")])
def test_projection_finds_a_picture_that_the_model_drew(kind, space, monkeypatch):
    model = trained(kind)
    target = latent.render(model.recipe, *latent.points(model.recipe, [42]))
    monkeypatch.setattr(inversion, "target_of", lambda *_: (target, "seed 42"))
    result = explore.project(model, space=space, steps=120, restarts=2, noise_maps=False)
    assert result.numbers["rmse"] < 0.05, result.numbers
    found, _ = latent.points(model.recipe, [0], space=space[0])
    assert result.arrays["latent"].shape == found.shape
    again = latent.render(model.recipe, torch.from_numpy(result.arrays["latent"]).to(found))
    assert torch.allclose(again, result.images[-3:-2], atol=1e-6)


def test_noise_maps_learn_what_styles_cannot_draw_and_stay_noise(monkeypatch, tmp_path):
    model = trained(Styled)
    before, drawn = model.recipe.layer.noise.clone(), latent.sample(model.recipe, [0])
    target = latent.render(model.recipe, *latent.points(model.recipe, [42]), noise=5)
    monkeypatch.setattr(inversion, "target_of", lambda *_: (target, "another noise"))
    plain = explore.project(model, steps=60, restarts=2, noise_maps=False).numbers["rmse"]
    assert torch.equal(before, model.recipe.layer.noise)
    monkeypatch.setattr(latent_search, "NOISE_WEIGHT", 0.0)
    result = explore.project(model, steps=60, restarts=2)
    learnt = result.arrays["noise.layer.noise"]
    assert result.numbers["rmse"] < 0.6 * plain
    assert abs(learnt.mean()) < 1e-6 and abs((learnt**2).mean() - 1) < 1e-5
    assert torch.equal(before, model.recipe.layer.noise) and torch.equal(drawn, latent.sample(model.recipe, [0]))
    assert np.array_equal(explore.project(model, steps=60, restarts=2).arrays["latent"], result.arrays["latent"])
    assert type(model.recipe.layer.noise) is Tensor and not model.recipe.layer.noise.requires_grad

    np.savez(tmp_path / "found.npz", **result.arrays)
    moved = explore.sliders(model, latent_file=str(tmp_path / "found.npz"), steps=1)
    assert torch.allclose(moved.images, result.images[-3:-2], atol=1e-6), "the file's noise maps were not used"
    assert torch.equal(before, model.recipe.layer.noise)


def test_a_latent_of_a_file_says_its_space_and_takes_no_truncation(tmp_path):
    model, file = trained(Styled), str(tmp_path / "z.npz")
    np.savez(file, latent=np.ones((1, 4)), space=np.array("z"))
    assert inputs.latents_of(model, (), file=file).space == "z"
    assert explore.sliders(model, latent_file=file, steps=2).images.shape == (2, 1, 8, 8)
    assert explore.sefa(model, latent_file=file, steps=2, count=2).arrays["directions"].shape == (2, 4)
    with pytest.raises(ValueError, match="leave --trunc out"):
        explore.sliders(model, latent_file=file, trunc=0.5)
    np.savez(tmp_path / "far.npz", directions=np.ones((1, 6)), layers=np.array([7]))
    with pytest.raises(ValueError, match="layers 7 to 7"):
        explore.sliders(model, directions=str(tmp_path / "far.npz"))


class Coded(Plain):
    """A model whose first latent is a code."""

    def traverse(self, z: Tensor, code: int, steps: int = 10) -> Tensor:
        latents = z[:, None].repeat(1, steps, 1)
        latents[:, :, code] = torch.linspace(-2, 2, steps)
        return latents


def test_codes_vary_from_column_to_column_and_the_rest_is_the_seed_s():
    model = trained(Coded)
    result = explore.codes(model, seeds=range(3), code=1, steps=4)
    z = latent.points(model.recipe, range(3))[0][:, None].repeat(1, 4, 1)
    z[:, :, 1] = torch.linspace(-2, 2, 4)
    assert torch.equal(result.images, model.recipe.sample(z.flatten(0, 1))) and result.columns == 4
    assert result.heads == ["-2", "-0.67", "0.67", "2"] and result.sides == ["seed 0", "seed 1", "seed 2"]
    with pytest.raises(ValueError, match="no codes to vary; train infogan"):
        explore.codes(trained(Plain))


def test_infogan_says_which_codes_it_has():
    recipe = gankit.models.find("infogan")(Spec((1, 16, 16)), continuous=1, width=4, hidden=8)
    z = recipe.noise(2)
    assert (recipe.traverse(z, 1, 3)[:, :, -1] == torch.tensor([-2.0, 0.0, 2.0])).all()
    with pytest.raises(ValueError, match="code is 2; there are 0, the category, to 1"):
        recipe.traverse(z, 2)


def test_reconstructions_are_below_images_that_were_held_out(tmp_path):
    options = dict(data="digits", preset="small", images=64, preview=0, save=64, quiet=True, outdir=tmp_path)
    model = gankit.load(training.train("vae", **options).folder)
    result = explore.reconstructions(model, n=5, rows=2)
    first, outputs, second, others = result.images.split(5)
    held_out = {tuple(image.flatten().tolist()) for image in inputs.data_of(model, "digits:test").select(397)[0]}
    assert all(tuple(image.flatten().tolist()) in held_out for image in torch.cat([first, second]))
    assert torch.equal(torch.cat([outputs, others]), model.recipe.reconstruct(torch.cat([first, second])))
    error = (torch.cat([outputs, others]) - torch.cat([first, second])).square().mean().sqrt()
    assert result.numbers["root mean square error"] == pytest.approx(float(error)) and result.columns == 5
    with pytest.raises(ValueError, match="plain does not reconstruct images"):
        explore.reconstructions(trained(Plain))


def test_tables_are_refused_line_by_line(tmp_path):
    recipe, file = trained(Plain).recipe, tmp_path / "boxes.csv"
    file.write_text("seed,left,top,right,bottom\n3,0,0,4,8\n")
    assert object_removal.read_boxes(recipe, str(file), None)[1].sum() == 32
    for line in ("x3,0,0,4,8", "3,-2,0,4,8", "3,4,0,4,8", "3,0,0,4,9", "3,0,0,4"):
        for text in (f"seed,left,top,right,bottom\n{line}\n", f"{line}\n3,0,0,4,8\n"):
            file.write_text(text)
            with pytest.raises(ValueError, match="boxes.csv"):
                object_removal.read_boxes(recipe, str(file), None)
    np.savez(tmp_path / "said.npz", seeds=np.array(["a", "b"]), label=np.array([0, 1]))
    with pytest.raises(ValueError, match="whole numbers"):
        classifiers.read_labels(str(tmp_path / "said.npz"))


def test_noise_that_repeats_is_told_from_noise_that_does_not():
    generator = torch.Generator().manual_seed(0)
    white = torch.randn(32, 32, generator=generator)
    smooth = white.repeat_interleave(2, 0)[:32]
    slow = sum(
        float((x * torch.roll(x, 1, axis)).mean()) ** 2
        for x in (white, white.view(16, 2, 16, 2).mean((1, 3)) * 2, white.view(8, 4, 8, 4).mean((1, 3)) * 4)
        for axis in (0, 1)
    )
    assert float(latent_search.noise_correlation(white)) == pytest.approx(slow, rel=1e-4)
    assert latent_search.noise_correlation(smooth) > 5 * latent_search.noise_correlation(white)


def test_guided_backpropagation_is_its_definition():
    with seeded(3):
        first, second = nn.Linear(5, 7).double(), nn.Linear(7, 1).double()
        x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    with discriminator.Guided():
        (slopes,) = torch.autograd.grad(second(F.leaky_relu(first(x), 0.2, inplace=True)).sum(), x)
    for row, found in zip(x.detach(), slopes):
        hidden = first(row)
        passed = torch.tensor(
            [max(w, 0.0) if h > 0 else 0.0 for w, h in zip(second.weight[0].tolist(), hidden.tolist())]
        )
        assert torch.allclose(found, passed.double() @ first.weight, atol=1e-12)
    (plain,) = torch.autograd.grad(second(F.leaky_relu(first(x), 0.2)).sum(), x)
    assert not torch.allclose(plain, slopes)


def test_dropping_maps_that_draw_a_colour_removes_it():
    class Painter(Recipe):
        """The sign of z picks one of two maps; the last convolution paints them red and green."""

        def __init__(self) -> None:
            super().__init__(Spec((3, 8, 8)))
            self.first, self.last = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 3, 1)
            self.first.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
            black = -torch.ones(3)
            self.last.weight.data = torch.stack(
                [torch.tensor(object_removal.COLOURS[c]) / 127.5 - 1 - black for c in ("red", "green")], 1
            )[:, :, None, None]
            self.last.bias.data = black

        def noise(self, n: int) -> Tensor:
            return torch.randn(n, 3)

        def sample(self, z: Tensor) -> Tensor:
            here = F.one_hot((z[:, 1:].clamp(-1.9, 1.9) * 2 + 4).long(), 8).float()
            place = here[:, 0, :, None] * here[:, 1, None, :]
            return self.last(F.relu(self.first((place * z[:, :1].sign()[:, :, None])[:, None])))

    painter = Painter().requires_grad_(False).eval()
    model = Trained(painter, {"model": "painter", "settings": {"data": "shapes"}, "data": {}}, Path("run"), 0)
    result = explore.drop(model, thing="red", n=200, layer=-1)
    left = result.numbers["pixels of each colour, after over before"]
    assert left["red"] == 0 and left["green"] == 1 and result.numbers["dropped"] == 1


def test_styles_are_mixed_layer_by_layer_and_noise_is_measured():
    model = trained(Styled)
    one, other = (latent.points(model.recipe, [seed])[0] for seed in (0, 1))
    result = explore.layers(model, seed=0, others=(1,))
    for i in range(3):
        mixed = one.clone()
        mixed[:, i] = other[:, i]
        assert torch.equal(result.images[1 + i], model.recipe.synthesis(mixed)[0])
    result = explore.mix(model, rows=(1,), columns=(0,), layers="0-1")
    mixed = torch.cat([other[:, :2], one[:, 2:]], 1)
    assert torch.equal(result.images[3], model.recipe.synthesis(mixed)[0])
    measured = explore.noise(model, seeds=(0,), draws=400).numbers["deviation of a pixel over draws of noise, mean"]
    assert measured == pytest.approx(0.1, rel=0.02)


def test_attention_is_that_of_the_generator_s_layer(tmp_path, capsys):
    """Keys that are large in one corner draw all attention there, from every place."""
    options = dict(data="digits", preset="small", images=16, batch=8, preview=0, save=16, quiet=True, ema=0)
    trained = gankit.load(training.train("sagan", outdir=tmp_path / "runs", width=8, **options).folder)
    layer = next(module for module in trained.recipe.g.modules() if isinstance(module, SelfAttention))
    result = explore.attention(trained, seeds=(0, 1), at=(0.1, 0.9))
    assert result.images.shape == (4, 1, 16, 16) and result.columns == 2 and "gamma is 0" in result.say[0]
    assert torch.allclose(result.images[0], trained.sample(1, 0)[0], atol=1e-5), "the sample itself comes first"

    def weights(x: Tensor) -> Tensor:
        places = torch.zeros(len(x), x.shape[2] * x.shape[3], x.shape[2] * x.shape[3] // 4)
        places[:, :, 0] = 1
        return places

    layer.weights = weights
    cell = explore.attention(trained, seeds=(0,), at=(0.9, 0.9)).images[1, 0]
    assert cell[0, 0] > cell[-8:, :4].max() and cell[0, 0] > cell[:4, -4:].max()
    assert cell[14, 14] == 1 and cell[13, 13] == -1, "the place is marked in a frame"
    numbers = explore.attention(trained, seeds=(0,), at=(0.9, 0.9)).numbers
    assert numbers["entropy of the attention, of its largest"] == pytest.approx(0, abs=1e-6)


def test_attention_weights_are_a_distribution_over_blocks():
    layer, x = SelfAttention(8), torch.randn(2, 8, 6, 4)
    weights = layer.weights(x)
    assert weights.shape == (2, 24, 6) and torch.allclose(weights.sum(2), torch.ones(2, 24))


@pytest.mark.parametrize(
    "options, said",
    [(dict(), "has no attention layer"), (dict(at=(0.5,)), "pairs of row and column"), (dict(layer=3), "--layer is 3")],
)
def test_attention_refuses_what_it_cannot_show(options, said, tmp_path):
    model = "sagan" if options else "dcgan"
    flags = dict(data="digits", preset="small", images=8, batch=8, preview=0, save=8, quiet=True, width=8)
    trained = gankit.load(training.train(model, outdir=tmp_path, **flags).folder)
    with pytest.raises(ValueError, match=re.escape(said)):
        explore.attention(trained, **options)


def test_neighbours_finds_the_images_themselves(home, monkeypatch):
    model = gankit.load(home / "runs" / "00000-dcgan-digits")
    source = inputs.data_of(model)
    chosen = source.read(np.array([5, 9]))[0]
    monkeypatch.setattr(latent, "render", lambda *_, **__: chosen)
    result = explore.neighbours(model, seeds=(0, 1), k=2)
    assert torch.equal(result.images[2], chosen[0]) and torch.equal(result.images[6], chosen[1])
    assert result.numbers["distances"][0][0] == 0


def test_arithmetic_is_the_sum_of_means():
    model = trained(Plain)
    result = explore.arithmetic(model, plus=(0, 1), minus=(2, 3), plus2=(4, 5))
    z = latent.latents(model.recipe, range(6))
    total = z[:2].mean(0) - z[2:4].mean(0) + z[4:].mean(0)
    assert torch.allclose(result.images[7 + 5], model.recipe.sample(total[None])[0], atol=1e-6)
    with pytest.raises(ValueError, match="as many of each"):
        explore.arithmetic(model, plus=(0,))


# Pictures and files --------------------------------------------------------------------------------------------------


def test_a_sheet_has_its_captions_around_the_same_cells():
    images = torch.linspace(-1, 1, 6).view(6, 1, 1, 1).expand(-1, 1, 8, 8)
    bare, page = sheet(images, 3), sheet(images, 3, ["a", "b", "c"], ["left", "right"])
    body = page.crop((page.width - bare.width, page.height - bare.height, page.width, page.height))
    assert np.array_equal(np.asarray(body), np.asarray(bare.convert("RGB")))
    assert np.asarray(page)[:15].min() < 100, "no caption was written"
    assert np.asarray(sheet(blank(images), 1)).min() == 255


def test_results_are_written_whole(tmp_path):
    images = torch.zeros(2, 1, 8, 8)
    result = Result(images, 2, numbers={"a": 1.5}, frames=[images, -images + 1], arrays={"x": np.ones(3)})
    names = [path.name for path in result.write(tmp_path / "tool", ("webp", "gif"))]
    assert names == ["tool.png", "tool.webp", "tool.gif", "tool.npz", "tool.json"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)
    assert json.loads((tmp_path / "tool.json").read_text()) == {"a": 1.5}


# As a user runs them -------------------------------------------------------------------------------------------------

QUICK = {
    "boundary": ["--n", "300", "--target", "brightness", "--steps", "3"],
    "project": ["--steps", "4", "--restarts", "2", "--tune", "2"],
    "ganspace": ["--n", "60", "--count", "2"], "sefa": ["--count", "2"], "features": ["--n", "60", "--centres", "4"],
    "filters": ["--n", "60", "--count", "2", "--images", "2"], "neighbours": ["--seeds", "0-1", "--n", "50"],
}  # fmt: skip
STYLED = ("mix", "layers", "noise")
CODED = ("codes", "reconstructions")  # of models that learned codes, or that encode
SINGLE = ("sizes", "enlarge", "paint", "harmonise", "edit", "animate")  # of one image: tests/test_singan.py


@pytest.mark.parametrize("tool", sorted(set(explore.TOOLS) - {*STYLED, *SINGLE, *CODED, "drop", "attention"}))
def test_every_tool_runs_and_runs_the_same_again(home, tool, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(home)
    for folder in ("a", "b"):
        tuned = ["--tuned-outdir", str(tmp_path / f"tuned-{folder}")] if tool == "project" else []
        cli.main(["explore", "latest", tool, *QUICK.get(tool, []), *tuned, "--outdir", str(tmp_path / folder)])
    assert Image.open(tmp_path / "a" / f"{tool}.png").width > 60
    a, b = ((tmp_path / folder / f"{tool}.png").read_bytes() for folder in ("a", "b"))
    assert a == b, "the same command drew another picture"
    numbers = json.loads((tmp_path / "a" / f"{tool}.json").read_text())
    assert numbers["tool"] == tool and numbers["model"] == "dcgan"
    if tool == "project":
        kept = gankit.load(tmp_path / "tuned-a")
        assert kept.sample(2).shape == (2, 1, 16, 16)
        before = gankit.load("latest")
        assert not torch.equal(kept.recipe.g.net[0].weight, before.recipe.g.net[0].weight)
        cli.main(
            [
                "explore",
                str(tmp_path / "tuned-a"),
                "sliders",
                "--latent-file",
                str(tmp_path / "a" / "project.npz"),
                "--outdir",
                str(tmp_path),
            ]
        )
    if tool == "sefa":
        cli.main(
            [
                "explore",
                "latest",
                "sliders",
                "--directions",
                str(tmp_path / "a" / "sefa.npz"),
                "--index",
                "1",
                "--outdir",
                str(tmp_path),
            ]
        )


def test_tools_for_styles_run_on_stylegan2(tmp_path, capsys):
    options = dict(data="digits", preset="small", images=32, batch=16, preview=0, save=32, quiet=True)
    run = training.train("stylegan2", outdir=tmp_path / "runs", channel_base=64, channel_max=8, ema=0, **options).folder
    flags = {
        "project": ["--steps", "3", "--restarts", "2"],
        "sefa": ["--count", "2", "--layers", "0-1"],
        "ganspace": ["--n", "50"],
    }
    for tool in (*STYLED, "project", "sefa", "ganspace"):
        cli.main(["explore", str(run), tool, *flags.get(tool, []), "--outdir", str(tmp_path), "--animation", "none"])
        assert (tmp_path / f"{tool}.png").exists()
    kept = np.load(tmp_path / "project.npz")
    assert kept["latent"].shape[1] == gankit.load(run).recipe.num_ws and any(name.startswith("noise.") for name in kept)
    cli.main(
        [
            "explore",
            str(run),
            "sliders",
            "--latent-file",
            str(tmp_path / "project.npz"),
            "--outdir",
            str(tmp_path),
            "--animation",
            "none",
        ]
    )
    for space in ("z", "w"):
        cli.main(
            [
                "interpolate",
                str(run),
                "--seeds",
                "0-1",
                "--steps",
                "3",
                "--space",
                space,
                "-o",
                str(tmp_path / f"{space}.png"),
            ]
        )
    ends = [np.asarray(Image.open(tmp_path / f"{space}.png"))[:, :64] for space in "zw"]
    assert np.abs(ends[0].astype(int) - ends[1]).max() <= 1
    assert (tmp_path / "z.png").read_bytes() != (tmp_path / "w.png").read_bytes()


def test_the_tools_are_listed_and_explained(capsys):
    cli.main(["explore", "--help"])
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in explore.TOOLS)
    assert all(getattr(explore, name) is tool for name, tool in explore.TOOLS.items()), "a module hides a tool"
    for tool in ("arithmetic", "project", "drop"):
        with pytest.raises(SystemExit) as left:
            cli.main(["explore", "latest", tool, "--help"])
        assert left.value.code == 0
        assert "--outdir" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, said",
    [
        (["latest"], "with which tool"),
        (["latest", "truncate"], "did you mean truncation"),
        (["nothing", "sefa"], "no run"),
        (["latest", "mix"], "style for each layer"),
        (["latest", "truncation", "--psi", "a,b"], "--psi"),
        (["latest", "truncation", "--psi", "0,nan"], "--psi"),
        (["latest", "neighbours", "--trunc", "nan"], "--trunc is nan"),
        (["latest", "arithmetic", "--jitter", "nan"], "--jitter is nan"),
        (["latest", "sefa", "--reach", "inf"], "--reach is inf"),
        (["latest", "sefa", "--count", "-3"], "--count is -3"),
        (["latest", "sliders", "--steps", "0"], "--steps is 0"),
        (["latest", "truncation", "--seeds", "5-1"], "not a range"),
        (["latest", "truncation", "--class", "3"], "without labels"),
        (["latest", "truncation", "--animation", "avi"], "webp, gif and mp4"),
        (["latest", "sefa", "--space", "w"], "no w"),
        (["latest", "sefa", "--layers", "0-1"], "leave it out"),
        (["latest", "sliders", "--directions", "none.npz"], "none.npz"),
        (["latest", "sliders", "--latent-file", "runs"], "runs is a folder"),
        (["latest", "project", "--image", "none.png"], "none.png"),
        (["latest", "project", "--number", "100000"], "0 to 396"),
        (["latest", "project", "--lpips", "yes"], "LPIPS|vgg16"),
        (["latest", "boundary", "--target", "cat"], "no class 'cat'"),
        (["latest", "boundary", "--labels", "none.csv"], "none.csv"),
        (["latest", "arithmetic", "--classes", "1,2"], "takes three"),
        (["latest", "neighbours", "--data", "shapes"], "the run's images"),
        (["latest", "drop"], "--boxes"),
        (["latest", "features", "--data", "photo"], "the run's images|no labels"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_clear_line(home, words, said, monkeypatch, capsys):
    monkeypatch.chdir(home)
    with pytest.raises(SystemExit) as left:
        cli.main(["explore", *words])
    error = capsys.readouterr().err
    assert left.value.code == 2 and "Traceback" not in error
    assert any(part in error for part in said.split("|")), error


def test_files_of_others_are_refused(home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(home)
    np.savez(tmp_path / "wrong.npz", directions=np.ones((1, 99)))
    np.savez(tmp_path / "objects.npz", directions=np.array([{}], dtype=object))
    (tmp_path / "text.npz").write_text("hello")
    for name, said in (("wrong", "99"), ("objects", "holds objects, which are refused"), ("text", "plain arrays")):
        with pytest.raises(SystemExit):
            cli.main(["explore", "latest", "sliders", "--directions", str(tmp_path / f"{name}.npz")])
        assert said in capsys.readouterr().err
