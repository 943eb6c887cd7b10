"""Damaged and hostile files of a run folder: does every command end with a result or one line?

    python benchmarks/fuzz.py                       # 20,000 mutations of each kind of file, seed 0
    python benchmarks/fuzz.py --inputs 100000 --seed 1 --doors config,weights

One file of a tiny trained run is mutated at random (a value of another type or size, a key added or removed, unclosed
brackets, bytes flipped, cut or added, a wrong header), and the commands that read it run in this process. They must end
with exit code 0, 1 or 2, a few lines without control characters, and a page without a foreign tag. An uncaught
exception, a crash or a hang is a fault, and its input is kept in out/fuzz. `resume` trains nothing. Exit code 1 if
there was a fault. The tests run 2,000 of these inputs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import random
import re
import shutil
import struct
import sys
import tempfile
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from gankit import cli, html, training

SCRIPT, ESCAPE = "<script>alert(1)</script>", "\x1b[31mred\x1b]0;title\x07"
ODD = (
    None, True, False, 0, 1, -1, 2, 0.5, -0.0, 7, 64, 10**6, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400,
    1e308, math.nan, math.inf, -math.inf,
    "", "x", "64", "../../x", "/dev/zero", "evil.py", "\x00", "\ud800", "x" * 10_000, SCRIPT, ESCAPE,
    "'\"><img src=x onerror=alert(1)>",
    [], {}, [[]], [0], [None], ["x"], {"": ""}, {"$": "tensor", "name": "x"},
    {"$": "tuple", "items": 5}, [1, [2, [3, [4]]]],
)  # fmt: skip


class Door:
    """A file of a run folder, and the commands that read it.

    Args:
        file: its path in the run folder.
        commands: words of each; RUN is the run folder, OUT a folder for outputs.
        mutate: (random numbers, bytes) to other bytes.
        trains: whether a mutation could lead to more training, which is then skipped.
    """

    def __init__(
        self,
        file: str,
        commands: list[list[str]],
        mutate: Callable[[random.Random, bytes], bytes],
        trains: bool = False,
    ):
        self.file, self.commands, self.mutate, self.trains = file, commands, mutate, trains


# Mutations -----------------------------------------------------------------------------------------------------------


def places(tree: object) -> list[tuple[object, object]]:
    """Every (container, key) of a tree of JSON."""
    found, todo = [], [tree]
    while todo:
        node = todo.pop()
        for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
            found.append((node, key))
            if isinstance(value, (dict, list)):
                todo.append(value)
    return found


def json_text(rng: random.Random, text: str) -> str:
    """JSON with one to three values changed, or unclosed brackets."""
    if rng.random() < 0.03:
        return rng.choice("[{") * rng.choice((50, 1_000, 100_000))
    tree = json.loads(text)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if not (spots := places(tree)):
            break
        node, key = rng.choice(spots)
        change = rng.randrange(5)
        if change == 0:
            del node[key]
        elif change == 1 and isinstance(node, dict):
            node[rng.choice(("x", "", SCRIPT, ESCAPE, str(key) + "2"))] = rng.choice(ODD)
        elif change == 2 and isinstance(node[key], (int, float)) and not isinstance(node[key], bool):
            node[key] = rng.choice((node[key] * 10**9, -node[key] - 1, node[key] + 0.5, str(node[key])))
        elif change == 3 and isinstance(node[key], str):
            node[key] = node[key] + rng.choice((SCRIPT, ESCAPE, "\n", "x" * 300))
        else:
            node[key] = rng.choice(ODD)
    return json.dumps(tree)


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Bytes flipped, cut out, doubled, added or cut off."""
    if not data:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(20)))
    at, length = rng.randrange(len(data)), rng.choice((1, 1, 2, 8, 64))
    change = rng.randrange(5)
    if change == 0:
        return data[:at] + bytes(b ^ (1 << rng.randrange(8)) for b in data[at : at + length]) + data[at + length :]
    if change == 1:
        return data[:at] + data[at + length :]
    if change == 2:
        return data[:at] + data[at : at + length] * 2 + data[at + length :]
    if change == 3:
        return data[:at] + bytes(rng.randrange(256) for _ in range(length)) + data[at:]
    return data[:at]


