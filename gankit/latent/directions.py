"""Directions in latent space: SeFa from the weights, GANSpace and PCA from many latents, and conditional directions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gankit.latent.space import generate
from gankit.recipe import Recipe

CHUNK = 2**25  # float64 values in one array of `sefa`
LONGEST = 10_000  # values of a latent, for `sefa`


class Directions(NamedTuple):
    """Directions in a model's latent space.

    Args:
        vectors: (K, D) of length 1, the most important first.
        scale: (K,) the length of one unit of strength along each: the standard deviation of latents in this direction.
        share: (K,) the share of the variance, or of the change, that each explains.
    """

    vectors: Tensor
    scale: Tensor
    share: Tensor


def move(points: Tensor, direction: Tensor, by: float, layers: Sequence[int] | None = None) -> Tensor:
    """Points (N, D) or (N, num_ws, D) plus `by` times a direction (D,); styles move in the given layers, or in all."""
    if points.ndim == 2 or layers is None:
        return points + by * direction
    moved = points.clone()
    moved[:, list(layers)] += by * direction
    return moved


def project_out(direction: Tensor, others: Tensor) -> Tensor:
    """The component of a direction (D,) orthogonal to others (K, D), normalised: moves along it keep their properties.

    Source: Shen, Gu, Tang & Zhou, "Interpreting the Latent Space of GANs for Semantic Face Editing", CVPR 2020, section
    3.2, conditional manipulation.

    Raises:
        ValueError: the direction is a combination of the others.
    """
    basis = torch.linalg.qr(others.double().T).Q
    orthogonal = direction.double() - basis @ (basis.T @ direction.double())
    if orthogonal.norm() < 1e-6 * direction.norm():
        raise ValueError("nothing is left of this direction without the others: it is a combination of them")
    return (orthogonal / orthogonal.norm()).to(direction)


def pca(x: Tensor, count: int) -> tuple[Tensor, Directions]:
    """The mean (D,) and the first `count` principal components of rows (N, D)."""
    x = x.double()
    mean = x.mean(0)
    _, values, vectors = torch.linalg.svd(x - mean, full_matrices=False)
    count = min(count, len(values))
    share = values.square() / values.square().sum()
    scale = values / max(len(x) - 1, 1) ** 0.5
    return mean, Directions(_signed(vectors[:count]), scale[:count], share[:count])


def sefa(
    recipe: Recipe, points: Tensor, given: Tensor | None, count: int, layers: Sequence[int] | None = None
) -> Directions:
    """Directions that change the outputs of the layers that take the latent most: eigenvectors of A^T A.

    A stacks the weights of all these layers. If a nonlinear function, like PixelNorm, is between the latent and a
    layer, A is the layer's derivative by the latent instead, and A^T A is averaged over the points.

    Source: Shen & Zhou, "Closed-Form Factorization of Latent Semantics in GANs", CVPR 2021, eq. 5 to 7.

    Args:
        recipe: the model.
        points: (N, D) or (N, num_ws, D); a few are enough.
        given: (N,) labels or None.
        count: number of directions.
        layers: the layers of the style to analyse; default: all.

    Raises:
        ValueError: latents are too long, or no layer takes them.
    """
    size = points.shape[-1]
    if size > LONGEST:
        raise ValueError(
            f"SeFa's matrix has a side as long as a latent, {size:,} numbers here; the maximum is {LONGEST:,}"
        )
    exact = copy.deepcopy(recipe).double().requires_grad_(False).eval()
    latent = points.double().detach().requires_grad_()
    total = torch.zeros(size, size, dtype=torch.float64, device=points.device)
    with torch.enable_grad():
        for _, layer, x in first_layers(exact, latent, given):
            for gradients, others in _gram_factors(layer, x, latent, layers):
                total += gradients.flatten(0, 1).T @ others.flatten(0, 1) / len(points)
    values, vectors = torch.linalg.eigh(total)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1).T
    count = min(count, size)
    share = values / values.sum()
    return Directions(_signed(vectors[:count]), torch.ones_like(share[:count]), share[:count])


def _gram_factors(
    layer: nn.Module, x: Tensor, latent: Tensor, layers: Sequence[int] | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs (K, N, D) whose products, summed, are A^T A of a layer with inputs x; some inputs at a time.

    All weights of a layer at once could need gigabytes.
    """
    rows, shape = x.flatten(1), x.shape[1:]
    size = rows.shape[1]
    with torch.no_grad():
        outputs = layer(torch.zeros_like(x[:1])).numel()
    step = max(1, CHUNK // max(outputs, rows.numel(), latent.numel()))
    for first in range(0, size, step):
        index = torch.arange(first, min(first + step, size), device=x.device)
        one_hot = (index[:, None] == torch.arange(size, device=x.device)).to(rows)
        zero = torch.zeros(len(index), *shape).to(rows).requires_grad_()
        at_zero = layer(zero)
        with torch.no_grad():
            weights = layer(one_hot.unflatten(1, shape)) - at_zero  # rows of W^T
        (inner,) = torch.autograd.grad(at_zero, zero, weights)  # rows of W^T W
        yield _backward(rows, latent, one_hot, layers), _backward(rows, latent, inner.flatten(1), layers)


def _backward(x: Tensor, latent: Tensor, vectors: Tensor, layers: Sequence[int] | None) -> Tensor:
    """(K, N, D) vectors (K, inputs) times the derivative of x (N, inputs) by the latents, summed over layers."""
    expanded = vectors[:, None].expand(-1, *x.shape)
    (slopes,) = torch.autograd.grad(x, latent, expanded, is_grads_batched=True, retain_graph=True)
    if slopes.ndim == 3:
        return slopes
    return (slopes if layers is None else slopes[:, :, list(layers)]).sum(2)


def ganspace(recipe: Recipe, points: Tensor, given: Tensor | None, count: int, batch: int = 64) -> Directions:
    """Principal components of w; for models without w, of the first hidden maps, projected back to z by least squares.

    Source: Harkonen, Hertzmann, Lehtinen & Paris, "GANSpace: Discovering Interpretable GAN Controls", NeurIPS 2020,
    section 2. The maps are taken after the norm and ReLU of the first layer, because the components of its linear
    output would be SeFa's directions.

    Args:
        recipe: the model.
        points: (N, D) or (N, num_ws, D); thousands are needed.
        given: (N,) labels or None.
        count: number of directions.
        batch: latents per forward pass.
    """
    if points.ndim == 3:
        return pca(points[:, 0], count)[1]
    parts = [None] * len(points) if given is None else given.split(batch)
    maps = torch.cat([hidden_maps(recipe, z, rows) for z, rows in zip(points.split(batch), parts)])
    mean, components = pca(maps, count)
    coordinates = (maps.double() - mean) @ components.vectors.T / components.scale
    back = torch.linalg.lstsq(coordinates, points.double() - points.double().mean(0)).solution  # (K, D)
    length = back.norm(dim=1)
    return Directions(back / length[:, None], length, components.share)


def first_layers(recipe: Recipe, points: Tensor, given: Tensor | None = None) -> list[tuple[str, nn.Module, Tensor]]:
    """The layers that take the points directly: name, layer and input, which has a gradient to the points.

    Raises:
        ValueError: the model has no linear layer or convolution that takes its latent.
    """
    found: list[tuple[str, nn.Module, Tensor]] = []

    def keep(name: str, layer: nn.Module, x: Tensor) -> None:
        if not x.requires_grad:
            return
        (slope,) = torch.autograd.grad(x.sum(), latent, retain_graph=True, allow_unused=True)
        if slope is not None:
            found.append((name, layer, x))

    latent = points if points.requires_grad else points.detach().requires_grad_()
    with torch.enable_grad(), _watched(recipe, keep, cut=True):
        generate(recipe, latent, given)
    if not found:
        raise ValueError(f"{type(recipe).__name__} has no linear layer or convolution that takes its latent")
    return found


def hidden_maps(recipe: Recipe, points: Tensor, given: Tensor | None = None) -> Tensor:
    """(N, M) the input of the first layer that is not one of `first_layers`, in float32 on the CPU."""
    excluded = {name for name, _, _ in first_layers(recipe, points[:1], None if given is None else given[:1])}
    found: list[Tensor] = []

    def keep(name: str, layer: nn.Module, x: Tensor) -> None:
        if name not in excluded and len(x) == len(points) and x.is_floating_point():
            found.append(x.flatten(1).float().cpu())

    with torch.no_grad(), _watched(recipe, keep):
        generate(recipe, points, given)
    if not found:
        raise ValueError(f"{type(recipe).__name__} has no second layer, whose input GANSpace needs")
    return found[0]


@contextmanager
def _watched(recipe: Recipe, keep: Callable[[str, nn.Module, Tensor], None], cut: bool = False) -> Iterator[None]:
    """A context that calls `keep(name, layer, first input)` for every layer with a matrix of weights.

    `cut` stops gradients at these layers' outputs.
    """
    weights = {name: getattr(m, "weight", None) for name, m in recipe.named_modules()}
    named = {name for name, weight in weights.items() if isinstance(weight, Tensor) and weight.ndim > 1}
    inner = [name for name in named if not any(other.startswith(name + ".") for other in named)]

    def watcher(name: str) -> Callable[..., Tensor | None]:
        def hook(layer: nn.Module, inputs: tuple, output: Tensor) -> Tensor | None:
            keep(name, layer, inputs[0])
            return output.detach().clone() if cut else None  # a clone: the next layer may work in place

        return hook

    handles = [recipe.get_submodule(name).register_forward_hook(watcher(name)) for name in inner]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _signed(vectors: Tensor) -> Tensor:
    """Rows with their largest value positive: this fixes the sign of a direction, which is arbitrary."""
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return vectors * torch.where(largest < 0, -1.0, 1.0)
