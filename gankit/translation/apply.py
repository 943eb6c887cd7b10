"""Translation of files: each image or video is read, translated and written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gankit import data, pictures
from gankit.recipe import can
from gankit.runs.files import replacing
from gankit.runs.trained import Trained, load
from gankit.text import counted, shown, suggest
from gankit.translation import conversion, face_boxes, paths, strips, tiles, video
from gankit.translation.conditions import Request, request_of
from gankit.translation.conversion import Picture
from gankit.translation.options import Options, check_options
from gankit.translation.outcome import Outcome
from gankit.translation.paths import Item
from gankit.translation.translator import Translator, key_of

WAITING = 4  # batches of images read ahead; beyond it, the largest group of one size is translated


@dataclass
class Job:
    """An input, the paths of its outputs, and what was read.

    Args:
        item: the input.
        path: of the output.
        beside: paths of additional outputs, by kind.
        picture: the image, set when it is read, deleted after its outputs are written.
        boxes: faces in it.
    """

    item: Item
    path: Path
    beside: dict[str, Path]
    picture: Picture = field(init=False)
    boxes: list[face_boxes.Box] | None = None

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
    """Translate image files and videos with a trained model, and write the results to files.

    Args:
        run: a model, its run folder, the beginning of its name, or "latest".
        inputs: images, videos, folders (searched recursively), zips, tars, or patterns such as "photos/*.jpg".
        output: a file, for one input, or a folder, which keeps the names and folders of the inputs.
        model: the file of a model that is not part of gankit; its code is executed.
        device: auto, cpu, cuda or mps.
        weights: the file of weights in the run folder.
        quiet: show no progress bar.
        options: see Options.

    Raises:
        ValueError: the model does not take these options, or inputs and outputs do not fit; nothing is written then.
        OSError: an output cannot be written.
    """
    unknown = set(options) - set(Options.__dataclass_fields__)
    if unknown:
        raise ValueError(suggest("option", sorted(unknown)[0], sorted(Options.__dataclass_fields__)))
    words = {name: as_words(name, value) for name, value in options.items()}
    chosen = Options(**words)  # type: ignore[arg-type]  # values of any type, as users give them
    trained = run if isinstance(run, Trained) else load(run, model=model, device=device, weights=weights)
    with ExitStack() as stack:
        several = [inputs] if isinstance(inputs, (str, Path)) else inputs
        return Translation(trained, chosen, quiet).run(several, Path(output).expanduser(), stack)


def as_words(name: str, value: object) -> object:
    """An option's value as the command line gives it: tuples for lists of one, NAME=VALUE for dictionaries."""
    if isinstance(value, dict):
        return tuple(f"{key}={number}" for key, number in value.items())
    return (value,) if name in ("set", "au", "style", "mask") and isinstance(value, (str, Path)) else value