def json_file(rng: random.Random, data: bytes) -> bytes:
    return damaged(rng, data) if rng.random() < 0.25 else json_text(rng, data.decode()).encode("utf-8", "surrogatepass")


def json_lines(rng: random.Random, data: bytes) -> bytes:
    """A file of lines of JSON, one of which is changed."""
    lines = data.splitlines()
    i = rng.randrange(len(lines))
    lines[i] = json_file(rng, lines[i])
    return b"\n".join(lines) + b"\n" * rng.randrange(2)


def tensors_file(rng: random.Random, data: bytes) -> bytes:
    """A safetensors file with changes to its header, to gankit's metadata in it, or to its bytes."""
    size = struct.unpack("<Q", data[:8])[0]
    header, body = data[8 : 8 + size].decode(), data[8 + size :]
    change = rng.randrange(4)
    if change == 0:
        return damaged(rng, data)
    if change == 1:
        return struct.pack("<Q", rng.choice((0, 1, size - 1, size + 1, 2**31, 2**63))) + header.encode() + body
    tree = json.loads(header)
    if change == 2:
        header = json_text(rng, header)
    else:
        tree["__metadata__"]["gankit"] = json_text(rng, tree["__metadata__"]["gankit"])
        header = json.dumps(tree)
    encoded = header.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(encoded)) + encoded + body


def npz_file(rng: random.Random, data: bytes) -> bytes:
    """A .npz with an array header of another type, shape or order, or with damaged bytes."""
    if rng.random() < 0.3:
        return damaged(rng, data)
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as new,
    ):
        for name in old.namelist():
            member = old.read(name)
            if rng.random() < 0.7:
                start = member.index(b"{")
                end = member.index(b"}") + 1
                shape = rng.choice(
                    (
                        "()",
                        "(0,)",
                        "(-1, 2)",
                        "(1000000000, 64, 64, 3)",
                        "(2, 2)",
                        "(8, 16, 16, 1)",
                        f"({'9,' * 40})",
                        "('a',)",
                        "5",
                    )
                )
                kind = rng.choice(
                    (
                        "'|u1'",
                        "'<f4'",
                        "'<f8'",
                        "'|O'",
                        "'<U99999999'",
                        "'<i8'",
                        "'|b1'",
                        "[('a', '<f4')]",
                        "'<c16'",
                        "5",
                    )
                )
                head = rng.choice(
                    (
                        "{{'descr': {0}, 'fortran_order': {1}, 'shape': {2}, }}",
                        "{{'descr': {0}, 'shape': {2}}}",
                        "{{{0}: {0}",
                    )
                )
                text = head.format(kind, rng.choice(("True", "False", "None")), shape).encode()
                member = (
                    member[:8] + struct.pack("<H", len(text) + 1) + text + b"\n" + member[end:]
                    if start < end
                    else member
                )
            else:
                member = damaged(rng, member)
            new.writestr(rng.choice((name, name, name, "x.npy", f"../{name}", name.removesuffix(".npy"))), member)
    return out.getvalue()


DOORS = {
    "config": Door(
        "config.json",
        [["report", "RUN"], ["sample", "RUN", "--n", "1", "-o", "OUT/x.npz"], ["resume", "RUN", "--quiet"]],
        json_file,
        trains=True,
    ),
    "stats": Door("stats.jsonl", [["report", "RUN"], ["resume", "RUN", "--quiet"]], json_lines),
    "evaluations": Door("evaluations.jsonl", [["report", "RUN"], ["compare", "RUN", "RUN"]], json_lines),
    "spectrum": Door("evaluation/spectrum.json", [["report", "RUN"]], json_file),
    "weights": Door("weights.safetensors", [["sample", "RUN", "--n", "1", "-o", "OUT/x.npz"]], tensors_file),
    "state": Door("state.safetensors", [["resume", "RUN", "--quiet"]], tensors_file, trains=True),
    "samples": Door(
        "samples.npz", [["evaluate", "RUN/samples.npz", "--against", "ring", "--metrics", "emd", "--n", "8"]], npz_file
    ),
    "vectors": Door("vectors.npz", [["data", "RUN/vectors.npz"]], npz_file),
}


