"""The only loop: Settings say how long and on what, Run is the loop's face to a recipe, train() and resume() run it."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import dataclasses
import math
import os
import random
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Literal, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor, nn

from gankit import build as building
from gankit import checkpoint, data, evaluation, latent, models, processes, weights, writer
from gankit.augment import Augment
from gankit.checkpoint import Diverged
from gankit.log import Log
from gankit.nn import at_work, has_batch_norm
from gankit.recipe import Batch, Images, Phase, Recipe, Spec
from gankit.text import shown

STRIPS = 8  # rows in a preview of models that show inputs beside outputs
DTYPES = {"fp32": torch.float32, "bf16": torch.float32, "fp64": torch.float64}


@dataclass(frozen=True)
class Settings:
    """How a run goes, whatever the model.

    Args:
        data: a folder, zip or tar of images, or built-in: digits, photo, textures, ring, grid, stacked-digits, shapes.
        resolution: side of the images, 64 or 64x96 (height x width); empty for the data's own.
        fit: how images of another shape are fitted: centre crop, pad, or squash.
        mirror: flip half of the images left to right.
        alpha: what stands behind transparent pixels; keep makes it a fourth channel.
        skip_bad: leave unreadable files out, and record them, instead of stopping.
        images: how many images to train on, counting each time that one is seen; 0 for what singan's scales need.
        batch: images in a step, over all processes.
        pieces: parts that a batch is worked through in, to save memory (gradient accumulation). Batch norm and other layers
            that look across a batch see one part at a time, which changes the result; the start of a run names them.
        precision: fp32, or bf16 for faster networks with float32 weights; fp64 to check exactness.
        device: auto, cpu, cuda, cuda:1 or mps.
        threads: CPU threads; 0 leaves it to PyTorch.
        seed: the seed of everything drawn at random.
        ema: half-life of the averaged weights; 0 for no averaging.
        clip: largest norm of an optimizer's gradient; 0 for no limit.
        augment: change what D sees at random, for small data sets: diffaugment, or ada, which learns how often.
        augment_policy: which changes, like color,translation or blit,geometric:0.5; empty for the paper's.
        augment_p: with ada, how often each change is made at first, 0 to 1.
        augment_target: with ada, mean sign of D on reals at which it is held; 0 to leave augment_p as it is.
        augment_speed: with ada, images in which it can go from never to always.
        log: how often to log.
        preview: how often to draw the grid of samples; 0 for never.
        save: how often to save.
        keep: how often to keep a copy of the averaged weights for good; 0 for never.
        evaluate: metrics to take while it trains, like fd,precision; the best weights by the first of them are kept.
        evaluate_every: how often to take them.
        evaluate_n: samples for them; 0 for what `gankit evaluate` takes.
        evaluate_features: network to look through; as `gankit evaluate --features`.
        text_encoder: for models that draw from texts, what makes vectors of them: the folder of a sentence-transformers model, or
            a .npz with `text` and `vector`; empty for an encoder that is learnt from the captions.
        workers: threads that fetch batches ahead; 0 fetches each when it is needed.
        compile: compile the generators with torch.compile: slow to start, and seldom worth it on a CPU.
    """

    data: str = "digits"
    resolution: str = ""
    fit: Literal["crop", "pad", "squash"] = "crop"
    mirror: bool = False
    alpha: Literal["white", "black", "keep"] = "white"
    skip_bad: bool = False
    images: Images = Images(1_000_000)
    batch: int = 64
    pieces: int = 1
    precision: Literal["fp32", "bf16", "fp64"] = "fp32"
    device: str = "auto"
    threads: int = 0
    seed: int = 0
    ema: Images = Images(10_000)
    clip: float = 0.0
    augment: Literal["none", "diffaugment", "ada"] = "none"
    augment_policy: str = ""
    augment_p: float = 0.0
    augment_target: float = 0.6
    augment_speed: Images = Images(500_000)
    log: Images = Images(5_000)
    preview: Images = Images(25_000)
    save: Images = Images(50_000)
    keep: Images = Images(0)
    evaluate: str = ""
    evaluate_every: Images = Images(200_000)
    evaluate_n: Images = Images(0)
    evaluate_features: str = ""
    text_encoder: str = ""
    workers: int = 1
    compile: bool = False

    # May differ on resume: they change how fast the run goes, how long it is and what is drawn, but no number in it.
    FREE: ClassVar[tuple[str, ...]] = (
        "images", "device", "threads", "log", "preview", "save", "keep", "workers", "compile",
        "evaluate", "evaluate_every", "evaluate_n", "evaluate_features",
    )  # fmt: skip

    # Where else than at any number from 0 on: the least and the most.
    LIMITS: ClassVar[dict[str, tuple[float, float]]] = {
        "batch": (1, 2**24), "pieces": (1, 2**24), "threads": (0, max(64, 4 * (os.cpu_count() or 1))), "workers": (0, 256), "seed": (0, 2**63 - 1),
        "log": (1, 2**62), "save": (1, 2**62), "evaluate_every": (1, 2**62), "augment_speed": (1, 2**62), "augment_p": (0, 1), "augment_target": (0, 1),
    }  # fmt: skip

    def __post_init__(self) -> None:
        hints = get_type_hints(Settings)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if get_origin(hints[field.name]) is Literal and value not in get_args(hints[field.name]):
                raise ValueError(f"{field.name} is {value!r}; choose from {', '.join(get_args(hints[field.name]))}")
            building.check_value(field.name, value, hints[field.name])
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                least, most = self.LIMITS.get(field.name, (0, 2**62))
                if not value >= least:
                    raise ValueError(f"{field.name} is {value}; it must be at least {least}")
                if not value <= most:
                    raise ValueError(f"{field.name} is {value}; it must be at most {most}")
        if self.pieces > self.batch:
            raise ValueError(f"pieces is {self.pieces}, more than the {self.batch} images of a batch; lower --pieces")


class Run:
    """The loop's face to a recipe, and what `gankit.train` gives back.

    Attributes:
        recipe: the model.
        settings: how the run goes.
        folder: where its files are.
        images: images seen before the current batch; `step`: batches before it; `done`: share of the run, 0 to 1.
        phase: the current phase.
        augment: what changes the images that D sees, or None.
    """

    def __init__(self, recipe: Recipe, settings: Settings, folder: Path, config: dict, device: torch.device, log: Log):
        self.settings, self.folder, self.config, self.device, self.log = settings, folder, config, device, log
        self.images = self.step = self.turn = 0
        self.phase: Phase | None = None
        self.dtype = DTYPES[settings.precision]
        self.recipe = checkpoint.place(recipe, device, self.dtype, settings.batch).train()
        self.averages = {n: copy.deepcopy(getattr(recipe, n)).requires_grad_(False) for n in recipe.ema if settings.ema}
        self.names = {id(p): n for n, p in recipe.named_parameters()}
        self.augment = None
        if settings.augment != "none":
            self.augment = augmentation(settings).to(device)
        self.across: set[str] = set()  # what was announced to see pieces
        self.bad: dict[str, Tensor] = {}  # on a GPU: per optimizer, the first norms that were not finite

    @property
    def done(self) -> float:
        return min(1.0, self.images / self.settings.images)

    # What a recipe calls ---------------------------------------------------------------------------------------------

    def update(
        self, names: str | tuple[str, ...], loss_fn: Callable[..., tuple], batch: Batch, *more: Tensor
    ) -> dict[str, Tensor]:
        """One step of the named optimizer, or of several from one forward pass.

        Scalars in the outputs are averaged over pieces and devices and logged; tensors come back, detached, with the
        pieces' rows in the batch's order.

        Args:
            names: which of `recipe.opt`; only their parameters require gradients meanwhile, all others are frozen.
            loss_fn: takes a piece of the batch (and of each of `more`) to (loss, outputs); with several names, to
                (a tuple of as many losses, outputs), each back-propagated into its own parameters only.
            batch: the rows of this process.
            more: tensors with as many rows, cut into the same pieces.

        Raises:
            Diverged: a loss or gradient is not finite; nothing was changed. (On a GPU it is noticed at the next log.)
        """
        names = (names,) if isinstance(names, str) else tuple(names)
        groups = [[p for group in self.recipe.opt[n].param_groups for p in group["params"]] for n in names]
        trained = {id(p) for group in groups for p in group}
        for parameter in self.recipe.parameters():
            parameter.requires_grad_(id(parameter) in trained)
            parameter.grad = None
        self.turn += 1
        scalars: dict[str, Tensor] = {}
        tensors: dict[str, list[Tensor]] = {}
        for rows, piece in batch.split(self.settings.pieces, self.turn):
            share = len(piece) / len(batch)
            autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16")
            with autocast, at_work(piece.draw, len(piece), len(batch)) as looked:
                losses, outputs = loss_fn(piece, *(tensor[rows] for tensor in more))
            self.announce(looked)
            losses = losses if isinstance(losses, tuple) else (losses,)
            for i, (loss, group) in enumerate(zip(losses, groups, strict=True)):
                torch.autograd.backward(loss * share, inputs=group, retain_graph=i + 1 < len(losses))
            named = {("loss" if i == 0 else f"{n}_loss"): loss for i, (n, loss) in enumerate(zip(names, losses))}
            for key, value in (named | outputs).items():
                value = torch.as_tensor(value, device=self.device).detach()
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

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of a tensor over processes, in place."""
        return processes.average(tensor)

    def _average(self, groups: list[list[nn.Parameter]], scalars: dict[str, Tensor]) -> None:
        """Average gradients and scalars over processes, in one flat message; a missing gradient counts as zero."""
        parameters = [p for group in groups for p in group]
        for p in parameters:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        if processes.world() == 1:
            return
        flat = torch.cat([p.grad.flatten() for p in parameters] + [torch.stack(list(scalars.values()))])
        *grads, means = processes.average(flat).split([p.numel() for p in parameters] + [len(scalars)])
        for p, grad in zip(parameters, grads):
            p.grad.copy_(grad.view_as(p))
        scalars.update(zip(list(scalars), means))

    def _refuse_nonfinite(self, name: str, group: list[nn.Parameter], norms: Tensor) -> None:
        if self.device.type == "cpu":
            if not math.isfinite(norms.sum()):
                self._diverged(name, group, norms)
        else:  # to look would stop the GPU at each update: keep the first bad norms there and look when logging
            here = torch.cat([norms, norms.new_tensor([float(self.images)])])
            first = self.bad.get(name)
            self.bad[name] = here if first is None else torch.where(first[:-1].isfinite().all(), here, first)

    def _diverged(self, name: str, group: list[nn.Parameter], norms: Tensor, images: int | None = None) -> None:
        bad = [i for i, norm in enumerate(norms.tolist()) if not math.isfinite(norm)]
        what = f"the gradient of {self.names[id(group[bad[0]])]}" if bad[0] < len(group) else "the loss"
        raise Diverged(
            f"{type(self.recipe).__name__}: {what} is not finite in update {name!r} after "
            f"{self.images if images is None else images} images ({len(bad)} of {len(norms)} numbers). "
            f"{checkpoint.last_save(self.folder)} Try a lower learning rate, --clip 1 or --precision fp32."
        )

    def announce(self, names: set[str]) -> None:
        """Say once of what looks across a batch that with pieces it sees one of them at a time."""
        if self.settings.pieces > 1 and (new := names - self.across):
            self.across |= new
            self.log.say(
                f"with --pieces {self.settings.pieces} {' and '.join(sorted(new))} {'sees' if len(new) == 1 else 'see'} one piece "
                "of the batch at a time: the result is not that of --pieces 1"
            )

    # What the loop calls ---------------------------------------------------------------------------------------------

    @torch.no_grad()  # else each average would hold the graph of all that it ever was
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
        half_life = min(self.settings.ema, self.images / 20)  # a young average must not remember the first weights
        for name, average in self.averages.items():
            net = getattr(self.recipe, name)
            weight = 1 - 0.5 ** (images / half_life)
            torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), weight)
            if buffers := list(net.buffers()):
                torch._foreach_copy_(list(average.buffers()), buffers)

    def check(self) -> None:
        """Raise Diverged if an update on the GPU met numbers that were not finite."""
        for name, kept in self.bad.items():
            if not math.isfinite(kept[:-1].sum()):
                group = [p for g in self.recipe.opt[name].param_groups for p in g["params"]]
                self._diverged(name, group, kept[:-1], int(kept[-1]))
        self.bad.clear()

    @contextmanager
    def averaged(self) -> Iterator[Recipe]:
        """The recipe with its averaged weights, in eval mode and without gradients; training is not touched."""
        kept = {name: getattr(self.recipe, name) for name in self.averages}
        modes = {module: module.training for module in self.recipe.modules()}
        for name, average in self.averages.items():
            setattr(self.recipe, name, average)
        learning = [p for p in self.recipe.parameters() if p.requires_grad]
        for p in learning:  # as in a model that was loaded: GRUs take another path on the CPU, and other last bits, with weights that learn
            p.requires_grad_(False)
        self.recipe.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng():
                yield self.recipe
        finally:
            for name, net in kept.items():
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
            return latent.sample(recipe, range(seed, seed + n), label=label, trunc=trunc, condition=condition)


