"""StarGAN: planes of attributes, the mask vector, the losses and the turns of data sets, pieces of a batch."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gankit
from gankit import training
from gankit.models.stargan import CELEBA, RAFD, StarGAN
from gankit.nn import ConditionedTrunk, PatchCritic, nearest_fours
from gankit.recipe import Batch, Spec, shuffled

ONE = Spec((3, 16, 16), attributes=("a", "b", "c"), exclusive=(False,))
TWO = Spec((3, 16, 16), attributes=("a", "b", "c", "p", "q"), groups=(3, 2), exclusive=(False, True))
TINY = dict(width=4, blocks=1)


def tiny(spec: Spec = ONE, **more) -> StarGAN:
    torch.manual_seed(0)
    return StarGAN(spec, **TINY | more).double()


def batch_of(spec: Spec = ONE, source: int = 0, n: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(1)
    real = torch.rand(n, *spec.shape, generator=generator, dtype=torch.float64) * 2 - 1
    own = torch.tensor(
        [[1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 0]] if source == 0 else [[1, 0], [0, 1], [0, 1], [1, 0]]
    )
    attribute = torch.zeros(n, len(spec.attributes), dtype=torch.float64)
    before = sum(spec.groups[:source])
    attribute[:, before : before + own.shape[1]] = own[:n]
    more = {"source": torch.full((n,), source)} if len(spec.groups) > 1 else {}
    return Batch({"real": real, "attribute": attribute, **more})


@pytest.mark.parametrize("classes, size, counts", [(13, 256, 45_147_072), (5, 256, 44_884_928), (8, 128, 44_786_624)])
def test_the_critic_has_the_authors_counts_at_every_size(classes, size, counts):
    with torch.device("meta"):
        critic = PatchCritic((3, size, size), classes)
    assert sum(p.numel() for p in critic.parameters()) == counts
    patches, numbers = PatchCritic((3, size, size), classes, width=1).judge(torch.zeros(2, 3, size, size))
    assert patches.shape == (2, 1, size // 64, size // 64) and numbers.shape == (2, classes)


def test_the_paper_s_totals():
    for preset, total in ("paper", 53_192_576), ("rafd", 53_226_560), ("both", 53_608_960):
        with torch.device("meta"):
            recipe = StarGAN(StarGAN.presets[preset].spec, **StarGAN.presets[preset].model)
        assert sum(p.numel() for p in recipe.parameters()) == total
        for opt in recipe.opt.values():
            assert (opt.param_groups[0]["lr"], opt.param_groups[0]["betas"]) == (1e-4, (0.5, 0.999))
    assert len(recipe.names) == 13 and recipe.d.condition.out_channels == 13 and recipe.exclusive == [False, True]


@pytest.mark.parametrize("height, width", [(8, 8), (16, 20), (36, 64), (128, 128)])
def test_other_sizes_have_a_critic_of_their_depth(height, width):
    assert nearest_fours(height, width) == (height, width) and nearest_fours(height + 1, width - 1) == (height, width)
    recipe = StarGAN(Spec((1, height, width), num_classes=3), width=2)
    patches, numbers = recipe.d.judge(torch.zeros(2, 1, height, width))
    assert min(patches.shape[2:]) in (2, 3) and numbers.shape == (2, 3)
    assert recipe.translate(torch.zeros(2, 1, height, width), torch.zeros(2, 3)).shape == (2, 1, height, width)


def test_a_label_plane_shows_because_of_the_zeros_around_the_image():
    torch.manual_seed(0)
    trunk = ConditionedTrunk(3, 2, width=4, blocks=2).double()
    convolutions = [m for m in trunk.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    assert all(conv.padding_mode == "zeros" and conv.bias is None for conv in convolutions)
    images, labels = torch.randn(2, 3, 16, 16).double(), torch.eye(2).double()
    first = trunk.net[:2]
    planes = [c[:, :, None, None].expand(-1, -1, 16, 16) for c in (labels, labels.flip(0))]
    a, b = (first(torch.cat([images, plane], 1)) for plane in planes)
    assert (a - b).abs().max() > 0.1
    first[0].padding_mode, first[0]._reversed_padding_repeated_twice = "reflect", [3, 3, 3, 3]  # the trap
    a, b = (first(torch.cat([images, plane], 1)) for plane in planes)
    assert (a - b).abs().max() < 1e-10, "instance norm takes a constant plane away"


def test_norms_have_gains_and_look_at_one_image_alone():
    recipe, batch = tiny(), batch_of()
    norms = [m for m in recipe.g.modules() if isinstance(m, nn.GroupNorm)]
    assert len(norms) == 7 and all(m.affine and m.num_groups == m.num_channels for m in norms)
    assert not list(recipe.g.buffers())
    whole = recipe.translate(batch.real, batch.attribute)
    alone = torch.cat([recipe.eval().translate(x[None], a[None]) for x, a in zip(batch.real, batch.attribute)])
    assert (whole - alone).abs().max() < 1e-12
    instance = nn.InstanceNorm2d(4, affine=True).double()
    x = torch.randn(2, 4, 5, 6).double()
    torch.testing.assert_close(norms[0].eval()(x), instance(x), rtol=1e-12, atol=1e-12)


def test_the_condition_is_the_paper_s_with_a_mask_of_the_set():
    recipe = tiny(TWO)
    own = torch.tensor([[1.0, 0, 1]])
    assert recipe.condition(own).tolist() == [[1, 0, 1, 0, 0, 1, 0]]
    assert recipe.condition(torch.tensor([[0.0, 1]]), 1).tolist() == [[0, 0, 0, 0, 1, 0, 1]]
    everything = torch.tensor([[1.0, 1, 1, 0, 1]])  # only the source's part is kept; unknown attributes are zero
    assert recipe.condition(everything, 0).tolist() == [[1, 1, 1, 0, 0, 1, 0]]
    assert recipe.condition(everything, 1).tolist() == [[0, 0, 0, 0, 1, 0, 1]]
    assert tiny().condition(own).tolist() == own.tolist()  # a single set has no mask
    with pytest.raises(ValueError, match="source is 2; this model was trained on 2 data sets"):
        recipe.condition(own, 2)
    with pytest.raises(ValueError, match=r"3 attributes were given; there are p, q \(2\)"):
        recipe.condition(own, 1)


@pytest.mark.parametrize("source", [0, 1])
def test_losses_are_the_paper_s_and_only_the_source_s_attributes_enter(source):
    recipe, batch = tiny(TWO, identity_weight=3.0 * source), batch_of(TWO, source)
    attribute, target = batch.attribute, batch.attribute.flip(0)
    own = slice(0, 3) if source == 0 else slice(3, 5)

    def classes(logits, truth):  # one image at a time
        if source == 0:
            return sum(
                F.softplus((1 - 2 * t) * x) for row, truths in zip(logits, truth) for x, t in zip(row[own], truths[own])
            ) / len(logits)
        return -sum(row[own].log_softmax(0)[truths[own].argmax()] for row, truths in zip(logits, truth)) / len(logits)

    fakes = recipe.translate(batch.real, target, source)
    real, logits = recipe.d.judge(batch.real)
    u, slopes = Batch(batch.fields).draw(torch.rand), []
    for x, fake, share in zip(batch.real, fakes, u):
        at = (x + share * (fake - x))[None].detach().requires_grad_()
        slopes.append(torch.autograd.grad(recipe.d(at).sum(), at)[0].square().sum().sqrt())
    penalty = sum((s - 1) ** 2 for s in slopes) / len(slopes)
    expected = recipe.d(fakes).mean() - real.mean() + classes(logits, attribute) + 10 * penalty
    torch.testing.assert_close(recipe.d_loss(batch, target)[0], expected, rtol=1e-12, atol=1e-12)

    fake, logits = recipe.d.judge(fakes)
    rec = recipe.translate(fakes, attribute, source)
    expected = -fake.mean() + classes(logits, target) + 10 * (batch.real - rec).abs().sum() / batch.real.numel()
    idt = recipe.translate(batch.real, attribute, source)  # not in the paper: weight 0
    expected = expected + 3 * source * (batch.real - idt).abs().mean()
    torch.testing.assert_close(recipe.g_loss(batch, target)[0], expected, rtol=1e-12, atol=1e-12)


def test_the_penalty_is_of_the_sum_of_the_patch_map():
    recipe, batch = tiny(), batch_of()
    with torch.no_grad():
        for p in recipe.d.parameters():
            p.abs_()  # no kinks: each image's slope is that of a linear critic
        recipe.d.trunk[0].bias.fill_(1e3)
    outputs = recipe.d_loss(batch, batch.attribute)[1]
    x = batch.real.clone().requires_grad_()
    patches = recipe.d(x)
    assert patches.shape[2:] == (2, 2)
    norms = [
        torch.autograd.grad(f(patches), x, retain_graph=True)[0].flatten(1).norm(dim=1)
        for f in (torch.sum, lambda m: m.mean((1, 2, 3)).sum())
    ]
    torch.testing.assert_close(norms[0], 4 * norms[1])
    torch.testing.assert_close(outputs["penalty"], (norms[0] - 1).square().mean(), rtol=1e-9, atol=1e-9)


def test_targets_are_the_batch_s_own_rows_in_a_random_order():
    class One:
        def mean(self, tensor):
            return tensor

    rows = torch.arange(12.0).view(6, 2)
    targets = [shuffled(rows, Batch({"real": rows}, start=start), One()) for start in (0, 6, 0)]
    assert sorted(targets[0].tolist()) == rows.tolist() and targets[0].tolist() != rows.tolist()
    assert torch.equal(targets[0], targets[2]) and not torch.equal(targets[0], targets[1])

    class Two:  # what a mean over two processes of three rows each gives to both
        def mean(self, tensor):
            return rows / 2

    halves = [
        shuffled(rows[3 * i : 3 * i + 3], Batch({"real": rows[3 * i : 3 * i + 3]}, size=6, first=3 * i), Two())
        for i in (0, 1)
    ]
    assert torch.equal(torch.cat(halves), targets[0])


class Recorder:
    """A run that records the calls of `update` and trains nothing."""

    done = 0.0

    def __init__(self):
        self.step, self.calls = 0, []

    def update(self, name, loss_fn, batch, target):
        self.calls.append((name, int(batch.source[0]) if "source" in batch else 0, target))

    def mean(self, tensor):
        return tensor


@pytest.mark.parametrize("spec, sets", [(ONE, 1), (TWO, 2)])
def test_g_learns_from_every_set_once_in_n_critic_rounds(spec, sets):
    recipe, run = tiny(spec), Recorder()
    for run.step in range(10 * sets):
        batch = batch_of(spec, run.step % sets)
        batch.start = 4 * run.step
        recipe.step(batch, run)
    of = [[source for name, source, _ in run.calls if name == which] for which in "dg"]
    assert of == [list(range(sets)) * 10, list(range(sets)) * 2]
    for _, source, target in run.calls:
        own = batch_of(spec, source).attribute
        assert sorted(target.tolist()) == sorted(own.tolist())
    last = [target for _, _, target in run.calls[-2:]]
    assert torch.equal(*last), "G is asked for what the critic just saw"


def test_the_learning_rate_falls_to_zero_over_the_second_half():
    recipe, run, rates = tiny(), Recorder(), []
    for run.done in (0, 0.5, 0.75, 0.999):
        recipe.step(batch_of(), run)
        rates.append([opt.param_groups[0]["lr"] / 1e-4 for opt in recipe.opt.values()])
    assert rates == [pytest.approx([x, x]) for x in (1, 1, 0.5, 0.002)]


def test_attributes_choose_columns():
    recipe = tiny(TWO, attributes="c, a")  # in the data's order; the other set keeps all
    assert recipe.names == ["a", "c", "p", "q"] and recipe.counts == [2, 2] and recipe.exclusive == [False, True]
    attribute, source = recipe.known(batch_of(TWO))
    assert source == 0 and attribute.tolist() == batch_of(TWO).attribute[:, [0, 2, 3, 4]].tolist()
    assert tiny(TWO, attributes="q").exclusive == [False, False]  # a part of exclusive attributes is not exclusive
    assert tiny(Spec((3, 16, 16), num_classes=4)).exclusive == [True]
    assert StarGAN.presets["both"].spec.columns(",".join(CELEBA + RAFD)) == list(range(13))
    with pytest.raises(ValueError, match="there is no attribute 'z'; the data's are a, b, c"):
        tiny(attributes="a,z")
    with pytest.raises(ValueError, match="needs attributes or classes"):
        StarGAN(Spec((3, 16, 16)))
    with pytest.raises(ValueError, match="3 classes and no attributes to choose from"):
        StarGAN(Spec((3, 16, 16), num_classes=3), attributes="a")
    batch = batch_of()
    batch.attribute[0, 1] = 57.5
    with pytest.raises(ValueError, match="attributes of 0 or 1; b goes from 0 to 57.5"):
        tiny().enter(0, batch)


def test_strips_ask_for_one_attribute_a_column():
    asked = []

    def strip(spec, batch, **more):
        recipe = tiny(spec, **more)
        recipe.translate = lambda images, attribute, source=0: asked.append((attribute[0].tolist(), source)) or images
        asked.clear()
        return len(recipe.strip(batch))

    assert strip(ONE, batch_of()) == 4
    assert asked == [([0, 0, 1], 0), ([1, 1, 1], 0), ([1, 0, 0], 0)]  # each inverted, the others of 1 0 1 unchanged
    assert strip(TWO, batch_of(TWO, 1)) == 6
    assert asked[3:] == [([0, 0, 0, 1, 0], 1), ([0, 0, 0, 0, 1], 1)]
    assert asked[:3] == [([1, 0, 0, 0, 0], 0), ([0, 1, 0, 0, 0], 0), ([0, 0, 1, 0, 0], 0)]
    hair = Spec((3, 16, 16), attributes=("Black_Hair", "Blond_Hair", "Male"), exclusive=(False,))
    strip(hair, batch_of(hair))
    assert asked == [([1, 0, 1], 0), ([0, 1, 1], 0), ([1, 0, 0], 0)]
    many = Spec((3, 16, 16), num_classes=12)
    assert strip(many, Batch({"real": torch.zeros(1, 3, 16, 16), "label": torch.tensor([3])})) == 8


def trained(tmp_path: Path, name: str, **more):
    options = dict(preset="small", images=32, batch=4, n_critic=2, quiet=True, precision="fp64", preview=0, log=4)
    return training.train("stargan", outdir=tmp_path / name, **options | TINY | dict(width_d=4) | more)


def test_pieces_give_what_the_whole_batch_gives(tmp_path, monkeypatch):
    # Adam amplifies rounding errors
    monkeypatch.setattr("gankit.models.stargan.adam", lambda parameters, lr, betas: torch.optim.SGD(parameters, lr))
    one, four = (trained(tmp_path, str(pieces), pieces=pieces) for pieces in (1, 4))
    lines = [json.loads(line) for line in (one.folder / "stats.jsonl").read_text().splitlines()]
    assert sum("g/loss" in line for line in lines) == 4
    for (name, a), b in zip(one.recipe.state_dict().items(), four.recipe.state_dict().values()):
        assert (a - b).abs().max() < 1e-12, name


def test_folders_are_domains_and_what_was_learnt_translates(tmp_path):
    run = trained(tmp_path, "digits", data="digits", images=16, precision="fp32")
    recipe = gankit.load(run.folder).recipe
    images = torch.rand(2, 1, 20, 28) * 2 - 1
    out = recipe.translate(images, torch.eye(10)[:2])
    assert out.shape == images.shape and out.abs().max() <= 1 and "translate" in recipe.abilities()
