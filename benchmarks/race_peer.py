"""Run someone else's training script as it is, and keep samples of its generator at chosen CPU seconds.

    python benchmarks/race_peer.py --generator netG --at 60 300 900 --samples 5000 --out FOLDER -- main.py --niter 99

Everything after `--` is the script and its own options; it runs in a temporary folder. `torchvision` is the stand-in
beside this file. The clock is the process's CPU time from the first forward pass of a network on. At each chosen time,
after an optimizer's step, samples are drawn as the script itself draws them (its generator in the mode it trains in,
normal latents of the shape that it feeds) and written to FOLDER/SECONDS.npz; the time that this takes is not counted,
and weights, buffers and random numbers are as before. The script ends after the last.
"""

from __future__ import annotations

import argparse
import copy
import os
import runpy
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from race_clock import Clock
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook


class Peer:
    """A script that is running, seen through the hooks of PyTorch.

    Args:
        script: its path.
        generator: the name of its global variable.
        clock: of the race.
    """

    def __init__(self, script: Path, generator: str, clock: Clock):
        self.script, self.name, self.clock = str(script), generator, clock
        self.shape: tuple[int, ...] = ()
        self.images, self.net = 0, nn.Module()
        self.first = nn.modules.module.register_module_forward_pre_hook(self.began)
        self.every = register_optimizer_step_post_hook(self.stepped)

    def began(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """At the first forward pass: start the clock and look at what the generator is fed from now on."""
        self.first.remove()
        frame = sys._getframe()
        while frame is not None and frame.f_code.co_filename != self.script:
            frame = frame.f_back  # type: ignore[assignment]
        if not isinstance(frame.f_globals.get(self.name), nn.Module):
            raise SystemExit(f"{self.script} has no global variable {self.name!r}: name its generator by --generator")
        self.net = frame.f_globals[self.name]
        self.hook = self.net.register_forward_pre_hook(self.fed)
        if module is self.net:
            self.fed(module, inputs)
        self.clock.start()

    def fed(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Before each pass of the generator."""
        self.shape = tuple(inputs[0].shape[1:])
        if module.training and torch.is_grad_enabled():
            self.images += len(inputs[0])

    def stepped(self, *_: object) -> None:
        """After each step of an optimizer."""
        if self.clock.is_due:
            self.hook.remove()
            net = copy.deepcopy(self.net)  # in-place changes to the script's own would break a backward pass under way
            self.hook = self.net.register_forward_pre_hook(self.fed)
            self.clock.keep(lambda n: net(torch.randn(n, *self.shape)), self.images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", required=True, help="the script's global variable with its generator")
    parser.add_argument("--at", type=float, nargs="+", required=True, help="CPU seconds at which samples are kept")
    parser.add_argument("--samples", type=int, default=5000, help="samples to keep each time; default: 5000")
    parser.add_argument("--out", type=Path, required=True, help="folder of the samples")
    parser.add_argument("--mnist", type=Path, help="the folder to find as ../../data/mnist")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers before the script starts")
    parser.add_argument("script", type=Path)
    parser.add_argument("words", nargs=argparse.REMAINDER, help="the script's own options")
    options = parser.parse_args()
    script, mnist = options.script.resolve(), options.mnist and options.mnist.resolve()
    clock = Clock(options.at, options.samples, options.out.resolve())
    sys.path[0] = str(Path(__file__).resolve().parent / "stand_in")
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "scripts" / "one"
        place.mkdir(parents=True)
        (Path(folder) / "data").mkdir()
        if mnist:
            (Path(folder) / "data" / "mnist").symlink_to(mnist)
        os.chdir(place)
        peer = Peer(script, options.generator, clock)
        sys.argv = [str(script), *options.words]
        try:
            runpy.run_path(str(script), run_name="__main__")
        finally:
            peer.every.remove()
            os.chdir("/")


if __name__ == "__main__":
    main()
