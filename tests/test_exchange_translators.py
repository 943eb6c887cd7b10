"""Translators from elsewhere: imported ones draw what their authors' networks draw.

The networks here are written from the published layouts and share no code with gankit. They are narrow, have random
weights in float32, and are saved as their authors save them; their outputs in float64 are compared with gankit's.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gankit
from gankit import cli, pictures
from gankit.exchange import imports
from gankit.exchange.unpickle import Refused
from gankit.models import adain as adain_model


def random_(net: nn.Module) -> nn.Module:
    """Weights, biases and running statistics with nothing left as it is initialised, as float32 holds them."""
    for name, value in net.state_dict().items():
        if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            value.copy_(torch.rand_like(value) + 0.5)
        elif value.is_floating_point():
            value.copy_(torch.randn_like(value) * (0.4 if value.ndim == 1 else 1.5 / value[0].numel() ** 0.5))
    return net


def saved(net: nn.Module, path: Path, legacy: bool = False, prefix: str = "") -> nn.Module:
    """The network's weights in a file; the network itself in float64."""
    torch.save({prefix + k: v for k, v in net.state_dict().items()}, path, _use_new_zipfile_serialization=not legacy)
    return net.double()


def loaded(path: Path, kind: str, run: Path, **given: object) -> tuple[nn.Module, imports.Imported]:
    done = imports.import_weights(path, kind, run, **given)
    return gankit.load(done.folder).recipe.double(), done


def close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape and (found - expected).abs().max() < 1e-10 and expected.std() > 1e-3


def picture(n: int, c: int, side: int, seed: int = 0) -> Tensor:
    return torch.randn(n, c, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).tanh()


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# pix2pix -------------------------------------------------------------------------------------------------------------


class Drop(nn.Module):
    """Dropout with a mask that is given."""

    mask: Tensor | float = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask * 2


class Level(nn.Module):
    """One level of the published U-Net, with the next one inside it."""

    def __init__(
        self, outer: int, inner: int, into: int, sub: Level | None = None, first: bool = False, drop: bool = False
    ):
        super().__init__()
        self.first = first
        down = nn.Conv2d(into, inner, 4, 2, 1, bias=False)
        up = nn.ConvTranspose2d(inner * (1 if sub is None else 2), outer, 4, 2, 1, bias=first)
        if first:
            layers = [down, sub, nn.ReLU(), up, nn.Tanh()]
        elif sub is None:
            layers = [nn.LeakyReLU(0.2), down, nn.ReLU(), up, nn.BatchNorm2d(outer)]
        else:
            layers = [
                nn.LeakyReLU(0.2),
                down,
                nn.BatchNorm2d(inner),
                sub,
                nn.ReLU(),
                up,
                nn.BatchNorm2d(outer),
                *([Drop()] if drop else []),
            ]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.first else torch.cat([x, self.model(x)], 1)


