"""Makes tests/data/photos, its truth photos.csv and ATTRIBUTION.md from a folder of freely licensed pictures.

    python tests/data/make_photos.py SAMPLE

SAMPLE holds the pictures named in ORIGINALS and a MANIFEST.csv (file, licence, author, source, ...).
The same SAMPLE and the same Pillow build give the same bytes.
"""

import argparse
import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

HERE = Path(__file__).parent
PHOTOS = HERE / "photos"
LONG_SIDE = 480
ORIENTATION = 0x0112

ORIGINALS = {
    "originals/brushes.jpg": "lomiri/Picture_1A_by_freespace.jpg",
    "originals/camera.png": "skimage/camera.png",
    "originals/cat.jpg": "skimage/chelsea.png",
    "originals/coffee.jpg": "skimage/coffee.png",
    "originals/daffodils.jpg": "morisot/Daffodils.jpg",
    "originals/dandelions.jpg": "lomiri/seeding_by_Clements_Engelhardt.jpg",
    "originals/dogs.jpg": "lomiri/friends_by_Aitzol_Berasategi.jpg",
    "originals/figs.jpg": "lomiri/Picture_0B_by_freespace.jpg",
    "originals/horse.png": "skimage/horse.png",
    "originals/hubble.jpg": "skimage/hubble_deep_field.jpg",
    "originals/meadow.jpg": "lomiri/aitzgorri_by_Aitzol_Berasategi.jpg",
    "originals/pagoda.jpg": "sklearn/china.jpg",
    "originals/reading.jpg": "morisot/Reading.jpg",
    "originals/rocket.jpg": "skimage/rocket.jpg",
    "originals/stream.jpg": "lomiri/life_by_Aitzol_Berasategi.jpg",
    "originals/sunset.jpg": "lomiri/sunset_by_Aitzol_Berasategi.jpg",
}

LICENCES = {
    "CC-BY-4.0": "[CC BY 4.0](https://creativecommons.org/licenses/by/4.0/)",
    "CC-BY-2.0": "[CC BY 2.0](https://creativecommons.org/licenses/by/2.0/)",
    "CC0": "[CC0 1.0](https://creativecommons.org/publicdomain/zero/1.0/)",
    "CC0-1.0": "[CC0 1.0](https://creativecommons.org/publicdomain/zero/1.0/)",
    "public domain": "public domain",
}


def shrunk(image: Image.Image, long_side: int) -> Image.Image:
    scale = long_side / max(image.size)
    return image.resize([round(side * scale) for side in image.size], Image.Resampling.LANCZOS)


def cropped(image: Image.Image, share: float) -> Image.Image:
    """Without `share` of the width and height, more of it from the left and the top."""
    width, height = image.size
    left, top = width * share * 0.7, height * share * 0.7
    return image.crop((round(left), round(top), round(left + width * (1 - share)), round(top + height * (1 - share))))


def save_copy(original: Path, to: Path) -> None:
    shutil.copyfile(original, to)


def edited(edit: Callable[[Image.Image], Image.Image], **options) -> Callable[[Path, Path], None]:
    """A variant that is `edit` of the original, saved in the format of its suffix with Pillow's `options`."""

    def save(original: Path, to: Path) -> None:
        with Image.open(original) as image:
            edit(image).save(to, **options)

    return save