# train and resume ----------------------------------------------------------------------------------------------------


def train(
    model: str | type[Recipe],
    *,
    preset: str = "",
    outdir: str | Path = "runs",
    desc: str = "",
    quiet: bool = False,
    **options: object,
) -> Run:
    """Train a model, and give back its finished run.

    Args:
        model: a name from `gankit models`, the path of a file with a Recipe in it, or a Recipe class.
        preset: sizes from the model's file, such as "paper" or "small"; options given here win over it.
        outdir: the folder in which the run's folder is made.
        desc: words to add to the run folder's name.
        quiet: print nothing.
        options: settings (see Settings) and the model's own arguments, by name.

    Raises:
        ValueError: an option, the data or their fit with the model is wrong.
        Diverged: a loss or gradient is not finite; the last save is whole.
        KeyboardInterrupt, SystemExit: after a save, when Ctrl-C or SIGTERM asked to stop.
    """
    kind = models.find(model) if isinstance(model, str) else model
    settings, arguments = plan(kind, preset, options)
    device = prepare(settings)
    dataset, settings, arguments = opened(settings, arguments, kind)
    spec = spec_of(dataset)
    recipe = build(kind, spec, arguments, settings.seed)
    settings = with_length(settings, recipe)
    folder, text = Path(), None
    if processes.rank() == 0:
        config = checkpoint.new_config(kind, preset, arguments, settings, spec, dataset)
        found = checkpoint.find_unfinished(Path(outdir), config) if processes.restarts() else None
        folder = found or checkpoint.new_folder(Path(outdir), kind, dataset.name, desc, config)
        text = str(folder)
    folder = Path(processes.tell(text))
    with written_alone(folder, device):
        config = checkpoint.read_config(folder)
        whole = checkpoint.whole(folder, config)
        run = Run(recipe, settings, folder, config, device, Log(folder, settings, quiet))
        if whole:
            checkpoint.restore(run)
        try:
            return loop(run, dataset)
        except ValueError as error:
            refused = not isinstance(error, Diverged) and run.step <= Augment.EVERY and not checkpoint.exists(folder)
            if refused and processes.rank() == 0:
                shutil.rmtree(folder)  # nothing was learnt, and `latest` would name it
            raise


