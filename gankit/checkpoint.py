"""The run folder: save, load and go on. Tensors in safetensors, the rest in JSON; nothing is ever unpickled."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import hashlib
import json
import math
import os
import platform
import random
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import gankit
from gankit import build, latent, models, processes, schema, texts, writer
from gankit.recipe import Recipe, Spec
from gankit.text import shown

if TYPE_CHECKING:
    from gankit.data import Dataset
    from gankit.loop import Run, Settings

FORMAT = 1  # of the run folder; a reader refuses newer ones
Tree = None | bool | int | float | str | list | dict


class BadCheckpoint(ValueError):
    """A run folder or a file in it that gankit cannot use."""


class Diverged(ValueError):
    """A loss, a gradient or a weight is no longer a finite number."""


# Files ---------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name to write to, flushed and renamed to `path` if all went well: a kill leaves the old file whole.

    Raises:
        OSError: naming `path`, when it cannot be written (a full disk, say); the old file is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        with contextlib.suppress(OSError):  # not every file system can flush a folder
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except (OSError, SafetensorError) as error:
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: Exception) -> OSError:
    """The error that says why a file of a run cannot be written, and where the last save is: the folder may have been moved."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if (now := writer.place(path.parent)) != path.parent:
        why = f"the folder was moved to {now} while the run was writing it; go on with: gankit resume {now}"
    return OSError(f"cannot write {path}: {why}. {last_save(now)}")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, Tree]) -> None:
    """Write tensors and JSON as one safetensors file with a checksum, whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    about = about | {"format": FORMAT, "sha256": digest(tensors)}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"gankit": json.dumps(about)})
        os.umask(mask := os.umask(0))
        os.chmod(temporary, 0o666 & ~mask)  # safetensors writes files that others cannot read


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Tensors and JSON of a file that `write_tensors` wrote.

    Raises:
        BadCheckpoint: the file is not gankit's, is from a newer gankit, or is damaged.
    """
    try:
        with safe_open(regular(path), framework="pt") as file:
            about = schema.parse((file.metadata() or {}).get("gankit", "null"), (schema.ABOUT, None))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError:
        raise BadCheckpoint(f"{path} is missing") from None
    except BadCheckpoint:
        raise
    except (SafetensorError, OSError, ValueError) as error:
        raise BadCheckpoint(f"{path} is damaged or no safetensors file ({error}); nothing in it was executed") from None
    if about is None:
        raise BadCheckpoint(f"{path} was not written by gankit")
    refuse_newer(about["format"], path)
    if digest(tensors) != about.get("sha256"):
        raise BadCheckpoint(f"{path} is damaged: its tensors do not match their checksum")
    return tensors, about


def regular(path: Path) -> Path:
    """The path, of a regular file or of none: opening a pipe would wait for ever. Raises BadCheckpoint."""
    if path.exists() and not path.is_file():
        raise BadCheckpoint(f"{path} is no regular file")
    return path


def refuse_newer(found: int, path: Path) -> None:
    if found > FORMAT:
        raise BadCheckpoint(
            f"{path} has format {found!r}; gankit {gankit.__version__} reads up to {FORMAT}: upgrade gankit"
        )