def save_turned(original: Path, to: Path) -> None:
    """Pixels turned to the left, and the Orientation tag that turns them back on display."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    with Image.open(original) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(to, quality=85, exif=exif)


def save_transparent(original: Path, to: Path) -> None:
    """The dark figure alone; where it was white, fully transparent green, which nobody should ever see."""
    with Image.open(original) as image:
        figure = image.convert("L")
    result = Image.new("RGBA", figure.size, (0, 200, 0, 0))
    result.paste(figure.convert("RGBA"), mask=ImageOps.invert(figure))
    result.save(to, optimize=True)


def save_16_bit(original: Path, to: Path) -> None:
    """16 bits a pixel, the lower ones seeded noise."""
    with Image.open(original) as image:
        pixels = np.asarray(shrunk(image.convert("L"), 240), np.uint16)
    noise = np.random.default_rng(1).integers(0, 8, pixels.shape, np.uint16)
    Image.fromarray(pixels * 256 + noise * 32).save(to, optimize=True)


VARIANTS: list[tuple[str, str, str, Callable[[Path, Path], None]]] = [
    ("phone/IMG_0001.jpg", "originals/dandelions.jpg", "copy", save_copy),
    ("phone/IMG_0002.jpg", "originals/dogs.jpg", "exif", save_turned),
    ("phone/IMG_0003.jpg", "originals/pagoda.jpg", "bright", edited(lambda i: ImageEnhance.Brightness(i).enhance(1.2))),
    ("phone/IMG_0004.jpg", "originals/stream.jpg", "crop", edited(lambda i: cropped(i, 0.06), quality=88)),
    ("phone/IMG_0005.jpg", "originals/coffee.jpg", "crop", edited(lambda i: cropped(i, 0.03), quality=88)),
    ("phone/cat (1).jpg", "originals/cat.jpg", "copy", save_copy),
    ("web/2019/sunset.jpg", "originals/sunset.jpg", "resize", edited(lambda i: shrunk(i, 300), quality=85)),
    ("web/2019/sunset.webp", "originals/sunset.jpg", "webp", edited(lambda i: i, quality=75)),
    ("web/Daffodils, by Berthe Morisot.jpg", "originals/daffodils.jpg", "copy", save_copy),
    ("web/camera16.png", "originals/camera.png", "16bit", save_16_bit),
    ("web/cat.png", "originals/cat.jpg", "png", edited(lambda i: shrunk(i, 320), optimize=True)),
    ("web/coffee.gif", "originals/coffee.jpg", "palette", edited(lambda i: shrunk(i, 320).quantize(128))),
    ("web/dandelions.jpg", "originals/dandelions.jpg", "reencode", edited(lambda i: i, quality=40)),
    ("web/figs-gray.jpg", "originals/figs.jpg", "gray", edited(lambda i: i.convert("L"), quality=85)),
    ("web/horse-cut-out.png", "originals/horse.png", "transparent", save_transparent),
    ("web/mønster, «pensler».jpg", "originals/brushes.jpg", "copy", save_copy),
    ("web/rocket.jpg", "originals/rocket.jpg", "reencode", edited(lambda i: i, quality=95, progressive=True)),
]


def save_original(source: Path, to: Path) -> None:
    with Image.open(source) as image:
        image = ImageOps.exif_transpose(image)
        image = shrunk(image.convert("L" if image.mode in ("L", "1") else "RGB"), min(LONG_SIDE, max(image.size)))
    image.info.clear()  # no profile and no camera data of the source
    image.save(to, **({"quality": 85} if to.suffix == ".jpg" else {"optimize": True}))


def save_broken() -> dict[str, str]:
    """Writes the bad files; returns path -> error code."""
    folder = PHOTOS / "broken"
    folder.mkdir()
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "letter.jpg").write_text("Dear picture,\nthis is a text that somebody named .jpg.\n" * 20)
    whole = (PHOTOS / "originals/meadow.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(whole[: len(whole) // 2])
    data = bytearray((PHOTOS / "originals/camera.png").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 512] = bytes(512)
    (folder / "scratched.png").write_bytes(data)
    Image.new("RGB", (1, 1), "white").save(folder / "pixel.png")
    return {
        "broken/empty.jpg": "ZERO_SIZE",
        "broken/half.jpg": "TRUNCATED",
        "broken/letter.jpg": "NOT_AN_IMAGE",
        "broken/pixel.png": "TOO_SMALL",
        "broken/scratched.png": "CORRUPT",
    }


def write_truth(broken: dict[str, str]) -> None:
    rows = [(path, Path(path).stem, "original") for path in ORIGINALS]
    rows += [(path, Path(original).stem, kind) for path, original, kind, _ in VARIANTS]
    rows += [(path, "", f"bad:{code}") for path, code in broken.items()]
    with open(HERE / "photos.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "group", "kind"))
        writer.writerows(sorted(rows, key=lambda row: row[0].encode()))


def write_attribution(sample: Path) -> None:
    with open(sample / "MANIFEST.csv", encoding="utf-8", newline="") as file:
        pictures = {row["file"]: row for row in csv.DictReader(file)}
    lines = [
        "# Where the pictures in `photos/` come from",
        "",
        "Scaled down to 480 pixels and saved anew from the files below; the other pictures of each group",
        "(`photos.csv`) are further edits of these: scaled, cropped, turned, brightened, made grey, saved in another",
        "format, or damaged on purpose (`broken/half.jpg` of meadow, `broken/scratched.png` of camera). The authors",
        "do not endorse this use. Every picture keeps the licence of its source.",
        "",
        "| picture (and its group) | source file | author | licence | distributed in |",
        "|---|---|---|---|---|",
    ]
    for path, file in ORIGINALS.items():
        row = pictures[file]
        name = Path(file).name
        lines.append(f"| `{path}` | {name} | {row['author']} | {LICENCES[row['licence']]} | {row['source']} |")
    (HERE / "ATTRIBUTION.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sample", type=Path, help="folder with the source pictures and MANIFEST.csv")
    sample = parser.parse_args().sample
    shutil.rmtree(PHOTOS, ignore_errors=True)
    for path, file in ORIGINALS.items():
        (PHOTOS / path).parent.mkdir(parents=True, exist_ok=True)
        save_original(sample / file, PHOTOS / path)
    for path, original, _, save in VARIANTS:
        (PHOTOS / path).parent.mkdir(parents=True, exist_ok=True)
        save(PHOTOS / original, PHOTOS / path)
    write_truth(save_broken())
    write_attribution(sample)


if __name__ == "__main__":
    main()
