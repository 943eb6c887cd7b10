"""BigGANs of the author's BigGAN-PyTorch (G_ema.pth or G.pth, with D.pth), and Hugging Face's BigGAN-deep.

The author's layers divide a weight by the singular value that one power iteration from `u0` gives, as ours do, so `u0`
is taken over; `sv0` is a note of his training's log. His batch norm adds 1e-5 to the variance where ours adds 1e-4: the
difference goes into the running variances.
"""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit.exchange.tensors import Found, Tensors, is_dict_of_tensors, side
from gankit.exchange.unpickle import Refused, show
from gankit.models.biggan import EPS, WIDTHS, WIDTHS_D
from gankit.recipe import Spec


def widths_of(width: int, doublings: int) -> tuple[list[int], list[int]]:
    """Channels of our G's maps from the first on, and of our D's, for sides of 4 px doubled so often."""
    g = WIDTHS.get(doublings, (16,) * (doublings - 7) + WIDTHS[7])
    return [width * k for k in g], [width * k for k in WIDTHS_D.get(doublings, g[::-1])]


class Layers:
    """Takes layers over, theirs by name to ours by name, into the tensors of a model."""

    def __init__(self, source: Tensors, into: dict[str, Tensor]):
        self.source, self.into = source, into

    def spectral(self, theirs: str, ours: str, bias: bool = True) -> None:
        """A layer under spectral norm, with its u."""
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
        """Running mean and variance."""
        for prefix, mean, variance in (
            ("", "stored_mean", "stored_var"),
            ("bn.", "stored_mean", "stored_var"),
            ("bn.", "running_mean", "running_var"),
        ):
            if f"{theirs}.{prefix}{mean}" in self.source:
                self.into[f"{ours}.running_mean"] = self.source.take(f"{theirs}.{prefix}{mean}", (channels,))
                self.into[f"{ours}.running_var"] = self.source.take(f"{theirs}.{prefix}{variance}", (channels,)) + (
                    eps - EPS
                )
                self.source.drop(f"{theirs}.{prefix}num_batches_tracked")
                return
        raise Refused(f"{self.source.where} has no {theirs}.stored_mean")

    def attention(self, theirs: str, ours: str) -> None:
        for a, b in (("theta", "query"), ("phi", "key"), ("g", "value"), ("o", "out")):
            self.spectral(f"{theirs}.{a}", f"{ours}.{b}", bias=False)
        self.into[f"{ours}.gamma"] = self.source.scalar(f"{theirs}.gamma")


def convert(tree: object, size: int, critic: object = None, critic_size: int = 0, trunc: float = 1.0) -> Found:
    """The model that the trees of G's file and, if there is one, of D's describe.

    Args:
        tree: what `unpickle.read` gave of G's file.
        size: bytes of that file.
        critic: what it gave of D's.
        critic_size: bytes of that.
        trunc: which of a BigGAN-deep's statistics to take: those measured with latents cut at this value.

    Raises:
        Refused: it is no such file, or a form that biggan does not have.
    """
    if not is_dict_of_tensors(tree):
        raise Refused(
            f"{show(tree)} where the state dict of a BigGAN's generator was expected: G_ema.pth, G.pth or pytorch_model.bin"
        )
    g = Tensors(tree, "the generator", size)
    if "generator.gen_z.weight_orig" in g:
        return deep(g, trunc)
    if "blocks.0.0.conv3.weight" in g:
        raise Refused("a BigGAN-deep of BigGAN-PyTorch: of the deep ones those of Hugging Face are read")
    if "shared.weight" not in g:
        raise Refused("no shared.weight: a G without the shared embedding (G_shared), which biggan always has")
    return plain(g, Tensors(critic, "the discriminator", critic_size) if is_dict_of_tensors(critic) else None)


