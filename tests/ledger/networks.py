"""Readers of latents and labels, initial weights, normalization and dropout."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from itertools import groupby

import torch
from torch import Tensor, nn

from gankit.recipe import Recipe
from tests.ledger.built import ROWS, BuiltPreset
from tests.ledger.text import listed, number, rounded
from tests.ledger.trace import Trace


def noise(preset: BuiltPreset) -> str:
    """The dimension of a latent and the distribution of its numbers, measured on many samples."""
    if not hasattr(preset.built, "noise"):
        return "none"
    sides = preset.spec.shape[1:] if "height" in preset.kind.noise.__code__.co_varnames else ()
    width = preset.built.noise(1, *sides).shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        z = preset.built.noise(max(4, min(4096, 2_000_000 // width)), *sides).double()
    if len(z) < 256:
        return f"{number(width)} of {distribution(z)}"
    kinds = [family(column) for column in z.T]
    parts, start = [], 0
    for kind, group in groupby(kinds):
        size = len(list(group))
        block = z[:, start : start + size]
        is_one_hot = kind == "binary" and bool((block.sum(1) == 1).all())
        parts.append(f"one of {size}" if is_one_hot else f"{number(size)} of {distribution(block)}")
        start += size
    return ", ".join(parts)


def draws(preset: BuiltPreset) -> str:
    """Whether the updates of a step draw latents separately."""
    drawing = {update.label for update in preset.updates[0] if update.latents}
    return "drawn anew for each update" if len(drawing) > 1 else "the same for D and G"


def fake_labels(preset: BuiltPreset) -> str:
    """The labels of the fakes in D's update: those of the reals, or newly drawn ones."""
    with preset.calls(preset.small.d) as calls:
        preset.run()
    real = preset.batch(0, None, preset.settings.batch).label
    labels = [call.inputs[-1] for call in calls if call.inputs[-1].dtype == torch.int64 and call.inputs[-1].ndim == 1]
    if not labels:
        raise ValueError("its D is given no labels")
    are_equal = all(torch.equal(part, real) for label in labels for part in label.split(len(real)))
    return "those of the reals" if are_equal else "drawn anew"


def asked(preset: BuiltPreset) -> str:
    """A translator's target attributes in training: those of another image in the batch, up to added noise, or not."""
    with preset.calls(preset.small.g) as calls:
        preset.run(whole=ROWS)
    target, real = calls[0].inputs[-1].detach(), preset.batch(0, None, ROWS).attribute
    distance = (target[:, None] - real).abs().amax(2).amin(1).max()
    is_from_batch = distance <= preset.arguments.get("noise_width", 0) + 1e-6
    return "another image's of the same batch" if is_from_batch else "no image's of the batch"


def kept(preset: BuiltPreset, name: str) -> str:
    """Whether a buffer keeps its values from one step to the next."""
    preset.run(0, 1)
    before = preset.small.get_buffer(name).clone()
    preset.small.train()
    preset.run(preset.settings.batch, 1, enter=False)
    return "drawn once" if torch.equal(before, preset.small.get_buffer(name)) else "drawn anew in each step"


def keeps(preset: BuiltPreset, name: str) -> str:
    """The share that a running mean, stored as a buffer, keeps in a step; measured with a large initial value."""
    buffer = preset.small.get_buffer(name)
    before = buffer.clone()
    buffer.fill_(1e6)
    preset.run(idle=True)
    kept_share = buffer.double().mean().item() / 1e6
    buffer.copy_(before)
    return number(round(kept_share, 4))


def codes(preset: BuiltPreset) -> str:
    """The range of an encoder's output, measured with its last layer scaled by 1,000."""
    recipe = copy.deepcopy(preset.untrained).eval()
    with torch.no_grad():
        [layer for layer in recipe.e.modules() if isinstance(layer, nn.Linear)][-1].weight.mul_(1000)
        output = recipe.encode(preset.batch(0, None, preset.settings.batch).real)
    if output.abs().max() >= 10:
        return "unbounded"
    return f"[{number(round(output.min().item(), 2))}, {number(round(output.max().item(), 2))}]"


def family(x: Tensor) -> str:
    """The family of a sample by its values or its kurtosis: 1.8 for uniform, 3 for normal, 2.4 for truncated normal."""
    if ((x == 0) | (x == 1)).all() and x.std() > 0:
        return "binary"
    if x.std() < 1e-12:
        return "constant"
    kurtosis = ((x - x.mean()) / x.std(correction=0)).pow(4).mean()
    return "uniform" if kurtosis < 2.1 else "cut" if kurtosis < 2.65 else "normal"


