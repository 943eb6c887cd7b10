"""Penalties as pure functions; each is an unweighted mean over the batch, which the caller multiplies by its weight.

`critic` maps (N, ...) samples to (N,) outputs. `draw` is `batch.draw`, which maps a sampler to this batch's random
numbers. Gradients are computed in float32 or wider, with autocast off: second derivatives in half precision are noise.
`PENALTIES` is the only list of penalties that fit any discriminator; to add one, write its function, add a row there,
and add its value to tests/test_penalties.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.nn import input_gradients_only, look, whole, widened
from gankit.nn.across import Draw

Critic = Callable[[Tensor], Tensor]


def _gradient(output: Tensor, at: Tensor) -> Tensor:
    """The derivative of a number w.r.t. an input, differentiable w.r.t. the parameters."""
    with input_gradients_only():
        (grad,) = torch.autograd.grad(output, at, create_graph=True)
        return grad


def _slopes(critic: Critic, at: Tensor) -> Tensor:
    """(N,) squared norms of each output's gradient w.r.t. its sample, differentiable w.r.t. the critic's parameters."""
    with torch.autocast(at.device.type, enabled=False):
        at = widened(at).detach().requires_grad_()
        return _gradient(critic(at).sum(), at).flatten(1).square().sum(1)


def _between(real: Tensor, fake: Tensor, draw: Draw) -> Tensor:
    """x + u (G(z) - x), one u ~ U(0, 1) for each sample."""
    u = draw(torch.rand).view(-1, *[1] * (real.dim() - 1))
    return real + u * (fake - real)


def _length(squares: Tensor) -> Tensor:
    """Square root whose derivative at 0 is 0 instead of infinite, for critics with a gradient of 0."""
    return torch.where(squares > 0, squares, 1).sqrt() * (squares > 0)


def wgan_gp(critic: Critic, real: Tensor, fake: Tensor, draw: Draw, target: float = 1.0) -> Tensor:
    """Gulrajani et al. 2017, eq. 3: E (|grad C(xhat)| - target)^2, xhat between real and fake; lambda is 10 there."""
    return (_length(_slopes(critic, _between(real, fake, draw))) - target).square().mean()


def wgan_gp_pixels(critic: Critic, real: Tensor, fake: Tensor, draw: Draw) -> Tensor:
    """Shaham et al. 2019 (SinGAN): E (|grad C(xhat)| - 1)^2 over pixels, |.| over channels; lambda is 0.1 there.

    `critic` maps (N, C, H, W) to a map of outputs; the gradient is that of their sum.
    """
    at = _between(real, fake, draw).detach().requires_grad_()
    with torch.autocast(at.device.type, enabled=False):
        return (_length(_gradient(critic(at).sum(), at).square().sum(1)) - 1).square().mean()


def zero_centred(critic: Critic, real: Tensor, fake: Tensor, draw: Draw) -> Tensor:
    """Thanh-Tung et al. 2019: E |grad C(xhat)|^2, xhat between real and fake."""
    return _slopes(critic, _between(real, fake, draw)).mean()


def dragan(critic: Critic, real: Tensor, draw: Draw, scale: float = 0.5) -> Tensor:
    """Kodali et al. 2017: E (|grad C(x + delta)| - 1)^2 around the reals; lambda is 10 there.

    delta = scale * std(reals of the batch) * U(0, 1), as in the authors' code; the paper's text says N(0, c).
    """
    look("dragan")
    noise = draw(lambda n: torch.rand(n, *real.shape[1:]))
    return (_length(_slopes(critic, real + scale * whole(real).std() * noise)) - 1).square().mean()


def r1(critic: Critic, real: Tensor) -> Tensor:
    """Mescheder et al. 2018, eq. 9: E |grad C(x)|^2; the caller multiplies by gamma / 2 (gamma is 10 there)."""
    return _slopes(critic, real).mean()


def r2(critic: Critic, fake: Tensor) -> Tensor:
    """Mescheder et al. 2018, eq. 10: E |grad C(G(z))|^2; the caller multiplies by gamma / 2."""
    return _slopes(critic, fake).mean()


def r1_r2(critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
    """R1 + R2, as in Huang et al. 2024 (R3GAN); the caller multiplies by gamma / 2."""
    return r1(critic, real) + r2(critic, fake)


def path_length(synthesis: Callable[[Tensor], Tensor], w: Tensor, draw: Draw) -> Tensor:
    """Karras et al. 2020, eq. 4: (N,) lengths |J_w^T y|, y ~ N(0, 1 / (H W)): the change of images per change of w.

    w is (N, w_dim), or (N, layers, w_dim), where lengths are the root mean square over layers, as in the authors' code.
    The caller computes the penalty, E (length - running mean)^2.
    """
    with torch.autocast(w.device.type, enabled=False):
        w = widened(w)
        w = w if w.requires_grad else w.detach().requires_grad_()
        images = synthesis(w)
        y = draw(lambda n: torch.randn(n, *images.shape[1:])) / images[0, 0].numel() ** 0.5
        return _length(_gradient((images * y).sum(), w).square().sum(-1).view(len(w), -1).mean(1))


PENALTIES: dict[str, Callable[[Critic, Tensor, Tensor, Draw], Tensor]] = {
    "wgan_gp": wgan_gp,
    "zero_centred": zero_centred,
    "dragan": lambda critic, real, fake, draw: dragan(critic, real, draw),
    "r1": lambda critic, real, fake, draw: r1(critic, real),
    "r2": lambda critic, real, fake, draw: r2(critic, fake),
    "r1_r2": lambda critic, real, fake, draw: r1_r2(critic, real, fake),
}
"""Every penalty that can be added to any discriminator's loss, by the name that `--penalty` takes."""