def plain(g: Tensors, d: Tensors | None) -> Found:
    """The author's BigGAN with the shared embedding and the split latent."""
    count = g.count("blocks.{}.0.conv1.weight")
    first = g.shape("blocks.0.0.conv1.weight", 4)[1]
    full, widths = side(count), [first, *(g.shape(f"blocks.{i}.0.conv1.weight", 4)[0] for i in range(count))]
    classes, embed_dim = g.shape("shared.weight", 2)
    rows, chunk = g.shape("linear.weight", 2)
    if g.shape("blocks.0.0.bn1.gain.weight", 2)[1] != embed_dim + chunk:
        raise Refused(
            "batch norms that do not see a part of the latent: a G without the split latent (hier), which biggan always has"
        )
    if rows != 16 * widths[0]:
        raise Refused(f"a first map of {rows} numbers with {widths[0]} channels: 4x4 was expected")
    places = [i for i in range(count) if f"blocks.{i}.1.gamma" in g]
    if len(places) > 1:
        raise Refused(f"attention at {len(places)} sides; biggan has it at one")
    if places and places[0] == count - 1:
        raise Refused(f"attention in G at its full side of {full} px; biggan has it at half of that at most")
    at = 8 << (places[0] if places else count - 2 if count > 1 else 0)
    width = max(1, widths[0] // widths_of(1, count)[0][0])
    found = Found(
        Spec((g.shape("output_layer.2.weight", 4)[0], full, full), num_classes=classes),
        dict(width=width, chunk=chunk, embed_dim=embed_dim, attention=at),
        {},
    )
    layers = Layers(g, found.tensors)
    found.tensors["g.embed.weight"] = g.take("shared.weight")
    layers.spectral("linear", "g.dense")
    for i in range(count):
        theirs, ours = f"blocks.{i}.0", f"g.blocks.{i}"
        for a, b in (("conv1", "conv1"), ("conv2", "conv2"), ("conv_sc", "shortcut")):
            layers.spectral(f"{theirs}.{a}", f"{ours}.{b}")
        for k in (1, 2):
            layers.spectral(f"{theirs}.bn{k}.gain", f"{ours}.norm{k}.gain", bias=False)
            layers.spectral(f"{theirs}.bn{k}.bias", f"{ours}.norm{k}.bias", bias=False)
            layers.statistics(f"{theirs}.bn{k}", f"{ours}.norm{k}.norm", widths[i + k - 1], 1e-5)
    if places:
        layers.attention(f"blocks.{places[0]}.1", "g.attention")
    else:
        found.tensors["g.attention.gamma"] = torch.zeros(())
        found.fresh += ("g.attention.",)
        found.notes.append("the file has no attention: ours has it, multiplied by zero")
    found.tensors["g.norm.weight"] = g.take("output_layer.0.gain", widths[-1:])
    found.tensors["g.norm.bias"] = g.take("output_layer.0.bias", widths[-1:])
    layers.statistics("output_layer.0", "g.norm", widths[-1], 1e-5)
    layers.spectral("output_layer.2", "g.out")
    found.notes.append(
        "batch norm's 1e-5, which the author's scripts give, is worked into the running variances; ours is 1e-4"
    )
    found.unused = g.unused("G")
    if d is not None and count > 1 and f"blocks.{count - 1}.0.conv_sc.weight" not in d:
        raise Refused(
            f"a D that halves pictures of {full} px less than {count} times, as BigGAN-PyTorch's of 32 px; biggan's halves {count} times. Leave --discriminator out"
        )
    if d is None:
        found.fresh += ("d.",)
        found.notes.append("no discriminator: give it with --discriminator D.pth")
        return found

    own, same = d.shape("blocks.0.0.conv1.weight", 4)[0], widths_of(width, count)[1][0]
    if own != same:
        raise Refused(
            f"D's first block has {own} channels where a G with {widths[-1]} at its end has a D with {same}: biggan has one width for both"
        )
    layers = Layers(d, found.tensors)
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
    return found


def deep(g: Tensors, trunc: float) -> Found:
    """Hugging Face's BigGAN-deep.

    Its spectral norms are those of the u and v in the file; `direction` finds a u that gives ours the same. Its last
    convolution has as many outputs as inputs and three of them are used: the others only count in its spectral norm, and
    what they add to it goes into the gain and bias before. The first map lies channels last.
    """
    count = sum(name.endswith(".conv_0.weight_orig") for name in g.items) // 2
    name = "generator.layers.{}.conv_0.weight_orig".format
    places = [i for i in range(2 * count + 1) if name(i) not in g]
    if len(places) != 1 or f"generator.layers.{places[0]}.gamma" not in g or places[0] % 2:
        raise Refused("no BigGAN-deep with pairs of blocks and attention at one side")
    index, full = [i + (i >= places[0]) for i in range(2 * count)], side(count)
    embed_dim, classes = g.shape("embeddings.weight", 2)
    rows, columns = g.shape("generator.gen_z.weight_orig", 2)
    if rows % 16 or columns <= embed_dim:
        raise Refused(
            f"{g.where}: generator.gen_z.weight_orig is {(rows, columns)}; 4x4 places and more than the embedding's {embed_dim} were expected"
        )
    width = max(1, rows // 16 // widths_of(1, count)[0][0])
    sets = g.shape("generator.bn.running_means", 2)[0]
    if not 0 <= trunc <= 1 or sets < 2:
        raise Refused(f"a truncation of {trunc} of {sets} sets of statistics; give one from 0 to 1")
    step = round(trunc * (sets - 1))
    found = Found(
        Spec((3, full, full), num_classes=classes),
        dict(deep=True, width=width, z_dim=columns - embed_dim, embed_dim=embed_dim, attention=4 << places[0] // 2),
        {},
        fresh=("d.",),
        notes=[
            f"batch statistics are those for truncation {step / (sets - 1):.3g}, of {sets} in the file, as its authors truncate: "
            "normal numbers within +-2, times the truncation. Ours are other latents: --trunc T draws them within +-T, so "
            "take the statistics that fit them as you draw: gankit sample RUN --trunc T --standing 100",
            "the file has no discriminator",
        ],
    )
    ours = found.tensors

    def spectral(theirs: str, name: str, bias: bool = True) -> None:
        rows, *rest = g.shape(f"{theirs}.weight_orig", 2, 4)
        weight = g.take(f"{theirs}.weight_orig")
        u, v = g.take(f"{theirs}.weight_u", (rows,)), g.take(f"{theirs}.weight_v", (prod(rest),))
        sigma = float(u.double() @ weight.double().flatten(1) @ v.double())
        ours[f"{name}.parametrizations.weight.original"] = weight
        ours[f"{name}.parametrizations.weight.0.u"] = direction(weight, u, sigma)
        if bias:
            ours[f"{name}.bias"] = g.take(f"{theirs}.bias", (rows,))

    def statistics(theirs: str, name: str) -> None:
        shape = (sets, g.shape(f"{theirs}.running_means", 2)[1])
        ours[f"{name}.running_mean"] = g.take(f"{theirs}.running_means", shape)[step]
        ours[f"{name}.running_var"] = g.take(f"{theirs}.running_vars", shape)[step]

    ours["g.embed.weight"] = g.take("embeddings.weight").T.contiguous()
    spectral("generator.gen_z", "g.dense")
    for part in ("parametrizations.weight.original", "parametrizations.weight.0.u", "bias"):
        value = ours[f"g.dense.{part}"]
        ours[f"g.dense.{part}"] = value.view(4, 4, rows // 16, -1).permute(2, 0, 1, 3).reshape(value.shape)
    for i, k in enumerate(index):
        theirs, block = f"generator.layers.{k}", f"g.blocks.{i}"
        for j in range(4):
            spectral(f"{theirs}.conv_{j}", f"{block}.convs.{j}")
            spectral(f"{theirs}.bn_{j}.scale", f"{block}.norms.{j}.gain", bias=False)
            spectral(f"{theirs}.bn_{j}.offset", f"{block}.norms.{j}.bias", bias=False)
            statistics(f"{theirs}.bn_{j}", f"{block}.norms.{j}.norm")
    theirs = f"generator.layers.{places[0]}"
    for a, b in (("theta", "query"), ("phi", "key"), ("g", "value"), ("o_conv", "out")):
        spectral(f"{theirs}.snconv1x1_{a}", f"g.attention.{b}", bias=False)
    ours["g.attention.gamma"] = g.scalar(f"{theirs}.gamma")

    theirs = "generator.conv_to_rgb"
    rows, *rest = g.shape(f"{theirs}.weight_orig", 4)
    weight, u, v = (
        g.take(f"{theirs}.weight_orig"),
        g.take(f"{theirs}.weight_u", (rows,)),
        g.take(f"{theirs}.weight_v", (prod(rest),)),
    )
    sigma = float(u.double() @ weight.double().flatten(1) @ v.double())
    used = weight[:3].contiguous()
    leading = torch.linalg.eigh(used.double().flatten(1) @ used.double().flatten(1).T).eigenvectors[:, -1]
    own = float(torch.linalg.matrix_norm(used.double().flatten(1), 2))
    ours["g.out.parametrizations.weight.original"], ours["g.out.parametrizations.weight.0.u"] = used, leading.float()
    ours["g.out.bias"] = g.take(f"{theirs}.bias", (rows,))[:3].contiguous()
    for part in ("weight", "bias"):  # relu(c x) is c relu(x)
        ours[f"g.norm.{part}"] = g.take(f"generator.bn.{part}") * (own / sigma)
    statistics("generator.bn", "g.norm")
    found.unused = g.unused("G")
    return found


def direction(weight: Tensor, u: Tensor, sigma: float) -> Tensor:
    """A vector u from which one power iteration on the weight gives sigma; the file's own where it does.

    The iteration gives |W W^T u| / |W^T u|, which lies between the smallest singular value and the largest, and takes all
    values between on the way from one's vector to the other's.

    Raises:
        Refused: sigma is no value that an iteration could give.
    """
    matrix = weight.double().flatten(1)

    def given(u: Tensor) -> float:
        return float((matrix @ F.normalize(matrix.T @ u, dim=0)).norm())

    u = F.normalize(u.double(), dim=0)
    if abs(given(u) - sigma) <= 1e-7 * sigma:
        return u.float()
    if len(matrix) <= matrix.shape[1]:
        vectors = torch.linalg.eigh(matrix @ matrix.T).eigenvectors
    else:
        vectors = F.normalize(matrix @ torch.linalg.eigh(matrix.T @ matrix).eigenvectors, dim=0)
    low, high = vectors[:, 0], vectors[:, -1]
    if not given(low) * (1 - 1e-6) <= sigma <= given(high) * (1 + 1e-6):
        raise Refused(
            f"a spectral norm of {sigma:.6g} where the weight's singular values are {given(low):.6g} to {given(high):.6g}"
        )
    a, b = 0.0, 1.0
    for _ in range(60):
        middle = (a + b) / 2
        a, b = (middle, b) if given(torch.lerp(low, high, middle)) < sigma else (a, middle)
    return F.normalize(torch.lerp(low, high, b), dim=0).float()
