"""GANimation: the blend of image and colours, its losses by hand, target units, and previews of action units."""

import pytest
import torch

import gankit
from gankit import training
from gankit.models.ganimation import GANimation, blend, variation
from gankit.recipe import Batch, Spec

FACES = Spec((3, 16, 16), attributes=("AU01", "AU12", "AU45"), exclusive=(False,))


def tiny(spec: Spec = FACES, **more) -> GANimation:
    torch.manual_seed(0)
    return GANimation(spec, **dict(width=4, blocks=1) | more).double()


def batch_of(n: int = 5) -> Batch:
    generator = torch.Generator().manual_seed(1)
    real, attribute = (torch.rand(n, *shape, generator=generator, dtype=torch.float64) for shape in ((3, 16, 16), (3,)))
    return Batch({"real": 2 * real - 1, "attribute": attribute})


def test_shapes_are_the_authors():
    preset = GANimation.presets["paper"]
    recipe = GANimation(preset.spec, **preset.model | dict(width=2))
    images, units = torch.zeros(2, 3, 128, 128), torch.zeros(2, 17)
    colour, mask = recipe.attention(images, units)
    patches, read = recipe.d.judge(images)
    assert colour.shape == (2, 3, 128, 128) and mask.shape == (2, 1, 128, 128)
    assert patches.shape == (2, 1, 2, 2) and read.shape == (2, 17)
    for opt in recipe.opt.values():
        assert (opt.param_groups[0]["lr"], opt.param_groups[0]["betas"]) == (1e-4, (0.5, 0.999))
    assert recipe.unit_weight == 4000 / 25 and recipe.attention_weight == 0.1 and recipe.smooth_weight == 1e-4
    assert recipe.cycle_weight == 10 and recipe.penalty_weight == 10 and recipe.n_critic == 5


def test_the_image_stays_where_the_mask_is_one():
    recipe, batch = tiny(), batch_of()
    colour, mask = recipe.attention(batch.real, batch.attribute)
    assert mask.min() > 0 and mask.max() < 1 and colour.abs().max() < 1
    made = recipe.translate(batch.real, batch.attribute)
    for i in range(5):
        for y, x in ((0, 0), (7, 9)):
            a = mask[i, 0, y, x]
            by_hand = a * batch.real[i, :, y, x] + (1 - a) * colour[i, :, y, x]
            torch.testing.assert_close(made[i, :, y, x], by_hand, rtol=1e-12, atol=1e-12)
    assert torch.equal(blend(batch.real, colour, torch.ones_like(mask)), batch.real)
    assert torch.equal(blend(batch.real, colour, torch.zeros_like(mask)), colour)
    alone = torch.cat([recipe.eval().translate(x[None], u[None]) for x, u in zip(batch.real, batch.attribute)])
    assert (made - alone).abs().max() < 1e-12


def test_variation_by_hand():
    mask = torch.tensor([[[[0.0, 1, 1], [0.5, 1, 0]]], [[[0.0, 0, 0], [0, 0, 0]]]])
    assert variation(mask).item() == ((0.25 + 0 + 1) + (1 + 0) + (0.25 + 1)) / 2


def test_losses_are_the_paper_s():
    recipe, batch = tiny(attention_weight=0.3, smooth_weight=0.2), batch_of()
    target = batch.attribute.flip(0)
    fakes = recipe.translate(batch.real, target)
    real, units = recipe.d.judge(batch.real)
    slopes = []
    for x, fake, share in zip(batch.real, fakes, Batch(batch.fields).draw(torch.rand)):
        at = (x + share * (fake - x))[None].detach().requires_grad_()
        slopes.append(torch.autograd.grad(recipe.d(at).sum(), at)[0].square().sum().sqrt())
    penalty = sum((s - 1) ** 2 for s in slopes) / 5
    expected = recipe.d(fakes).mean() - real.mean() + 160 * ((units - batch.attribute) ** 2).sum() / 15 + 10 * penalty
    torch.testing.assert_close(recipe.d_loss(batch, target)[0], expected, rtol=1e-12, atol=1e-12)

    fake, units = recipe.d.judge(fakes)
    masks = recipe.attention(batch.real, target)[1], recipe.attention(fakes, batch.attribute)[1]
    rec = recipe.translate(fakes, batch.attribute)  # from the blended image, and blended itself
    attention = 0.0
    for mask in masks:
        steps = ((mask[..., 1:, :] - mask[..., :-1, :]) ** 2).sum() + ((mask[..., 1:] - mask[..., :-1]) ** 2).sum()
        attention = attention + mask.mean() + 0.2 * steps / 5
    expected = -fake.mean() + 160 * ((units - target) ** 2).sum() / 15
    expected = expected + 10 * (batch.real - rec).abs().mean() + 0.3 * attention
    torch.testing.assert_close(recipe.g_loss(batch, target)[0], expected, rtol=1e-12, atol=1e-12)


