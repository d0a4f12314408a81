"""The command `compare`: what two image files are to each other."""

from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any

from fastdup_ray.common.access import Access, make_access
from fastdup_ray.common.locations import to_absolute
from fastdup_ray.common.paths import accept_paths
from fastdup_ray.common.relations import Relation
from fastdup_ray.config import RunConfig
from fastdup_ray.errors import BadImageError, InputError
from fastdup_ray.extract.open_image import explain_error
from fastdup_ray.extract.pillow_settings import strict_pillow
from fastdup_ray.inputs import find_part, get_box, read_entry, stat
from fastdup_ray.system.threads import single_threaded_libraries
from fastdup_ray.verify.load import Views, load_views
from fastdup_ray.verify.overlay import QUARTER_TURNS
from fastdup_ray.verify.relate import Verdict
from fastdup_ray.verify.relate_files import relate_files

MAX_PIXELS: int = RunConfig.model_fields["max_pixels"].default
"""Pixels of the largest image that is decoded."""

_SENTENCES = {
    Relation.SAME: "one image, saved, resized or toned differently",
    Relation.CROPPED: "parts of one image",
    Relation.PADDED: "one image, once with bars or a frame around it",
    Relation.EMBEDDED: "one image is part of the other, such as a slide or a page",
    Relation.TURNED: "one image, rotated",
    Relation.MIRRORED: "one image, mirrored",
    Relation.ALTERED: "one image with a change in it, such as a text or a sticker",
    Relation.DIFFERENT: "not the same image",
    Relation.UNSURE: "cannot be told: there is too little to see, or the files hold more than is compared",
}


@dataclass(frozen=True)
class Comparison:
    """The relation of two image files.

    Attributes:
        relation: What they are to each other.
        cover_first: Part of the first image that the second one shows, from 0 to 1.
        cover_second: Part of the second image that the first one shows.
        difference: Part of what both show that differs by more than compression and resampling explain.
        box: left, top, right and bottom of the largest difference, from 0 to 1 of the first image; None if nothing
            differs by that much.
        matrix: Six numbers, row by row: the affine map from places of the second image, from 0 to 1 of its width and
            height, to places of the first; None if the images have nothing in common.
    """

    relation: Relation
    cover_first: float
    cover_second: float
    difference: float
    box: tuple[float, float, float, float] | None
    matrix: tuple[float, ...] | None

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes, for JSON."""
        return {
            "relation": self.relation.value,
            "cover_first": self.cover_first,
            "cover_second": self.cover_second,
            "difference": self.difference,
            "box": self.box and list(self.box),
            "matrix": self.matrix and list(self.matrix),
        }

    def text(self) -> str:
        """Return what the command prints."""
        lines = [f"{self.relation.value}: {_SENTENCES[self.relation]}"]
        if self.relation in (Relation.DIFFERENT, Relation.UNSURE):
            return lines[0]
        lines.append(
            f"The second shows {self.cover_first:.0%} of the first, the first {self.cover_second:.0%} of the second."
        )
        if self.box is not None:
            left, top, right, bottom = (round(100 * edge) for edge in self.box)
            where = f"from {left} to {right} % of its width and {top} to {bottom} % of its height"
            lines.append(f"{self.difference:.2%} of what both show differs; most of it in the first {where}.")
        return "\n".join(lines)


@accept_paths("first", "second")
def compare(
    first: str | PathLike[str],
    second: str | PathLike[str],
    *,
    s3_anonymous: bool = False,
    s3_requester_pays: bool = False,
) -> Comparison:
    """Compare two image files in full detail.

    Args:
        first: Path or URI of an image, or the name of a box of one (`photo.jpg#xywh=160,120,320,240`).
        second: Path or URI of another one.
        s3_anonymous: Send unsigned requests to buckets.
        s3_requester_pays: Pay for reads from requester-pays buckets.

    Returns:
        What they are to each other, with the evidence.

    Raises:
        InputError: If one of them cannot be read or decoded, or is a frame of a video.
    """
    access = make_access(anonymous=s3_anonymous, requester_pays=s3_requester_pays)
    names = [to_absolute(fspath(name)) for name in (first, second)]
    with strict_pillow(MAX_PIXELS), single_threaded_libraries():
        files = [_read(name, access) for name in names]
        views = [_decode(*file) for file in zip(names, files, strict=True)]
        if files[0] == files[1] and get_box(names[0]) == get_box(names[1]):
            return _describe(Verdict(Relation.SAME, 1.0, 1.0, matrix=QUARTER_TURNS[""]))
        return _describe(relate_files(*views))


def _read(uri: str, access: Access) -> bytes:
    if find_part(uri, access).milliseconds is not None:
        raise InputError(f"{uri!r} is a frame of a video; compare takes images.")
    try:
        return read_entry(stat(uri, access), access)
    except BadImageError as error:
        raise InputError(f"{uri!r} cannot be read: {error.message}.") from None


def _decode(uri: str, data: bytes) -> Views:
    try:
        return load_views(data, get_box(uri))
    except BadImageError as error:
        raise InputError(f"{uri!r} cannot be decoded: {error.message}.") from None
    except Exception as error:  # plugins raise anything at all on broken files
        raise InputError(f"{uri!r} cannot be decoded: {explain_error(error, data).message}.") from None


def _describe(verdict: Verdict) -> Comparison:
    has_difference = verdict.difference > 0 and verdict.relation is not Relation.SAME
    return Comparison(
        relation=verdict.relation,
        cover_first=round(verdict.cover_from, 4),
        cover_second=round(verdict.cover_to, 4),
        difference=round(verdict.difference, 6) if has_difference else 0.0,
        box=tuple(round(edge, 4) for edge in verdict.box) if has_difference else None,  # type: ignore[arg-type]  # four
        matrix=None if verdict.matrix is None else tuple(round(float(number), 6) for number in verdict.matrix.ravel()),
    )
