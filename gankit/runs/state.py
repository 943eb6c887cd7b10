"""The state of training: everything that decides how a run goes on, saved and restored exactly."""

from __future__ import annotations

import dataclasses
import random
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypedDict, cast

import numpy as np
import torch
from torch import Tensor, nn

from gankit import processes
from gankit.augment import Augment
from gankit.recipe import Phase, Recipe
from gankit.runs import schema
from gankit.runs.config import write_config
from gankit.runs.files import last_save, read_tensors, reason, write_tensors
from gankit.runs.schema import About, BadCheckpoint, Config, Tree


class Diverged(ValueError):
    """A loss, a gradient or a weight is no longer a finite number."""


class LiveLog(Protocol):
    """The part of a run's log that is saved with it."""

    def say(self, text: str) -> None: ...

    def state(self) -> LogState: ...

    def set_state(self, state: LogState) -> None: ...


class LiveRun(Protocol):
    """A run in training, as the rooms below the loop see it; `gankit.training.Run` is one."""

    recipe: Recipe
    averages: dict[str, nn.Module]
    augment: Augment | None
    folder: Path
    config: Config
    device: torch.device
    images: int
    step: int
    phase: Phase | None

    @property
    def log(self) -> LiveLog: ...

    def averaged(self) -> AbstractContextManager[Recipe]: ...


class LogState(TypedDict):
    """What a run's log has added up since its last line, and what it needs for warnings."""

    sums: dict[str, Tensor]
    counts: dict[str, int]
    recent: list[dict[str, float]]
    warned: list[str]


NumpyState = tuple[str, np.ndarray, int, int, float]


class RandomState(TypedDict, total=False):
    """The state of every random generator of a process that training may use."""

    torch: Tensor
    python: tuple[object, ...]
    numpy: list[object]
    cuda: Tensor


class State(TypedDict):
    """Everything that decides how a run goes on."""

    progress: dict[str, int]
    phase: list[object] | None
    recipe: dict[str, Tensor]
    extra: dict[str, object]
    averages: dict[str, dict[str, Tensor]]
    optimizers: dict[str, dict[str, object]]
    augment: dict[str, Tensor]
    random: RandomState
    log: LogState


def pack(tree: object, name: str, tensors: dict[str, Tensor]) -> Tree:
    """Plain JSON for a tree of dicts, lists, tuples, tensors and plain values; its tensors go to `tensors`.

    Raises:
        TypeError: naming the place of a value of another kind.
    """
    if isinstance(tree, Tensor):
        tensors[name] = tree
        return {"$": "tensor", "name": name}
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    if isinstance(tree, (list, tuple)):
        items = [pack(item, f"{name}.{i}", tensors) for i, item in enumerate(tree)]
        return items if isinstance(tree, list) else {"$": "tuple", "items": items}
    if isinstance(tree, dict):
        return {"$": "dict", "items": [[key, pack(item, f"{name}.{key}", tensors)] for key, item in tree.items()]}
    raise TypeError(
        f"{name} is a {type(tree).__name__}, which a checkpoint cannot hold: use tensors, lists, dicts and plain values"
    )


