"""What the columns of a table of images hold: images, a label, captions or numbers, by their names and Arrow types."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from gankit.data.reading.files import listed
from gankit.text import shown

if TYPE_CHECKING:
    import pyarrow

# Names in lower case, the likeliest first
IMAGES = ("image", "images", "img", "jpg", "jpeg", "png", "webp", "picture", "photo", "image_bytes", "bytes", "pixels")
LABELS = ("label", "labels", "class", "category", "target", "fine_label", "cls", "y", "class_label", "label_name")
TEXTS = ("text", "caption", "captions", "sentence", "sentences", "prompt", "description", "txt", "texts", "title")
NO_ATTRIBUTES = ("id", "index", "idx", "width", "height", "__index_level_0__", "timestamp", "size")
PAIRS = (  # the condition, and what a model makes of it
    ("a", "b"), ("imagea", "imageb"), ("image_a", "image_b"), ("source", "target"), ("source_image", "target_image"),
    ("input", "target"), ("input", "output"), ("input_image", "output_image"), ("input_image", "target_image"),
    ("input_image", "edited_image"), ("original_image", "edited_image"), ("before", "after"), ("lr", "hr"),
    ("conditioning_image", "image"), ("conditioning_image", "target"), ("sketch", "image"), ("edges", "image"),
)  # fmt: skip
MASKS = ("mask", "masks", "label", "labels", "annotation", "annotations", "segmentation", "segmentation_mask",
         "semantic_mask", "semantic", "seg", "label_map", "trimap", "ground_truth")  # fmt: skip
MOST_JSON = 2**24  # bytes of the description of the columns


class Columns(NamedTuple):
    """The columns of a table of images by what they hold; each may be missing but the first.

    Args:
        images: those of encoded images, the likeliest first.
        label: a class: a whole number, or a name.
        class_names: of the numbers of `label`.
        text: a caption, or a list of captions.
        numbers: attributes.
        others: those that are not read.
    """

    images: tuple[str, ...]
    label: str = ""
    class_names: tuple[str, ...] = ()
    text: str = ""
    numbers: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def rows(self) -> list[str]:
        """The columns that are not images."""
        return [*filter(None, (self.label, self.text)), *self.numbers]


def columns_of(schema: pyarrow.Schema, name: str) -> Columns:
    """Find out what each column of a file holds.

    Raises:
        ValueError: no column holds encoded images.
    """
    from pyarrow import types

    features = _features(schema)
    kinds = {field.name: _plain(field.type) for field in schema}
    images = _ordered([n for n, kind in kinds.items() if is_image(kind)], IMAGES)
    if not images:
        first = ", ".join(listed((f"{shown(n)} ({shown(kind)[:60]})" for n, kind in kinds.items()), len(kinds), 12))
        raise ValueError(
            f"{shown(name)} has no column of images: files of images as bytes, alone or with a path; it has {first}"
        )
    # A column that holds binary data under another name than the images' is likely something else
    if structs := [n for n in images if types.is_struct(kinds[n]) or n.lower() in IMAGES]:
        images = structs
    whole = [n for n, kind in kinds.items() if types.is_integer(kind) or types.is_boolean(kind)]
    classes = {n: names for n in whole if (names := _class_names(features.get(n)))}
    strings = [n for n, kind in kinds.items() if is_text(kind)]
    lists = [n for n, kind in kinds.items() if _is_list(kind) and is_text(_plain(kind.value_type))]
    labels = [n for n in _ordered([*whole, *strings], LABELS) if n.lower() in LABELS]
    label = next(iter([*(n for n in labels if n in classes), *classes, *labels]), "")
    texts = [n for n in _ordered([*strings, *lists], TEXTS) if n.lower() in TEXTS and n != label]
    floats = [n for n, kind in kinds.items() if types.is_floating(kind)]
    numbers = [n for n in kinds if n in [*whole, *floats] and n not in classes and n != label and not _is_number_of(n)]
    text = texts[0] if texts else ""
    read = {*images, label, text, *numbers}
    others = tuple(n for n in kinds if n not in read)
    return Columns(tuple(images), label, tuple(classes.get(label, ())), text, tuple(numbers), others)


def pair_of(images: Iterable[str], want: str) -> tuple[str, str, str] | None:
    """The kind, "pairs" or "masks", and the columns of both sides, by their names; None if no two fit.

    Args:
        images: the columns of images.
        want: the kind that is asked for. Pairs are also made of label maps, if no columns are called like pairs.
    """
    by_name = {name.lower(): name for name in images}
    pairs = [("pairs", by_name[a], by_name[b]) for a, b in PAIRS if a in by_name and b in by_name]
    main = next((by_name[n] for n in IMAGES if n in by_name), "")
    masks = [("masks", main, by_name[n]) for n in MASKS if n in by_name and main and by_name[n] != main]
    if want == "masks" and len(by_name) == 2 and not masks and main:
        masks = [("masks", main, next(n for n in images if n != main))]
    fitting = masks if want == "masks" else pairs or masks
    if want == "pairs" and not fitting and len(by_name) == 2:
        a, b = images
        return "pairs", a, b
    return fitting[0] if fitting else None


def is_image(kind: pyarrow.DataType) -> bool:
    """Whether values of this type can be files of images: bytes, alone or in a struct."""
    from pyarrow import types

    if types.is_struct(kind):
        return any(kind.field(i).name == "bytes" and _is_bytes(kind.field(i).type) for i in range(kind.num_fields))
    return _is_bytes(kind)


def is_text(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _is_bytes(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _is_list(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _is_number_of(name: str) -> bool:
    """Whether a column counts or measures the file, and not what the image shows."""
    return name.lower() in NO_ATTRIBUTES or name.lower().endswith(("_id", "_idx", "_index"))


def _plain(kind: pyarrow.DataType) -> pyarrow.DataType:
    """The type of the values: of a dictionary, those that its numbers stand for."""
    from pyarrow import types

    return kind.value_type if types.is_dictionary(kind) else kind


def _ordered(names: list[str], known: tuple[str, ...]) -> list[str]:
    """The names that are known first, in the order of `known`."""
    places = {name: i for i, name in enumerate(known)}
    return sorted(names, key=lambda name: places.get(name.lower(), len(places)))


def _features(schema: pyarrow.Schema) -> dict[str, object]:
    """What the package datasets has noted of the columns; nothing if it is missing or wrong."""
    text = (schema.metadata or {}).get(b"huggingface", b"")
    try:
        features = json.loads(text[:MOST_JSON])["info"]["features"]
        return features if isinstance(features, dict) else {}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


def _class_names(feature: object) -> list[str]:
    """The names of a feature ClassLabel; none for other features."""
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return []
    names = feature.get("names")
    is_sound = isinstance(names, list) and all(isinstance(n, str) for n in names) and len(set(names)) == len(names)
    return names if is_sound and isinstance(names, list) else []
