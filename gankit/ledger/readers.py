"""Readers: each looks at one quantity of a built model and says it in a few words, which stand beside the paper's.

A row's `read` names a reader and its words, as in "loss d" or "argument hold fade"; see `READERS`.
"""

from __future__ import annotations

import copy
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from gankit.ledger.reading import ROWS, Reading, Term, Trace, Update
from gankit.recipe import Recipe

NAMES = {
    "cross_entropy_d": "-log D(x) - log(1 - D(G(z)))",
    "non_saturating_g": "-log D(G(z))",
    "minimax_g": "log(1 - D(G(z)))",
    "least_squares_d": "[(D(x) - b)^2 + (D(G(z)) - a)^2] / 2",
    "least_squares_g": "(D(G(z)) - c)^2 / 2",
    "hinge_d": "max(0, 1 - D(x)) + max(0, 1 + D(G(z)))",
    "critic_g": "-D(G(z))",
    "wasserstein_d": "D(G(z)) - D(x)",
    "relativistic_d": "-log sigma(D(x) - D(G(z)))",
    "relativistic_g": "-log sigma(D(G(z)) - D(x))",
    "wgan_gp": "(|grad D| - 1)^2",
    "wgan_gp_pixels": "(|grad D| - 1)^2 of each pixel",
    "r1": "|grad D(x)|^2",
    "orthogonal": "|W W^T off its diagonal|^2",
    "cross_entropy": "cross-entropy of the class",
    "bernoulli_nll": "binary cross-entropy, summed",
    "gaussian_kl": "KL",
    "kl": "KL",
    "map_cross_entropy": "cross-entropy of the pixels",
    "mse_loss": "mean square",
    "units": "mean square of the units",
}
"""What stands for a function of `gankit.losses` or `gankit.penalties`, or for a logged number, in a loss."""
ROOTS = {
    "mean softplus neg": "-log D",
    "mean softplus view": "-log(1 - D)",
    "mean softplus": "-log(1 - D)",
    "mean abs sub": "L1",
}
ROOTS |= {"mean pow sub": "mean square", "mean mean pow sub": "mean square", "mean mean view pow": "mean square"}
ROOTS |= {
    "mean sum pow": "square, summed",
    "mean convolution leakyrelu": "D(G(z))",
    "mean sum view pow": "squares of differences, summed",
}
ROOTS |= {"mean sigmoid": "mean of the mask"}
"""The same for numbers that the loss function computes itself, by the operations that end in them."""


# Text ----------------------------------------------------------------------------------------------------------------


def number(value: float) -> str:
    """A number as the ledger writes it: four digits, thousands of whole ones apart."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if float(value).is_integer() and abs(value) >= 1000:
        return f"{int(value):,}"
    short = f"{value:.4g}"
    return short if float(short) == value or len(repr(value)) > 9 else repr(value)


def listed(value: object) -> str:
    """An argument or a setting."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(number, value)) if isinstance(value, (tuple, list)) else number(value)


def grouped(values: dict[str, str]) -> str:
    """What is said of several optimizers or networks: once where they agree, else by name, without level numbers."""
    by_name = {re.sub(r"\d+$", "", name): text for name, text in values.items()}
    by_name = by_name if len({*values.values()}) == len({*by_name.values()}) else values
    if len({*by_name.values()}) == 1:
        return next(iter(by_name.values()))
    return ", ".join(f"{name} {text}" for name, text in by_name.items())


# Optimizers ----------------------------------------------------------------------------------------------------------


def optimizer(r: Reading) -> str:
    """The optimizers' classes."""
    return grouped({name: type(opt).__name__ for name, opt in r.built.opt.items()})


def rates(r: Reading, *words: str) -> str:
    """Learning rates as the optimizers are made with; of some, "of g1 d1"."""
    _, names = before_of(words)
    return grouped(
        {name: number(opt.param_groups[0]["lr"]) for name, opt in r.built.opt.items() if not names or name in names}
    )