# Words on the command line -------------------------------------------------------------------------------------------

VALUES = (
    "-1", "0", "1", "2", "0.5", "-0.5", "nan", "inf", "-inf", "1e400", "1e-400", "1000000000", "99999999999999999999",
    "9" * 400, "1e9", "100k", "5M", "x", "", " ",
    "maybe", "0-3", "3-0", "0-999999999", "0-3,7", ",", "a,b", "../x", "/dev/zero", "/proc/none/x", "--",
    "x" * 300, "é猫",
)  # fmt: skip
LINES = {
    "train": [
        "train",
        "dcgan",
        "--data",
        "digits",
        "--preset",
        "small",
        "--width",
        "8",
        "--images",
        "16",
        "--batch",
        "8",
        "--preview",
        "0",
        "--outdir",
        "OUT/runs",
        "--quiet",
    ],
    "resume": ["resume", "RUN", "--quiet"],
    "sample": ["sample", "RUN", "--n", "2", "-o", "OUT/x.npz"],
    "interpolate": ["interpolate", "RUN", "--seeds", "0-1", "--steps", "2", "-o", "OUT/x.png"],
    "evaluate": ["evaluate", "RUN", "--metrics", "swd", "--n", "8"],
    "export": ["export", "RUN", "-o", "OUT/exported"],
    "report": ["report", "RUN"],
    "compare": ["compare", "RUN", "RUN"],
    "data": ["data", "digits", "--sheet", "OUT/sheet.png"],
    "models": ["models"],
    "show": ["show", "dcgan"],
    "truncation": ["explore", "RUN", "truncation", "--outdir", "OUT/explored"],
    "neighbours": ["explore", "RUN", "neighbours", "--outdir", "OUT/explored"],
    "drop": ["explore", "RUN", "drop", "--outdir", "OUT/explored"],
    "filters": ["explore", "RUN", "filters", "--outdir", "OUT/explored"],
}


LISTS = ("models", "show", "metrics")  # commands with a long output


def flags_of(line: list[str], run: Path) -> list[str]:
    """The flags that a command's help names."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        cli.main([*placed(line, run), "--help"])
    return sorted(set(re.findall(r"--[a-z][a-z0-9-]*", out.getvalue())) - {"--help"})


def placed(words: list[str], run: Path) -> list[str]:
    return [word.replace("RUN", str(run)).replace("OUT", str(run.parent / "out")) for word in words]


def attempt_words(run: Path, rng: random.Random, flags: dict[str, list[str]]) -> tuple[list[str], str]:
    """A command with one or two odd flags: its words, and its fault."""
    name = rng.choice(list(LINES))
    words = placed(LINES[name], run)
    for _ in range(rng.choice((1, 1, 2))):
        if flags[name] and rng.random() < 0.95:
            flag, value = rng.choice(flags[name]), rng.choice(VALUES)
            words += [f"{flag}={value}"] if rng.random() < 0.5 else [flag, value]
        else:
            words.insert(rng.randrange(1, len(words) + 1), rng.choice(VALUES))
    try:
        return words, fault_of(words, trains=name != "train")
    finally:
        shutil.rmtree(run.parent / "out", ignore_errors=True)


def untrained() -> contextlib.AbstractContextManager:
    """A context in which a run is opened and not trained."""
    return mock.patch("gankit.training.loop.loop", lambda run, dataset: run)


# Runs ----------------------------------------------------------------------------------------------------------------


def start(folder: Path) -> Path:
    """A tiny trained run with every file that commands read."""
    options = dict(
        data="digits", preset="small", width=8, images=32, batch=8, log=8, preview=16, save=16, quiet=True, device="cpu"
    )
    run = Path(training.train("dcgan", outdir=folder, **options).folder)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        cli.main(["evaluate", str(run), "--metrics", "fd,swd", "--n", "64"])
    rng = np.random.default_rng(0)
    np.savez(run / "samples.npz", samples=rng.normal(size=(8, 2)).astype(np.float32), seeds=np.arange(8))
    np.savez(
        run / "vectors.npz",
        real=rng.normal(size=(8, 3)).astype(np.float32),
        condition=rng.normal(size=(8, 2)).astype(np.float32),
    )
    return run


def attempt(run: Path, door: Door, changed: bytes) -> str:
    """The fault of the door's commands on the changed file, empty if there was none; the files are then restored."""
    path = run / door.file
    whole = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    try:
        path.write_bytes(changed)
        for command in door.commands:
            if wrong := fault_of(placed(command, run), door.trains):
                return wrong
        page = run / "report.html"
        text = page.read_text(encoding="utf-8").replace(f"<script>{html.SCRIPT}</script>", "") if page.exists() else ""
        if any(tag in text for tag in ("<script", "<img src=x")):
            return "report: a foreign tag in the page"
        return ""
    finally:
        for file in run.rglob("*"):
            if file.is_file() and file not in whole:
                file.unlink()
        for file, data in whole.items():
            if not file.exists() or file.read_bytes() != data:
                file.write_bytes(data)


