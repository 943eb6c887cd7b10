"""Images per second of gankit's training step beside the plain step, and its share of the machine's convolution speed.

    python benchmarks/speed.py dcgan --preset torch --batch 16
    python benchmarks/speed.py wgan_gp --preset small --precision bf16

The plain step is the same recipe as it is usually published: float32, NCHW, optimizers with default settings, no frozen
networks (G's update computes D's gradients and discards them; D's update stops at the fakes, as with `.detach()`),
averaged weights in a Python loop, no check for finite numbers and no log. Layers are in their literal form: a 3x3
convolution precedes the mean of 2x2 pixels or follows the doubling, filters insert zeros between the pixels, modulated
convolutions compute the weights of each sample, instance norm is torch's. pix2pix's plain step runs G once for both
updates, as the authors' code does.

Both steps alternate in one process, and each round reverses their order; the results are medians. The losses of the
first update are compared first. Only one phase is measured, the first or that of `--start`. Batches are prepared in
advance: the speed of data is measured by benchmarks/data.py.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
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

from gankit import Batch, Run, models
from gankit.models import pggan, pix2pix, stylegan
from gankit.nn import (
    DoublingConv2d,
    EqualisedConv2d,
    Fir,
    HalvingConv2d,
    ModulatedConv2d,
    PenalisedConv2d,
    double,
)
from gankit.training import loop
from gankit.training.log import Log
from gankit.training.settings import plan
from gankit.training.setup import build_recipe, open_for, open_training_data, spec_of, start_processes

TOLERANCE = {"fp32": 1e-4, "bf16": 5e-2}  # relative, of the first loss; bfloat16 keeps 8 bits


def clock() -> float:
    """Seconds; with one thread processor time, which does not include other programs on the machine."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def upfirdn(layer: Fir, x: Tensor) -> Tensor:
    """Insert zeros between the pixels, pad, filter each channel, and keep every `down`-th pixel."""
    n, c, h, w = x.shape
    x = F.pad(x[:, :, :, None, :, None], (0, layer.up - 1, 0, 0, 0, layer.up - 1))
    x = x.reshape(n, c, h * layer.up, w * layer.up)
    kernel = layer.kernel.flip(2, 3) if layer.up > 1 else layer.kernel
    x = F.conv2d(F.pad(x, layer.pad * 2), kernel.expand(c, -1, -1, -1), groups=c)
    return x[:, :, :: layer.down, :: layer.down]


def modulated(layer: ModulatedConv2d, x: Tensor, w: Tensor, noise: Tensor | None = None, gain: float = 1.0) -> Tensor:
    """A grouped convolution with separate weights for each sample, (N, O, I, k, k)."""
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


def convolution(layer: nn.Conv2d | EqualisedConv2d, x: Tensor) -> Tensor:
    """A 3x3 convolution that keeps the size."""
    weight, bias = layer.scaled() if isinstance(layer, EqualisedConv2d) else (layer.weight, layer.bias)
    return F.conv2d(x, weight, bias, padding=1)


def instance_norm(layer: nn.GroupNorm, x: Tensor) -> Tensor:
    """torch's instance norm; other group norms as they are."""
    if layer.num_groups < layer.num_channels:
        return nn.GroupNorm.forward(layer, x)
    return F.instance_norm(x, weight=layer.weight, bias=layer.bias, eps=layer.eps)


LITERAL: dict[type[nn.Module], Callable[..., Tensor]] = {
    Fir: upfirdn,
    ModulatedConv2d: modulated,
    DoublingConv2d: lambda layer, x: convolution(layer, double(x)),
    HalvingConv2d: lambda layer, x: F.avg_pool2d(convolution(layer, x), 2),
    PenalisedConv2d: nn.Conv2d.forward,
    pggan.DoublingConv: lambda layer, x: convolution(layer, double(x)),
    stylegan.UpConv: lambda layer, x: layer.blur(convolution(layer.conv, double(x))),
    stylegan.DownConv: lambda layer, x: F.avg_pool2d(convolution(layer.conv, layer.blur(x)), 2),
    nn.GroupNorm: instance_norm,
}


