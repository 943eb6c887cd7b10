"""Text encoders in folders: saved models of sentence-transformers are accepted, and files that name code refused."""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gankit.data import captions
from gankit.data.reading import embedding, sentences
from gankit.runs import texts

OLD, NEW = "sentence_transformers.models.", "sentence_transformers.sentence_transformer.modules."
HEAD = ["[PAD]", "red", "types", "auto_map", "method", "activation_function"]


def model(folder: Path, prefix: str = OLD) -> Path:
    """The folder of a model as versions up to 5 (OLD) and from 6 on (NEW) save it, with weights that hold nothing."""
    new, base = prefix == NEW, "sentence_transformers.base.modules"
    transformer = f"{base}.transformer.Transformer" if new else f"{prefix}Transformer"
    pooling = f"{prefix}pooling.Pooling" if new else f"{prefix}Pooling"
    dense = f"{base}.dense.Dense" if new else f"{prefix}Dense"
    limits = {"max_seq_length": 512, "do_lower_case": False}
    files = {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": transformer},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": pooling},
            {"idx": 2, "name": "2", "path": "2_Dense", "type": dense},
            {"idx": 3, "name": "3", "path": "3_Normalize", "type": f"{prefix}Normalize"},
        ],
        "config_sentence_transformers.json": {
            "__version__": {"sentence_transformers": "5.1.2"},
            "prompts": {"query": "query: "},
            "similarity_fn_name": "cosine",
        },
        "sentence_bert_config.json": {"modality_config": {"text": {"method": "forward"}}} if new else limits,
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "activation_function": "gelu",
            "_name_or_path": "x/y",
        },
        "tokenizer_config.json": {
            "tokenizer_class": "BertTokenizer",
            "added_tokens_decoder": {"0": {"content": "[PAD]"}},
            "auto_map": None,
        },
        "tokenizer.json": {"model": {"type": "WordPiece", "vocab": {word: i for i, word in enumerate(HEAD)}}},
        "1_Pooling/config.json": {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True},
        "2_Dense/config.json": {
            "in_features": 16,
            "out_features": 8,
            "activation_function": "torch.nn.modules.activation.Tanh",
        },
        "4_Words/wordembedding_config.json": {
            "tokenizer_class": f"{prefix}tokenizer.WhitespaceTokenizer.WhitespaceTokenizer"
        },
        "5_Router/router_config.json": {
            "types": {"query_0": f"{prefix}Transformer", "document_0": f"{prefix}StaticEmbedding"},
            "structure": {"query": ["query_0"]},
        },
    }
    for name, tree in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(tree))
    for name in ("model.safetensors", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin", "README.md"):
        (folder / name).write_bytes(b"weights")
    return folder


def change(name: str, *places: object, value: object) -> Callable[[Path], None]:
    """What sets a value in a JSON file."""

    def apply(folder: Path) -> None:
        tree = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
        one = tree
        for place in places[:-1]:
            one = one[place]
        one[places[-1]] = value
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(tree))

    return apply


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return apply