def distribution(x: Tensor) -> str:
    """A sample's distribution and its constants."""
    kind, mean, deviation = family(x), x.mean().item(), x.std().item()
    if kind == "binary":
        return f"0 or 1, {number(round(1 - mean, 2))} of them 0"
    if kind == "constant":
        return number(round(mean, 6))
    if kind == "uniform":
        edges = (x.min().item(), x.max().item())
        low, high = (rounded(edge, 3) if abs(edge) > 0.002 * deviation else "0" for edge in edges)
        return f"U({low}, {high})"
    centre = round(mean, 1) if abs(mean) > 0.1 * deviation else 0.0
    if kind == "cut":
        return f"N({number(centre)}, {rounded(x.abs().max().item() / 2, 1)}^2) within two deviations"
    spread = rounded(deviation, 1)
    return f"N({number(centre)}, {spread if spread == '1' else spread + '^2'})"


def start_bias(preset: BuiltPreset) -> str:
    """Whether the initial biases of G's output are the logit of the first batch's mean."""
    batch = preset.batch(0, None, preset.settings.batch)
    preset.untrained.enter(0, batch)
    mean = (batch.real.flatten(1) + 1).mean(0) / 2
    logit = ((mean * batch.size + 0.5) / (batch.size + 1)).logit()
    if torch.allclose(preset.untrained.g.out.bias, logit, atol=1e-4):
        return "the logit of the first batch's mean, with one grey image"
    return "not the logit of the first batch's mean"


def init(preset: BuiltPreset, where: str, kind: str, unit: str = "") -> str:
    """The distribution of the initial weights of one class of layers in the small build.

    Args:
        preset: the model.
        where: a network, a module's path, or "all".
        kind: the name of the class or of one that it extends; "bias" for the biases of all layers, "gain" for the
            weights of normalization layers.
        unit: the factor applied to the weights first: "glorot" for sqrt((in + out) / 6), "inputs" for sqrt(in), "used"
            for sqrt(in) and the scale of an equalized layer; "orthogonal" tests for orthogonality; default: no factor.
    """
    tensors = [tensor for layer in layers(preset.untrained, where) for tensor in weights_of(layer, kind, unit)]
    if not tensors:
        raise ValueError(f"there is no {kind} in {where}")
    x = torch.cat([t.detach().double().flatten() for t in tensors])
    if unit == "orthogonal":
        rows = [t.detach().double().flatten(1) for t in tensors]
        grams = [w @ w.T if len(w) <= w.shape[1] else w.T @ w for w in rows]
        off = max((g - torch.eye(len(g), dtype=g.dtype)).abs().max().item() for g in grams)
        return "orthogonal" if off < 1e-4 else f"not orthogonal, by {off:.2g}"
    text, is_uniform = distribution(x), family(x) == "uniform"
    if unit == "glorot":
        bound = rounded(x.abs().max().item(), 3)
        return f"Glorot's uniform, times {bound}" if is_uniform else f"{text} / sqrt((in + out) / 6)"
    if unit in ("inputs", "used"):
        return f"{text} / sqrt(inputs)" if is_uniform else f"N(0, {float(f'{x.var():.1g}'):g} / inputs)"
    return text


def layers(recipe: Recipe, where: str) -> Iterator[nn.Module]:
    """The modules of a network; of the whole recipe for "all"."""
    return (recipe if where == "all" else recipe.get_submodule(where)).modules()


def weights_of(layer: nn.Module, kind: str, unit: str) -> Iterator[Tensor]:
    """The tensors of a layer that `init` measures, scaled by `unit`."""
    is_norm = isinstance(layer, (nn.modules.batchnorm._BatchNorm, nn.GroupNorm))
    weight, bias = own_weight(layer), layer._parameters.get("bias")
    if kind == "bias":
        if bias is not None and weight is not None:
            yield bias
    elif kind == "gain":
        if is_norm and weight is not None:
            yield weight
    elif weight is not None and kind in [c.__name__ for c in type(layer).mro()]:
        outputs, inputs = weight.shape[0], weight[0].numel()
        if isinstance(layer, nn.ConvTranspose2d):
            outputs, inputs = weight.shape[1] * weight[0, 0].numel(), weight[0].numel()
        elif weight.ndim > 2:
            outputs *= weight[0, 0].numel()
        if unit == "used":
            yield weight * layer.scale * inputs**0.5
        else:
            yield weight * {"glorot": ((inputs + outputs) / 6) ** 0.5, "inputs": inputs**0.5}.get(unit, 1.0)


