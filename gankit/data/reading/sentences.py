"""Folders of sentence-transformers models: refused if anything in them names code, before that library opens them.

A model of that library is a chain of modules that JSON files name as Python classes. Versions 3.4 to 5 import such a
class from a .py in a local folder whatever `trust_remote_code` says, and every version imports some names from anywhere
on Python's path. So only the library's own modules, torch's activations and the library's tokenizers are accepted, and
no folder that holds code.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from gankit.data.reading import cache
from gankit.data.reading.files import DEEP, open_plain, read
from gankit.disk import amount
from gankit.text import shown

MODULES = (
    "Transformer", "Pooling", "Dense", "Normalize", "LayerNorm", "Dropout", "CNN", "LSTM", "BoW", "WordEmbeddings",
    "WordWeights", "WeightedLayerPooling", "StaticEmbedding", "CLIPModel", "Router", "Asym",
)  # fmt: skip
MODULE = re.compile(rf"sentence_transformers(\.[A-Za-z]\w*)*\.({'|'.join(MODULES)})")
ACTIVATION = re.compile(r"torch\.nn\.(modules\.(activation|linear)\.)?[A-Z]\w*")
TOKENIZER = re.compile(
    r"sentence_transformers\.(models|sentence_transformer\.modules)\.tokenizer(\.\w+)?\.\w*Tokenizer\w*"
)
METHOD = re.compile(r"forward|get_\w+_features")
ATTENTION = ("eager", "sdpa")  # others may be downloaded from a hub, as code
CODE = (".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".pyz")
REFUSED = {  # names in a JSON file that are refused, and why
    "auto_map": "names code of its own",
    "trust_remote_code": "asks for code of its own to be run",
    "quantization_config": "needs code of another library",
    "backbone": "names another model",
    "base_model_name_or_path": "names another model",
    "tokenizer_name_or_path": "names another model",
    **dict.fromkeys(
        ("model_args", "tokenizer_args", "config_args", "model_kwargs", "processor_kwargs", "config_kwargs"),
        "changes how files are opened",
    ),
}
MOST_FILES, MOST_BYTES, MOST_JSON = 10_000, 2**36, 2**26


def check(folder: Path) -> str:
    """Check the folder of a sentence-transformers model. Returns a hash of its content.

    Raises:
        ValueError: it holds no such model, or a file that is code, names code, leads out of the folder or is too large.
        OSError: it cannot be read.
    """
    files = sorted(_walk(folder))
    if folder / "modules.json" not in files:
        raise ValueError("holds no modules.json, so it is not a sentence-transformers model")
    if (size := sum(path.stat().st_size for path in files)) > MOST_BYTES:
        raise ValueError(f"holds {amount(size)}, and {amount(MOST_BYTES)} are the most")
    for path in files:
        name = str(path.relative_to(folder))
        if path.suffix.lower() in CODE:
            raise ValueError(f"holds code, {shown(name)}, and none is run: delete it if the model needs none")
        if path.name == "adapter_config.json":
            raise ValueError(
                f"holds an adapter, {shown(name)}, which names another model: merge it into that model first"
            )
        if path.name == "pytorch_model.bin" and not path.with_name("model.safetensors").exists():
            raise ValueError(f"holds {shown(name)}, which is a pickle: save the model as safetensors")
        if path.suffix.lower() == ".json":
            try:
                _check_json(path.name.lower(), json.loads(read(path, MOST_JSON).decode()))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"is not opened, as {shown(name)} {shown(str(error))[:300]}") from error
    marks = [(str(path.relative_to(folder)), path.stat().st_size, _sha256(path)) for path in files]
    return cache.key("sentence-transformers", *marks)


def load(folder: Path, fingerprint: str) -> Callable[[Sequence[str]], np.ndarray]:
    """A function from K texts to vectors (K, D), by the installed sentence-transformers.

    Args:
        folder: of the model.
        fingerprint: from `check`.

    Raises:
        ValueError: the folder has changed since, the library is not installed, or it cannot use the folder.
    """
    if check(folder) != fingerprint:
        raise ValueError(f"the text encoder {shown(str(folder))} has changed since it was opened: run again")
    try:
        library = importlib.import_module("sentence_transformers")
    except ImportError as error:
        raise ValueError(
            f"this text encoder needs sentence-transformers ({error}): pip install sentence-transformers"
        ) from error
    safe = {"use_safetensors": True}  # weights in any other form would be unpickled
    try:
        model = library.SentenceTransformer(
            str(folder), device="cpu", local_files_only=True, trust_remote_code=False, model_kwargs=safe
        )
    except Exception as error:  # untrusted files: the library has its own errors
        raise ValueError(f"{shown(str(folder))} cannot be used as a text encoder: {_first(error)}") from error

    def encode(texts: Sequence[str]) -> np.ndarray:
        try:
            return model.encode(list(texts), batch_size=64, convert_to_numpy=True, show_progress_bar=False)
        except Exception as error:
            raise ValueError(f"the text encoder {shown(str(folder))} failed: {_first(error)}") from error

    return encode


def _walk(folder: Path) -> Iterator[Path]:
    """The regular files below a folder. Links may lead to files in it, or to the blobs of a hub's cache around it."""
    home = folder.resolve()
    roots = [home, *([home.parents[1] / "blobs"] if home.parent.name == "snapshots" else [])]
    waiting, count = [folder], 0
    while waiting:
        current = waiting.pop()
        if len(current.relative_to(folder).parts) > DEEP:
            raise ValueError(f"holds folders more than {DEEP} deep")
        with os.scandir(current) as items:
            for item in items:
                path, name = current / item.name, shown(str((current / item.name).relative_to(folder)))
                if item.is_symlink() and not _leads_to_file(path, roots):
                    raise ValueError(
                        f"holds a link, {name}, which leads to a folder, to nothing or out of it: "
                        "copy the files themselves"
                    )
                if item.is_dir():
                    waiting.append(path)
                    continue
                if not path.is_file():
                    raise ValueError(f"holds {name}, which is no regular file")
                if (count := count + 1) > MOST_FILES:
                    raise ValueError(f"holds more than {MOST_FILES:,} files")
                yield path


