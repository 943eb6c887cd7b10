"""AdaIN: its definition, the encoder outside checkpoints, the losses, and every way to control a style."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

import gankit
from gankit import data, training, weights
from gankit.models import adain as file
from gankit.models.adain import AdaIN, decoder, open_encoder
from gankit.nn.style import EPS, FrozenEncoder, adain, colour_moments, match_colours, moments
from gankit.recipe import Batch, Spec
from gankit.runs.files import read_tensors
from gankit.training import Settings
from gankit.training.setup import open_data

GREY = Spec((1, 16, 16), other=(1, 16, 16))
RUN = dict(preset="small", data="digits-negative", images=16, batch=8, log=8, preview=0, save=8, quiet=True)


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def layers_of(shapes: list[tuple[int, int]], seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(seeded(out, before, 3, 3, seed=seed + i), seeded(out, seed=i)) for i, (before, out) in enumerate(shapes)]


@pytest.fixture(scope="module")
def recipe() -> AdaIN:
    torch.manual_seed(0)
    return AdaIN(Spec((3, 16, 16), other=(1, 16, 16)), encoder="small").double().eval().requires_grad_(False)


def test_adain_is_its_definition():
    x, y = seeded(2, 3, 4, 5), seeded(2, 3, 6, 2, seed=1) * 3 + 1
    actual = adain(x, *moments(y))
    for n in range(2):
        for c in range(3):
            a, b = x[n, c].flatten().tolist(), y[n, c].flatten().tolist()
            mean_a, mean_b = sum(a) / 20, sum(b) / 12
            deviation_a = (sum((v - mean_a) ** 2 for v in a) / 20 + 1e-5) ** 0.5  # over H W: the biased variance
            deviation_b = (sum((v - mean_b) ** 2 for v in b) / 12 + 1e-5) ** 0.5
            expected = [deviation_b * (v - mean_a) / deviation_a + mean_b for v in a]
            assert (actual[n, c].flatten() - torch.tensor(expected, dtype=torch.float64)).abs().max() < 1e-12
    assert moments(x.bfloat16())[0].dtype == torch.float32


def test_moments_of_a_region_are_those_of_its_places_alone():
    x, share = seeded(2, 3, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    share[..., :2, 1:] = 0.3
    for a, b in zip(moments(x, share), moments(x[:, :, :2, 1:])):
        assert (a - b).abs().max() < 1e-12
    assert all(m.isfinite().all() for m in moments(x, 0 * share))


def test_colours_get_the_target_s_mean_and_covariance():
    x, y = seeded(2, 3, 8, 8), seeded(2, 3, 5, 9, seed=1)
    mixing = torch.tensor([[1, 0.5, 0.2], [0, 0.4, -0.3], [0.1, 0, 0.2]], dtype=torch.float64)
    y = torch.einsum("ij,njhw->nihw", mixing, y) + 0.2
    for a, b in zip(colour_moments(match_colours(x, y)), colour_moments(y)):
        assert (a - b).abs().max() < 1e-10
    mean, covariance = colour_moments(y)
    assert np.allclose(covariance[1], np.cov(y[1].flatten(1).numpy(), bias=True), atol=1e-12)
    assert (match_colours(y, y) - y).abs().max() < 1e-10, "its own colours change nothing"
    grey = match_colours(x[:, :1].expand(-1, 3, -1, -1), y)
    assert (colour_moments(grey)[0] - mean).abs().max() < 1e-10
    assert grey.abs().max() < 10, "a direction without variance is not amplified"
    assert match_colours(torch.zeros_like(x), y).isfinite().all()


def test_the_encoder_is_a_stack_of_reflected_convolutions_and_pools_where_it_widens():
    layers = [(seeded(3, 3, 1, 1), seeded(3)), *layers_of([(3, 4), (4, 4), (4, 6), (6, 8), (8, 10)])]
    encoder = FrozenEncoder(layers, torch.full((3,), 0.5), torch.full((3,), 0.25))
    x, pads, taps = seeded(2, 3, 18, 20), nn.ReflectionPad2d(1), []
    maps = F.conv2d(x * 0.5 + 0.25, *layers[0])
    for i, (weight, bias) in enumerate(layers[1:]):
        maps = F.max_pool2d(maps, 2, ceil_mode=True) if i in (2, 3, 4) else maps
        maps = F.relu(F.conv2d(pads(maps), weight, bias))
        taps += [maps] if i != 1 else []
    for actual, expected in zip(encoder(x), taps, strict=True):
        assert (actual - expected).abs().max() < 1e-12
    assert [m.shape[2:] for m in taps] == [(18, 20), (9, 10), (5, 5), (3, 3)]
    assert not isinstance(encoder, nn.Module)


@pytest.mark.parametrize("name, count", [("vgg19", 3_505_740), ("vgg19-imagenet", 3_505_728)])
def test_vgg_and_the_decoder_have_the_paper_s_counts_and_the_release_s_keys(name, count):
    with torch.device("meta"):
        encoder, digest = open_encoder(name)
        net = decoder(encoder.shapes)
        assert encoder.numel() == count and len(digest) == 64
        assert sum(p.numel() for p in net.parameters()) == 3_505_219
    assert [int(k.split(".")[0]) for k in net.state_dict() if k.endswith("weight")] == [1, 5, 8, 11, 14, 18, 21, 25, 28]


def test_250_px_give_maps_of_32_and_an_image_of_256():
    """VGG's shapes with a sixteenth of its channels: pools round up, so 250 px become 125, 63 and 32."""
    shapes = [(max(3, a // 16), b // 16) for a, b in file.VGG19]
    layers = [(w.float(), b.float()) for w, b in layers_of(shapes)]
    taps = FrozenEncoder(layers, torch.ones(3), torch.zeros(3))(torch.zeros(1, 3, 250, 250))
    assert [tuple(t.shape[1:]) for t in taps] == [(4, 250, 250), (8, 125, 125), (16, 63, 63), (32, 32, 32)]
    assert decoder(shapes)(taps[-1]).shape == (1, 3, 256, 256)


def test_files_of_vgg_are_read_by_their_numbers_up_to_relu4_1(tmp_path, monkeypatch):
    shapes, normal = [(3, 4), (4, 4), (4, 5), (5, 6), (6, 7), (7, 7)], {}
    for key, (before, out) in zip((2, 5, 9, 16, 29, 32), shapes):  # 29 after 9 and 16, as numbers go
        normal |= {f"{key}.weight": seeded(out, before, 3, 3).float(), f"{key}.bias": seeded(out).float()}
    normal |= {"0.weight": seeded(3, 3, 1, 1).float(), "0.bias": seeded(3).float()}
    torch.save(normal, tmp_path / "n.pth")
    imagenet = {f"features.{k}": v for k, v in normal.items() if not k.startswith("0.")}
    imagenet["classifier.0.weight"] = torch.zeros(2, 2)
    torch.save(imagenet, tmp_path / "i.pth")
    for name, path in ("vgg19", tmp_path / "n.pth"), ("vgg19-imagenet", tmp_path / "i.pth"):
        published = file.PUBLISHED[name]._replace(name=path.name, sha256=weights.sha256(path), size=path.stat().st_size)
        monkeypatch.setitem(file.PUBLISHED, name, published)
    monkeypatch.setenv("GANKIT_WEIGHTS", str(tmp_path))
    x = seeded(1, 3, 16, 16)
    mean, deviation = (
        torch.tensor(t, dtype=torch.float64).view(3, 1, 1) for t in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    for name, path, before in (
        ("vgg19", tmp_path / "n.pth", F.conv2d((x + 1) / 2, normal["0.weight"].double(), normal["0.bias"].double())),
        ("vgg19-imagenet", tmp_path / "i.pth", ((x + 1) / 2 - mean) / deviation),
    ):
        (encoder, digest), (by_path, same) = open_encoder(name), open_encoder(str(path))
        assert digest == same == weights.sha256(path) and encoder.shapes == shapes[:5]
        expected = F.relu(
            F.conv2d(F.pad(before, (1, 1, 1, 1), "reflect"), normal["2.weight"].double(), normal["2.bias"].double())
        )
        assert (encoder(x)[0] - expected).abs().max() < 1e-6  # ImageNet's numbers are kept in float32
        assert torch.equal(encoder(x)[-1], by_path(x)[-1])


def test_what_is_no_encoder_is_refused_with_what_to_type(tmp_path, monkeypatch):
    (tmp_path / "x.pth").write_bytes(b"anything")
    with pytest.raises(ValueError, match="sha256 .*not one of the published.*Choose from vgg19"):
        AdaIN(GREY, encoder=str(tmp_path / "x.pth"))
    with pytest.raises(ValueError, match="'vgg' is no file. Choose from vgg19, vgg19-imagenet and small"):
        AdaIN(GREY, encoder="vgg")
    save_file({"0.weight": torch.zeros(4, 3, 3, 3), "0.bias": torch.zeros(4)}, tmp_path / "short.safetensors")
    with pytest.raises(ValueError, match="four"):
        AdaIN(GREY, encoder=str(tmp_path / "short.safetensors"))
    for name in "GANKIT_WEIGHTS", "GANKIT_CACHE", "TORCH_HOME":
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("GANKIT_OFFLINE", "1")
    with pytest.raises(OSError, match="vgg_normalised.pth is not on this machine.*--preset small"):
        AdaIN(GREY)
    monkeypatch.chdir(tmp_path)
    torch.save({"0.weight": torch.zeros(3, 3, 1, 1)}, "vgg19")  # a published name takes precedence over a file
    with pytest.raises(OSError, match="vgg_normalised.pth is not on this machine"):
        AdaIN(GREY, encoder="vgg19")
    (tmp_path / "text.safetensors").write_text("no tensors")
    with pytest.raises(ValueError, match="text.safetensors is damaged or not a safetensors file"):
        AdaIN(GREY, encoder=str(tmp_path / "text.safetensors"))
    with pytest.raises(ValueError, match="crop is 12"):
        AdaIN(GREY, encoder="small", crop=12)
    with pytest.raises(ValueError, match="grey or colour"):
        file.colour(torch.zeros(1, 4, 16, 16))


def test_the_encoder_is_in_no_checkpoint_and_another_one_is_refused(tmp_path):
    own = tmp_path / "own.safetensors"
    shapes = [(3, 4), (4, 5), (5, 6), (6, 8)]
    held = {}
    for i, (weight, bias) in enumerate(layers_of(shapes)):
        held |= {f"{i}.weight": weight.float(), f"{i}.bias": bias.float()}
    save_file(held, own)
    run = training.train("adain", outdir=tmp_path, encoder=str(own), **RUN)
    sizes = sum(p.numel() for p in run.recipe.g.parameters())
    for name in "weights.safetensors", "state.safetensors":
        actual, _ = read_tensors(run.folder / name)
        assert not any(torch.equal(t, held["3.weight"]) for t in actual.values())
        assert not any("encoder" in key and not key.endswith("encoder_sha256") for key in actual)
    assert sum(t.numel() for t in read_tensors(run.folder / "weights.safetensors")[0].values()) == sizes + 32
    assert json.loads((run.folder / "config.json").read_text())["arguments"]["encoder"] == str(own)
    trained = gankit.load(run.folder)  # no flags
    x, y = seeded(2, 1, 16, 16).float(), seeded(1, 1, 24, 16, seed=1).float()
    with run.averaged() as recipe:
        assert torch.equal(trained.recipe.translate(x, y), recipe.translate(x, y))
    save_file(held | {"3.bias": torch.zeros(8)}, own)
    with pytest.raises(ValueError, match="trained with an encoder of sha256 .* put that file back"):
        gankit.load(run.folder)
    with pytest.raises(ValueError, match="trained with an encoder of sha256"):
        training.resume(run.folder, images=32, quiet=True)
    own.unlink()
    with pytest.raises(ValueError, match="own.safetensors' is no file"):
        gankit.load(run.folder)


def test_the_losses_are_those_of_the_paper(recipe):
    batch = Batch({"a": seeded(2, 3, 16, 16), "b": seeded(2, 1, 16, 16, seed=1)})
    contents, styles = batch.a, file.colour(batch.b)
    loss, outputs = recipe.g_loss(batch, contents, styles)
    target = adain(recipe.encoder(contents)[-1], *moments(recipe.encoder(styles)[-1]))
    drawn = recipe.encoder(recipe.g(target) * 2 - 1)
    content = ((drawn[-1] - target) ** 2).mean()
    style = 0
    for n in range(2):
        for a, b in zip(drawn, recipe.encoder(styles)):
            for x, y in zip(a[n].flatten(1), b[n].flatten(1)):
                style += (x.mean() - y.mean()) ** 2
                style += ((x.var(correction=0) + EPS).sqrt() - (y.var(correction=0) + EPS).sqrt()) ** 2
    assert abs(outputs["content"] - content) < 1e-12 and abs(outputs["style"] - style / 2) < 1e-9
    assert abs(loss - content - recipe.style_weight * style / 2) < 1e-9
    again = [(recipe.g(recipe.encoder(x)[-1]) * 2 - 1 - x).square().mean() for x in (contents, styles)]
    recipe.identity_weight = 3.0
    more, outputs = recipe.g_loss(batch, contents, styles)
    recipe.identity_weight = 0.0
    assert abs(outputs["identity"] - sum(again) / 2) < 1e-12 and abs(more - loss - 1.5 * sum(again)) < 1e-9
    assert AdaIN.presets["paper"].model.get("identity_weight", 0) == 0, "the paper has none"


def test_he_s_first_weights_keep_the_size_of_the_maps():
    torch.manual_seed(0)
    he, plain = (decoder([(3, 16), (16, 16), (16, 32), (32, 64)], init) for init in ("he", "torch"))
    x = torch.rand(4, 64, 8, 8)
    before, grown, shrunk = (maps.square().mean() for maps in (x, he[:-1](x), plain[:-1](x)))
    assert 0.3 < grown / before < 3 and shrunk < 0.05 * before


def test_built_in_contents_and_styles_are_labelled_patches_in_three_channels():
    for name, count, colours in ("contents", 4, 1), ("styles", 8, 6):
        actual = data.open(name, 32)
        assert actual.shape == (3, 32, 32) and np.bincount(actual.labels).tolist() == [colours * 49 * 49] * count
        assert len(actual.class_names) == count
    same = actual.read(np.arange(6) * 49 * 49)  # a patch in six colours: the same three channels in each order
    assert len({patch.tobytes() for patch in same}) == 6
    assert len({tuple(sorted(c.tobytes() for c in patch)) for patch in same}) == 1
    with pytest.raises(ValueError, match="must be 32|one size|need one size"):
        training.train("adain", data="contents,digits", preset="small", quiet=True)


def test_the_learning_rate_is_a_function_of_progress():
    kind = AdaIN(GREY, encoder="small")
    batch = Batch({"a": torch.zeros(8, 1, 16, 16), "b": torch.zeros(8, 1, 16, 16)})

    class Progress:
        images = 8 * 20_000

        def update(self, *_):
            return {}

    kind.step(batch, Progress())
    assert kind.opt["g"].param_groups[0]["lr"] == 1e-4 / 2  # 1 + 5e-5 * 20,000


def test_contents_and_styles_are_cut_each_at_its_own_place():
    kind = AdaIN(Spec((1, 40, 48), other=(1, 40, 48)), encoder="small", crop=24)
    ramp = (torch.arange(40.0)[:, None] * 100 + torch.arange(48.0)).expand(6, 1, 40, 48)
    cut = []
    run = SimpleNamespace(images=0, update=lambda name, loss, batch, *more: cut.extend(more))
    kind.step(Batch({"a": ramp, "b": ramp}), run)
    assert [x.shape for x in cut] == [(6, 3, 24, 24)] * 2 and not torch.equal(*cut)
    assert all(len({image[0, 0, 0].item() for image in x}) > 3 for x in cut)
    assert torch.equal(cut[0][0, 0] - cut[0][0, 0, 0, 0], ramp[0, 0, :24, :24])


def test_strength_goes_from_the_plain_reconstruction_to_the_full_style(recipe):
    x, y = seeded(2, 3, 24, 16), seeded(1, 3, 16, 32, seed=1)
    content = recipe.encoder(x)[-1]
    full = adain(content, *moments(recipe.encoder(y)[-1]))
    for strength, maps in ((0, content), (1, full), (0.25, 0.75 * content + 0.25 * full)):
        expected = (recipe.g(maps) * 2 - 1).clamp(-1, 1)
        assert (recipe.translate(x, y, strength=strength) - expected).abs().max() < 1e-12


def test_several_styles_are_mixed_by_weights_that_sum_to_one(recipe):
    x, styles = seeded(2, 3, 16, 16), [seeded(3, 16, 16, seed=1), seeded(1, 40, 24, seed=2)]
    content = recipe.encoder(x)[-1]
    one, two = (adain(content, *moments(recipe.encoder(file.colour(s[None]))[-1])) for s in styles)
    for weights_, maps in ((None, (one + two) / 2), (torch.tensor([1.0, 3.0]), 0.25 * one + 0.75 * two)):
        expected = (recipe.g(maps) * 2 - 1).clamp(-1, 1)
        assert (recipe.translate(x, styles, weights=weights_) - expected).abs().max() < 1e-12
    each = recipe.translate(x, styles, weights=torch.eye(2))
    for i, style in enumerate(styles):
        assert (each[i] - recipe.translate(x[i : i + 1], [style])[0]).abs().max() < 1e-12
    for bad in ([1.0], [0.0, 0.0], [-1.0, 2.0]):
        with pytest.raises(ValueError, match="2 styles need as many weights"):
            recipe.translate(x, styles, weights=torch.tensor(bad))


def test_each_region_gets_its_style_and_what_is_left_stays(recipe):
    x, styles = seeded(1, 3, 32, 32), [seeded(3, 16, 16, seed=1), seeded(3, 16, 16, seed=2)]
    masks = torch.zeros(2, 32, 32)
    masks[0, :, :8] = masks[1, :, 16:] = 1  # no style has the columns between
    content = recipe.encoder(x)[-1]
    maps = content.clone()
    for style, columns in zip(styles, (slice(0, 1), slice(2, 4))):
        maps[..., columns] = adain(content[..., columns], *moments(recipe.encoder(style[None])[-1]))
    expected = (recipe.g(maps) * 2 - 1).clamp(-1, 1)
    assert (recipe.translate(x, styles, masks=masks) - expected).abs().max() < 1e-12
    everywhere = torch.ones(2, 32, 32)
    assert (recipe.translate(x, styles, masks=everywhere) - recipe.translate(x, styles)).abs().max() < 1e-12
    alone = recipe.translate(x, styles, masks=torch.stack([everywhere[0], 0 * masks[0]]))
    assert (alone - recipe.translate(x, styles[:1])).abs().max() < 1e-12
    with pytest.raises(ValueError, match="2 styles need as many masks"):
        recipe.translate(x, styles, masks=masks[:1])


def test_keeping_the_colour_matches_the_style_s_colours_first(recipe):
    x, y = seeded(2, 3, 16, 16) * torch.tensor([1, 0.3, 0.1]).view(3, 1, 1), seeded(1, 3, 16, 16, seed=1)
    actual = recipe.translate(x, y, keep_colour=True)
    for i in range(2):
        expected = recipe.translate(x[i : i + 1], match_colours(y, x[i : i + 1]))
        assert (actual[i] - expected[0]).abs().max() < 1e-12
    assert (actual - recipe.translate(x, y)).abs().max() > 1e-3


def test_any_size_goes_and_no_image_depends_on_the_others(recipe):
    x, y = seeded(3, 1, 21, 34), seeded(1, 3, 16, 16, seed=1)
    whole = recipe.translate(x, y)
    assert whole.shape == (3, 3, 21, 34) and whole.min() >= -1 and whole.max() <= 1
    for i in range(3):
        assert (recipe.translate(x[i : i + 1], y)[0] - whole[i]).abs().max() < 1e-12
    with pytest.raises(ValueError, match="at least 16x16"):
        recipe.translate(x[..., :8, :], y)


def test_the_strip_shows_each_content_in_the_style_beside_it(recipe):
    batch = Batch({"a": seeded(3, 3, 16, 16), "b": seeded(3, 1, 16, 16, seed=1)})
    content, style, drawn = recipe.strip(batch)
    assert content.shape == style.shape == drawn.shape == (3, 3, 16, 16)
    assert (drawn[2] - recipe.translate(batch.a[2:], batch.b[2:])[0]).abs().max() < 1e-12


def test_training_brings_the_statistics_of_the_output_to_the_style_s(tmp_path):
    run = training.train("adain", outdir=tmp_path, **RUN | dict(images=400, ema=0, save=400))
    torch.manual_seed(1)
    before, trained = AdaIN(GREY, encoder="small"), gankit.load(run.folder).recipe
    dataset = open_data(Settings(data="digits-negative"), AdaIN)
    a, b = (torch.from_numpy(part.read(np.arange(8))).float() / 127.5 - 1 for part in (dataset.a, dataset.b))

    def distance(recipe: AdaIN) -> float:
        pairs = zip(recipe.statistics(recipe.translate(a, b, weights=torch.eye(8))), recipe.statistics(b))
        return sum(
            (x - y).square().sum((1, 2, 3)).mean().item()
            for actual, expected in pairs
            for x, y in zip(actual, expected)
        )

    with torch.no_grad():
        assert distance(trained) < 0.75 * distance(before)
