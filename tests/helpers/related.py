"""Images with known relations: pages that differ in a digit, and what is made of a photo."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from tests.helpers.runs import PHOTOS


def draw_page(text: str) -> Image.Image:
    """A page of small print, with this text in line 20."""
    image = Image.new("RGB", (620, 877), "white")
    draw = ImageDraw.Draw(image)
    for number in range(34):
        line = f"Item {number}: {137 * number % 1000:>5}.{17 * number % 100:02} EUR, delivered"
        draw.text((50, 50 + 22 * number), text if number == 20 else line, fill="black", font=ImageFont.load_default(14))
    return image


PART = (0.2, 0.2, 0.8, 1.0)
"""left, top, right and bottom of part.jpg in whole.png."""


def save_related(folder: Path) -> None:
    """Two pages with one digit changed, each twice; a photo, and a smaller, a mirrored and a cropped one made of it."""
    folder.mkdir()
    for name, total in (("a", "1,234.00"), ("b", "1,274.00")):
        page = draw_page(f"Total: {total} EUR")
        page.save(folder / f"{name}.png")
        page.resize((434, 614), Image.Resampling.LANCZOS).save(folder / f"small-{name}.jpg", quality=80)
    with Image.open(PHOTOS / "originals" / "coffee.jpg") as image:
        photo = image.convert("RGB")
    photo.save(folder / "whole.png")
    photo.resize((photo.width // 2, photo.height // 2)).save(folder / "small.jpg", quality=70)
    ImageOps.mirror(photo).save(folder / "mirrored.jpg", quality=90)
    left, top, right, bottom = PART
    box = (photo.width * left, photo.height * top, photo.width * right, photo.height * bottom)
    photo.crop(tuple(map(round, box))).save(folder / "part.jpg", quality=90)
