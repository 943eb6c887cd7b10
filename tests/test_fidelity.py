"""Models agree with their papers or the authors' code in constants and layers that parameter counts do not show."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from gankit import models, training
from gankit.nn import BatchNorm1d, BatchNorm2d
from gankit.recipe import Batch, Recipe, Spec, data_labels, see_labels
from gankit.training import Settings

MODELS = models.names()
PAPERS = [(name, key) for name in MODELS for key in models.find(name).presets if key.startswith("paper")]
AVERAGED = ("biggan", "pggan", "r3gan", "stylegan", "stylegan2")  # papers that sample from averaged weights


def deviations(name: str) -> str:
    """The section Deviations of the model's docstring, on one line."""
    text = sys.modules[models.find(name).__module__].__doc__
    return " ".join(text[text.index("Deviations") :].split())


def built(name: str, preset: str = "", spec: Spec | None = None, **arguments: object) -> Recipe:
    """A model with a preset's arguments and others."""
    kind = models.find(name)
    chosen = kind.presets[preset] if preset else None
    return kind(spec or chosen.spec, **(chosen.model if chosen else {}) | arguments)


# Documented deviations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model, preset", PAPERS)
def test_a_paper_s_preset_is_as_long_as_the_paper_s_run_or_says_that_its_length_is_ours(model, preset):
    kind = models.find(model)
    chosen = kind.presets[preset]
    has_length = "images" in chosen.settings or "images" in kind.defaults
    assert has_length or "the length is ours" in chosen.about, (
        f"{model} {preset} would stop after the {Settings().images:,} images of any run"
    )


@pytest.mark.parametrize("model", MODELS)
def test_averaged_weights_are_the_paper_s_or_a_deviation(model):
    kind = models.find(model)
    has_averages = kind.ema or model == "lapgan"  # whose networks depend on its arguments
    averages = bool(Settings(**kind.defaults).ema) and has_averages
    assert model in AVERAGED or not averages or "averaged weights" in deviations(model)
    if model not in AVERAGED:
        papers = {name: preset for name, preset in kind.presets.items() if name.startswith("paper")}
        for name, preset in papers.items():
            averages_here = Settings(**kind.defaults | preset.settings).ema
            assert not averages_here or not averages, f"{model} {name} averages, the paper does not"


# Noise, norms, lengths -----------------------------------------------------------------------------------------------


def test_gan_s_noise_is_uniform_for_mnist_and_normal_for_cifar10():
    torch.manual_seed(0)
    with torch.device("meta"):
        recipes = {key: built("gan", key) for key in ("paper", "paper-cifar10")}
    for key, kurtosis in ("paper", 1.8), ("paper-cifar10", 3.0):
        z = recipes[key].noise(2000).double()
        assert z.mean().abs() < 0.02 and abs(z.var().item() - 1) < 0.02
        assert z.pow(4).mean().item() == pytest.approx(kurtosis, rel=0.03)
    assert recipes["paper"].noise(2000).abs().max() <= 3**0.5
    assert {models.find("gan").presets[key].model["prior"] for key in ("small", "ring", "grid")} == {"normal"}


@pytest.mark.parametrize("preset, epoch", [("paper", 50_000), ("paper-cifar10", 40_000)])
def test_gan_s_momentum_has_risen_when_the_paper_s_run_ends(preset, epoch):
    kind, momenta = models.find("gan"), []
    with torch.device("meta"):
        recipe = built("gan", preset)
    end = kind.presets[preset].settings["images"]
    run = SimpleNamespace(step=0, update=lambda *_: momenta.append(recipe.opt["d"].param_groups[0]["momentum"]))
    for run.images in (0, 125 * epoch, end - 100):
        recipe.step(None, run)
    assert end == 250 * epoch and momenta == pytest.approx([0.5, 0.6, 0.7], abs=1e-5)


def norms(recipe: Recipe) -> list[BatchNorm1d | BatchNorm2d]:
    return [m for m in recipe.modules() if isinstance(m, (BatchNorm1d, BatchNorm2d))]


def test_dcgan_s_batch_norm_adds_what_the_authors_codes_add():
    with torch.device("meta"):
        for preset, eps in ("paper", 1e-8), ("torch", 1e-5):
            layers = norms(built("dcgan", preset))
            assert len(layers) == 7 and {norm.eps for norm in layers} == {eps}