@contextlib.contextmanager
def temporary_directory() -> Iterator[None]:
    """A context with an empty working directory, which is removed with everything written there or to ../x."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        (inner := Path(folder) / "here").mkdir()
        os.chdir(inner)
        try:
            yield
        finally:
            os.chdir(before)


def fault_of(words: list[str], trains: bool) -> str:
    """The fault of a command, empty if there was none."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogateescape")
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
            temporary_directory(),
            untrained() if trains else contextlib.nullcontext(),
        ):
            cli.main(words)
    except SystemExit as left:
        if left.code not in (0, 1, 2, None):
            return f"{words[0]}: exit code {left.code}"
    except BaseException as error:
        return f"{words[0]}: {type(error).__name__}: {traceback.format_exc()}"
    out.flush()
    output = out.buffer.getvalue().decode("utf-8", "replace")
    if "\x1b" in output or "\x07" in output:
        return f"{words[0]}: control characters: {output!r}"
    may_be_long = {"--help", "-h"} & set(words) or words[0] in LISTS or "--json" in " ".join(words)
    if len(output.splitlines()) > 60 and not may_be_long:
        return f"{words[0]}: {len(output.splitlines())} lines"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--doors", default=",".join([*DOORS, "words"]))
    options = parser.parse_args()
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        run = start(Path(folder))
        for name in options.doors.split(","):
            if name == "words":
                known = {line: flags_of(words, run) for line, words in LINES.items()}
                for i in range(options.inputs):
                    words, wrong = attempt_words(run, random.Random(f"{options.seed} words {i}"), known)
                    found[name] += bool(wrong)
                    if wrong:
                        print(f"gankit {' '.join(words)[:300]!r}: {wrong}", flush=True)
                print(f"words: {options.inputs:,} inputs, {found[name]} faults", flush=True)
                continue
            door = DOORS[name]
            data = (run / door.file).read_bytes()
            for i in range(options.inputs):
                changed = door.mutate(random.Random(f"{options.seed} {name} {i}"), data)
                if wrong := attempt(run, door, changed):
                    found[name] += 1
                    kept = Path("out/fuzz") / f"{name}-{options.seed}-{i}"
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    kept.write_bytes(changed)
                    print(f"{kept}: {wrong}", flush=True)
            print(f"{name}: {options.inputs:,} inputs, {found[name]} faults", flush=True)
    shutil.rmtree("out/fuzz", ignore_errors=True) if not found else None
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
