"""A paper as code: a Recipe holds networks, optimizers and the algorithm; the loop in `gankit.training` runs it.

The file is long because it states in one place what a recipe is, what it gets, and what the rest of gankit asks of it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, NewType, Protocol, get_type_hints

import torch
from torch import Tensor, nn

Images = NewType("Images", int)  # a count of images: a length, an interval; flags of this type also take 200k and 5M
Losses = tuple[Tensor | tuple[Tensor, ...], Mapping[str, Tensor | float]]  # (loss, outputs), as for `Run.update`
Draw = Callable[[Callable[[int], Tensor]], Tensor]  # as `Batch.draw`: a sampler of n rows to the rows of this piece


@dataclass(frozen=True)
class Spec:
    """What a model must know of the data it is built for.

    Args:
        shape: one sample: (C, H, W) for images, (D,) for points and vectors.
        num_classes: number of classes; 0 when the data has no labels.
        condition_dim: length of the feature vector given beside each sample; 0 when there is none.
        other: one sample of the second domain, or of the other side of a pair, (C, H, W); () when there is one domain.
        attributes: names of the attributes of each sample, in their order; () when there are none.
        groups: for joined data sets, the number of attributes of each, in their order; () for one set.
        exclusive: for each of these, whether exactly one of its attributes holds, as with classes.
        caption: length of a caption in letters, and codes of a letter; (D, 0) for vectors; () for no captions.
    """

    shape: tuple[int, ...]
    num_classes: int = 0
    condition_dim: int = 0
    other: tuple[int, ...] = ()
    attributes: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()
    exclusive: tuple[bool, ...] = ()
    caption: tuple[int, ...] = ()

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def height(self) -> int:
        return self.shape[1]

    @property
    def width(self) -> int:
        return self.shape[2]

    @property
    def size(self) -> int:
        """Numbers in one sample."""
        return torch.Size(self.shape).numel()

    def columns(self, names: str) -> list[int]:
        """The indices of the attributes named in "a,b,c"; all for "", and all of a joined set of which none is named.

        Raises:
            ValueError: an attribute does not exist.
        """
        wanted = {name.strip() for name in names.split(",")} - {""}
        if missing := sorted(wanted - set(self.attributes)):
            known = ", ".join(self.attributes) or "none"
            raise ValueError(
                f"there is no attribute {missing[0]!r}; the data's are {known}. Leave --attributes out for all"
            )
        chosen, end = [], 0
        for count in self.groups or (len(self.attributes),):
            group, end = range(end, end + count), end + count
            chosen += [i for i in group if self.attributes[i] in wanted] or list(group)
        return chosen


class Anomaly(NamedTuple):
    """Anomaly scores of N images.

    Args:
        score: (N,) larger for images that differ more from the normal ones.
        map: (N, H, W) distance of each pixel from its reconstruction, mean over channels.
        rebuilt: (N, C, H, W) the reconstructions, in [-1, 1].
        steps: (N,) search steps for each image; 1 for models that need no search.
    """

    score: Tensor
    map: Tensor
    rebuilt: Tensor
    steps: Tensor


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


@dataclass(frozen=True)
class Preset:
    """A named set of sizes: the paper's, or sizes for another purpose.

    Args:
        about: one line: whose sizes these are, and their purpose.
        model: arguments of the recipe that differ from its defaults.
        settings: settings of the run that differ from the defaults.
        spec: the data that the paper's parameter counts are for.
        parameters: trainable parameters by network at `spec`, as published or counted; a test builds them.
    """

    about: str
    model: dict[str, object] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)
    spec: Spec | None = None
    parameters: dict[str, int] = field(default_factory=dict)


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


class Abilities(Protocol):
    """Every method that some part of gankit looks for on a recipe, with `can`. All are optional.

    N is a number of samples, (C, H, W) the shape of an image in [-1, 1].
    """

    def noise(self, n: int, height: int = 0, width: int = 0) -> Tensor:
        """(n, z_dim) latents from torch's default generator, or random numbers for n images of a translator.

        For: latent, previews, export, translation. With `sample`: `gankit sample`, `interpolate` and `explore`.
        """

    def sample(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """(N, z_dim) latents to (N, C, H, W) images or (N, D) points.

        A second argument is called `label`, (N,) int64, or `caption`, (N, L) codes of letters, of which the buffer
        `examples` then holds some; or it is a feature vector, (N, condition_dim), if the spec has one.
        """

    def pair(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(N, z_dim) latents to an image of each of two domains. For: latent (`--domain`), previews."""

    def traverse(self, z: Tensor, code: int, steps: int = 10) -> Tensor:
        """(N, z_dim) latents to (N, steps, z_dim), in which one learned code varies. For: explore (`codes`).

        Raises ValueError: there is no such code.
        """

    def truncate(self, z: Tensor, trunc: float) -> Tensor:
        """(N, z_dim) latents nearer to the prior's mean, as the paper defines it. For: latent (`--trunc`)."""

    def mapping(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, z_dim) latents to (N, num_ws, w_dim) styles. With `synthesis`, the buffer `w_mean` (w_dim,) and
        `trunc_layers`, the number of layers that truncation changes or None: styles in `explore`."""

    def synthesis(self, ws: Tensor, noise: str | int = "const") -> Tensor:
        """(N, num_ws, w_dim) styles to images; `noise` is "const", "none" or a seed. For: latent, explore."""

    def embed(self, caption: Tensor) -> Tensor:
        """(N, L) codes of letters, or (N, D) vectors of texts, to embeddings. For: latent (`--to-text`)."""

    def draw(self, z: Tensor, text: Tensor) -> Tensor:
        """(N, z_dim) latents and (N, E) embeddings to images. For: latent (`--to-text`)."""

    def encode(self, images: Tensor) -> Tensor:
        """Images to (N, z_dim) latents, or to the codes that the paper names. For: `gankit show`, the ledger."""

    def reconstruct(self, images: Tensor) -> Tensor:
        """Images to images, through the latent space. For: evaluation (reconstruction error)."""

    def score(self, images: Tensor) -> Anomaly:
        """Images to anomaly scores and maps. For: `gankit score`, `anomaly.Detector`."""

    def translate(self, images: Tensor) -> Tensor:
        """Images to images. For: `gankit translate` and the scores of translators.

        The names of further arguments say what it takes: `to`, a domain "a" or "b"; `attribute` (N, A) numbers, with
        `source` where data sets were joined; `styles`, images; `z`, random numbers of `noise(n, height, width)`.
        """

    def attention(self, images: Tensor, attribute: Tensor) -> tuple[Tensor, Tensor]:
        """What `translate` paints, (N, C, H, W), and the share of the input that it keeps, (N, 1, H, W) in 0..1.

        For: translation (`--attention`); its attributes are action units (`--au`).
        """

    def statistics(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Means and deviations of features, layer by layer, that define a style. For: evaluation of style transfer."""

    def segment(self, images: Tensor) -> Tensor:
        """Images to (N, H, W) int64 classes. For: `gankit translate`, evaluation (intersection over union)."""

    def critic(self, images: Tensor) -> Tensor:
        """Images to (N,) values of a Wasserstein critic. For: evaluation (critic distance)."""

    def rebuilt(self, upto: int, n: int = 1) -> Tensor:
        """The one training image as scales 0 to `upto` rebuild it. For: explore and evaluation of such models."""

    def strip(self, batch: Batch) -> list[Tensor]:
        """Columns of a preview: (N, C, H, W) images such as input, output and target, or (N, H, W) label maps.

        For: previews of models that do not sample.
        """

    @staticmethod
    def reduced(height: int, width: int, arguments: dict[str, object]) -> tuple[tuple[int, int], dict[str, object]]:
        """For models of one image: the size that it is reduced to before training, and the arguments then."""