@contextmanager
def written_alone(folder: Path, device: torch.device) -> Iterator[None]:
    """Hold the run folder, as the first of this run's processes; all of them leave if another run holds it.

    Raises:
        Held: it does.
    """
    held, error = contextlib.ExitStack(), None
    if processes.rank() == 0:
        try:  # a process that torchrun replaces may still be on its way out
            held.enter_context(writer.holding(folder, patience=20.0 if processes.restarts() else 0.0))
        except (writer.Held, OSError) as reason:
            error = reason
    if processes.agree(int(error is not None), device):
        raise error or writer.Held(f"{folder} is being written by another process")
    with held:
        yield


def resume(path: str | Path, *, model: str | type[Recipe] | None = None, quiet: bool = False, **options: object) -> Run:
    """Go on with a run from its last save, as if it had never stopped, and give it back finished.

    Args:
        path: the run's folder.
        model: the file or class of a model that is not gankit's own.
        quiet: print nothing.
        options: settings that may change: see Settings.FREE. `data` and `text_encoder` say where these are now; what they
            hold must be the same.

    Raises:
        ValueError: the folder holds no run or no training state, another process writes it, the data has changed, or an
            option may not change on resume.
    """
    folder = checkpoint.locate(path)
    config = checkpoint.read_config(folder)
    kind = checkpoint.find_model(config, model)
    before = settings_of(config)
    for name, value in options.items():
        if name not in (*Settings.FREE, *MOVED):
            was = config["arguments"].get(name, config["settings"].get(name))
            if value != was:
                raise ValueError(
                    f"{name} was {was!r} when this run began and cannot become {value!r} on resume. "
                    f"These can change: {', '.join(Settings.FREE)}. For another value start a new run."
                )
    settings = dataclasses.replace(before, **{k: v for k, v in options.items() if k in (*Settings.FREE, *MOVED)})
    if before.text_encoder and "text_encoder" not in options:
        raise ValueError(
            f"this run learnt with the text encoder {shown(before.text_encoder)}, which is opened only if you name it: "
            f"add --text-encoder {shown(before.text_encoder)}"
        )
    device = prepare(settings)
    with written_alone(folder, device):
        unasked = {
            name for name in ("evaluate", "evaluate_features") if getattr(settings, name) and name not in options
        }
        return _resumed(folder, kind, before, settings, device, quiet, unasked)


