"""CoGAN: shared layers, losses, and pairs of images from every command."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import gankit
from gankit import cli, latent, training
from gankit.models.cogan import CoGAN
from gankit.models.dcgan import DCGAN
from gankit.recipe import Batch, Spec

GREY = Spec((1, 16, 16), other=(1, 16, 16))
TINY = dict(z_dim=4, width=16, dropout=False)


def tiny(spec: Spec = GREY, **more) -> CoGAN:
    return CoGAN(spec, **TINY | more).double()


def ids(module) -> set[int]:
    return {id(p) for p in module.parameters()}


def test_one_branch_has_the_counts_of_the_caffe_file():
    with torch.device("meta"):
        recipe = CoGAN(Spec((3, 128, 128), other=(3, 128, 128)), **CoGAN.presets["faces"].model)
    for net, without_slopes, slopes in (recipe.g, 12_834_563, 6), (recipe.d, 14_856_450, 7):
        branch = sum(p.numel() for part in (net.shared, net.a) for p in part.parameters())
        assert branch == without_slopes + slopes  # the published counts leave out PReLU's slopes


def test_feature_maps_have_the_paper_s_sizes():
    recipe, sides = CoGAN(Spec((1, 28, 28), other=(1, 28, 28)), width=8), []
    for layer in [*recipe.g.shared, recipe.g.a[0], recipe.d.a[0], *recipe.d.shared]:
        layer.register_forward_hook(lambda _, __, x: sides.append(tuple(x.shape[2:]) or x.shape[1]))
    recipe.d(*recipe.pair(recipe.noise(2)))
    assert sides == [(4, 4), (7, 7), (13, 13), (25, 25), (28, 28), (12, 12), (4, 4), 500, 2]
    wide = CoGAN(Spec((1, 20, 36), other=(1, 20, 36)), form="digits", width=8)
    assert wide.pair(torch.zeros(2, 100))[1].shape == (2, 1, 20, 36)
    shapes = []
    recipe = CoGAN(Spec((3, 128, 128)), **CoGAN.presets["faces"].model | dict(width=32))
    for layer in [*recipe.d.a, *recipe.d.shared]:
        layer.register_forward_hook(lambda _, __, x: shapes.append(tuple(x.shape[1:])))
    recipe.d(*recipe.pair(recipe.noise(2)))
    assert shapes == [(1, 64, 64), (2, 32, 32), (4, 16, 16), (8, 8, 8), (16, 4, 4), (32, 2, 2), (64,), (2,)]
    assert [c.kernel_size[0] for c in recipe.d.a.modules() if isinstance(c, torch.nn.Conv2d)] == [5, 5]
    assert [c.kernel_size[0] for c in recipe.d.shared.modules() if isinstance(c, torch.nn.Conv2d)] == [5, 3, 3, 3]
    assert [d.p for d in recipe.d.modules() if isinstance(d, torch.nn.Dropout)] == [0, 0, 0, 0, 0.1, 0.3, 0.3, 0.5, 0.5]


@pytest.mark.parametrize("share", ["both", "g", "d", "none"])
def test_shared_layers_are_the_same_modules_and_others_are_not(share):
    recipe = tiny(share=share, own_g=2, own_d=1)
    for name, net, own, layers in ("g", recipe.g, 2, 4), ("d", recipe.d, 1, 5):
        is_shared = share in ("both", name)
        assert len(net.shared) == (layers - own if is_shared else 0)
        assert len(net.a) == len(net.b) == (own if is_shared else layers)
        assert not ids(net.a) & ids(net.b) and not ids(net.shared) & (ids(net.a) | ids(net.b))
        optimized = [id(p) for group in recipe.opt[name].param_groups for p in group["params"]]
        assert sorted(optimized) == sorted(ids(net)), "each parameter once"


def test_a_shared_layer_changes_both_domains_and_a_domain_s_own_layer_only_that_domain():
    recipe, z = tiny(norm_d=False).eval(), torch.randn(3, 4, dtype=torch.float64)
    a, b = recipe.pair(z)
    with torch.no_grad():
        recipe.g.a[-1][0].weight.mul_(2)
        changed_a, same_b = recipe.pair(z)
        assert torch.equal(same_b, b) and not torch.equal(changed_a, a)
        recipe.g.shared[0][0].weight.mul_(2)
        assert not torch.equal(recipe.pair(z)[1], b)
    assert torch.equal(recipe.sample(z, "b"), recipe.pair(z)[1]) and torch.equal(recipe.sample(z), recipe.pair(z)[0])


def batch_of(spec: Spec = GREY, n: int = 3) -> Batch:
    generator, dtype = torch.Generator().manual_seed(0), torch.float64
    a, b = (torch.rand(n, *shape, generator=generator, dtype=dtype) * 2 - 1 for shape in (spec.shape, spec.other))
    return Batch({"a": a, "b": b})


def test_losses_are_the_release_s_two_way_cross_entropy_over_both_domains():
    recipe, batch = tiny(norm_d=False), batch_of()
    loss = recipe.d_loss(batch)[0]
    batch.draws = 0
    fakes = recipe.pair(batch.draw(recipe.noise))

    def softmax_inputs(a, b):  # (2,) for each image, one image at a time
        return [recipe.d.shared(own(x[None]))[0] for own, images in ((recipe.d.a, a), (recipe.d.b, b)) for x in images]

    def cross_entropy(rows, target):
        return sum(F.cross_entropy(row[None], torch.tensor([target])) for row in rows) / len(rows)

    real, fake = softmax_inputs(batch.a, batch.b), softmax_inputs(*fakes)
    torch.testing.assert_close(loss, cross_entropy(real, 1) + cross_entropy(fake, 0), rtol=1e-12, atol=1e-12)
    batch.draws = 0
    torch.testing.assert_close(recipe.g_loss(batch)[0], cross_entropy(fake, 1), rtol=1e-12, atol=1e-12)


def test_the_penalty_is_the_mean_over_both_domains():
    recipe, batch = tiny(norm_d=False, penalty_weight=0.7), batch_of()
    loss, outputs = recipe.d_loss(batch)
    slopes = []
    for own, images in ((recipe.d.a, batch.a), (recipe.d.b, batch.b)):
        for x in images:
            x = x[None].clone().requires_grad_()
            out = recipe.d.shared(own(x))[0]
            slopes.append(torch.autograd.grad(out[1] - out[0], x)[0].square().sum())
    torch.testing.assert_close(outputs["penalty"], sum(slopes) / len(slopes), rtol=1e-12, atol=1e-12)
    batch.draws = 0
    recipe.penalty_weight = 0
    torch.testing.assert_close(loss - 0.7 * outputs["penalty"], recipe.d_loss(batch)[0], rtol=1e-12, atol=1e-12)


def test_all_parameters_decay_in_the_release_and_only_weights_in_the_caffe_file():
    for name, decay in ("paper", 5e-4), ("faces", 1e-4):
        with torch.device("meta"):
            recipe = CoGAN(CoGAN.presets[name].spec, **CoGAN.presets[name].model)
        names = {id(p): n for n, p in recipe.named_parameters()}
        modules = dict(recipe.named_modules())
        for net, opt in recipe.opt.items():
            for group in opt.param_groups:
                assert group["betas"] == (0.5, 0.999)
                for parameter in group["params"]:
                    path, _, kind = names.pop(id(parameter)).rpartition(".")
                    is_dense = isinstance(modules[path], torch.nn.Linear)
                    is_weight = parameter.ndim > 1
                    assert group["weight_decay"] == (decay if name == "paper" or is_weight else 0)
                    is_doubled = name == "faces" and net == "d" and is_dense and kind == "bias"
                    assert group["lr"] == (4e-4 if is_doubled else 2e-4)
        assert not names


def test_faces_are_cropped_from_larger_images_at_a_position_of_their_own_in_each_domain(tmp_path):
    recipe = CoGAN(CoGAN.presets["faces"].spec, **CoGAN.presets["faces"].model | dict(width=32))
    assert recipe.load_size == (132, 132) and tiny().load_size is None
    crops, d_loss = [], CoGAN.d_loss

    class Watched(CoGAN):
        def d_loss(self, batch):
            crops.append((batch.a, batch.b))
            return d_loss(self, batch)

    pixels = np.random.default_rng(0).integers(256, size=(24, 24, 3), dtype=np.uint8)
    for domain in "AB":
        (tmp_path / "pics" / domain).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "pics" / domain / "0.png")
    options = dict(preset="small", data=str(tmp_path / "pics"), resolution="16", images=16, batch=8)
    training.train(Watched, load_scale=1.5, outdir=tmp_path / "runs", quiet=True, preview=0, **options)
    image = torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float().div(127.5).sub(1)
    windows = image.unfold(1, 16, 1).unfold(2, 16, 1)
    distances = [[(windows - x[:, None, None]).abs().amax((0, 3, 4)) for x in torch.cat(pair)] for pair in crops]
    assert len(crops) == 2 and all(distance.min() < 1e-6 for pair in distances for distance in pair)
    assert any(pair[i].argmin() != pair[8 + i].argmin() for pair in distances for i in range(8))
    assert len({int(distance.argmin()) for pair in distances for distance in pair}) > 10


def test_domains_of_different_channels_train_and_are_sampled(tmp_path):
    rng = np.random.default_rng(0)
    for title, shape in (("A", (16, 16, 3)), ("B", (16, 16))):
        (tmp_path / "pics" / title).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(256, size=shape, dtype=np.uint8)).save(tmp_path / "pics" / title / f"{i}.png")
    options = dict(preset="small", images=16, batch=8, quiet=True, outdir=tmp_path / "runs", width=16, preview=16)
    run = training.train("cogan", data=str(tmp_path / "pics"), **options)
    recipe = gankit.load(run.folder).recipe
    assert recipe.spec == Spec((3, 16, 16), other=(1, 16, 16))
    a, b, pairs = (latent.sample(recipe, range(3), domain=domain) for domain in ("a", "b", "pairs"))
    assert a.shape == (3, 3, 16, 16) and b.shape == (3, 1, 16, 16)
    assert torch.equal(pairs, latent.above(a, b)) and pairs.shape == (3, 3, 32, 16)
    assert torch.equal(a, latent.sample(recipe, range(3)))
    for file in ("reals.png", "fakes000000016.png"):
        assert Image.open(run.folder / file).mode == "RGB"
    cli.main(["sample", str(run.folder), "--seeds", "2", "--domain", "b", "--outdir", str(tmp_path / "out")])
    assert Image.open(tmp_path / "out" / "seed0002.png").size == (16, 16)
    cli.main(["sample", str(run.folder), "--n", "2", "--domain", "pairs", "-o", str(tmp_path / "pairs.png")])
    with pytest.raises(ValueError, match="there is no domain 'c'; choose from a, b and pairs"):
        latent.sample(recipe, [0], domain="c")


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="form digits needs sides of 20, 28, 36 .*found 16x16. Add --resolution 28"):
        CoGAN(GREY, form="digits")
    with pytest.raises(ValueError, match="own_g is 4; with 4 layers it must be 1 to 3. .* --share none"):
        CoGAN(GREY, own_g=4)
    with pytest.raises(ValueError, match="own_d is 0"):
        CoGAN(GREY, own_d=0)
    with pytest.raises(ValueError, match="share is 'G'; choose from both"):
        CoGAN(GREY, share="G")
    with pytest.raises(ValueError, match="DCGAN draws in one domain; leave --domain out"):
        latent.sample(DCGAN(Spec((1, 16, 16)), width=4), [0], domain="a")