def link(name: str, to: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(to)

    return apply


@pytest.mark.parametrize("prefix", [OLD, NEW])
def test_what_the_library_saves_passes(tmp_path, prefix):
    folder = model(tmp_path / "m", prefix)
    before = sentences.check(folder)
    assert before == sentences.check(model(tmp_path / "copy", prefix))
    (folder / "2_Dense" / "model.safetensors").write_bytes(b"Weights")
    assert sentences.check(folder) != before


def test_the_cache_of_a_hub_passes(tmp_path):
    """There the files are links to ../../blobs."""
    folder, blobs = model(tmp_path / "models--a--b" / "snapshots" / "0123"), tmp_path / "models--a--b" / "blobs"
    plain = sentences.check(folder)
    blobs.mkdir()
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        blob = blobs / path.relative_to(folder).as_posix().replace("/", "-")
        os.rename(path, blob)
        path.symlink_to(os.path.relpath(blob, path.parent))
    assert sentences.check(folder) == plain
    (tmp_path / "other").write_text("{}")
    link("config.json", str(tmp_path / "other"))(folder)
    with pytest.raises(ValueError, match="holds a link, config.json"):
        sentences.check(folder)


EVIL = "evil.Evil"
FOLDERS = {
    "modules": (change("modules.json", 1, "type", value=EVIL), "names 'evil.Evil', which is no module"),
    "modules by a file": (write("evil.py", b"print('code')"), "holds code, evil.py"),
    "compiled": (write("1_Pooling/x.cpython-311-x86_64-linux-gnu.so", b""), "holds code"),
    "a hidden folder": (write(".git/hooks/evil.py", b""), "holds code"),
    "like the library": (change("modules.json", 1, "type", value="sentence_transformers_evil.Pooling"), "no module of"),
    "the library's own code": (
        change("modules.json", 1, "type", value="sentence_transformers.util.misc.import_from_string"),
        "no module of",
    ),
    "the library's models": (
        change("modules.json", 1, "type", value="sentence_transformers.SentenceTransformer"),
        "no module of",
    ),
    "dots": (change("modules.json", 1, "type", value="sentence_transformers..Pooling"), "no module of"),
    "a line": (change("modules.json", 1, "type", value=OLD + "Pooling\n"), "no module of"),
    "a number": (change("modules.json", 1, "type", value=7), "no module of"),
    "no type": (change("modules.json", 1, value={"path": ""}), "is no list of modules"),
    "nested": (change("sub/modules.json", "types", value=[]), "sub/modules.json is no list of modules"),
    "nested module": (
        write("a/b/modules.json", json.dumps([{"type": EVIL}]).encode()),
        "a/b/modules.json names 'evil.Evil'",
    ),
    "capitals": (write("Modules.JSON", json.dumps([{"type": EVIL}]).encode()), "Modules.JSON names 'evil.Evil'"),
    "no list": (write("modules.json", b'{"0": {"type": "evil.Evil"}}'), "is no list of modules"),
    "text": (write("modules.json", b'"evil.Evil"'), "is no list of modules"),
    "null": (write("modules.json", b"null"), "is no list of modules"),
    "no JSON": (write("modules.json", b"[{"), "modules.json Expecting"),
    "other letters": (write("modules.json", "[]".encode("utf-16")), "modules.json .*decode"),
    "deep": (write("config.json", b"[" * 100_000), "config.json .*recursion"),
    "no file": (lambda folder: (folder / "modules.json").unlink(), "holds no modules.json"),
    "out": (change("modules.json", 1, "path", value="../other"), "leads out of the folder, to '../other'"),
    "out backwards": (change("modules.json", 1, "path", value="a\\..\\..\\b"), "leads out"),
    "absolute": (change("modules.json", 1, "path", value="/tmp/other"), "leads out"),
    "a drive": (change("modules.json", 1, "path", value="C:x"), "leads out"),
    "no path": (change("modules.json", 1, "path", value=None), "leads out"),
    "router": (change("5_Router/router_config.json", "types", "query_0", value=EVIL), "names 'evil.Evil'"),
    "router's place": (change("5_Router/router_config.json", "types", "../x", value=OLD + "Dense"), "leads out"),
    "old router": (change("6_Asym/config.json", "types", value={"a": EVIL}), "names 'evil.Evil'"),
    "activation": (change("2_Dense/config.json", "activation_function", value=EVIL), "as activation_function"),
    "activation by the system": (
        change("2_Dense/config.json", "activation_function", value="os.abort"),
        "as activation_function",
    ),
    "activation like torch": (
        change("2_Dense/config.json", "activation_function", value="torch.nn.utils.x"),
        "as activation_function",
    ),
    "activation of a reranker": (
        change("config.json", "sentence_transformers", value={"activation_fn": EVIL}),
        "as activation_fn",
    ),
    "tokenizer": (change("4_Words/wordembedding_config.json", "tokenizer_class", value=EVIL), "as tokenizer_class"),
    "tokenizer by the system": (
        change("4_Words/wordembedding_config.json", "tokenizer_class", value="webbrowser.Tokenizer"),
        "as tokenizer_class",
    ),
    "auto_map": (
        change("config.json", "auto_map", value={"AutoModel": "modeling.Model"}),
        "has 'auto_map', which names code",
    ),
    "auto_map of a tokenizer": (
        change("tokenizer_config.json", "auto_map", value={"AutoTokenizer": ["a.B", None]}),
        "has 'auto_map'",
    ),
    "auto_map below": (change("config.json", "text_config", value=[{"auto_map": "a--b.C"}]), "has 'auto_map'"),
    "trust": (change("sentence_bert_config.json", "trust_remote_code", value=True), "has 'trust_remote_code'"),
    "arguments": (
        change("sentence_bert_config.json", "model_args", value={"use_safetensors": False}),
        "has 'model_args'",
    ),
    "tokenizer's arguments": (
        change("sentence_bert_config.json", "tokenizer_args", value={"x": 1}),
        "has 'tokenizer_args'",
    ),
    "new arguments": (
        change("sentence_bert_config.json", "processor_kwargs", value={"x": 1}),
        "has 'processor_kwargs'",
    ),
    "attention from a hub": (
        change("config.json", "_attn_implementation", value="a/kernel"),
        "as _attn_implementation; eager or sdpa",
    ),
    "attention": (change("config.json", "attn_implementation", value="flash_attention_2"), "as attn_implementation"),
    "quantised": (
        change("config.json", "quantization_config", value={"quant_method": "x"}),
        "has 'quantization_config'",
    ),
    "another tokenizer": (
        change("sentence_bert_config.json", "tokenizer_name_or_path", value="a/b"),
        "has 'tokenizer_name_or_path'",
    ),
    "another model": (change("config.json", "backbone", value="a/b"), "has 'backbone'"),
    "adapter": (write("adapter_config.json", b"{}"), "holds an adapter"),
    "method": (
        change("sentence_bert_config.json", "modality_config", value={"text": {"method": "push_to_hub"}}),
        "as method",
    ),
    "pickle": (write("1_Pooling/pytorch_model.bin", b"pickle"), "which is a pickle: save the model as safetensors"),
    "a link out": (link("README.md", "/etc/hostname"), "holds a link, README.md"),
    "a link to a folder": (link("more", "1_Pooling"), "holds a link, more"),
    "a link to nothing": (link("more", "nothing"), "holds a link, more"),
    "a link to itself": (link("more", "more"), "holds a link, more"),
    "a pipe": (
        lambda folder: os.mkfifo(folder / "added_tokens.json"),
        "holds added_tokens.json, which is no regular file",
    ),
    "too deep": (lambda folder: (folder / Path(*"d" * 80)).mkdir(parents=True), "more than 64 deep"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", FOLDERS)
def test_what_names_code_or_leads_out_is_refused_before_the_library_sees_it(tmp_path, monkeypatch, name):
    def never(*_: object, **__: object) -> None:
        pytest.fail("the library was asked")

    monkeypatch.setitem(sys.modules, "sentence_transformers", types.SimpleNamespace(SentenceTransformer=never))
    folder, (apply, message) = model(tmp_path / "m"), FOLDERS[name]
    sentences.check(folder)
    apply(folder)
    with pytest.raises(ValueError, match=message) as caught:
        embedding.open_encoder(str(folder), captions.plain).encode(["a"])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


def test_sizes_and_counts_end(tmp_path, monkeypatch):
    folder = model(tmp_path / "m")
    for limit, value, message in (
        ("MOST_FILES", 5, "more than 5 files"),
        ("MOST_BYTES", 100, "and 100 bytes are the most"),
        ("MOST_JSON", 10, "and 10 bytes are the most"),
    ):
        with monkeypatch.context() as patched, pytest.raises(ValueError, match=message):
            patched.setattr(sentences, limit, value)
            sentences.check(folder)


def test_a_folder_that_changes_before_it_is_used_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(
        sys.modules,
        "sentence_transformers",
        types.SimpleNamespace(SentenceTransformer=lambda *_, **__: pytest.fail("asked")),
    )
    folder = model(tmp_path / "m")
    encoder = embedding.open_encoder(str(folder), captions.plain)
    (folder / "README.md").write_bytes(b"other")
    with pytest.raises(ValueError, match="has changed since it was opened"):
        encoder.encode(["a"])


@pytest.mark.parametrize(
    "error", [RuntimeError("one\ntwo"), MemoryError(), RecursionError("deep"), AttributeError("x"), ImportError("y")]
)
def test_whatever_the_library_raises_is_one_line(tmp_path, monkeypatch, error):
    def fails(*_: object, **__: object) -> None:
        raise error

    folder = model(tmp_path / "m")
    for made in (fails, lambda *_, **__: types.SimpleNamespace(encode=fails)):
        monkeypatch.setitem(sys.modules, "sentence_transformers", types.SimpleNamespace(SentenceTransformer=made))
        with pytest.raises(ValueError, match="text encoder") as caught:
            embedding.open_encoder(str(folder), captions.plain).encode(["a"])
        assert "\n" not in str(caught.value)


def test_no_encoder_says_what_to_type():
    recipe = types.SimpleNamespace(spec=types.SimpleNamespace(caption=(4, 0)), sample=lambda z, caption: z)
    for ask in (lambda: embedding.open_encoder("", captions.plain), lambda: texts.codes(recipe, ["a bird"])):
        with pytest.raises(ValueError, match="no text encoder is named: type --text-encoder PATH"):
            ask()


def test_an_encoder_of_any_kind_gives_finite_vectors(tmp_path, monkeypatch):
    folder = model(tmp_path / "m")
    made = types.SimpleNamespace(encode=lambda texts, **_: np.full((len(texts), 3), np.inf))
    monkeypatch.setitem(
        sys.modules, "sentence_transformers", types.SimpleNamespace(SentenceTransformer=lambda *_, **__: made)
    )
    with pytest.raises(ValueError, match="one vector of finite numbers is expected for each"):
        embedding.checked(embedding.open_encoder(str(folder), captions.plain), ["a", "b"])
