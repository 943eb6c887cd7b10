"""A paper as code: a Recipe holds networks, optimizers and the algorithm; the loop in `gankit.training` runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, get_type_hints

import torch
from torch import Tensor, nn

from gankit.declaration import Abilities, Anomaly, Declaration, Images, Preset, Spec, can, flags, short

__all__ = [
    "Abilities", "Anomaly", "Batch", "Draw", "Images", "Losses", "Phase", "Preset", "Recipe", "Run", "Spec", "adam",
    "can", "data_labels", "decay", "flags", "mix", "see_labels", "seeded", "short", "shuffled",
]  # fmt: skip

Losses = tuple[Tensor | tuple[Tensor, ...], Mapping[str, Tensor | float]]  # (loss, outputs), as for `Run.update`
Draw = Callable[[Callable[[int], Tensor]], Tensor]  # as `Batch.draw`: a sampler of n rows to the rows of this piece


@dataclass(frozen=True)
class Phase:
    """What must be known before the next batch is fetched.

    Args:
        index: number of the phase; `Recipe.enter` is called when it changes.
        resolution: side of the images to fetch; None for the data's own.
        batch: images in a step; None for the setting.
    """

    index: int = 0
    resolution: int | None = None
    batch: int | None = None


class Run(Protocol):
    """What a recipe's `step` sees of its run; `gankit.training.Run` is one.

    Attributes:
        images: images seen before the current batch.
        step: batches before it.
        done: share of the run that is done, 0 to 1.
        phase: the current phase.
        augment: what `--augment` does to images; None without it.
    """

    images: int
    step: int
    phase: Phase | None

    @property
    def augment(self) -> nn.Module | None: ...

    @property
    def done(self) -> float: ...

    def update(
        self, names: str | tuple[str, ...], loss_fn: Callable[..., Losses], batch: Batch, *more: Tensor
    ) -> dict[str, Tensor]: ...

    def mean(self, tensor: Tensor) -> Tensor: ...


class Recipe(Declaration, nn.Module):
    """A paper: networks as attributes, `opt`, and `step`, its algorithm from top to bottom.

    What a model can do is a method of `Abilities`. State that is neither a parameter nor a buffer and must survive an
    interruption goes through `nn.Module.get_extra_state` and `set_extra_state`, as dicts and lists of tensors and plain
    values. Several processes compute what one does if random numbers come from `batch.draw` and operations across the
    batch from `gankit.nn`: its batch norms, minibatch layers and dropout; `average` for means over the batch inside a
    loss; `whole` for all rows. To stop a gradient inside a loss, compute under `torch.no_grad()`.

    What it declares (`data`, `labels`, `defaults`, `presets`, `signed`) is described in `Declaration`.

    These names of outputs of `run.update` have a meaning: `real_right` and `fake_right`, the shares of real and fake
    images that D classifies correctly, steer adaptive augmentation (`real_right`) and two warnings; names that end in
    `loss` or `grad` are read by warnings. `samples/std` is the diversity of previews.

    Attributes:
        ema: names of the networks that are averaged over training.
        layout: memory layout of its maps and weights, whichever trains faster; smaller batches than 4 are always NCHW.
        domains: for translators between two domains, the network that generates each: {"a": "g_ba", "b": "g_ab"}.
        load_size: (height, width) at which training images are read if the model cuts crops of `spec`'s size from them;
            previews and scores see whole images at `spec`'s size. None: `spec`'s size.
        length: training length in images when the setting is 0; 0 if the model has none of its own.
        multiple: heights and widths that `translate` takes are multiples of it.
        reach: pixels around an output pixel that it depends on, if `translate` has a limit; None if it is unknown.
        tile: side of the tiles that `segment` itself cuts, in pixels; None if it cuts none.
        sides: the side of a pair that `translate` takes, and the one that it returns.
        columns: which of the data's attributes it learns, by number; None for all.
        names: their names; `counts`: how many each joined data set has; `exclusive`: whether just one of these holds.
    """

    layout: ClassVar[Literal["channels_last", "NCHW"]] = "channels_last"
    domains: ClassVar[dict[str, str]] = {}
    ema: tuple[str, ...] = ()
    load_size: tuple[int, int] | None = None
    length: int = 0
    multiple: int = 1
    reach: int | None = None
    tile: int | None = None
    sides: tuple[str, str] = ("a", "b")
    columns: list[int] | None = None
    names: list[str] | None = None
    counts: list[int] | None = None
    exclusive: list[bool] | None = None

    def __init__(self, spec: Spec):
        super().__init__()
        self.spec = spec
        self.opt: dict[str, torch.optim.Optimizer] = {}

    @staticmethod
    def nearest(height: int, width: int) -> tuple[int, int]:
        """The (height, width) nearest to this one that the model can generate; the same if it can."""
        return height, width

    def memory_format(self, batch: int) -> torch.memory_format:
        """The memory layout of maps and weights for batches of this size."""
        return torch.channels_last if batch >= 4 and self.layout == "channels_last" else torch.contiguous_format

    @classmethod
    def stretched(cls, arguments: dict[str, object], ratio: float) -> dict[str, object]:
        """The arguments of a run of `ratio` times the length, with its schedules whole: all counts of images follow it.

        A model whose schedule has another unit, such as steps, overrides this.
        """
        hints = get_type_hints(cls.__init__)
        counts = {name: n for name, n in arguments.items() if hints.get(name) is Images and isinstance(n, int) and n}
        return arguments | {name: Images(max(1, round(n * ratio))) for name, n in counts.items()}

    def phase(self, images: int) -> Phase:
        """The phase after `images` images: a pure function of progress."""
        return Phase()

    def enter(self, index: int, batch: Batch) -> None:
        """Called once when phase `index` begins, with its first batch; never when a run is resumed."""

    def step(self, batch: Batch, run: Run) -> None:
        """One batch of the paper's algorithm."""
        raise TypeError(f"{type(self).__name__} has no step(batch, run): write the paper's algorithm there")