def unpack(tree: Tree, tensors: dict[str, Tensor]) -> object:
    """The tree that `pack` turned into JSON and tensors."""
    if isinstance(tree, list):
        return [unpack(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if tree["$"] == "tensor":
        return tensors[cast(str, tree["name"])]
    if tree["$"] == "tuple":
        return tuple(unpack(item, tensors) for item in cast(list[Tree], tree["items"]))
    return {key: unpack(item, tensors) for key, item in cast(list[tuple[str, Tree]], tree["items"])}


def random_state(device: torch.device) -> RandomState:
    """The state of every random generator of this process that training may use."""
    kind, keys, *rest = np.random.get_state()
    state: RandomState = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: RandomState, device: torch.device) -> None:
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    legacy = (kind, cast(Tensor, keys).numpy().astype(np.uint32), *rest)
    np.random.set_state(cast(NumpyState, legacy))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def state_of(run: LiveRun) -> State:
    """Everything that decides how a run goes on, as one tree."""
    return {
        "progress": {"images": run.images, "step": run.step},
        "phase": None if run.phase is None else list(dataclasses.astuple(run.phase)),
        "recipe": {k: v for k, v in run.recipe.state_dict().items() if not k.endswith("_extra_state")},
        "extra": {k: v for k, v in run.recipe.state_dict().items() if k.endswith("_extra_state")},
        "averages": {name: net.state_dict() for name, net in run.averages.items()},
        "optimizers": {name: opt.state_dict() for name, opt in run.recipe.opt.items()},
        "augment": run.augment.state_dict() if run.augment is not None else {},
        "random": random_state(run.device),
        "log": run.log.state(),
    }


def set_state(run: LiveRun, state: State) -> None:
    """Restore what `state_of` returned."""
    run.images, run.step = state["progress"]["images"], state["progress"]["step"]
    run.phase = Phase(*cast(tuple[int, int | None, int | None], state["phase"])) if state["phase"] else None
    run.recipe.load_state_dict(state["recipe"] | state["extra"])
    for name, net in run.averages.items():
        net.load_state_dict(state["averages"][name])
    for name, opt in run.recipe.opt.items():
        load_optimizer(opt, state["optimizers"][name])
    if run.augment is not None:
        run.augment.load_state_dict(state["augment"])
    set_random_state(state["random"], run.device)
    run.log.set_state(state["log"])


def save(run: LiveRun, keep: bool = False) -> None:
    """Save the run so that it can go on, and the averaged weights so that they can be used.

    Each further process writes its own generators to a small file first; process 0's state names the save that they
    belong to, so that a kill between the files leaves the last whole save.

    Raises:
        Diverged: a weight, a buffer, an average or an optimizer's moment is not finite; the last save stays as it is.
    """
    refuse_nonfinite(run)
    rank, tag = processes.rank(), f"{run.images:012d}"
    if rank:
        tensors: dict[str, Tensor] = {}
        tree = pack(random_state(run.device), "random", tensors)
        write_tensors(run.folder / f"state-{tag}-process{rank}.safetensors", tensors, {"state": tree})
    processes.agree(0, run.device)  # all small files are there
    if rank:
        return
    save_weights(run, run.folder / "weights.safetensors")
    if keep:
        save_weights(run, run.folder / f"weights{run.images:09d}.safetensors")
    tensors = {}
    tree = pack(state_of(run), "run", tensors)
    about: About = {"state": tree, "run": run.config["id"], "images": run.images, "world": processes.world()}
    write_tensors(run.folder / "state.safetensors", tensors, about)
    for old in run.folder.glob("state-*-process*.safetensors"):
        if tag not in old.name:
            old.unlink(missing_ok=True)
    run.config["images"] = run.images
    write_config(run.folder, run.config)


def not_finite(tensors: dict[str, Tensor]) -> str:
    """The first tensor that is not finite, and how many of its numbers are not; empty if all are finite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not (fine := tensor.isfinite()).all():
            return f"{name} ({int((~fine).sum()):,} of {tensor.numel():,} numbers)"
    return ""


def refuse_nonfinite(run: LiveRun) -> None:
    """Raise Diverged if what would be saved of the networks, their averages or the optimizers is not finite."""
    tensors: dict[str, Tensor] = {}
    state = {
        "recipe": run.recipe.state_dict(),
        "averages": {name: net.state_dict() for name, net in run.averages.items()},
    }
    state["optimizers"] = {name: opt.state_dict()["state"] for name, opt in run.recipe.opt.items()}
    for part, tree in state.items():
        pack(tree, part, tensors)
    if bad := not_finite(tensors):
        raise Diverged(
            f"{type(run.recipe).__name__}: {bad} is not finite after {run.images} images. "
            f"{last_save(run.folder)} Try a lower learning rate, --clip 1 or --precision fp32."
        )


def save_weights(run: LiveRun, path: Path) -> None:
    with run.averaged() as recipe:
        tensors = weights_of(recipe)
    write_tensors(path, tensors, {"run": run.config["id"], "images": run.images, "model": run.config["model"]})


def weights_of(recipe: Recipe) -> dict[str, Tensor]:
    """The tensors of a weights file, on the CPU."""
    return {name: value.detach().cpu() for name, value in recipe.state_dict().items() if isinstance(value, Tensor)}


def has_state(folder: Path) -> bool:
    """Whether a run folder has a training state."""
    return (folder / "state.safetensors").exists()


def can_resume(folder: Path, config: Config) -> bool:
    """Whether the run has a save to go on from; a run without one starts from its beginning.

    Raises:
        BadCheckpoint: it has weights, or counts images, but no training state: a new start would replace its weights.
    """
    if has_state(folder):
        return True
    origin = "tuned by gankit explore" if "tuned" in config else ""
    if "source" in config:
        origin = f"imported from {config['source']['file']}"
    if origin or config["images"]:
        cause = f"was {origin}: it" if origin else f"counts {config['images']:,} images, but"
        raise BadCheckpoint(
            f"{folder} {cause} has weights and no training state (state.safetensors: optimizers, counters, random "
            "numbers), so there is nothing to go on with. Copy that file from where the run was trained, if it was. "
            "As it is, it can be sampled, explored, evaluated and exported"
        )
    return False


def restore(run: LiveRun) -> None:
    """Restore a run to its last save.

    Raises:
        BadCheckpoint: the state is damaged, of another run, or of another number of processes.
    """
    path = run.folder / "state.safetensors"
    tensors, about = read_tensors(path)
    if about["run"] != run.config["id"]:
        raise BadCheckpoint(f"{path} belongs to another run than config.json beside it: put the run's own file back")
    try:
        schema.check(about, schema.STATE)
        state = cast(State, unpack(about["state"], tensors))
        schema.check(state["progress"], {"images": schema.Whole(), "step": schema.Whole()}, "progress")
        set_state(run, state)
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError, ValueError, OverflowError) as error:
        raise BadCheckpoint(f"{path} does not fit the model: {reason(error)}") from error
    rank = processes.rank()
    if rank and rank < about["world"]:
        mine, its = read_tensors(run.folder / f"state-{about['images']:012d}-process{rank}.safetensors")
        set_random_state(cast(RandomState, unpack(its["state"], mine)), run.device)
    if processes.world() != about["world"]:
        run.log.say(
            f"saved by {about['world']} processes, going on with {processes.world()}: exact but for random numbers "
            "drawn without batch.draw"
        )


FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad)  # Adagrad only on the CPU


def place(recipe: Recipe, device: torch.device, dtype: torch.dtype, batch: int) -> Recipe:
    """The recipe on its device, in its memory layout for batches of this size, with fused optimizers."""
    recipe.to(device, dtype)
    recipe.to(memory_format=recipe.memory_format(batch))  # type: ignore[call-overload]  # not in torch's stubs
    for opt in recipe.opt.values():
        load_optimizer(opt, opt.state_dict())  # state made by a constructor, such as Adagrad's, moves too
    return recipe


def load_optimizer(opt: torch.optim.Optimizer, state: dict[str, object]) -> None:
    """Load an optimizer's state onto the device and into the memory layout of its weights, as fused kernels need it."""
    opt.load_state_dict(state)
    for group in opt.param_groups:
        if type(opt) in FUSED:
            group["fused"] = group["params"][0].device.type == "cpu" or type(opt) is not torch.optim.Adagrad
    for parameter, moments in opt.state.items():
        for key, value in moments.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                moments[key] = torch.empty_like(parameter).copy_(value)