def digest(tensors: dict[str, Tensor]) -> str:
    """The sha256 of named tensors: names, types, shapes and bytes."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


# Trees of tensors and plain values -----------------------------------------------------------------------------------


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
    """The tree that `pack` took apart."""
    if isinstance(tree, list):
        return [unpack(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if tree["$"] == "tensor":
        return tensors[tree["name"]]
    if tree["$"] == "tuple":
        return tuple(unpack(item, tensors) for item in tree["items"])
    return {key: unpack(item, tensors) for key, item in tree["items"]}


# Saving and going on -------------------------------------------------------------------------------------------------


def random_state(device: torch.device) -> dict:
    """Every generator that training may have drawn from, in this process."""
    kind, keys, *rest = np.random.get_state()
    state = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), *rest],
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict, device: torch.device) -> None:
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def state_of(run: Run) -> dict:
    """All that decides how a run goes on, as one tree, in the parts that a test can leave out."""
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


def set_state(run: Run, state: dict) -> None:
    """Put back what `state_of` gave."""
    from gankit.recipe import Phase

    run.images, run.step = state["progress"]["images"], state["progress"]["step"]
    run.phase = Phase(*state["phase"]) if state["phase"] else None
    run.recipe.load_state_dict(state["recipe"] | state["extra"])
    for name, net in run.averages.items():
        net.load_state_dict(state["averages"][name])
    for name, opt in run.recipe.opt.items():
        load_optimizer(opt, state["optimizers"][name])
    if run.augment is not None:
        run.augment.load_state_dict(state["augment"])
    set_random_state(state["random"], run.device)
    run.log.set_state(state["log"])


def save(run: Run, keep: bool = False) -> None:
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
    about = {"state": tree, "run": run.config["id"], "images": run.images, "world": processes.world()}
    write_tensors(run.folder / "state.safetensors", tensors, about)
    for old in run.folder.glob("state-*-process*.safetensors"):
        if tag not in old.name:
            old.unlink(missing_ok=True)
    run.config["images"] = run.images
    write_config(run)


def not_finite(tensors: dict[str, Tensor]) -> str:
    """The name of the first tensor with NaN or infinity in it, and how many of its numbers are such; empty if there is none."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not (fine := tensor.isfinite()).all():
            return f"{name} ({int((~fine).sum()):,} of {tensor.numel():,} numbers)"
    return ""


def refuse_nonfinite(run: Run) -> None:
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


def save_weights(run: Run, path: Path) -> None:
    with run.averaged() as recipe:
        tensors = weights_of(recipe)
    write_tensors(path, tensors, {"run": run.config["id"], "images": run.images, "model": run.config["model"]})


def weights_of(recipe: Recipe) -> dict[str, Tensor]:
    """All that a file of weights holds, on the CPU."""
    return {name: value.detach().cpu() for name, value in recipe.state_dict().items() if isinstance(value, Tensor)}


def exists(folder: Path) -> bool:
    return (folder / "state.safetensors").exists()


def whole(folder: Path, config: dict) -> bool:
    """Whether the run can go on from a save; a run that has not saved yet begins at its beginning.

    Raises:
        BadCheckpoint: it has weights, or counts images, and no training state: to begin again would replace what it learnt.
    """
    if exists(folder):
        return True
    whence = (
        f"imported from {config['source']['file']}"
        if "source" in config
        else "tuned by gankit explore"
        if "tuned" in config
        else ""
    )
    if whence or config["images"]:
        why = f"was {whence}: it" if whence else f"counts {config['images']:,} images, but"
        raise BadCheckpoint(
            f"{folder} {why} has weights and no training state (state.safetensors: optimizers, counters, random numbers), so "
            "there is nothing to go on with. Copy that file from where the run was trained, if it was. As it is, it can be "
            "sampled, explored, evaluated and exported"
        )
    return False


def restore(run: Run) -> None:
    """Bring a run to its last save.

    Raises:
        BadCheckpoint: the state is damaged, of another run, or of another number of processes.
    """
    path = run.folder / "state.safetensors"
    tensors, about = read_tensors(path)
    if about["run"] != run.config["id"]:
        raise BadCheckpoint(f"{path} belongs to another run than config.json beside it: put the run's own file back")
    try:
        schema.check(about, schema.STATE)
        state = unpack(about["state"], tensors)
        schema.check(state["progress"], {"images": schema.Whole(), "step": schema.Whole()}, "progress")
        set_state(run, state)
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError, ValueError, OverflowError) as error:
        raise BadCheckpoint(f"{path} does not fit the model: {reason(error)}") from error
    rank = processes.rank()
    if rank and rank < about["world"]:
        mine, its = read_tensors(run.folder / f"state-{about['images']:012d}-process{rank}.safetensors")
        set_random_state(unpack(its["state"], mine), run.device)
    if processes.world() != about["world"]:
        run.log.say(
            f"saved by {about['world']} processes, going on with {processes.world()}: exact but for what is drawn without batch.draw"
        )


