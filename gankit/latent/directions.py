"""Directions in which pictures change: found in the weights, in many latents, or beside others."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gankit.latent.space import generate
from gankit.recipe import Recipe

CHUNK = 2**25  # numbers of float64 in one array of `sefa`
LONGEST = 10_000  # numbers in a latent, for `sefa`


class Directions(NamedTuple):
    """Directions in the space of a model's points.

    Args:
        vectors: (K, D) of length 1, the most important first.
        scale: (K,) how far one unit of strength goes along each: the latents' standard deviation there.
        share: (K,) the share of the variance, or of the change, that each explains.
    """

    vectors: Tensor
    scale: Tensor
    share: Tensor


def move(points: Tensor, direction: Tensor, by: float, layers: Sequence[int] | None = None) -> Tensor:
    """Points (N, D) or (N, num_ws, D) moved by `by` times a direction (D,), styles in some layers or in all."""
    if points.ndim == 2 or layers is None:
        return points + by * direction
    moved = points.clone()
    moved[:, list(layers)] += by * direction
    return moved


def project_out(direction: Tensor, others: Tensor) -> Tensor:
    """What is left of a direction (D,) at right angles to all others (K, D), of length 1: to move along it keeps theirs.

    Source: Shen, Gu, Tang & Zhou, "Interpreting the Latent Space of GANs for Semantic Face Editing", CVPR 2020, section
    3.2, conditional manipulation.

    Raises:
        ValueError: nothing is left.
    """
    basis = torch.linalg.qr(others.double().T).Q
    left = direction.double() - basis @ (basis.T @ direction.double())
    if left.norm() < 1e-6 * direction.norm():
        raise ValueError("nothing is left of this direction without the others: they say the same")
    return (left / left.norm()).to(direction)


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
    """Directions that change most what the layers give that a latent meets first: eigenvectors of A^T A.

    A is all those layers' weights, one below the other. Where something that is not linear lies between the latent and a
    layer, as PixelNorm does, A is the derivative instead, and A^T A its mean over the points.

    Source: Shen & Zhou, "Closed-Form Factorization of Latent Semantics in GANs", CVPR 2021, eq. 5 to 7.

    Args:
        recipe: the model.
        points: (N, D) or (N, num_ws, D); a few.
        given: (N,) labels or None.
        count: how many directions.
        layers: of styles, the layers to look at; all without it.

    Raises:
        ValueError: latents are too long for it, or no layer takes them.
    """
    if points.shape[-1] > LONGEST:
        raise ValueError(
            f"SeFa's matrix has a side as long as a latent, {points.shape[-1]:,} numbers here; {LONGEST:,} are the most"
        )
    exact = copy.deepcopy(recipe).double().requires_grad_(False).eval()
    latent = points.double().detach().requires_grad_()
    total = torch.zeros(points.shape[-1], points.shape[-1], dtype=torch.float64, device=points.device)
    with torch.enable_grad():
        for _, layer, x in met(exact, latent, given):
            x_rows, shape = x.flatten(1), x.shape[1:]
            wide = x_rows.shape[1]
            with torch.no_grad():
                outputs = layer(torch.zeros_like(x[:1])).numel()
            some = max(1, CHUNK // max(outputs, x_rows.numel(), latent.numel()))
            for begin in range(0, wide, some):  # a few of the layer's inputs at once: all its weights can be gigabytes
                rows = torch.arange(begin, min(begin + some, wide), device=x.device)
                one_hot = (rows[:, None] == torch.arange(wide, device=x.device)).to(x_rows)
                zero = torch.zeros(len(rows), *shape).to(x_rows).requires_grad_()
                at_zero = layer(zero)
                with torch.no_grad():
                    answer = layer(one_hot.unflatten(1, shape)) - at_zero  # rows of the weights
                (inner,) = torch.autograd.grad(at_zero, zero, answer)  # these rows times all rows
                one, other = (_back(x_rows, latent, down, layers) for down in (one_hot, inner.flatten(1)))
                total += one.flatten(0, 1).T @ other.flatten(0, 1) / len(points)
    values, vectors = torch.linalg.eigh(total)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1).T
    count = min(count, len(values))
    share = values / values.sum()
    return Directions(_signed(vectors[:count]), torch.ones_like(share[:count]), share[:count])


def _back(x: Tensor, latent: Tensor, down: Tensor, layers: Sequence[int] | None) -> Tensor:
    """(K, N, D) rows `down` (K, inputs) times the derivative of x (N, inputs) by latents, summed over chosen layers."""
    (slopes,) = torch.autograd.grad(
        x, latent, down[:, None].expand(-1, *x.shape), is_grads_batched=True, retain_graph=True
    )
    return slopes if slopes.ndim == 3 else (slopes if layers is None else slopes[:, :, list(layers)]).sum(2)


def ganspace(recipe: Recipe, points: Tensor, given: Tensor | None, count: int, batch: int = 64) -> Directions:
    """Principal components of w; for models without, of the first hidden maps, brought back to z by least squares.

    Source: Harkonen, Hertzmann, Lehtinen & Paris, "GANSpace: Discovering Interpretable GAN Controls", NeurIPS 2020,
    section 2. The maps are those that the first layer sees which the latent does not meet itself: behind the first
    layer's norm and ReLU, where components need not be those of z.

    Args:
        recipe: the model.
        points: (N, D) or (N, num_ws, D); thousands.
        given: (N,) labels or None.
        count: how many directions.
        batch: latents that go through the network at once.
    """
    if points.ndim == 3:
        return pca(points[:, 0], count)[1]
    parts = [None] * len(points) if given is None else given.split(batch)
    maps = torch.cat([hidden(recipe, z, rows) for z, rows in zip(points.split(batch), parts)])
    mean, found = pca(maps, count)
    coordinates = (maps.double() - mean) @ found.vectors.T / found.scale
    back = torch.linalg.lstsq(coordinates, points.double() - points.double().mean(0)).solution  # (K, D)
    length = back.norm(dim=1)
    return Directions(back / length[:, None], length, found.share)


def met(recipe: Recipe, points: Tensor, given: Tensor | None = None) -> list[tuple[str, nn.Module, Tensor]]:
    """Layers that points reach through no other layer: name, layer and what it is given, with its gradient to the points.

    Raises:
        ValueError: the model has no linear layer or convolution that takes its latent.
    """
    found: list[tuple[str, nn.Module, Tensor]] = []

    def seen(name: str, layer: nn.Module, x: Tensor) -> None:
        if (
            x.requires_grad
            and torch.autograd.grad(x.sum(), latent, retain_graph=True, allow_unused=True)[0] is not None
        ):
            found.append((name, layer, x))

    latent = points if points.requires_grad else points.detach().requires_grad_()
    with torch.enable_grad(), _watched(recipe, seen, cut=True):
        generate(recipe, latent, given)
    if not found:
        raise ValueError(f"{type(recipe).__name__} has no linear layer or convolution that takes its latent")
    return found


def hidden(recipe: Recipe, points: Tensor, given: Tensor | None = None) -> Tensor:
    """(N, M) what the first layer is given that the points do not meet themselves, in float32 on the CPU."""
    own = {name for name, _, _ in met(recipe, points[:1], None if given is None else given[:1])}
    found: list[Tensor] = []

    def seen(name: str, layer: nn.Module, x: Tensor) -> None:
        if name not in own and len(x) == len(points) and x.is_floating_point():
            found.append(x.flatten(1).float().cpu())

    with torch.no_grad(), _watched(recipe, seen):
        generate(recipe, points, given)
    if not found:
        raise ValueError(f"{type(recipe).__name__} has no second layer, whose maps could be looked at")
    return found[0]


@contextmanager
def _watched(recipe: Recipe, seen: Callable[[str, nn.Module, Tensor], None], cut: bool = False) -> Iterator[None]:
    """Tell `seen(name, layer, its first input)` of every layer with a matrix of weights; `cut` ends gradients behind it."""
    weights = {name: getattr(m, "weight", None) for name, m in recipe.named_modules()}
    named = {name for name, weight in weights.items() if isinstance(weight, Tensor) and weight.ndim > 1}
    inner = [name for name in named if not any(other.startswith(name + ".") for other in named)]

    def watcher(name: str) -> Callable[..., Tensor | None]:
        def hook(layer: nn.Module, inputs: tuple, output: Tensor) -> Tensor | None:
            seen(name, layer, inputs[0])
            return output.detach().clone() if cut else None  # a clone: what follows may work in place

        return hook

    handles = [recipe.get_submodule(name).register_forward_hook(watcher(name)) for name in inner]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _signed(vectors: Tensor) -> Tensor:
    """Each row with its largest number positive: the sign of a direction is free, so that it is fixed here."""
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return vectors * torch.where(largest < 0, -1.0, 1.0)
