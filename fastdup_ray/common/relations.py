"""What two images are to each other, as seen in full detail."""

from enum import StrEnum


class Relation(StrEnum):
    """The relation of two images.

    Attributes:
        SAME: One image: encoded again, resized, converted, or with colors or tones changed as a whole.
        CROPPED: One is a part of the other, or both are parts of one image.
        PADDED: One has bars or a frame around the other.
        EMBEDDED: One is in the other: on a slide, in a collage, on a page.
        TURNED: One is rotated.
        MIRRORED: One is mirrored.
        ALTERED: Something was put in or taken out: a text, a sticker, a number.
        DIFFERENT: Not of one image.
        UNSURE: Cannot be told: too little to see, or more in the file than is compared.
    """

    SAME = "same"
    CROPPED = "cropped"
    PADDED = "padded"
    EMBEDDED = "embedded"
    TURNED = "turned"
    MIRRORED = "mirrored"
    ALTERED = "altered"
    DIFFERENT = "different"
    UNSURE = "unsure"


CONFIRMED = frozenset(Relation) - {Relation.DIFFERENT, Relation.UNSURE}
"""Relations of two images that show the same, at least in part."""

DUPLICATE_OF = {
    Relation.SAME: "same image as",
    Relation.CROPPED: "cropped from the same image as",
    Relation.PADDED: "padded copy of",
    Relation.EMBEDDED: "embedded copy of",
    Relation.TURNED: "rotated copy of",
    Relation.MIRRORED: "mirrored copy of",
}
"""How the reason of a plan begins for an image that is dropped because of its relation to the keeper."""


class Loss(StrEnum):
    """What a copy has lost, beside another image of the same picture.

    Attributes:
        COLORS: It is gray, or of one hue.
        TONES: It has fewer gray levels, or levels in steps: posterized, clipped, far less contrast.
        NOISE: It has noise that the other one has not.
    """

    COLORS = "colors"
    TONES = "tones"
    NOISE = "noise"


DESCRIBED = {Loss.COLORS: "colors lost", Loss.TONES: "tones lost", Loss.NOISE: "noise added"}
"""Losses for people."""
