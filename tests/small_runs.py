"""Every model at its smallest, through the real loop in float64, also on one of several processes.

A run must be long enough for everything that a model does only now and then: several updates of one network, lazy
penalties, growth, a full pool, phases.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist

from gankit import models, processes, training
from gankit.recipe import Recipe
from gankit.training import Run, loop

BATCH = 8
SGD = str(Path(__file__).parent / "sgd_gan.py")  # a model of the tests
STACKGAN = dict(width_g=16, width_d=8, z_dim=8, c_dim=8, text_width=16, embed_dim=16, text_images=16, stage1_images=16)
# Adam divides by the root of the mean square of a gradient plus eps. Where a gradient is zero but for rounding (that of
# a bias before a batch or instance norm), this turns the last bits of a sum into steps of full size, and these bits
# depend on the order of addition. The models below run with an eps that is large against such bits.
EPS = 1.0
UNSTEADY = {
    "acgan", "anogan", "biggan", "biggan deep", "cogan", "cyclegan", "f_anogan", "ganimation", "infogan",
    "lapgan large", "lsgan", "pix2pix batch", "sagan", "singan", "sngan", "stackgan", "stackgan pytorch", "stargan",
    "stylegan", "wgan_gp",
}  # fmt: skip
CASES: dict[str, tuple[str, dict[str, object]]] = {  # by name: the model and its options besides the preset "small"
    "acgan": ("acgan", dict(widths=(8, 4), width_d=2, dropout=0.3)),
    "adain": ("adain", dict(resolution="32")),
    "anogan": ("anogan", {}),
    "biggan": ("biggan", dict(consistency="icr", width=4)),
    "biggan deep": ("biggan", dict(preset="small-deep", width=8)),
    "cgan": ("cgan", dict(dropout=0.4)),
    "cogan": ("cogan", dict(width=8, norm_d=True, dropout=True)),
    "cyclegan": ("cyclegan", dict(width=4, jitter=True, pool=5, identity_weight=0.5)),
    "dcgan": ("dcgan", {}),
    "dcgan relativistic_average": (
        "dcgan", dict(norm_d=True, unit_norm=True, loss="relativistic_average", penalty="wgan_gp")
    ),
    "dcgan dragan": ("dcgan", dict(loss="hinge", penalty="dragan", norm_d=True)),
    "dcgan lecam": ("dcgan", dict(loss="least_squares", penalty="lecam", consistency="icr")),
    "dcgan diffaugment": ("dcgan", dict(augment="diffaugment")),
    "dcgan ada": ("dcgan", dict(augment="ada", augment_p=0.4, augment_speed=100)),
    "dualgan": ("dualgan", dict(width=4)),
    "f_anogan": ("f_anogan", dict(width=8, gan_images=24)),
    "gan": ("gan", dict(dropout=0.4, input_dropout=0.2)),
    "gan paper": (
        "gan", dict(preset="paper", g_hidden=(40,), d_hidden=(24,), resolution="", loss="relativistic_average")
    ),
    "ganimation": ("ganimation", dict(width=4, width_d=4, resolution="16")),
    "infogan": ("infogan", dict(width=8, hidden=32)),
    "lapgan": ("lapgan", dict(turn=8, shares=(1, 1), dropout=0.3)),
    "lapgan large": ("lapgan", dict(turn=2, shares=(1, 1), form="large", conditional=True, batch=2, images=4)),
    "lsgan": ("lsgan", dict(width=8)),
    "pggan": ("pggan", dict(group=8, hold=16, fade=16, channel_base=64, channel_max=8)),
    "pix2pix": ("pix2pix", dict(width=4, jitter=True)),
    "pix2pix batch": ("pix2pix", dict(width=4, norm="batch", loss="relativistic_average")),
    "r3gan": ("r3gan", dict(widths=(16, 8, 8))),
    "sagan": ("sagan", dict(width=4)),
    "sgd_gan ada": (SGD, dict(norm=False, augment="ada", augment_p=0.3)),
    "singan": ("singan", dict(most=40, width=4, iterations=16, updates=2, rec_weight=1.0)),
    "sngan": ("sngan", dict(width=4)),
    "stackgan": ("stackgan", STACKGAN),
    "stackgan pytorch": ("stackgan", dict(form="pytorch", norm_d=True, kl_weight=1.0) | STACKGAN),
    "stargan": ("stargan", dict(width=4, resolution="16")),
    "stylegan": ("stylegan", dict(hold=16, fade=16, channel_base=64, channel_max=8, lr=0.02)),
    "stylegan2": ("stylegan2", dict(channel_base=64, channel_max=8, r1_every=2, path_every=2)),
    "stylegan2 conditional": ("stylegan2", dict(channel_base=64, channel_max=8, conditional=True, batch=6, group=3)),
    "unet": ("unet", dict(width=4, levels=2, resolution="32", dropout=0.4, border_weight=5.0)),
    "vae": ("vae", {}),
    "wgan": ("wgan", dict(width=8, n_critic=3)),
    "wgan_gp": ("wgan_gp", dict(width=8)),
}  # fmt: skip


def train(case: str, outdir: Path, **more: object) -> Run:
    """Train a case to its end, which it saves."""
    model, options = CASES[case]
    kind = models.find(model)
    default_data = {"points": "ring", "domains": "digits-negative"}.get(kind.data.split()[0], "digits")
    options = {
        "preset": "small" if "small" in kind.presets else "",
        "data": kind.defaults.get("data", default_data),
        "batch": BATCH,
    } | options
    images = 6 * options["batch"]
    fixed = dict(
        precision="fp64", device="cpu", workers=0, preview=0, log=1000, save=1000, ema=20, images=images, quiet=True
    )
    build = loop.build_recipe
    try:
        loop.build_recipe = partial(steady, build) if case in UNSTEADY else build
        return training.train(model, outdir=outdir / case, **fixed | options | more)
    finally:
        loop.build_recipe = build


def steady(build: Callable[..., Recipe], *arguments: object) -> Recipe:
    """Build a recipe whose optimizers have an eps of EPS."""
    recipe = build(*arguments)
    for group in (group for opt in recipe.opt.values() for group in opt.param_groups):
        group["eps"] = EPS
    return recipe


def main(outdir: Path, rank: int, world: int, cases: list[str]) -> None:
    """Run cases as one of several processes, and write case.done or case.failed for each."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{outdir}/store", rank=rank, world_size=world)
    processes.leave = dist.barrier  # keep the group for the next case
    for case in cases:
        try:
            state = train(case, outdir).recipe.state_dict().values()
            low = torch.cat([tensor.double().flatten() for tensor in state if isinstance(tensor, torch.Tensor)])
            high = low.clone()
            dist.all_reduce(low, dist.ReduceOp.MIN), dist.all_reduce(high, dist.ReduceOp.MAX)
        except BaseException:  # the other process may wait for this one forever
            (outdir / f"{case}.failed").write_text(traceback.format_exc())
            print(f"ended by {case}:", traceback.format_exc(), flush=True)
            os._exit(1)
        if not torch.equal(low, high):
            message = f"weights differ by {(high - low).abs().max()} between the processes"
            (outdir / f"{case}.failed").write_text(message)
        elif rank == 0:
            (outdir / f"{case}.done").touch()
