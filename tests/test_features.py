"""Extractors and their weights, without the published weights: names, shapes and arithmetic against independent routes.

The golden activations are those of torch-fidelity 0.4.0's Inception, given the same random weights.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import types
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from gankit import downloads, weights
from gankit.metrics import digits_classifier, extractors, inception, vgg
from gankit.metrics.extractors import extractor, from_module
from gankit.metrics.lpips import HEADS_SHA256, Lpips, heads_file, lpips
from gankit.metrics.lpips import load as load_lpips
from gankit.weights import WeightsFile, fetch
from tests.waiting import until

WORDS = bytes(range(256)) * 20


def randomise(net: nn.Module) -> nn.Module:
    """Seeded weights that keep activations of the order of 1, each tensor with a scale of its own kind."""
    generator = torch.Generator().manual_seed(0)
    for name, value in net.to_empty(device="cpu").state_dict().items():
        if value.ndim > 1:
            value.copy_(torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5)
        elif name.endswith(("weight", "running_var")) and value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        else:
            value.copy_(torch.randn(value.shape, generator=generator) * 0.1 if value.is_floating_point() else value * 0)
    return net.requires_grad_(False).eval()


def pictures(n: int, height: int, width: int, channels: int = 3, seed: int | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height if seed is None else seed)
    levels = torch.randint(0, 256, (n, channels, height, width), generator=generator, dtype=torch.uint8)
    return levels.float() / 127.5 - 1


@pytest.fixture(scope="module")
def random_file(tmp_path_factory):
    """A file like the published one, with other weights."""
    with torch.device("meta"):
        net = inception.Inception()
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(randomise(net).state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    yield WeightsFile(path.name, path.as_uri(), digest, path.stat().st_size, "none"), path
    path.unlink()


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A machine on which nothing was ever fetched."""
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in ("GANKIT_WEIGHTS", "GANKIT_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    downloads._verified.clear()
    return tmp_path


@pytest.fixture
def random_inception(random_file, alone, monkeypatch):
    file, path = random_file
    monkeypatch.setenv("GANKIT_WEIGHTS", str(path.parent))
    monkeypatch.setattr(inception, "WEIGHTS", file)


# the networks


def manifest(net: nn.Module) -> tuple[int, int, str]:
    """Tensors, their bytes, and a hash of their names, shapes and types."""
    state = sorted(net.state_dict().items())
    lines = "".join(f"{name} {tuple(value.shape)} {value.dtype}\n" for name, value in state)
    return len(state), sum(v.numel() * v.element_size() for _, v in state), hashlib.sha256(lines.encode()).hexdigest()


def test_inception_has_the_names_and_shapes_of_the_published_file():
    with torch.device("meta"):
        # the hash is that of torch-fidelity 0.4.0's FeatureExtractorInceptionV3, which loads the published file
        known = "63bc6c2cb3284cc84ded377a730e96861a70952b5e191c09a95eaeb59351339e"
        assert manifest(inception.Inception()) == (566, 95_542_320, known)


def test_vgg_has_the_names_and_shapes_of_the_published_file():
    with torch.device("meta"):
        net = vgg.VGG16()
    count, size, _ = manifest(net)
    assert (count, size) == (32, 4 * 138_357_544)  # the number of parameters that torchvision's documents give
    assert 0 < vgg.WEIGHTS.size - size < 10_000
    places = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    names = [f"features.{i}" for i in places] + [f"classifier.{i}" for i in (0, 3, 6)]
    assert {*net.state_dict()} == {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}
    assert [tuple(net.classifier[i].weight.shape) for i in (0, 3, 6)] == [(4096, 25088), (4096, 4096), (1000, 4096)]


def test_vgg_features_are_fc2_after_its_relu():
    with torch.device("meta"):
        net = vgg.VGG16()
    net.features = nn.Identity()
    small = nn.Sequential(*(nn.Linear(3, 3) if isinstance(x, nn.Linear) else x for x in net.classifier))
    net.classifier = randomise(small)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    seen, logits = net.eval()(x)
    w = [small[i] for i in (0, 3, 6)]
    expected = ((x @ w[0].weight.T + w[0].bias).clamp(min=0) @ w[1].weight.T + w[1].bias).clamp(min=0)
    assert torch.allclose(seen, expected, atol=1e-6) and (seen == 0).any()
    assert torch.allclose(logits, expected @ w[2].weight.T + w[2].bias, atol=1e-6)


# side of the image -> layer -> two features of the first image and the mean of all
GOLDEN = {
    32: {
        "64": (0.030997, 0.626669, 0.386841),
        "192": (1.981361, 1.827757, 0.787902),
        "768": (9.208855, 1.377383, 1.371501),
        "2048": (0.022569, 0.035948, 2.253610),
        "logits_unbiased": (-8.297445, -0.220989, 0.188652),
    },
    128: {
        "64": (0.167674, 0.712149, 0.580041),
        "192": (1.548719, 1.647196, 0.877756),
        "768": (10.296422, 0.906405, 1.497752),
        "2048": (0.0, 0.042886, 2.428651),
        "logits_unbiased": (-9.295712, -0.452551, 0.210320),
    },
    299: {
        "64": (0.337703, 0.910851, 0.911239),
        "192": (1.783621, 2.104825, 1.262480),
        "768": (14.957581, 1.006698, 2.160933),
        "2048": (0.0, 0.056008, 3.492162),
        "logits_unbiased": (-13.029704, -0.610561, 0.313221),
    },
}


def test_inception_sees_what_torch_fidelity_sees(random_inception):
    extract = extractor("inception")
    for side, layers in GOLDEN.items():
        seen = extract.prepare(pictures(1, side, side), extract.device, extract.dtype)
        found = extract.net(seen)
        for layer, golden in layers.items():
            assert found[layer].shape == (1, inception.DIMS[layer])
            values = [*found[layer][0, 1:3].tolist(), float(found[layer].mean())]
            assert values == pytest.approx(golden, rel=2e-5, abs=2e-6), (side, layer)
    features, classes = extract.outputs(pictures(1, side, side))
    assert torch.equal(features, found["2048"])
    assert torch.allclose(classes, found["logits_unbiased"].double().softmax(1), atol=1e-12)


def test_features_do_not_depend_on_the_batch(random_inception):
    images = pictures(3, 40, 30)
    single = extractor("inception", "64")
    extract = single.to("cpu", torch.float64)
    whole = extract(images)
    assert whole.dtype == torch.float64 and whole.shape == (3, 64)
    assert (whole - replace(extract, batch=2)(images)).abs().max() < 1e-9
    features, classes = single.outputs(images)
    assert (features - whole).abs().max() < 1e-5 and classes is None  # float32


def test_the_clean_variant_differs_in_its_resize_only(monkeypatch):
    monkeypatch.setattr(inception, "load", net)
    images, levels = pictures(1, 128, 128), (pictures(1, 128, 128) + 1) * 127.5
    for name, resize in (("inception", inception.tf1_bilinear), ("inception-clean", inception.bicubic)):
        made = extractor(name)
        seen = made.prepare(images, made.device, made.dtype)
        assert torch.allclose(seen, (resize(levels, 299) - 128) / 128, atol=1e-5) and seen.shape[2:] == (299, 299)


def test_vgg16_sees_whole_images_as_imagenet_does(monkeypatch):
    class Fake(nn.Module):
        def forward(self, x):
            return x[:, 0].flatten(1)[:, :4096], x[:, :, 0, 0]

    monkeypatch.setattr(vgg, "load", Fake)
    made, images = extractor("vgg16"), pictures(2, 90, 120)
    levels = nn.functional.interpolate((images + 1) * 127.5, (224, 224), mode="bilinear", antialias=True)
    features, classes = made.outputs(images)
    assert torch.allclose(features, (levels[:, 0].flatten(1)[:, :4096] / 255 - 0.485) / 0.229, atol=1e-4)
    assert classes.shape == (2, 3) and made.dim == 4096 and made.layer == "fc2_relu" and not made.official


# resizing


def literal_tf1(image: np.ndarray, side: int) -> np.ndarray:
    """One channel, pixel by pixel."""
    height, width = image.shape
    out = np.zeros((side, side))
    for i in range(side):
        y = float(np.float32(i) * np.float32(height / side))
        for j in range(side):
            x = float(np.float32(j) * np.float32(width / side))
            top, left = int(y), int(x)
            below, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = image[top, left] * (1 - (x - left)) + image[top, right] * (x - left)
            lower = image[below, left] * (1 - (x - left)) + image[below, right] * (x - left)
            out[i, j] = upper * (1 - (y - top)) + lower * (y - top)
    return out


@pytest.mark.parametrize("shape", [(5, 7), (32, 32), (53, 40), (90, 64)])
def test_tf1_bilinear_is_the_literal_loop(shape):
    levels = (pictures(2, *shape) + 1).double() * 127.5
    for side in (53, 64):
        expected = literal_tf1(levels[1, 2].numpy(), side)
        assert np.abs(inception.tf1_bilinear(levels, side)[1, 2].numpy() - expected).max() < 1e-10
    doubled = inception.tf1_bilinear(levels[..., :5, :5], 10)
    assert torch.equal(doubled[..., ::2, ::2], levels[..., :5, :5])  # no half pixels: every second one is the original
    assert torch.equal(doubled[..., -1, ::2], levels[..., 4, :5])  # and past the last, the last again


@pytest.mark.parametrize("shape", [(32, 32), (128, 96), (400, 310)])
@pytest.mark.parametrize("name, method", [("bicubic", Image.BICUBIC), ("bilinear", Image.BILINEAR)])
def test_antialiased_resizes_are_those_of_pil(shape, name, method):
    levels = ((pictures(1, *shape) + 1) * 127.5).round()
    ours = extractors.RESIZES[name](levels.double(), 299)[0, 0].numpy()
    theirs = np.asarray(Image.fromarray(levels[0, 0].numpy(), mode="F").resize((299, 299), method)).clip(0, 255)
    assert np.abs(ours - theirs).max() < 1e-4  # PIL keeps float32 between its passes
    assert np.abs(extractors.RESIZES[name](levels, 299)[0, 0].numpy() - theirs).max() < 1e-2
    assert ours.min() >= 0 and ours.max() <= 255


# extractors


def test_digits_is_the_classifier_of_this_package():
    images = torch.cat([pictures(3, 16, 16), torch.zeros(1, 3, 16, 16)])
    for x in (images, images[:, :1]):
        found, extract = extractor("digits"), extractor("digits").to("cpu", torch.float64)
        assert torch.equal(found(x), digits_classifier.features(x)) and found(x).shape == (4, found.dim)
        assert torch.allclose(found.classes(x), digits_classifier.probabilities(x), atol=1e-7)
        assert (extract(x) - digits_classifier.features(x)).abs().max() < 1e-5 and extract(x).dtype == torch.float64


def net(seed: int = 0) -> nn.Module:
    made = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        for value in made.parameters():
            value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(seed + value.numel())))
    return made


