"""Augmentations against slow literal definitions, one image and one pixel at a time; derivatives and probabilities."""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import cache

import pytest
import torch
from torch import Tensor

from gankit import augment
from gankit.augment import Augment, ada, adaptive, diffaugment, flip_shift, geometry, parse
from gankit.recipe import Batch

ADA = "blit,geometric,color,cutout"
EVERY = {
    "diffaugment": diffaugment,
    "ada": lambda images, draw: adaptive(
        images, 0.7, draw, ADA if images.shape[1] in (1, 3) else "blit,geometric,cutout"
    ),
    "flip_shift": flip_shift,
}


def pictures(n: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def batch(images: Tensor, seed: int = 0) -> Batch:
    return Batch({"real": images}, start=64, seed=seed)


def keep(images: Tensor, seed: int = 0):
    """A draw that returns the same numbers each time."""
    return lambda sampler: batch(images, seed).draw(sampler)


# Slow literal definitions --------------------------------------------------------------------------------------------


def mirrored(i: int, side: int) -> int:
    """Reflect an index at the edges until it is inside."""
    while side > 1 and not 0 <= i < side:
        i = -i if i < 0 else 2 * (side - 1) - i
    return i if side > 1 else 0


def forward_place(name: str, value) -> Tensor:
    """The 3x3 matrix of one operation on positions in the image; values as in the docstrings."""
    m = torch.eye(3, dtype=torch.float64)
    if name == "flip":
        m[0, 0] = 1 - 2 * value
    elif name == "turn":
        m[:2, :2] = torch.tensor(
            [[math.cos(value), -math.sin(value)], [math.sin(value), math.cos(value)]], dtype=m.dtype
        )
    elif name == "scale":
        m[0, 0], m[1, 1] = value
    elif name == "shift":
        m[0, 2], m[1, 2] = value
    return m


def placed(steps: list[tuple]) -> Tensor:
    """The matrix from positions in the result to positions in the image: the inverse of the product of operations."""
    m = torch.eye(3, dtype=torch.float64)
    for name, value in steps:
        m = forward_place(name, value) @ m
    return torch.linalg.inv(m)


def slow_blit(image: Tensor, m: Tensor) -> Tensor:
    out = torch.empty_like(image)
    _, height, width = image.shape
    for j in range(height):
        for i in range(width):
            x, y, _ = (m @ torch.tensor([i - (width - 1) / 2, j - (height - 1) / 2, 1], dtype=torch.float64)).tolist()
            x, y = round(x + (width - 1) / 2), round(y + (height - 1) / 2)
            out[:, j, i] = image[:, mirrored(y, height), mirrored(x, width)]
    return out


def slow_warp(image: Tensor, m: Tensor) -> Tensor:
    """Up by 2 with sym6 on the mirrored plane, bilinear samples at twice the side, down by 2: each from its definition.

    Pixel 2i of the larger map coincides with pixel i, and pixel 2i + 1 is half a pixel further.
    """
    channels, height, width = image.shape
    taps = torch.tensor(augment.SYM6, dtype=torch.float64) / sum(augment.SYM6)

    @cache
    def line(k: int, side: int) -> Tensor:
        weights = torch.zeros(side, dtype=torch.float64)
        for t in range(12):
            if (k - t + 5) % 2 == 0:
                weights[mirrored((k - t + 5) // 2, side)] += 2 * taps[t]
        return weights

    @cache
    def large(ky: int, kx: int) -> Tensor:
        return image @ line(kx, width) @ line(ky, height)

    def sampled(ky: int, kx: int) -> Tensor:
        q = torch.tensor([(kx - width + 1) / 2, (ky - height + 1) / 2, 1], dtype=torch.float64)
        x, y, _ = (m @ q).tolist()
        x, y = 2 * x + width - 1, 2 * y + height - 1
        x0, y0 = math.floor(x), math.floor(y)
        a, b = x - x0, y - y0
        top = (1 - a) * large(y0, x0) + a * large(y0, x0 + 1)
        low = (1 - a) * large(y0 + 1, x0) + a * large(y0 + 1, x0 + 1)
        return (1 - b) * top + b * low

    rows = [torch.stack([sampled(y, x) for x in range(-5, 2 * width + 5)], 1) for y in range(-5, 2 * height + 5)]
    seen, out = torch.stack(rows, 1), torch.empty_like(image)
    for j in range(height):
        for i in range(width):
            out[:, j, i] = seen[:, 2 * j : 2 * j + 12, 2 * i : 2 * i + 12] @ taps @ taps
    return out


def slow_color(steps: list[tuple]) -> Tensor:
    """4x4: the product of literal matrices, with the grey axis v and Rodrigues' formula for one vector at a time."""
    v = torch.ones(3, dtype=torch.float64) / math.sqrt(3)
    m = torch.eye(4, dtype=torch.float64)
    for name, value in steps:
        step = torch.eye(4, dtype=torch.float64)
        if name == "brightness":
            step[:3, 3] = value
        elif name == "contrast":
            step[:3, :3] *= value
        elif name == "luma":
            step[:3, :3] -= 2 * value * torch.outer(v, v)
        elif name == "saturation":
            step[:3, :3] = torch.outer(v, v) + (step[:3, :3] - torch.outer(v, v)) * value
        elif name == "hue":
            for i in range(3):
                e = torch.eye(3, dtype=torch.float64)[i]
                turned = (
                    e * math.cos(value)
                    + torch.linalg.cross(v, e) * math.sin(value)
                    + v * (v @ e) * (1 - math.cos(value))
                )
                step[:3, i] = turned
        m = step @ m
    return m


def slow_adaptive(image: Tensor, row: list[float], p: float, groups: dict[str, float]) -> Tensor:
    channels, height, width = image.shape
    names = [*ada.CHANCES, *ada.UNIFORM, *ada.NORMAL]
    cut = len(ada.CHANCES), len(ada.CHANCES) + len(ada.UNIFORM)
    chances, uniform, normal = (
        dict(zip(names[a:b], row[a:b])) for a, b in ((0, cut[0]), (cut[0], cut[1]), (cut[1], None))
    )
    blits, moves, colors = [], [], []
    if "blit" in groups:
        rate = p * groups["blit"]
        if chances["flip"] < rate:
            blits.append(("flip", math.floor(2 * uniform["flip"])))
        if chances["quarter"] < rate:
            turns = math.floor(4 * uniform["quarter"]) if height == width else 2 * math.floor(2 * uniform["quarter"])
            blits.append(("turn", turns * math.pi / 2))
        if chances["shift"] < rate:
            blits.append(
                (
                    "shift",
                    (round(width * (uniform["shift_x"] / 4 - 0.125)), round(height * (uniform["shift_y"] / 4 - 0.125))),
                )
            )
    if "geometric" in groups:
        rate = p * groups["geometric"]
        turn = 1 - math.sqrt(1 - min(1, rate))
        if chances["scale"] < rate:
            moves.append(("scale", (2 ** (0.2 * normal["scale"]),) * 2))
        if chances["before"] < turn:
            moves.append(("turn", math.pi * (2 * uniform["before"] - 1)))
        if chances["aniso"] < rate:
            moves.append(("scale", (2 ** (0.2 * normal["aniso"]), 2 ** (-0.2 * normal["aniso"]))))
        if chances["after"] < turn:
            moves.append(("turn", math.pi * (2 * uniform["after"] - 1)))
        if chances["move"] < rate:
            moves.append(("shift", (0.125 * width * normal["move_x"], 0.125 * height * normal["move_y"])))
    image = slow_warp(image, placed(blits + moves)) if moves else slow_blit(image, placed(blits))
    if "color" in groups:
        rate = p * groups["color"]
        if chances["brightness"] < rate:
            colors.append(("brightness", 0.2 * normal["brightness"]))
        if chances["contrast"] < rate:
            colors.append(("contrast", 2 ** (0.5 * normal["contrast"])))
        if chances["luma"] < rate:
            colors.append(("luma", math.floor(2 * uniform["luma"])))
        if chances["hue"] < rate:
            colors.append(("hue", math.pi * (2 * uniform["hue"] - 1)))
        if chances["saturation"] < rate:
            colors.append(("saturation", 2 ** normal["saturation"]))
        m, rgb = slow_color(colors), image.expand(3, -1, -1)
        image = (torch.einsum("ij,jhw->ihw", m[:3, :3], rgb) + m[:3, 3, None, None])[:channels]
    if "cutout" in groups and chances["cutout"] < p * groups["cutout"]:
        image = image.clone()
        for j in range(height):
            for i in range(width):
                if (
                    abs((i + 0.5) / width - uniform["cut_x"]) < 0.25
                    and abs((j + 0.5) / height - uniform["cut_y"]) < 0.25
                ):
                    image[:, j, i] = 0
    return image


def slow_diffaugment(image: Tensor, row: list[float], policy: str) -> Tensor:
    channels, height, width = image.shape
    for name in policy.split(","):
        if name == "color":
            image = image + row[0] - 0.5
            for j in range(height):
                for i in range(width):
                    grey = image[:, j, i].mean()
                    image[:, j, i] = (image[:, j, i] - grey) * (2 * row[1]) + grey
            image = (image - image.mean()) * (row[2] + 0.5) + image.mean()
        elif name == "translation":
            reach_x, reach_y = math.floor(width / 8 + 0.5), math.floor(height / 8 + 0.5)
            right = math.floor(row[3] * (2 * reach_x + 1)) - reach_x
            down = math.floor(row[4] * (2 * reach_y + 1)) - reach_y
            moved = torch.zeros_like(image)
            for j in range(height):
                for i in range(width):
                    if 0 <= j - down < height and 0 <= i - right < width:
                        moved[:, j, i] = image[:, j - down, i - right]
            image = moved
        else:
            image = image.clone()
            high, wide = math.floor(height / 2 + 0.5), math.floor(width / 2 + 0.5)
            x = math.floor(row[5] * (width + 1 - wide % 2)) - wide // 2
            y = math.floor(row[6] * (height + 1 - high % 2)) - high // 2
            for j in range(y, y + high):
                for i in range(x, x + wide):
                    image[:, min(max(j, 0), height - 1), min(max(i, 0), width - 1)] = 0
    return image


# Against them --------------------------------------------------------------------------------------------------------

SHAPES = [(3, 4, 4), (1, 5, 3), (3, 2, 5), (1, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("policy", [ADA, "color:0.5,geometric", "blit,cutout:0.5"])
def test_adaptive_is_its_literal_definition(shape, policy):
    images = pictures(6, *shape)
    draw = keep(images)
    rows = draw(ada._numbers).tolist()
    expected = torch.stack([slow_adaptive(i, r, 0.7, parse(policy, "ada")) for i, r in zip(images, rows)])
    assert (expected != images).any() or shape == (1, 1, 1)
    torch.testing.assert_close(adaptive(images, 0.7, draw, policy), expected, rtol=0, atol=1e-11)
    torch.testing.assert_close(adaptive(images, torch.tensor(0.7), draw, policy), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("shape", [*SHAPES, (2, 9, 12), (3, 8, 8)], ids=str)
@pytest.mark.parametrize("policy", ["color,translation,cutout", "cutout,color", "translation"])
def test_diffaugment_is_its_literal_definition(shape, policy):
    images = pictures(20, *shape)
    draw = keep(images)
    rows = draw(lambda n: torch.rand(n, 7)).tolist()
    expected = torch.stack([slow_diffaugment(i.clone(), r, policy) for i, r in zip(images, rows)])
    torch.testing.assert_close(diffaugment(images, draw, policy), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", [(3, 12, 12), (1, 3, 7), (1, 1, 1)], ids=str)
def test_flip_shift_is_its_literal_definition(shape):
    images = pictures(20, *shape)
    draw = keep(images)
    for image, seen, (flip, right, down) in zip(
        images, flip_shift(images, draw), draw(lambda n: torch.rand(n, 3)).tolist()
    ):
        steps = [("flip", math.floor(2 * flip)), ("shift", (math.floor(9 * right) - 4, math.floor(9 * down) - 4))]
        assert torch.equal(slow_blit(image, placed(steps)), seen)


def test_the_matrices_are_the_products_of_their_operations():
    g = torch.Generator().manual_seed(3)
    numbers = torch.randn(5, 10, generator=g, dtype=torch.float64)
    whole = torch.randint(0, 4, (4, 10), generator=g).double()
    whole[0] %= 2
    blit = augment.blit_matrix(*whole)
    move = augment.geometric_matrix(numbers[0].exp(), numbers[1], numbers[2].exp(), numbers[3], numbers[4], numbers[0])
    color = augment.color_matrix(numbers[0], numbers[1].exp(), whole[0], numbers[3], numbers[4].exp())
    for i in range(10):
        flip, quarter, right, down = whole[:, i].tolist()
        steps = [("flip", flip), ("turn", quarter * math.pi / 2), ("shift", (right, down))]
        torch.testing.assert_close(blit[i], placed(steps), rtol=0, atol=1e-14)
        a, b, c, d, e = numbers[:, i].tolist()
        steps = [
            ("scale", (math.exp(a),) * 2),
            ("turn", b),
            ("scale", (math.exp(c), math.exp(-c))),
            ("turn", d),
            ("shift", (e, a)),
        ]
        torch.testing.assert_close(move[i], placed(steps), rtol=1e-12, atol=1e-12)
        steps = [("brightness", a), ("contrast", math.exp(b)), ("luma", flip), ("hue", d), ("saturation", math.exp(e))]
        torch.testing.assert_close(color[i], slow_color(steps), rtol=1e-12, atol=1e-12)
    none, one = torch.zeros(1), torch.ones(1)
    assert torch.equal(augment.color_matrix(none, one, none, none, one), torch.eye(4)[None])


def test_conventions_on_pictures_one_can_name():
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]

    def blit(*values: int) -> list:
        return geometry.blit(image, augment.blit_matrix(*(torch.tensor([float(v)]) for v in values)))[0, 0].tolist()

    assert blit(1, 0, 0, 0) == [[2, 1], [4, 3]]
    assert blit(0, 1, 0, 0) == [[3, 1], [4, 2]], "clockwise"
    assert blit(0, 0, 1, 0) == [[2, 1], [4, 3]], "to the right, mirrored behind"
    red = torch.tensor([1.0, 0, 0, 1])
    third = augment.color_matrix(*(torch.tensor([v]) for v in (0.0, 1.0, 0.0, 2 * math.pi / 3, 1.0)))[0]
    torch.testing.assert_close(third @ red, torch.tensor([0, 1.0, 0, 1]), rtol=0, atol=1e-6)


def test_sym6_obeys_its_equations():
    h = torch.tensor(augment.SYM6, dtype=torch.float64)
    k = torch.arange(12, dtype=torch.float64)
    assert h.sum().item() == pytest.approx(math.sqrt(2), abs=1e-11)
    for shift in range(0, 12, 2):
        assert (h[shift:] @ h[: 12 - shift]).item() == pytest.approx(float(shift == 0), abs=1e-11)
    for moment in range(6):  # of the high-pass that belongs to it
        assert (h * (-1) ** k * (k - 5.5) ** moment).sum().item() == pytest.approx(0, abs=1e-8)


def test_the_filters_give_an_image_back_and_keep_what_is_constant():
    images = pictures(3, 2, 9, 6)
    same = torch.eye(3, dtype=torch.float64).expand(3, 3, 3)
    torch.testing.assert_close(geometry.warp(images, same), images, rtol=0, atol=1e-10)
    flat = torch.full((40, 1, 5, 8), 0.3, dtype=torch.float64)
    torch.testing.assert_close(adaptive(flat, 1.0, keep(flat), "blit,geometric"), flat, rtol=0, atol=1e-10)


TURNED = {
    "rotation": [("turn", 0.7)],
    "half a turn": [("turn", math.pi)],
    "scale": [("scale", (1.3, 1.3))],
    "smaller": [("scale", (0.8, 0.8))],
    "anisotropic": [("scale", (1.25, 0.8))],
    "fractional translation": [("shift", (2.3, -1.7))],
    "all of them": [
        ("scale", (1.1, 1.1)),
        ("turn", -0.4),
        ("scale", (0.9, 1 / 0.9)),
        ("turn", 1.1),
        ("shift", (-0.6, 1.4)),
    ],
}


@pytest.mark.parametrize("steps", TURNED.values(), ids=list(TURNED))
@pytest.mark.parametrize("size", [(64, 64), (48, 65)], ids=str)
def test_geometric_operations_of_an_image_known_by_a_formula(steps, size):
    """A plane a x + b y + c: filtering and bilinear sampling preserve it, so each pixel of the result is known.

    Sym6 is not symmetric: its mean tap is 5.098, so pixel 2i of the upsampled image shows the point (5 - 5.098) / 2
    pixels from pixel i. The fixed point of the operations is that far from the centre, as in the authors' code.
    """
    height, width = size
    x, y = torch.arange(width) - (width - 1) / 2, torch.arange(height) - (height - 1) / 2
    grid = torch.stack(torch.broadcast_tensors(x, y[:, None], torch.ones(())), 2).double()
    plane = torch.tensor([[0.013, -0.02, 0.1], [-0.005, 0.017, 0.0]], dtype=torch.float64)
    taps = torch.tensor(augment.SYM6, dtype=torch.float64)
    fixed = torch.tensor([1, 1, 0]).double() * (5 - (taps / taps.sum()) @ torch.arange(12).double()) / 2
    m = placed(steps)
    seen = geometry.warp((grid @ plane.T).permute(2, 0, 1)[None], m[None])[0]
    source = (grid - fixed) @ m.T + fixed
    inside = ((source[..., 0].abs() < width / 2 - 6) & (source[..., 1].abs() < height / 2 - 6)).float()
    inside = -torch.nn.functional.max_pool2d(-inside[None, None], 13, 1, 6)[0, 0] == 1  # the support of the filters
    inside[:6], inside[-6:], inside[:, :6], inside[:, -6:] = False, False, False, False
    assert inside.sum() > 200
    torch.testing.assert_close(seen[:, inside], (source @ plane.T).permute(2, 0, 1)[:, inside], rtol=0, atol=1e-8)
    assert abs(float(fixed[0])) < 0.05


# Derivatives ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["blit", "geometric", "color", "cutout", ADA])
@pytest.mark.parametrize("channels", [1, 3])
def test_adaptive_has_its_first_and_second_derivatives(policy, channels):
    images = pictures(2, channels, 3, 2).requires_grad_()
    draw = keep(images, seed=5)
    assert torch.autograd.gradcheck(lambda x: adaptive(x, 0.9, draw, policy), images)
    assert torch.autograd.gradgradcheck(lambda x: adaptive(x**2, 0.9, draw, policy) ** 2, images)


@pytest.mark.parametrize("function", [diffaugment, flip_shift])
def test_the_others_have_their_first_and_second_derivatives(function):
    images = pictures(2, 3, 3, 2).requires_grad_()
    draw = keep(images, seed=2)
    assert torch.autograd.gradcheck(lambda x: function(x, draw), images)
    assert torch.autograd.gradgradcheck(lambda x: function(x**2, draw) ** 2, images)


# Exactness -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, torch.tensor(0.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 9, 14)], ids=str)
def test_nothing_changes_at_p_0(p, dtype, shape):
    images = pictures(8, *shape).to(dtype)
    seen = adaptive(images, p, batch(images).draw, ADA)
    assert seen.dtype == dtype and torch.equal(seen, images)
    assert (adaptive(images, 1.0, batch(images).draw, ADA) != images).flatten(1).any(1).all()


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 32, 32), (4, 15, 10)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pieces_are_augmented_as_the_whole(name, shape, dtype):
    images = pictures(16, *shape).to(dtype)
    whole = None
    for pieces in (1, 2, 3):
        all_rows = batch(images)
        seen = all_rows.join([EVERY[name](part.real, part.draw) for _, part in all_rows.split(pieces, turn=2)])
        whole = seen if whole is None else whole
        # processors differ in how they split a convolution's float64 sums over a batch
        assert (seen - whole).abs().max() <= (1e-12 if dtype == torch.float64 else 0)
    other = next(batch(images, seed=1).split(1, turn=2))[1]
    assert not torch.equal(EVERY[name](other.real, other.draw), whole)


@pytest.mark.parametrize("name", EVERY)
def test_what_is_drawn_depends_on_no_image_no_policy_and_no_p(name):
    asked = []

    def draw(sampler):
        asked.append(tuple(sampler(4).shape))
        return batch(images).draw(sampler)

    images = pictures(4, 3, 8, 8)
    for p, policy in ((0.0, "blit"), (0.5, ADA), (torch.tensor(1.0), "cutout")):
        adaptive(images, p, draw, policy)
        adaptive(images[:, :1], p, draw, policy)
    for policy in ("color", "cutout,translation"):
        diffaugment(images, draw, policy)
    assert len(set(asked[:6])) == len(set(asked[6:])) == 1 and len(asked) == 8
    # for the same numbers, the augmentation is one affine map of any images: reals and fakes are augmented alike
    a, b, function = pictures(8, 3, 8, 8, seed=1), pictures(8, 3, 8, 8, seed=2), EVERY[name]
    middle = function((a + b) / 2, keep(a))
    torch.testing.assert_close(middle, (function(a, keep(a)) + function(b, keep(a))) / 2, rtol=0, atol=1e-12)


def test_half_precision_is_widened_inside_even_under_autocast():
    images = pictures(4, 3, 8, 8).float()
    for function in EVERY.values():
        plain = function(images, keep(images))
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(function(images, keep(images)), plain)
            half = function(images.bfloat16(), keep(images))
        assert half.dtype == torch.bfloat16 and (half.float() - plain).abs().max() < 0.05


def test_nothing_waits_for_the_device(monkeypatch):
    """The meta device has no values and no autocast: reading a value raises."""
    monkeypatch.setattr(torch, "autocast", lambda *a, **k: nullcontext())
    images = torch.zeros(4, 3, 8, 8, device="meta")

    def draw(sampler):
        return sampler(4).to("meta")

    for kind in ("diffaugment", "ada"):
        net = Augment(kind, p=0.5).to("meta")
        assert net(images, draw).shape == images.shape
        net.see(torch.zeros((), device="meta"), 4)
        net.adapt(4)
    assert flip_shift(images, draw).shape == images.shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", EVERY)
def test_the_gpu_agrees(name):
    images = pictures(8, 3, 16, 12)
    results = []
    for device in ("cpu", "cuda"):
        x = images.to(device).requires_grad_()
        seen = EVERY[name](x, keep(x))
        (grad,) = torch.autograd.grad(seen.square().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(grad.square().sum(), x)
        results.append([t.detach().cpu() for t in (seen, grad, second)])
    for here, there in zip(*results):
        torch.testing.assert_close(there, here, rtol=1e-10, atol=1e-10)


# Chances -------------------------------------------------------------------------------------------------------------


def parameters(
    monkeypatch, p: float, shape: tuple[int, ...] = (3, 2, 2), n: int = 20_000, policy: str = ADA
) -> dict[str, list]:
    """The arguments of each matrix function, over many images."""
    given, images = {}, torch.zeros(n, *shape)
    for name in ("blit_matrix", "geometric_matrix", "color_matrix"):
        function = getattr(ada, name)
        monkeypatch.setattr(ada, name, lambda *a, name=name, f=function: given.setdefault(name, a) and f(*a))
    for name in ("blit", "warp"):  # the pictures do not matter
        monkeypatch.setattr(ada, name, lambda x, m: x)
    cut = ada._cut_out
    monkeypatch.setattr(ada, "_cut_out", lambda x, *a: given.setdefault("cutout", a) and cut(x, *a))
    adaptive(images, p, batch(images).draw, policy)
    return given


def test_each_operation_is_as_likely_and_as_strong_as_it_says(monkeypatch):
    p, near = 0.6, dict(abs=0.02)
    given = parameters(monkeypatch, p, shape=(3, 16, 16), n=8000, policy="blit,geometric,color:0.5,cutout")
    flip, quarter, right, down = given["blit_matrix"]
    assert flip.mean().item() == pytest.approx(p / 2, **near)
    for turns in (1, 2, 3):
        assert (quarter == turns).float().mean().item() == pytest.approx(p / 4, **near)
    for shift in (right, down):
        assert shift.abs().max() == 2 and (shift == shift.round()).all()
        assert (shift != 0).float().mean().item() == pytest.approx(p * 3 / 4, **near)
    assert ((right != 0) & (down != 0)).float().mean().item() == pytest.approx(p * (3 / 4) ** 2, **near), (
        "both or neither"
    )
    scale, before, aniso, after, right, down = given["geometric_matrix"]
    for value in (scale, aniso):
        assert (value != 1).float().mean().item() == pytest.approx(p, **near)
        assert value[value != 1].log2().std().item() == pytest.approx(0.2, abs=0.01)
    for angle in (before, after):
        assert (angle != 0).float().mean().item() == pytest.approx(1 - math.sqrt(1 - p), **near)
        assert (
            angle[angle != 0].std().item() == pytest.approx(math.pi / math.sqrt(3), abs=0.05)
            and angle.abs().max() <= math.pi
        )
    assert ((before != 0) | (after != 0)).float().mean().item() == pytest.approx(p, **near)
    for move in (right, down):
        assert (move != 0).float().mean().item() == pytest.approx(p, **near)
        assert move[move != 0].std().item() == pytest.approx(2, abs=0.08)
    brightness, contrast, luma, hue, saturation = given["color_matrix"]
    assert luma.mean().item() == pytest.approx(p / 4, **near)
    for value, deviation in (
        (brightness, 0.2),
        (contrast.log2(), 0.5),
        (saturation.log2(), 1),
        (hue, math.pi / math.sqrt(3)),
    ):
        assert (value != 0).float().mean().item() == pytest.approx(p / 2, **near), "half as likely"
        assert value[value != 0].std().item() == pytest.approx(deviation, rel=0.04)
    cut, across, below = given["cutout"]
    assert cut.float().mean().item() == pytest.approx(p, **near)
    assert across.mean().item() == pytest.approx(0.5, **near) and below.mean().item() == pytest.approx(0.5, **near)


def test_operations_are_drawn_independently():
    rows = batch(torch.zeros(20_000, 1)).draw(ada._numbers)
    off = rows.T.corrcoef() - torch.eye(rows.shape[1])
    assert off.abs().max() < 0.035


def test_images_that_are_not_square_are_turned_by_halves_only(monkeypatch):
    quarter = parameters(monkeypatch, 0.6, shape=(1, 4, 3), n=4000, policy="blit")["blit_matrix"][1]
    assert set(quarter.unique().tolist()) == {0, 2}
    assert (quarter == 2).float().mean().item() == pytest.approx(0.3, abs=0.03)


def test_diffaugment_reaches_all_of_its_range():
    images = torch.ones(4000, 1, 16, 16)
    lines = diffaugment(images, batch(images).draw, "translation").sum((1, 3)) > 0
    shifts = [lines[:, :8].sum(1) - 8, 8 - lines[:, 8:].sum(1)]  # up to two lines are lost above or below
    moved = (shifts[0] + shifts[1]).tolist()
    assert {m: round(moved.count(m) / 4000 * 5) for m in set(moved)} == {-2: 1, -1: 1, 0: 1, 1: 1, 2: 1}
    cut = diffaugment(images, batch(images).draw, "cutout") == 0
    assert cut.any(0).all() and cut.flatten(1).sum(1).max() == 64 and cut.flatten(1).sum(1).min() == 16


# The run's augmentation ----------------------------------------------------------------------------------------------


def test_p_follows_its_definition_and_a_saved_state_goes_on_from_anywhere():
    shares = torch.rand(60, generator=torch.Generator().manual_seed(0)).tolist()
    net = Augment("ada", p=0.1, target=0.2, speed=100)
    p, seen = 0.1, []
    for i, share in enumerate(shares):
        seen.append(2 * share - 1)
        net.see(torch.tensor(share), rows=8)
        net.adapt(8)
        if i % 4 == 3:
            p += math.copysign(4 * 8 / 100, sum(seen[-4:]) / 4 - 0.2)
            p = min(max(p, 0), 1)
        assert net.p.item() == pytest.approx(p, abs=1e-6)
        fresh = Augment("ada", p=0.9, target=0.2, speed=100)
        fresh.load_state_dict({name: value.clone() for name, value in net.state_dict().items()})
        net = fresh


def test_p_is_bounded_and_waits_for_news_and_can_be_fixed():
    up, fixed, quiet = Augment("ada", speed=32), Augment("ada", p=0.3, target=0.0), Augment("ada", p=0.3)
    for step in range(40):
        for net in (up, fixed):
            net.see(torch.tensor(1.0 if step < 20 else 0.1), rows=8)
        for net in (up, fixed, quiet):
            net.adapt(8)
        if step == 18:
            assert up.p == 1
    assert up.p == 0 and fixed.p == torch.tensor(0.3) and quiet.p == torch.tensor(0.3)
    quiet.see(torch.tensor(0.0), rows=8)
    quiet.adapt(8)
    assert quiet.p.item() == pytest.approx(0.3 - 41 * 8 / 500_000), "one D turn in many batches counts for all of them"


def test_each_kind_does_what_it_is_called():
    images = pictures(6, 3, 8, 8).float()
    draw = keep(images)
    assert torch.equal(Augment("diffaugment")(images, draw), diffaugment(images, draw))
    assert torch.equal(Augment("diffaugment", "cutout")(images, draw), diffaugment(images, draw, "cutout"))
    assert torch.equal(Augment("ada", p=0.5)(images, draw), adaptive(images, 0.5, draw))
    assert torch.equal(Augment("ada", "color:0.5", p=0.5)(images, draw), adaptive(images, 0.25, draw, "color"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(kind="adda"), "did you mean ada"),
        (dict(kind="diffaugment", policy="color,translatoin"), "did you mean translation"),
        (dict(kind="diffaugment", policy="colour"), "did you mean color"),
        (dict(kind="diffaugment", policy="blit"), "it has color, translation, cutout"),
        (dict(kind="diffaugment", policy="color:0.5"), "diffaugment has no strengths: write color"),
        (dict(kind="ada", policy="geometry"), "did you mean geometric"),
        (dict(kind="ada", policy="blit,blit"), "twice"),
        (dict(kind="ada", policy="blit:x"), "write blit:0.5"),
        (dict(kind="ada", policy="blit:-1"), "0 or more"),
        (dict(kind="ada", policy="blit:nan"), "0 or more"),
        (dict(kind="ada", policy="blit:"), "0 or more"),
        (dict(kind="ada", policy=" , "), "names nothing"),
        (dict(kind="ada", p=1.5), "augment_p is 1.5; it must be 0 <= p <= 1"),
        (dict(kind="ada", target=1.0), "augment_target is 1.0"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Augment(**options)


def test_images_that_cannot_be_are_refused():
    images = pictures(4, 2, 8, 8)
    with pytest.raises(ValueError, match="these images have 2.*--augment-policy geometric:0.5,blit"):
        adaptive(images, 0.5, keep(images), "color,geometric:0.5,blit")
    with pytest.raises(ValueError, match="4 images, but draw gives numbers for 3"):
        diffaugment(images, keep(images[:3]))


# Consistency ---------------------------------------------------------------------------------------------------------


def test_consistency_is_the_mean_square_of_what_changes():
    images, z = pictures(6, 3, 8, 8), pictures(6, 5, seed=1)
    weights, wide = pictures(3, 8, 8, seed=2), pictures(5, 12, seed=3)

    def critic(x: Tensor) -> Tensor:
        return (x * weights.view(1, *x.shape[1:]) if x.dim() == 4 else x.square()).flatten(1).sum(1)

    def generator(z: Tensor) -> Tensor:
        return (z @ wide).tanh()

    a, b = critic(images).tolist(), critic(flip_shift(images, keep(images))).tolist()
    expected = sum((x - y) ** 2 for x, y in zip(a, b)) / 6
    shown, made = (
        augment.Shown(critic, images, critic(images)),
        augment.Shown(critic, generator(z), critic(generator(z))),
    )
    added, terms = augment.consistency_d("cr", shown, made, generator, z, keep(images))
    assert terms["cr"].item() == pytest.approx(expected, rel=1e-12) and added == 10 * terms["cr"]
    near = z + 0.05 * keep(z)(lambda n: torch.randn(n, 5))
    a, b = critic(generator(z)).tolist(), critic(generator(near)).tolist()
    expected = sum((x - y) ** 2 for x, y in zip(a, b)) / 6
    still = augment.Shown(lambda x: x.flatten(1).sum(1) * 0, images, torch.zeros(6, dtype=torch.float64))
    fake = augment.Shown(critic, images, critic(generator(z)))
    steady = augment.consistency_d("icr", still, fake._replace(critic=critic), generator, z, keep(z))[1]
    assert steady["cr"] == 0 and steady["zcr"].item() == pytest.approx(expected, rel=1e-12)
    expected = -(generator(z) - generator(near)).square().sum().item() / 72
    added, terms = augment.consistency_g("icr", generator(z), generator, z, keep(z))
    assert terms["zcr"].item() == pytest.approx(expected, rel=1e-12) and added == 0.5 * terms["zcr"]
    assert augment.consistency_g("bcr", generator(z), generator, z, keep(z)) == (0.0, {})
