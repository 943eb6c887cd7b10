"""Make images to edit with a model of one image, from the built-in photograph that it was trained on.

gankit train singan --preset small
python examples/one_image.py                       # daub.png, pasted.png, moved.png and a mask of each of the last two
gankit explore latest paint --image daub.png
gankit explore latest harmonise --image pasted.png --mask pasted-mask.png
gankit explore latest edit --image moved.png --mask moved-mask.png
"""

import numpy as np
from PIL import Image, ImageDraw

from gankit import data

SKY, HILL, TREES, TOWER, ROOF = "#c5d4e4", "#7d8a8c", "#4d5a2c", "#7a3f38", "#54504a"


def photograph(name: str) -> Image.Image:
    """A built-in photograph."""
    pixels = data.open(f"photo:{name}:whole").rows(np.arange(1))["real"][0]
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def daub(size: tuple[int, int]) -> Image.Image:
    """Flat areas of colour: sky, a hill, trees, and two towers where the photograph has one."""
    drawn = Image.new("RGB", size, SKY)
    brush = ImageDraw.Draw(drawn)
    w, h = size

    def area(colour: str, *points: tuple[float, float]) -> None:
        brush.polygon([(x * w, y * h) for x, y in points], colour)

    area(HILL, (0.3, 0.75), (0.6, 0.62), (1, 0.68), (1, 1), (0.3, 1))
    area(TREES, (0, 0.78), (0.25, 0.7), (0.5, 0.82), (0.75, 0.72), (1, 0.8), (1, 1), (0, 1))
    for left, top, width in ((0.12, 0.3, 0.2), (0.6, 0.12, 0.26)):
        for i in range(3):
            y, part = top + 0.18 * i, width * (0.6 + 0.2 * i)
            x = left + (width - part) / 2
            area(TOWER, (x + 0.03, y), (x + part - 0.03, y), (x + part - 0.03, y + 0.18), (x + 0.03, y + 0.18))
            area(ROOF, (x, y + 0.05), (x + part / 2, y - 0.05), (x + part, y + 0.05))
    return drawn


def pasted(photo: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The photograph with the flower of another one in the sky, and a mask that is white there."""
    w, h = photo.size
    flower, disc = photograph("flower").resize((w // 2, h // 2)), Image.new("L", (w // 2, h // 2))
    x, y, r = 0.237 * w, 0.26 * h, 0.113 * w
    ImageDraw.Draw(disc).ellipse((x - r, y - r, x + r, y + r), 255)
    corner, mask = (w // 2, 0), Image.new("L", photo.size)
    mask.paste(disc, corner)
    photo.paste(flower, corner, disc)
    return photo, mask


def moved(photo: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The photograph with a copy of the tower further right, and a mask that is white there."""
    w, h = photo.size
    box, corner = (int(0.16 * w), int(0.04 * h), int(0.52 * w), int(0.75 * h)), (int(0.6 * w), int(0.08 * h))
    mask = Image.new("L", photo.size)
    mask.paste(255, (*corner, corner[0] + box[2] - box[0], corner[1] + box[3] - box[1]))
    photo.paste(photo.crop(box), corner)
    return photo, mask


china = photograph("china")
daub(china.size).save("daub.png")
for name, make in (("pasted", pasted), ("moved", moved)):
    picture, mask = make(china.copy())
    picture.save(f"{name}.png")
    mask.save(f"{name}-mask.png")