def test_your_own_network_sees_rounded_rgb_of_its_size():
    inner, x = net(), pictures(7, 20, 30)
    extract = from_module(inner, "mine", size=24, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    levels = inception.bicubic((x + 1) * 127.5, 24)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in extractors.IMAGENET)
    with torch.no_grad():
        expected = net().eval()((levels / 255 - mean) / std)
        plain = net().eval()(x)
    assert torch.allclose(extract(x), expected, atol=1e-5) and extract.dim == 6
    assert torch.allclose(extract(x + 0.003), expected, atol=1e-5)  # less than half a level
    assert torch.allclose(extract(x * 3), extract((x * 3).clamp(-1, 1)))
    assert torch.allclose(from_module(net(), "mine")(x), plain, atol=1e-5)  # by default nothing but rounding
    assert torch.equal(extract(x[:, :1]), extract(x[:, :1].repeat(1, 3, 1, 1)))
    assert inner.training and all(p.requires_grad for p in inner.parameters())  # the user's network is left alone
    assert (
        extract.to("cpu", torch.float64)(x) - replace(extract, batch=3).to("cpu", torch.float64)(x)
    ).abs().max() < 1e-9
    assert extract.classes(x) is None and not extract.official


def test_distance_is_of_images_that_are_not_rounded():
    a = pictures(3, 16, 16) * 0.9
    step = torch.linspace(-1e-4, 1e-4, 256).view(16, 16).expand_as(a)  # far less than a level
    for extract in (extractor("digits", dtype=torch.float64), from_module(net(), "mine").to("cpu", torch.float64)):
        small, twice = (
            extract.distance(a.double(), a.double() + step),
            extract.distance(a.double(), a.double() + 2 * step),
        )
        assert (small > 0).all() and (twice / small - 4).abs().max() < 0.05  # it goes with the square of the step
        assert torch.equal(extract.distance(a, a), torch.zeros(3, dtype=torch.float64))
        grey = pictures(3, 16, 16)  # of whole levels, so that rounding is nothing
        expected = (extract(grey) - extract(grey.flip(0))).square().mean(1)
        assert (extract.distance(grey, grey.flip(0)) - expected).abs().max() < 1e-6
    with pytest.raises(ValueError, match="give two alike"):
        extractor("digits").distance(a, a[:1])


