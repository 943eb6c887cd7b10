"""What a model's source declares of it before it is built: data, presets, arguments and abilities, without torch.

`gankit.recipe.Recipe` adds the networks and the algorithm.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple, NewType, Protocol

if TYPE_CHECKING:
    from torch import Tensor

Images = NewType("Images", int)  # a count of images: a length, an interval; flags of this type also take 200k and 5M


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
        return math.prod(self.shape)

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
        """Images to images, through the latent space. For: evaluation (reconstruction error), explore."""

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

    def strip(self, batch: object) -> list[Tensor]:
        """A `Batch` to columns of a preview: (N, C, H, W) images such as input and output, or (N, H, W) label maps.

        For: previews of models that do not sample.
        """

    @staticmethod
    def reduced(height: int, width: int, arguments: dict[str, object]) -> tuple[tuple[int, int], dict[str, object]]:
        """For models of one image: the size that it is reduced to before training, and the arguments then."""


def can(recipe: Declaration | type[Declaration], ability: str) -> bool:
    """Whether a recipe has a method of `Abilities`.

    Raises:
        AttributeError: there is no such ability, for any recipe.
    """
    if ability not in vars(Abilities):
        raise AttributeError(f"no ability {ability!r}: state it in gankit.recipe.Abilities")
    return hasattr(recipe, ability)


class Declaration:
    """What every command knows of a model before it is built; `models.declared` reads it from the source.

    Attributes:
        data: kinds of data that it learns from, separated by spaces: "images", "points", "vectors", "domains", "pairs",
            "masks", "captions".
        labels: "none", "optional" or "required".
        defaults: settings of the run that the paper asks for.
        presets: named sizes; "paper" is always among them.
        signed: names of the arguments that may be negative.
    """

    data: ClassVar[str] = "images"
    labels: ClassVar[str] = "none"
    defaults: ClassVar[dict[str, object]] = {}
    presets: ClassVar[dict[str, Preset]] = {}
    signed: ClassVar[tuple[str, ...]] = ()

    if TYPE_CHECKING:  # the abilities of all models, with the arguments of any of them; `can` says what a model has
        noise: Callable[..., Tensor]
        sample: Callable[..., Tensor]
        pair: Callable[..., tuple[Tensor, Tensor]]
        traverse: Callable[..., Tensor]
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

    @classmethod
    def abilities(cls) -> list[str]:
        """What the model can do once it is trained, as the commands name it."""
        return [a for a in ("sample", "encode", "reconstruct", "translate", "score", "segment") if can(cls, a)]


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
