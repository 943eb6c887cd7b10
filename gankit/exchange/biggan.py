"""Weights of BigGAN: the author's BigGAN-PyTorch (G_ema.pth or G.pth, with D.pth), and Hugging Face's BigGAN-deep.

The author's layers divide a weight by the singular value that one power iteration from `u0` gives. Ours do the same, so
`u0` is copied; `sv0` is only logged by his training. His batch norm adds 1e-5 to the variance, ours 1e-4: the running
variances are reduced by the difference.
"""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit.exchange.tensors import Conversion, Layers, Tensors, is_dict_of_tensors, side
from gankit.exchange.unpickle import Refused, show
from gankit.models.biggan import EPS, WIDTHS, WIDTHS_D
from gankit.recipe import Spec


def widths_of(width: int, doublings: int) -> tuple[list[int], list[int]]:
    """Channels of the feature maps of our G, from the first one, and of our D, after this many doublings of 4 px."""
    g = WIDTHS.get(doublings, (16,) * (doublings - 7) + WIDTHS[7])
    return [width * k for k in g], [width * k for k in WIDTHS_D.get(doublings, g[::-1])]


class PlainLayers(Layers):
    """Copies layers of the author's BigGAN."""

    def spectral(self, theirs: str, ours: str, bias: bool = True) -> None:
        """Copy a layer with spectral norm, with its u."""
        rows = self.source.shape(f"{theirs}.weight", 2, 4)[0]
        weight = self.source.take(f"{theirs}.weight")
        if f"{theirs}.u0" not in self.source:
            raise Refused(
                f"{self.source.where} has no {theirs}.u0: it was trained without spectral norm, which biggan always has"
            )
        self.into[f"{ours}.parametrizations.weight.original"] = weight
        self.into[f"{ours}.parametrizations.weight.0.u"] = self.source.take(f"{theirs}.u0", (1, rows))[0]
        self.source.drop(f"{theirs}.sv0")
        if bias:
            self.into[f"{ours}.bias"] = self.source.take(f"{theirs}.bias", (rows,))

    def statistics(self, theirs: str, ours: str, channels: int, eps: float) -> None:
        """Copy running means and variances."""
        for mean, variance in (
            ("stored_mean", "stored_var"),
            ("bn.stored_mean", "bn.stored_var"),
            ("bn.running_mean", "bn.running_var"),
        ):
            if f"{theirs}.{mean}" in self.source:
                values = self.source.take(f"{theirs}.{variance}", (channels,))
                self.into[f"{ours}.running_mean"] = self.source.take(f"{theirs}.{mean}", (channels,))
                self.into[f"{ours}.running_var"] = values + (eps - EPS)
                self.source.drop(f"{theirs}.{'bn.' if mean.startswith('bn.') else ''}num_batches_tracked")
                return
        raise Refused(f"{self.source.where} has no {theirs}.stored_mean")

    def attention(self, theirs: str, ours: str) -> None:
        """Copy an attention block."""
        for a, b in (("theta", "query"), ("phi", "key"), ("g", "value"), ("o", "out")):
            self.spectral(f"{theirs}.{a}", f"{ours}.{b}", bias=False)
        self.into[f"{ours}.gamma"] = self.source.scalar(f"{theirs}.gamma")


def convert(tree: object, size: int, critic: object, critic_size: int, trunc: float) -> Conversion:
    """Our model with the weights of G's file and, if it is given, of D's.

    Args:
        tree: the contents of G's file, from `unpickle.read`.
        size: of that file in bytes.
        critic: the contents of D's file, or None.
        critic_size: of that file in bytes.
        trunc: which of BigGAN-deep's batch statistics to use: those measured with latents truncated at this value.

    Raises:
        Refused: the file is something else, or a variant that biggan does not have.
    """
    if not is_dict_of_tensors(tree):
        raise Refused(
            f"{show(tree)} where the state dict of a BigGAN's generator was expected: "
            "G_ema.pth, G.pth or pytorch_model.bin"
        )
    g = Tensors(tree, "the generator", size)
    if "generator.gen_z.weight_orig" in g:
        return deep(g, trunc)
    if "blocks.0.0.conv3.weight" in g:
        raise Refused("a BigGAN-deep of BigGAN-PyTorch; of BigGAN-deep only Hugging Face's files are supported")
    if "shared.weight" not in g:
        raise Refused("no shared.weight: a G without the shared embedding (G_shared), which biggan always has")
    return original(g, Tensors(critic, "the discriminator", critic_size) if is_dict_of_tensors(critic) else None)


