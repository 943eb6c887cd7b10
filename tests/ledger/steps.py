"""Readers of optimizers, of the updates in a step, and of losses."""

from __future__ import annotations

import re
from itertools import groupby

import torch

from tests.ledger.built import ROWS, BuiltPreset
from tests.ledger.text import formula, grouped, number, split_at_of
from tests.ledger.trace import Update


def optimizer(preset: BuiltPreset) -> str:
    """The optimizers' classes."""
    return grouped({name: type(opt).__name__ for name, opt in preset.built.opt.items()})


def rates(preset: BuiltPreset, *words: str) -> str:
    """Initial learning rates, of all optimizers or of those after "of": "rates of g1 d1"."""
    optimizers = selected(preset.built.opt, split_at_of(words)[1])
    return grouped({name: number(opt.param_groups[0]["lr"]) for name, opt in optimizers.items()})


def constants(preset: BuiltPreset, *words: str) -> str:
    """Optimizer constants by their keys, of all optimizers or of those after "of": "constants betas eps of g"."""
    keys, names = split_at_of(words)

    def text_of(value: object) -> str:
        return f"({', '.join(map(number, value))})" if isinstance(value, tuple) else number(value)

    def constants_of(opt: torch.optim.Optimizer) -> str:
        texts = []
        for key in (key for key in keys if key in opt.defaults):
            values = dict.fromkeys(text_of(group[key]) for group in opt.param_groups)
            texts.append(f"{key.replace('_', ' ')} {' and '.join(values)}")
        return ", ".join(texts) or "none"

    return grouped({name: constants_of(opt) for name, opt in selected(preset.built.opt, names).items()})


def selected(optimizers: dict[str, object], names: tuple[str, ...]) -> dict[str, object]:
    """The entries of the named optimizers; all where no name is given."""
    return {name: value for name, value in optimizers.items() if not names or name in names}


def batch(preset: BuiltPreset) -> str:
    """Images in a step, and the latents of each update where their number differs."""
    sizes: dict[int, int] = {}
    for images in preset.phases.values():
        phase = preset.built.phase(images)
        sizes[phase.resolution or 0] = phase.batch or preset.settings.batch
    if len({*sizes.values()}) > 1:
        runs = [(size, [side for side, _ in group]) for size, group in groupby(sizes.items(), lambda item: item[1])]
        return ", ".join(f"{size} from {sides[0]} px" for size, sides in runs)
    size = next(iter(sizes.values()))
    latents = {update.label: update.latents for update in preset.updates[0] if update.latents}
    if len({*latents.values()}) < 2:  # all updates draw one latent for each image, or two for style mixing
        return number(size)
    differing = ", ".join(f"{label} {count}" for label, count in latents.items() if count != size)
    return f"{number(size)}, latents of {differing}"


def judged(preset: BuiltPreset, net: str) -> str:
    """How many images a discriminator sees in each update of the first step, reals and fakes together."""
    with preset.calls(preset.small.get_submodule(net)) as calls:
        updates = preset.run()
    share = preset.settings.batch / min(ROWS, preset.settings.batch)
    rows = [sum(len(call.inputs[0]) for call in calls if call.updates == i) for i in range(len(updates))]
    return ", ".join(f"{kind_of(update)} {number(round(count * share))}" for update, count in zip(updates, rows))


def order(preset: BuiltPreset, *phases: str) -> str:
    """The order of the updates and the batches in which they come, in all phases or in the named ones."""
    texts = [order_of(updates) for index, updates in preset.updates.items() if not phases or str(index) in phases]
    return "; then ".join(text for text, _ in groupby(texts))


def order_of(updates: list[Update]) -> str:
    """The order of the updates of one phase."""
    by_step = {step: [kind_of(u) for u in group] for step, group in groupby(updates, lambda update: update.step)}
    labels = dict.fromkeys([*max(by_step.values(), key=len), *(kind_of(update) for update in updates)])
    first, parts = min(by_step), []
    for label in labels:
        counts = {step: in_step.count(label) for step, in_step in by_step.items() if label in in_step}
        text = label if max(counts.values()) == 1 else f"{label} {max(counts.values())} times"
        if len(counts) < len(by_step):
            text += " in batches {}, {} ...".format(*(step - first + 1 for step in list(counts)[:2]))
        parts.append(text)
    return ", ".join(parts)


def kind_of(update: Update) -> str:
    """An update's label without the number of a level or stage."""
    return re.sub(r"\d+$", "", update.label)


def loss(preset: BuiltPreset, *words: str) -> str:
    """The loss of an optimizer as a formula; `words` are the label of its update."""
    label = " ".join(words)
    for updates in preset.updates.values():
        for update in updates:
            for name, terms in update.terms.items():
                if label == (name if " and " in update.label else update.label):
                    return formula(terms)
    labels = sorted({update.label for updates in preset.updates.values() for update in updates})
    raise ValueError(f"there is no update {label!r}; there are {', '.join(labels)}")


def largest(preset: BuiltPreset, net: str) -> str:
    """The largest magnitude of a network's weights after one step, for models that clip them."""
    preset.run()
    return f"within {number(max(p.abs().max().item() for p in preset.small.get_submodule(net).parameters()))}"


READERS = (optimizer, rates, constants, batch, judged, order, loss, largest)
