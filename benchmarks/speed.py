"""Images a second of gankit's step beside the plain step, and how near it comes to what the machine can do.

    python benchmarks/speed.py dcgan --preset torch --batch 16
    python benchmarks/speed.py wgan_gp --preset small --precision bf16

The plain step is the same recipe as it is usually published: float32, NCHW, optimizers with their default settings,
nothing frozen (D's gradients are computed in G's turn and thrown away; D's turn stops at the fakes, as `.detach()`
does), averaged weights by a Python loop, no check for finite numbers and no log; filters as their definition has them,
with zeros put between the pixels, and modulated convolutions with weights made for each sample. Both take turns in one
process, in an order that is reversed each round; what is reported are medians. Before that the losses of the first update are
compared. Batches are ready beforehand, so that data costs neither of them anything (benchmarks/data.py is about that).
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gankit import Batch, Run, Spec, models
from gankit.nn import Fir, ModulatedConv2d
from gankit.training import loop
from gankit.training.log import Log
from gankit.training.setup import build_recipe, check_data, open_data, plan, start_processes

TOLERANCE = {"fp32": 1e-4, "bf16": 5e-2}  # of the first loss; bfloat16 keeps 8 bits


def clock() -> float:
    """Seconds. With one thread those of the processor, which other programs on the machine do not lengthen."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def upfirdn(layer: Fir, x: Tensor) -> Tensor:
    """Zeros between the pixels and around them, a convolution for each channel, thinning."""
    n, c, h, w = x.shape
    x = F.pad(x[:, :, :, None, :, None], (0, layer.up - 1, 0, 0, 0, layer.up - 1)).reshape(
        n, c, h * layer.up, w * layer.up
    )
    kernel = layer.kernel.flip(2, 3) if layer.up > 1 else layer.kernel
    x = F.conv2d(F.pad(x, layer.pad * 2), kernel.expand(c, -1, -1, -1), groups=c)
    return x[:, :, :: layer.down, :: layer.down]