def test_an_extractor_says_what_it_is():
    about = extractor("digits", dtype=torch.float64).about()
    assert about | {"fingerprint": ""} == {
        "name": "digits", "layer": "hidden", "dim": 64, "official": False, "fingerprint": "", "dtype": "float64",
    }  # fmt: skip
    assert extractor("digits").classifies and not from_module(net(), "mine").classifies


def test_an_extractor_enters_no_checkpoint():
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.extract = from_module(net(), "mine")

    assert not Holder().state_dict() and not list(Holder().parameters())


def test_fingerprints_name_everything_that_moves_the_numbers(monkeypatch):
    monkeypatch.setattr(inception, "load", net)  # the hash of the file stands for its weights
    changed = net()
    with torch.no_grad():
        changed[0].weight[0, 0, 0, 0] += 1e-6
    strided = net()
    strided[0].stride = (3, 3)  # the same weights, another network
    found = [
        extractor("digits"),
        extractor("inception"),
        extractor("inception", "768"),
        extractor("inception-clean"),
        from_module(net(), "mine"),
        from_module(net(), "yours"),
        from_module(net(), "mine", size=24),
        from_module(net(), "mine", size=24, resize="bilinear"),
        from_module(net(), "mine", mean=0.4),
        from_module(net(), "mine", std=0.4),
        from_module(net(1), "mine"),
        from_module(changed, "mine"),
        from_module(strided, "mine"),
    ]
    assert len({x.fingerprint for x in found}) == len(found) and all(len(x.fingerprint) == 64 for x in found)
    assert from_module(net(), "mine").fingerprint == found[4].fingerprint
    assert from_module(net(), "mine").to("cpu", torch.float64).fingerprint == found[4].fingerprint
    assert [x.name for x in found if x.official] == ["inception"] and found[1].official
    monkeypatch.setattr(inception, "WEIGHTS", inception.WEIGHTS._replace(sha256="0" * 64))
    other = extractor("inception")
    assert other.fingerprint != found[1].fingerprint and not other.official  # these are not the published weights
    monkeypatch.undo()
    monkeypatch.setattr(inception, "load", net)
    monkeypatch.setattr(extractors, "CODE", "2")
    assert extractor("inception").fingerprint != found[1].fingerprint


