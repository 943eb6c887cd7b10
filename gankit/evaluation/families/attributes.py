"""Whether translations show the attributes that were requested and keep the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gankit import metrics
from gankit.evaluation.needs import Metric, Need
from gankit.evaluation.requests import HAIR
from gankit.evaluation.sources import Known, SampleAttributes, required
from gankit.evaluation.subject import Score, Subject, share_score

FIT_IMAGES = 2000  # images that the network for attributes is fitted to

Predict = Callable[[Tensor], Tensor]


def attributes(s: Subject) -> Iterator[Score]:
    """Whether translations show the requested attributes and keep the others, by a small network fitted to the data."""
    real, requests = required(s.real), required(s.fake.attributes)
    numbers = real.numbers(min(FIT_IMAGES, s.max_count), s.seed)
    values = required(real.attributes).known(numbers).attribute
    scale = float(torch.nan_to_num(values).abs().max())  # intensities of another scale, such as 0 to 5, become 0 to 1
    predict = metrics.fit_attributes(real.read_all(numbers, s.batch)[0], values / max(scale, 1.0), s.seed)
    compute = continuous if requests.is_continuous else binary
    yield from compute(s, requests, requests.known(s.numbers), predict)


def truth_of(s: Subject) -> Known:
    """The attributes of the inputs."""
    return required(required(s.fake.inputs).attributes).known(s.numbers)


def continuous(s: Subject, attributes: SampleAttributes, requested: Known, predict: Predict) -> Iterator[Score]:
    """Correlations of requested and predicted intensities."""
    of_outputs, of_inputs, n = predict(s.pixels[0]), predict(s.inputs), len(requested.attribute)
    is_requested = ~requested.attribute.isnan()

    def correlations(predicted: Tensor) -> list[float]:
        return [
            float(metrics.correlation(requested.attribute[rows, i : i + 1], predicted[rows, i : i + 1]))
            for i, rows in enumerate(is_requested.T)
        ]

    values = correlations(of_outputs)
    truth = truth_of(s).attribute
    of_truth = metrics.correlation(truth, of_inputs).nanmean()
    unchanged = torch.tensor(correlations(of_inputs)).nanmean()
    note = f"mean of {len(values)}; {of_truth:.3f} for the inputs' own, {unchanged:.3f} if inputs stay as they are"
    yield Score("asked", sum(values) / len(values), better="higher", n_fake=n, note=note)
    note = "correlation of requested and predicted intensities"
    for name, value in zip(attributes.names, values):
        yield Score(f"asked_{name}", value, better="higher", n_fake=n, note=note)


def binary(s: Subject, attributes: SampleAttributes, requested: Known, predict: Predict) -> Iterator[Score]:
    """Shares of translations that show what was requested, and that kept the other attributes."""
    truth, which = truth_of(s), requested.which
    before, after = rounded(predict(s.inputs), attributes), rounded(predict(s.pixels[0]), attributes)
    target = requested.attribute.gather(1, which[:, None])[:, 0]
    is_right, was_right = (x.gather(1, which[:, None])[:, 0] == target for x in (after, before))
    stays = must_stay(attributes, requested, truth)
    keeps_all = ((before == after) | ~stays).all(1)
    is_known = ~truth.attribute.isnan()
    accuracy = float((before == truth.attribute)[is_known].double().mean())
    note = (
        f"{float(was_right.double().mean()):.3f} if inputs stay as they are; the network is right on {accuracy:.3f} of "
        "the known attributes of the inputs"
    )
    yield share_score(is_right, "asked", note)
    if len(kept := keeps_all[stays.any(1)]):
        yield share_score(kept, "kept", "all attributes that were not requested, as predicted for the input")
    for i, name in enumerate(attributes.names):
        if (rows := which == i).any():
            yield share_score(is_right[rows], f"asked_{name}")
            if stays[rows].any():
                note = f"all others when {name} was requested"
                yield share_score(keeps_all[rows], f"kept_{name}", note)


def must_stay(attributes: SampleAttributes, requested: Known, truth: Known) -> Tensor:
    """(N, A) bool: whether a translation should keep the attribute of its input."""
    which, source = requested.which, requested.source
    stays = torch.ones_like(requested.attribute, dtype=torch.bool)
    for group, (columns, exclusive) in enumerate(zip(attributes.slices(), attributes.exclusive)):
        stays[source == group, columns] = False
        if not exclusive:  # all attributes of another set are requested; those of its own set stay
            stays[(source == group) & (truth.source == group), columns] = True
    hair = torch.tensor([name.endswith(HAIR) for name in attributes.names])
    stays[hair[which][:, None] & hair] = False  # one hair colour replaces another
    stays[torch.arange(len(which)), which] = False
    return stays


def rounded(values: Tensor, attributes: SampleAttributes) -> Tensor:
    """(N, A) probabilities to 0 or 1: the most likely attribute of exclusive ones, above 0.5 for others."""
    out = torch.empty_like(values)
    for columns, exclusive in zip(attributes.slices(), attributes.exclusive):
        part = values[:, columns]
        out[:, columns] = (one_hot(part.argmax(1), part.shape[1]) if exclusive else part > 0.5).to(part)
    return out


NEEDS = {
    "asked attributes": Need(
        lambda s: s.fake.attributes is not None and s.real is not None, "the model does not translate to attributes"
    )
}
METRICS = {"attributes": Metric(attributes, ("images", "asked attributes"), ("translations",))}