def modulated(layer: ModulatedConv2d, x: Tensor, w: Tensor, noise: Tensor | None = None, gain: float = 1.0) -> Tensor:
    """Each sample's own weights, (N, O, I, k, k), in one grouped convolution."""
    (n, c, height, width), (o, _, k, _) = x.shape, layer.weight.shape
    weight = layer.weight * layer.style(w)[:, None, :, None, None]
    if layer.demodulate:
        weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    else:
        weight = weight / (c * k * k) ** 0.5
    x = x.reshape(1, n * c, height, width)
    if layer.blur is None:
        h = F.conv2d(x, weight.reshape(n * o, c, k, k), padding=k // 2, groups=n)
    else:
        h = F.conv_transpose2d(x, weight.transpose(1, 2).reshape(n * c, o, k, k), stride=2, groups=n)
    h = h.view(n, o, *h.shape[2:])
    h = h if layer.blur is None else layer.blur(h)
    return ((h if noise is None else h + noise) + layer.bias[:, None, None]) * gain


LITERAL = {Fir: upfirdn, ModulatedConv2d: modulated}


class Plain(Run):
    """The step as it is usually published."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        for net in (self.recipe, *self.averages.values()):
            net.to(memory_format=torch.contiguous_format)
        for module in self.recipe.modules():
            if type(module) in LITERAL:
                module.forward = partial(LITERAL[type(module)], module)
        for group in (group for opt in self.recipe.opt.values() for group in opt.param_groups):
            group.update(fused=None, foreach=None)  # what the constructors take when nothing is said

    def update(
        self, names: str | tuple[str, ...], loss_fn: Callable[..., tuple], batch: Batch, *more: Tensor
    ) -> dict[str, Tensor]:
        names = (names,) if isinstance(names, str) else tuple(names)
        for opt in self.recipe.opt.values():
            opt.zero_grad()
        self.turn += 1
        ((_, piece),) = batch.split(1, self.turn)
        losses, outputs = loss_fn(piece, *more)
        losses = losses if isinstance(losses, tuple) else (losses,)
        for i, (name, loss) in enumerate(zip(names, losses, strict=True)):
            own = [p for group in self.recipe.opt[name].param_groups for p in group["params"]]
            everything = len(names) == 1 and not name.startswith("d")
            loss.backward(inputs=None if everything else own, retain_graph=i + 1 < len(losses))
        for name in names:
            self.recipe.opt[name].step()
        if self.step == 0:
            self.log.add({f"{names[0]}/loss": losses[0].detach()})
        return {k: v.detach() if isinstance(v, Tensor) else torch.as_tensor(v) for k, v in outputs.items()}

    def advance(self, images: int) -> None:
        self.images, self.step, self.turn = self.images + images, self.step + 1, 0
        weight = 1 - 0.5 ** (images / min(self.settings.ema, self.images / 20)) if self.averages else 0
        with torch.no_grad():
            for name, average in self.averages.items():
                net = getattr(self.recipe, name)
                for mean, parameter in zip(average.parameters(), net.parameters()):
                    mean.mul_(1 - weight).add_(parameter, alpha=weight)
                for mean, buffer in zip(average.buffers(), net.buffers()):
                    mean.copy_(buffer)


class Flops(TorchDispatchMode):
    """Counts with FlopCounterMode's formulas; that mode itself raises when a step calls autograd.grad."""

    total = 0

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        out = operation(*arguments, **(options or {}))
        if formula := flop_registry.get(operation._overloadpacket):
            self.total += formula(*arguments, **(options or {}), out_val=out)
        return out


class Bench:
    """A run without the loop: `step` trains on batches that `fetch` made ready.

    Args:
        kind: Run, or Plain.
        options: the command line.
        precision: fp32 or bf16.
    """

    def __init__(self, kind: type[Run], options: argparse.Namespace, precision: str = "fp32"):
        model = models.find(options.model)
        given = dict(batch=options.batch, data=options.data, resolution=options.resolution, threads=options.threads)
        given = {k: v for k, v in given.items() if v} | dict(precision=precision, device="cpu")
        settings, arguments = plan(model, options.preset, given)
        device = start_processes(settings)
        self.data = open_data(settings)
        check_data(model, self.data, settings)
        spec = Spec(tuple(self.data.shape), self.data.num_classes, self.data.condition_dim, tuple(self.data.other))
        recipe = build_recipe(model, spec, arguments, settings.seed)
        folder = Path(tempfile.gettempdir())  # nothing is written
        self.run = kind(recipe, settings, folder, {}, device, Log(folder, settings, quiet=True))
        self.batch = settings.batch

    def fetch(self, steps: int) -> list[Batch]:
        start, batches = self.run.images, []
        stream = self.data.stream(start, self.batch, seed=self.run.settings.seed)
        for i in range(steps):
            batch = loop.make_batch(next(stream), self.run, self.batch)
            batch.start = start + i * self.batch
            if isinstance(self.run, Plain):
                batch.fields = {k: v.contiguous() for k, v in batch.fields.items()}
            batches.append(batch)
        return batches

    def step(self, batches: list[Batch]) -> float:
        """Seconds for these batches."""
        began = clock()
        for batch in batches:
            if self.run.phase is None:
                self.run.phase = self.run.recipe.phase(0)
                self.run.recipe.enter(0, batch)
            self.run.recipe.step(batch, self.run)
            self.run.advance(self.batch)
        return clock() - began

    def first_loss(self) -> float:
        """The loss of the first update; takes a step."""
        losses: list[Tensor] = []
        add, log = self.run.log.add, self.run.log
        log.add = lambda scalars: losses.extend(v for k, v in scalars.items() if k.endswith("/loss"))
        torch.manual_seed(0)
        self.step(self.fetch(1))
        log.add = add
        return float(losses[0])


def peak(dtype: torch.dtype) -> Callable[[], float]:
    """A function that gives the GFLOP/s of a large convolution, forward only, in the layout that is fastest here."""
    layer = nn.Conv2d(256, 256, 3, padding=1).to(dtype).to(memory_format=torch.channels_last)
    images = torch.randn(8, 256, 32, 32, dtype=dtype).contiguous(memory_format=torch.channels_last)
    flops = 2 * images.numel() * 256 * 9

    @torch.no_grad()
    def measure() -> float:
        began = clock()
        for _ in range(3):
            layer(images)
        return 3 * flops / (clock() - began) / 1e9

    measure()
    return measure


def resident() -> float:
    """MB of memory that this process has had at most since `forget_peak`, or since it began where that cannot be."""
    unit = 1 if sys.platform == "darwin" else 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    with contextlib.suppress(OSError):
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        most = int(status["VmHWM"].split()[0]) * 1024
    return most / 1e6


def forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def memory(kind: type[Run], options: argparse.Namespace, precision: str) -> float:
    """MB that two steps need at most, above the process with its networks and batches; asked in a fresh process."""
    bench = Bench(kind, options, precision)
    batches = bench.fetch(2)
    forget_peak()
    before = resident()
    bench.step(batches)
    return resident() - before


def in_fresh_process(function: Callable[..., float], *arguments: object) -> float:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a name from `gankit models`, or a file")
    parser.add_argument("--preset", default="", help="sizes from the model's file")
    parser.add_argument("--data", default="", help="data (the model's default)")
    parser.add_argument("--resolution", default="", help="side of the images (the preset's)")
    parser.add_argument("--batch", type=int, default=0, help="images in a step (the preset's)")
    parser.add_argument(
        "--precision", choices=[*TOLERANCE], default="fp32", help="of gankit's step; the plain one is float32"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.add_argument("--steps", type=int, default=5, help="steps in a round, a multiple of n_critic (5)")
    parser.add_argument("--rounds", type=int, default=11, help="rounds (11)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    ours, plain = Bench(Run, options, options.precision), Bench(Plain, options)
    losses = ours.first_loss(), plain.first_loss()
    apart = abs(losses[0] - losses[1]) / max(abs(losses[1]), 1e-12)
    print(
        f"first loss {losses[0]:.6f}, plain {losses[1]:.6f}: {apart:.1e} apart, {TOLERANCE[options.precision]} allowed"
    )
    if not apart <= TOLERANCE[options.precision]:
        return 1
    with Flops() as flops:
        ours.step(ours.fetch(options.steps))
    plain.step(plain.fetch(options.steps))
    conv = peak(torch.bfloat16 if options.precision == "bf16" else torch.float32)

    seconds: dict[Bench, list[float]] = {ours: [], plain: []}
    peaks = []
    for i in range(options.rounds):
        for bench in (ours, plain) if i % 2 == 0 else (plain, ours):
            seconds[bench].append(bench.step(bench.fetch(options.steps)) / options.steps)
        peaks.append(conv())
    a, b, top = (statistics.median(values) for values in (seconds[ours], seconds[plain], peaks))
    ratios = sorted(y / x for x, y in zip(seconds[ours], seconds[plain]))
    rate = flops.total / options.steps / a / 1e9
    mb = [in_fresh_process(memory, *which) for which in ((Run, options, options.precision), (Plain, options, "fp32"))]
    parameters = sum(p.numel() for p in ours.run.recipe.parameters())
    shape = "x".join(map(str, ours.data.shape))
    print(
        f"{options.model}, {parameters:,} parameters, {shape}, batch {ours.batch}, {options.precision}, "
        f"{f'{options.threads} threads' if options.threads > 1 else 'one thread, processor time'}"
    )
    print(f"{'':10}{'images/s':>10}{'s/step':>10}{'MB':>8}")
    print(f"{'gankit':10}{ours.batch / a:10.1f}{a:10.4f}{mb[0]:8.0f}")
    print(f"{'plain':10}{ours.batch / b:10.1f}{b:10.4f}{mb[1]:8.0f}")
    print(f"gankit is {b / a:.2f} times as fast (rounds: {ratios[0]:.2f} to {ratios[-1]:.2f})")
    print(
        f"{flops.total / options.steps / 1e9:.2f} GFLOP a step, {rate:.1f} GFLOP/s: {rate / top:.0%} of a large convolution's {top:.1f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
