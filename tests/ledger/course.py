"""Readers of the course of a run: schedules, averaged weights, data, length, settings and arguments."""

from __future__ import annotations

import copy
import math
from collections import Counter

import torch

from tests.ledger.built import BuiltPreset
from tests.ledger.steps import selected
from tests.ledger.text import curve_shape, grouped, in_epochs, listed, named, number, rounded, side_of, split_at_of
from tests.ledger.trace import Trace


def schedule(preset: BuiltPreset, key: str = "lr") -> str:
    """How a number of the optimizers changes over the run, measured in steps at 9 places."""
    texts = {}
    shares = [i / 8 for i in range(9)]
    curves = preset.curve(key, tuple(int(share * preset.length) for share in shares))
    early = preset.curve(key, tuple(n * preset.settings.batch for n in (0, 1000, 10_000)))
    for name, values in curves.items():
        first = values[0]
        texts[name] = curve_shape(shares, [v / first for v in values], [v / first for v in early[name]])
    return grouped(texts)


def at(preset: BuiltPreset, key: str, *words: str) -> str:
    """A number of the optimizers after the given images, of all or of those after "of": "at momentum 0 10_000 of g"."""
    images, names = split_at_of(words)
    values = preset.curve(key, tuple(int(n.replace("_", "")) for n in images))
    return grouped({name: ", ".join(map(number, numbers)) for name, numbers in selected(values, names).items()})


def scheduled(preset: BuiltPreset, name: str) -> str:
    """A value of the model's `schedule` method at the start, in the middle and at the end of the run."""
    return ", ".join(number(preset.built.schedule(done)[name]) for done in (0.0, 0.5, 1.0))


def resets(preset: BuiltPreset) -> str:
    """Whether the optimizers' state is reset when a phase begins."""
    preset.run(0, 2)
    preset.small.enter(1, preset.batch(0, preset.small.phase(0).resolution, preset.settings.batch))
    return "whenever a fade begins or ends" if not any(opt.state for opt in preset.small.opt.values()) else "never"


def phase_begins(preset: BuiltPreset, index: str) -> str:
    """The images after which a phase begins, by its index or "last"."""
    return number(preset.phase_start(max(preset.phases) if index == "last" else int(index)))


def averaging(preset: BuiltPreset, batches: str = "") -> str:
    """The half-life of averaged weights in images; with `batches`, the share that they keep in that many batches."""
    if not preset.settings.ema or not preset.built.ema:
        return "none"
    if not batches:
        return f"half-life {number(preset.settings.ema)} images"
    return f"{0.5 ** (int(batches) * preset.settings.batch / preset.settings.ema):.4g} a step"


def averaging_after(preset: BuiltPreset, images: str) -> str:
    """The half-life of averaged weights after `images`, measured as their change in one batch."""
    trace, batch = Trace(copy.deepcopy(preset.untrained), preset.plain_settings), preset.settings.batch
    trace.images = int(images.replace("_", "")) - batch
    name, average = next(iter(trace.averages.items()))
    with torch.no_grad():
        before, after = next(average.parameters()), next(getattr(trace.recipe, name).parameters())
        before.zero_(), after.fill_(1)
    trace.advance(batch)
    moved = next(trace.averages[name].parameters()).flatten()[0].double().item()
    return f"half-life {rounded(batch / -math.log2(1 - moved), 3)} images"


def mirror(preset: BuiltPreset) -> str:
    """Whether images are flipped at random."""
    return "mirrored at random" if preset.settings.mirror else "not mirrored"


def crops(preset: BuiltPreset) -> str:
    """The size at which images are read, and the size of random crops of them."""
    load_size = preset.built.load_size
    if load_size is None:
        return "whole images"
    return f"{side_of(load_size)} px, cut to {side_of(preset.spec.shape[1:])} at random"


def seen(preset: BuiltPreset, net: str) -> str:
    """The range of the reals that a network's first layer sees, and whether they are dequantised by noise."""
    low, high, is_dequantised = preset.input_of(net)
    return f"[{number(round(low, 2))}, {number(round(high, 2))}]" + (", dequantised" if is_dequantised else "")


def covers(preset: BuiltPreset, net: str) -> str:
    """The part of an image that a network outputs in training."""
    with preset.calls(preset.small.get_submodule(net)) as calls:
        preset.run()
    size = calls[0].output.shape[2:]
    is_whole = all(a >= b for a, b in zip(size, preset.small_spec.shape[1:]))
    return "the whole image" if is_whole else side_of(size)


def length(preset: BuiltPreset) -> str:
    """The run's length in images."""
    return f"{number(preset.length)} images"


def epochs(preset: BuiltPreset, size: str, phase: str = "0") -> str:
    """The run's length in epochs of `size` images, counted from the start of a phase."""
    return in_epochs(preset.length - (preset.phase_start(int(phase)) if int(phase) else 0), size)


def argument_epochs(preset: BuiltPreset, name: str, size: str) -> str:
    """An argument that counts images, in epochs of `size` images."""
    return in_epochs(preset.arguments[name], size)


def steps(preset: BuiltPreset, name: str = "") -> str:
    """The run's length in batches, or in updates of one optimizer during the phase that trains it."""
    if not name:
        return f"{number(round(preset.length / preset.settings.batch))} batches"
    phase, updates = next((index, us) for index, us in preset.updates.items() if name in {u.label for u in us})
    counts = Counter(u.step for u in updates if u.label == name)
    period = (max(counts) - min(counts)) / (len(counts) - 1)
    later = [index for index in preset.phases if index > phase]
    images = (preset.phase_start(min(later)) if later else preset.length) - (preset.phase_start(phase) if phase else 0)
    return f"{number(round(images / preset.settings.batch * max(counts.values()) / period))} updates of {name}"


def setting(preset: BuiltPreset, *names: str) -> str:
    """Settings of the run."""
    return named({name: getattr(preset.settings, name) for name in names})


def argument(preset: BuiltPreset, *names: str) -> str:
    """Arguments of the model."""
    return named({name: preset.arguments[name] for name in names})


def argument_values(preset: BuiltPreset, *names: str) -> str:
    """Arguments of the model without their names."""
    return ", ".join(listed(preset.arguments[name]) for name in names)


def ability(preset: BuiltPreset, name: str) -> str:
    """A class attribute of the model."""
    return listed(getattr(preset.kind, name))


READERS = (
    schedule, at, scheduled, resets, phase_begins,
    averaging, averaging_after,
    mirror, crops, seen, covers,
    length, epochs, argument_epochs, steps,
    setting, argument, argument_values, ability,
)  # fmt: skip