def _leads_to_file(link: Path, roots: list[Path]) -> bool:
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):  # a link to nothing, or to itself
        return False
    return target.is_file() and any(target.is_relative_to(root) for root in roots)


def _check_json(name: str, tree: object) -> None:
    """Check the JSON of a file. Raises ValueError if it names code, another model or another folder."""
    if name == "modules.json" and not (
        isinstance(tree, list) and all(isinstance(entry, dict) and "type" in entry for entry in tree)
    ):
        raise ValueError("is no list of modules with a type each")
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        if not isinstance(node, dict):
            continue
        waiting += node.values()
        if name == "modules.json" and "type" in node:
            _check_module(node["type"], node.get("path", ""))
        if isinstance(node.get("types"), dict):  # a router: its parts are stored in folders of these names
            for place, kind in node["types"].items():
                _check_module(kind, place)
        for key, value in node.items():
            is_setting = value is True or isinstance(value, (str, list, dict))  # numbers are token ids
            if key in REFUSED and value and is_setting:
                raise ValueError(
                    f"has {key!r}, which {REFUSED[key]}: {str(value)[:80]}; delete it if the model does not need it"
                )
            if isinstance(value, str):
                _check_name(key, value)


def _check_name(key: str, value: str) -> None:
    """Refuse a class that is imported by name, unless it is known to be harmless. Raises ValueError."""
    if key.endswith(("activation_function", "activation_fn")) and "." in value and not ACTIVATION.fullmatch(value):
        raise ValueError(f"names {value!r} as {key}; one of torch.nn is expected")
    if key == "tokenizer_class" and "." in value and not TOKENIZER.fullmatch(value):
        raise ValueError(f"names {value!r} as {key}; one of sentence_transformers is expected")
    if key == "method" and not METHOD.fullmatch(value):
        raise ValueError(f"names {value!r} as {key}; forward is expected")
    if key.endswith("attn_implementation") and value not in ATTENTION:
        raise ValueError(f"names {value!r} as {key}; {' or '.join(ATTENTION)} is expected")


def _check_module(kind: object, place: object) -> None:
    """Check the class and the folder of a module. Raises ValueError."""
    if not isinstance(kind, str) or not MODULE.fullmatch(kind):
        raise ValueError(f"names {kind!r}, which is no module of sentence_transformers, and other code is not run")
    if not isinstance(place, str) or re.search(r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|:", place):
        raise ValueError(f"leads out of the folder, to {place!r}")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open_plain(path) as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _first(error: Exception) -> str:
    """The first line of an error, shortened."""
    return shown((str(error).splitlines() or [type(error).__name__])[0])[:300]
