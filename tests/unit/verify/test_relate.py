"""What two images are to each other: real photographs, edited as people do, and pages that differ in little."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from fastdup_ray.common.relations import Relation
from fastdup_ray.training.edits import EDITS
from fastdup_ray.verify.detail_image import DetailImage
from fastdup_ray.verify.load import load_views
from fastdup_ray.verify.relate import Verdict, relate_images
from fastdup_ray.verify.relate_files import relate_files
from tests.helpers.images import encode
from tests.helpers.runs import PHOTOS

SAVED_AGAIN = ("copy", "png", "progressive", "reencode", "avif", "resize_down", "resize_up", "stretch")
TONED = ("brightness", "contrast", "gamma", "grey")
EXPECTED = (
    dict.fromkeys((*SAVED_AGAIN, *TONED), Relation.SAME)
    | dict.fromkeys(("crop_small", "crop_medium", "crop_strong"), Relation.CROPPED)
    | dict.fromkeys(("border", "letterbox"), Relation.PADDED)
    | dict.fromkeys(("turn", "turn_strong"), Relation.TURNED)
    | dict.fromkeys(("watermark", "sticker", "text_bar"), Relation.ALTERED)
    | {"screenshot": Relation.EMBEDDED, "mirror": Relation.MIRRORED}
)
INVOICE = [f"Item {number}: {137 * number % 1000:>5}.{17 * number % 100:02} EUR, delivered" for number in range(34)]


def relate(first: Image.Image, second: Image.Image) -> Verdict:
    return relate_images(*(DetailImage(np.asarray(image.convert("RGB"))) for image in (first, second)))


def page(lines: list[str]) -> Image.Image:
    image = Image.new("RGB", (620, 877), "white")
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((50, 50 + 22 * number), line, fill="black", font=ImageFont.load_default(14))
    return image


@pytest.mark.parametrize("edit", EXPECTED)
def test_each_edit_has_its_relation(edit, photo):
    photo.thumbnail((512, 512))
    data = EDITS[edit](photo, np.random.default_rng(len(edit)))
    with Image.open(io.BytesIO(data)) as edited:
        assert relate(photo, edited).relation is EXPECTED[edit]
        assert relate(edited, photo).relation is EXPECTED[edit]


@pytest.mark.parametrize("method", [Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270])
def test_quarter_turns_are_found(method, photo):
    photo.thumbnail((512, 512))
    assert relate(photo, photo.transpose(method)).relation is Relation.TURNED


def test_the_parts_that_both_show_are_measured(photo):
    photo.thumbnail((512, 512))
    width, height = photo.size
    part = photo.crop((width // 4, 0, width, height // 2))
    verdict = relate(photo, part)
    assert verdict.relation is Relation.CROPPED
    assert verdict.cover_from == pytest.approx(0.375, abs=0.02)
    assert verdict.cover_to == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(verdict.matrix, [[0.75, 0, 0.25], [0, 0.5, 0]], atol=0.01)


def draw_markers(rounded: int) -> Image.Image:
    """White squares on black; so many of them have rounded corners."""
    image = Image.new("RGB", (200, 200))
    draw = ImageDraw.Draw(image)
    for number in range(16):
        left, top = 12 + 46 * (number % 4), 12 + 46 * (number // 4)
        draw.rounded_rectangle((left, top, left + 33, top + 33), 2 if number < rounded else 0, fill="white")
    return image


def test_pixels_that_differ_where_all_else_is_as_it_was_are_an_edit():
    edited = relate(draw_markers(0), draw_markers(8))
    assert edited.relation is Relation.ALTERED
    np.testing.assert_allclose(edited.box, (12 / 200, 12 / 200, 184 / 200, 92 / 200), atol=0.01)
    with Image.open(io.BytesIO(encode(draw_markers(8), "JPEG", quality=80))) as compressed:
        assert relate(draw_markers(8), compressed).relation is Relation.SAME


def blur_shapes() -> Image.Image:
    """An image without corners."""
    image = Image.new("RGB", (300, 200), (40, 90, 150))
    ImageDraw.Draw(image).ellipse((140, 60, 380, 320), fill=(240, 180, 40))
    return image.filter(ImageFilter.GaussianBlur(9))


def test_images_without_keypoints_are_aligned_by_margins_and_by_sliding():
    image = blur_shapes()
    assert relate(image, ImageOps.expand(image, 14, "white")).relation is Relation.PADDED
    assert relate(ImageOps.expand(image, (0, 30), "black"), image).relation is Relation.PADDED
    part = image.crop((30, 20, 290, 190))
    for pair in ((image, part), (part, image)):
        assert relate(*pair).relation is Relation.CROPPED


@pytest.mark.parametrize("degrees", [-13, 4, 9])
@pytest.mark.parametrize("expand", [False, True])
def test_images_without_keypoints_are_rotated(degrees, expand):
    image = blur_shapes()
    turned = image.rotate(degrees, Image.Resampling.BILINEAR, expand=expand, fillcolor="black")
    for pair in ((image, turned), (turned, image)):
        assert relate(*pair).relation is Relation.TURNED


def draw_sky() -> Image.Image:
    """An image without details."""
    levels = np.linspace(90, 220, 200)[:, None] + 12 * np.sin(np.linspace(0, 5, 300))
    return Image.fromarray(np.stack([levels * 0.7, levels * 0.85, levels], axis=2).astype(np.uint8))


def test_images_without_details_are_the_same_only_if_nothing_differs():
    sky = draw_sky()
    with Image.open(io.BytesIO(encode(sky, "JPEG", quality=80))) as saved:
        assert relate(sky, saved).relation is Relation.SAME
    assert relate(sky, Image.eval(sky, lambda level: level + 20)).relation is not Relation.SAME
    birds, sticker = sky.copy(), sky.copy()
    ImageDraw.Draw(birds).text((150, 60), "v  v", fill=(80, 90, 110))
    assert relate(sky, birds).relation is not Relation.SAME
    ImageDraw.Draw(sticker).ellipse((60, 60, 110, 110), fill=(240, 40, 40), outline="white")
    assert relate(sky, sticker).relation is Relation.ALTERED


def test_other_images_are_different(photo, photos):
    for other in ("dogs.jpg", "hubble.jpg", "horse.png"):
        with Image.open(photos / "originals" / other) as image:
            assert relate(photo, image).relation is Relation.DIFFERENT


@pytest.mark.parametrize("quality", [60, 90])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_page_is_the_same_however_it_is_saved(quality, scale):
    original = page(INVOICE)
    smaller = original.resize((int(620 * scale), int(877 * scale)), Image.Resampling.LANCZOS)
    with Image.open(io.BytesIO(encode(smaller, "JPEG", quality=quality))) as saved:
        assert relate(original, saved).relation is Relation.SAME


@pytest.mark.parametrize("line", [0, 11, 33])
@pytest.mark.parametrize("change", [("1", "7"), ("delivered", "returned"), ("EUR", "USD")], ids=" ".join)
def test_a_page_with_another_word_or_digit_is_altered(line, change):
    original, lines = list(INVOICE), list(INVOICE)
    original[line] = original[line].replace("Item", "Item 1")
    lines[line] = original[line].replace(*change, 1)
    with Image.open(io.BytesIO(encode(page(lines), "JPEG", quality=75))) as saved:
        verdict = relate(page(original), saved)
    assert verdict.relation is Relation.ALTERED
    _, top, _, bottom = verdict.box
    assert top * 877 - 20 <= 50 + 22 * line + 7 <= bottom * 877 + 20


def test_another_digit_on_a_page_that_was_made_smaller_is_an_alteration():
    changed = [line.replace("137", "187") if line.startswith("Item 1:") else line for line in INVOICE]
    assert changed != INVOICE
    smaller = page(changed).resize((434, 614), Image.Resampling.LANCZOS)
    with Image.open(io.BytesIO(encode(smaller, "JPEG", quality=85))) as saved:
        assert relate(page(INVOICE), saved).relation is Relation.ALTERED


def add_dust(image: Image.Image, place: tuple[int, int], levels: int) -> Image.Image:
    """Darken a place of 4 pixels by so many levels, or lighten it."""
    across, down = np.meshgrid(np.arange(image.width) - place[0], np.arange(image.height) - place[1])
    spot = levels * np.exp(-(((across**2 + down**2) / 4) ** 2))
    return Image.fromarray((np.asarray(image, np.float32) - spot[..., None]).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("name", "place", "levels"),
    [("pagoda", (203, 44), 14), ("coffee", (96, 132), -14), ("rocket", (138, 122), 14), ("rocket", (138, 122), -14)],
)
def test_dust_that_was_removed_is_an_alteration_and_compression_is_none(name, place, levels):
    with Image.open(PHOTOS / "originals" / f"{name}.jpg") as file:
        image = file.convert("RGB")
    image.thumbnail((240, 240))
    dusty = Image.open(io.BytesIO(encode(add_dust(image, place, levels), "JPEG", quality=95)))
    found = relate(image, dusty)
    assert found.relation is Relation.ALTERED
    left, top, right, bottom = found.box
    assert left <= place[0] / image.width <= right
    assert top <= place[1] / image.height <= bottom
    for options in ({"format": "JPEG", "quality": 60}, {"format": "WEBP", "quality": 75}):
        assert relate(image, Image.open(io.BytesIO(encode(image, **options)))).relation is Relation.SAME


def test_swapped_colors_and_inverted_tones_are_not_the_same():
    flags = []
    for left in ((0, 60, 160), (0, 140, 70)):
        flag = Image.new("RGB", (300, 200), "white")
        flag.paste(left, (0, 0, 100, 200))
        flag.paste((200, 30, 40), (200, 0, 300, 200))
        flags.append(flag)
    assert relate(*flags).relation is not Relation.SAME
    dark = Image.fromarray(255 - np.asarray(page(INVOICE)))
    assert relate(page(INVOICE), dark).relation is not Relation.SAME


def test_what_a_change_of_tones_would_erase_is_an_alteration():
    stamped = page(INVOICE)
    ImageDraw.Draw(stamped).text((300, 830), "COPY", fill=(170, 170, 170), font=ImageFont.load_default(26))
    assert relate(page(INVOICE), stamped).relation is Relation.ALTERED
    stairs, smooth = (Image.new("L", (100, 100), 255) for _ in range(2))
    for image, level in ((stairs, 0), (smooth, 180)):
        for step in range(8):
            left, top = 88 - 11 * step, 11 * step
            image.paste(level, (left, top, left + 11, top + 11))
            image.paste(0, (left + 11, top, 100, top + 11))
    assert relate(stairs, smooth).relation is not Relation.SAME


def test_textures_that_have_nothing_in_common_are_not_the_same():
    """Two plots of noise, with the same labels."""
    plots = []
    for seed in (1, 2):
        plot = page(INVOICE[:8])
        noise = np.random.default_rng(seed).normal(130, 14, (400, 400)).clip(0, 255).astype(np.uint8)
        plot.paste(Image.fromarray(noise), (100, 300))
        plots.append(plot)
    assert relate(*plots).relation is not Relation.SAME


def test_small_flags_that_differ_in_their_arms_are_not_the_same():
    flags = [Image.new("RGB", (16, 11), (0, 0, 110)) for _ in range(2)]
    for flag, color in zip(flags, ((200, 200, 220), (90, 110, 60)), strict=True):
        flag.paste((200, 60, 70), (0, 0, 8, 5))
        flag.paste(color, (10, 4, 14, 8))
    assert relate(*flags).relation is not Relation.SAME


IRELAND, ITALY = [(48, 147, 0), (255, 255, 255), (230, 96, 16)], [(0, 90, 0), (255, 255, 255), (255, 0, 0)]
CHAD, ROMANIA = [(0, 0, 100), (255, 255, 0), (255, 0, 0)], [(0, 48, 153), (255, 222, 0), (222, 33, 16)]


def draw_flag(colors: list[tuple[int, int, int]]) -> Image.Image:
    stripes = np.array([colors], np.uint8)
    return Image.fromarray(stripes).resize((300, 200), Image.Resampling.NEAREST)


@pytest.mark.parametrize("quality", [None, 60, 85])
@pytest.mark.parametrize("colors", [(IRELAND, ITALY), (CHAD, ROMANIA)], ids=["Ireland, Italy", "Chad, Romania"])
def test_images_of_a_few_colors_are_not_the_same_in_others(colors, quality):
    first, second = map(draw_flag, colors)
    saved = second if quality is None else Image.open(io.BytesIO(encode(second, "JPEG", quality=quality)))
    assert relate(first, saved).relation in (Relation.ALTERED, Relation.DIFFERENT)


@pytest.mark.parametrize("quality", [60, 85])
@pytest.mark.parametrize("colors", [IRELAND, ITALY, CHAD, ROMANIA])
def test_images_of_a_few_colors_are_the_same_however_they_are_saved(colors, quality):
    flag = draw_flag(colors)
    smaller = flag.resize((210, 140), Image.Resampling.BICUBIC)
    assert relate(flag, Image.open(io.BytesIO(encode(smaller, "JPEG", quality=quality)))).relation is Relation.SAME


@pytest.mark.parametrize("size", [(2, 2), (2, 900), (900, 3), (7, 7), (40, 2), (1600, 16), (64, 64)])
@pytest.mark.parametrize("other", [(2, 2), (3, 700), (800, 5), (9, 40), (300, 200)])
def test_images_of_any_size_are_compared(size, other):
    rng = np.random.default_rng(5)
    noise = [Image.fromarray(rng.integers(0, 256, (*each, 3), np.uint8)) for each in (size, other)]
    ramps = [Image.linear_gradient("L").resize(each) for each in (size, other)]
    for pair in (noise, ramps):
        assert isinstance(relate(*pair), Verdict)
        assert relate(pair[0], pair[0]).relation in (Relation.SAME, Relation.UNSURE)


def test_almost_nothing_to_see_is_not_judged():
    blank = Image.new("RGB", (400, 300), "white")
    assert relate(blank, Image.new("RGB", (400, 300), (254, 254, 254))).relation is Relation.UNSURE
    assert relate(blank, blank.copy()).relation is Relation.SAME


def test_pages_after_the_first_are_compared():
    first, second, third = page(INVOICE), page(INVOICE[::-1]), page(INVOICE[5:])
    document = load_views(encode(first, "TIFF", save_all=True, append_images=[second]))
    again = load_views(encode(first, "TIFF", save_all=True, append_images=[second], compression="tiff_deflate"))
    other = load_views(encode(first, "TIFF", save_all=True, append_images=[third]))
    alone = load_views(encode(first, "TIFF"))
    assert relate_files(document, again).relation is Relation.SAME
    assert relate_files(document, other).relation is Relation.ALTERED
    assert relate_files(document, alone).relation is Relation.ALTERED


def test_transparent_images_are_compared_on_two_grounds():
    def logo(text: str) -> bytes:
        image = Image.new("RGBA", (320, 120), (255, 255, 255, 0))
        draw = ImageDraw.Draw(image)
        draw.rectangle((10, 90, 300, 110), fill=(30, 60, 120, 255))
        draw.text((20, 20), text, fill=(255, 255, 255, 255), font=ImageFont.load_default(40))
        return encode(image, "PNG")

    acme, again, other = (load_views(logo(text)) for text in ("ACME", "ACME", "NORTH"))
    assert relate_files(acme, again).relation is Relation.SAME
    assert relate_files(acme, other).relation is not Relation.SAME


def relate_pngs(first: Image.Image, second: Image.Image) -> Relation:
    return relate_files(*(load_views(encode(image, "PNG")) for image in (first, second))).relation


def draw_star(points: int) -> Image.Image:
    """A circle of thin spikes on a transparent ground."""
    image = Image.new("RGBA", (400, 400))
    corners = [
        (200 + radius * np.cos(angle), 200 + radius * np.sin(angle))
        for number in range(points)
        for radius, angle in ((150, 2 * np.pi * number / points), (153, 2 * np.pi * (number + 0.5) / points))
    ]
    ImageDraw.Draw(image).polygon(corners, outline=(128, 128, 128, 255), width=3)
    return image.resize((100, 100), Image.Resampling.LANCZOS)


def draw_tile(seed: int, color: tuple[int, int, int]) -> Image.Image:
    """A tile with soft borders; each seed has another grain."""
    grain = np.random.default_rng(seed).normal(0, 5, (72, 72, 1))
    pixels = (np.array(color) + grain).clip(0, 255)
    across, down = np.meshgrid(np.arange(72) - 36, np.arange(72) - 36)
    alpha = (255 * ((np.hypot(across, down) - 14) / 18)).clip(0, 255)
    return Image.fromarray(np.dstack([pixels, alpha]).astype(np.uint8), "RGBA")


def open_cut_out() -> Image.Image:
    with Image.open(PHOTOS / "web" / "horse-cut-out.png") as file:
        return file.convert("RGBA")


def test_cut_outs_of_one_size_may_not_differ():
    assert relate_pngs(draw_star(31), draw_star(35)) is not Relation.SAME
    assert relate_pngs(draw_tile(1, (150, 120, 70)), draw_tile(2, (150, 120, 70))) is not Relation.SAME


def test_a_cut_out_in_other_tones_is_another_one():
    assert relate_pngs(draw_tile(1, (150, 120, 70)), draw_tile(1, (100, 70, 40))) is not Relation.SAME
    image = open_cut_out()
    lighter = Image.merge(
        "RGBA", (*(band.point(lambda level: level // 2 + 120) for band in image.split()[:3]), image.getchannel("A"))
    )
    assert relate_pngs(image, lighter) is not Relation.SAME


def test_a_cut_out_is_the_same_in_another_size_and_with_a_palette():
    image = open_cut_out()
    smaller = image.resize((image.width * 2 // 3, image.height * 2 // 3), Image.Resampling.LANCZOS)
    assert relate_pngs(image, smaller) is Relation.SAME
    star = draw_star(31)
    assert relate_pngs(star, star.quantize(256, method=Image.Quantize.FASTOCTREE)) is Relation.SAME
    again = load_views(encode(image, "WEBP", quality=80))
    assert relate_files(load_views(encode(image, "PNG")), again).relation is Relation.SAME


def test_a_thicker_ring_is_not_a_ring_in_other_tones():
    def ring(width: int) -> Image.Image:
        image = Image.new("RGB", (80, 80))
        ImageDraw.Draw(image).rounded_rectangle((12, 12, 67, 67), 12, outline="white", width=width)
        return image.filter(ImageFilter.GaussianBlur(2))

    assert relate(ring(3), ring(4)).relation is not Relation.SAME


@pytest.mark.parametrize(
    "colors", [((27, 110, 68), (35, 87, 135)), ((90, 40, 40), (40, 80, 60)), ((170, 110, 60), (90, 120, 150))]
)
def test_textures_in_other_colors_are_not_the_same(colors):
    coarse = np.random.default_rng(5).normal(0, 1, (32, 48)).astype(np.float32)
    grain = np.asarray(Image.fromarray(coarse).resize((480, 320), Image.Resampling.BICUBIC))[..., None]
    green, blue = (
        Image.fromarray((np.array(color) * (1 + 0.09 * grain)).clip(0, 255).astype(np.uint8)) for color in colors
    )
    assert relate(green, blue).relation is not Relation.SAME