def original(g: Tensors, d: Tensors | None) -> Conversion:
    """The author's BigGAN with the shared embedding and the split latent."""
    count = g.count("blocks.{}.0.conv1.weight")
    first = g.shape("blocks.0.0.conv1.weight", 4)[1]
    widths = [first, *(g.shape(f"blocks.{i}.0.conv1.weight", 4)[0] for i in range(count))]
    classes, embed_dim = g.shape("shared.weight", 2)
    chunk = check_latent(g, embed_dim, widths[0])
    at = attention_side(g, count)
    full, width = side(count), max(1, widths[0] // widths_of(1, count)[0][0])
    found = Conversion(
        Spec((g.shape("output_layer.2.weight", 4)[0], full, full), num_classes=classes),
        dict(width=width, chunk=chunk, embed_dim=embed_dim, attention=at),
        {},
    )
    generator(g, found, widths)
    found.unused = g.unused("G")
    if d is not None and count > 1 and f"blocks.{count - 1}.0.conv_sc.weight" not in d:
        raise Refused(
            f"a D that halves pictures of {full} px less than {count} times, as BigGAN-PyTorch's of 32 px; "
            f"biggan's halves {count} times. Leave --discriminator out"
        )
    if d is None:
        found.fresh += ("d.",)
        found.notes.append("no discriminator: give it with --discriminator D.pth")
        return found
    actual, expected = d.shape("blocks.0.0.conv1.weight", 4)[0], widths_of(width, count)[1][0]
    if actual != expected:
        raise Refused(
            f"D's first block has {actual} channels where a G with {widths[-1]} at its end has a D with {expected}: "
            "biggan has one width for both"
        )
    discriminator(d, found, count, at)
    return found


def check_latent(g: Tensors, embed_dim: int, width: int) -> int:
    """The number of latents per block.

    Raises:
        Refused: the latent is not split among the blocks, or the first map is not of 4x4 pixels.
    """
    rows, chunk = g.shape("linear.weight", 2)
    if g.shape("blocks.0.0.bn1.gain.weight", 2)[1] != embed_dim + chunk:
        raise Refused(
            "batch norms that get no part of the latent: a G without the split latent (hier), which biggan always has"
        )
    if rows != 16 * width:
        raise Refused(f"a first map of {rows} numbers with {width} channels: 4x4 was expected")
    return chunk


def attention_side(g: Tensors, count: int) -> int:
    """The side of the feature maps at which G has attention; a default if it has none.

    Raises:
        Refused: it has attention at several sides, or at its full side.
    """
    places = [i for i in range(count) if f"blocks.{i}.1.gamma" in g]
    if len(places) > 1:
        raise Refused(f"attention at {len(places)} sides; biggan has it at one")
    if places and places[0] == count - 1:
        raise Refused(f"attention in G at its full side of {side(count)} px; biggan has it at half of that at most")
    return 8 << (places[0] if places else count - 2 if count > 1 else 0)


def generator(g: Tensors, found: Conversion, widths: list[int]) -> None:
    """Copy G."""
    layers = PlainLayers(g, found.tensors)
    found.tensors["g.embed.weight"] = g.take("shared.weight")
    layers.spectral("linear", "g.dense")
    for i in range(len(widths) - 1):
        theirs, ours = f"blocks.{i}.0", f"g.blocks.{i}"
        for a, b in (("conv1", "conv1"), ("conv2", "conv2"), ("conv_sc", "shortcut")):
            layers.spectral(f"{theirs}.{a}", f"{ours}.{b}")
        for k in (1, 2):
            layers.spectral(f"{theirs}.bn{k}.gain", f"{ours}.norm{k}.gain", bias=False)
            layers.spectral(f"{theirs}.bn{k}.bias", f"{ours}.norm{k}.bias", bias=False)
            layers.statistics(f"{theirs}.bn{k}", f"{ours}.norm{k}.norm", widths[i + k - 1], 1e-5)
    place = next((i for i in range(len(widths) - 1) if f"blocks.{i}.1.gamma" in g), None)
    if place is not None:
        layers.attention(f"blocks.{place}.1", "g.attention")
    else:
        found.tensors["g.attention.gamma"] = torch.zeros(())
        found.fresh += ("g.attention.",)
        found.notes.append("the file has no attention: ours has it, multiplied by zero")
    found.tensors["g.norm.weight"] = g.take("output_layer.0.gain", widths[-1:])
    found.tensors["g.norm.bias"] = g.take("output_layer.0.bias", widths[-1:])
    layers.statistics("output_layer.0", "g.norm", widths[-1], 1e-5)
    layers.spectral("output_layer.2", "g.out")
    found.notes.append(
        "running variances are adjusted to batch norm's eps, which is 1e-5 in the author's scripts and 1e-4 here"
    )


def discriminator(d: Tensors, found: Conversion, count: int, at: int) -> None:
    """Copy D, which halves images `count` times; G has attention at a side of `at` pixels.

    Raises:
        Refused: it has attention at another side than G.
    """
    layers, full = PlainLayers(d, found.tensors), side(count)
    halvings = next((i + 1 for i in range(count) if f"blocks.{i}.1.gamma" in d), None)
    ours_at = next(k for k in range(1, count + 1) if full >> k <= at or k == count)
    if halvings not in (None, ours_at):
        raise Refused(f"D's attention at {full >> halvings} px and G's at {at}; biggan has both at one side")
    for i in range(count + 1):
        theirs, ours = f"blocks.{i}.0", f"d.trunk.{i if i < ours_at else i + 1}"
        for a, b in (("conv1", "conv1"), ("conv2", "conv2"), ("conv_sc", "shortcut")):
            if a != "conv_sc" or i < count or f"{theirs}.conv_sc.weight" in d:
                layers.spectral(f"{theirs}.{a}", f"{ours}.{b}")
    if halvings:
        layers.attention(f"blocks.{halvings - 1}.1", f"d.trunk.{ours_at}")
    else:
        found.tensors[f"d.trunk.{ours_at}.gamma"] = torch.zeros(())
        found.fresh += (f"d.trunk.{ours_at}.",)
    layers.spectral("linear", "d.head")
    layers.spectral("embed", "d.embed", bias=False)
    found.unused += d.unused("D")


# BigGAN-deep ---------------------------------------------------------------------------------------------------------


class DeepLayers(Layers):
    """Copies layers of BigGAN-deep into the tensors of a model.

    Args:
        source: the tensors of the file.
        into: the tensors of our model, by name.
        sets: the number of sets of batch statistics in the file.
        step: the number of the set to use.
    """

    def __init__(self, source: Tensors, into: dict[str, Tensor], sets: int, step: int):
        super().__init__(source, into)
        self.sets, self.step = sets, step

    def spectral_norm_of(self, theirs: str) -> tuple[Tensor, Tensor, float]:
        """The weight of a layer, its u, and the spectral norm that u and v of the file give."""
        rows, *rest = self.source.shape(f"{theirs}.weight_orig", 2, 4)
        weight = self.source.take(f"{theirs}.weight_orig")
        u = self.source.take(f"{theirs}.weight_u", (rows,))
        v = self.source.take(f"{theirs}.weight_v", (prod(rest),))
        return weight, u, float(u.double() @ weight.double().flatten(1) @ v.double())

    def spectral(self, theirs: str, ours: str, bias: bool = True) -> None:
        """Copy a layer with spectral norm, with a u that gives the same norm."""
        weight, u, sigma = self.spectral_norm_of(theirs)
        self.into[f"{ours}.parametrizations.weight.original"] = weight
        self.into[f"{ours}.parametrizations.weight.0.u"] = direction(weight, u, sigma)
        if bias:
            self.into[f"{ours}.bias"] = self.source.take(f"{theirs}.bias", (len(weight),))

    def statistics(self, theirs: str, ours: str) -> None:
        """Copy running means and variances of the chosen set."""
        shape = (self.sets, self.source.shape(f"{theirs}.running_means", 2)[1])
        self.into[f"{ours}.running_mean"] = self.source.take(f"{theirs}.running_means", shape)[self.step]
        self.into[f"{ours}.running_var"] = self.source.take(f"{theirs}.running_vars", shape)[self.step]

    def block(self, theirs: str, ours: str) -> None:
        """Copy a residual block."""
        for j in range(4):
            self.spectral(f"{theirs}.conv_{j}", f"{ours}.convs.{j}")
            self.spectral(f"{theirs}.bn_{j}.scale", f"{ours}.norms.{j}.gain", bias=False)
            self.spectral(f"{theirs}.bn_{j}.offset", f"{ours}.norms.{j}.bias", bias=False)
            self.statistics(f"{theirs}.bn_{j}", f"{ours}.norms.{j}.norm")

    def dense(self, rows: int) -> None:
        """Copy the first layer, whose output is channels last in the file."""
        self.spectral("generator.gen_z", "g.dense")
        for part in ("parametrizations.weight.original", "parametrizations.weight.0.u", "bias"):
            value = self.into[f"g.dense.{part}"]
            channels_first = value.view(4, 4, rows // 16, -1).permute(2, 0, 1, 3)
            self.into[f"g.dense.{part}"] = channels_first.reshape(value.shape)

    def last(self) -> None:
        """Copy the last norm and convolution.

        The convolution has as many outputs as inputs, of which three are used. The others only contribute to its
        spectral norm; their contribution goes into the gain and bias of the norm before, because relu(c x) is c
        relu(x).
        """
        theirs, ours = "generator.conv_to_rgb", self.into
        weight, _, sigma = self.spectral_norm_of(theirs)
        used = weight[:3].contiguous()
        matrix = used.double().flatten(1)
        leading = torch.linalg.eigh(matrix @ matrix.T).eigenvectors[:, -1]
        norm = float(torch.linalg.matrix_norm(matrix, 2))
        ours["g.out.parametrizations.weight.original"] = used
        ours["g.out.parametrizations.weight.0.u"] = leading.float()
        ours["g.out.bias"] = self.source.take(f"{theirs}.bias", (len(weight),))[:3].contiguous()
        for part in ("weight", "bias"):
            ours[f"g.norm.{part}"] = self.source.take(f"generator.bn.{part}") * (norm / sigma)
        self.statistics("generator.bn", "g.norm")


def deep(g: Tensors, trunc: float) -> Conversion:
    """Hugging Face's BigGAN-deep.

    Its spectral norms follow from u and v in the file; `direction` finds a u with which ours gives the same norm.
    """
    count = sum(name.endswith(".conv_0.weight_orig") for name in g.items) // 2
    name = "generator.layers.{}.conv_0.weight_orig".format
    places = [i for i in range(2 * count + 1) if name(i) not in g]
    if len(places) != 1 or f"generator.layers.{places[0]}.gamma" not in g or places[0] % 2:
        raise Refused("no BigGAN-deep with pairs of blocks and attention at one side")
    embed_dim, classes = g.shape("embeddings.weight", 2)
    rows, columns = g.shape("generator.gen_z.weight_orig", 2)
    if rows % 16 or columns <= embed_dim:
        raise Refused(
            f"{g.where}: generator.gen_z.weight_orig is {(rows, columns)}; "
            f"4x4 places and more than the embedding's {embed_dim} were expected"
        )
    sets = g.shape("generator.bn.running_means", 2)[0]
    if not 0 <= trunc <= 1 or sets < 2:
        raise Refused(f"the truncation is {trunc}; the file has {sets} sets of statistics, for truncations from 0 to 1")
    step, full = round(trunc * (sets - 1)), side(count)
    width = max(1, rows // 16 // widths_of(1, count)[0][0])
    found = Conversion(
        Spec((3, full, full), num_classes=classes),
        dict(deep=True, width=width, z_dim=columns - embed_dim, embed_dim=embed_dim, attention=4 << places[0] // 2),
        {},
        fresh=("d.",),
        notes=[
            f"batch statistics are those for truncation {step / (sets - 1):.3g}, one of {sets} sets in the file. Its "
            "authors multiply normal numbers within +-2 by the truncation; --trunc T draws them within +-T instead, "
            "so recompute the statistics for such latents: gankit sample RUN --trunc T --standing 100",
            "the file has no discriminator",
        ],
    )
    layers = DeepLayers(g, found.tensors, sets, step)
    found.tensors["g.embed.weight"] = g.take("embeddings.weight").T.contiguous()
    layers.dense(rows)
    for i in range(2 * count):
        layers.block(f"generator.layers.{i + (i >= places[0])}", f"g.blocks.{i}")
    attention = f"generator.layers.{places[0]}"
    for a, b in (("theta", "query"), ("phi", "key"), ("g", "value"), ("o_conv", "out")):
        layers.spectral(f"{attention}.snconv1x1_{a}", f"g.attention.{b}", bias=False)
    found.tensors["g.attention.gamma"] = g.scalar(f"{attention}.gamma")
    layers.last()
    found.unused = g.unused("G")
    return found


def direction(weight: Tensor, u: Tensor, sigma: float) -> Tensor:
    """A vector u with which one power iteration on the weight gives sigma: the given u, if it already does.

    The iteration gives |W W^T u| / |W^T u|. Between the singular vectors of the smallest and the largest singular value
    it takes all values between these two.

    Raises:
        Refused: no power iteration gives sigma.
    """
    matrix = weight.double().flatten(1)

    def norm_from(u: Tensor) -> float:
        return float((matrix @ F.normalize(matrix.T @ u, dim=0)).norm())

    u = F.normalize(u.double(), dim=0)
    if abs(norm_from(u) - sigma) <= 1e-7 * sigma:
        return u.float()
    if len(matrix) <= matrix.shape[1]:
        vectors = torch.linalg.eigh(matrix @ matrix.T).eigenvectors
    else:
        vectors = F.normalize(matrix @ torch.linalg.eigh(matrix.T @ matrix).eigenvectors, dim=0)
    low, high = vectors[:, 0], vectors[:, -1]
    if not norm_from(low) * (1 - 1e-6) <= sigma <= norm_from(high) * (1 + 1e-6):
        raise Refused(
            f"a spectral norm of {sigma:.6g} where the weight's singular values are "
            f"{norm_from(low):.6g} to {norm_from(high):.6g}"
        )
    a, b = 0.0, 1.0
    for _ in range(60):
        middle = (a + b) / 2
        a, b = (middle, b) if norm_from(torch.lerp(low, high, middle)) < sigma else (a, middle)
    return F.normalize(torch.lerp(low, high, b), dim=0).float()