@pytest.mark.parametrize(
    "name, message",
    [
        ("inceptoin", "digits, inception, inception-clean, vgg16, timm:NAME, dinov2:NAME; did you mean inception?"),
        ("timm", "did you mean timm:NAME?"),
        ("dinov2:vits16", "vits14, vitb14, vitl14, vitg14"),
        ("dinov2:vits14", "downloads no code. Run once: python -c"),
    ],
)
def test_unknown_and_missing_extractors(alone, name, message):
    with pytest.raises(ValueError) as error:
        extractor(name)
    assert message in str(error.value)


def test_timm_is_the_users_own(alone, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)  # not importable
    with pytest.raises(ValueError, match="timm:tiny needs timm, .* pip install timm"):
        extractor("timm:tiny")
    told = {"input_size": (3, 24, 24), "interpolation": "bicubic", "mean": (0.5,) * 3, "std": (0.25,) * 3}
    fake, hub, there = types.ModuleType("timm"), types.ModuleType("huggingface_hub"), {}
    fake.is_model, fake.list_models = lambda name: name == "tiny", lambda: ["tiny"]
    fake.get_pretrained_cfg = lambda name: types.SimpleNamespace(
        hf_hub_id="timm/tiny@v2", hf_hub_filename="open_clip_pytorch_model.bin"
    )
    hub.try_to_load_from_cache = lambda repository, file, revision: there.get((repository, file, revision))

    def create_model(name, pretrained, pretrained_cfg_overlay, num_classes):
        made = net()
        assert pretrained and num_classes == 0 and pretrained_cfg_overlay["custom_load"] is False
        made.load_state_dict(load_file(pretrained_cfg_overlay["file"]))
        return made

    fake.create_model = create_model
    fake.data = types.SimpleNamespace(resolve_model_data_config=lambda net: told)
    monkeypatch.setitem(sys.modules, "timm", fake)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    x = pictures(2, 24, 24)
    there["timm/tiny", "open_clip_pytorch_model.bin", "v2"] = str(alone / "unsafe.bin")
    with pytest.raises(
        ValueError,
        match="timm:tiny needs its weights in safetensors on this machine, and gankit downloads none .*pretrained=True",
    ):
        extractor("timm:tiny")
    save_file(net().state_dict(), alone / "tiny.safetensors")
    there["timm/tiny", "model.safetensors", "v2"] = str(alone / "tiny.safetensors")
    with torch.no_grad():
        assert torch.allclose(extractor("timm:tiny")(x), net().eval()(x * 2), atol=1e-5)
    with pytest.raises(ValueError, match="no model 'tinny'; did you mean timm:tiny?"):
        extractor("timm:tinny")


