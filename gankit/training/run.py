"""Run: what a recipe's `step` calls, above all `update`, and what the loop does around it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from gankit import latent, pictures, processes, report
from gankit.nn import at_work
from gankit.recipe import Batch, Images, Losses, Phase, Recipe
from gankit.runs.files import last_save
from gankit.runs.schema import Config
from gankit.runs.state import Diverged, place
from gankit.training.log import Log
from gankit.training.settings import Settings
from gankit.training.setup import build_augmentation

DTYPES = {"fp32": torch.float32, "bf16": torch.float32, "fp64": torch.float64}


class Run:
    """What a recipe sees of the loop, and what `gankit.train` returns.

    Attributes:
        recipe: the model.
        settings: how the run goes.
        folder: the run folder.
        images: images seen before the current batch.
        step: batches before it.
        done: share of the run that is done, 0 to 1. A model that asks for it has a schedule.
        has_schedule: whether what the model learns depends on the length of the run, which then stays as it is.
        phase: the current phase.
        augment: the augmentation of the images that D sees, or None.
    """

    def __init__(
        self, recipe: Recipe, settings: Settings, folder: Path, config: Config, device: torch.device, log: Log
    ):
        self.settings, self.folder, self.config, self.device, self.log = settings, folder, config, device, log
        self.images = self.step = self.turn = 0
        self.has_schedule = False
        self.phase: Phase | None = None
        self.dtype = DTYPES[settings.precision]
        self.recipe = place(recipe, device, self.dtype, settings.batch).train()
        self.averages = {n: copy.deepcopy(getattr(recipe, n)).requires_grad_(False) for n in recipe.ema if settings.ema}
        self.names = {id(p): n for n, p in recipe.named_parameters()}
        self.list_tensors()
        self.augment = None if settings.augment == "none" else build_augmentation(settings).to(device)
        self.announced: set[str] = set()  # layers that were announced to see one piece of a batch at a time
        self.bad: dict[str, Tensor] = {}  # on a GPU: per optimizer, the first norms that were not finite

    def __repr__(self) -> str:
        total, on = self.settings.images, self.config["data"]["name"]
        return f"<Run {self.folder.name}: {self.config['model']} on {on}, {self.images:,} of {total:,} images>"

    def _repr_html_(self) -> str:
        return report.summary_html(self.folder)

    @property
    def done(self) -> float:
        self.has_schedule = True
        return min(1.0, self.images / self.settings.images)

    # What a recipe calls ---------------------------------------------------------------------------------------------

    def update(
        self, names: str | tuple[str, ...], loss_fn: Callable[..., Losses], batch: Batch, *more: Tensor
    ) -> dict[str, Tensor]:
        """One step of the named optimizer, or of several from one forward pass.

        Scalars in the outputs are averaged over pieces and devices and logged; tensors come back, detached, with the
        pieces' rows in the batch's order.

        Args:
            names: which of `recipe.opt`; only their parameters require gradients meanwhile, all others are frozen.
            loss_fn: takes a piece of the batch (and of each of `more`) to (loss, outputs); with several names, to
                (a tuple of as many losses, outputs), each back-propagated into its own parameters only.
            batch: the rows of this process.
            more: tensors with as many rows, split into the same pieces.

        Raises:
            Diverged: a loss or gradient is not finite; no weight was changed. (On a GPU the next log line raises it.)
        """
        names = (names,) if isinstance(names, str) else tuple(names)
        groups = [[p for group in self.recipe.opt[n].param_groups for p in group["params"]] for n in names]
        trained = {id(p) for group in groups for p in group}
        if self.phase != self.listed:
            self.list_tensors()
        for parameter in self.parameters:
            is_trained = id(parameter) in trained
            if parameter.requires_grad != is_trained:
                parameter.requires_grad_(is_trained)
            parameter.grad = None
        self.turn += 1
        scalars: dict[str, Tensor] = {}
        tensors: dict[str, list[Tensor]] = {}
        for rows, piece in batch.split(self.settings.pieces, self.turn):
            share = len(piece) / len(batch)
            compute = partial(loss_fn, piece, *(tensor[rows] for tensor in more))
            for key, value in self._backward(names, groups, compute, piece, len(batch)).items():
                if value.ndim:
                    tensors.setdefault(key, []).append(value)
                else:
                    scalars[key] = scalars.get(key, 0) + value.to(self.dtype) * share
        self._average(groups, scalars)
        for name, group in zip(names, groups):
            norms = torch.stack([*torch._foreach_norm([p.grad for p in group]), scalars["loss"]])
            self._refuse_nonfinite(name, group, norms)
            scalars["grad" if name == names[0] else f"{name}_grad"] = norm = norms[:-1].norm()
            if self.settings.clip:
                torch._foreach_mul_([p.grad for p in group], (self.settings.clip / (norm + 1e-12)).clamp(max=1))
            self.recipe.opt[name].step()
        if self.augment is not None and "real_right" in scalars:
            self.augment.see(scalars["real_right"], batch.size)
        self.log.add({f"{names[0]}/{key}": value for key, value in scalars.items()})
        return scalars | {key: batch.join(parts) for key, parts in tensors.items()}

    def list_tensors(self) -> None:
        """List what each step changes, once a phase: walking through all modules takes longer than changing them."""
        self.listed = self.phase
        self.parameters = list(self.recipe.parameters())
        nets = [(average, getattr(self.recipe, name)) for name, average in self.averages.items()]
        self.averaged_parameters = [[list(net.parameters()) for net in pair] for pair in nets]
        self.averaged_buffers = [[list(net.buffers()) for net in pair] for pair in nets]

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of a tensor over processes, in place."""
        return processes.average(tensor)

    def _backward(
        self,
        names: tuple[str, ...],
        groups: list[list[nn.Parameter]],
        compute: Callable[[], Losses],
        piece: Batch,
        rows: int,
    ) -> dict[str, Tensor]:
        """Losses and outputs of a piece of a batch of `rows`, detached; each loss is back-propagated into its group."""
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16")
        with autocast, at_work(piece.draw, len(piece), rows) as layers:
            losses, outputs = compute()
        self.announce(layers)
        losses = losses if isinstance(losses, tuple) else (losses,)
        for i, (loss, group) in enumerate(zip(losses, groups, strict=True)):
            torch.autograd.backward(loss * (len(piece) / rows), inputs=group, retain_graph=i + 1 < len(losses))
        named = {("loss" if i == 0 else f"{n}_loss"): loss for i, (n, loss) in enumerate(zip(names, losses))}
        return {key: torch.as_tensor(v, device=self.device).detach() for key, v in {**named, **outputs}.items()}

    def _average(self, groups: list[list[nn.Parameter]], scalars: dict[str, Tensor]) -> None:
        """Average gradients and scalars over processes, in one flat message; a missing gradient counts as zero."""
        parameters = [p for group in groups for p in group]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        for p, grad in zip(parameters, grads):
            p.grad = grad
        if processes.world() == 1:
            return
        flat = torch.cat([grad.flatten() for grad in grads] + [torch.stack(list(scalars.values()))])
        *averages, means = processes.average(flat).split([p.numel() for p in parameters] + [len(scalars)])
        for grad, average in zip(grads, averages):
            grad.copy_(average.view_as(grad))
        scalars.update(zip(list(scalars), means))

    def _refuse_nonfinite(self, name: str, group: list[nn.Parameter], norms: Tensor) -> None:
        if self.device.type == "cpu":
            if not math.isfinite(norms.sum()):
                self._diverged(name, group, norms, self.images)
        else:  # reading them would stop the GPU at each update: keep the first bad norms there until the next log line
            current = torch.cat([norms, norms.new_tensor([float(self.images)])])
            first = self.bad.get(name)
            self.bad[name] = current if first is None else torch.where(first[:-1].isfinite().all(), current, first)

    def _diverged(self, name: str, group: list[nn.Parameter], norms: Tensor, images: int) -> None:
        bad = [i for i, norm in enumerate(norms.tolist()) if not math.isfinite(norm)]
        what = f"the gradient of {self.names[id(group[bad[0]])]}" if bad[0] < len(group) else "the loss"
        raise Diverged(
            f"{type(self.recipe).__name__}: {what} is not finite in update {name!r} after {images} images "
            f"({len(bad)} of {len(norms)} numbers). "
            f"{last_save(self.folder)} Try a lower learning rate, --clip 1 or --precision fp32."
        )

    def announce(self, layers: set[str]) -> None:
        """Say once which layers look across a batch and, with --pieces, see one piece of it at a time."""
        if self.settings.pieces > 1 and (new := layers - self.announced):
            self.announced |= new
            verb = "sees" if len(new) == 1 else "see"
            self.log.say(
                f"with --pieces {self.settings.pieces} {' and '.join(sorted(new))} {verb} one piece "
                "of the batch at a time: the result is not that of --pieces 1"
            )

    # What the loop calls ---------------------------------------------------------------------------------------------

    @torch.no_grad()  # without it each average keeps the autograd graph of all steps
    def advance(self, images: int) -> None:
        """Count a batch, and move the averaged weights towards the new ones."""
        self.images += images
        self.step += 1
        self.turn = 0
        if self.augment is not None:
            self.augment.adapt(images)
            self.augment.check(type(self.recipe).__name__, self.step)
            if self.augment.kind == "ada":
                self.log.add({"augment/p": self.augment.p})
        # The ramp-up of StyleGAN2-ADA: a young average must forget the first weights.
        half_life = min(self.settings.ema, self.images / 20)
        for averages, parameters in self.averaged_parameters:
            torch._foreach_lerp_(averages, parameters, 1 - 0.5 ** (images / half_life))
        for averages, buffers in self.averaged_buffers:
            if buffers:
                torch._foreach_copy_(averages, buffers)

    def end_at(self, images: int) -> None:
        """Move the end of the run."""
        self.settings = replace(self.settings, images=Images(images))
        self.config["settings"]["images"] = images
        self.log.end_at(images)

    def check(self) -> None:
        """Raise Diverged if an update on the GPU met numbers that were not finite."""
        for name, norms in self.bad.items():
            if not math.isfinite(norms[:-1].sum()):
                group = [p for g in self.recipe.opt[name].param_groups for p in g["params"]]
                self._diverged(name, group, norms[:-1], int(norms[-1]))
        self.bad.clear()

    @contextmanager
    def averaged(self) -> Iterator[Recipe]:
        """The recipe with its averaged weights, in eval mode and without gradients; training is not changed."""
        networks = {name: getattr(self.recipe, name) for name in self.averages}
        modes = {module: module.training for module in self.recipe.modules()}
        for name, average in self.averages.items():
            setattr(self.recipe, name, average)
        # As in a loaded model: with weights that require gradients, GRUs take another path on the CPU, with other bits.
        learning = [p.requires_grad_(False) for p in self.recipe.parameters() if p.requires_grad]
        self.recipe.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng():
                yield self.recipe
        finally:
            for name, net in networks.items():
                setattr(self.recipe, name, net)
            for p in learning:
                p.requires_grad_(True)
            for module, mode in modes.items():
                module.training = mode

    def sample(
        self, n: int = 16, seed: int = 0, label: int | None = None, trunc: float = 1.0, condition: Tensor | None = None
    ) -> Tensor:
        """Samples of seeds `seed` to `seed + n - 1` from the averaged weights: (n, C, H, W) in [-1, 1], or (n, D)."""
        with self.averaged() as recipe:
            samples = latent.sample(recipe, range(seed, seed + n), label=label, trunc=trunc, condition=condition)
        return pictures.as_samples(samples)
