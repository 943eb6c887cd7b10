"""Small networks trained on one set of images and tested on another, for example on samples and real images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy_with_logits, cross_entropy

Predict = Callable[[Tensor], Tensor]


def classification_accuracy(
    train_images: Tensor,
    train_label: Tensor,
    test_images: Tensor,
    test_label: Tensor,
    seed: int = 0,
    epochs: int = 10,
    fit: Callable[[Tensor, Tensor], Predict] | None = None,
) -> float:
    """Accuracy on the test images of a classifier trained on the train images, 0 to 1; higher is better.

    Trained on fakes and tested on reals it is the classification accuracy score: Ravuri & Vinyals, "Classification
    Accuracy Score for Conditional Generative Models", NeurIPS 2019, https://arxiv.org/abs/1905.10887, also GAN-train.
    Trained on reals and tested on fakes it is GAN-test: Shmelkov, Schmid & Alahari, "How good is my GAN?", ECCV 2018,
    https://arxiv.org/abs/1807.09499. The first falls if fakes are poor or lack diversity; the second if they are poor,
    while copies of the training set score perfectly. Compare both with reals against reals.

    The papers train ResNets. The network here is small, for at most 32x32 pixels, and the last epoch counts (choosing
    the best epoch on the test images would bias the result). Compare its values only with each other, with as many
    fakes as reals and the same shares of labels. Classes that the train images lack are misclassified.

    Args:
        train_images: (N, C, H, W) in [-1, 1].
        train_label: (N,) int64.
        test_images: (M, C, H, W), of the same shape.
        test_label: (M,) int64.
        seed: of the initial weights and the order of the images.
        epochs: passes over the train images.
        fit: your own training: (images, label) to a function from images to (n,) int64 labels.

    Raises:
        ValueError: no images, shapes that differ, images and labels that do not match, NaN, negative labels.
    """
    for name, images, label in (("train", train_images, train_label), ("test", test_images, test_label)):
        if images.ndim != 4 or not len(images) or label.shape != (len(images),):
            raise ValueError(
                f"{name} images are {tuple(images.shape)} and labels {tuple(label.shape)}; give (N, C, H, W) and (N,)"
            )
        if not torch.isfinite(images).all():
            raise ValueError(f"{name} images hold NaN or infinity; leave them out and say so")
        if label.is_floating_point() or label.min() < 0:
            raise ValueError(f"{name} labels are {label.dtype} from {label.min()}; give whole numbers from 0")
    if train_images.shape[1:] != test_images.shape[1:]:
        raise ValueError(
            f"train images are {tuple(train_images.shape[1:])} and test images {tuple(test_images.shape[1:])}; "
            "give one shape"
        )
    predict = fit(train_images, train_label) if fit else fit_convnet(train_images, train_label, seed, epochs)
    predicted = predict(test_images)
    if predicted.shape != test_label.shape or predicted.is_floating_point():
        raise ValueError(
            f"the classifier gave {tuple(predicted.shape)} of {predicted.dtype}; expected ({len(test_label)},) classes"
        )
    return float((predicted.to(test_label.device) == test_label).double().mean())


def fit_convnet(images: Tensor, label: Tensor, seed: int = 0, epochs: int = 10) -> Predict:
    """A convolutional classifier trained on (N, C, H, W) images and (N,) labels: images to (n,) int64 labels.

    Three 3x3 convolutions with group norm, Adam in batches of 64, a one-cycle learning rate over `epochs`. Images
    larger than 32x32 are average-pooled to that. The same seed gives the same network, on one machine.
    """
    net = _network(images.shape[1], int(label.max()) + 1, seed).to(images.device)
    train(net, _shrunk(images), label.long(), cross_entropy, seed, epochs)
    return _predictor(net, 32, lambda logits: logits.argmax(1))


def fit_attributes(images: Tensor, attribute: Tensor, seed: int = 0, epochs: int = 10, side: int = 64) -> Predict:
    """A small network trained on (N, A) attributes of (N, C, H, W) images: images to (n, A) values in [0, 1].

    Three convolutions, trained as in `fit_convnet`, and a sigmoid with cross-entropy for each attribute: the
    probability of a binary attribute, the expected value of an intensity from 0 to 1.

    Args:
        images: in [-1, 1].
        attribute: 0 to 1; NaN where it is not known, which is ignored.
        seed: of the initial weights and the order of the images.
        epochs: passes over the images.
        side: larger images are average-pooled to it.

    Raises:
        ValueError: shapes do not match, values are outside 0 to 1, or an attribute is NaN for all images.
    """
    if images.ndim != 4 or attribute.ndim != 2 or len(images) != len(attribute) or not len(images):
        raise ValueError(
            f"images are {tuple(images.shape)} and attributes {tuple(attribute.shape)}; give (N, C, H, W) and (N, A)"
        )
    if not (~attribute.isnan()).any(0).all():
        raise ValueError("nothing is known of an attribute: all its numbers are NaN")
    low, high = map(float, attribute.nan_to_num(0.5).aminmax())
    if low < 0 or high > 1:
        raise ValueError(f"attributes reach from {low:.3g} to {high:.3g}; give numbers from 0 to 1")
    net = _network(images.shape[1], attribute.shape[1], seed, kernel=5, stride=2).to(images.device)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        is_known = ~target.isnan()
        return binary_cross_entropy_with_logits(logits[is_known], target[is_known])

    train(net, _shrunk(images, side), attribute.float(), loss, seed, epochs)
    return _predictor(net, side, torch.sigmoid)


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """(A,) Pearson correlations of the columns of two (N, A) tensors; NaN for a constant column."""
    a, b = (x.double() - x.double().mean(0) for x in (a, b))
    return (a * b).sum(0) / (a.square().sum(0) * b.square().sum(0)).sqrt()


def train(
    net: nn.Module,
    inputs: Tensor,
    target: Tensor,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    seed: int,
    epochs: int,
    batch: int = 64,
) -> None:
    """Train a network with Adam and a one-cycle learning rate, on batches in an order of the seed."""
    steps = epochs * -(-len(inputs) // batch)
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=max(steps, 2))
    generator = torch.Generator().manual_seed(seed)
    with torch.enable_grad():
        for _ in range(epochs):
            for rows in torch.randperm(len(inputs), generator=generator).split(batch):
                rows = rows.to(inputs.device)
                loss = loss_fn(net(inputs[rows]), target[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()


def _predictor(net: nn.Module, side: int, of_logits: Callable[[Tensor], Tensor]) -> Predict:
    """A function of images, shrunk to `side` as in training, to predictions from the network's logits."""

    def predict(images: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([of_logits(net(part)) for part in _shrunk(images, side).split(500)])

    return predict


def _network(channels: int, num_outputs: int, seed: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Three convolutions and a linear layer; the kernel and the stride are those of the first convolution."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(channels, 32, kernel, stride, kernel // 2), nn.GroupNorm(8, 32), nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(32, 64, 3, padding=1), nn.GroupNorm(8, 64), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(64, 64, 3, padding=1), nn.GroupNorm(8, 64), nn.ReLU(), nn.AdaptiveAvgPool2d(4),
            nn.Flatten(), nn.Linear(64 * 16, num_outputs),
        )  # fmt: skip


def _shrunk(images: Tensor, side: int = 32) -> Tensor:
    return adaptive_avg_pool2d(images.detach().float(), (min(images.shape[2], side), min(images.shape[3], side)))