def reason(error: Exception) -> str:
    """The first line of an error that says something; PyTorch heads a list with a line that says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    line = lines[1] if len(lines) > 1 and lines[0].endswith(":") else lines[0]
    return f"{type(error).__name__} {line}" if isinstance(error, (KeyError, IndexError, AttributeError)) else line


def sweep(folder: Path) -> None:
    """Delete what kills left half-written: our temporary files, and those that safetensors itself writes to."""
    for left in folder.glob(".*tmp*"):
        left.unlink(missing_ok=True)


def last_save(folder: Path) -> str:
    """A sentence on the last whole save in a run folder."""
    with contextlib.suppress(BadCheckpoint, SafetensorError, OSError, ValueError, KeyError, TypeError):
        with safe_open(regular(folder / "state.safetensors"), framework="pt") as file:
            images = json.loads(file.metadata()["gankit"])["images"]
        return f"The last save, at {images} images, is whole."
    return "Nothing was saved before."


# config.json and folders ---------------------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    return {
        "gankit": gankit.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def history_entry(images: int, changed: dict[str, list]) -> dict:
    return {"images": images, "time": time.strftime("%Y-%m-%d %H:%M:%S"), "changed": changed, "versions": versions()}


def new_config(
    kind: type[Recipe], preset: str, arguments: dict, settings: Settings, spec: Spec, dataset: Dataset
) -> dict:
    """What config.json says: enough to use the weights, to go on, and to do it again."""
    colours = getattr(dataset, "colours", None)  # of the classes of label maps
    painted = {} if colours is None else {"colours": colours.tolist()}
    return {
        "format": FORMAT,
        "id": uuid.uuid4().hex,
        "model": models.name_of(kind),
        "own": models.own_file(kind),
        "preset": preset,
        "arguments": arguments,
        "settings": dataclasses.asdict(settings),
        "spec": dataclasses.asdict(spec),
        "data": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "count": len(dataset),
            "classes": list(dataset.class_names),
        }
        | painted,
        "preview": "strips" if hasattr(kind, "strip") else "samples",
        "processes": processes.world(),
        "images": 0,
        "history": [history_entry(0, {})],
    }


def new_folder(outdir: Path, kind: type[Recipe], data_name: str, desc: str, config: dict) -> Path:
    """Make the next numbered run folder, runs/00007-dcgan-digits, with its config."""
    clean = re.sub(r"[^\w.]+", "-", "-".join(filter(None, [models.name_of(kind), data_name, desc]))).strip("-")
    try:
        outdir.mkdir(parents=True, exist_ok=True)
        while True:
            taken = [int(p.name[:5]) for p in outdir.iterdir() if re.match(r"\d{5}-", p.name)]
            folder = outdir / f"{max(taken, default=-1) + 1:05d}-{clean}"
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                break
    except OSError as error:
        raise OSError(
            f"cannot make a run folder in {outdir}: {error.strerror}. Choose another with --outdir"
        ) from error
    write_text(folder / "config.json", json.dumps(config, indent=2))
    return folder


def find_unfinished(outdir: Path, config: dict) -> Path | None:
    """The newest run in `outdir` with this configuration that has not reached its end (to go on after a restart)."""
    same = ("model", "arguments", "settings", "spec", "data")
    for folder in sorted(outdir.glob("[0-9]*-*"), reverse=True):
        with contextlib.suppress(BadCheckpoint):
            found = read_config(folder)
            if json.dumps([found[k] for k in same]) == json.dumps([config[k] for k in same]):
                return folder if found["images"] < config["settings"]["images"] else None
    return None


def write_config(run: Run) -> None:
    if not processes.rank():
        write_text(run.folder / "config.json", json.dumps(run.config, indent=2))


def read_config(folder: Path) -> dict:
    """A run folder's config.

    Raises:
        BadCheckpoint: there is none, it is damaged, or it is from a newer gankit.
    """
    path = folder / "config.json"
    try:
        config = schema.parse(schema.text_of(path), {"format": schema.Whole(), ...: schema.ANY})
        refuse_newer(config["format"], path)
        schema.check(config, schema.CONFIG)
    except FileNotFoundError:
        raise BadCheckpoint(f"{folder} is no run folder: it has no config.json") from None
    except (schema.Wrong, OSError) as error:
        raise BadCheckpoint(f"{path} is damaged, or not a gankit run's: {error}") from None
    if not config["history"]:
        raise BadCheckpoint(f"{path} is damaged: its history is empty")
    return config


def spec_of(config: dict) -> Spec:
    """What the run's model knows of its data.

    Raises:
        BadCheckpoint: no data has such a shape.
    """
    spec = Spec(**{k: tuple(v) if isinstance(v, list) else v for k, v in config["spec"].items()})
    if any(
        len(shape) not in lengths or math.prod(shape) > 2**31
        for shape, lengths in ((spec.shape, (1, 3)), (spec.other, (0, 1, 3)))
    ):
        raise BadCheckpoint(f"config.json has data of shape {spec.shape} and {spec.other}; expected (C, H, W) or (D,)")
    return spec


def arguments_of(config: dict) -> dict[str, object]:
    """The model's arguments; JSON made its tuples lists."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in config["arguments"].items()}


