"""LAPGAN: the pyramid, the turns of its levels, and the losses of a level."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from gankit import latent, training
from gankit.models.lapgan import LAPGAN, PoolPairs
from gankit.recipe import Batch, Spec
from gankit.runs.files import read_tensors
from gankit.training.log import TIMES

SPEC = Spec((1, 18, 18))
TINY = dict(z_dim=3, units_g=8, units_d=8, width=4, dropout=0.0)
TURNS = dict(
    turn=16,
    shares=(1, 1),
    preset="small",
    data="digits",
    batch=8,
    images=72,
    log=8,
    preview=72,
    save=24,
    ema=20,
    quiet=True,
)


def tiny(spec: Spec = SPEC, **more: object) -> LAPGAN:
    recipe = LAPGAN(spec, **TINY | more).double()
    with torch.no_grad():  # untrained residuals are so small that a mistake in them would not show
        for p in recipe.parameters():
            p.add_(torch.randn_like(p) * 0.2)
    return recipe


def batch_of(spec: Spec, n: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(1)
    fields = {"real": torch.rand(n, *spec.shape, generator=generator, dtype=torch.float64) * 2 - 1}
    return Batch(fields | ({"label": torch.arange(n) % spec.num_classes} if spec.num_classes else {}))


# The pyramid ----------------------------------------------------------------------------------------------------------


def triangle(old: int, new: int) -> torch.Tensor:
    """(new, old) weights of old pixels in new ones: a triangle as wide as a new pixel, or as an old one if wider."""
    scale = old / new
    shares = torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        for j in range(-4, old + 4):
            weight = max(0.0, 1 - abs(j + 0.5 - (i + 0.5) * scale) / max(scale, 1.0))
            if scale < 1 or 0 <= j < old:  # outside the image weights are 0; enlarging repeats the border
                shares[i, min(max(j, 0), old - 1)] += weight
    return shares / shares.sum(1, keepdim=True)


def resized(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return triangle(image.shape[0], size[0]) @ image @ triangle(image.shape[1], size[1]).T


def test_reals_are_reduced_from_the_top_and_enlarged_again():
    spec = Spec((2, 24, 36))
    recipe, images = tiny(spec, sides=(8, 14, 24)), batch_of(spec, 2).real
    assert recipe.sizes == [(8, 12), (14, 21), (24, 36)]
    expected = {(24, 36): images[1, 0]}
    expected[14, 21] = resized(expected[24, 36], (14, 21))
    expected[8, 12] = resized(expected[14, 21], (8, 12))
    for level, size in enumerate(recipe.sizes):
        real, low = recipe.pyramid(images, level)
        torch.testing.assert_close(real[1, 0], expected[size], rtol=1e-12, atol=1e-12)
        if level:
            blurred = resized(expected[recipe.sizes[level - 1]], size)
            torch.testing.assert_close(low[1, 0], blurred, rtol=1e-12, atol=1e-12)
    assert recipe.pyramid(images, 0)[1] is None


def test_true_residuals_rebuild_the_images_from_the_base(monkeypatch):
    recipe, images = tiny(Spec((1, 28, 28)), sides=(8, 14, 28)), batch_of(Spec((1, 28, 28))).real
    recipe.seen += 1

    def add_true_residual(level, z, low, label):
        real, enlarged = recipe.pyramid(images, level)
        return real if low is None else low + (real - enlarged)

    monkeypatch.setattr(recipe, "generate", add_true_residual)
    torch.testing.assert_close(recipe.sample(recipe.noise(4).double()), images, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("level", [0, 1])
def test_d_gets_the_sum_of_blur_and_details_and_a_minibatch_is_half_real(level):
    recipe, batch, d_inputs = tiny(), batch_of(SPEC), []
    recipe.net("d", level).register_forward_pre_hook(lambda _, inputs: d_inputs.append(inputs[0]))
    loss = recipe.d_loss(batch, level)[0]
    batch.draws = 0
    real, low = recipe.pyramid(batch.real, level)
    z = batch.draw(partial(recipe.level_noise, level=level))
    if level:
        planes = torch.cat([low, z.view(4, 1, 18, 18)], 1)
        fake = low + recipe.g18.net(planes)
    else:
        fake = recipe.g9.net(z).view(4, 1, 9, 9)
    torch.testing.assert_close(d_inputs[0], real, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(d_inputs[1], fake, rtol=1e-12, atol=1e-12)
    logits = torch.cat([recipe.net("d", level)(x) for x in (real, fake)]).squeeze(1)
    target = torch.tensor([1.0] * 4 + [0.0] * 4).double()
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits, target), rtol=1e-12, atol=1e-12)
    batch.draws, d_inputs[:], calls, generate = 0, [], [], recipe.generate
    recipe.generate = lambda *arguments: calls.append(arguments) or generate(*arguments)
    loss = recipe.g_loss(batch, level)[0]
    torch.testing.assert_close(loss, F.softplus(-recipe.net("d", level)(d_inputs[0])).mean(), rtol=1e-12, atol=1e-12)
    ((_, z, blur, _),) = calls
    assert len(d_inputs[0]) == len(z) == 8 and len(z.unique(dim=0)) == 8, "two fakes for each image, of two latents"
    if level:
        assert torch.equal(blur, low.repeat_interleave(2, 0))


def test_one_latent_holds_the_noise_of_all_levels_and_each_changes_its_own_and_finer_levels():
    recipe = tiny(Spec((1, 28, 28)), sides=(8, 14, 28)).eval()
    assert recipe.noise(5).shape == (5, 3 + 14 * 14 + 28 * 28) and recipe.noise(500).abs().max() <= 1
    recipe.seen += 1
    images, generate = [], recipe.generate
    recipe.generate = lambda *arguments: images.append(generate(*arguments)) or images[-1]
    z = latent.latents(recipe, [0])
    recipe.sample(z)
    for level, start in enumerate([0, 3, 3 + 14 * 14]):
        changed, before = z.clone(), images[:3]
        changed[:, start] += 0.5
        images.clear()
        recipe.sample(changed)
        assert [torch.equal(a, b) for a, b in zip(before, images)] == [i < level for i in range(3)]
        images[:] = before


def test_levels_without_a_turn_so_far_only_enlarge():
    recipe = tiny(Spec((1, 36, 36))).eval()
    z = latent.latents(recipe, [0, 1])
    base = recipe.generate(0, z[:, :3], None, None)
    assert recipe.level_sides == (9, 18, 36)
    twice = F.interpolate(F.interpolate(base, (18, 18), mode="bilinear"), (36, 36), mode="bilinear")
    assert torch.equal(recipe.sample(z), twice.clamp(-1, 1))
    recipe.seen[1] = 8
    assert not torch.equal(recipe.sample(z), twice.clamp(-1, 1))


# Labels ---------------------------------------------------------------------------------------------------------------


def test_labels_are_inputs_of_the_base_and_a_plane_of_each_level():
    spec = Spec((1, 18, 18), num_classes=3)
    recipe, batch = tiny(spec, conditional=True).eval(), batch_of(spec)
    recipe.seen += 1
    low, z, label = batch.real, torch.rand(4, 18 * 18, dtype=torch.float64), batch.label
    one_hot = torch.eye(3, dtype=torch.float64)[label]
    plane = recipe.g18.plane[0](one_hot).relu().view(4, 1, 18, 18)
    expected = low + recipe.g18.net(torch.cat([low, z.view(4, 1, 18, 18), plane], 1))
    torch.testing.assert_close(recipe.generate(1, z, low, label), expected, rtol=1e-12, atol=1e-12)
    logits = recipe.d18.net(torch.cat([low, recipe.d18.plane[0](one_hot).relu().view(4, 1, 18, 18)], 1))
    torch.testing.assert_close(recipe.d18(low, label), logits, rtol=1e-12, atol=1e-12)
    base = recipe.g9.net(torch.cat([z[:, :3], one_hot], 1)).view(4, 1, 9, 9)
    assert torch.equal(recipe.generate(0, z[:, :3], None, label), base)
    assert latent.takes_label(recipe) and not latent.takes_label(tiny(spec))
    z = latent.latents(recipe, [0])
    assert not torch.equal(recipe.sample(z, torch.tensor([0])), recipe.sample(z, torch.tensor([1])))


# Turns ----------------------------------------------------------------------------------------------------------------


def test_turns_follow_from_the_images_seen_and_every_level_counts_its_own():
    recipe, counts = tiny(Spec((1, 36, 36)), turn=10, shares=(2, 1, 3)), [0, 0, 0]
    for images in range(200):
        level = [0, 0, 1, 2, 2, 2][images % 60 // 10]
        assert recipe.progress(images) == (level, counts[level]) and recipe.phase(images).index == level
        counts[level] += 1


def test_a_turn_updates_only_its_level(tmp_path):
    steps = []
    step = LAPGAN.step

    def watched_step(self, batch, run):
        before = {k: v.clone() for k, v in self.state_dict().items()}
        step(self, batch, run)
        after = self.state_dict()
        changed = {k.split(".")[0] for k in before if not torch.equal(before[k], after[k])}
        steps.append((self.progress(run.images)[0], changed))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LAPGAN, "step", watched_step)
        run = training.train("lapgan", outdir=tmp_path, **TURNS)
    names = [{"g8", "d8", "seen"}, {"g16", "d16", "seen"}]
    assert [level for level, _ in steps] == [0, 0, 1, 1, 0, 0, 1, 1, 0]
    assert all(changed == names[level] for level, changed in steps)
    assert run.recipe.seen.tolist() == [40, 32]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return training.train("lapgan", outdir=tmp_path_factory.mktemp("whole"), **TURNS).folder


@pytest.mark.parametrize("after", [16, 24])
def test_a_run_interrupted_in_any_turn_ends_with_the_same_bits(after, whole, tmp_path, interrupt):
    broken = interrupt(after, "lapgan", outdir=tmp_path / "broken", **TURNS)
    torch.manual_seed(5)
    training.resume(broken, quiet=True)
    for file in ("state.safetensors", "weights.safetensors"):
        (a, about_a), (b, about_b) = (read_tensors(folder / file) for folder in (whole, broken))
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
        assert about_a.get("state") == about_b.get("state")
    logs = [[json.loads(line) for line in (f / "stats.jsonl").read_text().splitlines()] for f in (whole, broken)]
    without_times = [[{k: v for k, v in line.items() if k not in TIMES} for line in log] for log in logs]
    assert without_times[0] == without_times[1]


def test_sgd_s_schedule_counts_the_level_s_own_epochs():
    schedule = dict(lr=0.1, lr_decay=2.0, momentum=0.5, momentum_rise=0.1, momentum_most=0.75)
    recipe = LAPGAN(SPEC, **TINY, turn=100, epoch=50, **schedule)
    batch, updates = batch_of(SPEC, 2), []

    class Run:
        images = 0

        def update(self, name: str, loss_fn: object, batch: Batch) -> None:
            group = recipe.opt[name].param_groups[0]
            assert group["dampening"] == group["momentum"], "as in Torch 7's SGD"
            updates.append((name, round(group["lr"], 12), round(group["momentum"], 12)))

    for Run.images in (0, 50, 100, 200, 350):
        recipe.step(batch, Run())
    expected = [("9", 0.1, 0.5), ("9", 0.05, 0.6), ("18", 0.1, 0.5), ("9", 0.025, 0.7), ("18", 0.1 / 8, 0.75)]
    assert updates == [(f"{kind}{side}", rate, momentum) for side, rate, momentum in expected for kind in "dg"]
    assert isinstance(recipe.opt["g9"], torch.optim.SGD)


# Sizes ----------------------------------------------------------------------------------------------------------------


def test_large_levels_pool_pairs_and_have_their_size():
    x = torch.randn(2, 6, 3, 3, dtype=torch.float64)
    pooled = torch.stack([(x[:, 2 * i] ** 2 + x[:, 2 * i + 1] ** 2) for i in range(3)], 1).sqrt()
    torch.testing.assert_close(PoolPairs()(x), pooled, rtol=0, atol=1e-3)
    with torch.device("meta"):
        recipe = LAPGAN(Spec((3, 40, 32)), form="large")
        assert recipe.level_sides == (8, 16, 32) and recipe.sizes == [(10, 8), (20, 16), (40, 32)]
        assert recipe.generate(2, recipe.level_noise(2, 2), torch.zeros(2, 3, 40, 32), None).shape == (2, 3, 40, 32)
        assert recipe.d32(torch.zeros(2, 3, 40, 32)).shape == (2, 1)


@pytest.mark.parametrize(
    "side, sides", [(8, (8,)), (9, (9,)), (16, (8, 16)), (28, (14, 28)), (45, (11, 22, 45)), (64, (8, 16, 32, 64))]
)
def test_sides_are_halved_down_to_a_base_of_8_px_or_more(side, sides):
    recipe = LAPGAN(Spec((1, side, side)), **TINY)
    assert recipe.level_sides == sides and recipe.sample(recipe.noise(2)).shape == (2, 1, side, side)


def test_sides_and_shares_that_are_no_pyramid_are_refused():
    message = r"they must rise to the images' 28, and be 9 or more above the base. Use --sides 14 28"
    for sides in ((8, 16), (16, 8, 28), (8, 8, 28), (4, 8, 28)):
        with pytest.raises(ValueError, match=message):
            LAPGAN(Spec((1, 28, 28)), sides=sides)
    with pytest.raises(ValueError, match=r"shares are \(1,\).*expected 2 shares, for \(14, 28\)"):
        LAPGAN(Spec((1, 28, 28)), shares=(1,))