def test_dcgan_torch_shows_d_the_fakes_that_g_learns_from():
    torch.manual_seed(0)
    for same_z in (True, False):
        recipe = built("dcgan", spec=Spec((1, 8, 8)), width=2, same_z=same_z)
        images, d = [], recipe.d.forward
        recipe.d.forward = lambda x, d=d, images=images: images.append(x) or d(x)
        batch, run = Batch({"real": torch.rand(6, 1, 8, 8)}), SimpleNamespace(turn=0, step=0, augment=None)

        def update(name, loss, batch, *more, run=run):
            run.turn += 1
            for rows, part in batch.split(2, run.turn):
                loss(part, *(tensor[rows] for tensor in more))
            return {}

        run.update = update
        recipe.eval()  # batch norm would use the statistics of a piece
        recipe.step(batch, run)
        of_d, of_g = torch.cat([images[1], images[3]]), torch.cat(images[4:])
        assert torch.equal(of_d, of_g) == same_z
    assert (
        models.find("dcgan").presets["torch"].model["same_z"]
        and not built("dcgan", spec=Spec((1, 8, 8)), width=2).same_z
    )


@pytest.mark.parametrize(
    "model, preset, size",
    [("dcgan", "torch", 96), ("lapgan", "paper", 32), ("lapgan", "large", 96), ("cogan", "faces", 132)],
)
def test_images_are_read_at_the_size_that_the_authors_cut_theirs_from(model, preset, size):
    with torch.device("meta"):
        assert built(model, preset).load_size == (size, size)
    with pytest.raises(ValueError, match="load_scale is 0.5; it is how many times larger"):
        built(model, spec=Spec((1, 16, 16), other=(1, 16, 16)), load_scale=0.5)


CUT = dict(
    dcgan=dict(data="digits", width=2, norm_d=False, same_z=True),
    lapgan=dict(data="digits", z_dim=2, units_g=4, units_d=4, width=2, turn=8, dropout=0.0),
    cogan=dict(data="digits-negative", width=8, z_dim=2, dropout=False, bias_lr=2.0),
)


@pytest.mark.parametrize("model", list(CUT))
def test_crops_out_of_larger_images_survive_an_interruption_and_pieces(model, tmp_path):
    states = []
    fixed = dict(load_scale=1.5, resolution="16", batch=8, ema=0, precision="fp64", preview=0, quiet=True)
    for case, images, pieces in (("whole", 32, 1), ("interrupted", 16, 1), ("pieces", 32, 2)):
        options = CUT[model] | fixed | dict(images=images, pieces=pieces, outdir=tmp_path / case)
        run = training.train(model, **options)
        run = training.resume(run.folder, images=32, quiet=True) if case == "interrupted" else run
        assert run.recipe.load_size == (24, 24) and run.recipe.spec.shape[1:] == (16, 16)
        states.append([v for v in run.recipe.state_dict().values() if v.is_floating_point()])
    whole, interrupted, pieces = states
    assert all(torch.equal(a, b) for a, b in zip(whole, interrupted, strict=True))
    if model == "lapgan":  # the others' batch norms use the statistics of a piece
        assert all((a - b).abs().max() < 1e-9 for a, b in zip(whole, pieces, strict=True))


@pytest.mark.parametrize("preset", [key for key in models.find("r3gan").presets if key.startswith("paper")])
def test_every_run_of_r3gan_mirrors(preset):
    assert models.find("r3gan").presets[preset].settings["mirror"] is True