def before_of(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words before "of", and those after it."""
    at = words.index("of") if "of" in words else len(words)
    return words[:at], words[at + 1 :]


def constants(r: Reading, *words: str) -> str:
    """Constants of the optimizers, or of some: the named keys of their groups, such as betas, alpha, eps and weight_decay."""
    keys, names = before_of(words)

    def said(opt: torch.optim.Optimizer) -> str:
        named = []
        for key in (key for key in keys if key in opt.defaults):
            values = [group[key] for group in opt.param_groups]
            texts = dict.fromkeys(
                f"({', '.join(map(number, v))})" if isinstance(v, tuple) else number(v) for v in values
            )
            named.append(f"{key.replace('_', ' ')} {' and '.join(texts)}")
        return ", ".join(named) or "none"

    return grouped({name: said(opt) for name, opt in r.built.opt.items() if not names or name in names})


# Steps ---------------------------------------------------------------------------------------------------------------


def batch(r: Reading) -> str:
    """Images in a step, and the latents of each update where they are more or fewer."""
    sizes: dict[int, int] = {}
    for images in r.phases.values():
        phase = r.built.phase(images)
        sizes[phase.resolution or 0] = phase.batch or r.settings.batch
    if len({*sizes.values()}) > 1:
        runs = [(size, [side for side, _ in group]) for size, group in groupby(sizes.items(), lambda item: item[1])]
        return ", ".join(f"{size} from {sides[0]} px" for size, sides in runs)
    size = next(iter(sizes.values()))
    latents = {update.label: update.latents for update in r.updates[0] if update.latents}
    if len({*latents.values()}) < 2:  # of equal numbers in all updates: one or, for mixing, two for each image
        return number(size)
    return f"{number(size)}, latents of " + ", ".join(
        f"{label} {count}" for label, count in latents.items() if count != size
    )


def judged(r: Reading, net: str) -> str:
    """How many images a discriminator judges in each update of the first step: reals and fakes in its own, fakes in G's."""
    with r.calls(r.small.get_submodule(net)) as calls:
        updates = r.run()
    share = r.settings.batch / min(ROWS, r.settings.batch)
    rows = [sum(len(call.inputs[0]) for call in calls if call.updates == i) for i in range(len(updates))]
    return ", ".join(f"{kind_of(update)} {number(round(count * share))}" for update, count in zip(updates, rows))


def order(r: Reading, *phases: str) -> str:
    """The optimizers in the order of their updates, phase after phase, or in some phases, and in which batches."""
    said = [order_of(updates) for index, updates in r.updates.items() if not phases or str(index) in phases]
    return "; then ".join(text for text, _ in groupby(said))


def order_of(updates: list[Update]) -> str:
    """The same of one phase's updates."""
    by_step = {step: [kind_of(u) for u in group] for step, group in groupby(updates, lambda update: update.step)}
    labels = dict.fromkeys([*max(by_step.values(), key=len), *(kind_of(update) for update in updates)])
    first, parts = min(by_step), []
    for label in labels:
        counts = {step: found.count(label) for step, found in by_step.items() if label in found}
        text = label if max(counts.values()) == 1 else f"{label} {max(counts.values())} times"
        if len(counts) < len(by_step):
            text += " in batches {}, {} ...".format(*(step - first + 1 for step in list(counts)[:2]))
        parts.append(text)
    return ", ".join(parts)


def kind_of(update: Update) -> str:
    """An update's label without the number of a level or stage."""
    return re.sub(r"\d+$", "", update.label)


def loss(r: Reading, *words: str) -> str:
    """What the loss of an optimizer, by its update's label, is made of, with factors."""
    wanted = " ".join(words)
    for updates in r.updates.values():
        for update in updates:
            for name, terms in update.terms.items():
                if wanted == (name if " and " in update.label else update.label):
                    return summed(terms)
    raise ValueError(
        f"there is no update {wanted!r}; there are {', '.join({u.label for us in r.updates.values() for u in us})}"
    )


def summed(terms: list[Term]) -> str:
    """Summands as a formula."""
    text = ""
    for (name, weight), times in Counter((spelled(t.name), float(f"{t.weight:.4g}")) for t in terms).items():
        sign = "-" if weight < 0 else "+"
        factor = "" if abs(weight) == 1 else f"{number(abs(weight))} "
        name = (
            name
            if factor == "" or re.fullmatch(r"[\w.]+( [\w.]+)*|.*\)\^2|\|.*\|\^2|\[.*\]|\(.*\)", name)
            else f"({name})"
        )
        text += f" {sign} {factor}{name}" + (f" ({times} times)" if times > 1 else "")
    return text.removeprefix(" + ").strip()


def spelled(name: str) -> str:
    """A term's name in words."""
    return NAMES.get(name) or ROOTS.get(name) or name.replace("_", " ")


# Noise and first weights ---------------------------------------------------------------------------------------------


def noise(r: Reading) -> str:
    """How many random numbers make a sample, and of what distribution, by drawing many."""
    if not hasattr(r.built, "noise"):
        return "none"
    sides = r.spec.shape[1:] if "height" in r.kind.noise.__code__.co_varnames else ()
    width = r.built.noise(1, *sides).shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        z = r.built.noise(max(4, min(4096, 2_000_000 // width)), *sides).double()
    if len(z) < 256:
        return f"{number(width)} of {distribution(z)}"
    kinds = [family(column) for column in z.T]
    parts, at = [], 0
    for kind, group in groupby(kinds):
        size = len(list(group))
        block = z[:, at : at + size]
        one_hot = kind == "binary" and bool((block.sum(1) == 1).all())
        parts.append(f"one of {size}" if one_hot else f"{number(size)} of {distribution(block)}")
        at += size
    return ", ".join(parts)


def family(x: Tensor) -> str:
    """The family that numbers are from, by their values or their kurtosis: 1.8 is uniform, 3 normal, 2.4 normal and cut."""
    if ((x == 0) | (x == 1)).all() and x.std() > 0:
        return "binary"
    if x.std() < 1e-12:
        return "constant"
    kurtosis = ((x - x.mean()) / x.std(correction=0)).pow(4).mean()
    return "uniform" if kurtosis < 2.1 else "cut" if kurtosis < 2.65 else "normal"


def distribution(x: Tensor) -> str:
    """A distribution and its constants, as the numbers drawn from it show them."""
    kind, mean, deviation = family(x), x.mean().item(), x.std().item()
    if kind == "binary":
        return f"0 or 1, {number(round(1 - mean, 2))} of them 0"
    if kind == "constant":
        return number(round(mean, 6))
    if kind == "uniform":
        low, high = (
            float(f"{edge:.3g}") if abs(edge) > 0.002 * deviation else 0.0 for edge in (x.min().item(), x.max().item())
        )
        return f"U({number(low)}, {number(high)})"
    centre = round(mean, 1) if abs(mean) > 0.1 * deviation else 0.0
    if kind == "cut":
        return f"N({number(centre)}, {number(float(f'{x.abs().max() / 2:.1g}'))}^2) within two deviations"
    spread = number(float(f"{deviation:.1g}"))
    return f"N({number(centre)}, {spread if spread == '1' else spread + '^2'})"


def draws(r: Reading) -> str:
    """Whether each update of a step has latents of its own."""
    own = {update.label for update in r.updates[0] if update.latents}
    return "drawn anew for each update" if len(own) > 1 else "the same for D and G"


def fake_labels(r: Reading) -> str:
    """The classes that fakes are drawn for in D's turn: the reals' beside them, or others."""
    with r.calls(r.small.d) as calls:
        r.run()
    real = r.batch(0, None, r.settings.batch).label
    labels = [call.inputs[-1] for call in calls if call.inputs[-1].dtype == torch.int64 and call.inputs[-1].ndim == 1]
    if not labels:
        raise ValueError("its D is given no labels")
    alike = all(torch.equal(part, real) for label in labels for part in label.split(len(real)))
    return "those of the reals" if alike else "drawn anew"


def asked(r: Reading) -> str:
    """What attributes a translator is asked for in training: whether each row's are, but for noise, another one's of the batch."""
    with r.calls(r.small.g) as calls:
        r.run(whole=ROWS)
    wanted, real = calls[0].inputs[-1].detach(), r.batch(0, None, ROWS).attribute
    near = (wanted[:, None] - real).abs().amax(2).amin(1)
    return (
        "another image's of the same batch"
        if near.max() <= r.arguments.get("noise_width", 0) + 1e-6
        else "no image's of the batch"
    )


def kept(r: Reading, name: str) -> str:
    """Whether a buffer stays as it is from one step to the next."""
    r.run(0, 1)
    before = r.small.get_buffer(name).clone()
    r.small.train()
    r.run(r.settings.batch, 1, enter=False)
    return "drawn once" if torch.equal(before, r.small.get_buffer(name)) else "drawn anew in each step"


def keeps(r: Reading, name: str) -> str:
    """What a running mean, a buffer, keeps of itself in a step: measured from a large number."""
    buffer = r.small.get_buffer(name)
    before = buffer.clone()
    buffer.fill_(1e6)
    r.run(idle=True)
    kept_share = buffer.double().mean().item() / 1e6
    buffer.copy_(before)
    return number(round(kept_share, 4))


def mode(r: Reading, net: str, phase: str) -> str:
    """Which statistics a network's norms go by in a phase of training."""
    r.small.train()
    r.run(r.phases[int(phase)])
    return "the batch's statistics" if r.small.get_submodule(net).training else "running statistics"


def codes(r: Reading) -> str:
    """The range of what an encoder gives, with a last layer that is made a thousand times as large."""
    recipe = copy.deepcopy(r.first).eval()
    with torch.no_grad():
        [layer for layer in recipe.e.modules() if isinstance(layer, nn.Linear)][-1].weight.mul_(1000)
        found = recipe.encode(r.batch(0, None, r.settings.batch).real)
    return (
        f"[{number(round(found.min().item(), 2))}, {number(round(found.max().item(), 2))}]"
        if found.abs().max() < 10
        else "unbounded"
    )


def start_bias(r: Reading) -> str:
    """The biases of G's output before the first step, compared with the logit of the mean of the first batch."""
    batch = r.batch(0, None, r.settings.batch)
    r.first.enter(0, batch)
    mean = (batch.real.flatten(1) + 1).mean(0) / 2
    wanted = ((mean * batch.size + 0.5) / (batch.size + 1)).logit()
    alike = torch.allclose(r.first.g.out.bias, wanted, atol=1e-4)
    return (
        "the logit of the first batch's mean, with one grey image"
        if alike
        else "not the logit of the first batch's mean"
    )


def init(r: Reading, where: str, kind: str, unit: str = "") -> str:
    """First weights of the layers of a class in a network of the small build, measured.

    Args:
        r: the model.
        where: a network, "all", or a path of modules.
        kind: the class's name, or "bias" for the biases of all layers, "gain" for those of norms.
        unit: what weights are multiplied by before: "glorot" sqrt((in + out) / 6), "inputs" sqrt(in), none, or "used" for
            what an equalised layer multiplies them by itself, and sqrt(in).
    """
    tensors = [tensor for layer in layers(r.first, where) for tensor in weights_of(layer, kind, unit)]
    if not tensors:
        raise ValueError(f"there is no {kind} in {where}")
    x = torch.cat([t.detach().double().flatten() for t in tensors])
    if unit == "orthogonal":
        rows = [t.detach().double().flatten(1) for t in tensors]
        grams = [w @ w.T if len(w) <= w.shape[1] else w.T @ w for w in rows]
        off = max((g - torch.eye(len(g), dtype=g.dtype)).abs().max().item() for g in grams)
        return "orthogonal" if off < 1e-4 else f"not orthogonal, by {off:.2g}"
    said = distribution(x)
    if unit == "glorot":
        bound = float(f"{x.abs().max():.3g}")
        return (
            f"Glorot's uniform, times {number(bound)}" if family(x) == "uniform" else f"{said} / sqrt((in + out) / 6)"
        )
    if unit in ("inputs", "used"):
        return f"{said} / sqrt(inputs)" if family(x) == "uniform" else f"N(0, {float(f'{x.var():.1g}'):g} / inputs)"
    return said


def layers(recipe: Recipe, where: str) -> Iterator[nn.Module]:
    """The modules of a network; "all" for those of the recipe."""
    return (recipe if where == "all" else recipe.get_submodule(where)).modules()


def weights_of(layer: nn.Module, kind: str, unit: str) -> Iterator[Tensor]:
    """A layer's first weights, or its bias or gain, as `init` wants them."""
    normed = isinstance(layer, (nn.modules.batchnorm._BatchNorm, nn.GroupNorm))
    weight, bias = own_weight(layer), layer._parameters.get("bias")
    if kind == "bias":
        if bias is not None and weight is not None:
            yield bias
    elif kind == "gain":
        if normed and weight is not None:
            yield weight
    elif type(layer).__name__.removeprefix("Parametrized") == kind and weight is not None:
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
    """The parameter behind a layer's weight, also where spectral norm computes what is used."""
    if "parametrizations" in layer._modules:
        return layer.parametrizations.weight.original
    return layer._parameters.get("weight")


# Norms ---------------------------------------------------------------------------------------------------------------


def norms(r: Reading, where: str = "all") -> str:
    """The normalisations of a network, with what is added to the variance."""
    found = dict.fromkeys(text for layer in layers(r.built, where) if (text := norm_of(layer)))
    return ", ".join(found) or "none"


def norm_of(layer: nn.Module) -> str:
    """What a norm does, or nothing for other layers."""
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        return f"batch norm, eps {number(layer.eps)}"
    if isinstance(layer, nn.GroupNorm):
        name = {layer.num_channels: "instance norm", 1: "layer norm"}.get(layer.num_groups, "group norm")
        return f"{name}, eps {number(layer.eps)}"
    return ""


def running(r: Reading, where: str) -> str:
    """The share of a batch in a network's running statistics, where there are any."""
    found = [
        m for m in layers(r.built, where) if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
    ]
    return " and ".join(dict.fromkeys(number(norm.momentum) for norm in found)) or "none"


def power_iterations(r: Reading) -> str:
    """How often a step of all optimizers moves the power iteration of D's last weight on."""
    layer = [m for m in r.small.d.modules() if "parametrizations" in m._modules][-1].parametrizations.weight[0]
    with r.calls(layer) as calls:
        r.run()
    return str(len(calls))


def eps(r: Reading, kind: str) -> str:
    """What a norm of ours adds to the variance, from how it treats a pattern whose deviation is a thousandth."""
    layer = copy.deepcopy(module_of(r.first, kind)).double()
    size, channels = 1e-3, (own_weight(layer).numel() if own_weight(layer) is not None else 4)
    pattern = size * torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64).expand(2, channels, 2, 2)
    with torch.no_grad():
        out, gain = layer(pattern), 1.0 if own_weight(layer) is None else own_weight(layer)[0].item()
    return f"eps {number(float(f'{size**2 * ((gain / out[0, 0, 0, 0].item()) ** 2 - 1):.2g}'))}"


def module_of(recipe: Recipe, kind: str) -> nn.Module:
    """The first module of a class. Raises ValueError: there is none."""
    found = next((layer for layer in recipe.modules() if type(layer).__name__ == kind), None)
    if found is None:
        raise ValueError(f"there is no {kind}")
    return found


def module(r: Reading, kind: str, name: str) -> str:
    """An attribute of the first module of a class, such as the group of MinibatchStddev."""
    return listed(getattr(module_of(r.built, kind), name))


def dropout(r: Reading, where: str) -> str:
    """The shares that a network's dropout leaves out, the first layer's first."""
    rates = dict.fromkeys(
        layer.p for layer in layers(r.built, where) if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p
    )
    return ", ".join(map(number, rates)) or "none"


# Schedules -----------------------------------------------------------------------------------------------------------


def schedule(r: Reading, key: str = "lr") -> str:
    """How an optimizer's number moves over the run, from steps at 9 places of it, in words where the curve has a name."""
    said = {}
    shares = [i / 8 for i in range(9)]
    curves = r.curve(key, tuple(int(share * r.length) for share in shares))
    early = r.curve(key, tuple(n * r.settings.batch for n in (0, 1000, 10_000)))
    for name, values in curves.items():
        first = values[0]
        said[name] = shape_of(shares, [v / first for v in values], [v / first for v in early[name]])
    return grouped(said)


def shape_of(shares: list[float], curve: list[float], early: list[float]) -> str:
    """A curve in words: of the share of the run, or of batches, at 0, 1,000 and 10,000 of which `early` has it."""

    def like(values: list[float]) -> bool:
        return all(math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-3) for a, b in zip(curve, values))

    if like([1.0] * len(curve)) and early[-1] == early[0]:
        return "constant"
    end = curve[-1]
    if like([end + (1 - end) * 0.5 * (1 + math.cos(math.pi * s)) for s in shares]):
        return f"half a cosine to {number(end)} of it at the end"
    if end < 1e-6 and curve[-2] > 0:
        flat = 1 - 1 / 8 / curve[-2]
        if like([min(1.0, (1 - s) / (1 - flat)) for s in shares]):
            return (
                "on a line to 0 at the end"
                if abs(flat) < 1e-3
                else f"constant, after {number(round(flat, 3))} of the run on a line to 0"
            )
    if 0 < early[1] < 1:
        by_batch = early[1] ** (-1 / 1000)
        if math.isclose(early[2], by_batch**-10_000, rel_tol=1e-3):
            return f"divided by {by_batch:.7g} after each batch"
        share = (1 / early[1] - 1) / 1000
        if math.isclose(1 / early[2] - 1, 10_000 * share, rel_tol=1e-3):
            return f"divided by 1 + {number(share)} n after n batches"
    return "at 0, 1/4, 1/2, 3/4 and all of the run " + ", ".join(number(curve[i]) for i in (0, 2, 4, 6, 8)) + " of it"


def at(r: Reading, key: str, *words: str) -> str:
    """A number of the optimizers, or of some, in the steps after so many images."""
    images, names = before_of(words)
    values = r.curve(key, tuple(int(n.replace("_", "")) for n in images))
    return grouped(
        {name: ", ".join(map(number, numbers)) for name, numbers in values.items() if not names or name in names}
    )


def phase_begins(r: Reading, index: str) -> str:
    """After how many images the phase of this number begins; "last" for the last one."""
    return number(r.begin(max(r.phases) if index == "last" else int(index)))


# The run -------------------------------------------------------------------------------------------------------------


def averaging(r: Reading, batches: str = "") -> str:
    """The half-life of averaged weights in images; with a number what an average keeps of itself in so many batches."""
    if not r.settings.ema or not r.built.ema:
        return "none"
    if not batches:
        return f"half-life {number(r.settings.ema)} images"
    return f"{0.5 ** (int(batches) * r.settings.batch / r.settings.ema):.4g} a step"


def averaging_after(r: Reading, images: str) -> str:
    """The half-life of averages after so many images, measured: how far they move in one batch."""
    trace, batch = Trace(copy.deepcopy(r.first), r.plain), r.settings.batch
    trace.images = int(images.replace("_", "")) - batch
    name, average = next(iter(trace.averages.items()))
    with torch.no_grad():
        before, after = next(average.parameters()), next(getattr(trace.recipe, name).parameters())
        before.zero_(), after.fill_(1)
    trace.advance(batch)
    moved = next(trace.averages[name].parameters()).flatten()[0].double().item()
    return f"half-life {number(float(f'{batch / -math.log2(1 - moved):.3g}'))} images"


def largest(r: Reading, net: str) -> str:
    """The largest of a network's numbers after one step, where weights are clipped."""
    r.run()
    return f"within {number(max(p.abs().max().item() for p in r.small.get_submodule(net).parameters()))}"


def length(r: Reading) -> str:
    """Images of the run."""
    return f"{number(r.length)} images"


def epochs(r: Reading, size: str, phase: str = "0") -> str:
    """The run's length in epochs of so many images, from the beginning of a phase on."""
    return in_epochs(r.length - (r.begin(int(phase)) if int(phase) else 0), size)


def argument_epochs(r: Reading, name: str, size: str) -> str:
    """An argument that counts images, in epochs of so many."""
    return in_epochs(r.arguments[name], size)


def in_epochs(images: int, size: str) -> str:
    """A number of images in epochs."""
    count = int(size.replace("_", ""))
    return f"{number(round(images / count, 3))} epochs of {number(count)}"


def steps(r: Reading, name: str = "") -> str:
    """The run's length in batches, or in updates of one optimizer in the phase in which it learns."""
    if not name:
        return f"{number(round(r.length / r.settings.batch))} batches"
    phase, updates = next((index, found) for index, found in r.updates.items() if name in {u.label for u in found})
    counts = Counter(u.step for u in updates if u.label == name)
    period = (max(counts) - min(counts)) / (len(counts) - 1)
    later = [index for index in r.phases if index > phase]
    images = (r.begin(min(later)) if later else r.length) - (r.begin(phase) if phase else 0)
    return f"{number(round(images / r.settings.batch * max(counts.values()) / period))} updates of {name}"


def setting(r: Reading, *names: str) -> str:
    """Settings of the run."""
    return ", ".join(
        listed(getattr(r.settings, name)) if len(names) == 1 else f"{name} {listed(getattr(r.settings, name))}"
        for name in names
    )


def argument(r: Reading, *names: str) -> str:
    """Arguments of the model."""
    return ", ".join(
        listed(r.arguments[name]) if len(names) == 1 else f"{name} {listed(r.arguments[name])}" for name in names
    )


def argument_values(r: Reading, *names: str) -> str:
    """Arguments of the model without their names."""
    return ", ".join(listed(r.arguments[name]) for name in names)


def ability(r: Reading, name: str) -> str:
    """A class attribute of the model."""
    return listed(getattr(r.kind, name))


def scheduled(r: Reading, name: str) -> str:
    """One of the numbers of a model's own `schedule`, at the start, in the middle and at the end of the run."""
    return ", ".join(number(r.built.schedule(done)[name]) for done in (0.0, 0.5, 1.0))


def resets(r: Reading) -> str:
    """Whether optimizers are as new in each phase."""
    r.run(0, 2)
    r.small.enter(1, r.batch(0, r.small.phase(0).resolution, r.settings.batch))
    return "whenever a fade begins or ends" if not any(opt.state for opt in r.small.opt.values()) else "never"


def crops(r: Reading) -> str:
    """The size at which images are read, and the size of random crops of them."""
    load, own = r.built.load_size, r.spec.shape[1:]
    if load is None:
        return "whole images"
    return f"{side_of(load)} px, cut to {side_of(own)} at random"


def side_of(size: Sequence[int]) -> str:
    """A height and a width, one number where they agree."""
    return "x".join(map(str, dict.fromkeys(size)))


def mirror(r: Reading) -> str:
    """Whether images are flipped at random."""
    return "mirrored at random" if r.settings.mirror else "not mirrored"


def seen(r: Reading, net: str) -> str:
    """The range of the reals that a network's first layer sees, and whether noise fills the steps between grey levels."""
    low, high, filled = r.input_of(net)
    return f"[{number(round(low, 2))}, {number(round(high, 2))}]" + (", dequantised" if filled else "")


def covers(r: Reading, net: str) -> str:
    """What part of an image a network's output is of in training."""
    with r.calls(r.small.get_submodule(net)) as calls:
        r.run()
    size = calls[0].output.shape[2:]
    covered = all(a >= b for a, b in zip(size, r.small_spec.shape[1:]))
    return "the whole image" if covered else side_of(size)


def statistics(r: Reading, *nets: str) -> str:
    """What norms go by when the model is used, and that nothing is left in training mode then."""
    with Trace(r.small, r.plain).averaged() as recipe:
        if any(module.training for module in recipe.modules()):
            return "in training mode"
    norms = [
        m
        for net in nets
        for m in r.built.get_submodule(net).modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm)
    ]
    if not norms:
        return "no statistics of a batch"
    return "running statistics" if all(m.track_running_stats for m in norms) else "each image's own statistics"


READERS: dict[str, Callable[..., str]] = {
    reader.__name__: reader
    for reader in (
        optimizer, rates, constants,
        batch, judged, order, loss, largest,
        noise, draws, dropout, fake_labels, asked, kept, keeps, codes,
        init, start_bias,
        norms, running, power_iterations, eps, module, mode,
        schedule, at, scheduled, resets, phase_begins,
        averaging, averaging_after,
        mirror, crops, seen, covers,
        length, epochs, argument_epochs, steps,
        statistics, setting, argument, argument_values, ability,
    )
}  # fmt: skip
"""By name: the reading, and the words that follow the name, to what the ledger says of gankit."""


def read(r: Reading, words: str | list[str]) -> str:
    """What one or several readers say.

    Raises:
        ValueError: there is no such reader, or it finds nothing to read.
    """
    if isinstance(words, list):
        return "; ".join(read(r, one) for one in words)
    name, *rest = words.split()
    if name not in READERS:
        raise ValueError(f"there is no reader {name!r}; there are {', '.join(READERS)}")
    return READERS[name](r, *rest)
