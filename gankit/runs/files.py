"""Files of a run folder: written atomically, read with checks, never executed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import gankit
from gankit.runs import lock, schema
from gankit.runs.schema import BadCheckpoint

FORMAT = 1  # of the run folder; a reader refuses newer ones


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to, flushed and renamed to `path` at the end: a kill leaves the old file intact.

    Raises:
        OSError: `path` cannot be written (a full disk, for example); the old file is still there.
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
    """An error with the reason why a file cannot be written, and the last save; the folder may have been moved."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if (now := lock.place(path.parent)) != path.parent:
        why = f"the folder was moved to {now} while the run was writing it; go on with: gankit resume {now}"
    return OSError(f"cannot write {path}: {why}. {last_save(now)}")


def last_save(folder: Path) -> str:
    """A sentence on the last whole save in a run folder."""
    with contextlib.suppress(BadCheckpoint, SafetensorError, OSError, ValueError, KeyError, TypeError):
        with safe_open(regular(folder / "state.safetensors"), framework="pt") as file:
            images = json.loads(file.metadata()["gankit"])["images"]
        return f"The last save, at {images} images, is whole."
    return "Nothing was saved before."


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_tensors(path: Path, tensors: dict[str, Tensor], about: schema.About) -> None:
    """Write tensors and JSON atomically as one safetensors file with a checksum."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    about = about | schema.About(format=FORMAT, sha256=digest(tensors))
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"gankit": json.dumps(about)})
        os.umask(mask := os.umask(0))
        os.chmod(temporary, 0o666 & ~mask)  # safetensors writes files that others cannot read


def read_tensors(path: Path) -> tuple[dict[str, Tensor], schema.About]:
    """The tensors and JSON of a file from `write_tensors`.

    Raises:
        BadCheckpoint: the file is not gankit's, is from a newer gankit, or is damaged.
    """
    try:
        with safe_open(regular(path), framework="pt") as file:
            tree = schema.parse((file.metadata() or {}).get("gankit", "null"), (schema.ABOUT, None))
            about = cast(schema.About | None, tree)
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
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
    """The path, unless it is a pipe or device, on which opening could wait for ever. Raises BadCheckpoint."""
    if path.exists() and not path.is_file():
        raise BadCheckpoint(f"{path} is no regular file")
    return path


def refuse_newer(found: int, path: Path) -> None:
    if found > FORMAT:
        raise BadCheckpoint(
            f"{path} has format {found!r}; gankit {gankit.__version__} reads up to {FORMAT}: upgrade gankit"
        )


def digest(tensors: dict[str, Tensor]) -> str:
    """The sha256 of named tensors, over names, types, shapes and bytes."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def reason(error: Exception) -> str:
    """The first informative line of an error; PyTorch heads lists with a line that has no content."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    line = lines[1] if len(lines) > 1 and lines[0].endswith(":") else lines[0]
    return f"{type(error).__name__} {line}" if isinstance(error, (KeyError, IndexError, AttributeError)) else line


def sweep(folder: Path) -> None:
    """Delete half-written temporary files, gankit's and safetensors', that a kill left behind."""
    for left in folder.glob(".*tmp*"):
        left.unlink(missing_ok=True)