MOVED = ("data", "text_encoder")  # where these are may differ on resume, what they hold may not


def _resumed(
    folder: Path,
    kind: type[Recipe],
    before: Settings,
    settings: Settings,
    device: torch.device,
    quiet: bool,
    unasked: set[str],
) -> Run:
    """`resume`, once the folder is held; `unasked` are settings of evaluation that config.json alone names."""
    config = checkpoint.read_config(folder)
    whole = checkpoint.whole(folder, config)
    try:
        dataset = open_data(settings, kind)
    except (ValueError, OSError) as error:
        raise ValueError(f"{error}. If the data is elsewhere now, add --data PATH") from error
    if dataset.fingerprint != config["data"]["fingerprint"]:
        raise ValueError(
            f"the data {shown(settings.data)} is not what this run was trained on (fingerprint {dataset.fingerprint[:12]}, "
            f"then {config['data']['fingerprint'][:12]}). Put the old files back, name where they are with --data, or start a new run."
        )
    recipe = build(kind, checkpoint.spec_of(config), checkpoint.arguments_of(config), settings.seed)
    settings = with_length(settings, recipe)
    free = (*Settings.FREE, *MOVED)
    changed = {
        k: [getattr(before, k), getattr(settings, k)] for k in free if getattr(before, k) != getattr(settings, k)
    }
    run = Run(recipe, settings, folder, config, device, Log(folder, settings, quiet))
    if whole:
        checkpoint.restore(run)
    if "images" in changed:
        run.log.say(
            f"images: {changed['images'][0]} before, {changed['images'][1]} now; schedules follow the new length"
        )
    run.config["history"].append(checkpoint.history_entry(run.images, changed))
    run.config["settings"] = dataclasses.asdict(settings)
    if not settings.evaluate or not unasked:
        return loop(run, dataset)
    flags = f"--evaluate {settings.evaluate}" + (
        f" --evaluate-features {settings.evaluate_features}" if settings.evaluate_features else ""
    )
    with weights.not_asked(
        f"this run's config.json asks for it; to allow it add {shown(flags)}, or --evaluate '' to go without"
    ):
        return loop(run, dataset)