class Recorder:
    """A run that records the calls of `update` and trains nothing."""

    done = 0.0

    def __init__(self):
        self.step, self.calls = 0, []

    def update(self, name, loss_fn, batch, target):
        self.calls.append((name, target))

    def mean(self, tensor):
        return tensor


def test_others_units_with_noise_are_asked_for_and_g_learns_every_fifth_time():
    recipe, run, moved = tiny(), Recorder(), []
    for run.step in range(10):
        batch = batch_of()
        # rows further apart than the noise is wide
        batch.fields["attribute"] = torch.arange(5)[:, None].expand(-1, 3).double() / 4
        batch.start = 5 * run.step
        recipe.step(batch, run)
        far = run.calls[-1][1][:, None] - batch.attribute  # from each of the batch's own
        nearest = far.abs().amax(2).argmin(1)
        assert sorted(nearest.tolist()) == list(range(5)), "each once"
        moved.append(far[torch.arange(5), nearest])
    moved = torch.cat(moved)
    assert moved.abs().max() <= 0.1 and moved.abs().max() > 0.09 and abs(moved.mean()) < 0.02
    assert [name for name, _ in run.calls] == (["d"] * 5 + ["g"]) * 2
    rates = []
    for run.done in (0.66, 5 / 6):
        recipe.step(batch_of(), run)
        rates += [opt.param_groups[0]["lr"] / 1e-4 for opt in recipe.opt.values()]
    assert rates == pytest.approx([1, 1, 0.5, 0.5])


def test_strips_move_one_unit_a_row():
    recipe, batch, asked = tiny(), batch_of(), []
    recipe.attention = lambda images, units: asked.append(units.clone()) or (images, torch.ones(5, 1, 16, 16).double())
    columns = recipe.strip(batch)
    assert len(columns) == 6 and all(c.shape == batch.real.shape for c in columns)
    assert torch.equal(columns[-1], torch.ones_like(batch.real))
    for i, units in enumerate(asked):
        expected = batch.attribute.clone()
        for row in range(5):
            expected[row, row % 3] = i / 3
        assert torch.equal(units, expected)


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="the data have no attributes. Try --data faces"):
        GANimation(Spec((3, 16, 16), num_classes=3))
    with pytest.raises(ValueError, match="the data have 2 joined sets"):
        GANimation(Spec((3, 16, 16), attributes=("a", "b"), groups=(1, 1), exclusive=(False, False)))
    with pytest.raises(ValueError, match=r"2 action units were given; there are AU01, AU12, AU45 \(3\)"):
        tiny().translate(batch_of().real, torch.zeros(5, 2))
    assert tiny(attributes="AU45,AU01").names == ["AU01", "AU45"]
    batch = batch_of()
    batch.attribute[0, 1] = 4.5
    with pytest.raises(ValueError, match="AU12 goes from .* to 4.5. Divide OpenFace's values by 5"):
        tiny().enter(0, batch)
    tiny(attributes="AU45,AU01").enter(0, batch)


def test_what_was_learnt_translates_other_sizes(tmp_path):
    run = training.train(
        "ganimation", preset="small", images=16, batch=8, width=4, width_d=4, quiet=True, preview=16, outdir=tmp_path
    )
    recipe = gankit.load(run.folder).recipe
    images, units = torch.rand(2, 3, 20, 28) * 2 - 1, torch.zeros(2, len(recipe.names))
    out = recipe.translate(images, units)
    assert out.shape == images.shape and out.abs().max() <= 1
    assert (run.folder / "fakes000000016.png").exists()