def find_model(config: dict, model: str | type[Recipe] | None) -> type[Recipe]:
    """The class of a run's model: one of gankit's own, or the one that the caller gives or whose file the caller names.

    What config.json says is a name and never a path: whoever wrote the folder cannot have a file executed.

    Raises:
        ValueError: the model is not gankit's own, and the caller does not name its file.
    """
    if isinstance(model, type):
        return model
    if model:
        return models.find(model)
    if config.get("own") or config["model"] not in models.names():
        file = shown(config.get("own") or "its file")
        raise BadCheckpoint(
            f"this run's model {shown(config['model'])} is not gankit's own. To run the code of its file, name it: --model {file}"
        )
    return models.find(config["model"])


def locate(name: str | Path, outdir: str | Path = "runs") -> Path:
    """A run's folder, from its path, a unique beginning of its name in `outdir`, or "latest".

    Raises:
        ValueError: there is no such run, or several.
    """
    path = Path(name)
    if path.is_dir() and (path / "config.json").exists():
        return path
    if path.is_file():
        if path.name in ("config.json", "weights.safetensors", "state.safetensors"):
            return path.parent
        raise BadCheckpoint(
            f"{shown(path)} is no run folder. gankit reads its own run folders and never unpickles a file"
        )
    runs = sorted(p for p in Path(outdir).glob("*") if (p / "config.json").exists())
    if str(name) == "latest":
        if not runs:
            raise BadCheckpoint(f"there is no run in {outdir}; train one, or name its folder")
        return max(runs, key=lambda p: (p / "config.json").stat().st_mtime)
    found = [p for p in runs if p.name.startswith(str(name)) or re.sub(r"^0{1,4}", "", p.name).startswith(str(name))]
    if len(found) == 1:
        return found[0]
    if found:
        raise BadCheckpoint(f"{name} could be {', '.join(p.name for p in found)}: write more of the name")
    if path.is_dir():
        raise BadCheckpoint(f"{path} is no run folder: it has no config.json")
    raise BadCheckpoint(unknown("run", str(name), [p.name for p in runs]) + f" (looked in {outdir})")


def unknown(what: str, name: str, known: list[str]) -> str:
    """A sentence on an unknown name, with the nearest known ones."""
    near = difflib.get_close_matches(name, known, 3, 0.6)
    hint = f"; did you mean {' or '.join(near)}?" if near else f"; there are {', '.join(sorted(known)) or 'none'}"
    return f"no {what} {name!r}{hint}"


FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad)  # Adagrad on the CPU alone


def place(recipe: Recipe, device: torch.device, dtype: torch.dtype, batch: int) -> Recipe:
    """The recipe where and as it works: channels last where that pays, from batches of 4 on, one kernel an optimizer."""
    recipe.to(device, dtype)
    if batch >= 4:
        recipe.to(memory_format=torch.channels_last)
    for opt in recipe.opt.values():
        load_optimizer(opt, opt.state_dict())  # what its constructor made, as Adagrad's does, follows the weights
    return recipe


def load_optimizer(opt: torch.optim.Optimizer, state: dict) -> None:
    """Put an optimizer's state back where its weights are, in their memory layout, as the fused kernels need."""
    opt.load_state_dict(state)
    for group in opt.param_groups:
        if type(opt) in FUSED:
            group["fused"] = group["params"][0].device.type == "cpu" or type(opt) is not torch.optim.Adagrad
    for parameter, moments in opt.state.items():
        for key, value in moments.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                moments[key] = torch.empty_like(parameter).copy_(value)


# Using a trained model -----------------------------------------------------------------------------------------------