def can(recipe: Recipe | type[Recipe], ability: str) -> bool:
    """Whether a recipe has a method of `Abilities`.

    Raises:
        AttributeError: there is no such ability, for any recipe.
    """
    if ability not in vars(Abilities):
        raise AttributeError(f"no ability {ability!r}: state it in gankit.recipe.Abilities")
    return hasattr(recipe, ability)


class Recipe(nn.Module):
    """A paper: networks as attributes, `opt`, and `step`, its algorithm from top to bottom.

    What a model can do is a method of `Abilities`. State that is neither a parameter nor a buffer and must survive an
    interruption goes through `nn.Module.get_extra_state` and `set_extra_state`, as dicts and lists of tensors and plain
    values. Several processes compute what one does if random numbers come from `batch.draw` and operations across the
    batch from `gankit.nn`: its batch norms, minibatch layers and dropout; `average` for means over the batch inside a
    loss; `whole` for all rows. To stop a gradient inside a loss, compute under `torch.no_grad()`.

    These names of outputs of `run.update` have a meaning: `real_right` and `fake_right`, the shares of real and fake
    images that D classifies correctly, steer adaptive augmentation (`real_right`) and two warnings; names that end in
    `loss` or `grad` are read by warnings. `samples/std` is the diversity of previews.

    Attributes:
        data: kinds of data that it learns from, separated by spaces: "images", "points", "vectors", "domains", "pairs",
            "masks", "captions".
        labels: "none", "optional" or "required".
        ema: names of the networks that are averaged over training.
        defaults: settings of the run that the paper asks for.
        presets: named sizes; "paper" is always among them.
        signed: names of the arguments that may be negative.
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

    data: ClassVar[str] = "images"
    labels: ClassVar[str] = "none"
    defaults: ClassVar[dict[str, object]] = {}
    presets: ClassVar[dict[str, Preset]] = {}
    signed: ClassVar[tuple[str, ...]] = ()
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

    if TYPE_CHECKING:  # the abilities of all models, with the arguments of any of them; `can` says what a model has
        noise: Callable[..., Tensor]
        sample: Callable[..., Tensor]
        pair: Callable[..., tuple[Tensor, Tensor]]
        truncate: Callable[..., Tensor]
        mapping: Callable[..., Tensor]
        synthesis: Callable[..., Tensor]
        embed: Callable[..., Tensor]
        draw: Callable[..., Tensor]
        encode: Callable[..., Tensor]
        reconstruct: Callable[..., Tensor]
        score: Callable[..., Anomaly]
        translate: Callable[..., Tensor]
        attention: Callable[..., tuple[Tensor, Tensor]]
        statistics: Callable[..., list[tuple[Tensor, Tensor]]]
        segment: Callable[..., Tensor]
        critic: Callable[..., Tensor]
        rebuilt: Callable[..., Tensor]
        strip: Callable[..., list[Tensor]]
        reduced: ClassVar[Callable[..., tuple[tuple[int, int], dict[str, object]]]]
        num_ws: int
        trunc_layers: int | None
        examples: Tensor

        @property
        def w_mean(self) -> Tensor: ...

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

    @classmethod
    def abilities(cls) -> list[str]:
        """What the model can do once it is trained, as the commands name it."""
        return [a for a in ("sample", "encode", "reconstruct", "translate", "score", "segment") if can(cls, a)]


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


def flags(options: dict[str, object], hints: dict[str, object]) -> str:
    """Options as flags of `gankit train MODEL`: --width 96 --no-deep --sides 8 16 --hold 200k --lrs ''.

    Args:
        options: names of settings or model arguments, and their values.
        hints: their types, as `typing.get_type_hints` gives them.
    """
    words = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if hints.get(name) is bool:
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, (tuple, list)):
            words += [f"--{flag}", *map(str, value)]
        elif isinstance(value, int) and hints.get(name) is Images:
            words += [f"--{flag}", short(value)]
        else:
            words += [f"--{flag}", str(value)]
    return shlex.join(words)


def short(count: int) -> str:
    """A count of images as a flag takes it: 200k for 200,000, 5M for 5,000,000."""
    for unit, letter in ((1_000_000, "M"), (1000, "k")):
        if count and count % unit == 0:
            return f"{count // unit}{letter}"
    return str(count)