def plan(kind: type[Recipe], preset: str, options: dict[str, object]) -> tuple[Settings, dict[str, object]]:
    """Settings and model arguments: defaults, then the model's, then the preset's, then the options."""
    if preset and preset not in kind.presets:
        raise ValueError(f"{models.name_of(kind)} has no preset {preset!r}; it has {', '.join(kind.presets) or 'none'}")
    chosen = kind.presets[preset] if preset else None
    fields = {f.name for f in dataclasses.fields(Settings)}
    settings = dict(kind.defaults) | (chosen.settings if chosen else {})
    own = building.defaults(kind)
    if clash := fields & set(own):
        raise ValueError(
            f"{models.name_of(kind)} has an argument {min(clash)!r}, which is a setting of every run: rename it"
        )
    arguments = own | (chosen.model if chosen else {})
    for name, value in options.items():
        if name in fields:
            settings[name] = value
        elif name in arguments:
            arguments[name] = value
        else:
            raise ValueError(checkpoint.unknown("option", name, [*fields, *arguments]))
    building.check(kind, arguments)
    return Settings(**settings), arguments


def with_length(settings: Settings, recipe: Recipe) -> Settings:
    """The settings with the model's own length where `images` is 0. Raises ValueError: it has none."""
    if settings.images:
        return settings
    if not hasattr(recipe, "length"):
        raise ValueError("images is 0; it must be at least 1")
    return dataclasses.replace(settings, images=recipe.length)


