"""Latents and pictures against what they must be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gankit import latent, pictures
from gankit.models.biggan import BigGAN
from gankit.models.dcgan import DCGAN
from gankit.models.pggan import PGGAN
from gankit.recipe import Recipe, Spec, seeded


class Styled(Recipe):
    """Three layers, each with an affine map of its own style; truncation in the first two."""

    def __init__(self) -> None:
        super().__init__(Spec((1, 4, 4)))
        self.num_ws, self.trunc_layers = 3, 2
        self.map, self.affine = nn.Linear(4, 6), nn.ModuleList(nn.Linear(6, 16) for _ in range(3))
        self.register_buffer("w_mean", torch.randn(6))

    def noise(self, n: int) -> Tensor:
        return torch.randn(n, 4)

    def mapping(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.map(z)[:, None].repeat(1, 3, 1)

    def synthesis(self, ws: Tensor, noise: str | int = "const") -> Tensor:
        return sum(affine(ws[:, i]) for i, affine in enumerate(self.affine)).view(-1, 1, 4, 4)

    def sample(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.synthesis(self.mapping(z, label))


@pytest.fixture
def styled() -> Styled:
    with seeded(5):
        return Styled().eval()


def small(kind: type[Recipe], spec: Spec) -> Recipe:
    with seeded(1):
        return kind(spec, **kind.presets["small"].model).eval()


def test_slerp_keeps_length_and_angle():
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    middle = latent.slerp(a, b, torch.tensor([0.5]))[0, 0]
    assert torch.allclose(middle, torch.full((2,), math.sqrt(2)))
    t = torch.linspace(0, 1, 7)
    assert torch.allclose(latent.slerp(a, b, t).norm(dim=2), torch.full((7, 1), 2.0))
    assert torch.allclose(latent.slerp(a, 3 * a, t), latent.lerp(a, 3 * a, t))
    for one, other in ((0 * a, b), (0 * a, 0 * a)):
        assert torch.equal(latent.slerp(one, other, t), latent.lerp(one, other, t))


@pytest.mark.parametrize("spherical", [True, False])
def test_a_path_passes_through_its_points(spherical):
    points = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    way = latent.path(points, 5, spherical)
    assert way.shape == (16, 8)
    assert torch.allclose(way[::5], points, atol=1e-5)
    assert len(latent.path(points, 5, spherical, loop=True)) == 20


def test_a_grid_shows_each_image_where_it_belongs():
    images = torch.full((3, 1, 8, 8), -1.0)
    images[1] = 1.0
    sheet = np.asarray(pictures.grid(images, columns=2))
    high = sheet.shape[0] // 2
    assert sheet[high // 2, sheet.shape[1] // 4] == 0 and sheet[high // 2, 3 * sheet.shape[1] // 4] == 255
    assert pictures.grid(torch.zeros(2, 4, 8, 8)).mode == "RGBA"
    assert pictures.grid(torch.zeros(5, 2)).mode == "RGB"


@pytest.mark.parametrize("ending", [".jpg", ".bmp", ".png"])
def test_transparent_pixels_become_white_where_the_format_has_no_alpha(ending, tmp_path):
    path = pictures.save_picture(tmp_path / f"a{ending}", Image.new("RGBA", (8, 8), (255, 0, 0, 0)))
    picture = Image.open(path)
    assert picture.getpixel((4, 4)) == ((255, 0, 0, 0) if ending == ".png" else (255, 255, 255))


def test_animations_are_written_whole(tmp_path):
    frames = [pictures.grid(torch.full((1, 3, 8, 8), v)) for v in (-1.0, 0.0, 1.0)]
    for name in ("a.webp", "a.gif"):
        assert Image.open(pictures.animate(tmp_path / name, frames)).n_frames == 3
    with pytest.raises(ValueError, match="a.avi"):
        pictures.animate(tmp_path / "a.avi", frames)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.gif", "a.webp"]


def test_truncation_is_in_w_where_there_is_one(styled):
    z = latent.latents(styled, [0, 1])
    w = styled.mapping(z)
    expected = torch.stack([styled.w_mean + 0.3 * (w[:, i] - styled.w_mean) if i < 2 else w[:, i] for i in range(3)], 1)
    assert torch.allclose(latent.truncate_w(styled, w, 0.3), expected, atol=1e-6)
    assert torch.allclose(latent.sample(styled, [0, 1], trunc=0.3), styled.synthesis(expected), atol=1e-5)
    styled.trunc_layers = None
    points, _ = latent.points(styled, [0, 1], trunc=0.0)
    assert torch.allclose(points, styled.w_mean.expand(2, 3, -1))
    for refused in (lambda: latent.truncate(styled, z, 0.5), lambda: latent.points(styled, [0], trunc=0.5, space="z")):
        with pytest.raises(ValueError, match="in w"):
            refused()


def test_points_of_z_and_of_w_draw_the_same_picture(styled):
    (z, _), (w, _) = latent.points(styled, [3], space="z"), latent.points(styled, [3], space="w")
    assert torch.equal(latent.render(styled, z), latent.render(styled, w))
    assert latent.points(styled, [3])[0].shape == (1, 3, 6)
    plain = small(DCGAN, Spec((1, 16, 16)))
    assert torch.equal(latent.render(plain, *latent.points(plain, [3, 4])), latent.sample(plain, [3, 4]))
    with pytest.raises(ValueError, match="no w"):
        latent.points(plain, [3], space="w")


def test_layers_are_the_paper_s_where_there_are_enough():
    named = [[*latent.layers_of(18, name)] for name in ("coarse", "middle", "fine")]
    assert named == [[0, 1, 2, 3], [4, 5, 6, 7], [*range(8, 18)]]
    for count in range(1, 12):
        assert [i for name in ("coarse", "middle", "fine") for i in latent.layers_of(count, name)] == [*range(count)]
    assert [*latent.layers_of(6, "2-4")] == [2, 3, 4] and [*latent.layers_of(6, "5")] == [5]
    for wrong in ("6", "3-1", "finest", "1-2-3", "-1"):
        with pytest.raises(ValueError, match="is no layer"):
            latent.layers_of(6, wrong)


def alike(found: Tensor, matrix: Tensor) -> None:
    """Whether rows are the first eigenvectors of a symmetric matrix, but for their signs."""
    values, vectors = np.linalg.eigh(matrix.detach().double().numpy())
    for i, row in enumerate(found.double()):
        assert abs(abs(float(row @ torch.from_numpy(vectors[:, -1 - i].copy()))) - 1) < 1e-9
        assert row[row.abs().argmax()] > 0


def test_sefa_is_the_eigenvectors_of_the_first_layers_weights(styled):
    plain = small(DCGAN, Spec((1, 16, 16)))
    found = latent.sefa(plain, *latent.points(plain, [0, 1]), 4)
    weight = plain.g.net[0].weight.double()
    alike(found.vectors, weight.T @ weight)
    total = torch.linalg.eigvalsh(weight.T @ weight)
    assert torch.allclose(found.share, total.flip(0)[:4] / total.sum())

    w = latent.points(styled, [0, 1])[0]
    for layers in (None, [0, 2]):
        chosen = [styled.affine[i].weight.double() for i in (layers or range(3))]
        alike(latent.sefa(styled, w, None, 3, layers).vectors, sum(a.T @ a for a in chosen))


def test_sefa_sees_every_layer_that_takes_a_part_of_z():
    recipe = small(BigGAN, Spec((1, 16, 16), num_classes=10))
    with seeded(2):  # the orthogonal matrices that it begins with have eigenvalues alike
        for parameter in recipe.g.parameters():
            nn.init.normal_(parameter)
    g, chunk = recipe.g, 10
    z_dim = recipe.noise(1).shape[1]
    matrix = torch.zeros(z_dim, z_dim, dtype=torch.float64)
    parts = [(0, g.dense.weight)]
    for i, block in enumerate(g.blocks, 1):
        for norm in (block.norm1, block.norm2):
            parts += [(i, norm.gain.weight[:, -chunk:]), (i, norm.bias.weight[:, -chunk:])]
    for i, weight in parts:
        weight = weight.detach().double()
        matrix[i * chunk : (i + 1) * chunk, i * chunk : (i + 1) * chunk] += weight.T @ weight
    alike(latent.sefa(recipe, *latent.points(recipe, [0, 1]), 5).vectors, matrix)


def test_sefa_takes_the_derivative_through_what_is_not_linear():
    recipe = small(PGGAN, Spec((1, 16, 16))).double()
    points = latent.points(recipe, [0, 1, 2])[0]
    weight = recipe.g.first[1].weight * recipe.g.first[1].scale
    matrix = 0
    for z in points:
        slope = torch.autograd.functional.jacobian(lambda z: weight @ (z / (z.square().mean() + 1e-8).sqrt()), z)
        matrix = matrix + slope.T @ slope / len(points)
    alike(latent.sefa(recipe, points, None, 3).vectors, matrix)


def test_sefa_in_parts_is_sefa_at_once_and_too_long_latents_are_refused(monkeypatch):
    from gankit.latent import directions

    for kind, spec in ((PGGAN, Spec((1, 16, 16))), (DCGAN, Spec((1, 16, 16)))):
        recipe = small(kind, spec)
        points = latent.points(recipe, [0, 1])[0]
        whole = latent.sefa(recipe, points, None, 4)
        with monkeypatch.context() as patch:
            patch.setattr(directions, "CHUNK", 1)
            parts = latent.sefa(recipe, points, None, 4)
        assert torch.allclose(whole.vectors, parts.vectors, atol=1e-9) and torch.allclose(whole.share, parts.share)
    monkeypatch.setattr(directions, "LONGEST", 8)
    with pytest.raises(ValueError, match="the maximum is 8"):
        latent.sefa(recipe, points, None, 4)


def test_principal_components_are_those_of_the_rows():
    rows = torch.randn(500, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 7)
    mean, found = latent.pca(rows, 6)
    alike(found.vectors, (rows - rows.mean(0)).double().T @ (rows - rows.mean(0)).double())
    assert torch.allclose(((rows - mean) @ found.vectors.T).std(0), found.scale)
    assert float(found.share.sum()) == pytest.approx(1) and torch.allclose(mean, rows.double().mean(0))


def test_ganspace_brings_components_of_hidden_maps_back_to_z(styled):
    w = latent.points(styled, range(100))[0]
    assert torch.equal(latent.ganspace(styled, w, None, 3).vectors, latent.pca(w[:, 0], 3)[1].vectors)
    recipe = small(DCGAN, Spec((1, 16, 16)))
    z = latent.points(recipe, range(300))[0]
    expected = recipe.g.net[:4](z).flatten(1)  # dense, grid, norm, ReLU: what the first transposed convolution sees
    maps = torch.cat([latent.hidden_maps(recipe, part) for part in z.split(64)])
    assert torch.allclose(maps, expected, atol=1e-6)
    found = latent.ganspace(recipe, z, None, 3)
    coordinates = (maps.double() - maps.double().mean(0)) @ latent.pca(maps, 3)[1].vectors.T
    for i in range(3):  # one step along a direction moves the component it is for by about its deviation, and up
        moved = latent.hidden_maps(recipe, (z + found.scale[i] * found.vectors[i]).float()).double()
        change = ((moved - maps.double().mean(0)) @ latent.pca(maps, 3)[1].vectors.T - coordinates)[:, i].mean()
        assert 0.4 < change / coordinates[:, i].std() < 1.6


def test_moving_styles_leaves_other_layers_alone(styled):
    w = latent.points(styled, [0])[0]
    moved = latent.move(w, torch.ones(6), 2.0, [1])
    assert torch.equal(moved[:, [0, 2]], w[:, [0, 2]]) and torch.allclose(moved[:, 1], w[:, 1] + 2)
    assert torch.allclose(latent.move(w, torch.ones(6), 2.0), w + 2)
