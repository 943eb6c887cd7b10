"""The layouts in docs/data.md: each is built in small, as its publishers lay it out, and read by its command."""

import gzip
import io
import json
import re
import shlex
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from gankit import cli, data

pytestmark = pytest.mark.usefixtures("fresh_cache")
DOCS = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
RNG = np.random.default_rng(0)


class Expected(NamedTuple):
    """What `gankit data` must say: the number of samples that are read, their kind, and further words."""

    count: int
    kind: str
    words: tuple[str, ...] = ()


def draw(path: Path, mode: str = "RGB", size: int = 8, values: tuple[int, ...] = ()) -> None:
    """A random image, or a label map of these values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size, size, 3) if mode == "RGB" else (size, size)
    pixels = RNG.choice(values, shape) if values else RNG.integers(0, 256, shape)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def write(path: Path, text: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def images(root: Path, *names: str, **options) -> None:
    for name in names:
        draw(root / name, **options)


def afhq(root: Path) -> Expected:
    for part, count in (("train", 3), ("val", 2)):
        images(root, *(f"afhq/{part}/{kind}/{i}.jpg" for kind in ("cat", "dog", "wild") for i in range(count)))
    return Expected(9, "images", ("train 9, val 6", "val is held out", "cat (3), dog (3), wild (3)"))


def coco(root: Path) -> Expected:
    images(root, *(f"coco/train2017/{i:012}.jpg" for i in range(3)), "coco/val2017/000000000009.jpg")
    pictures = [{"id": i, "file_name": f"{i:012}.jpg"} for i in range(3)]
    texts = [{"id": k, "image_id": k // 2, "caption": f"a thing {k}"} for k in range(6)]
    write(root / "coco/annotations/captions_train2017.json", json.dumps({"images": pictures, "annotations": texts}))
    return Expected(3, "images with captions", ("train 3, val 1",))


def celeba(root: Path) -> Expected:
    images(root, *(f"celeba/img_align_celeba/{i:06}.jpg" for i in range(1, 6)))
    rows = "".join(f"{i:06}.jpg {1 if i % 2 else -1} -1\n" for i in range(1, 6))
    write(root / "celeba/list_attr_celeba.txt", f"5\nSmiling Young\n{rows}")
    parts = "".join(f"{i:06}.jpg {part}\n" for i, part in enumerate((0, 0, 0, 1, 2), 1))
    write(root / "celeba/list_eval_partition.txt", parts)
    return Expected(3, "images", ("train 3, val 1, test 1", "Smiling 0.667"))


def cub(root: Path) -> Expected:
    names = ["001.Albatross/a.jpg", "002.Auk/b.jpg", "002.Auk/c.jpg"]
    images(root / "CUB_200_2011/images", *names)
    write(root / "CUB_200_2011/images.txt", "".join(f"{i} {name}\n" for i, name in enumerate(names, 1)))
    write(root / "CUB_200_2011/train_test_split.txt", "1 1\n2 1\n3 0\n")
    for name in names:
        text = "".join(f"a bird number {i} of {name[:3]}\n" for i in range(10))
        write(root / "CUB_200_2011/text" / name.replace(".jpg", ".txt"), text)
    return Expected(2, "images with captions", ("train 2, test 1", "001.Albatross (1), 002.Auk (1)"))


def flowers(root: Path) -> Expected:
    from scipy.io import savemat

    images(root, *(f"flowers/jpg/image_{i:05}.jpg" for i in range(1, 5)))
    savemat(root / "flowers/imagelabels.mat", {"labels": np.array([[1, 2, 2, 1]], np.uint8)})
    parts = {"trnid": [[1, 2]], "valid": [[3]], "tstid": [[4]]}
    savemat(root / "flowers/setid.mat", {key: np.array(value, np.uint16) for key, value in parts.items()})
    return Expected(2, "images", ("train 2, val 1, test 1",))


def mvtec(root: Path) -> Expected:
    images(root, "bottle/train/good/000.png", "bottle/train/good/001.png", "bottle/test/good/000.png")
    images(root, "bottle/test/crack/000.png")
    draw(root / "bottle/ground_truth/crack/000_mask.png", "L", values=(0, 255))
    return Expected(2, "images", ("train 2, test 2",))


def facades(root: Path) -> Expected:
    for part, count in (("train", 3), ("val", 1), ("test", 1)):
        for i in range(count):
            path = root / f"facades/{part}/{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(RNG.integers(0, 256, (8, 16, 3), np.uint8)).save(path)
    return Expected(3, "pairs of images", ("test is held out",))


def horse2zebra(root: Path) -> Expected:
    images(root, "horse2zebra/trainA/1.jpg", "horse2zebra/trainA/2.jpg", "horse2zebra/trainB/3.jpg")
    images(root, "horse2zebra/testA/4.jpg", "horse2zebra/testB/5.jpg")
    return Expected(3, "images in two domains", ("A (2), B (1)", "test is held out"))


def cityscapes(root: Path) -> Expected:
    for part, city, count in (("train", "ulm", 2), ("val", "lindau", 1)):
        for i in range(count):
            stem = f"{part}/{city}/{city}_{i:06}_000019"
            draw(root / f"cityscapes/leftImg8bit/{stem}_leftImg8bit.png")
            draw(root / f"cityscapes/gtFine/{stem}_gtFine_labelIds.png", "L", values=(0, 1, 2, 3))
            draw(root / f"cityscapes/gtFine/{stem}_gtFine_color.png")
            write(root / f"cityscapes/gtFine/{stem}_gtFine_polygons.json", "{}")
    return Expected(2, "images with label maps", ("train 2, val 1",))


def voc(root: Path) -> Expected:
    images(root / "VOC2012/JPEGImages", *(f"2007_{i:06}.jpg" for i in range(5)))
    for i in range(3):
        draw(root / f"VOC2012/SegmentationClass/2007_{i:06}.png", "L", values=(0, 1, 2, 255))
        draw(root / f"VOC2012/SegmentationObject/2007_{i:06}.png", "L", values=(0, 1))
    write(root / "VOC2012/ImageSets/Segmentation/train.txt", "2007_000000\n2007_000001\n")
    write(root / "VOC2012/ImageSets/Segmentation/val.txt", "2007_000002\n")
    return Expected(2, "images with label maps", ("train 2, val 1",))


def carvana(root: Path) -> Expected:
    for i in range(2):
        draw(root / f"carvana/train/{i}.jpg")
        path = root / f"carvana/train_masks/{i}_mask.gif"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.choice((0, 255), (8, 8)).astype(np.uint8)).save(path)
    draw(root / "carvana/test/9.jpg")
    return Expected(2, "images with label maps")


def pets(root: Path) -> Expected:
    for name in ("cat_1", "dog_1", "dog_2"):
        draw(root / f"pets/images/{name}.jpg")
        draw(root / f"pets/annotations/trimaps/{name}.png", "L", values=(1, 2, 3))
    write(root / "pets/annotations/trainval.txt", "cat_1 1 1 1\ndog_1 2 2 1\n")
    write(root / "pets/annotations/test.txt", "dog_2 2 2 1\n")
    return Expected(2, "images with label maps")


def imagenet(root: Path) -> Expected:
    for part, count in (("train", 2), ("val", 1)):
        images(root, *(f"imagenet/{part}/{wnid}/{i}.JPEG" for wnid in ("n01", "n02") for i in range(count)))
    return Expected(4, "images", ("n01 (2), n02 (2)", "val is held out"))


def ffhq(root: Path) -> Expected:
    images(root, *(f"thumbnails/{i // 1000 * 1000:05}/{i:05}.png" for i in (0, 1, 1000, 1001)))
    return Expected(4, "images")


def stylegan(root: Path) -> Expected:
    import zipfile

    with zipfile.ZipFile(root / "ffhq-64x64.zip", "w") as archive:
        for i in range(3):
            buffer = io.BytesIO()
            Image.fromarray(RNG.integers(0, 256, (8, 8, 3), np.uint8)).save(buffer, "PNG")
            archive.writestr(f"00000/img{i:08}.png", buffer.getvalue())
        labels = [[f"00000/img{i:08}.png", i % 2] for i in range(3)]
        archive.writestr("dataset.json", json.dumps({"labels": labels}))
    return Expected(3, "images", ("0 (2), 1 (1)",))


def hugging_face(root: Path) -> Expected:
    for part, count in (("train", 3), ("test", 1)):
        images(root, *(f"birds/{part}/{i:04}.png" for i in range(count)))
        rows = "".join(f"{i:04}.png,a {part} bird {i}\n" for i in range(count))
        write(root / f"birds/{part}/metadata.csv", f"file_name,text\n{rows}")
    return Expected(3, "images with captions", ("test is held out",))


def flickr(root: Path) -> Expected:
    images(root, "flickr8k/Images/1.jpg", "flickr8k/Images/2.jpg")
    rows = "".join(f"{i}.jpg,a thing {i} {k}\n" for i in (1, 2) for k in range(5))
    write(root / "flickr8k/captions.txt", f"image,caption\n{rows}")
    return Expected(2, "images with captions")


def mnist(root: Path) -> Expected:
    for part, count in (("train", 4), ("t10k", 2)):
        pixels = RNG.integers(0, 256, (count, 8, 8), np.uint8)
        header = bytes((0, 0, 8, 3)) + b"".join(n.to_bytes(4, "big") for n in pixels.shape)
        write(root / f"MNIST/raw/{part}-images-idx3-ubyte.gz", gzip.compress(header + pixels.tobytes()))
        label = bytes((0, 0, 8, 1)) + count.to_bytes(4, "big") + bytes(range(count))
        write(root / f"MNIST/raw/{part}-labels-idx1-ubyte.gz", gzip.compress(label))
    return Expected(4, "images", ("train 4, test 2", "test is held out"))


def svhn(root: Path) -> Expected:
    from scipy.io import savemat

    (root / "svhn").mkdir()
    for part, count in (("train", 3), ("test", 2)):
        pixels = RNG.integers(0, 256, (32, 32, 3, count), np.uint8)
        savemat(root / f"svhn/{part}_32x32.mat", {"X": pixels, "y": np.array([[10], [1], [2]][:count], np.uint8)})
    return Expected(3, "images", ("train 3, test 2",))


def stl10(root: Path) -> Expected:
    for part, count in (("train", 3), ("test", 2), ("unlabeled", 1)):
        write(root / f"stl10_binary/{part}_X.bin", RNG.integers(0, 256, (count, 3, 96, 96), np.uint8).tobytes())
        if part != "unlabeled":
            write(root / f"stl10_binary/{part}_y.bin", bytes([1, 2, 10][:count]))
    return Expected(3, "images", ("train 3, test 2, unlabeled 1",))


def arrays(root: Path) -> Expected:
    pixels = RNG.integers(0, 256, (6, 8, 8), np.uint8)
    np.savez(root / "mnist.npz", x_train=pixels[:4], y_train=np.arange(4), x_test=pixels[4:], y_test=np.arange(2))
    return Expected(4, "images", ("train 4, test 2",))


def parquet(root: Path) -> Expected:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    for part, count in (("train", 3), ("test", 1)):
        rows = []
        for i in range(count):
            buffer = io.BytesIO()
            Image.fromarray(RNG.integers(0, 256, (8, 8, 3), np.uint8)).save(buffer, "PNG")
            rows.append({"image": {"bytes": buffer.getvalue(), "path": f"{i}.png"}, "label": i % 2})
        path = root / f"cats/data/{part}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(arrow.Table.from_pylist(rows), path)
    return Expected(3, "images", ("train 3, test 1",))


def webdataset(root: Path) -> Expected:
    (root / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(root / f"shards/{shard:02}.tar", "w") as archive:
            for i in range(3):
                buffer = io.BytesIO()
                Image.fromarray(RNG.integers(0, 256, (8, 8, 3), np.uint8)).save(buffer, "JPEG")
                for name, content in ((f"{shard}{i}.jpg", buffer.getvalue()), (f"{shard}{i}.cls", b"%d" % (i % 2))):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    return Expected(6, "images")


def stack(root: Path) -> Expected:
    (root / "slices").mkdir()
    pages = [Image.fromarray(RNG.integers(0, 4096, (8, 8)).astype(np.uint16)) for _ in range(5)]
    pages[0].save(root / "slices/a.tif", save_all=True, append_images=pages[1:])
    return Expected(5, "images")


LAYOUTS: dict[str, Callable[[Path], Expected]] = {
    "AFHQ, RaFD": afhq,
    "ImageNet, Tiny ImageNet": imagenet,
    "FFHQ's thumbnails": ffhq,
    "StyleGAN's zip": stylegan,
    "CelebA": celeba,
    "CUB-200-2011": cub,
    "Oxford flowers": flowers,
    "COCO": coco,
    "Flickr8k, Flickr30k": flickr,
    "Hugging Face's imagefolder": hugging_face,
    "MVTec AD": mvtec,
    "pix2pix's facades": facades,
    "CycleGAN's horse2zebra": horse2zebra,
    "Cityscapes": cityscapes,
    "Pascal VOC": voc,
    "Carvana": carvana,
    "Oxford pets": pets,
    "MNIST and its kin": mnist,
    "SVHN": svhn,
    "STL-10": stl10,
    "arrays": arrays,
    "Parquet": parquet,
    "WebDataset": webdataset,
    "stacks of microscopes": stack,
}


def rows_of_docs() -> dict[str, str]:
    """The command of each layout in the table of docs/data.md."""
    table = DOCS.split("## Layouts", 1)[1].split("\n## ", 1)[0]
    return dict(re.findall(r"^\| ([^|`]+?) \|[^|]+\| `([^`]+)` \|", table, re.M))


def test_the_docs_list_the_layouts_that_are_tested():
    assert list(rows_of_docs()) == list(LAYOUTS)


@pytest.mark.parametrize("title", LAYOUTS)
def test_a_layout_is_read_by_the_command_in_the_docs(title, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    expected = LAYOUTS[title](tmp_path)
    _, command, *words = shlex.split(rows_of_docs()[title])
    cli.main([command, *words])
    shown = capsys.readouterr().out
    assert f"{expected.count} {expected.kind}" in shown, shown
    for text in expected.words:
        assert text in shown, f"{text!r} is not in\n{shown}"
    assert "cannot be used" not in shown, shown
    held = data.held_out_of(words[0])
    assert (held is not None) == ("is held out" in shown), held
