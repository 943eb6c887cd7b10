"""Only regular files are accepted, wherever a path is given: reading a pipe would block, a device would never end."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from gankit import cli, data
from gankit.data import captions
from gankit.data.reading import embedding, files, labelmaps
from gankit.evaluation import sources
from gankit.explore import classifiers, inputs, inversion, manipulation, object_removal
from gankit.runs import texts
from gankit.translation import conditions, paths, video

SPEC = SimpleNamespace(shape=(1, 16, 16), height=16, width=16, channels=1)
RUN = SimpleNamespace(
    config={"settings": {"data": "digits"}},
    recipe=SimpleNamespace(spec=SPEC, sizes=[(16, 16)], parameters=lambda: iter([0])),
)
# the ending of the file, and what opens it
DOORS: dict[str, tuple[str, Callable[[Path], object]]] = {
    **{f"data {ending}": (ending, data.open) for ending in (".npz", ".zip", ".tar", ".tar.gz", ".png", ".jpg")},
    **{f"describe {ending}": (ending, data.describe) for ending in (".npz", ".zip", ".png")},
    "data in two": (".zip", lambda path: data.open(f"digits,{path}")),
    "data joined": (".zip", lambda path: data.open(f"digits+{path}")),
    "pairs": (".zip", lambda path: data.open(path, want="pairs")),
    "condition": (".npz", data.read_conditions),
    "table of texts": (".npz", lambda path: embedding.open_encoder(str(path), captions.plain)),
    "text encoder": ("", lambda path: embedding.open_encoder(str(path), captions.plain)),
    "text file": (".txt", texts.read),
    "names of classes": (".txt", labelmaps.read_names),
    "samples": (".npz", sources.of_npz),
    "evaluate": (".npz", lambda path: sources.of_data(str(path))),
    "latent file": (".npz", lambda path: inputs.read_arrays(str(path), "latent", "a latent")),
    "boxes": (".csv", lambda path: object_removal.read_boxes(RUN.recipe, str(path), None)),
    "labels": (".csv", lambda path: classifiers.read_labels(str(path))),
    "labels as arrays": (".npz", lambda path: classifiers.read_labels(str(path))),
    "projected picture": (".png", lambda path: inversion.target_of(RUN, str(path), 0, "")),
    "picture of a tool": (".png", lambda path: manipulation.read_for(RUN.recipe, str(path))),
    "its header": (".png", lambda path: manipulation.size_of(str(path))),
    "style": (".png", lambda path: conditions.read_picture(str(path), 3)),
    "table of a face": (".csv", lambda path: conditions.openface(str(path), ["AU01"])),
    "translated picture": (".png", lambda path: taken(path)),
    "translated archive": (".zip", lambda path: taken(path)),
    "video": (".mp4", video.read_header),
    "bytes": (".x", lambda path: files.read(path, 100)),
    "text": (".x", files.text),
}


def taken(path: Path) -> None:
    with ExitStack() as stack:
        for item in paths.find_inputs([path], path.parent / "out", stack)[0]:
            item.read()


def make(kind: str, path: Path) -> str:
    """Something that is no regular file, and what it is called."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to a pipe":
        os.mkfifo(path.parent / "fifo")
        path.symlink_to(path.parent / "fifo")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            os.chdir(path.parent)  # names of sockets have 107 letters at most
            made.bind(path.name)
    return kind.split()[-1]


@pytest.mark.timeout(60)  # a door that waits for a pipe waits for ever
@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "device", "socket"])
@pytest.mark.parametrize("door", DOORS)
def test_what_is_no_file_is_refused(tmp_path, monkeypatch, door, kind):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(video, "program", lambda: "ffmpeg")
    ending, enter = DOORS[door]
    path = tmp_path / f"x{ending}"
    name = make(kind, path)
    with pytest.raises(
        ValueError, match=f"is a {name}; a regular file is expected|not a regular file|no text encoder"
    ) as caught:
        enter(path)
    assert "\n" not in str(caught.value).replace("\n  ", "")


@pytest.mark.parametrize(
    "door",
    [
        "condition",
        "text file",
        "samples",
        "latent file",
        "boxes",
        "labels",
        "projected picture",
        "picture of a tool",
        "style",
    ],
)
def test_a_folder_is_no_file(tmp_path, door):
    ending, enter = DOORS[door]
    (tmp_path / f"x{ending}").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        enter(tmp_path / f"x{ending}")


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "x.npz", "--against", "digits", "--metrics", "swd"],
        ["data", "x.tar"],
        ["data", "x.png"],
        ["data", "x.npz"],
    ],
)
def test_commands_end_with_one_line(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    make("pipe", Path(words[1]))
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    assert (
        left.value.code == 2
        and capsys.readouterr().err.strip() == f"gankit: {words[1]} is a pipe; a regular file is expected"
    )


def test_no_more_is_read_than_is_asked_for(tmp_path):
    path = tmp_path / "large.txt"
    path.touch()
    os.truncate(path, 2**40)  # takes no place on the disk
    for enter in (
        texts.read,
        files.text,
        lambda path: files.read(path, 1000),
        labelmaps.read_names,
        lambda path: classifiers.read_labels(str(path)),
    ):
        with pytest.raises(ValueError, match="holds 1,099.5 GB, and .* are the most"):
            enter(path)
    path.write_bytes(b"\xff\xfe")
    for enter in (texts.read, files.text, labelmaps.read_names, lambda path: classifiers.read_labels(str(path))):
        with pytest.raises(ValueError, match="no text in UTF-8"):
            enter(path)