def settings_of(config: dict) -> Settings:
    """The settings in a run's config.

    Raises:
        BadCheckpoint: one of them is none that a run could have.
    """
    known = {f.name for f in dataclasses.fields(Settings)}
    try:
        return Settings(**{k: v for k, v in config["settings"].items() if k in known})
    except ValueError as error:
        raise checkpoint.BadCheckpoint(f"config.json is damaged: {error}") from error


def prepare(settings: Settings) -> torch.device:
    if settings.threads:
        torch.set_num_threads(settings.threads)
    patience = (
        timedelta(days=1) if settings.evaluate else timedelta(minutes=10)
    )  # while the first process takes metrics
    device = processes.start(settings.device, patience)
    if settings.batch % processes.world():
        raise ValueError(f"batch {settings.batch} does not divide by the {processes.world()} processes; change --batch")
    return device


def open_data(settings: Settings, kind: type[Recipe]) -> data.Dataset | data.Domains | data.Union:
    """The data of the settings, read as the kind that the model learns from where it can be read in several ways."""
    s = settings
    known = dict(resolution=s.resolution or None, fit=s.fit, mirror=s.mirror, alpha=s.alpha, skip_bad=s.skip_bad)
    want = kind.data.split()[0]
    if s.text_encoder and want != "captions":
        raise ValueError(
            f"{models.name_of(kind)} learns from {kind.data} and draws from no texts: leave --text-encoder out"
        )
    return data.open(s.data, **known, want=want, text_encoder=s.text_encoder)


def training_data(
    run: Run, dataset: data.Dataset | data.Domains | data.Union
) -> data.Dataset | data.Domains | data.Union:
    """What batches are fetched from: the run's data, or the same read at the size that the model cuts its crops from (`load_size`)."""
    size = run.recipe.load_size
    if size is None or size == tuple(dataset.shape[1:]):
        return dataset
    large, own = ("x".join(map(str, sides)) for sides in (size, dataset.shape[1:]))
    try:
        return open_data(dataclasses.replace(run.settings, resolution=large), type(run.recipe))
    except ValueError as error:
        error.args = (
            f"{error}. Images to train on are read at {large}, and crops of {own} cut from them: try a lower --resolution",
        )
        raise


def opened(
    settings: Settings, arguments: dict[str, object], kind: type[Recipe]
) -> tuple[data.Dataset | data.Domains | data.Union, Settings, dict[str, object]]:
    """Data that the model can learn from, and the settings and arguments that hold with it: it may make images smaller (`reduced`).

    Raises:
        ValueError: the model cannot learn from the data.
    """
    dataset = open_data(settings, kind)
    fit(kind, dataset, settings)
    if hasattr(kind, "reduced"):
        (height, width), changed = kind.reduced(*dataset.shape[1:], arguments)
        if (height, width) != tuple(dataset.shape[1:]):
            settings, arguments = dataclasses.replace(settings, resolution=f"{height}x{width}"), arguments | changed
            dataset = open_data(settings, kind)
    return dataset, settings, arguments