def orthogonal(module: nn.Module) -> Tensor:
    """Brock et al. 2019, eq. 3: sum of |W W^T off its diagonal|^2, where the rows of W (out, rest) are filters.

    The sum is over all weights of two or more dimensions except embeddings; beta is 1e-4 there.
    """

    def ids(kind: type[nn.Module]) -> set[int]:  # of parameters: spectral norm moves weights into its own modules
        return {id(p) for layer in module.modules() if isinstance(layer, kind) for p in layer.parameters()}

    total: Tensor | float = 0.0
    skipped, transposed = ids(nn.Embedding), ids(nn.ConvTranspose2d)
    for weight in module.parameters():
        if weight.dim() >= 2 and id(weight) not in skipped:
            rows = (weight.transpose(0, 1) if id(weight) in transposed else weight).flatten(1)
            gram = rows.T @ rows if len(rows) > rows.shape[1] else rows @ rows.T  # |W W^T| = |W^T W|: take the smaller
            total = total + gram.square().sum() - rows.square().sum(1).square().sum()
    return torch.as_tensor(total)


def lecam(real: Tensor, fake: Tensor, mean_real: Tensor, mean_fake: Tensor) -> Tensor:
    """Tseng et al. 2021 (LeCam), eq. 3, from (N,) outputs and the running means of the outputs on reals and on fakes.

    E max(0, C(x) - mean_fake)^2 + E max(0, mean_real - C(G(z)))^2; the max is in the authors' code, not in the paper.
    """
    return F.relu(real - mean_fake).square().mean() + F.relu(mean_real - fake).square().mean()


def historical(parameters: Iterable[Tensor], means: Iterable[Tensor]) -> Tensor:
    """Salimans et al. 2016, section 3.3 (historical averaging): |theta - mean of the past thetas|^2."""
    return torch.stack([(p - mean).square().sum() for p, mean in zip(parameters, means, strict=True)]).sum()


@torch.no_grad()
def clip_weights(module: nn.Module, c: float) -> None:
    """Arjovsky et al. 2017, algorithm 1, line 7: clamp all parameters to [-c, c], in place, after an update."""
    for parameter in module.parameters():
        parameter.clamp_(-c, c)