def test_dinov2_comes_from_what_torch_hub_has(alone):
    code = alone / "torch" / "hub" / "facebookresearch_dinov2_main"
    code.mkdir(parents=True)
    (code / "hubconf.py").write_text(
        "from torch import nn\n"
        "def dinov2_vits14(pretrained=True):\n"
        "    assert not pretrained\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))\n"
    )
    (alone / "torch" / "hub" / "checkpoints").mkdir()
    linear = nn.Linear(3, 4)
    state = {f"2.{name}": value for name, value in linear.state_dict().items()}
    torch.save(state, alone / "torch" / "hub" / "checkpoints" / "dinov2_vits14_pretrain.pth")
    extract = extractor("dinov2:vits14")
    white = linear((1 - torch.tensor([[0.485, 0.456, 0.406]])) / torch.tensor([[0.229, 0.224, 0.225]]))
    assert torch.allclose(extract(torch.ones(1, 3, 30, 20)), white, atol=1e-5)
    assert extract.name == "dinov2:vits14" and extract.dim == 4


@pytest.mark.parametrize(
    "images, message",
    [
        (torch.zeros(2, 4, 8, 8), "C 1 or 3"),
        (torch.zeros(3, 8, 8), "C 1 or 3"),
        (torch.zeros(0, 3, 8, 8), "C 1 or 3"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "floats"),
        (torch.full((2, 3, 8, 8), float("nan")), "not finite"),
        (torch.full((2, 3, 8, 8), float("inf")), "not finite"),
        (torch.full((2, 3, 8, 8), 200.0), "0 to 255"),
    ],
)
def test_images_that_are_none_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        extractor("digits")(images)