def once(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function, which is not computed again for the arguments of its last call."""
    arguments: tuple[Tensor, ...] = ()
    out = torch.empty(0)

    def remembered(*new: Tensor) -> Tensor:
        nonlocal arguments, out
        if len(new) != len(arguments) or any(a is not b for a, b in zip(new, arguments)):
            arguments, out = new, forward(*new)
        return out

    return remembered


class Plain(Run):
    """The step as it is usually published."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        for net in (self.recipe, *self.averages.values()):
            net.to(memory_format=torch.contiguous_format)
        for module in self.recipe.modules():
            if form := next((LITERAL[kind] for kind in type(module).mro() if kind in LITERAL), None):
                module.forward = partial(form, module)
        if isinstance(self.recipe, pix2pix.Pix2Pix):
            self.recipe.g.forward = once(self.recipe.g.forward)
        for group in (group for opt in self.recipe.opt.values() for group in opt.param_groups):
            group.update(fused=None, foreach=None)  # the constructors' defaults

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
            parameters = [p for group in self.recipe.opt[name].param_groups for p in group["params"]]
            is_g_update = len(names) == 1 and not name.startswith("d")
            loss.backward(inputs=None if is_g_update else parameters, retain_graph=i + 1 < len(losses))
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
    """Counts floating point operations by FlopCounterMode's formulas; that mode itself fails on autograd.grad."""

    total = 0

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        out = operation(*arguments, **(options or {}))
        if formula := flop_registry.get(operation._overloadpacket):
            self.total += formula(*arguments, **(options or {}), out_val=out)
        return out


class Bench:
    """A run without the training loop: `step` trains on batches that `fetch` prepared.

    Args:
        kind: Run or Plain.
        options: the command line's.
        precision: fp32 or bf16.
    """

    def __init__(self, kind: type[Run], options: argparse.Namespace, precision: str = "fp32"):
        model = models.find(options.model)
        names = ("batch", "data", "resolution", "threads")
        typed = {name: value for name in names if (value := getattr(options, name))}
        settings, arguments = plan(model, options.preset, typed | dict(precision=precision, device="cpu"))
        if not settings.data:
            settings = dataclasses.replace(settings, data="digits")
        device = start_processes(settings)
        self.data, settings, arguments = open_for(model, settings, arguments)
        recipe = build_recipe(model, spec_of(self.data), arguments, settings.seed)
        self.source = open_training_data(recipe, settings, self.data)
        folder = Path(tempfile.gettempdir())  # nothing is written
        self.run = kind(recipe, settings, folder, {}, device, Log(folder, settings, quiet=True))
        self.run.images = options.start
        self.phase = recipe.phase(options.start)
        self.batch = self.phase.batch or settings.batch

    def fetch(self, steps: int) -> list[Batch]:
        """The batches of the next steps, all of the phase that is measured."""
        start, batches = self.run.images, []
        stream = self.source.stream(start, self.batch, self.phase.resolution, self.run.settings.seed)
        for i in range(steps):
            batch = loop.make_batch(next(stream), self.run, self.batch)
            batch.start = start + i * self.batch
            if isinstance(self.run, Plain):
                batch.fields = {k: v.contiguous() for k, v in batch.fields.items()}
            batches.append(batch)
        return batches

    def step(self, batches: list[Batch]) -> float:
        """Train on batches, and return the seconds that it took."""
        began = clock()
        for batch in batches:
            if self.run.phase is None:
                self.run.phase = self.phase
                self.run.recipe.enter(self.phase.index, batch)
            self.run.recipe.step(batch, self.run)
            self.run.advance(self.batch)
        return clock() - began

    def first_loss(self) -> float:
        """The loss of the first update; trains one step."""
        losses: list[Tensor] = []
        add, log = self.run.log.add, self.run.log
        log.add = lambda scalars: losses.extend(v for k, v in scalars.items() if k.endswith("/loss"))
        torch.manual_seed(0)
        self.step(self.fetch(1))
        log.add = add
        return float(losses[0])


def convolution_speed(dtype: torch.dtype) -> Callable[[], float]:
    """A function that measures the GFLOP/s of a large convolution's forward pass in channels_last."""
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


def peak_memory() -> float:
    """Peak memory of this process in MB since `reset_peak`, or since its start where that is not supported."""
    unit = 1 if sys.platform == "darwin" else 1024
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    with contextlib.suppress(OSError):
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        size = int(status["VmHWM"].split()[0]) * 1024
    return size / 1e6


def reset_peak() -> None:
    """Restart the kernel's count of this process's peak memory, where it has one."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def memory(kind: type[Run], options: argparse.Namespace, precision: str) -> float:
    """Peak memory of two steps in MB, above the process with its networks and batches; to be run in a fresh process."""
    bench = Bench(kind, options, precision)
    batches = bench.fetch(2)
    reset_peak()
    before = peak_memory()
    bench.step(batches)
    return peak_memory() - before


def in_fresh_process(function: Callable[..., float], *arguments: object) -> float:
    """A function's result, computed in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a name from `gankit models`, or a file")
    parser.add_argument("--preset", default="", help="a preset of the model; default: none")
    parser.add_argument("--data", default="", help="default: the model's, or digits")
    parser.add_argument("--resolution", default="", help="side of the images; default: the preset's")
    parser.add_argument("--batch", type=int, default=0, help="images in a step; default: the preset's")
    parser.add_argument(
        "--precision", choices=[*TOLERANCE], default="fp32", help="of gankit's step; the plain step uses float32"
    )
    parser.add_argument(
        "--start", type=int, default=0, help="images before the steps, for models that grow; default: 0"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; default: 1")
    parser.add_argument("--steps", type=int, default=5, help="steps in a round, a multiple of n_critic; default: 5")
    parser.add_argument("--rounds", type=int, default=11, help="default: 11")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    gankit, plain = Bench(Run, options, options.precision), Bench(Plain, options)
    losses = gankit.first_loss(), plain.first_loss()
    difference, allowed = abs(losses[0] - losses[1]) / max(abs(losses[1]), 1e-12), TOLERANCE[options.precision]
    print(f"first loss {losses[0]:.6f}, plain {losses[1]:.6f}: {difference:.1e} apart, {allowed} allowed")
    if not difference <= allowed:
        return 1
    report(gankit, plain, options)
    return 0


def report(gankit: Bench, plain: Bench, options: argparse.Namespace) -> None:
    """Measure speed and memory, and print the table."""
    with Flops() as flops:
        gankit.step(gankit.fetch(options.steps))
    plain.step(plain.fetch(options.steps))
    convolution = convolution_speed(torch.bfloat16 if options.precision == "bf16" else torch.float32)
    seconds: dict[Bench, list[float]] = {gankit: [], plain: []}
    peaks = []
    for i in range(options.rounds):
        for bench in (gankit, plain) if i % 2 == 0 else (plain, gankit):
            seconds[bench].append(bench.step(bench.fetch(options.steps)) / options.steps)
        peaks.append(convolution())

    ratios = sorted(b / a for a, b in zip(seconds[gankit], seconds[plain]))
    parameters = sum(p.numel() for p in gankit.run.recipe.parameters())
    shape = "x".join(map(str, gankit.run.recipe.spec.shape))
    shape += f" at {gankit.phase.resolution} px" if gankit.phase.resolution else ""
    threads = f"{options.threads} threads" if options.threads > 1 else "one thread, processor time"
    print(f"{options.model}, {parameters:,} parameters, {shape}, batch {gankit.batch}, {options.precision}, {threads}")
    print(f"{'':10}{'images/s':>10}{'s/step':>10}{'MB':>8}")
    step = {}
    for name, bench, kind, precision in (("gankit", gankit, Run, options.precision), ("plain", plain, Plain, "fp32")):
        step[name] = statistics.median(seconds[bench])
        mb = in_fresh_process(memory, kind, options, precision)
        print(f"{name:10}{bench.batch / step[name]:10.1f}{step[name]:10.4f}{mb:8.0f}")
    print(f"gankit is {step['plain'] / step['gankit']:.2f} times as fast (rounds: {ratios[0]:.2f} to {ratios[-1]:.2f})")
    gflop, limit = flops.total / options.steps / 1e9, statistics.median(peaks)
    rate = gflop / step["gankit"]
    print(f"{gflop:.2f} GFLOP a step, {rate:.1f} GFLOP/s: {rate / limit:.0%} of a large convolution's {limit:.1f}")


if __name__ == "__main__":
    sys.exit(main())