class Trained:
    """A trained model: averaged weights, in eval mode, without gradients.

    Attributes:
        recipe: the model; its own methods (`noise`, `sample`, `encode` ...) are all there.
        config: the run's config.json.
        images: images that the weights have seen.
    """

    def __init__(self, recipe: Recipe, config: dict, folder: Path, images: int):
        self.recipe, self.config, self.folder, self.images = recipe, config, folder, images

    @property
    def domains(self) -> str:
        """The domains that a translator's weights draw: "ab"; "b" alone or "a" where an imported file had one generator of two."""
        absent = self.config.get("source", {}).get("not_in_it", [])
        return "".join(side for side, net in (("a", "g_ba"), ("b", "g_ab")) if net not in absent)

    def sample(
        self,
        n: int = 16,
        seed: int = 0,
        label: int | None = None,
        trunc: float = 1.0,
        condition: Tensor | None = None,
        text: str | list[str] = "",
        text_encoder: str = "",
    ) -> Tensor:
        """Samples of seeds `seed` to `seed + n - 1`: (n, C, H, W) in [-1, 1], or (n, D).

        Args:
            n: how many.
            seed: the first seed; seed s is the same sample whatever n is.
            label: the class, for models that learn from labels; classes in turn without it.
            trunc: below 1, latents nearer to the prior's mean: cleaner, and less diverse.
            condition: (M, condition_dim) features, for models that draw from such; taken in turn, by seed.
            text: what to draw, or several texts, taken in turn, by seed, for models that draw from such.
            text_encoder: path of the encoder that the run learnt with, where it learnt from vectors of texts.

        Raises:
            ValueError: the model cannot sample, or there is no such class.
        """
        caption = texts.codes(self.recipe, [text] if isinstance(text, str) else text, text_encoder) if text else None
        with torch.no_grad():
            return latent.sample(
                self.recipe, range(seed, seed + n), label=label, trunc=trunc, condition=condition, caption=caption
            )


def load(
    path: str | Path,
    *,
    model: str | type[Recipe] | None = None,
    device: str = "auto",
    weights: str = "weights.safetensors",
) -> Trained:
    """A trained model from its run folder.

    Args:
        path: the folder, the unique beginning of its name in runs/, or "latest".
        model: the file or class of a model that is not gankit's own.
        device: auto, cpu, cuda or mps.
        weights: the file of weights in the folder.

    Raises:
        ValueError: there is no such run, or its files are damaged, swapped, or from a newer gankit.
    """
    folder = locate(path)
    config = read_config(folder)
    kind = find_model(config, model)
    file = folder / weights
    if not file.exists() and weights == "weights.safetensors":
        file = next(iter(folder.glob("model.safetensors")), file)  # as model hubs name it
    tensors, about = read_tensors(file)
    try:
        schema.check(about, schema.WEIGHTS)
    except schema.Wrong as error:
        raise BadCheckpoint(f"{file} is damaged, or holds no weights: {error}") from None
    if about["run"] != config["id"]:
        raise BadCheckpoint(f"{file} belongs to another run than config.json beside it: put the run's own weights back")
    if bad := not_finite(tensors):
        raise BadCheckpoint(
            f"{file}: {bad} is not finite, so the model draws nothing. Take an earlier file, with --weights, or train again"
        )
    try:
        recipe = build.construct(kind, spec_of(config), arguments_of(config))
        found = recipe.load_state_dict(tensors, strict=False)
    except (TypeError, RuntimeError, ValueError) as error:
        raise BadCheckpoint(f"{folder} does not fit the model {config['model']}: {reason(error)}") from error
    left_out = about.get("left_out", [])  # networks that an export for sampling goes without
    missing = [k for k in found.missing_keys if not k.endswith("_extra_state") and k.split(".")[0] not in left_out]
    if missing or found.unexpected_keys:
        raise BadCheckpoint(
            f"{file} does not fit {config['model']}: {', '.join([*missing, *found.unexpected_keys][:5])} ..."
        )
    settings = config["settings"]
    recipe.requires_grad_(False).eval()
    place(
        recipe,
        processes.pick(device),
        torch.float64 if settings["precision"] == "fp64" else torch.float32,
        settings["batch"],
    )
    return Trained(recipe, config, folder, about["images"])