class Batch:
    """Rows of data and their position in the stream of images: `batch.real`, `batch.label`, `batch.condition`.

    `real` is (N, C, H, W) in [-1, 1] or (N, D); `label` is (N,) int64, present when the data has labels.

    Args:
        fields: name to tensor, all of N rows.
        start: images seen before the whole batch.
        size: rows of the whole batch, over all processes.
        first: index of the first of these rows in the whole batch.
        every: distance between these rows in the whole batch.
        seed: the run's seed.
        augmenter: what `augment` does to images, given (images, draw); None for no augmentation.
    """

    def __init__(
        self,
        fields: dict[str, Tensor],
        start: int = 0,
        size: int | None = None,
        first: int = 0,
        seed: int = 0,
        augmenter: Callable[[Tensor, Draw], Tensor] | None = None,
        every: int = 1,
    ):
        self.fields = fields
        self.start, self.first, self.every, self.seed, self.augmenter = start, first, every, seed, augmenter
        self.size = size if size is not None else len(self)
        self.turn = self.draws = 0

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))

    def __getattr__(self, name: str) -> Tensor:
        fields: dict[str, Tensor] = self.__dict__.get("fields", {})
        if name in fields:
            return fields[name]
        raise AttributeError(f"this batch has no {name!r}; it has {', '.join(fields)}")

    def __contains__(self, name: str) -> bool:
        return name in self.fields

    def draw(self, sampler: Callable[[int], Tensor]) -> Tensor:
        """These rows of `sampler(n)`, where n is the size of the whole batch, e.g. `batch.draw(self.noise)`.

        The numbers depend only on the seed, the position in the stream, the update and the number of the draw; not on
        pieces, processes, the device or other code's draws. `sampler` uses torch's default generator.
        """
        self.draws += 1
        with seeded(self.seed, self.start, self.turn, self.draws):
            whole = sampler(self.size)
        rows = whole[self.first :: self.every][: len(self)]
        like = next(iter(self.fields.values()))
        return rows.to(like.device, like.dtype if rows.is_floating_point() and like.is_floating_point() else None)

    def augment(self, images: Tensor) -> Tensor:
        """Images for the discriminator: (k N, C, H, W), k for each of these N rows, randomly changed under `--augment`.

        Every image that a discriminator gets goes through it, real or fake, in D's turn and in G's. Penalties
        differentiate with respect to the images before it.
        """
        if self.augmenter is None:
            return images
        k = len(images) // len(self)

        def draw(sampler: Callable[[int], Tensor]) -> Tensor:
            return self.draw(lambda n: sampler(n * k).unflatten(0, (n, k))).flatten(0, 1)

        return self.augmenter(images, draw)

    def augment_alike(self, *sides: Tensor) -> list[Tensor]:
        """As `augment`, for several images of each row, such as the sides of a pair: one draw changes them all."""
        before, changed = self.draws, []
        for images in sides:
            self.draws = before
            changed.append(self.augment(images))
        return changed

    def split(self, pieces: int, turn: int) -> Iterator[tuple[slice, Batch]]:
        """The rows in `pieces` nearly equal parts, as (rows, part); `turn` is the number of the update.

        Part i has every `pieces`-th row from row i on: the same rows over all processes as in one process, if the batch
        divides evenly.
        """
        pieces = min(pieces, len(self))
        for i in range(pieces):
            rows = slice(i, None, pieces)
            fields, first = {k: v[rows] for k, v in self.fields.items()}, self.first + i * self.every
            part = Batch(fields, self.start, self.size, first, self.seed, self.augmenter, self.every * pieces)
            part.turn = turn
            yield rows, part

    def join(self, parts: list[Tensor]) -> Tensor:
        """Tensors of the parts of `split`, with k rows for each of theirs, as one tensor in the order of the rows."""
        joined, n, pieces = torch.cat(parts), len(self), len(parts)
        if pieces == 1 or len(joined) % n:  # other tensors are concatenated
            return joined
        order = torch.arange(n, device=joined.device)
        order = torch.cat([order[i::pieces] for i in range(pieces)])
        rows: Tensor = joined.unflatten(0, (n, -1))[order.argsort()].flatten(0, 1)
        return rows


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Inside, torch's default CPU generator is seeded from the numbers; afterwards it is restored."""
    generator = torch.default_generator
    state = generator.get_state()
    generator.manual_seed(mix(*numbers))
    try:
        yield
    finally:
        generator.set_state(state)