def test_refusals_of_your_own_network():
    for arguments, message in [
        (dict(name="mine", resize="nearest"), "choose one of tf1_bilinear, bicubic, bilinear"),
        (dict(name="inception"), "call yours something else"),
        (dict(name="timm:x"), "call yours something else"),
        (dict(name="mine", size=1), r"does not take \(1, 3, 1, 1\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            from_module(net(), **arguments)
    with pytest.raises(ValueError, match=r"gave \(2, 6, 1, 1\) features for 2 images; expected \(2, 6\)"):
        from_module(net()[:-1], "mine")(pictures(2, 8, 8))
    with pytest.raises(ValueError, match="float32 or float64"):
        extractor("digits").to("cpu", torch.float16)
    with pytest.raises(ValueError, match="no choice of layer"):
        extractor("digits", "64")


# LPIPS


@pytest.fixture(scope="module")
def random_lpips():
    with torch.device("meta"):
        trunk = vgg.VGG16().features
    heads = weights.tensors(heads_file())
    return Lpips(randomise(trunk), tuple(heads[f"lin{i}.model.1.weight"].flatten() for i in range(5)))


def literal_lpips(net: Lpips, a: torch.Tensor, b: torch.Tensor) -> list[float]:
    shift = torch.tensor([-0.030, -0.088, -0.188], dtype=a.dtype)[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450], dtype=a.dtype)[:, None, None]
    values = []
    for pair in zip(a, b):
        total, (f, g) = 0.0, ((x - shift) / scale for x in pair)
        head = 0
        for i, layer in enumerate(net.trunk[:30]):
            f, g = layer(f[None])[0], layer(g[None])[0]
            if i in (3, 8, 15, 22, 29):  # relu1_2, 2_2, 3_3, 4_3, 5_3
                for y in range(f.shape[1]):
                    for x in range(f.shape[2]):
                        p, q = (v[:, y, x] / (v[:, y, x].square().sum().sqrt() + 1e-10) for v in (f, g))
                        total += float((net.heads[head] * (p - q) ** 2).sum()) / (f.shape[1] * f.shape[2])
                head += 1
        values.append(total)
    return values


def test_lpips_is_its_definition(random_lpips):
    net, (a, b) = random_lpips.to("cpu", torch.float64), pictures(4, 16, 24).double().split(2)
    found = lpips(a, b, net)
    assert found.tolist() == pytest.approx(literal_lpips(net, a, b), abs=1e-9)
    assert torch.equal(lpips(a, a, net), torch.zeros(2, dtype=torch.float64)) and (found > 0.01).all()
    assert torch.equal(found, lpips(b, a, net))
    assert (found - lpips(a, b, net, batch=1)).abs().max() < 1e-9
    assert (lpips(a.float(), b.float(), random_lpips) - found).abs().max() < 1e-6
    grey = lpips(a[:, :1], b[:, :1], net)
    assert torch.equal(grey, lpips(a[:, :1].repeat(1, 3, 1, 1), b[:, :1].repeat(1, 3, 1, 1), net))
    near = a.clone().requires_grad_()
    lpips(near, b, net).sum().backward()
    step = torch.zeros_like(a)
    step[0, 1, 5, 7] = 1e-5
    slope = (lpips(a + step, b, net) - lpips(a - step, b, net)).sum() / 2e-5
    assert float(near.grad[0, 1, 5, 7]) == pytest.approx(float(slope), rel=1e-4)


def test_lpips_is_that_of_torchmetrics(random_lpips, monkeypatch):
    from torchmetrics.functional.image import lpips as theirs

    monkeypatch.setattr(theirs, "_get_tv_model_features", lambda *_: random_lpips.trunk)  # it wants torchvision here
    other, (a, b) = theirs._LPIPS(net="vgg"), pictures(4, 48, 32).split(2)
    expected = other(a, b).flatten()
    assert (lpips(a, b, random_lpips) - expected).abs().max() < 1e-6


def test_heads_are_the_published_ones_from_what_is_installed(alone, monkeypatch, random_lpips):
    path = heads_file()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == HEADS_SHA256
    assert HEADS_SHA256 == "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"
    assert [len(head) for head in random_lpips.heads] == [64, 128, 256, 512, 512]
    assert all((head >= 0).all() for head in random_lpips.heads)
    other = alone / "vgg.pth"  # lpips is not installed, and this is not the file
    other.write_bytes(path.read_bytes()[:-1] + b"x")
    monkeypatch.setitem(heads_file.__globals__, "HEADS", {"torchmetrics": os.path.relpath(other, path.parents[3])})
    with pytest.raises(ValueError, match="not the published ones: .*vgg.pth. pip install torchmetrics"):
        heads_file()
    monkeypatch.setitem(heads_file.__globals__, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"from an installed package\. pip install torchmetrics"):
        load_lpips()


def test_lpips_refuses_what_is_no_pair_of_images(random_lpips):
    a = torch.zeros(2, 3, 16, 16)
    for x, y in [(a, a[:1]), (a[..., :8], a[..., :8]), (a * float("nan"), a), (a, a + 200), (a[:0], a[:0])]:
        with pytest.raises(ValueError, match=r"\[-1, 1\]|C 1 or 3"):
            lpips(x, y, random_lpips)


# fetching


@pytest.fixture
def server():
    """Sends `server.body` once `server.go` is set, announced as `server.said` bytes, or redirects; counts requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            made.hits += 1
            made.go.wait()
            to = made.goes.get(self.path)
            self.send_response(302 if to else made.status)
            if to:
                self.send_header("Location", to)
            self.send_header("Content-Length", str(made.said or len(made.body)))
            self.end_headers()
            self.wfile.write(made.body)

        def log_message(self, *_):
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.body, made.said, made.status, made.hits, made.goes, made.go = WORDS, 0, 200, 0, {}, threading.Event()
    made.go.set()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.go.set()
    made.shutdown()
    thread.join()
    made.server_close()


def words(server: ThreadingHTTPServer) -> WeightsFile:
    url = f"http://127.0.0.1:{server.server_port}/words.pth"
    return WeightsFile("words.pth", url, hashlib.sha256(WORDS).hexdigest(), len(WORDS), "none")


def test_fetch_downloads_once(alone, server):
    file = words(server)
    path = fetch(file)
    assert path == alone / "cache" / "weights" / "words.pth" and path.read_bytes() == WORDS
    assert fetch(file) == fetch(file, download=False) == path and server.hits == 1
    assert [x.name for x in path.parent.iterdir() if x.suffix != ".lock"] == ["words.pth"]


def test_a_download_is_announced_with_its_size(alone, server, capsys):
    fetch(words(server))
    assert capsys.readouterr().err == f"gankit: downloading words.pth, {len(WORDS):,} bytes, from {words(server).url}\n"
    fetch(words(server))
    assert capsys.readouterr().err == ""


def test_only_https_is_fetched(alone, server):
    """And http of this machine itself, which the tests need."""
    (alone / "source").write_bytes(WORDS)
    for url in (
        (alone / "source").as_uri(),
        "http://example.invalid/words.pth",
        "ftp://127.0.0.1/words.pth",
        "http://127.0.0.1.example.invalid/w",
        "words.pth",
    ):
        with pytest.raises(OSError, match="its URL is not https") as error:
            fetch(words(server)._replace(url=url))
        assert words(server).sha256 in str(error.value)
    assert server.hits == 0


@pytest.mark.parametrize(
    "to", ["http://example.invalid/x", "ftp://127.0.0.1/x", "file:///etc/hostname", "http://2130706433/x"]
)
def test_redirects_to_anything_but_https_are_refused(alone, server, to):
    server.goes = {"/words.pth": to}
    with pytest.raises(OSError, match="only https is followed|is not allowed"):
        fetch(words(server))
    assert server.hits == 1 and [x.name for x in weights.location().iterdir()] == [".words.pth.lock"]


def test_redirects_are_followed_but_not_for_ever(alone, server):
    server.goes = {"/words.pth": "/b", "/b": "/words.pth"}
    with pytest.raises(OSError, match="redirect"):
        fetch(words(server))
    assert server.hits < 20
    server.goes = {"/words.pth": "/b"}
    assert fetch(words(server)).read_bytes() == WORDS


def test_https_is_never_left_for_http():
    request = urllib.request.Request("https://example.invalid/a")
    for to in ("http://example.invalid/b", "http://127.0.0.1/b"):
        with pytest.raises(OSError, match="only https is followed"):
            downloads.Redirects().redirect_request(request, None, 302, "", Message(), to)
    assert (
        downloads.Redirects()
        .redirect_request(request, None, 302, "", Message(), "https://cdn.example.invalid/b")
        .full_url.endswith("/b")
    )


def test_what_does_not_fit_on_the_disk_is_not_begun(alone, server, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=100))
    with pytest.raises(OSError, match="100 bytes of the disk are free"):
        fetch(words(server))
    assert server.hits == 0


def test_what_was_not_asked_for_is_not_downloaded(alone, server, monkeypatch):
    for code in ("timm", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, code, None)
    with weights.not_asked("Type --evaluate-features NAME to allow it"), weights.not_asked("Type --inner"):
        with pytest.raises(
            weights.NotAsked,
            match=f"words.pth, {len(WORDS):,} bytes, would be downloaded .* which only a file requests .* Type --inner",
        ):
            fetch(words(server))
        for name in ("timm:resnet18", "dinov2:vits14"):
            with pytest.raises(weights.NotAsked, match=f"{name} runs .*code"):
                extractor(name)
        with ThreadPoolExecutor(1) as pool, pytest.raises(weights.NotAsked):  # threads are inside, too
            pool.submit(fetch, words(server)).result()
        with pytest.raises(weights.NotAsked, match="would be downloaded"):
            extractor("inception")
        assert extractor("digits").dim == 64 and not weights.here(words(server))
    assert server.hits == 0 and fetch(words(server)).read_bytes() == WORDS
    with pytest.raises(KeyError), weights.not_asked("Type it"):
        assert fetch(words(server)).read_bytes() == WORDS  # what is there is used
        raise KeyError
    weights.refuse_not_asked("x runs code")


@pytest.mark.parametrize("body", [WORDS[:99] + b"x" + WORDS[100:], WORDS[:-1], WORDS + b"x", b"", WORDS * 300])
def test_a_wrong_download_leaves_nothing(alone, server, body):
    server.body = body
    with pytest.raises(ValueError, match=f"expected {len(WORDS)} bytes with sha256 .* Nothing was kept"):
        fetch(words(server))
    left = [x.name for x in (alone / "cache" / "weights").iterdir()]
    assert left == [".words.pth.lock"]
    server.body = WORDS
    assert fetch(words(server)).read_bytes() == WORDS


def explains(error: pytest.ExceptionInfo, file: WeightsFile, target: Path) -> bool:
    return all(word in str(error.value) for word in (file.url, str(target), file.sha256, "GANKIT_WEIGHTS"))


def test_a_download_that_breaks_off_or_is_refused_says_what_to_do(alone, server):
    target = alone / "cache" / "weights" / "words.pth"
    server.body, server.said = WORDS[:999], len(WORDS)
    with pytest.raises((OSError, ValueError)) as error:
        fetch(words(server))
    assert explains(error, words(server), target)
    server.status = 404
    with pytest.raises(OSError, match="404") as error:
        fetch(words(server))
    assert explains(error, words(server), target)
    nowhere = words(server)._replace(url="http://127.0.0.1:9/words.pth")
    with pytest.raises(OSError) as error:
        fetch(nowhere)
    assert explains(error, nowhere, target)
    assert not target.exists()


def test_offline_says_what_to_do(alone, server, monkeypatch):
    file, target = words(server), alone / "cache" / "weights" / "words.pth"
    with pytest.raises(OSError, match="switched off") as error:
        fetch(file, download=False)
    assert explains(error, file, target)
    monkeypatch.setenv("GANKIT_OFFLINE", "1")
    with pytest.raises(OSError, match="switched off") as error:
        fetch(file)
    assert explains(error, file, target) and server.hits == 0
    monkeypatch.setenv("GANKIT_OFFLINE", "0")
    assert fetch(file) == target


def test_a_cache_that_cannot_be_written_says_what_to_do(alone, server, monkeypatch):
    (alone / "cache").write_text("a file, where a folder should be: this refuses root too")
    file = words(server)
    with pytest.raises(OSError) as error:
        fetch(file)
    assert explains(error, file, alone / "cache" / "weights" / "words.pth") and server.hits == 0
    checkpoints = alone / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "words.pth").write_bytes(WORDS)
    assert fetch(file) == checkpoints / "words.pth"  # what is there already needs no writing


def test_what_the_user_has_is_used_in_order(alone, server, monkeypatch):
    folders = [alone / "mine", alone / "cache" / "weights", alone / "torch" / "hub" / "checkpoints"]
    monkeypatch.setenv("GANKIT_WEIGHTS", str(folders[0]))
    with pytest.raises(ValueError, match="GANKIT_WEIGHTS is .* not a folder"):
        fetch(words(server))
    folders[0].mkdir()  # empty: the others are looked at
    for folder in folders[::-1]:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "words.pth").write_bytes(WORDS)
        assert fetch(words(server)) == folder / "words.pth"
    assert server.hits == 0


@pytest.mark.parametrize("body", [WORDS[:-1], WORDS[:-1] + b"x"])
@pytest.mark.parametrize("folder", ["mine", "cache/weights", "torch/hub/checkpoints"])
def test_a_wrong_file_of_the_user_is_refused_and_left(alone, server, monkeypatch, folder, body):
    path = alone / folder / "words.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(body)
    if folder == "mine":
        monkeypatch.setenv("GANKIT_WEIGHTS", str(path.parent))
    with pytest.raises(ValueError, match="neither used nor changed") as error:
        fetch(words(server))
    assert str(path) in str(error.value) and words(server).sha256 in str(error.value)
    assert path.read_bytes() == body and server.hits == 0


def test_a_file_that_changes_is_checked_again(alone, server):
    path = fetch(words(server))
    assert fetch(words(server)) == path
    key = (str(path), len(WORDS), path.stat().st_mtime_ns)
    assert downloads._verified == {key: words(server).sha256}
    path.write_bytes(WORDS[:-1] + b"x")
    os.utime(path, ns=(1, 1))
    with pytest.raises(ValueError, match="neither used nor changed"):
        fetch(words(server))


def test_two_processes_make_one_download(alone, server):
    server.go.clear()
    weights.location().mkdir(parents=True)
    (weights.location() / ".words.pth.part").write_bytes(WORDS[:99])  # what a kill left
    code = (  # the file alone: importing torch twice more takes longer than all of this
        "import sys, runpy; weights = runpy.run_path(sys.argv[1])\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(weights['fetch'](weights['WeightsFile'](*eval(sys.argv[2]))))"
    )
    command = [sys.executable, "-c", code, weights.__file__, repr(tuple(words(server)))]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    errors = [(weights.location() / f"{i}.err").open("w+") for i in range(2)]
    both = [subprocess.Popen(command, **pipes, stderr=file, cwd=Path(__file__).parents[1]) for file in errors]
    assert [p.stdout.readline() for p in both] == ["ready\n"] * 2
    for p in both:
        p.stdin.write("go\n")
        p.stdin.flush()
    waits = "waiting for another process"
    until(lambda: any(waits in Path(file.name).read_text() for file in errors), weights.location(), *both)
    server.go.set()
    outs, errs = [p.communicate()[0].strip() for p in both], [Path(file.name).read_text() for file in errors]
    assert [p.returncode for p in both] == [0, 0], errs
    assert set(outs) == {str(weights.location() / "words.pth")} and server.hits == 1
    assert sum(waits in err for err in errs) == 1
    assert (weights.location() / "words.pth").read_bytes() == WORDS and not [*weights.location().glob("*.part")]


# the published weights, where they are


def present(file: WeightsFile) -> bool:
    try:
        fetch(file, download=False)
    except (OSError, ValueError):
        return False
    return True


needs = "needs the published weights on this machine; CI never runs it"


@pytest.mark.skipif(not present(inception.WEIGHTS), reason=needs)
def test_the_published_inception_loads():
    extract = extractor("inception")
    features, classes = extract.outputs(pictures(1, 32, 32))
    assert extract.official and features.shape == (1, 2048) and float(classes.sum()) == pytest.approx(1, abs=1e-9)


@pytest.mark.skipif(not present(vgg.WEIGHTS), reason=needs)
def test_the_published_vgg_and_lpips_load():
    assert extractor("vgg16")(pictures(1, 32, 32)).shape == (1, 4096)
    assert float(lpips(pictures(1, 32, 32), pictures(1, 32, 32))) == 0