# Networks with equal parameter counts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "side, width, sides, channels_d, channels_g",
    [
        (32, 64, (16, 8, 8, 8), (128, 128, 128, 128), (256, 256, 256)),
        (48, 64, (24, 12, 6, 3, 3), (64, 128, 256, 512, 1024), (256, 128, 64)),
        (64, 64, (32, 16, 8, 4, 2), (64, 128, 256, 512, 1024), (512, 256, 128, 64)),
        (128, 64, (64, 32, 16, 8, 4, 4), (64, 128, 256, 512, 1024, 1024), (1024, 512, 256, 128, 64)),
        (256, 32, (128, 64, 32, 16, 8, 4, 4), (32, 64, 128, 256, 256, 512, 512), (512, 256, 256, 128, 64, 32)),
    ],
)
def test_sngan_s_maps_are_the_authors_at_their_sizes(side, width, sides, channels_d, channels_g):
    recipe = built("sngan", spec=Spec((3, side, side)), width=width // 8)
    maps, x = [], torch.zeros(1, 3, side, side)
    for block in recipe.d.trunk:
        x = block(x)
        maps.append(tuple(x.shape[1:]))
    assert maps == [(c // 8, s, s) for c, s in zip(channels_d, sides)]
    assert [block.conv2.out_channels for block in recipe.g.blocks] == [c // 8 for c in channels_g]
    start = 256 if side == 32 else channels_g[0] if side in (128, 256) else 2 * channels_g[0]
    assert recipe.g.start[0] == start // 8


@pytest.mark.parametrize("side, noisy", [(32, True), (64, False)])
def test_wgan_gp_dequantises_as_either_of_the_authors_scripts(side, noisy):
    recipe = built("wgan_gp", spec=Spec((1, side, side)), width=4)
    batch, inputs = Batch({"real": torch.randint(256, (2, 1, side, side)) / 127.5 - 1}), []
    recipe.d.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    recipe.d_loss(batch)
    assert any(torch.equal(x, batch.real) for x in inputs) != noisy
    if noisy:  # grey level k becomes one of [k, k + 1) / 128 - 1
        level = (127.5 * (batch.real + 1)).round()
        offsets = [128 * (x + 1) - level for x in inputs]
        assert any((offset >= -1e-3).all() and (offset <= 1 + 1e-3).all() for offset in offsets)


# Labels of fakes -----------------------------------------------------------------------------------------------------


def labelled(n: int, label: int, shape: tuple[int, ...]) -> Batch:
    return Batch({"real": torch.rand(n, *shape), "label": torch.full((n,), label)})


def test_shares_of_classes_are_those_of_the_images_seen_and_labels_follow_them():
    shares, run = torch.zeros(3), SimpleNamespace(images=0, mean=lambda x: x)
    for labels in ([0, 0, 1, 2], [0, 0], [1, 1, 0, 0]):
        batch = Batch({"label": torch.tensor(labels)})
        see_labels(shares, batch, run)
        run.images += len(labels)
    torch.testing.assert_close(shares, torch.tensor([6.0, 3.0, 1.0]) / 10)
    places = torch.tensor([0.0, 0.599, 0.601, 0.899, 0.901, 0.999999])
    assert data_labels(shares, places).tolist() == [0, 0, 1, 1, 2, 2]
    assert data_labels(torch.tensor([0.5, 0.0, 0.5, 0.0]), torch.tensor([0.49, 0.5, 1 - 2**-24])).tolist() == [0, 2, 2]


SMALL = dict(
    stylegan=dict(z_dim=4, w_dim=4, mapping_layers=1, channel_base=32, channel_max=4, group=2, gamma=0.0),
    stylegan2=dict(z_dim=4, w_dim=4, layers=1, channel_base=32, channel_max=4, group=2),
)


@pytest.mark.parametrize("model", list(SMALL))
def test_style_gans_draw_labels_for_fakes_where_the_authors_do(model):
    """stylegan's D sees fakes with the reals' labels, its G new labels; stylegan2 draws labels for all fakes."""
    shape, shares = (1, 8, 8), torch.tensor([0.6, 0.3, 0.1])
    recipe = built(model, spec=Spec(shape, num_classes=3), conditional=True, **SMALL[model])
    recipe.label_shares.copy_(shares)
    batch, labels, forward = labelled(600, 2, shape), [], recipe.d.forward

    def recorded(image: Tensor, *inputs: object) -> Tensor:
        labels.append(inputs[-1])
        return forward(image, *inputs)

    recipe.d.forward = recorded
    level = dict(level=1, alpha=1.0) if model == "stylegan" else {}
    recipe.d_loss(batch, **level)
    of_fakes = labels[1] if model == "stylegan" else labels[0]
    of_reals = labels[0] if model == "stylegan" else labels[1]
    batch.draws = 0
    recipe.g_loss(batch, **level)
    assert torch.equal(of_reals, batch.label)
    drawn = [labels[2]] + [of_fakes] * (model == "stylegan2")
    for label in drawn:
        torch.testing.assert_close(torch.bincount(label, minlength=3) / 600, shares, rtol=0, atol=0.05)
    assert model == "stylegan2" or torch.equal(of_fakes, batch.label)
    whole = drawn[0]
    labels.clear()
    for _, part in batch.split(3, 0):
        recipe.g_loss(part, **level)
    assert torch.equal(batch.join(labels), whole)