def mix(*numbers: int) -> int:
    """A 63-bit seed from whole numbers (splitmix64 over each in turn)."""
    state = 0
    for number in numbers:
        state = (state ^ (number & (2**64 - 1))) + 0x9E3779B97F4A7C15 & (2**64 - 1)
        state = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        state = ((state ^ state >> 27) * 0x94D049BB133111EB) & (2**64 - 1)
        state ^= state >> 31
    return state >> 1


def decay(opt: torch.optim.Optimizer, lr: float, done: float, flat: float = 0.5) -> None:
    """Set the learning rate: `lr` for the share `flat` of the run, then linear to 0 at its end."""
    for group in opt.param_groups:
        group["lr"] = lr * min(1.0, (1 - done) / (1 - flat)) if flat < 1 else lr


def shuffled(rows: Tensor, batch: Batch, run: Run) -> Tensor:
    """The rows of the whole batch, shuffled, of which this process gets its share: (N, D) to (N, D).

    Call it in `step`, on every process, before the batch is split into pieces: like `batch.draw`, the result does not
    depend on pieces or processes.
    """
    whole = rows.new_zeros(batch.size, *rows.shape[1:])
    whole[batch.first : batch.first + len(rows)] = rows
    whole = run.mean(whole) * (batch.size // len(rows))  # other processes hold zeros here, so the mean is a share
    return whole[batch.draw(torch.randperm)]


def see_labels(shares: Tensor, batch: Batch, run: Run) -> None:
    """Update the classes' shares of the images seen, a buffer (K,), by this batch. Every process must call it."""
    counted = (batch.label[:, None] == torch.arange(len(shares), device=shares.device)).to(shares.dtype)
    shares.lerp_(run.mean(counted.mean(0)), batch.size / (run.images + batch.size))


def data_labels(shares: Tensor, places: Tensor) -> Tensor:
    """(N,) uniform numbers in [0, 1) to labels for fakes, each class with its share (K,) of the data."""
    ends = shares.cumsum(0)
    return torch.searchsorted(ends, places.to(ends) * ends[-1], right=True).clamp(max=len(shares) - 1)


def adam(
    parameters: Iterable[nn.Parameter], lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
) -> torch.optim.Adam:
    """Adam whose betas may be integers, which torch 2.13 refuses."""
    return torch.optim.Adam(parameters, lr=lr, betas=(float(betas[0]), float(betas[1])), eps=eps)
