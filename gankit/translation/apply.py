"""From files to files: each picture read, changed by a model, and written where it belongs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gankit import data
from gankit.runs.files import replacing
from gankit.runs.trained import Trained, load
from gankit.text import bar, shown, suggest
from gankit.translation import faces, files, strips, tiles, video
from gankit.translation.files import Item, Picture
from gankit.translation.options import Ask, Options, ask, check
from gankit.translation.translator import Translator, key_of

WAITING = 4  # batches' worth of pictures that may wait for others of their size


@dataclass
class Outcome:
    """What was done.

    Args:
        written: pictures, videos and strips, in order.
        inputs: pictures and videos that went in.
        skipped: those that could not be used, with the reason.
        notes: what a user should know, once for all pictures.
        measured: name of a picture, and what was measured of it.
    """

    written: list[Path] = field(default_factory=list)
    inputs: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    measured: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Job:
    """A picture on its way: where it comes out, what goes beside it, and what was read."""

    item: Item
    path: Path
    beside: dict[str, Path]
    picture: Picture | None = None
    boxes: list[faces.Box] | None = None

    @property
    def key(self) -> int:
        return key_of(self.item.name)


def translate(
    run: str | Path | Trained,
    inputs: str | Path | Sequence[str | Path],
    output: str | Path = "out",
    *,
    model: str | None = None,
    device: str = "auto",
    weights: str = "weights.safetensors",
    quiet: bool = True,
    **options: object,
) -> Outcome:
    """Pictures through a trained translator, to files.

    Args:
        run: a model, its run folder, the beginning of its name, or "latest".
        inputs: pictures, videos, folders with all below them, zips, tars, or patterns such as "photos/*.jpg".
        output: a file, for one picture, or a folder, in which names and folders are kept.
        model: the file of a model that is not gankit's own; its code is executed.
        device: auto, cpu, cuda or mps.
        weights: the file of weights in the run folder.
        quiet: show no progress.
        options: what to make of them; see Options.

    Raises:
        ValueError: the model does not do that, or inputs and outputs do not fit; nothing was written then.
        OSError: an output cannot be written.
    """
    unknown = set(options) - set(Options.__dataclass_fields__)
    if unknown:
        raise ValueError(suggest("option", sorted(unknown)[0], sorted(Options.__dataclass_fields__)))
    words = {
        k: (v,) if k in ("set", "au", "style", "mask") and isinstance(v, (str, Path)) else v for k, v in options.items()
    }
    words = {
        k: tuple(f"{name}={number}" for name, number in v.items()) if isinstance(v, dict) else v
        for k, v in words.items()
    }
    asked = Options(**words)
    trained = run if isinstance(run, Trained) else load(run, model=model, device=device, weights=weights)
    with ExitStack() as stack:
        several = [inputs] if isinstance(inputs, (str, Path)) else inputs
        return Work(trained, asked, quiet).all(several, Path(output).expanduser(), stack)


class Work:
    """One call: a model, what is asked of it, and what came of it so far.

    Raises:
        ValueError: the model does not do what is asked.
    """

    def __init__(self, trained: Trained, options: Options, quiet: bool = True):
        check(trained, options)
        self.trained, self.options, self.quiet, self.done = trained, options, quiet, Outcome()
        self.asked = ask(trained, options)
        self.translator = Translator(trained.recipe, self.asked or Ask({}, {}), options.seed, options.tile, self.note)
        self.colours = data.palette(
            trained.recipe.spec.num_classes, trained.config["data"].get("colours")
        )  # of the maps that it learned from
        self.counts: dict[str, int] = {}
        self.large = 0

    def note(self, text: str) -> None:
        if text not in self.done.notes:
            self.done.notes.append(text)

    def all(self, inputs: Sequence[str | Path], output: Path, stack: ExitStack) -> Outcome:
        """Do all of it."""
        options = self.options
        items, other = files.find(inputs, output, stack, self.opened)
        self.done.inputs = len(items)
        if other:
            more = f" and {len(other) - 3} more" if len(other) > 3 else ""
            self.note(f"left out, as no pictures: {', '.join(map(shown, other[:3]))}{more}")
        ending = ".png" if self.translator.segments else f".{options.format}" if options.format else ""
        paths = files.destinations(items, output, ending)
        if self.translator.segments and (
            lossy := [path for path in paths if path.suffix.lower() not in (".png", *files.VIDEOS)]
        ):
            raise ValueError(
                f"label maps are written as .png, so that each pixel is its class's number; {lossy[0].name} is none"
            )
        kinds = (
            ["strip"] * (options.strip or options.round_trip)
            + ["attention"] * options.attention
            + ["overlay"] * options.overlay
        )
        further = {kind: files.beside(paths, kind) for kind in kinds}
        still = [i for i, item in enumerate(items) if not item.video]
        written = [path for path, item in zip(paths, items) if self.asked is not None or item.video]
        files.refuse(items, written + [further[kind][i] for kind in kinds for i in still], options.overwrite)
        jobs = [
            Job(item, path, {kind: further[kind][i] for kind in kinds})
            for i, (item, path) in enumerate(zip(items, paths))
        ]
        with self.progress(len(jobs)) as step:
            for group in self.groups(jobs):
                self.change(group)
                step(len(group))
            step(len(self.done.skipped))
        self.tell()
        return self.done

    def opened(self, name: str) -> list[Item]:
        """Pictures of a built-in data set, at the size that the model learned at."""
        found = data.open(name, "x".join(map(str, self.translator.shape[1:])))
        if isinstance(found, data.Domains):
            found = found.a if self.translator.side == "a" else found.b
        if isinstance(found, data.Union) or found.kind not in data.KINDS:
            raise ValueError(f"{name} holds no pictures of one kind to begin with: name one of its sets")
        numbers = found.numbers(np.arange(min(self.options.n, len(found))), self.options.seed)
        return [
            Item(f"{i:05d}.png", None, lambda i=i: files.encoded(found.read(np.array([i]))[0]))
            for i in numbers.tolist()
        ]

    def groups(self, jobs: list[Job]) -> Iterator[list[Job]]:
        """Jobs that were read, in groups of one size, no more than fit into memory; videos are done on the way."""
        waiting: dict[tuple[int, ...], list[Job]] = {}
        for job in jobs:
            try:
                if job.item.video:
                    self.film(job)
                    continue
                job.picture = files.as_picture(
                    job.item.read(), self.translator.shape[0], self.options.size, self.background
                )
            except ValueError as error:
                self.done.skipped.append((job.item.name, str(error)))
                continue
            self.count(job.picture)
            shape = tuple(job.picture.image.shape)
            same = waiting.setdefault(shape, [])
            same.append(job)
            if len(same) == self.options.batch or (len(same) + 1) * shape[2] * shape[3] > tiles.PIXELS:
                yield waiting.pop(shape)
            elif sum(map(len, waiting.values())) >= WAITING * self.options.batch:
                yield waiting.pop(max(waiting, key=lambda shape: len(waiting[shape])))
        yield from waiting.values()

    @property
    def background(self) -> str:
        """What stood behind transparent pixels when the model learned."""
        return "black" if self.trained.config["settings"].get("alpha") == "black" else "white"

    def count(self, picture: Picture) -> None:
        """Remember what a note is to say of all pictures."""
        if picture.was:
            self.counts[picture.was] = self.counts.get(picture.was, 0) + 1
        self.large += min(picture.image.shape[2:]) > 2 * max(self.translator.shape[1:]) and not self.options.faces

    def tell(self) -> None:
        """Notes on all pictures together."""
        for was, count in self.counts.items():
            before, after = was.split(" to ")
            self.note(f"{count} {before} picture{'s were' if count > 1 else ' was'} given to the model as {after}")
        if self.large and not self.translator.segments:
            height, width = self.translator.shape[1:]
            larger = f"{self.large} pictures are" if self.large > 1 else "a picture is"
            learned = f"the {height}x{width} that the model learned at"
            self.note(f"{larger} more than twice as large as {learned}: try --size {min(height, width)}")

    def change(self, jobs: list[Job]) -> None:
        """Change pictures of one size, and write what came of it."""
        if self.options.faces:
            for job in jobs:
                job.boxes = faces.find(files.as_pixels(job.picture.image[0]), self.options.face_margin)
                if not job.boxes:
                    self.done.measured.append(
                        (job.item.name, "no face was found" + ("; the picture is copied" if self.asked else ""))
                    )
        if self.asked is not None:
            if self.options.faces:
                for job in jobs:
                    self.in_place(job)
            else:
                images = torch.cat([job.picture.image for job in jobs])
                for job, image in zip(jobs, self.translator(images, [job.key for job in jobs])):
                    self.save(job, image)
        for job in jobs:
            if "strip" in job.beside:
                self.strip(job)
            if "attention" in job.beside and self.asked is not None:
                self.attention(job)
            job.picture = None

    def save(self, job: Job, image: Tensor) -> None:
        """Write a picture, or a label map and what goes with it."""
        if self.translator.segments:
            files.save(job.path, image.numpy().astype(np.uint8), colours=self.colours)
        else:
            files.save(job.path, files.as_pixels(image), job.picture.alpha)
        self.done.written.append(job.path)
        if "overlay" in job.beside:
            self.keep(
                job.beside["overlay"], strips.overlaid(job.picture.image[0], image, self.colours), job.picture.alpha
            )

    def keep(self, path: Path, image: Tensor, alpha: np.ndarray | None = None) -> None:
        files.save(path, files.as_pixels(image), alpha)
        self.done.written.append(path)

    def in_place(self, job: Job) -> None:
        """Change a picture's faces and nothing else; one without a face is copied."""
        pixels = files.as_pixels(job.picture.image[0])
        if job.boxes:
            files.save(job.path, self.with_faces(pixels, job.boxes, job.item.name), job.picture.alpha)
        elif job.path.suffix.lower() == Path(job.item.name).suffix.lower() and not self.options.size:
            job.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(job.path) as temporary:
                temporary.write_bytes(job.item.read())
        else:
            files.save(job.path, pixels, job.picture.alpha)
        self.done.written.append(job.path)

    def with_faces(self, pixels: np.ndarray, boxes: list[faces.Box], name: str) -> np.ndarray:
        """A picture's pixels with each of its faces changed.

        Of models with a mask only what they paint is enlarged: where the mask keeps the picture, its own pixels stay, sharp.
        """
        if not boxes:
            return pixels
        height, width = self.translator.shape[1:]
        crops = torch.cat([files.as_tensor(faces.crop(pixels, box, height, width)) for box in boxes])
        if hasattr(self.trained.recipe, "attention"):
            made, kept = self.translator.attention(crops)
            shares = list((1 - kept[:, 0]).double().numpy())
        else:
            made, shares = (
                self.translator(crops, [key_of(f"{name} {i}") for i in range(len(boxes))]),
                [None] * len(boxes),
            )
        for box, face, share in zip(boxes, made, shares):
            pixels = faces.paste(pixels, files.as_pixels(face), box, share)
        return pixels

    def strip(self, job: Job) -> None:
        """Write a strip of a picture, or of its largest face."""
        image = job.picture.image
        if self.options.faces:
            if not job.boxes:
                return
            image = files.as_tensor(faces.crop(files.as_pixels(image[0]), job.boxes[0], *self.translator.shape[1:]))
        made = strips.strip(self.trained, self.translator, self.options, self.asked, image, job.key, self.colours)
        if made.say:
            self.done.measured.append((job.item.name, made.say))
        path = job.beside["strip"]
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            made.picture().save(temporary, "PNG")
        self.done.written.append(path)

    def attention(self, job: Job) -> None:
        """Write where the model leaves a picture as it is, in white, and where it paints, in black."""
        kept = self.translator.attention(job.picture.image)[1][0]
        self.keep(job.beside["attention"], 2 * kept - 1)

    def film(self, job: Job) -> None:
        """Change a video frame by frame.

        Raises:
            ValueError: it cannot be read or written, or something is asked for that videos do not have.
        """
        if job.item.path is None:
            raise ValueError("a video in an archive: unpack it first")
        if self.asked is None:
            raise ValueError("strips are of pictures; say what the video is to become")
        header = video.probe(job.item.path)

        def changed() -> Iterator[np.ndarray]:
            rows: list[np.ndarray] = []
            for frame in video.frames(job.item.path, header):
                rows.append(frame)
                if len(rows) == self.options.batch:
                    yield from self.frames(rows, job)
                    rows = []
            if rows:
                yield from self.frames(rows, job)

        video.write(job.path, changed(), header.rate, job.item.path)
        self.done.written.append(job.path)

    def frames(self, rows: list[np.ndarray], job: Job) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 frames of one video, changed. All have the same random numbers: others would flicker."""
        pictures = [
            files.from_image(files.Image.fromarray(row), self.translator.shape[0], self.options.size) for row in rows
        ]
        if self.options.faces:
            for picture in pictures:
                pixels = files.as_pixels(picture.image[0])
                yield rgb(self.with_faces(pixels, faces.find(pixels, self.options.face_margin), job.item.name))
            return
        images = torch.cat([picture.image for picture in pictures])
        made = self.translator(images, [job.key] * len(rows))
        for image, out in zip(images, made):
            if self.translator.segments:
                out = (
                    strips.overlaid(image, out, self.colours)
                    if self.options.overlay
                    else strips.painted(out, self.colours)
                )
            yield rgb(files.as_pixels(out))

    @contextlib.contextmanager
    def progress(self, total: int) -> Iterator[Callable[[int], None]]:
        """A bar on stderr; gives the function that moves it."""
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

        text = TextColumn("{task.completed:,.0f}/{task.total:,.0f} pictures")
        with bar(text, BarColumn(None), TimeRemainingColumn(), live=not self.quiet, transient=True) as moving:
            task = moving.add_task("", total=total)
            yield lambda count: moving.update(task, advance=count)


def rgb(pixels: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, C) uint8 as (H, W, 3)."""
    return np.repeat(pixels[:, :, None], 3, 2) if pixels.ndim == 2 else pixels[:, :, :3]