def own_weight(layer: nn.Module) -> Tensor | None:
    """The parameter behind a layer's weight, also under spectral normalization."""
    if "parametrizations" in layer._modules:
        return layer.parametrizations.weight.original
    return layer._parameters.get("weight")


def norms(preset: BuiltPreset, where: str = "all") -> str:
    """The normalization layers of a network with their eps."""
    texts = dict.fromkeys(text for layer in layers(preset.built, where) if (text := norm_of(layer)))
    return ", ".join(texts) or "none"


def norm_of(layer: nn.Module) -> str:
    """A normalization layer in words; empty for other layers."""
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        return f"batch norm, eps {number(layer.eps)}"
    if isinstance(layer, nn.GroupNorm):
        name = {layer.num_channels: "instance norm", 1: "layer norm"}.get(layer.num_groups, "group norm")
        return f"{name}, eps {number(layer.eps)}"
    return ""


def running(preset: BuiltPreset, where: str) -> str:
    """The momentum of a network's running statistics."""
    momenta = [norm.momentum for norm in batch_norms(layers(preset.built, where)) if norm.track_running_stats]
    return " and ".join(dict.fromkeys(map(number, momenta))) or "none"


def batch_norms(modules: Iterable[nn.Module]) -> list[nn.modules.batchnorm._BatchNorm]:
    """The batch normalization layers among modules."""
    return [module for module in modules if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def power_iterations(preset: BuiltPreset) -> str:
    """How many power iterations the spectral norm of D's last weight makes in a step of all optimizers."""
    layer = [m for m in preset.small.d.modules() if "parametrizations" in m._modules][-1].parametrizations.weight[0]
    with preset.calls(layer) as calls:
        preset.run()
    return str(len(calls))


def eps(preset: BuiltPreset, kind: str) -> str:
    """The eps of a normalization layer without that attribute, measured with a pattern of deviation 0.001."""
    layer = copy.deepcopy(module_of(preset.untrained, kind)).double()
    weight, deviation = own_weight(layer), 1e-3
    gain, channels = (1.0, 4) if weight is None else (weight[0].item(), weight.numel())
    pattern = deviation * torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64).expand(2, channels, 2, 2)
    with torch.no_grad():
        output = layer(pattern)[0, 0, 0, 0].item()
    return f"eps {rounded(deviation**2 * ((gain / output) ** 2 - 1), 2)}"


def mode(preset: BuiltPreset, net: str, phase: str) -> str:
    """Which statistics a network's batch norms use in a phase of training."""
    preset.small.train()
    preset.run(preset.phases[int(phase)])
    return "the batch's statistics" if preset.small.get_submodule(net).training else "running statistics"


def module_of(recipe: Recipe, kind: str) -> nn.Module:
    """The first module of a class. Raises ValueError where the recipe has none."""
    for layer in recipe.modules():
        if type(layer).__name__ == kind:
            return layer
    raise ValueError(f"there is no {kind}")


def module(preset: BuiltPreset, kind: str, name: str) -> str:
    """An attribute of the first module of a class: "module MinibatchStddev group"."""
    return listed(getattr(module_of(preset.built, kind), name))


def dropout(preset: BuiltPreset, where: str) -> str:
    """The dropout rates of a network, in the order of its layers."""
    dropouts = [layer for layer in layers(preset.built, where) if isinstance(layer, nn.modules.dropout._DropoutNd)]
    return ", ".join(map(number, dict.fromkeys(layer.p for layer in dropouts if layer.p))) or "none"


def statistics(preset: BuiltPreset, *nets: str) -> str:
    """Which statistics batch norms use in a trained model, and whether all of it is in evaluation mode."""
    with Trace(preset.small, preset.plain_settings).averaged() as recipe:
        if any(module.training for module in recipe.modules()):
            return "in training mode"
    norms = batch_norms(module for net in nets for module in layers(preset.built, net))
    if not norms:
        return "no statistics of a batch"
    return "running statistics" if all(m.track_running_stats for m in norms) else "each image's own statistics"


READERS = (
    noise, draws, fake_labels, asked, kept, keeps, codes,
    init, start_bias,
    norms, running, power_iterations, eps, mode, module, dropout, statistics,
)  # fmt: skip