def spec_of(dataset: data.Dataset | data.Domains | data.Union) -> Spec:
    """What a model must know of a data set."""
    attributes = tuple(getattr(dataset, "attribute_names", ()))
    groups, exclusive = tuple(getattr(dataset, "groups", ())), getattr(dataset, "exclusive", False)
    exclusive = tuple(exclusive) if groups else (exclusive,) * bool(attributes)
    shape, other = tuple(dataset.shape), tuple(dataset.other)
    caption = getattr(dataset, "caption", ())
    return Spec(shape, dataset.num_classes, dataset.condition_dim, other, attributes, groups, exclusive, caption)


def fit(kind: type[Recipe], dataset: data.Dataset, settings: Settings) -> None:
    """Refuse data that the model cannot learn from, saying what to type instead."""
    name = models.name_of(kind)
    if dataset.kind not in kind.data.split():
        hint = next((f". {data.HOW[one]}" for one in kind.data.split() if one in data.HOW), "")
        if dataset.kind == "domains" and (parts := data.split(settings.data)):
            hint = f". For one of its domains type --data {parts[0]}"
        if dataset.kind == "masks" and (found := data.two_sided(settings.data, "")):
            hint = f". For its images alone type --data {found[1][0]}"
        raise ValueError(
            f"{name} learns from {' or '.join(kind.data.split())}; {settings.data} holds {dataset.kind}{hint}"
        )
    if settings.augment != "none":
        if dataset.kind in ("points", "vectors"):
            raise ValueError(f"there is no augmentation of {dataset.kind}; leave --augment out")
        for shape in filter(None, (dataset.shape, dataset.other)):
            augmentation(settings).fits(shape[0])
    if settings.augment == "none" and settings.augment_policy not in ("", kind.defaults.get("augment_policy")):
        raise ValueError(
            "an augmentation policy does nothing without an augmentation: add --augment diffaugment or --augment ada"
        )
    if settings.augment != "ada" and settings.augment_p:
        raise ValueError("augment_p is how often ada changes an image: add --augment ada, or leave --augment-p out")
    if hasattr(kind, "reduced") and len(dataset) > 1:
        raise ValueError(
            f"{name} learns from one image, and {settings.data} holds {len(dataset):,}: name the file of one of them"
        )
    if kind.labels == "required" and not dataset.num_classes and not dataset.condition_dim:
        raise ValueError(
            f"{name} needs labels and {settings.data} has none: put each class into a sub-folder of its own"
        )
    if dataset.kind in data.KINDS:
        height, width = dataset.shape[1:]
        near = kind.nearest(height, width)
        if (height, width) != tuple(near):
            flag = f"{near[0]}" if near[0] == near[1] else f"{near[0]}x{near[1]}"
            raise ValueError(f"{name} cannot draw {height}x{width} (height x width) images. Add --resolution {flag}.")


def augmentation(settings: Settings) -> Augment:
    """What changes the images that D sees, as the settings have it.

    Raises:
        ValueError: the policy or a number is wrong.
    """
    s = settings
    return Augment(s.augment, s.augment_policy, s.augment_p, s.augment_target, s.augment_speed)


def build(kind: type[Recipe], spec: Spec, arguments: dict[str, object], seed: int) -> Recipe:
    """The recipe with its first weights drawn from the seed; training's own random numbers follow it."""
    torch.manual_seed(seed)
    recipe = building.construct(kind, spec, arguments, building.TRAINED)
    own = seed + 7919 * (1 + processes.rank())  # what is drawn without batch.draw must differ between processes
    torch.manual_seed(own), random.seed(own), np.random.seed(own % 2**32)
    return recipe