class Translation:
    """One call of `translate`: a model, its options, and the result so far.

    Args:
        trained: the model.
        options: of the user.
        quiet: show no progress bar.

    Raises:
        ValueError: the model does not take these options.
    """

    def __init__(self, trained: Trained, options: Options, quiet: bool = True):
        check_options(trained, options)
        self.trained, self.options, self.quiet, self.done = trained, options, quiet, Outcome()
        self.request = request_of(trained, options)
        request = self.request or Request({}, {})
        self.translator = Translator(trained.recipe, request, options.seed, options.tile, self.note)
        self.colours = data.palette(trained.recipe.spec.num_classes, trained.config["data"].get("colours"))
        self.counts: dict[str, int] = {}
        self.large = 0

    def note(self, text: str) -> None:
        """Add a message, once."""
        if text not in self.done.notes:
            self.done.notes.append(text)

    def run(self, inputs: Sequence[str | Path], output: Path, stack: ExitStack) -> Outcome:
        """Translate all inputs."""
        items, other = paths.find_inputs(inputs, output, stack, self.builtin_items)
        self.done.inputs = len(items)
        if other:
            more = f" and {len(other) - 3} more" if len(other) > 3 else ""
            self.note(f"skipped, because they are not images: {', '.join(map(shown, other[:3]))}{more}")
        jobs = self.plan(items, output)
        with counted(len(jobs), "pictures", live=not self.quiet) as advance:
            for group in self.groups(jobs):
                self.translate_group(group)
                advance(len(group))
            advance(len(self.done.skipped))
        self.add_notes()
        return self.done

    def plan(self, items: list[Item], output: Path) -> list[Job]:
        """The outputs of each input.

        Raises:
            ValueError: an output cannot hold a label map, or would overwrite a file.
        """
        options = self.options
        ending = ".png" if self.translator.segments else f".{options.format}" if options.format else ""
        outputs = paths.destinations(items, output, ending)
        if self.translator.segments:
            lossy = [path for path in outputs if path.suffix.lower() not in (".png", *paths.VIDEOS)]
            if lossy:
                raise ValueError(
                    f"label maps are written as .png, so that pixels hold class numbers; {lossy[0].name} is not a .png"
                )
        wanted = {
            "strip": options.strip or options.round_trip,
            "attention": options.attention,
            "overlay": options.overlay,
        }
        beside = {kind: paths.paths_beside(outputs, kind) for kind, is_wanted in wanted.items() if is_wanted}
        still = [i for i, item in enumerate(items) if not item.video]
        written = [path for path, item in zip(outputs, items) if self.request is not None or item.video]
        paths.refuse(items, written + [further[i] for further in beside.values() for i in still], options.overwrite)
        return [
            Job(item, path, {kind: further[i] for kind, further in beside.items()})
            for i, (item, path) in enumerate(zip(items, outputs))
        ]

    def builtin_items(self, name: str) -> list[Item]:
        """Images of a built-in data set, at the model's training size."""
        dataset = data.open(name, "x".join(map(str, self.translator.shape[1:])))
        if isinstance(dataset, data.Domains):
            dataset = dataset.a if self.translator.side == "a" else dataset.b
        if isinstance(dataset, data.Union) or dataset.kind not in data.KINDS:
            raise ValueError(f"{name} holds no pictures of one kind to begin with: name one of its sets")
        numbers = dataset.numbers(np.arange(min(self.options.n, len(dataset))), self.options.seed)

        def read(number: int) -> bytes:
            return conversion.encoded(dataset.read(np.array([number]))[0])

        return [Item(f"{i:05d}.png", None, partial(read, i)) for i in numbers.tolist()]

    def groups(self, jobs: list[Job]) -> Iterator[list[Job]]:
        """Groups of jobs whose images were read and have one size; videos are translated in between."""
        waiting: dict[tuple[int, ...], list[Job]] = {}
        for job in jobs:
            try:
                if job.item.video:
                    self.translate_video(job)
                    continue
                size, channels = self.options.size, self.translator.shape[0]
                job.picture = conversion.as_picture(
                    job.item.read(), channels, size, self.background, self.how.scale, self.how.jpeg
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
    def how(self) -> data.Reading:
        """How images of the side that is translated were read in training."""
        return data.reading_of(self.trained.config["settings"]).side(self.translator.side == "b")

    @property
    def background(self) -> str:
        """The colour behind transparent pixels in training."""
        return "black" if self.trained.config["settings"].get("alpha") == "black" else "white"

    def count(self, picture: Picture) -> None:
        """Count an image for the notes about all images."""
        if picture.was:
            self.counts[picture.was] = self.counts.get(picture.was, 0) + 1
        self.large += min(picture.image.shape[2:]) > 2 * max(self.translator.shape[1:]) and not self.options.faces

    def add_notes(self) -> None:
        """Add messages about all images."""
        for was, count in self.counts.items():
            before, after = was.split(" to ")
            self.note(f"{count} {before} picture{'s were' if count > 1 else ' was'} given to the model as {after}")
        if self.large and not self.translator.segments:
            height, width = self.translator.shape[1:]
            larger = f"{self.large} pictures are" if self.large > 1 else "a picture is"
            trained_at = f"the {height}x{width} that the model was trained at"
            self.note(f"{larger} more than twice as large as {trained_at}: try --size {min(height, width)}")

    def translate_group(self, jobs: list[Job]) -> None:
        """Translate images of one size and write the outputs."""
        if self.options.faces:
            for job in jobs:
                self.find_faces(job)
                if self.request is not None:
                    self.translate_faces(job)
        elif self.request is not None:
            images = torch.cat([job.picture.image for job in jobs])
            for job, image in zip(jobs, self.translator(images, [job.key for job in jobs])):
                self.save(job, image)
        for job in jobs:
            if "strip" in job.beside:
                self.save_strip(job)
            if "attention" in job.beside and self.request is not None:
                self.save_attention(job)
            del job.picture

    def find_faces(self, job: Job) -> None:
        """Find the faces of an image, and note if there are none."""
        job.boxes = face_boxes.find_faces(conversion.as_pixels(job.picture.image[0]), self.options.face_margin)
        if not job.boxes:
            copied = "; the picture is copied" if self.request else ""
            self.done.measured.append((job.item.name, "no face was found" + copied))

    def save(self, job: Job, image: Tensor) -> None:
        """Write an output image, or a label map and its overlay."""
        if self.translator.segments:
            conversion.save_image(job.path, image.numpy().astype(np.uint8), colours=self.colours)
        else:
            conversion.save_image(job.path, conversion.as_pixels(image), job.picture.alpha)
        self.done.written.append(job.path)
        if "overlay" in job.beside:
            blended = strips.blend_map(job.picture.image[0], image, self.colours)
            self.keep(job.beside["overlay"], blended, job.picture.alpha)

    def keep(self, path: Path, image: Tensor, alpha: np.ndarray | None = None) -> None:
        """Write an additional image."""
        conversion.save_image(path, conversion.as_pixels(image), alpha)
        self.done.written.append(path)

    def translate_faces(self, job: Job) -> None:
        """Translate only the faces of an image; an image without faces is copied."""
        pixels = conversion.as_pixels(job.picture.image[0])
        if job.boxes:
            conversion.save_image(job.path, self.with_faces(pixels, job.boxes, job.item.name), job.picture.alpha)
        elif job.path.suffix.lower() == Path(job.item.name).suffix.lower() and not self.options.size:
            job.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(job.path) as temporary:
                temporary.write_bytes(job.item.read())
        else:
            conversion.save_image(job.path, pixels, job.picture.alpha)
        self.done.written.append(job.path)

    def with_faces(self, pixels: np.ndarray, boxes: list[face_boxes.Box], name: str) -> np.ndarray:
        """The pixels of an image with each of its faces translated.

        With an attention mask only painted areas are resized and blended, so that kept areas stay sharp.
        """
        if not boxes:
            return pixels
        height, width = self.translator.shape[1:]
        crops = torch.cat([conversion.as_tensor(face_boxes.crop(pixels, box, height, width)) for box in boxes])
        if can(self.trained.recipe, "attention"):
            translated, kept = self.translator.attention(crops)
            shares = list((1 - kept[:, 0]).double().numpy())
        else:
            translated = self.translator(crops, [key_of(f"{name} {i}") for i in range(len(boxes))])
            shares = [None] * len(boxes)
        for box, face, share in zip(boxes, translated, shares):
            pixels = face_boxes.paste(pixels, conversion.as_pixels(face), box, share)
        return pixels

    def save_strip(self, job: Job) -> None:
        """Write a strip for an image, or for its largest face."""
        image = job.picture.image
        if self.options.faces:
            if not job.boxes:
                return
            face = face_boxes.crop(conversion.as_pixels(image[0]), job.boxes[0], *self.translator.shape[1:])
            image = conversion.as_tensor(face)
        strip = strips.strip(self.trained, self.translator, self.options, self.request, image, job.key, self.colours)
        if strip.say:
            self.done.measured.append((job.item.name, strip.say))
        path = job.beside["strip"]
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures.save_picture(path, strip.picture())
        self.done.written.append(path)

    def save_attention(self, job: Job) -> None:
        """Write the attention mask of an image: white where the input is kept, black where it is painted."""
        kept = self.translator.attention(job.picture.image)[1][0]
        self.keep(job.beside["attention"], 2 * kept - 1)

    def translate_video(self, job: Job) -> None:
        """Translate a video frame by frame.

        Raises:
            ValueError: it cannot be read or written, or only a strip is requested.
        """
        if job.item.path is None:
            raise ValueError("the video is in an archive: unpack it first")
        if self.request is None:
            raise ValueError("strips are only for images; name the target of the video")
        path = job.item.path
        header = video.read_header(path)

        def translated() -> Iterator[np.ndarray]:
            rows: list[np.ndarray] = []
            for frame in video.frames(path, header):
                rows.append(frame)
                if len(rows) == self.options.batch:
                    yield from self.frames(rows, job)
                    rows = []
            if rows:
                yield from self.frames(rows, job)

        video.write_frames(job.path, translated(), header.rate, path)
        self.done.written.append(job.path)

    def frames(self, rows: list[np.ndarray], job: Job) -> Iterator[np.ndarray]:
        """Translated (H, W, 3) uint8 frames of a video; they share their random numbers, to avoid flicker."""
        channels, size = self.translator.shape[0], self.options.size
        images = [conversion.from_image(Image.fromarray(row), channels, size).image for row in rows]
        if self.options.faces:
            for image in images:
                pixels = conversion.as_pixels(image[0])
                yield rgb(
                    self.with_faces(pixels, face_boxes.find_faces(pixels, self.options.face_margin), job.item.name)
                )
            return
        outputs = self.translator(torch.cat(images), [job.key] * len(rows))
        for image, out in zip(images, outputs):
            if self.translator.segments and self.options.overlay:
                out = strips.blend_map(image[0], out, self.colours)
            elif self.translator.segments:
                out = strips.colour_map(out, self.colours)
            yield rgb(conversion.as_pixels(out))


def rgb(pixels: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, C) uint8 as (H, W, 3)."""
    return np.repeat(pixels[:, :, None], 3, 2) if pixels.ndim == 2 else pixels[:, :, :3]
