"""Published data sets by name: their licences, and how they lie in folders."""

from __future__ import annotations

from typing import NamedTuple

from gankit.data.published.checksums import FILES
from gankit.downloads import WebFile

NOT_STATED = "not stated"
NO_HASH = "no sha256 of it is known here, so that a download could not be checked"
ARCHIVES = (".zip", ".tgz", ".tar.gz", ".tar.xz")


class Layout(NamedTuple):
    """How a set lies in a folder.

    Args:
        path: below the folder, of the set's folder or file; "{part}" in it stands for train, val or test.
        needs: what the set's folder contains if it is whole, each a name, or several names with | between.
    """

    path: str
    needs: tuple[str, ...] = ()


class Published(NamedTuple):
    """A published data set.

    Args:
        name: as users type it; the part before a colon is its family, whose sets share one folder.
        title: what it holds.
        licence: in a few words.
        page: of its publishers.
        layouts: how it lies in folders: of torchvision, of its archives unpacked, and of `gankit data get`.
        unpack: whether its archives are unpacked, as its readers need it.
        by_hand: why it is not downloaded; empty for sets that are.
    """

    name: str
    title: str
    licence: str
    page: str
    layouts: tuple[Layout, ...]
    unpack: bool = False
    by_hand: str = ""

    @property
    def family(self) -> str:
        """The name of its folder."""
        return self.name.partition(":")[0]

    @property
    def files(self) -> tuple[WebFile, ...]:
        """The files of its publishers whose sha256 is known; those without a URL are fetched by hand."""
        return FILES.get(self.name) or FILES.get(self.family) or ()

    @property
    def size(self) -> int:
        """The size of its files in bytes; 0 where it is not known."""
        return sum(file.size for file in self.files)


def _in(folders: tuple[str, ...], *needs: str) -> tuple[Layout, ...]:
    """One layout in each of several folders."""
    return tuple(Layout(folder, needs) for folder in folders)


def _archive(family: str, folder: str, archive: str, *needs: str) -> tuple[Layout, ...]:
    """An archive as it is or unpacked, in a folder with the family's name or in none."""
    return (*_in((folder, f"{family}/{folder}"), *needs), *_in((archive, f"{family}/{archive}")))


IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
PACKED = tuple(f"{name}|{name}.gz" for name in IDX)
CIFAR = *(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"
MATS = "train_32x32.mat", "test_32x32.mat"
STL = "train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"
FACES = "images1024x1024", "thumbnails128x128"
PARTS = (
    "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw", "tile",
    "toothbrush", "transistor", "wood", "zipper",
)  # fmt: skip
SCENES = (
    "bedroom", "bridge", "church_outdoor", "classroom", "conference_room", "dining_room", "kitchen", "living_room",
    "restaurant", "tower",
)  # fmt: skip
DOMAINS = {
    "apple2orange": "996 apples and 1,020 oranges",
    "cezanne2photo": "paintings by Cezanne, and photographs",
    "horse2zebra": "939 horses and 1,177 zebras",
    "iphone2dslr_flower": "flowers, by telephones and by cameras",
    "monet2photo": "paintings by Monet, and photographs",
    "summer2winter_yosemite": "Yosemite in summer and in winter",
    "ukiyoe2photo": "Japanese prints, and photographs",
    "vangogh2photo": "paintings by Van Gogh, and photographs",
}
CYCLEGAN = "https://github.com/junyanz/CycleGAN"
PIX2PIX = "https://github.com/phillipi/pix2pix"


def _idx(name: str, folder: str, title: str, licence: str, page: str) -> Published:
    """MNIST, or a set in its format; `folder` is torchvision's."""
    return Published(name, title, licence, page, _in((f"{folder}/raw", name, folder), *PACKED))


def _emnist(name: str) -> Published:
    files = (f"emnist-{name}-{{part}}-images-idx3-ubyte{ending}" for ending in ("", ".gz"))
    layouts = tuple(Layout(f"{folder}/{file}") for file in files for folder in ("EMNIST/raw", "emnist/gzip", "emnist"))
    page = "https://www.nist.gov/itl/products-and-services/emnist-dataset"
    return Published(f"emnist:{name}", "handwritten letters and digits, 28x28 grey", NOT_STATED, page, layouts, True)


def _lsun(scene: str) -> Published:
    layouts = _in(tuple(f"{folder}{scene}_{{part}}_lmdb" for folder in ("lsun/", "LSUN/", "")), "data.mdb")
    name = f"lsun:{scene.partition('_')[0]}"
    return Published(name, "photographs of one kind of place", NOT_STATED, "https://www.yf.io/p/lsun", layouts, True)


def _mvtec(name: str) -> Published:
    folders = "mvtec", "mvtec_ad", "mvtec-ad", "MVTec", "MVTecAD", "mvtec_anomaly_detection"
    return Published(
        f"mvtec:{name}", "industrial parts: good ones, and defects with masks", "CC BY-NC-SA 4.0",
        "https://www.mvtec.com/company/research/datasets/mvtec-ad",
        _in(tuple(f"{folder}/{name}" for folder in folders), "train/good", "test"), True,
        "its publishers ask for a form to be filled in",
    )  # fmt: skip


def _cyclegan(name: str, title: str) -> Published:
    return Published(name, title, NOT_STATED, CYCLEGAN, _in((f"{name}/{name}", name), "trainA", "trainB"), True)


def _pix2pix(name: str, title: str) -> Published:
    """Published twice: by pix2pix side by side, and by CycleGAN in two folders."""
    beside = Layout(name, ("train", "val|test"))
    two = _in((f"{name}/{name}", name), "trainA", "trainB")
    return Published(name, title, NOT_STATED, CYCLEGAN, (beside, *two), True)


def _edges(name: str, title: str) -> Published:
    return Published(name, title, NOT_STATED, PIX2PIX, (Layout(name, ("train",)),), by_hand=NO_HASH)


ALL = (
    _idx("mnist", "MNIST", "70,000 handwritten digits, 28x28 grey", "CC BY-SA 3.0", "http://yann.lecun.com/exdb/mnist"),
    _idx(
        "fashion-mnist", "FashionMNIST", "70,000 pieces of clothing, 28x28 grey", "MIT",
        "https://github.com/zalandoresearch/fashion-mnist",
    ),
    _idx(
        "kmnist", "KMNIST", "70,000 cursive Japanese characters, 28x28 grey", "CC BY-SA 4.0",
        "https://codh.rois.ac.jp/kmnist",
    ),
    *map(_emnist, ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")),
    Published(
        "cifar10", "60,000 photographs in 10 classes, 32x32", NOT_STATED, "https://www.cs.toronto.edu/~kriz/cifar.html",
        _archive("cifar10", "cifar-10-batches-py", "cifar-10-python.tar.gz", *CIFAR),
    ),
    Published(
        "cifar100", "60,000 photographs in 100 classes, 32x32", NOT_STATED,
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        _archive("cifar100", "cifar-100-python", "cifar-100-python.tar.gz", "train", "test", "meta"),
    ),
    Published(
        "svhn", "99,289 house numbers, 32x32", "non-commercial use", "http://ufldl.stanford.edu/housenumbers",
        (*_in(("svhn", "SVHN"), *MATS), Layout("{part}_32x32.mat")),
    ),
    Published(
        "stl10", "13,000 photographs in 10 classes and 100,000 without, 96x96", NOT_STATED,
        "https://cs.stanford.edu/~acoates/stl10", _in(("stl10_binary", "stl10/stl10_binary"), *STL), True,
    ),
    Published(
        "celeba", "202,599 faces with 40 attributes, 178x218", "non-commercial research",
        "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        _in(
            ("celeba", "CelebA", "celebA"),
            "list_attr_celeba.txt|list_attr_celeba.csv|Anno/list_attr_celeba.txt", "img_align_celeba",
        ),
        True, "its publishers ask everyone to accept their agreement",
    ),
    Published(
        "ffhq", "70,000 faces, 1024x1024 (89 GB) or 128x128 (2 GB)", "CC BY-NC-SA 4.0",
        "https://github.com/NVlabs/ffhq-dataset",
        _in(tuple(f"{folder}{faces}" for folder in ("ffhq/", "ffhq-dataset/", "") for faces in FACES)),
        by_hand="its publishers hand it out by a script of their own",
    ),
    Published(
        "afhq", "about 15,000 faces of cats, dogs and wild animals, 512x512", "CC BY-NC 4.0",
        "https://github.com/clovaai/stargan-v2",
        _in(("afhq", "afhq_v2", "afhqv2", "afhq/afhq", "afhq/afhq_v2"), "train"), by_hand=NO_HASH,
    ),
    *map(_lsun, SCENES),
    Published(
        "oxford-flowers", "flowers in 102 classes", NOT_STATED,
        "https://www.robots.ox.ac.uk/~vgg/data/flowers/102",
        _in(("flowers-102", "oxford-flowers"), "jpg", "imagelabels.mat", "setid.mat"), True,
    ),
    Published(
        "cub", "11,788 birds in 200 classes", NOT_STATED, "https://www.vision.caltech.edu/datasets/cub_200_2011",
        _in(("CUB_200_2011", "cub/CUB_200_2011"), "images.txt", "images"), True,
    ),
    *map(_mvtec, PARTS),
    _pix2pix("facades", "facades and their drawn parts"),
    _pix2pix("maps", "aerial photographs and their maps"),
    _edges("edges2shoes", "50,000 shoes and their edges"),
    _edges("edges2handbags", "137,000 handbags and their edges"),
    *(_cyclegan(name, title) for name, title in DOMAINS.items()),
    Published(
        "cityscapes", "street scenes and their label maps", "non-commercial; registration",
        "https://www.cityscapes-dataset.com", (Layout("cityscapes", ("leftImg8bit/train", "gtFine/train")),),
        by_hand="its publishers ask for a registration",
    ),
)  # fmt: skip

SETS: dict[str, Published] = {entry.name: entry for entry in ALL}