class PublishedUNet(nn.Module):
    def __init__(self, channels: int, out_channels: int, levels: int, width: int):
        super().__init__()
        widths = [width * min(8, 2**i) for i in range(levels)]
        level = None
        for i in range(levels - 1, 0, -1):
            level = Level(widths[i - 1], widths[i], widths[i - 1], level, drop=4 <= i < levels - 1)
        self.model = Level(out_channels, width, channels, level, first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class PublishedPatch(nn.Module):
    """PatchGAN; of single pixels where there are no layers that halve."""

    def __init__(self, channels: int, width: int, layers: int, norm: type[nn.Module]):
        super().__init__()
        bias, kernel, pad = norm is nn.InstanceNorm2d, 4 if layers else 1, 1 if layers else 0
        widths = [width * min(8, 2**i) for i in range(max(1, layers) + 1)]
        net = [nn.Conv2d(channels, width, kernel, 2 if layers else 1, pad), nn.LeakyReLU(0.2)]
        for i, (a, b) in enumerate(zip(widths, widths[1:]), 1):
            net += [nn.Conv2d(a, b, kernel, 2 if i < layers else 1, pad, bias=bias), norm(b), nn.LeakyReLU(0.2)]
        net.append(nn.Conv2d(widths[-1], 1, kernel, 1, pad, bias=bool(layers) or bias))
        setattr(self, "model" if layers else "net", nn.Sequential(*net))

    def forward(self, x: Tensor) -> Tensor:
        return (self.model if hasattr(self, "model") else self.net)(x)


def test_pix2pix_draws_what_it_drew(tmp_path):
    g = saved(random_(PublishedUNet(1, 3, 7, 2)), tmp_path / "latest_net_G.pth", legacy=True)
    d = saved(random_(PublishedPatch(4, 2, 3, nn.BatchNorm2d)), tmp_path / "latest_net_D.pth", prefix="module.")
    recipe, done = loaded(
        tmp_path / "latest_net_G.pth", "pix2pix", tmp_path / "run", discriminator=tmp_path / "latest_net_D.pth"
    )
    assert recipe.spec.shape == (1, 128, 128) and recipe.spec.other == (3, 128, 128)
    assert done.found.arguments == dict(levels=7, width=2, dropout_inner=False, patch=70, conditional=True)
    assert (
        not done.found.unused
        and not done.found.fresh
        and done.parameters["g"] == sum(p.numel() for p in g.parameters())
    )
    x = picture(2, 1, 128)
    z = recipe.noise(2, 128, 128).double()
    drops = [module for module in g.modules() if isinstance(module, Drop)]  # the inner one first
    assert len(drops) == 2 and z.shape[1] == 16 * (4 * 4 + 8 * 8)
    for i in range(2):  # one by one and in training mode, as the authors' test script does
        drops[0].mask, drops[1].mask = z[i, : 16 * 16].view(1, 16, 4, 4), z[i, 16 * 16 :].view(1, 16, 8, 8)
        image = g.train()(x[i : i + 1])
        close(recipe.translate(x[i : i + 1], z[i : i + 1]), image)
        close(recipe.translate(x, z)[i : i + 1], image)
        close(recipe.d(torch.cat([x[i : i + 1], image], 1)), d.train()(torch.cat([x[i : i + 1], image], 1)))
    assert any("statistics" in note for note in done.found.notes) and any(
        "no_dropout" in note for note in done.found.notes
    )
    source = gankit.load(tmp_path / "run").config["source"]
    assert source["license"] == "bsd-2-clause" and list(source["beside"]) == ["latest_net_D.pth"]


@pytest.mark.parametrize("kind", ["pix2pix", "cyclegan"])
def test_discriminators_may_be_wider_or_narrower_than_generators(kind, tmp_path):
    """--ndf unlike --ngf of its authors' code."""
    pix2pix = kind == "pix2pix"
    saved(random_(PublishedUNet(1, 3, 6, 2) if pix2pix else PublishedResidual(1, 3, 2, 2)), tmp_path / "g.pth")
    norm, given = nn.BatchNorm2d if pix2pix else nn.InstanceNorm2d, (4,) if pix2pix else (3, 1)
    critics = [
        saved(random_(PublishedPatch(channels, 3, 1, norm)), tmp_path / f"d{channels}.pth") for channels in given
    ]
    files = ",".join(str(tmp_path / f"d{channels}.pth") for channels in given)
    recipe, done = loaded(tmp_path / "g.pth", kind, tmp_path / "run", discriminator=files)
    assert done.found.arguments["width"] == 2 and done.found.arguments["width_d"] == 3
    for critic, channels, ours in zip(critics, given, ("d",) if pix2pix else ("d_b", "d_a")):
        close(getattr(recipe, ours)(picture(1, channels, 64)), critic.train()(picture(1, channels, 64)))
    assert sum(p.numel() for p in getattr(recipe, "d" if pix2pix else "d_a").parameters()) == sum(
        p.numel() for p in critics[-1].parameters()
    )


@pytest.mark.parametrize("layers, patch, channels", [(0, 1, 4), (1, 16, 3), (2, 34, 4)])
def test_pix2pix_takes_other_patches(layers, patch, channels, tmp_path):
    saved(random_(PublishedUNet(1, 3, 6, 1)), tmp_path / "g.pth")
    d = saved(random_(PublishedPatch(channels, 1, layers, nn.BatchNorm2d)), tmp_path / "d.pth")
    recipe, done = loaded(tmp_path / "g.pth", "pix2pix", tmp_path / "run", discriminator=tmp_path / "d.pth")
    assert done.found.arguments["patch"] == patch and done.found.arguments["conditional"] == (channels == 4)
    close(recipe.d(picture(1, channels, 64)), d.train()(picture(1, channels, 64)))


# CycleGAN ------------------------------------------------------------------------------------------------------------


class PublishedBlock(nn.Module):
    def __init__(self, width: int, dropout: bool, tracked: bool):
        super().__init__()
        norm = lambda: nn.InstanceNorm2d(width, track_running_stats=tracked)  # noqa: E731
        layers = [
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            norm(),
            nn.ReLU(),
            *([nn.Dropout(0.5)] if dropout else []),
        ]
        self.conv_block = nn.Sequential(*layers, nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), norm())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class PublishedResidual(nn.Module):
    def __init__(
        self, channels: int, out_channels: int, width: int, blocks: int, dropout: bool = False, tracked: bool = False
    ):
        super().__init__()
        norm = lambda c: [nn.InstanceNorm2d(c, track_running_stats=tracked), nn.ReLU()]  # noqa: E731
        net = [nn.ReflectionPad2d(3), nn.Conv2d(channels, width, 7), *norm(width)]
        net += [
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            *norm(2 * width),
            nn.Conv2d(2 * width, 4 * width, 3, 2, 1),
            *norm(4 * width),
        ]
        net += [PublishedBlock(4 * width, dropout, tracked) for _ in range(blocks)]
        for c in (4 * width, 2 * width):
            net += [nn.ConvTranspose2d(c, c // 2, 3, 2, 1, output_padding=1), *norm(c // 2)]
        self.model = nn.Sequential(*net, nn.ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def test_cyclegan_goes_both_ways_as_it_went_and_its_d_a_judges_b(tmp_path):
    made = dict(
        G_A=PublishedResidual(1, 3, 3, 6),
        G_B=PublishedResidual(3, 1, 3, 6),
        D_A=PublishedPatch(3, 3, 3, nn.InstanceNorm2d),
        D_B=PublishedPatch(1, 3, 3, nn.InstanceNorm2d),
    )
    g_a, g_b, d_a, d_b = (saved(random_(net), tmp_path / f"latest_net_{name}.pth") for name, net in made.items())
    critics = ",".join(str(tmp_path / f"latest_net_D_{name}.pth") for name in "AB")
    recipe, done = loaded(
        tmp_path / "latest_net_G_A.pth",
        "cyclegan",
        tmp_path / "run",
        back=tmp_path / "latest_net_G_B.pth",
        discriminator=critics,
    )
    assert done.found.arguments == dict(blocks=6, width=3, patch=70) and not done.found.unused and not done.found.fresh
    assert recipe.spec.shape == (1, 128, 128) and recipe.spec.other == (3, 128, 128)
    a, b = picture(2, 1, 32), picture(2, 3, 32)
    close(recipe.translate(a, "b"), g_a(a))
    close(recipe.translate(b, "a"), g_b(b))
    close(recipe.d_b(b), d_a(b))
    close(recipe.d_a(a), d_b(a))


def test_a_cyclegan_of_one_direction_with_old_statistics_and_nine_blocks(tmp_path, capsys):
    g = saved(random_(PublishedResidual(3, 3, 2, 9, tracked=True)), tmp_path / "latest_net_G.pth", legacy=True)
    recipe, done = loaded(tmp_path / "latest_net_G.pth", "cyclegan", tmp_path / "run")
    assert (
        done.found.fresh == ("g_ba.", "d_b.", "d_a.") and recipe.spec.shape == (3, 256, 256) and not done.found.unused
    )
    close(recipe.translate(picture(2, 3, 16), "b"), g.train()(picture(2, 3, 16)))
    cli.main(["import", str(tmp_path / "latest_net_G.pth"), "--as", "cyclegan", "-o", str(tmp_path / "again")])
    said = capsys.readouterr().out
    assert (
        "as first initialised: g_ba, d_b, d_a" in said
        and "statistics" in said
        and "--back" in said
        and "everything in the file was used" in said
    )
    assert f"gankit translate {tmp_path / 'again'}" in said and "--to b" in said
    pictures.save(tmp_path / "in.png", picture(1, 3, 16).float())
    words = ["translate", str(tmp_path / "again"), str(tmp_path / "in.png"), "-o", str(tmp_path / "out.png")]
    cli.main([*words, "--to", "b"])
    assert (tmp_path / "out.png").exists()
    for more in ["--to", "a"], ["--to", "b", "--round-trip"]:
        capsys.readouterr()
        with pytest.raises(SystemExit):
            cli.main([*words, *more, "--overwrite"])
        assert "no generator to a; import it again with --back" in " ".join(capsys.readouterr().err.split())
    for i, side in enumerate("aabb"):  # nor is it judged by a way that it does not know
        (tmp_path / side).mkdir(exist_ok=True)
        pictures.save(tmp_path / side / f"{i}.png", picture(1, 3, 16).float())
    judged = dict(against=f"{tmp_path / 'a'},{tmp_path / 'b'}", resolution="16", quiet=True)
    assert [score.name for score in gankit.evaluate(tmp_path / "run", metrics="swd", **judged)] == ["swd", "swd_16"]
    with pytest.raises(ValueError, match="does not translate both ways"):
        gankit.evaluate(tmp_path / "run", metrics="cycle", **judged)


def test_a_cyclegan_with_dropout_draws_as_without(tmp_path):
    g = saved(random_(PublishedResidual(3, 3, 2, 2, dropout=True)), tmp_path / "g.pth")
    recipe, done = loaded(tmp_path / "g.pth", "cyclegan", tmp_path / "run")
    close(recipe.translate(picture(1, 3, 16), "b"), g.eval()(picture(1, 3, 16)))
    assert any("dropout" in note for note in done.found.notes)


# StarGAN and GANimation ----------------------------------------------------------------------------------------------


class PublishedInner(nn.Module):
    def __init__(self, width: int, tracked: bool):
        super().__init__()
        norm = lambda: nn.InstanceNorm2d(width, affine=True, track_running_stats=tracked)  # noqa: E731
        conv = lambda: nn.Conv2d(width, width, 3, 1, 1, bias=False)  # noqa: E731
        self.main = nn.Sequential(conv(), norm(), nn.ReLU(), conv(), norm())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.main(x)


class PublishedStar(nn.Module):
    """G of StarGAN, or with `heads` that of GANimation."""

    def __init__(self, channels: int, dim: int, width: int, blocks: int, heads: bool):
        super().__init__()
        norm = lambda c: [nn.InstanceNorm2d(c, affine=True, track_running_stats=not heads), nn.ReLU()]  # noqa: E731
        out = lambda c: nn.Conv2d(width, c, 7, 1, 3, bias=False)  # noqa: E731
        net = [nn.Conv2d(channels + dim, width, 7, 1, 3, bias=False), *norm(width)]
        for c in (width, 2 * width):
            net += [nn.Conv2d(c, 2 * c, 4, 2, 1, bias=False), *norm(2 * c)]
        net += [PublishedInner(4 * width, not heads) for _ in range(blocks)]
        for c in (4 * width, 2 * width):
            net += [nn.ConvTranspose2d(c, c // 2, 4, 2, 1, bias=False), *norm(c // 2)]
        self.main = nn.Sequential(*net, *([] if heads else [out(channels), nn.Tanh()]))
        if heads:
            self.img_reg, self.attetion_reg = (
                nn.Sequential(out(channels), nn.Tanh()),
                nn.Sequential(out(1), nn.Sigmoid()),
            )

    def forward(self, x: Tensor, c: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        h = self.main(torch.cat([x, c.view(*c.shape, 1, 1).repeat(1, 1, *x.shape[2:])], 1))
        return (self.img_reg(h), self.attetion_reg(h)) if hasattr(self, "img_reg") else h


class PublishedCritic(nn.Module):
    def __init__(self, channels: int, dim: int, width: int, kernel: int):
        super().__init__()
        widths = [channels, *(width << i for i in range(6))]
        self.main = nn.Sequential(
            *(layer for a, b in zip(widths, widths[1:]) for layer in (nn.Conv2d(a, b, 4, 2, 1), nn.LeakyReLU(0.01)))
        )
        self.conv1, self.conv2 = (
            nn.Conv2d(widths[-1], 1, 3, 1, 1, bias=False),
            nn.Conv2d(widths[-1], dim, kernel, bias=False),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.main(x)
        return self.conv1(h), self.conv2(h).view(len(x), -1)


@pytest.mark.parametrize(
    "dim, outputs, kernel, names", [(5, 5, 2, ""), (15, 13, 4, ""), (3, 3, 2, ""), (6, 4, 2, "a,b+c,d")]
)
def test_stargan_draws_what_it_drew(dim, outputs, kernel, names, tmp_path):
    g = saved(random_(PublishedStar(3, dim, 2, 6, heads=False)), tmp_path / "200000-G.ckpt")
    sources = 1 if dim == outputs else 2
    torch.save(
        {k: v for k, v in torch.load(tmp_path / "200000-G.ckpt").items() if "num_batches" not in k},
        tmp_path / "200000-G.ckpt",
    )  # as very old files
    d = saved(random_(PublishedCritic(3, outputs, 1, kernel)), tmp_path / "d.ckpt")
    recipe, done = loaded(
        tmp_path / "200000-G.ckpt", "stargan", tmp_path / "run", discriminator=tmp_path / "d.ckpt", attributes=names
    )
    assert recipe.spec.shape == (3, 64 * kernel, 64 * kernel) and not done.found.unused and not done.found.fresh
    assert recipe.spec.attributes == {
        5: gankit.models.find("stargan").presets["paper"].spec.attributes,
        3: ("attribute1", "attribute2", "attribute3"),
        6: tuple("abcd"),
    }.get(dim, recipe.spec.attributes)
    assert names or any("--attributes" in note and ("Male" in note) == (dim != 3) for note in done.found.notes)
    x, asked = picture(2, 3, 16), torch.randint(2, (2, outputs)).double()
    for source in range(sources):
        c = asked
        if sources == 2:
            own = slice(0, recipe.spec.groups[0]) if not source else slice(recipe.spec.groups[0], outputs)
            c = torch.zeros(2, dim, dtype=torch.float64)
            c[:, own] = asked[:, own]
            c[:, outputs + source] = 1
        close(recipe.translate(x, asked, source), g.train()(x, c))
    side = 64 * kernel
    for found, expected in zip(recipe.d.judge(picture(2, 3, side)), d(picture(2, 3, side))):
        close(found, expected)


def test_ganimation_draws_what_it_drew(tmp_path):
    g = saved(random_(PublishedStar(3, 17, 2, 6, heads=True)), tmp_path / "net_epoch_30_id_G.pth", legacy=True)
    d = saved(random_(PublishedCritic(3, 17, 2, 2)), tmp_path / "net_epoch_30_id_D.pth", legacy=True)
    recipe, done = loaded(
        tmp_path / "net_epoch_30_id_G.pth",
        "ganimation",
        tmp_path / "run",
        discriminator=tmp_path / "net_epoch_30_id_D.pth",
    )
    x, units = picture(2, 3, 16), torch.rand(2, 17).double()
    colour, mask = g(x, units)
    close(recipe.translate(x, units), mask * x + (1 - mask) * colour)
    assert recipe.names[0] == "AU01" and recipe.names[-1] == "AU45" and not done.found.unused
    for found, expected in zip(recipe.d.judge(picture(2, 3, 128)), d(picture(2, 3, 128))):
        close(found, expected)


def test_a_generator_alone_of_the_published_size_is_taken_and_named(tmp_path):
    saved(random_(PublishedStar(3, 5, 32, 6, heads=False)), tmp_path / "g.ckpt")
    _, done = loaded(tmp_path / "g.ckpt", "stargan", tmp_path / "run", attributes="Hat,Glasses,Smile,Beard,Old")
    assert (
        done.found.fresh == ("d.",)
        and done.found.spec.attributes[1] == "Glasses"
        and not any("--attributes" in note for note in done.found.notes)
    )
    saved(random_(PublishedStar(3, 2, 4, 2, heads=True)), tmp_path / "g.pth")
    recipe, _ = loaded(tmp_path / "g.pth", "ganimation", tmp_path / "run2", attributes="AU12,AU45")
    assert recipe.names == ["AU12", "AU45"]


# AdaIN ---------------------------------------------------------------------------------------------------------------


def published_decoder(shapes: list[tuple[int, int]]) -> nn.Sequential:
    """The decoder for an encoder of these (in, out) channels, which narrows where that widened."""
    layers = []
    for before, width in shapes[::-1]:
        layers += [nn.ReflectionPad2d(1), nn.Conv2d(width, before, 3), nn.ReLU()]
        layers += [nn.Upsample(scale_factor=2)] if before != width and before != 3 else []
    return nn.Sequential(*layers[:-1])


def test_adain_draws_what_it_drew(tmp_path):
    shapes = [(3, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64), (64, 128)]
    net = saved(random_(published_decoder(shapes)), tmp_path / "decoder.pth")
    recipe, done = loaded(tmp_path / "decoder.pth", "adain", tmp_path / "run", encoder="small")
    assert not done.found.unused and not done.found.fresh and done.found.arguments == dict(encoder="small")
    held = {k: v.double() for k, v in gankit.weights.tensors(gankit.nn.style.SMALL).items()}

    def encode(x: Tensor) -> Tensor:
        for i, (before, width) in enumerate(shapes):
            x = F.max_pool2d(x, 2) if i and width > before else x
            x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), held[f"{i}.weight"], held[f"{i}.bias"]).relu()
        return x

    def std(maps: Tensor) -> Tensor:
        return (maps.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt()

    content, style = picture(1, 3, 32), picture(1, 3, 48, seed=1)
    f, s = encode(content), encode(style)
    t = (f - f.mean((2, 3), keepdim=True)) / std(f) * std(s) + s.mean((2, 3), keepdim=True)
    close(recipe.translate(content, style), (2 * net(t) - 1).clamp(-1, 1))
    close(recipe.decode(t), 2 * net(t) - 1)


def test_the_published_decoder_wants_the_published_encoder(tmp_path, monkeypatch):
    keys = dict(zip((1, 5, 8, 11, 14, 18, 21, 25, 28), reversed(adain_model.VGG19)))
    net = published_decoder(adain_model.VGG19)
    assert [int(name.split(".")[0]) for name in net.state_dict() if name.endswith("weight")] == list(keys)
    assert sum(p.numel() for p in net.parameters()) == 3_505_219
    saved(net, tmp_path / "decoder.pth")
    with pytest.raises(Refused, match="512, .* mirror the encoder small; name its own with --encoder"):
        imports.import_weights(tmp_path / "decoder.pth", "adain", tmp_path / "no", encoder="small")
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.delenv("GANKIT_WEIGHTS", raising=False)
    monkeypatch.setenv("GANKIT_OFFLINE", "1")
    with pytest.raises(OSError, match="vgg_normalised.pth"):
        imports.import_weights(tmp_path / "decoder.pth", "adain", tmp_path / "no")
    torch.save({"0.weight": torch.zeros(3, 3, 1, 1)}, tmp_path / "vgg.pth")
    with pytest.raises(Refused, match="--encoder this file"):
        imports.import_weights(tmp_path / "vgg.pth", "adain", tmp_path / "no")
    assert not (tmp_path / "no").exists()


# Sizes ---------------------------------------------------------------------------------------------------------------


def test_the_networks_here_have_the_published_sizes():
    with torch.device("meta"):
        star, face = PublishedStar(3, 5, 64, 6, heads=False), PublishedStar(3, 17, 64, 6, heads=True)
        for net, parameters in (
            (PublishedUNet(3, 3, 8, 64), 54_413_955),
            (PublishedPatch(6, 64, 3, nn.BatchNorm2d), 2_768_705),
            (PublishedPatch(6, 64, 0, nn.BatchNorm2d), 9_024),
            (PublishedResidual(3, 3, 64, 9), 11_378_179),
            (PublishedResidual(3, 3, 64, 6), 7_837_699),
            (PublishedPatch(3, 64, 3, nn.InstanceNorm2d), 2_764_737),
            (star, 8_430_528),
            (face, 8_471_296),
            (PublishedCritic(3, 5, 64, 2), 44_762_048),
            (PublishedCritic(3, 13, 64, 4), 45_147_072),
        ):
            assert sum(p.numel() for p in net.parameters()) == parameters
        assert len(star.state_dict()) == 103 and len(face.state_dict()) == 53


# What is refused -----------------------------------------------------------------------------------------------------


def test_files_of_another_kind_say_what_they_are(tmp_path, capsys):
    nets = dict(
        unet=PublishedUNet(3, 3, 6, 1), residual=PublishedResidual(3, 3, 1, 1),
        star=PublishedStar(3, 4, 1, 1, heads=False), face=PublishedStar(3, 4, 1, 1, heads=True),
        patch=PublishedPatch(5, 1, 3, nn.BatchNorm2d), critic=PublishedCritic(3, 3, 1, 2),
        small=PublishedCritic(3, 4, 1, 1),
    )  # fmt: skip
    for name, net in nets.items():
        saved(net, tmp_path / name)
    torch.save(
        {k: v for k, v in torch.load(tmp_path / "unet").items() if not k.endswith("1.model.2.weight")},
        tmp_path / "instance",
    )
    torch.save(torch.load(tmp_path / "residual") | {"model.2.weight": torch.ones(1)}, tmp_path / "batch")
    torch.save([1, 2], tmp_path / "list")
    for kind, file, given, says in (
        ("pix2pix", "residual", {}, "Try --as cyclegan"),
        ("cyclegan", "unet", {}, "Try --as pix2pix"),
        ("pix2pix", "star", {}, "no model.model.0.weight"),
        ("pix2pix", "instance", {}, "without batch norm"),
        ("cyclegan", "batch", {}, "norms with weights of their own"),
        ("cyclegan", "star", {}, "no model.1.weight"),
        ("cyclegan", "list", {}, "state dict"),
        ("stargan", "face", {}, "no main.16.weight"),
        ("ganimation", "star", {}, "no img_reg.0.weight"),
        ("adain", "star", {}, "decoder.pth were expected"),
        ("pix2pix", "unet", dict(discriminator="patch"), "sees 5 channels; 6 of both"),
        ("stargan", "star", dict(discriminator="critic"), "D reads 3; 4 names in 1 set need 4 and 4"),
        ("stargan", "star", dict(discriminator="small"), "does not have at these sizes"),
        ("stargan", "star", dict(attributes="a,b+c,d"), "4 names in 2 sets need 6"),
        ("stargan", "star", dict(attributes="a,a"), "each name once"),
        ("ganimation", "face", dict(attributes="AU01"), "names 1"),
        ("ganimation", "face", dict(back="face"), "no --back"),
        ("pix2pix", "unet", dict(attributes="a"), "It is only for stargan, ganimation"),
        ("cyclegan", "residual", dict(back="residual"), "given twice"),
        ("cyclegan", "residual", dict(back="unet"), "Try --as pix2pix"),
        ("cyclegan", "residual", dict(trunc=0.5), "--trunc"),
    ):
        words = {k: str(tmp_path / v) if (k in ("discriminator", "back")) else str(v) for k, v in given.items()}
        with pytest.raises(SystemExit) as stop:
            cli.main(
                [
                    "import",
                    str(tmp_path / file),
                    "--as",
                    kind,
                    "-o",
                    str(tmp_path / "no"),
                    *(w for k, v in words.items() for w in (f"--{k}", v)),
                ]
            )
        said = " ".join(capsys.readouterr().err.split())
        assert stop.value.code == 2 and says in said, (kind, file, given, said)
        assert not (tmp_path / "no").exists()


def test_what_the_file_had_besides_is_named(tmp_path):
    torch.save(PublishedResidual(3, 3, 1, 1).state_dict() | {"model.99.weight": torch.ones(1)}, tmp_path / "g.pth")
    done = imports.import_weights(tmp_path / "g.pth", "cyclegan", tmp_path / "run")
    assert done.found.unused == ["g.pth.model.99.weight"]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["source"]["unused"] == done.found.unused
