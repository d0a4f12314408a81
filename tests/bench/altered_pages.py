"""Measure what `compare` says of pages that differ in one digit, one word or one small stamp.

    python -m tests.bench.altered_pages -n 200

Pages of text are drawn in several sizes and lengths. Each alteration is saved as PNG, as JPEG, and at a smaller size.
"""

import argparse
import io
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.verify.load import load_views
from fastdup_ray.verify.relate_files import relate_files

WORDS = (Path(__file__).parents[2] / "LICENSE").read_text(encoding="utf-8").split()
SIZES = ((620, 877), (827, 1169), (1240, 1754))
"""A4 at 75, 100 and 150 dots per inch."""

MARGIN = 50


def make_words(rng: np.random.Generator) -> list[str]:
    start = int(rng.integers(0, len(WORDS) - 400))
    words = WORDS[start : start + 400]
    for place in rng.integers(0, len(words), 20):
        words[place] = f"{rng.integers(100, 9999)}.{rng.integers(10, 99)}"
    return words


def draw(words: list[str], size: tuple[int, int], letter: int) -> tuple[Image.Image, list[int]]:
    """Return a page, and which words are on it."""
    page, font = Image.new("RGB", size, "white"), ImageFont.load_default(letter)
    pen, shown, x, y = ImageDraw.Draw(page), [], MARGIN, MARGIN
    for number, word in enumerate(words):
        width = round(font.getlength(word + " "))
        if x + width > size[0] - MARGIN:
            x, y = MARGIN, y + round(1.4 * letter)
        if y > size[1] - 3 * MARGIN:
            break
        pen.text((x, y), word, fill=(20, 20, 20), font=font)
        shown.append(number)
        x += width
    return page, shown


def alter(
    words: list[str], size: tuple[int, int], letter: int, rng: np.random.Generator
) -> Iterator[tuple[str, Image.Image]]:
    page, shown = draw(words, size, letter)
    numbers = [number for number in shown if words[number][0].isdigit()]
    if numbers:
        number = int(rng.choice(numbers))
        digits = list(words[number])
        digits[0] = str((int(digits[0]) + int(rng.integers(1, 9))) % 10)
        yield "digit", draw([*words[:number], "".join(digits), *words[number + 1 :]], size, letter)[0]
    number = int(rng.choice(shown))
    others = [word for word in WORDS if len(word) == len(words[number]) and word != words[number]]
    if others:
        yield "word", draw([*words[:number], str(rng.choice(others)), *words[number + 1 :]], size, letter)[0]
    stamped, gray = page.copy(), int(rng.integers(90, 200))
    place = int(rng.integers(MARGIN, size[0] // 2)), size[1] - 2 * MARGIN
    ImageDraw.Draw(stamped).text(place, "PAID", fill=(gray, gray, gray), font=ImageFont.load_default(letter + 4))
    yield "stamp", stamped


def save(page: Image.Image) -> Iterator[tuple[str, bytes]]:
    smaller = page.resize((page.width * 7 // 10, page.height * 7 // 10), Image.Resampling.LANCZOS)
    for kind, image, options in (
        ("PNG", page, {"format": "PNG"}),
        ("JPEG 75", page, {"format": "JPEG", "quality": 75}),
        ("70 %, JPEG 85", smaller, {"format": "JPEG", "quality": 85}),
    ):
        buffer = io.BytesIO()
        image.save(buffer, **options)
        yield kind, buffer.getvalue()


def measure(number: int, seed: int) -> list[tuple[str, str, str]]:
    """(alteration, how it was saved, relation) of each altered copy of a page, and of the page saved again."""
    rng = np.random.default_rng([seed, number])
    words, size, letter = make_words(rng), SIZES[number % len(SIZES)], int(rng.integers(12, 20))
    page = draw(words, size, letter)[0]
    with strict_pillow():
        original = load_views(next(save(page))[1])
        return [
            (what, kind, relate_files(original, load_views(data)).relation.value)
            for what, altered in (("nothing", page), *alter(words, size, letter, rng))
            for kind, data in save(altered)
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=200, help="pages")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    with ProcessPoolExecutor(args.jobs) as pool:
        found = [row for rows in pool.map(partial(measure, seed=args.seed), range(args.n)) for row in rows]
    counts: dict[tuple[str, str], Counter[str]] = {}
    for what, kind, relation in found:
        counts.setdefault((what, kind), Counter())[relation] += 1
    for (what, kind), relations in counts.items():
        print(f"{what:8} {kind:14} " + ", ".join(f"{name} {count}" for name, count in relations.most_common()))


if __name__ == "__main__":
    main()
