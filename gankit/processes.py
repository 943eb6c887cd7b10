"""Several processes that train one run: start under torchrun, Slurm or alone, communicate, and end cleanly."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from gankit.nn.across import Lost

T = TypeVar("T")

# What Slurm's srun sets, under the names that torchrun sets.
SLURM = {"RANK": "SLURM_PROCID", "WORLD_SIZE": "SLURM_NTASKS", "LOCAL_RANK": "SLURM_LOCALID"}


def start(device: str, patience: timedelta = timedelta(minutes=10)) -> torch.device:
    """Join the other processes, if this one was started as one of several. Returns the device that it works on.

    Args:
        device: "auto", "cpu", "cuda", "cuda:1", "mps"; each process takes the GPU of its local rank.
        patience: how long the others wait for a process that does not answer.

    Raises:
        ValueError: the device is unknown or not on this machine.
    """
    if "RANK" not in os.environ and int(os.environ.get("SLURM_NTASKS", 1)) > 1 and "MASTER_ADDR" in os.environ:
        os.environ.update({ours: os.environ[theirs] for ours, theirs in SLURM.items()})
    local = int(os.environ.get("LOCAL_RANK", 0))
    chosen = pick(device, local)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized():
        store, rank, world = next(dist.rendezvous("env://"))
        # Torchrun's store survives a restart with the addresses of processes that are gone: use a new prefix each time.
        store = dist.PrefixStore(f"gankit/{restarts()}", store)
        backend = "nccl" if chosen.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=patience)
    return chosen


def pick(device: str, local_rank: int = 0) -> torch.device:
    """The device of a name; "auto" is a GPU if there is one.

    Raises:
        ValueError: PyTorch does not know the device, or it is not on this machine.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device {device!r} is none that PyTorch knows; write cpu, cuda, cuda:1 or mps") from None
    if chosen.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = chosen.index if chosen.index is not None else local_rank
        if index >= count:
            raise ValueError(f"device {device!r} is not here: PyTorch sees {count} GPUs; write --device cpu")
        chosen = torch.device("cuda", index)
        torch.cuda.set_device(chosen)
    elif chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device 'mps' is not here; write --device cpu")
    elif chosen.type not in ("cpu", "mps"):
        raise ValueError(f"device {device!r} is not supported; write cpu, cuda or mps")
    return chosen


def rank() -> int:
    """The index of this process."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def restarts() -> int:
    """How often torchrun has restarted this job after losing a process."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


def average(flat: Tensor) -> Tensor:
    """The mean of a flat tensor over all processes, in one message, in place."""
    if world() > 1:
        try:
            dist.all_reduce(flat)
        except RuntimeError as error:
            raise Lost(error) from error
        flat /= world()
    return flat


def agree(number: int, device: torch.device) -> int:
    """The largest of the processes' numbers, so that all of them take the same branch."""
    if world() == 1:
        return number
    box = torch.tensor([number], device=device)
    try:
        dist.all_reduce(box, op=dist.ReduceOp.MAX)
    except RuntimeError as error:
        raise Lost(error) from error
    return int(box.item())


def tell(value: T, source: int = 0) -> T:
    """The value of process `source`, on all processes."""
    if world() == 1:
        return value
    box = [value]
    try:
        dist.broadcast_object_list(box, src=source)
    except RuntimeError as error:
        raise Lost(error) from error
    return box[0]


def leave() -> None:
    """End the communication; without the barrier gloo sometimes aborts a process that has finished."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