def loop(run: Run, dataset: data.Dataset) -> Run:
    """The loop. Progress is one integer, images seen."""
    recipe, settings, stream = run.recipe, run.settings, None
    if settings.compile:
        for name in recipe.ema:
            getattr(recipe, name).compile()
    first, judge, source = processes.rank() == 0, evaluation.during(run), training_data(run, dataset)
    if first:  # a kill may have left the folder behind or ahead of the last save
        checkpoint.sweep(run.folder)
        run.log.cut(run.images)
        run.config["images"] = run.images
        checkpoint.write_config(run)
        run.log.start(run, dataset)
        run.announce({"batch norm"} if has_batch_norm(recipe) else set())
        if hasattr(recipe, "strip"):
            run.log.fixed = make_batch(next(dataset.stream(0, STRIPS, seed=settings.seed)), run, STRIPS)
            run.log.fixed.start = 0  # so that its random numbers are always the same
    with Signals(run) as asked:
        while run.images < settings.images:
            phase = recipe.phase(run.images)
            if stream is None or phase != run.phase:
                size = phase.batch or settings.batch
                if size % processes.world():
                    raise ValueError(
                        f"the batch of {size} from {run.images} images on does not divide by the {processes.world()} processes"
                    )
                rows = source.stream(
                    run.images, size, phase.resolution, settings.seed, processes.rank(), processes.world()
                )
                stream = data.ahead(rows, settings.workers)
            batch = make_batch(next(stream), run, size)
            if run.phase is None or phase.index != run.phase.index:
                recipe.enter(phase.index, batch)
            run.phase = phase
            recipe.step(batch, run)
            before = run.images
            run.advance(size)
            due = Due(before, run.images, settings)
            stop = processes.agree(asked.signal, run.device)
            if due.log or due.save or stop:
                run.check()
            if due.evaluate and judge and not stop:
                judge(run)
            if first:
                if due.preview:
                    run.log.preview(run)
                if due.log:
                    run.log.write(run)
            if due.log:
                give_back_memory()
            if due.save or due.keep or stop:
                checkpoint.save(run, keep=due.keep)
            if stop:
                run.log.say(f"stopped after {run.images} images and saved; go on with: gankit resume {run.folder}")
                asked.leave(stop)
    if first:
        run.log.finish(run)
    processes.leave()
    return run


def make_batch(fields: dict[str, Tensor], run: Run, size: int) -> Batch:
    """A batch on the device: images from uint8 to [-1, 1], floats in the run's precision."""
    placed = {}
    for name, value in fields.items():
        value = value.to(run.device, non_blocking=True)
        if value.dtype == torch.uint8:
            value = data.normalise(value, run.dtype)
        elif value.is_floating_point():
            value = value.to(run.dtype)
        if value.ndim == 4 and run.settings.batch >= 4:
            value = value.contiguous(memory_format=torch.channels_last)
        placed[name] = value
    first = processes.rank() * size // processes.world()
    return Batch(placed, run.images, size, first, run.settings.seed, run.augment)


def give_back_memory() -> None:
    """Hand freed memory back to the system: glibc keeps it in pieces, hundreds of MB an hour for networks like cgan's."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)


class Due:
    """Which intervals end between two counts of images; the run's end counts for all."""

    def __init__(self, before: int, now: int, settings: Settings):
        end = now >= settings.images
        for name in ("log", "preview", "save", "keep", "evaluate"):
            every = getattr(settings, "evaluate_every" if name == "evaluate" else name)
            setattr(self, name, bool(every) and (now // every > before // every or (end and name != "keep")))


class Signals(contextlib.AbstractContextManager):
    """Signals that ask the loop to save and leave after the step: SIGTERM, Ctrl-C, a terminal that was closed (SIGHUP),
    a time limit (SIGXCPU) and Slurm's warning before one (SIGUSR1). A second Ctrl-C or SIGTERM leaves at once."""

    ASK = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGXCPU")  # where the system has them

    def __init__(self, run: Run):
        self.run, self.signal, self.kept = run, 0, {}
        self.seen: set[int] = set()

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for name in self.ASK:
                number = getattr(signal, name, None)
                if number is None or (
                    name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN
                ):  # as under nohup
                    continue
                self.kept[number] = signal.signal(number, self.handle)
        return self

    def handle(self, number: int, frame: object) -> None:
        if number in self.seen and number in (signal.SIGINT, signal.SIGTERM):
            os._exit(128 + number)
        self.seen.add(number)
        if not self.signal:
            self.signal = number
            self.run.log.say("stopping after this step, with a save; once more to leave at once")

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.kept.items():
            signal.signal(number, handler)

    def leave(self, number: int) -> None:
        self.run.log.close()
        processes.leave()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)
